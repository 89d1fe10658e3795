/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_STAT_H
#define CREW_KERNEL_STAT_H

/* /proc/PID/stat: what the kernel says of a process in one line, or of a thread by its number. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The fields, by the numbers that proc_pid_stat(5) gives them. */
enum {
        CREW__STAT_PARENT = 4,
        CREW__STAT_GROUP = 5,
        CREW__STAT_SESSION = 6,
        CREW__STAT_FLAGS = 9,
        CREW__STAT_USER_TIME = 14, /* times in clock ticks */
        CREW__STAT_SYSTEM_TIME = 15,
        CREW__STAT_THREADS = 20, /* of its process, for the first one */
        CREW__STAT_START = 22,   /* with the pid, its name for ever */
        CREW__STAT_PAGES = 24,
        CREW__STAT_ADDRESS = 30,
        CREW__STAT_STATUS = 52,
        CREW__STAT_FIELDS,
};

typedef struct crew__stat {
        char state;
        uint64_t field[CREW__STAT_FIELDS]; /* 0 behind the last one */
        int last;                          /* that the text has */
} crew__stat;

/* False if it is not what the kernel writes. */
bool crew__stat_parse(const char *text, crew__stat *stat);

/* False if there is no such process or thread, or nobody tells. */
bool crew__stat_read(pid_t pid, crew__stat *stat);

/* It has ended, and nobody has collected it. */
static inline bool crew__stat_dead(const crew__stat *stat)
{
        return stat->state == 'Z' || stat->state == 'X';
}

#endif
