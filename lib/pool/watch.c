/* SPDX-License-Identifier: MIT */

/*
 * A caller that waits for one task looks for its result itself, for a moment, before it sleeps: the
 * way over the driver costs two wakes. It takes in what is in the lane where the task is, under the
 * pool's lock, for which it never waits: whoever has that is at the same. One caller at a time
 * looks for longer than once, within a budget that follows what paid off (kernel/spin.h).
 *
 * Who waits for a task of its own then sleeps on two words, the result's and the lane's: the worker
 * wakes it together with the driver, and whoever comes first takes the result in. One a lane does
 * so, as all who sleep there are woken for each result; and only for a few wakes, so that neither
 * other tasks' results nor a worker that floods the word keep it busy. The lane may be freed
 * meanwhile (its worker died): its word is an address then that the kernel alone looks at, and the
 * driver, which ends the task or moves it, wakes the result's word.
 *
 * The pool may be freed by another thread, which makes every result ready and then ends. Who looks
 * has counted itself in the result's word while that was not ready; who makes it ready moves that
 * count to the pool, and a pool is not freed while it has watchers.
 */

#include "kernel/features.h"
#include "kernel/relax.h"
#include "kernel/syscall.h"
#include "pool/pool.h"

#include <errno.h>
#include <sched.h>

enum { MAX_PAUSES = 64, MAX_WAKES = 4 };

/* Where to sleep. */
struct place {
        crew__worker *worker; /* NULL: nowhere */
        const crew__events *events;
        uint32_t value;
};

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

/* Announces a sleeper at the lane; what is in it has to be looked at after that. */
static void take_place(crew__worker *w, struct place *at)
{
        if (atomic_exchange(&w->waited_at, true))
                return;
        at->worker = w;
        at->events = crew__lane_results(w->lane);
        at->value = crew__events_prepare(crew__lane_results(w->lane));
}

/* Takes in what is where the task is; before, takes a place to sleep there if one is wanted. */
static void look(crew_pool *p, const crew_result *job, struct place *at)
{
        crew__worker *w;
        bool wake;

        if (pthread_mutex_trylock(&p->lock) != 0)
                return;
        w = &p->workers[job->row];
        if (crew__worker_alive(w)) {
                if (at)
                        take_place(w, at);
                if (crew__worker_drain(p, w, crew_clock()) > 0)
                        crew__feed(p);
        }
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
                look(p, job, NULL);
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

/* What woke it may still be at it: a moment for that, which saves the way over another sleep. */
static bool wait_for_driver(crew_result *job)
{
        for (unsigned pauses = 1; pauses < MAX_PAUSES && !is_ready(job); pauses *= 2)
                crew__relax_for(pauses);
        return is_ready(job);
}

static int sleep_at(struct place *at, crew_result *job, int64_t deadline)
{
        uint32_t word = atomic_fetch_or(&job->word, CREW__AWAITED) | CREW__AWAITED;
        int r = 0;

        if (!(word & CREW__READY))
                r = crew__sys_futex_wait_either(
                        &job->word, word, &at->events->word, at->value, deadline);
        (void)atomic_fetch_and(&job->word, ~(uint32_t)CREW__AWAITED);
        atomic_store(&at->worker->waited_at, false);
        if (r == -ENOSYS || r == -EPERM)
                crew__feature_fell_short(CREW__FUTEX_WAITV, -r);
        /* EAGAIN: one of the words moved on. A handler that ran is not for this wait to tell of. */
        return r == -EAGAIN || r == -EINTR ? 0 : r;
}

static void sleep_at_lane(crew_pool *p, crew_result *job, int64_t deadline)
{
        for (int wakes = 0; wakes < MAX_WAKES; wakes++) {
                struct place at = { 0 };

                look(p, job, &at);
                if (!at.worker || sleep_at(&at, job, deadline) < 0 || wait_for_driver(job))
                        return;
        }
}

void crew__pool_watch(crew_pool *p, crew_result *job, int64_t deadline, bool own)
{
        if (!enter(job))
                return;
        if (p->threaded && !job->map && crew__driving != p && deadline > 0) {
                look(p, job, NULL);
                if (!is_ready(job) && !atomic_exchange(&p->watching, true)) {
                        spin_within_budget(p, job, deadline);
                        atomic_store(&p->watching, false);
                }
                if (own && !is_ready(job) && crew__has(CREW__FUTEX_WAITV))
                        sleep_at_lane(p, job, deadline);
        }
        leave(p, job);
}

void crew__pool_unwatched(crew_pool *p)
{
        while (atomic_load(&p->watchers))
                (void)sched_yield();
}
