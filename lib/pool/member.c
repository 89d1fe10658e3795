/* SPDX-License-Identifier: MIT */

/* One worker as the pool's end of its lane: made, given units, their results taken in. */

#include "base/cleanup.h"
#include "base/fail.h"
#include "base/trace.h"
#include "pool/imap.h"

#include <stdio.h>
#include <string.h>

/* A lane holds so much work: enough to bridge the time until the driver looks again. Of a map more,
 * as its batches are made from what the lane holds, and each costs a wake or two. */
#define AHEAD INT64_C(300000)
#define AHEAD_OF_MAP INT64_C(2000000)

/* With an item that takes so much longer than expected a worker has left its pace: what waits
 * behind it is taken back. */
#define STUCK INT64_C(500000)

/* So much work is worth a record of its own. */
#define WORTHWHILE INT64_C(20000)

/* How much later than its deadline an item of a batch may be ended: an eighth of it, or this. */
#define LATE CREW_MS(1)

enum { DRAIN_AT_ONCE = 512 };

static crew__unit *oldest(const crew__worker *w)
{
        return crew__unit_at(w, w->popped);
}

/* How many items the lane should hold. */
static uint64_t depth(const crew__worker *w, const crew_result *job)
{
        uint64_t most = 1;

        /* The pace is one function's. */
        if (w->pace && w->paced == job->function)
                most = (uint64_t)((job->map ? AHEAD_OF_MAP : AHEAD) / w->pace);
        if (most > CREW__BATCH)
                most = CREW__BATCH;
        if (job->map && most / 2 > job->chunk)
                most = 2 * job->chunk;
        return most ? most : 1;
}

/* One unit for half of what the lane should hold, so that the next one is there when it is done;
 * but towards the end of a map less, so that all workers end together. */
static uint64_t batch(const crew_pool *p, const crew__worker *w, const crew_result *job,
        uint64_t most, size_t left)
{
        uint64_t n = most / 2, share = left / (2 * (size_t)p->n_workers) + 1, least;

        if ((!job->map && !job->pieces) || n < 1)
                return 1;
        /* Behind the end of a chunk comes another one. */
        if (job->pieces)
                return n;
        least = (uint64_t)(WORTHWHILE / w->pace);
        share = share > least ? share : least;
        return n < share ? n : share;
}

size_t crew__worker_room(
        const crew_pool *p, const crew__worker *w, const crew_result *job, size_t left)
{
        uint64_t most, n;

        if (!crew__worker_alive(w) || w->closed || w->pushed - w->popped == CREW__UNITS)
                return 0;
        /* Nothing waits behind another function, which may take any time. */
        if (w->items && oldest(w)->job->function != job->function)
                return 0;
        most = depth(w, job);
        n = batch(p, w, job, most, left);
        if (p->tasks_per_worker && most > p->tasks_per_worker - w->given + w->items)
                most = p->tasks_per_worker - w->given + w->items;
        if (most <= w->items || (w->items && most - w->items < n / 2))
                return 0;
        if (n > most - w->items)
                n = most - w->items;
        return n < left ? n : left;
}

bool crew__worker_began(const crew__worker *w)
{
        return w->items && crew__lane_begun(w->lane) - oldest(w)->id < oldest(w)->n;
}

/* When it has left its pace if nothing comes of what it is at. */
static int64_t patience(const crew__worker *w)
{
        return w->drained + STUCK + (int64_t)(oldest(w)->n - 1) * w->pace;
}

bool crew__worker_stuck(const crew__worker *w, int64_t now)
{
        return w->items && now > patience(w);
}

int64_t crew__worker_watch(const crew__worker *w, int64_t now)
{
        int64_t deadline = oldest(w)->job->deadline, between = deadline / 8;
        int64_t late = deadline > CREW__NEVER - w->since ? CREW__NEVER : w->since + deadline;

        /* Which item of a batch it is at, and since when, is seen by looking. */
        between = between > LATE ? between : LATE;
        return oldest(w)->n > 1 && late > now + between ? now + between : late;
}

void crew__worker_due(crew_pool *p, crew__worker *w)
{
        w->due = crew__earlier(w->late_at, w->stuck_at);
        if (w->due < p->next_look) {
                /* The driver may sleep already, for longer than that. */
                p->next_look = w->due;
                if (crew__driving != p)
                        crew__pool_wake(p);
        }
}

