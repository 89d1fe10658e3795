/* SPDX-License-Identifier: MIT */

/*
 * A map over what a source yields, as it is asked for, a chunk at a time: at most `window` items
 * are under way, finished ones whose chunk was not returned as a whole included, so memory is
 * constant and the input may be infinite. One thread at a time uses an iterator; the driver only
 * counts in `word` and fills `ready`.
 */

#include "pool/imap.h"
#include "base/clock.h"
#include "base/fail.h"

#include <stdlib.h>

/* A chunk is at most so much of a window that all workers have some. */
static void measure(crew_imap *it, const crew_pool *p, const crew_task_options *o)
{
        size_t workers = p->n_workers, share = o->window / (2 * workers);

        /* A callback has one result to look at. */
        it->chunk = o->chunk && !o->done ? o->chunk : 1;
        if (it->chunk > CREW__BATCH)
                it->chunk = CREW__BATCH;
        it->window = o->window ? o->window : 4 * workers * it->chunk;
        if (o->window && it->chunk > share)
                it->chunk = share ? share : 1;
}

static int make(crew_pool *p, crew_task_fn *f, crew_source_fn *next, void *user, crew_imap **it,
        const crew_task_options *o, bool unordered)
{
        crew_task_options options;
        crew_imap *made;
        int r = crew__submit_check(p, f, o, &options);

        if (r == 0 && (!next || !it))
                r = crew__fail(EINVAL, "pool %s: an imap needs a source and a place for its handle",
                        p->name);
        if (r < 0)
                return r;
        made = calloc(1, sizeof *made);
        if (!made)
                return crew__fail(ENOMEM, "pool %s: no memory for an imap", p->name);
        measure(made, p, &options);
        made->generation = p->generation;
        made->pool = p;
        made->function = f;
        made->source = next;
        made->user = user;
        made->unordered = unordered;
        made->options = options;
        crew__link_init(&made->jobs);
        crew__link_init(&made->ready);
        *it = made;
        return 0;
}

int crew_pool_imap(crew_pool *p, crew_task_fn *f, crew_source_fn *next, void *user, crew_imap **it,
        const crew_task_options *o)
{
        return make(p, f, next, user, it, o, false);
}

int crew_pool_imap_unordered(crew_pool *p, crew_task_fn *f, crew_source_fn *next, void *user,
        crew_imap **it, const crew_task_options *o)
{
        return make(p, f, next, user, it, o, true);
}

static int submit(crew_imap *it, crew_result *job)
{
        int r;

        if (!job)
                return -ENOMEM;
        job->imap = it;
        job->index = it->begun;
        r = crew__submit(it->pool, job, true);
        if (r < 0) {
                crew__job_unref(job);
                return r;
        }
        crew__link_append(&it->jobs, &job->mate);
        it->begun += job->n;
        it->held += job->n;
        return 0;
}

/* 1: there is an item; 0: the end. */
static int ask(crew_imap *it, const void **item, size_t *size)
{
        int r;

        *item = NULL;
        *size = 0;
        r = it->source(it->user, item, size);
        if (r > 0 && *size > it->pool->lane_bytes)
                return crew__fail(EMSGSIZE,
                        "pool %s: an item of %zu bytes, and a lane takes %zu; see lane_bytes",
                        it->pool->name, *size, it->pool->lane_bytes);
        return r > 0 ? 1 : r;
}

static int begin_one(crew_imap *it)
{
        const void *item;
        size_t size;
        int r = ask(it, &item, &size), e;

        if (r <= 0)
                return r;
        e = submit(it, crew__job_new(it->pool, it->function, &it->options, item, size));
        return e < 0 ? e : 1;
}

/* What comes before an error or the end is sent. */
static int begin_chunk(crew_imap *it)
{
        const void *item;
        size_t size;
        int r, e;

        do {
                r = ask(it, &item, &size);
                if (r > 0) {
                        e = crew__chunk_add(it, item, size);
                        r = e < 0 ? e : 1;
                }
                it->slow = r > 0 && crew__chunk_late(it);
        } while (r > 0 && !it->slow && !crew__chunk_full(it));
        if (it->gathered.n) {
                e = submit(it, crew__chunk_job(it));
                r = e < 0 ? e : r;
        }
        return r;
}

/* The next job of an unordered imap that has something to return. */
static crew_result *find_any(crew_imap *it, size_t *piece)
{
        crew_result *job = it->current;

        if (!job || job->taken == it->known) {
                crew__pool_lock(it->pool);
                job = NULL;
                if (!crew__link_alone(&it->ready)) {
                        job = CREW__OF(it->ready.next, crew_result, told);
                        crew__link_leave(&job->told);
                        it->known = job->done;
                }
                crew__pool_unlock(it->pool);
                it->current = job;
        }
        if (job)
                *piece = job->pieces ? job->pieces[job->taken].nth : 0;
        return job;
}

