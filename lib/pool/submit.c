/* SPDX-License-Identifier: MIT */

/* From a call to a lane: jobs are made, wait in the backlog, and are handed out. */

#include "base/fail.h"
#include "pool/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A task that is over sooner is not worth waking another worker for. */
#define WORTH_A_WAKE INT64_C(20000)

/* With one that takes longer than that, a worker has left its pace: nothing is put behind it. */
#define STUCK INT64_C(500000)

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
        if (options->deadline < 0)
                return crew__fail(EINVAL, "pool %s: a deadline of %lld ns; 0 means none", p->name,
                        (long long)options->deadline);
        return 0;
}

crew_result *crew__job_new(
        crew_pool *p, crew_task_fn *f, const crew_task_options *o, const void *arg, size_t size)
{
        crew_result *job = malloc(sizeof *job + size);

        if (!job) {
                (void)crew__fail(
                        ENOMEM, "pool %s: no memory for a task of %zu bytes", p->name, size);
                return NULL;
        }
        memset(job, 0, sizeof *job);
        atomic_init(&job->references, 1);
        job->generation = p->generation;
        job->pool = p;
        crew__link_init(&job->all);
        crew__link_init(&job->link);
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

bool crew__requeue(crew_pool *p, const crew__unit *unit)
{
        crew__again *again = malloc(sizeof *again);

        if (!again)
                return false;
        again->unit = *unit;
        crew__job_ref(unit->job);
        /* In front: it waited before the others. */
        again->link.next = p->again.next;
        again->link.prev = &p->again;
        p->again.next->prev = &again->link;
        p->again.next = &again->link;
        p->queued++;
        return true;
}

static void drop_again(crew_pool *p, crew__again *again)
{
        crew__link_leave(&again->link);
        crew__job_unref(again->unit.job);
        free(again);
        p->queued--;
}

/* What is to be handed out next, or false. */
static bool peek(crew_pool *p, crew__unit *unit)
{
        crew_result *job;

        while (!crew__link_alone(&p->again)) {
                crew__again *again = CREW__OF(p->again.next, crew__again, link);

                if (!again->unit.job->finished) {
                        *unit = again->unit;
                        return true;
                }
                drop_again(p, again);
        }
        if (crew__link_alone(&p->backlog))
                return false;
        job = CREW__OF(p->backlog.next, crew_result, link);
        *unit = (crew__unit){ .id = 0, .job = job, .item = job->next, .attempt = 1 };
        return true;
}

static bool hand_out(crew_pool *p, crew__worker *w, crew__unit *unit)
{
        bool again = unit->id != 0, pushed;
        crew_result *job = unit->job;

        if (!again)
                unit->id = ++p->next_id;
        /* What can never be pushed fails, and that may be the end of the job. */
        crew__job_ref(job);
        pushed = crew__worker_push(p, w, unit);
        if (pushed && again) {
                drop_again(p, CREW__OF(p->again.next, crew__again, link));
        } else if (pushed && !job->finished) {
                p->queued--;
                if (++job->next == job->n)
                        crew__link_leave(&job->link);
        }
        crew__job_unref(job);
        return pushed;
}

static crew__worker *next_worker(crew_pool *p, unsigned i)
{
        return &p->workers[(p->turn + i) % p->n_workers];
}

static bool is_stuck(const crew__worker *w, int64_t now)
{
        return w->pushed != w->popped && now - w->drained > STUCK;
}

void crew__feed(crew_pool *p)
{
        crew__unit unit;
        int64_t now;

        /* First whoever has nothing at all, then everybody as much as keeps it busy. */
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = next_worker(p, i);

                if (w->pushed != w->popped || !crew__worker_alive(w))
                        continue;
                if (!peek(p, &unit))
                        return;
                if (crew__worker_room(p, w, unit.job))
                        (void)hand_out(p, w, &unit);
        }
        if (!peek(p, &unit))
                return;
        now = crew_clock();
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = next_worker(p, i);

                while (!is_stuck(w, now) && peek(p, &unit) && crew__worker_room(p, w, unit.job)) {
                        if (!hand_out(p, w, &unit))
                                break;
                }
        }
        p->turn++;
}

/* Who runs one task soonest. */
static crew__worker *choose(crew_pool *p, const crew_result *job)
{
        crew__worker *idle = NULL, *best = NULL;

        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = next_worker(p, i);
                uint64_t depth = w->pushed - w->popped;

                if (!crew__worker_room(p, w, job))
                        continue;
                if (depth == 0) {
                        if (!idle || (idle->state == CREW__STARTING && w->state != idle->state))
                                idle = w;
                } else if (!best || depth < best->pushed - best->popped) {
                        best = w;
                }
        }
        if (best && is_stuck(best, crew_clock()))
                best = NULL;
        if (best && idle && best->pace &&
                (int64_t)(best->pushed - best->popped + 1) * best->pace < WORTH_A_WAKE)
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
        crew__unit unit = { .job = job, .attempt = 1 };

        if (w) {
                unit.id = ++p->next_id;
                if (crew__worker_push(p, w, &unit)) {
                        job->next = 1;
                        return 0;
                }
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