void crew__worker_turn(crew_pool *p, crew__worker *w, int64_t now)
{
        const crew_result *job;

        /* One that is being ended has other times to look at. */
        if (!crew__worker_alive(w))
                return;
        w->bare = false;
        w->late_at = w->stuck_at = CREW__NEVER;
        if (!w->items && w->closed)
                w->late_at = 0;
        if (w->items) {
                job = oldest(w)->job;
                w->watched = oldest(w)->id;
                w->since = now;
                if (job->finished)
                        w->late_at = 0;
                else if (job->deadline)
                        w->late_at = crew__worker_watch(w, now);
                if (w->items > 1)
                        w->stuck_at = patience(w);
        }
        crew__worker_due(p, w);
}

static void too_large(crew__unit *unit)
{
        crew__failure *f = crew__failure_new(unit->job, unit->item, unit, NULL, CREW_FAILED);

        if (f)
                f->said.code = -EMSGSIZE;
        crew__failure_say(f, "%s", crew_error_detail());
        crew__item_failed(unit->job, unit->item, CREW_FAILED, f);
}

size_t crew__worker_push(crew_pool *p, crew__worker *w, crew__unit unit)
{
        crew_result *job = unit.job;
        crew__lane_task task = {
                .id = p->next_id + 1,
                .function = job->function,
                .attempt = unit.attempt,
                .count = (uint32_t)unit.n,
                .data = job->in + unit.item * job->in_size,
                .size = job->in_size,
        };
        int r;

        if (job->pieces) {
                task.count = (uint32_t)crew__chunk_alike(job, unit.item, unit.n);
                task.data = job->pieces[unit.item].in;
                task.size = job->pieces[unit.item].in_size;
        }
        unit.id = unit.first = task.id;
        unit.place = crew__lane_tail(w->lane);
        crew__publish_name(p, w, &unit);
        r = crew__lane_push(w->lane, &task);
        if (r == -EMSGSIZE) {
                too_large(&unit);
                return 1;
        }
        if (r < 0)
                return 0;
        unit.n = (size_t)r;
        p->next_id += unit.n;
        w->items += unit.n;
        w->given += unit.n;
        crew__job_ref(job);
        job->row = w->row;
        w->bare = false;
        *crew__unit_at(w, w->pushed++) = unit;
        if (w->items == unit.n) {
                w->drained = crew_clock();
                crew__worker_turn(p, w, w->drained);
        } else if (w->stuck_at == CREW__NEVER) {
                w->stuck_at = patience(w);
                crew__worker_due(p, w);
        }
        if (w->given == p->tasks_per_worker) {
                w->closed = true;
                crew__lane_close(w->lane);
        }
        return unit.n;
}

static void lie(crew__worker *w, const char *what)
{
        w->lied = true;
        (void)snprintf(w->lie, sizeof w->lie, "%s", what);
}

static bool believable(crew__worker *w, const crew__lane_result *result)
{
        if (!w->items)
                lie(w, "it sent a result that nobody asked for");
        else if (result->id != oldest(w)->id)
                lie(w, "it sent a result of another task than the one it had");
        else if (result->count > oldest(w)->n)
                lie(w, "it sent more results than it had tasks");
        else if (result->status > 0)
                lie(w, "it sent a status that no task can have");
        return !w->lied;
}

/* The items of that unit have all failed for the same reason. */
static void take_failures(crew__worker *w, crew__unit unit, int code, const char *words)
{
        crew__failure *f;

        for (; unit.n && !unit.job->finished; unit.n--, unit.item++, unit.id++) {
                f = crew__failure_new(unit.job, unit.item, &unit, w, CREW_FAILED);
                if (f)
                        f->said.code = code;
                if (words[0])
                        crew__failure_say(f, "%s", words);
                else
                        crew__failure_say(f, "it answered %s: %s", crew_error_name(code),
                                crew_error_text(code));
                crew__item_failed(unit.job, unit.item, CREW_FAILED, f);
        }
}