/* The one whose item `piece` may be returned, or NULL. */
static crew_result *find(crew_imap *it, size_t *piece)
{
        crew_result *job;
        bool ended;

        if (it->unordered)
                return find_any(it, piece);
        if (crew__link_alone(&it->jobs))
                return NULL;
        job = CREW__OF(it->jobs.next, crew_result, mate);
        *piece = job->taken;
        if (job->pieces)
                ended = atomic_load_explicit(&job->pieces[job->taken].ended, memory_order_acquire);
        else
                ended = atomic_load_explicit(&job->word, memory_order_acquire) & CREW__READY;
        return ended ? job : NULL;
}

/* Asks the source for as much as the window takes, a chunk at a time. A slow one does not keep what
 * has ended from being returned. */
static void pull(crew_imap *it)
{
        size_t piece;
        int r;

        while (!it->over && it->held + it->chunk <= it->window && !(it->slow && find(it, &piece))) {
                if (!crew__pool_takes(it->pool))
                        r = -ESHUTDOWN;
                else
                        r = it->chunk > 1 ? begin_chunk(it) : begin_one(it);
                if (r <= 0) {
                        it->over = true;
                        it->stopped = r;
                }
        }
}

static void drop_last(crew_imap *it)
{
        if (it->last)
                it->last = crew_result_free(it->last);
}

static void describe(crew_imap *it, const crew_result *job, size_t piece, crew_item *item)
{
        const crew__piece *at = job->pieces ? &job->pieces[piece] : NULL;
        crew_failure bare;

        *item = (crew_item){
                .index = job->index + piece,
                .status = at ? at->reason : job->reason,
        };
        if (!item->status) {
                item->data = at ? at->out : job->out;
                item->size = at ? at->out_size : job->out_size;
                return;
        }
        it->failure = (crew_failure){ .size = sizeof it->failure };
        crew__failure_copy(&it->failure, crew__failure_of(at ? at->failure : job->failure,
                                                 item->status, item->index, &bare));
        item->failure = &it->failure;
}

static void hand_over(crew_imap *it, crew_result *job, size_t piece, crew_item *item)
{
        describe(it, job, piece, item);
        it->returned++;
        if (++job->taken == job->n) {
                crew__link_leave(&job->mate);
                it->held -= job->n;
                it->current = NULL;
                it->last = job;
        }
        if (it->returned == it->begun) {
                /* Who made it ready is still busy with `it`, under the lock, and from now on nobody
                 * else is: the free that may follow needs no pool. */
                crew__pool_lock(it->pool);
                crew__pool_unlock(it->pool);
        }
}

static int enter(const crew_imap *it)
{
        if (!it)
                return crew__fail_quick(EINVAL, "no imap handle");
        if (it->generation != crew__generation())
                return crew__fail_quick(
                        ECHILD, "the imap was inherited through a fork; it is its parent's");
        return 0;
}

static int end_of(crew_imap *it)
{
        int r = it->stopped;

        it->stopped = 0;
        if (r < 0)
                (void)crew__fail(
                        -r, "the imap ended after %zu items: %s", it->begun, crew_error_text(r));
        return r;
}

int crew_imap_next(crew_imap *it, crew_item *item, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        crew_result *job;
        uint32_t seen;
        size_t piece;
        int r = enter(it);

        if (r == 0 && !item)
                r = crew__fail(EINVAL, "imap: nowhere to store the item");
        if (r < 0)
                return r;
        drop_last(it);
        for (;;) {
                pull(it);
                if (it->over && it->returned == it->begun)
                        return end_of(it);
                seen = atomic_load(&it->word);
                job = find(it, &piece);
                if (job) {
                        hand_over(it, job, piece, item);
                        return 1;
                }
                (void)atomic_fetch_add(&it->sleepers, 1);
                r = crew__pool_await_change(it->pool, &it->word, seen, deadline);
                (void)atomic_fetch_sub(&it->sleepers, 1);
                if (r < 0)
                        return r;
        }
}

static void cancel_rest(crew_imap *it)
{
        crew_pool *p = it->pool;

        crew__pool_lock(p);
        CREW__EACH (at, &it->jobs) {
                crew_result *job = CREW__OF(at, crew_result, mate);

                job->imap = NULL;
                crew__link_leave(&job->told);
                crew__job_abort(job, CREW_CANCELLED, NULL);
        }
        p->look_again = true;
        crew__pool_unlock(p);
        crew__pool_wake(p);
        CREW__EACH (at, &it->jobs)
                (void)crew_result_free(CREW__OF(at, crew_result, mate));
}

crew_imap *crew_imap_free(crew_imap *it)
{
        if (!it)
                return NULL;
        if (it->generation == crew__generation()) {
                drop_last(it);
                if (it->returned != it->begun)
                        cancel_rest(it);
        }
        free(it->gathered.pieces);
        free(it->gathered.bytes);
        free(it);
        return NULL;
}
