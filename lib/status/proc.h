/* SPDX-License-Identifier: MIT */
#ifndef CREW_STATUS_PROC_H
#define CREW_STATUS_PROC_H

/* What the kernel says about other processes, and copies of the shared memory that they hold. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* From /proc/PID/stat. */
typedef struct crew__proc_stat {
        char command[64]; /* made fit to be printed */
        char state;
        pid_t parent;
        uint64_t start;    /* ns of CLOCK_BOOTTIME, to within a tick */
        uint64_t cpu_time; /* ns */
        uint64_t memory;   /* bytes */
} crew__proc_stat;

/* From /proc/PID/status; -1 where it does not say. */
typedef struct crew__proc_status {
        uint32_t uid;
        pid_t process; /* that the thread belongs to */
        pid_t inner;   /* its pid in its own pid namespace */
        int seccomp, no_new_privs;
        unsigned filters;
        char state;
} crew__proc_status;

/* The text of both, parsed: false if it is not what the kernel writes. Changes the text. */
bool crew__proc_parse_stat(char *text, crew__proc_stat *stat);
bool crew__proc_parse_status(const char *text, crew__proc_status *status);

bool crew__proc_read_stat(int proc, pid_t pid, crew__proc_stat *stat);
/* Also of a thread. 0, -ENOENT (there is none), or another negative errno. */
int crew__proc_read_status(int proc, pid_t pid, crew__proc_status *status);

/* A tick of the clock in which starts are told, in ns. */
uint64_t crew__proc_tick(void);

/* What a shared file of a process is, as seen from its descriptor. */
typedef struct crew__memory {
        int fd;
        uint64_t inode;
        uint64_t size;
        uint32_t uid; /* of its maker */
} crew__memory;

/*
 * The device that all memfds lie on; learnt once, with a memfd of one's own. What lies elsewhere is
 * not opened: a file system of somebody's could make a reader wait for ever. 0: not known.
 */
uint64_t crew__memory_device(void);

/* The shared memory behind a descriptor of the process whose "fd" directory this is; read-only,
 * the caller's to close. -ENOENT: it is none; or another negative errno. */
int crew__memory_open(int fds, int number, crew__memory *memory);

/* The same without opening it: `fd` is -1. The descriptor may be another's at the next look. */
int crew__memory_look(int fds, int number, crew__memory *memory);

/* Up to `n` bytes from `at` on; how many there were. */
size_t crew__memory_read(const crew__memory *memory, void *into, size_t n, uint64_t at);

#endif
