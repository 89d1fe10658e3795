/* SPDX-License-Identifier: MIT */
#include "kernel/owner.h"

#include "kernel/stat.h"
#include "kernel/syscall.h"

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

static bool is_dead(uint64_t claim, bool process)
{
        uint32_t tid = crew__claim_tid(claim);
        uint64_t since = claim >> CREW__CLAIM_TID_BITS;
        crew__stat stat;

        /* Asks for nothing that a sandbox refuses or /proc hides, so only this may say "gone". */
        if (crew__sys_sched_getscheduler(tid) == -ESRCH)
                return true;
        if (blindfolded || !crew__stat_read((pid_t)tid, &stat))
                return false;
        if (since && stat.field[CREW__STAT_START] > since)
                return true;
        /* The first thread of a process may end before the others. */
        return crew__stat_dead(&stat) && !(process && stat.field[CREW__STAT_THREADS] > 1);
}

bool crew__thread_is_runnable(uint32_t tid)
{
        crew__stat stat;

        return !blindfolded && crew__stat_read((pid_t)tid, &stat) && stat.state == 'R';
}

bool crew__claim_is_newer(uint64_t claim, uint32_t tid)
{
        uint64_t start;
        crew__stat stat;

        if (blindfolded || !crew__stat_read((pid_t)tid, &stat))
                return false;
        start = stat.field[CREW__STAT_START];
        return start && start < claim >> CREW__CLAIM_TID_BITS;
}

bool crew__claim_is_dead(uint64_t claim)
{
        return is_dead(claim, false);
}

bool crew__process_is_dead(uint64_t claim)
{
        return is_dead(claim, true);
}
