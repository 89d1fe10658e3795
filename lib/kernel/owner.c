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

/* What /proc/TID/stat says. False if nobody tells. */
struct stat_text {
        char state;
        unsigned long threads; /* of its process, for the first one */
        uint64_t start;
};

static bool read_stat(uint32_t tid, struct stat_text *stat)
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
        stat->state = at[2];
        stat->threads = 0;
        for (int field = 2; at && field < 22; field++) {
                at = strchr(at + 1, ' ');
                if (at && field == 19)
                        stat->threads = strtoul(at, NULL, 10);
        }
        stat->start = at ? strtoull(at, NULL, 10) : 0;
        return true;
}

static bool is_dead(uint64_t claim, bool process)
{
        uint32_t tid = crew__claim_tid(claim);
        uint64_t since = claim >> CREW__CLAIM_TID_BITS;
        struct stat_text stat;

        /* Asks for nothing that a sandbox refuses or /proc hides, so only this may say "gone". */
        if (crew__sys_sched_getscheduler(tid) == -ESRCH)
                return true;
        if (blindfolded || !read_stat(tid, &stat))
                return false;
        if (since && stat.start > since)
                return true;
        /* The first thread of a process may end before the others. */
        return (stat.state == 'Z' || stat.state == 'X') && !(process && stat.threads > 1);
}

bool crew__thread_is_runnable(uint32_t tid)
{
        struct stat_text stat;

        return !blindfolded && read_stat(tid, &stat) && stat.state == 'R';
}

bool crew__claim_is_newer(uint64_t claim, uint32_t tid)
{
        struct stat_text stat;

        return !blindfolded && read_stat(tid, &stat) && stat.start &&
               stat.start < claim >> CREW__CLAIM_TID_BITS;
}

bool crew__claim_is_dead(uint64_t claim)
{
        return is_dead(claim, false);
}

bool crew__process_is_dead(uint64_t claim)
{
        return is_dead(claim, true);
}
