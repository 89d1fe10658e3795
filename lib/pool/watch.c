/* SPDX-License-Identifier: MIT */

/*
 * A caller that waits for one task looks for its result itself, for a moment, before it sleeps: the
 * way over the driver costs two wakes. It takes in what is in the lane where the task is, under the
 * pool's lock, for which it never waits: whoever has that is at the same. One caller at a time
 * looks for longer than once, within a budget that follows what paid off (kernel/spin.h).
 *
 * The pool may be freed by another thread, which makes every result ready and then ends. Who looks
 * has counted itself in the result's word while that was not ready; who makes it ready moves that
 * count to the pool, and a pool is not freed while it has watchers.
 */

#include "kernel/relax.h"
#include "pool/pool.h"

#include <sched.h>

enum { MAX_PAUSES = 64 };

/* False: it is ready, and the pool may be gone. */
static bool enter(crew_result *job)
{
        uint32_t word = atomic_load(&job->word);

        do {
                if (word & CREW__READY)
                        return false;
        } while (!atomic_compare_exchange_weak(&job->word, &word, word + CREW__WATCHER));
        return true;
}

static void leave(crew_pool *p, crew_result *job)
{
        uint32_t word = atomic_load(&job->word);

        do {
                if (word & CREW__READY) {
                        (void)atomic_fetch_sub(&p->watchers, 1);
                        return;
                }
        } while (!atomic_compare_exchange_weak(&job->word, &word, word - CREW__WATCHER));
}

static bool is_ready(crew_result *job)
{
        return atomic_load_explicit(&job->word, memory_order_acquire) & CREW__READY;
}

/* Takes in what is where the task is. */
static void look(crew_pool *p, const crew_result *job)
{
        crew__worker *w;
        bool wake;

        if (pthread_mutex_trylock(&p->lock) != 0)
                return;
        w = &p->workers[job->row];
        if (crew__worker_alive(w) && crew__worker_drain(p, w, crew_clock()) > 0)
                crew__feed(p);
        /* What is the driver's to do. */
        wake = p->look_again || !crew__link_alone(&p->notices);
        crew__pool_unlock(p);
        if (wake)
                crew__pool_wake(p);
}

static bool spin(crew_pool *p, crew_result *job, int64_t end)
{
        unsigned pauses = 1;

        do {
                crew__relax_for(pauses);
                if (pauses < MAX_PAUSES)
                        pauses *= 2;
                look(p, job);
                if (is_ready(job))
                        return true;
        } while (crew_clock() < end);
        return false;
}

static void spin_within_budget(crew_pool *p, crew_result *job, int64_t deadline)
{
        uint32_t budget = crew__spin_budget(&p->watch_spin);
        int64_t began;

        if (!budget)
                return;
        began = crew_clock();
        if (spin(p, job, crew__earlier(deadline, began + budget)))
                crew__spin_paid_after(&p->watch_spin, crew_clock() - began);
        else
                crew__spin_learn(&p->watch_spin, false);
}

void crew__pool_watch(crew_pool *p, crew_result *job, int64_t deadline)
{
        if (!enter(job))
                return;
        if (p->threaded && !job->map && crew__driving != p && deadline > 0) {
                look(p, job);
                if (!is_ready(job) && !atomic_exchange(&p->watching, true)) {
                        spin_within_budget(p, job, deadline);
                        atomic_store(&p->watching, false);
                }
        }
        leave(p, job);
}

void crew__pool_unwatched(crew_pool *p)
{
        while (atomic_load(&p->watchers))
                (void)sched_yield();
}
