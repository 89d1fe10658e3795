/* SPDX-License-Identifier: MIT */
#include "kernel/owner.h"

#include "kernel/syscall.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The unit of start times in /proc, on every architecture that crew knows. */
#define TICK 10000000

/* Process-wide; a copy of the process that is made later is in the same sandbox. */
static bool blindfolded;

void crew__owner_blindfold(void)
{
        blindfolded = true;
}

uint64_t crew__claim_make(uint32_t tid)
{
        struct timespec now;
        uint64_t ticks;

        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        /* Rounded down, as start times are: never before the caller's own. */
        ticks = (uint64_t)now.tv_sec * (1000000000 / TICK) + (uint64_t)now.tv_nsec / TICK;
        return ticks << CREW__CLAIM_TID_BITS | tid;
}

/* Fields 3 and 22 of /proc/TID/stat. False if nobody tells. */
static bool read_stat(uint32_t tid, char *state, uint64_t *start)
{
        char path[64], text[1024], *at;
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%u/stat", tid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, text, sizeof text - 1);
        (void)close(fd);
        if (n <= 0)
                return false;
        text[n] = '\0';
        /* The name in field 2 may hold blanks and brackets; the last bracket ends it. */
        at = strrchr(text, ')');
        if (!at || at[1] == '\0')
                return false;
        *state = at[2];
        for (int field = 2; at && field < 22; field++)
                at = strchr(at + 1, ' ');
        *start = at ? strtoull(at, NULL, 10) : 0;
        return true;
}

bool crew__claim_is_dead(uint64_t claim)
{
        uint32_t tid = crew__claim_tid(claim);
        uint64_t since = claim >> CREW__CLAIM_TID_BITS, start;
        char state;

        /* Asks for nothing that a sandbox refuses or /proc hides, so only this may say "gone". */
        if (crew__sys_sched_getscheduler(tid) == -ESRCH)
                return true;
        if (blindfolded || !read_stat(tid, &state, &start))
                return false;
        return state == 'Z' || state == 'X' || (since && start > since);
}
