/* SPDX-License-Identifier: MIT */

/*
 * Barriers. A round ends when all parties have come, or breaks; everything but the sleep happens
 * under a robust lock of the library's own, so a death inside is found by the next, who breaks the
 * round.
 *
 * A death while waiting: the struct has no room for all who wait, so each party keeps in its own
 * memory whom it watches, the one that came before it, and the shared `last` names the newest, whom
 * all watch. Of any set of dead parties the newest is either `last` or was followed by one that
 * lives: somebody sees it. A party stays in the chain until its round has ended, also when a signal
 * handler ends its wait: it counts as come, and its next call goes on with the same wait. So there
 * is no leaving, and nobody who watches one that left.
 *
 * How a round ended must be known to parties that look late, after others. {round, history} is one
 * word: bit n of the history says of the n-th last round that it broke.
 */

#include "sync/barrier.h"
#include "base/fail.h"
#include "kernel/namespace.h"
#include "kernel/owner.h"
#include "kernel/syscall.h"

#include <string.h>

enum { HISTORY = 32 };

/* One party's wait. */
typedef struct attendance {
        uint64_t generation; /* of the process; 0: none */
        const crew__barrier *at;
        uint32_t identity, round;
        int index;
        uint64_t watched; /* claim of the party before this one, 0 = it was the first */
} attendance;

/* A wait that a handler ended, to be gone on with. */
static _Thread_local attendance interrupted;

static uint32_t round_of(crew__barrier *b)
{
        return (uint32_t)atomic_load_explicit(&b->rounds, memory_order_acquire);
}

int crew_barrier_init(crew_barrier *outer, unsigned parties)
{
        crew__barrier *b = (crew__barrier *)outer;
        int r = crew__sync_check(b, "barrier");

        if (r < 0)
                return r;
        if (!parties || parties > INT32_MAX)
                return crew__fail(EINVAL, "barrier: %u parties, at least 1", parties);
        memset(b, 0, sizeof *b);
        b->parties = parties;
        b->place = crew__place();
        b->identity = (uint32_t)crew_clock();
        return 0;
}

/* Under the lock. */
static void end_round(crew__barrier *b, bool broken)
{
        uint64_t rounds = atomic_load_explicit(&b->rounds, memory_order_relaxed);
        uint64_t history = (rounds >> 32) << 1 | broken;

        atomic_store_explicit(&b->come, 0, memory_order_relaxed);
        atomic_store_explicit(&b->last, 0, memory_order_relaxed);
        /* Release pairs with round_of: what each party did before it came is seen by all after. */
        atomic_store_explicit(
                &b->rounds, history << 32 | (uint32_t)(rounds + 1), memory_order_release);
}

static void wake(crew__barrier *b)
{
        (void)crew__sys_futex_wake((_Atomic uint32_t *)&b->rounds, INT_MAX);
}

static void break_it(crew__barrier *b)
{
        atomic_store(&b->broken, 1);
        end_round(b, true);
}

static int lock(crew__barrier *b, crew__hold *hold)
{
        crew__patience patience = crew__patience_of(CREW_FOREVER);
        int r;

        if (!b->parties)
                return crew__fail(EINVAL, "barrier: it was never initialized");
        if (b->place != crew__thread_self()->place && !crew__place_is(b->place))
                return crew__fail(EXDEV, "barrier: initialized in another pid or time namespace");
        do {
                r = crew__lock_acquire(&b->lock, hold, &patience);
        } while (r == -EINTR);
        if (r == CREW__OWNER_DIED) {
                break_it(b);
                wake(b);
                r = 0;
        }
        return r;
}

static void unlock(crew__barrier *b, crew__hold *hold)
{
        crew__lock_release(&b->lock, hold);
}

static int is_broken(void)
{
        return crew__fail_quick(
                ECANCELED, "the barrier is broken: a party did not come in time, died, or gave up");
}

/* Breaks the round, unless it has ended. */
static int break_round(crew__barrier *b, uint32_t round)
{
        crew__hold hold;
        int r = lock(b, &hold);

        if (r < 0)
                return r;
        if (round_of(b) == round)
                break_it(b);
        unlock(b, &hold);
        wake(b);
        return 0;
}

/* How the round ended that was number `round`. */
static int outcome(crew__barrier *b, const attendance *a)
{
        uint64_t rounds = atomic_load_explicit(&b->rounds, memory_order_acquire);
        uint32_t since = (uint32_t)rounds - a->round - 1;

        /* So long ago that nobody knows: better once too often than a party that was not there. */
        if (since >= HISTORY || rounds >> (32 + since) & 1)
                return is_broken();
        return a->index;
}

