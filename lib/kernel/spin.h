/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_SPIN_H
#define CREW_KERNEL_SPIN_H

/*
 * How long to spin before a sleep.
 *
 * A wake across CPUs costs tens of microseconds and a spin that succeeds a tenth of one; but
 * spinning for a partner that needs this very CPU costs its whole time slice. Nothing says
 * beforehand which it is, so whoever waits keeps a budget: a spin that paid off raises it, one that
 * did not lowers it, down to nothing. Every so often a full spin is tried nevertheless, longer than
 * a wake takes, so that two partners who put each other to sleep find back: what it had to wait for
 * is then the budget, twice over, as shorter spins would only miss it again.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Spinning starts hopeful: the first partner is usually there. */
#define CREW__SPIN_FIRST 20000

typedef struct crew__spin {
        _Atomic uint32_t budget; /* ns */
        _Atomic uint32_t waits;
        _Atomic uint32_t mark; /* the owner's; see queue/spin.c */
} crew__spin;

enum {
        CREW__SPIN_MOST = 50000, /* ns; about two wakes */
        CREW__SPIN_LEAST = 500,  /* below this a look at the clock costs more than the spin */
        CREW__SPIN_PROBE = 128,  /* waits */
};

/* Has spinning paid off lately? Without counting a wait. */
static inline bool crew__spin_pays(crew__spin *spin)
{
        return atomic_load_explicit(&spin->budget, memory_order_relaxed) >= CREW__SPIN_LEAST;
}

/* What this wait may spend, in ns. */
static inline uint32_t crew__spin_budget(crew__spin *spin)
{
        uint32_t budget = atomic_load_explicit(&spin->budget, memory_order_relaxed);
        uint32_t waits = atomic_fetch_add_explicit(&spin->waits, 1, memory_order_relaxed);

        if (waits % CREW__SPIN_PROBE == CREW__SPIN_PROBE - 1)
                return CREW__SPIN_MOST;
        return budget < CREW__SPIN_LEAST ? 0 : budget;
}

static inline void crew__spin_learn(crew__spin *spin, bool paid)
{
        uint32_t budget = atomic_load_explicit(&spin->budget, memory_order_relaxed);
        uint32_t more = budget * 2 + CREW__SPIN_LEAST;

        if (paid)
                budget = more < CREW__SPIN_MOST ? more : CREW__SPIN_MOST;
        else
                budget -= budget / 4 + (budget ? 1 : 0);
        atomic_store_explicit(&spin->budget, budget, memory_order_relaxed);
}

/* A spin that paid after `ns`: the next ones may last as long, and as long again. */
static inline void crew__spin_paid_after(crew__spin *spin, int64_t ns)
{
        uint32_t budget = atomic_load_explicit(&spin->budget, memory_order_relaxed);
        int64_t enough = 2 * ns + CREW__SPIN_LEAST;

        if (enough > CREW__SPIN_MOST)
                enough = CREW__SPIN_MOST;
        if (budget < enough)
                atomic_store_explicit(&spin->budget, (uint32_t)enough, memory_order_relaxed);
}

#endif
