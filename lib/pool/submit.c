/* SPDX-License-Identifier: MIT */

/* From a call to a lane: jobs are made, wait in the backlog, and are handed out. */

#include "base/fail.h"
#include "pool/pool.h"
#include "process/site.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A task that is over sooner is not worth waking another worker for. */
#define WORTH_A_WAKE INT64_C(20000)

/* In a pool whose workers are no forks a library may be missing. */
static int check_function(crew_pool *p, crew_task_fn *f)
{
        crew__function *function;
        crew__site place;
        bool has;

        if (!p->fresh || atomic_load_explicit(&p->known, memory_order_relaxed) == f)
                return 0;
        (void)pthread_mutex_lock(&p->zygote_lock);
        has = !p->zygote || crew__zygote_knows(p->zygote, f);
        (void)pthread_mutex_unlock(&p->zygote_lock);
        if (has) {
                atomic_store_explicit(&p->known, f, memory_order_relaxed);
                return 0;
        }
        memcpy(&function, &f, sizeof function);
        (void)crew__site_of(&place, function);
        return crew__fail(ENOENT,
                "pool %s: its workers do not have the function %s: its library was loaded later "
                "than crew_spawn_main() was called, or than the pool was made",
                p->name, place.name);
}

int crew__submit_check(
        crew_pool *p, crew_task_fn *f, const crew_task_options *o, crew_task_options *options)
{
        int r = crew__pool_enter(p);

        if (r == 0)
                r = crew__options(options, sizeof *options, o, "task options");
        if (r < 0)
                return r;
        if (!f)
                return crew__fail(EINVAL, "pool %s: no function to run", p->name);
        r = check_function(p, f);
        if (r < 0)
                return r;
        if (options->deadline < 0)
                return crew__fail(EINVAL, "pool %s: a deadline of %lld ns; 0 means none", p->name,
                        (long long)options->deadline);
        return 0;
}

_Static_assert(sizeof(crew_result) + 64 <= CREW__STOCK_BLOCK, "a block has room for an argument");

crew_result *crew__job_new(
        crew_pool *p, crew_task_fn *f, const crew_task_options *o, const void *arg, size_t size)
{
        crew__stock *stock = size <= CREW__STOCK_BLOCK - sizeof(crew_result) ? p->stock : NULL;
        crew_result *job = stock ? crew__stock_take(stock) : malloc(sizeof *job + size);

        if (!job) {
                (void)crew__fail(
                        ENOMEM, "pool %s: no memory for a task of %zu bytes", p->name, size);
                return NULL;
        }
        memset(job, 0, sizeof *job);
        atomic_init(&job->references, 1);
        job->generation = p->generation;
        job->pool = p;
        job->stock = stock;
        crew__link_init(&job->all);
        crew__link_init(&job->link);
        crew__link_init(&job->told);
        crew__link_init(&job->mate);
        job->held = true;
        job->function = (uint64_t)(uintptr_t)f;
        job->in = job->arguments;
        job->in_size = size;
        job->n = 1;
        job->chunk = 1;
        job->deadline = o->deadline;
        job->retries = o->retries ? o->retries : p->retries;
        job->call = o->done;
        job->user = o->user;
        if (o->name)
                (void)snprintf(job->name, sizeof job->name, "%s", o->name);
        if (size && arg)
                memcpy(job->arguments, arg, size);
        return job;
}

/* What comes directly before the unit that waits in front is joined with it. */
static bool join(crew_pool *p, const crew__unit *unit)
{
        crew__unit *front;

        if (crew__link_alone(&p->again))
                return false;
        front = &CREW__OF(p->again.next, crew__again, link)->unit;
        if (front->job != unit->job || front->attempt != unit->attempt ||
                unit->item + unit->n != front->item)
                return false;
        front->item = unit->item;
        front->n += unit->n;
        p->queued += unit->n;
        return true;
}

void crew__requeue(crew_pool *p, const crew__unit *unit)
{
        crew__again *again;

        if (unit->job->finished || !unit->n || join(p, unit))
                return;
        again = malloc(sizeof *again);
        if (!again) {
                for (size_t i = 0; i < unit->n; i++)
                        crew__item_failed(unit->job, unit->item + i, CREW_DIED, NULL);
                return;
        }
        again->unit = *unit;
        crew__job_ref(unit->job);
        /* In front: it waited before the others. */
        again->link.next = p->again.next;
        again->link.prev = &p->again;
        p->again.next->prev = &again->link;
        p->again.next = &again->link;
        p->queued += unit->n;
}

static void drop_again(crew_pool *p, crew__again *again)
{
        crew__link_leave(&again->link);
        p->queued -= again->unit.n;
        crew__job_unref(again->unit.job);
        free(again);
}

/* What is to be handed out next: that unit, or so much of it as there is room for; or false. */
struct next {
        crew__unit unit;
        crew__again *again; /* NULL: it is the first job of the backlog */
};

static bool peek(crew_pool *p, struct next *next)
{
        crew_result *job;

        while (!crew__link_alone(&p->again)) {
                crew__again *again = CREW__OF(p->again.next, crew__again, link);

                if (!again->unit.job->finished) {
                        *next = (struct next){ again->unit, again };
                        return true;
                }
                drop_again(p, again);
        }
        if (crew__link_alone(&p->backlog))
                return false;
        job = CREW__OF(p->backlog.next, crew_result, link);
        next->unit = (crew__unit){
                .job = job, .item = job->next, .n = job->n - job->next, .attempt = 1
        };
        next->again = NULL;
        return true;
}

