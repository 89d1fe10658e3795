/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "kernel/relax.h"
#include "kernel/spin.h"
#include "kernel/syscall.h"
#include "sync/event.h"
#include "sync/mutex.h"

#include <string.h>

/* A unit that comes back at once is worth waiting for awake. A semaphore has no room for what that
 * pays and costs, so each thread learns it for all that it waits for. */
static _Thread_local crew__spin spin = { .budget = CREW__SPIN_FIRST };

enum { LOOKS = 8, MOST_PAUSES = 64 };

#define SLEEPERS CREW__SEMAPHORE_SLEEPERS

static crew__semaphore *inner(crew_semaphore *s)
{
        return (crew__semaphore *)s;
}

int crew_semaphore_init(crew_semaphore *s, unsigned value, unsigned bound)
{
        int r = crew__sync_check(s, "semaphore");

        if (r < 0)
                return r;
        if (bound > INT32_MAX)
                return crew__fail(EINVAL, "semaphore: a bound of %u, at most %d", bound, INT32_MAX);
        if (value > (bound ? bound : INT32_MAX))
                return crew__fail(EINVAL, "semaphore: %u units, but the bound is %u", value,
                        bound ? bound : INT32_MAX);
        memset(s, 0, sizeof *s);
        inner(s)->bound = bound ? bound : INT32_MAX;
        atomic_store(&inner(s)->value, value);
        return 0;
}

bool crew__semaphore_take(crew_semaphore *s, uint32_t sleepers)
{
        _Atomic uint32_t *word = &inner(s)->value;
        uint32_t value = atomic_load_explicit(word, memory_order_relaxed);

        while (value & ~SLEEPERS) {
                if (atomic_compare_exchange_weak_explicit(word, &value, (value - 1) | sleepers,
                            memory_order_acquire, memory_order_relaxed))
                        return true;
        }
        return false;
}

/* One slice of sleep while there is no unit. */
static int sleep_on(crew__semaphore *s, int64_t deadline)
{
        uint32_t value = atomic_load_explicit(&s->value, memory_order_relaxed);
        int64_t now = crew_clock();

        if (deadline <= now)
                return crew__expired(deadline);
        if (value & ~SLEEPERS)
                return 0;
        if (!value && !atomic_compare_exchange_strong_explicit(&s->value, &value, SLEEPERS,
                              memory_order_relaxed, memory_order_relaxed))
                return 0;
        if (crew__sys_futex_wait(&s->value, SLEEPERS, crew__earlier(deadline, now + CREW__SLICE)) ==
                -EINTR)
                return crew__fail_quick(EINTR, "a signal handler ran during the wait");
        return 0;
}

static bool take_awake(crew_semaphore *s)
{
        uint32_t budget = crew__spin_budget(&spin);
        int64_t end = budget ? crew_clock() + budget : 0;
        bool taken = false;
        unsigned pauses = 1;

        if (!budget)
                return false;
        do {
                for (int looks = 0; looks < LOOKS && !taken; looks++) {
                        crew__relax_for(pauses);
                        taken = crew__semaphore_take(s, 0);
                        pauses = pauses < MOST_PAUSES ? pauses * 2 : pauses;
                }
        } while (!taken && crew_clock() < end);
        crew__spin_learn(&spin, taken);
        return taken;
}

int crew_semaphore_acquire(crew_semaphore *s, int64_t timeout)
{
        crew__patience patience = crew__patience_of(timeout);
        int r = 0;

        if (crew__semaphore_take(s, 0))
                return 0;
        if (timeout > 0 && take_awake(s))
                return 0;
        while (r == 0) {
                r = sleep_on(inner(s), crew__patience_end(&patience));
                if (crew__semaphore_take(s, timeout > 0 ? SLEEPERS : 0))
                        return 0;
        }
        if (r == -EAGAIN)
                return crew__fail_quick(EAGAIN, "the semaphore has no unit");
        if (r == -ETIMEDOUT)
                return crew__fail_quick(ETIMEDOUT, "the semaphore got no unit before the timeout");
        return r;
}

/*
 * A wake that found nobody: SLEEPERS was left by the last who slept, or the sleeper is between its
 * look and its sleep, which the word's change prevents. It goes only if the word is as the release
 * left it; who took the unit meanwhile and slept before has set it again.
 */
static void nobody_sleeps(crew__semaphore *s, uint32_t left)
{
        (void)atomic_compare_exchange_strong_explicit(
                &s->value, &left, left & ~SLEEPERS, memory_order_relaxed, memory_order_relaxed);
}

int crew_semaphore_release(crew_semaphore *s)
{
        crew__semaphore *sem = inner(s);
        uint32_t value = atomic_load_explicit(&sem->value, memory_order_relaxed);

        do {
                if ((value & ~SLEEPERS) >= sem->bound)
                        return crew__fail_quick(EOVERFLOW,
                                "the semaphore has as many units as its bound allows: it was "
                                "released more often than acquired");
        } while (!atomic_compare_exchange_weak_explicit(
                &sem->value, &value, value + 1, memory_order_release, memory_order_relaxed));
        if (value & SLEEPERS && crew__sys_futex_wake(&sem->value, 1) == 0)
                nobody_sleeps(sem, value + 1);
        crew__events_notify_after_rmw(&sem->rings, -1);
        return 0;
}

unsigned crew_semaphore_value(const crew_semaphore *s)
{
        return atomic_load_explicit(&((const crew__semaphore *)s)->value, memory_order_relaxed) &
               ~SLEEPERS;
}
