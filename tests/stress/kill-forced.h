/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_KILL_FORCED_H
#define CREW_TESTS_KILL_FORCED_H

/*
 * What forced kills share, of queues and of sync. Whoever is left goes on within BOUND. Each case
 * has a twin in which what saves it is taken away from outside; there the twin must see the HANG,
 * or the case proves nothing.
 */

#include "check.h"
#include "kernel/lock.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "kill.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BOUND CREW_MS(100)
#define HANG CREW_MS(600) /* three times what a saved case may take at most, slices and all */
enum { MOST_STEPS = 20000 };

/* Rounds until so many of them killed where they were to. */
struct kills {
        struct canary *canary;
        long long wanted, forced;
        int late;
};

static inline struct kills kills_begin(long long wanted)
{
        return (struct kills){ .canary = canary_start(), .wanted = wanted };
}

/* Is there to be round `i`, of at most `tries` for each that is wanted? */
static inline bool kills_more(const struct kills *k, long long i, int tries)
{
        return k->forced < k->wanted && i < tries * k->wanted;
}

static inline void kills_add(struct kills *k, bool forced, int64_t took)
{
        k->forced += forced;
        k->late += canary_late(k->canary, took, BOUND);
}

static inline void kills_end(struct kills *k)
{
        INFO("%lld forced kills, %d late", k->forced, k->late);
        CHECK_INT(k->forced, ==, k->wanted);
        /* One may be the machine's fault. */
        CHECK_INT(k->late, <, 2);
        canary_stop(k->canary);
}

/* To be stepped from here on; its tracer may have forked with a lock in the robust list. */
static inline void settle(bool listed)
{
        crew__thread *self = crew__thread_self();

        if (self->robust)
                self->robust->list_op_pending = NULL;
        if (!listed)
                self->robust = NULL;
}

static inline bool holds(const crew__lock *lock, pid_t pid)
{
        return (atomic_load(&lock->word) & FUTEX_TID_MASK) == (uint32_t)pid;
}

/* For as long as a HANG nobody may look for the lock's owner. */
static inline void keep_unwatched(crew__lock *lock, int64_t began)
{
        for (int64_t until = began + test_slow(HANG); peer_now() < until;) {
                atomic_store(&lock->watched, 0);
                peer_pause(CREW_MS(1));
        }
}

#endif