/* `n` of them are in a lane, or failed. */
static void handed_out(crew_pool *p, struct next *next, size_t n)
{
        crew_result *job = next->unit.job;

        if (next->again) {
                next->again->unit.item += n;
                next->again->unit.n -= n;
                p->queued -= n;
                if (!next->again->unit.n)
                        drop_again(p, next->again);
        } else if (!job->finished) {
                p->queued -= n;
                job->next += n;
                if (job->next == job->n)
                        crew__link_leave(&job->link);
        }
}

/* Gives it what it should have of what comes next; false: it should have nothing. */
static bool hand_out(crew_pool *p, crew__worker *w, struct next *next)
{
        crew_result *job = next->unit.job;
        size_t n = crew__worker_room(p, w, job, next->unit.n);

        if (!n)
                return false;
        next->unit.n = n;
        /* What can never be pushed fails, and that may be the end of the job. */
        crew__job_ref(job);
        n = crew__worker_push(p, w, next->unit);
        if (n)
                handed_out(p, next, n);
        crew__job_unref(job);
        return n > 0;
}

static crew__worker *next_worker(crew_pool *p, unsigned i)
{
        return &p->workers[(p->turn + i) % p->n_workers];
}

void crew__feed(crew_pool *p)
{
        struct next next;
        int64_t now;

        /* First whoever has nothing at all, then everybody as much as keeps it busy. */
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = next_worker(p, i);

                if (w->items || !crew__worker_alive(w))
                        continue;
                if (!peek(p, &next))
                        return;
                if (hand_out(p, w, &next))
                        crew__lane_wake(w->lane);
        }
        if (!peek(p, &next))
                return;
        now = crew_clock();
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = next_worker(p, i);
                bool pushed = false;

                while (!crew__worker_stuck(w, now) && peek(p, &next) && hand_out(p, w, &next))
                        pushed = true;
                if (pushed)
                        crew__lane_wake(w->lane);
        }
        p->turn++;
}

bool crew__feed_idle(crew_pool *p, int64_t now)
{
        bool idle = false, recalled = false;
        struct next next;

        for (unsigned i = 0; i < p->n_workers; i++)
                idle |= crew__worker_alive(&p->workers[i]) && !p->workers[i].items;
        if (!idle || peek(p, &next))
                return false;
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = &p->workers[i];

                if (crew__worker_alive(w) && w->items > 1 && !w->bare && crew__worker_stuck(w, now))
                        recalled |= crew__worker_recall(p, w, now);
        }
        if (recalled)
                crew__feed(p);
        return recalled;
}

/* Who runs one task soonest. */
static crew__worker *choose(crew_pool *p, const crew_result *job)
{
        crew__worker *idle = NULL, *best = NULL;

        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = next_worker(p, i);

                if (!crew__worker_room(p, w, job, 1))
                        continue;
                if (w->items == 0) {
                        if (!idle || (idle->state == CREW__STARTING && w->state != idle->state))
                                idle = w;
                } else if (!best || w->items < best->items) {
                        best = w;
                }
        }
        if (best && crew__worker_stuck(best, crew_clock()))
                best = NULL;
        if (best && idle && best->pace && (int64_t)(best->items + 1) * best->pace < WORTH_A_WAKE)
                return best;
        return idle ? idle : best;
}

static int refused(const crew_pool *p)
{
        if (p->broken)
                return crew__fail(ENOTRECOVERABLE, "pool %s: %s", p->name, p->why);
        return crew__fail(
                ESHUTDOWN, "pool %s: it was closed; make another for more tasks", p->name);
}

bool crew__pool_takes(crew_pool *p)
{
        bool takes;

        crew__pool_lock(p);
        takes = !p->closed;
        crew__pool_unlock(p);
        return takes;
}

static int enqueue(crew_pool *p, crew_result *job, bool unlimited)
{
        bool waiting = !crew__link_alone(&p->backlog) || !crew__link_alone(&p->again);
        crew__worker *w = job->n == 1 && !waiting ? choose(p, job) : NULL;
        crew__unit unit = { .job = job, .n = 1, .attempt = 1 };

        if (w && crew__worker_push(p, w, unit)) {
                crew__lane_wake(w->lane);
                job->next = 1;
                return 0;
        }
        if (!unlimited && p->backlog_limit && p->queued >= p->backlog_limit)
                return crew__fail(EAGAIN, "pool %s: %zu tasks wait already", p->name, p->queued);
        p->queued += job->n;
        crew__link_append(&p->backlog, &job->link);
        if (!waiting)
                crew__feed(p);
        return 0;
}

int crew__submit(crew_pool *p, crew_result *job, bool unlimited)
{
        int r = 0;

        crew__pool_lock(p);
        if (p->closed || p->broken) {
                r = refused(p);
                crew__pool_unlock(p);
                return r;
        }
        crew__job_ref(job);
        p->unfinished++;
        crew__link_append(&p->jobs, &job->all);
        if (job->n)
                r = enqueue(p, job, unlimited);
        else
                crew__job_finish(job);
        if (r == 0) {
                p->submitted += job->n;
        } else {
                p->unfinished--;
                crew__link_leave(&job->all);
                crew__job_unref(job);
        }
        crew__pool_unlock(p);
        return r;
}
