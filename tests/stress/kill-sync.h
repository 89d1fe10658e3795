/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_KILL_SYNC_H
#define CREW_TESTS_KILL_SYNC_H

/*
 * What the forced kills of sync share. Whoever is left goes on within BOUND. Each case has a twin
 * in which what saves it is taken away from outside; there the twin must see the HANG, or the case
 * proves nothing.
 */

#include "check.h"
#include "kernel/syscall.h"
#include "kill.h"
#include "sync/barrier.h"
#include "sync/event.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BOUND CREW_MS(100)
#define HANG CREW_MS(600)
enum { MOST_STEPS = 20000, EXTRA = 61 };

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

static inline long long rounds(void)
{
        return test_scale(200, 10);
}

static inline crew__lock *inner(crew_lock *l)
{
        return &((crew__mutex *)l)->lock;
}

/* To be stepped from here on; nothing of its tracer's is left in its robust list. */
static inline crew__thread *settle(const struct shared *s)
{
        crew__thread *self = crew__thread_self();

        if (self->robust)
                self->robust->list_op_pending = NULL;
        if (!s->listed)
                self->robust = NULL;
        return self;
}

static inline void note(struct shared *s, int result)
{
        atomic_store(&s->result, result);
        atomic_store(&s->when, peer_now());
        atomic_store(&s->done, 1);
}

static inline bool holds(const crew__lock *lock, pid_t pid)
{
        return (atomic_load(&lock->word) & FUTEX_TID_MASK) == (uint32_t)pid;
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

static inline void sum_up(struct canary *canary, long long forced, int late)
{
        INFO("%lld forced kills, %d late", forced, late);
        CHECK_INT(forced, ==, rounds());
        CHECK_INT(late, <, 2);
        canary_stop(canary);
}

static inline bool inside(void *arg)
{
        struct shared *s = arg;

        return holds(inner(&s->lock), s->victim);
}

/* Runs the victim until it sleeps on a futex. */
static inline bool to_sleep(struct shared *s)
{
        bool in = false;

        for (int calls = 0; calls < 500; calls++) {
                if (!victim_to_syscall(s->victim))
                        return false;
                in = !in;
                if (in && victim_call(s->victim) == SYS_futex && !inside(s)) {
                        if (!victim_resume(s->victim))
                                return false;
                        /* If its slice is over before that is seen, this round forces nothing. */
                        (void)peer_await_sleep(s->victim, CREW_MS(15));
                        return true;
                }
        }
        return false;
}

#endif
