/* SPDX-License-Identifier: MIT */

/*
 * Conditions. What a notify gives is a token, and a waiter takes one only after it has its lock
 * again: one that is killed on the way leaves its token to the others, who look up every 20 ms; one
 * that is killed after it took the token holds the lock, which the next owner is told.
 *
 * One word of 64 bits, so that every change is one instruction:
 *      sequence  changes with each notify; what waiters sleep on
 *      waiting   how many wait, or are dead and did
 *      tokens    notified and not taken yet; never more than `waiting`
 *
 * A waiter may take a token only if there was a notify since it came, so one that comes later takes
 * nobody's token away. Who dies waiting stays counted: a notify may then leave a token that nobody
 * is there to take, and the worst of that is a later waiter that returns once for nothing, after a
 * notify. If more die than can be counted the count stays at its end, which means the same.
 *
 * With the lock held by the notifier nothing is lost: a waiter is counted before it lets the lock
 * go, and the sequence moves before the wake, so who is not asleep yet does not fall asleep.
 */

#include "base/fail.h"
#include "kernel/syscall.h"
#include "sync/mutex.h"

#include <string.h>

#define MANY UINT16_MAX

typedef struct condition {
        _Atomic uint64_t state;
        uint64_t unused[3];
} __attribute__((may_alias)) condition;

_Static_assert(sizeof(condition) == sizeof(crew_condition), "the public struct");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the sequence comes first in memory");

typedef struct counts {
        uint32_t sequence;
        uint16_t waiting, tokens;
} counts;

static counts counts_of(uint64_t state)
{
        return (counts){ (uint32_t)state, (uint16_t)(state >> 32), (uint16_t)(state >> 48) };
}

static uint64_t state_of(counts c)
{
        return (uint64_t)c.tokens << 48 | (uint64_t)c.waiting << 32 | c.sequence;
}

static uint64_t look(condition *c)
{
        return atomic_load_explicit(&c->state, memory_order_acquire);
}

static bool change(condition *c, uint64_t *state, counts to)
{
        return atomic_compare_exchange_weak_explicit(
                &c->state, state, state_of(to), memory_order_acq_rel, memory_order_acquire);
}

int crew_condition_init(crew_condition *c)
{
        int r = crew__sync_check(c, "condition");

        if (r == 0)
                memset(c, 0, sizeof *c);
        return r;
}

int crew_condition_notify(crew_condition *outer, unsigned n)
{
        condition *c = (condition *)outer;
        uint64_t state = look(c);
        counts now;
        unsigned tokens;

        do {
                now = counts_of(state);
                if (!now.waiting || !n)
                        return 0;
                tokens = now.tokens + (n < MANY ? n : MANY);
                now.tokens = (uint16_t)(tokens < now.waiting ? tokens : now.waiting);
                now.sequence++;
        } while (!change(c, &state, now));
        (void)crew__sys_futex_wake((_Atomic uint32_t *)&c->state, n < INT_MAX ? (int)n : INT_MAX);
        return 0;
}

int crew_condition_notify_all(crew_condition *c)
{
        return crew_condition_notify(c, UINT_MAX);
}

/* Counts one more waiter; what the sequence was. */
static uint32_t arrive(condition *c)
{
        uint64_t state = look(c);
        counts now;

        do {
                now = counts_of(state);
                now.waiting += now.waiting < MANY;
        } while (!change(c, &state, now));
        return now.sequence;
}

static bool may_take(uint64_t state, uint32_t since)
{
        counts now = counts_of(state);

        return now.tokens && now.sequence != since;
}

/* With the lock held: takes a token if there is one for who came at `since`. */
static bool take(condition *c, uint32_t since)
{
        uint64_t state = look(c);
        counts now;

        do {
                if (!may_take(state, since))
                        return false;
                now = counts_of(state);
                now.tokens--;
                now.waiting -= now.waiting && now.waiting < MANY;
        } while (!change(c, &state, now));
        return true;
}

/* Goes without one. A token that was meant for nobody else goes too. */
static void leave(condition *c)
{
        uint64_t state = look(c);
        counts now;

        do {
                now = counts_of(state);
                now.waiting -= now.waiting && now.waiting < MANY;
                if (now.tokens > now.waiting)
                        now.tokens = now.waiting;
        } while (!change(c, &state, now));
}

/* Until there may be a token. */
static int sleep_until(condition *c, uint32_t since, int64_t deadline)
{
        for (;;) {
                uint64_t state = look(c);
                int64_t now;

                if (may_take(state, since))
                        return 0;
                now = crew_clock();
                if (now >= deadline)
                        return crew__expired(deadline);
                if (crew__sys_futex_wait((_Atomic uint32_t *)&c->state, (uint32_t)state,
                            crew__earlier(deadline, now + CREW__SLICE)) == -EINTR)
                        return -EINTR;
        }
}

/* However long it takes, and whatever handlers run: the caller expects to hold it. */
static int take_back(crew__mutex *m)
{
        int r;

        do {
                r = crew__mutex_acquire(m, CREW_FOREVER);
        } while (r == -EINTR);
        return r;
}

static int say(int r)
{
        switch (r) {
        case -EAGAIN:
                return crew__fail_quick(EAGAIN, "nobody notified the condition");
        case -ETIMEDOUT:
                return crew__fail_quick(ETIMEDOUT, "nobody notified the condition in time");
        case -EINTR:
                return crew__fail_quick(EINTR, "a signal handler ran during the wait");
        default:
                return r;
        }
}

static int wait_on(condition *c, crew__mutex *m, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        uint32_t since = arrive(c);
        int r, slept;

        for (;;) {
                (void)crew__mutex_release(m);
                slept = sleep_until(c, since, deadline);
                r = take_back(m);
                /* Whoever finds a dead owner's lock has something to mend, notified or not. */
                if (take(c, since))
                        return r;
                if (r != 0 || slept < 0)
                        break;
        }
        leave(c);
        return r ? r : say(slept);
}

static int check(const crew_condition *c, const crew__mutex *m)
{
        if (!c || !m)
                return crew__fail(EINVAL, "condition: no condition, or no lock");
        if (!crew__mutex_mine(m, crew__thread_self()))
                return crew__fail_quick(EPERM, "this thread does not own the condition's lock");
        return 0;
}

int crew_condition_wait(crew_condition *c, crew_lock *l, int64_t timeout)
{
        crew__mutex *m = (crew__mutex *)l;
        int r = check(c, m);

        return r < 0 ? r : wait_on((condition *)c, m, timeout);
}

int crew_condition_wait_rlock(crew_condition *c, crew_rlock *l, int64_t timeout)
{
        crew__mutex *m = (crew__mutex *)l;
        int r = check(c, m);
        uint32_t count;

        if (r < 0)
                return r;
        count = m->count;
        r = wait_on((condition *)c, m, timeout);
        m->count = count;
        return r;
}
