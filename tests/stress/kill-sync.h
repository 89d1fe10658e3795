/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_KILL_SYNC_H
#define CREW_TESTS_KILL_SYNC_H

/* What the forced kills of sync share. */

#include "kill-forced.h"
#include "sync/barrier.h"
#include "sync/event.h"

#include <errno.h>
#include <string.h>

struct shared {
        crew_lock other, lock;
        crew_condition condition;
        crew_event event;
        crew_semaphore semaphore;
        crew_barrier barrier;
        bool listed, two;
        uint64_t before;
        pid_t victim;
        _Atomic uint32_t done;
        _Atomic int result;
        _Atomic int64_t when;
};

static inline struct shared *share(void)
{
        struct shared *s = peer_memory(sizeof *s);

        s->listed = true;
        REQUIRE_OK(crew_lock_init(&s->other));
        REQUIRE_OK(crew_lock_init(&s->lock));
        REQUIRE_OK(crew_condition_init(&s->condition));
        REQUIRE_OK(crew_event_init(&s->event));
        REQUIRE_OK(crew_semaphore_init(&s->semaphore, 0, 0));
        return s;
}

static inline void unshare_it(struct shared *s)
{
        peer_memory_free(s, sizeof *s);
}

static inline struct kills begin(void)
{
        return kills_begin(test_scale(200, 10));
}

static inline crew__lock *inner(crew_lock *l)
{
        return &((crew__mutex *)l)->lock;
}

static inline void note(struct shared *s, int result)
{
        atomic_store(&s->result, result);
        atomic_store(&s->when, peer_now());
        atomic_store(&s->done, 1);
}

/* Runs `fn` to a first note in another process. */
static inline pid_t start(struct shared *s, void (*fn)(void *))
{
        atomic_store(&s->done, 0);
        return peer_start(fn, s);
}

/* How long that took from `began` on, or INT64_MAX if it is still at it after `patience`. */
static inline int64_t finish(struct shared *s, pid_t pid, int64_t began, int64_t patience)
{
        if (!peer_await(&s->done, 1, patience)) {
                peer_kill(pid);
                return INT64_MAX;
        }
        CHECK_INT(peer_join(pid), ==, 0);
        return atomic_load(&s->when) - began;
}

static inline bool inside(void *arg)
{
        struct shared *s = arg;

        return holds(inner(&s->lock), s->victim);
}

static inline bool outside(void *arg)
{
        return !inside(arg);
}

/* Runs the victim until it sleeps on a futex. */
static inline bool to_sleep(struct shared *s)
{
        if (!victim_to_call(s->victim, SYS_futex, outside, s) || !victim_resume(s->victim))
                return false;
        /* If its slice is over before that is seen, this round forces nothing. */
        (void)peer_await_sleep(s->victim, CREW_MS(15));
        return true;
}

/* Steps the victim until it has(s) and so far on, and kills it there; when that was. */
static inline int64_t kill_behind(struct shared *s, bool (*has)(void *), long extra)
{
        int64_t began;

        REQUIRE(victim_step_until(s->victim, has, s, MOST_STEPS) >= 0);
        for (long k = 0; k < extra; k++)
                REQUIRE(victim_step(s->victim));
        began = peer_now();
        peer_kill(s->victim);
        return began;
}

#endif
