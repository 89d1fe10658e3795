/* SPDX-License-Identifier: MIT */

/* A pool from its making to its end. */

#include "pool/pool.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/trace.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

int crew__pool_enter(const crew_pool *p)
{
        if (__builtin_expect(p && p->generation == crew__generation(), 1))
                return 0;
        if (!p)
                return crew__fail_quick(EINVAL, "no pool handle");
        return crew__fail_quick(ECHILD,
                "the pool was inherited through a fork; it is its parent's, not a worker's");
}

void crew__pool_wake(crew_pool *p)
{
        (void)crew_waiter_wake(p->waiter);
}

void crew__pool_destroy(crew_pool *p)
{
        if (p->generation == crew__generation())
                crew__pool_unwatched(p);
        for (unsigned i = 0; p->workers && i < p->n_workers; i++) {
                (void)crew__lane_free(p->workers[i].lane);
                (void)crew__close(p->workers[i].pidfd);
        }
        /* In a forked child the zygote and the plan's descriptor are not its to end. */
        if (p->generation == crew__generation())
                (void)crew__zygote_free(p->zygote);
        if (p->planned)
                crew__plan_free(&p->plan);
        (void)crew_waiter_free(p->waiter);
        crew__granted_free(p);
        for (size_t i = 0; i < p->n_grants; i++)
                (void)crew__segment_unref(p->grants[i]);
        crew__stock_close(p->stock);
        free(p->grants);
        free(p->units);
        free(p->workers);
        free(p->deaths);
        free(p);
}

/* Whoever drives sees to the rest. */
static void give_up_work(crew_pool *p, int64_t grace)
{
        crew__pool_lock(p);
        if (!p->terminated) {
                p->grace = grace > 0 ? grace : 0;
                p->closed = p->terminated = true;
                crew__job_abort_all(p, CREW_CANCELLED, "the pool was terminated");
        } else if (grace < p->grace) {
                p->grace = grace > 0 ? grace : 0;
        }
        p->look_again = true;
        crew__pool_unlock(p);
        crew__pool_wake(p);
}

crew_pool *crew_pool_free(crew_pool *p)
{
        if (!p)
                return NULL;
        if (p->generation == crew__generation()) {
                give_up_work(p, 0);
                if (crew__driving == p) {
                        /* From a callback: the thread cannot wait for itself. */
                        atomic_store(&p->orphan, true);
                        if (p->threaded)
                                (void)pthread_detach(p->thread);
                        return NULL;
                }
                while (crew__pool_await(p, &p->finished, CREW__READY, CREW__NEVER) == -EINTR)
                        ;
                if (p->threaded)
                        (void)pthread_join(p->thread, NULL);
        }
        crew__pool_destroy(p);
        return NULL;
}

int crew_pool_close(crew_pool *p)
{
        int r = crew__pool_enter(p);

        if (r < 0)
                return r;
        crew__pool_lock(p);
        p->closed = true;
        p->look_again = true;
        crew__pool_unlock(p);
        crew__pool_wake(p);
        return 0;
}

int crew_pool_terminate(crew_pool *p, int64_t grace)
{
        int64_t deadline;
        uint32_t seen;
        int r = crew__pool_enter(p);

        if (r < 0)
                return r;
        give_up_work(p, grace);
        if (crew__driving == p)
                return 0;
        /* What is left are callbacks, before which no result is ready. */
        deadline = crew__deadline(CREW_S(3600));
        for (;;) {
                size_t left;

                seen = atomic_load(&p->rounds);
                crew__pool_lock(p);
                left = p->unfinished;
                crew__pool_unlock(p);
                if (!left)
                        return 0;
                r = crew__pool_await_change(p, &p->rounds, seen, deadline);
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

int crew_pool_join(crew_pool *p, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        int64_t began;
        bool closed;
        int r = crew__pool_enter(p);

        if (r < 0)
                return r;
        crew__pool_lock(p);
        closed = p->closed;
        crew__pool_unlock(p);
        if (!closed)
                return crew__fail(EBUSY,
                        "pool %s: it takes tasks still; close or terminate it first", p->name);
        if (crew__driving == p)
                return crew__fail(
                        EDEADLK, "pool %s: a callback would wait for its own pool", p->name);
        began = crew__trace_clock();
        r = crew__pool_await(p, &p->finished, CREW__READY, deadline);
        if (began)
                crew__trace_span(0, "wait", began, crew_clock(), "join pool %s", p->name);
        return r < 0 ? r : p->unheld;
}

int crew_pool_grant(crew_pool *p, crew_ref ref)
{
        crew__segment *segment, **grown;
        int r = crew__pool_enter(p);

        if (r == 0)
                r = crew__segment_find(&segment, ref);
        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&p->zygote_lock);
        grown = realloc(p->grants, (p->n_grants + 1) * sizeof(crew__segment *));
        if (!grown) {
                r = crew__fail(ENOMEM, "pool %s: no memory for another grant", p->name);
        } else {
                p->grants = grown;
                r = crew__granted_add(p, segment);
        }
        if (r == 0) {
                r = p->zygote ? crew__zygote_grant(p->zygote, segment)
                              : crew__fail(ESHUTDOWN, "pool %s: it has ended", p->name);
        }
        if (r == 0)
                p->grants[p->n_grants++] = segment;
        (void)pthread_mutex_unlock(&p->zygote_lock);
        if (r < 0)
                (void)crew__segment_unref(segment);
        else
                crew__pool_wake(p);
        return r;
}

int crew_pool_read_stats(crew_pool *p, crew_pool_stats *s)
{
        crew_pool_stats now = { .size = sizeof now };
        int r = crew__pool_enter(p);

        if (r < 0)
                return r;
        if (!s || s->size < sizeof s->size)
                return crew__fail(EINVAL, "crew_pool_read_stats: set s->size");
        crew__pool_lock(p);
        now.submitted = p->submitted;
        now.done = p->done;
        now.failed = p->failed;
        now.restarts = p->replaced;
        now.violations = p->violations;
        now.queued = p->queued > UINT_MAX ? UINT_MAX : (unsigned)p->queued;
        for (unsigned i = 0; i < p->n_workers; i++) {
                const crew__worker *w = &p->workers[i];

                now.workers += crew__worker_alive(w);
                now.busy += crew__worker_alive(w) && w->pushed != w->popped;
        }
        crew__pool_unlock(p);
        now.size = s->size;
        memcpy(s, &now, s->size < sizeof now ? s->size : sizeof now);
        return 0;
}