static void take_in(crew__worker *w, const crew__lane_result *result)
{
        crew__unit unit = *oldest(w);
        crew_result *job = unit.job;
        int error = result->status;
        void *place;

        unit.n = result->count;
        if (!error && !job->finished) {
                place = crew__items_place(job, unit.item, unit.n, result->size, &error);
                if (place)
                        crew__lane_copy(w->lane, place);
                if (!error)
                        crew__items_done(job, unit.item, unit.n);
        }
        if (error)
                take_failures(w, unit, error, result->status ? result->text : crew_error_detail());
        w->paced = job->function;
        w->items -= unit.n;
        oldest(w)->item += unit.n;
        oldest(w)->id += unit.n;
        oldest(w)->n -= unit.n;
        if (!oldest(w)->n) {
                w->popped++;
                crew__job_unref(job);
        }
}

/* `took`: as the worker says, of all that it did; 0: it says nothing. It knows best, but not more
 * than the pool has seen. */
static void keep_pace(crew__worker *w, unsigned n, uint64_t took, int64_t now)
{
        int64_t sample = now - w->drained;

        if (took && took < (uint64_t)sample)
                sample = (int64_t)took;
        sample = sample / n > 0 ? sample / n : 1;
        /* Slower by and by: it may have been preempted, and is taken back from if it was not. */
        if (w->pace && sample > 2 * w->pace)
                sample = 2 * w->pace;
        w->pace = !w->pace || sample < w->pace ? sample : (w->pace + sample) / 2;
        w->drained = now;
}

unsigned crew__worker_drain(crew_pool *p, crew__worker *w, int64_t now)
{
        crew__lane_result result;
        unsigned n = 0, records = 0;
        uint64_t took = 0;
        int r = 0;

        if (!w->lane || w->lied || !crew__lane_ready(w->lane))
                return 0;
        while (records < DRAIN_AT_ONCE && (r = crew__lane_look(w->lane, &result)) > 0) {
                if (!believable(w, &result))
                        return n;
                take_in(w, &result);
                crew__lane_drop(w->lane);
                n += result.count;
                took += result.took;
                records++;
        }
        if (r < 0)
                lie(w, crew_error_detail());
        if (!n)
                return 0;
        crew__lane_roomy(w->lane);
        if (crew__traces())
                crew__chronicle_tasks(p, w);
        if (w->state == CREW__STARTING)
                w->state = CREW__RUNNING;
        keep_pace(w, n, took, now);
        crew__worker_refusals(p, w);
        crew__worker_turn(p, w, now);
        return n;
}

void crew__worker_salvage(crew__worker *w)
{
        crew__lane_result result;
        int r;

        if (!w->items || w->lied)
                return;
        r = crew__lane_salvage(w->lane, oldest(w)->id, (uint32_t)oldest(w)->n, &result);
        if (r > 0)
                take_in(w, &result);
        else if (r < 0)
                lie(w, crew_error_detail());
}

/* All but the first `keep` items of its oldest unit. */
static void take_back(crew_pool *p, crew__worker *w, size_t keep)
{
        crew__unit *front = oldest(w), rest = *front;
        uint64_t end = w->pushed - w->popped > 1 ? crew__unit_at(w, w->popped + 1)->place
                                                 : crew__lane_tail(w->lane);
        uint64_t items = w->items - keep;

        /* From the back, as each goes to the front. */
        while (w->pushed - w->popped > 1) {
                crew__unit *unit = crew__unit_at(w, --w->pushed);

                crew__requeue(p, unit);
                crew__job_unref(unit->job);
        }
        rest.item += keep;
        rest.n -= keep;
        crew__requeue(p, &rest);
        front->n = keep;
        w->items -= items;
        w->given -= items;
        if (crew__lane_recall(w->lane, front->place, end,
                    (uint32_t)(front->id + keep - front->first), items) < 0)
                lie(w, crew_error_detail());
}

bool crew__worker_recall(crew_pool *p, crew__worker *w, int64_t now)
{
        bool recalled = false;
        size_t keep, n;
        uint64_t at;

        /* From here on it begins nothing more, or is seen to be about to. */
        crew__lane_hold(w->lane, true);
        /* Before the results: one that it leaves now shows what it had done. */
        at = crew__lane_current(w->lane);
        if (crew__worker_drain(p, w, now) == 0 && !w->lied && w->items > 1) {
                n = oldest(w)->n;
                at -= oldest(w)->id;
                /* At `n` it is past the end that an earlier recall set, and about to see that. */
                keep = at < n ? (size_t)at + 1 : at == n ? n : 1;
                recalled = keep < w->items;
                if (recalled)
                        take_back(p, w, keep);
                w->bare = true;
        }
        crew__lane_hold(w->lane, false);
        return recalled;
}