static bool somebody_died(crew__barrier *b, const attendance *a)
{
        uint64_t last = atomic_load_explicit(&b->last, memory_order_relaxed);

        if (a->watched && crew__claim_is_dead(a->watched))
                return true;
        return last && last != crew__thread_self()->claim && crew__claim_is_dead(last);
}

/* Until the round has ended: how, or why this party waits no longer. */
static int await_end(crew__barrier *b, const attendance *a, int64_t deadline)
{
        for (unsigned slices = 1; round_of(b) == a->round; slices++) {
                int64_t now = crew_clock();
                int r;

                if (now >= deadline) {
                        r = break_round(b, a->round);
                        if (r < 0)
                                return r;
                        r = outcome(b, a);
                        return r >= 0 ? r : crew__expired(deadline);
                }
                r = crew__sys_futex_wait((_Atomic uint32_t *)&b->rounds, a->round,
                        crew__earlier(deadline, now + CREW__SLICE));
                if (r == -EINTR)
                        return -EINTR;
                /* Every other time: it takes a look into /proc. */
                if (r == -ETIMEDOUT && slices % 2 == 0 && somebody_died(b, a)) {
                        r = break_round(b, a->round);
                        if (r < 0)
                                return r;
                }
        }
        return outcome(b, a);
}

/* Comes, as the next party of the current round. 1: it was the last one. */
static int come(crew__barrier *b, attendance *a)
{
        crew__hold hold;
        int r = lock(b, &hold);

        if (r < 0)
                return r;
        if (atomic_load(&b->broken)) {
                unlock(b, &hold);
                return is_broken();
        }
        a->generation = hold.self->generation;
        a->at = b;
        a->identity = b->identity;
        a->round = round_of(b);
        a->index = (int)atomic_load(&b->come);
        a->watched = atomic_load(&b->last);
        atomic_store(&b->last, hold.self->claim);
        atomic_store(&b->come, (uint32_t)a->index + 1);
        r = (uint32_t)a->index + 1 >= b->parties;
        if (r)
                end_round(b, false);
        unlock(b, &hold);
        if (r)
                wake(b);
        return r;
}

static bool was_interrupted(const crew__barrier *b)
{
        return interrupted.at == b && interrupted.identity == b->identity &&
               interrupted.generation == crew__generation();
}

int crew_barrier_wait(crew_barrier *outer, int64_t timeout)
{
        crew__barrier *b = (crew__barrier *)outer;
        int64_t deadline = crew__deadline(timeout);
        attendance a = interrupted;
        int r = 0;

        if (was_interrupted(b))
                interrupted.generation = 0;
        else
                r = come(b, &a);
        if (r < 0)
                return r;
        if (r > 0)
                return a.index;
        do {
                r = await_end(b, &a, deadline);
                /* One wait can be gone on with; if another one is to be, this one goes on now. */
        } while (r == -EINTR && interrupted.generation == crew__generation());
        switch (r) {
        case -EINTR:
                interrupted = a;
                return crew__fail_quick(EINTR,
                        "a signal handler ran during the wait, which the next call goes on with");
        case -EAGAIN:
                return crew__fail_quick(EAGAIN, "not all parties are at the barrier: it is broken");
        case -ETIMEDOUT:
                return crew__fail_quick(
                        ETIMEDOUT, "not all parties came to the barrier in time: it is broken");
        default:
                return r;
        }
}

/* Ends what is going on; `broken` from now on or fresh. */
static int give_up(crew_barrier *outer, bool broken)
{
        crew__barrier *b = (crew__barrier *)outer;
        crew__hold hold;
        int r = lock(b, &hold);

        if (r < 0)
                return r;
        if (was_interrupted(b))
                interrupted.generation = 0;
        if (broken || atomic_load(&b->come))
                end_round(b, true);
        atomic_store(&b->broken, broken);
        unlock(b, &hold);
        wake(b);
        return 0;
}

int crew_barrier_abort(crew_barrier *b)
{
        return give_up(b, true);
}

int crew_barrier_reset(crew_barrier *b)
{
        return give_up(b, false);
}

unsigned crew_barrier_parties(const crew_barrier *b)
{
        return ((const crew__barrier *)b)->parties;
}

unsigned crew_barrier_waiting(const crew_barrier *b)
{
        return atomic_load(&((const crew__barrier *)b)->come);
}

bool crew_barrier_broken(const crew_barrier *b)
{
        return atomic_load(&((const crew__barrier *)b)->broken);
}
