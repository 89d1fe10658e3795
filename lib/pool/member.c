/* SPDX-License-Identifier: MIT */

/* One worker as the pool's end of its lane: made, given units, their results taken in. */

#include "base/cleanup.h"
#include "base/fail.h"
#include "pool/pool.h"

#include <stdio.h>
#include <string.h>

/* A lane holds so much work: enough to bridge the time until the driver looks again, little enough
 * that a long task does not keep others from running elsewhere. */
#define AHEAD INT64_C(300000)

enum { DRAIN_AT_ONCE = 512 };

unsigned crew__worker_room(const crew_pool *p, const crew__worker *w, const crew_result *job)
{
        uint64_t depth = w->pushed - w->popped, limit = 1;

        if (!crew__worker_alive(w) || w->closed)
                return 0;
        /* The pace is one function's: nothing waits behind another one, which may take any time. */
        if (depth && w->units[w->popped % CREW__UNITS].job->function != job->function)
                return 0;
        if (w->pace && w->paced == job->function)
                limit = (uint64_t)(AHEAD / w->pace);
        if (limit > CREW__UNITS)
                limit = CREW__UNITS;
        if (job->map && limit > 2 * job->chunk)
                limit = 2 * job->chunk;
        if (limit < 1)
                limit = 1;
        if (p->tasks_per_worker && limit > p->tasks_per_worker - w->pushed + depth)
                limit = p->tasks_per_worker - w->pushed + depth;
        return limit > depth ? (unsigned)(limit - depth) : 0;
}

void crew__worker_turn(crew_pool *p, crew__worker *w, int64_t now)
{
        const crew_result *job;

        w->due = CREW__NEVER;
        if (w->pushed == w->popped)
                return;
        job = crew__unit_at(w, w->popped)->job;
        if (job->finished)
                w->due = 0;
        else if (job->deadline) {
                w->since = now;
                w->due = job->deadline > CREW__NEVER - now ? CREW__NEVER : now + job->deadline;
        }
        if (w->due < p->next_look) {
                /* The driver may sleep already, for longer than that. */
                p->next_look = w->due;
                if (crew__driving != p)
                        crew__pool_wake(p);
        }
}

bool crew__worker_push(crew_pool *p, crew__worker *w, const crew__unit *unit)
{
        crew_result *job = unit->job;
        crew__lane_task task = {
                .id = unit->id,
                .function = job->function,
                .attempt = unit->attempt,
                .data = job->in + unit->item * job->in_size,
                .size = job->in_size,
        };
        crew__failure *f;
        int r;

        crew__publish_name(p, w, unit);
        r = crew__lane_push(w->lane, &task);
        if (r == -EMSGSIZE) {
                f = crew__failure_new(job, unit->item, unit, NULL, CREW_FAILED);
                if (f)
                        f->said.code = -EMSGSIZE;
                crew__failure_say(f, "%s", crew_error_detail());
                crew__item_failed(job, unit->item, CREW_FAILED, f);
                return true;
        }
        if (r < 0)
                return false;
        crew__job_ref(job);
        *crew__unit_at(w, w->pushed++) = *unit;
        if (w->pushed - w->popped == 1) {
                w->drained = crew_clock();
                crew__worker_turn(p, w, w->drained);
        }
        if (w->pushed == p->tasks_per_worker) {
                w->closed = true;
                crew__lane_close(w->lane);
        }
        return true;
}

static void lie(crew__worker *w, const char *what)
{
        w->lied = true;
        (void)snprintf(w->lie, sizeof w->lie, "%s", what);
}

static void take_in(crew__worker *w, const crew__lane_result *result)
{
        crew__unit *unit = crew__unit_at(w, w->popped);
        crew_result *job = unit->job;
        crew__failure *f = NULL;

        w->popped++;
        if (result->status == 0) {
                crew__item_done(job, unit->item, result->data, result->size);
        } else if (!job->finished) {
                f = crew__failure_new(job, unit->item, unit, w, CREW_FAILED);
                if (f)
                        f->said.code = result->status;
                if (result->text[0])
                        crew__failure_say(f, "%s", result->text);
                else
                        crew__failure_say(f, "it answered %s: %s", crew_error_name(result->status),
                                crew_error_text(result->status));
                crew__item_failed(job, unit->item, CREW_FAILED, f);
        }
        w->paced = job->function;
        crew__job_unref(job);
}

static void keep_pace(crew__worker *w, unsigned n, int64_t now)
{
        int64_t sample = (now - w->drained) / n;

        sample = sample > 0 ? sample : 1;
        /* Slower at once, faster by and by: what is in a lane cannot be taken back. */
        if (!w->pace || sample > 2 * w->pace)
                w->pace = sample;
        else
                w->pace = (3 * w->pace + sample) / 4 + 1;
        w->drained = now;
}

unsigned crew__worker_drain(crew_pool *p, crew__worker *w, int64_t now)
{
        crew__lane_result result;
        unsigned n = 0;
        int r = 0;

        if (!w->lane || w->lied || !crew__lane_ready(w->lane))
                return 0;
        while (n < DRAIN_AT_ONCE && (r = crew__lane_pop(w->lane, &result)) > 0) {
                if (w->popped == w->pushed)
                        lie(w, "it sent a result that nobody asked for");
                else if (result.id != crew__unit_at(w, w->popped)->id)
                        lie(w, "it sent a result of another task than the one it had");
                else if (result.status > 0)
                        lie(w, "it sent a status that no task can have");
                if (w->lied)
                        return n;
                take_in(w, &result);
                n++;
        }
        if (r < 0)
                lie(w, crew_error_detail());
        if (!n)
                return 0;
        if (w->state == CREW__STARTING)
                w->state = CREW__RUNNING;
        keep_pace(w, n, now);
        crew__worker_turn(p, w, now);
        return n;
}

static void reset(crew__worker *w)
{
        w->pushed = w->popped = 0;
        w->why = 0;
        w->closed = w->lied = false;
        w->pace = 0;
        w->refused = 0;
        w->due = w->kill_at = w->give_up_at = CREW__NEVER;
}

int crew__worker_make(crew_pool *p, crew__worker *w)
{
        crew__lane *lane = NULL;
        int pidfd = -1, r;
        pid_t pid = 0;

        r = crew__lane_new(&lane, p->lane_bytes);
        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&p->zygote_lock);
        r = crew__zygote_spawn(p->zygote, w->row, lane, &pidfd, &pid);
        if (r == 0) {
                reset(w);
                w->lane = lane;
                w->pidfd = pidfd;
                w->pid = pid;
                r = crew__watch(p, w);
        }
        /* Dead at the gate already, its pidfd tells. */
        if (r == 0)
                (void)crew__zygote_release(p->zygote, w->row);
        (void)pthread_mutex_unlock(&p->zygote_lock);
        if (r < 0) {
                w->lane = crew__lane_free(lane);
                w->pidfd = crew__close(pidfd);
                return r;
        }
        crew__pool_lock(p);
        w->state = CREW__STARTING;
        if (w->ever)
                p->replaced++;
        crew__notify(p, w->ever ? CREW_EVENT_REPLACED : CREW_EVENT_STARTED, w, NULL);
        w->ever = true;
        crew__publish(p);
        crew__feed(p);
        crew__pool_unlock(p);
        return 0;
}
