/* SPDX-License-Identifier: MIT */

/*
 * A map over what a source yields, as it is asked for: at most `window` items are under way,
 * finished ones that were not looked at included, so memory is constant and the input may be
 * infinite. One thread at a time uses an iterator; the driver only counts in `word` and fills
 * `ready`.
 */

#include "base/clock.h"
#include "base/fail.h"
#include "pool/pool.h"

#include <stdlib.h>

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
        if (made) {
                made->window = options.window ? options.window : 4 * (size_t)p->n_workers;
                made->slots = calloc(made->window, sizeof(crew_result *));
        }
        if (!made || !made->slots) {
                free(made);
                return crew__fail(ENOMEM, "pool %s: no memory for an imap", p->name);
        }
        made->generation = p->generation;
        made->pool = p;
        made->function = f;
        made->source = next;
        made->user = user;
        made->unordered = unordered;
        made->options = options;
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

static crew_result **slot_of(crew_imap *it, size_t index)
{
        return &it->slots[index % it->window];
}

/* In an unordered imap any slot may be free. */
static crew_result **free_slot(crew_imap *it)
{
        size_t i = it->begun;

        while (*slot_of(it, i))
                i++;
        return slot_of(it, i);
}

static int begin_one(crew_imap *it, const void *item, size_t size)
{
        crew_pool *p = it->pool;
        crew_result *job;
        int r;

        if (size > p->lane_bytes)
                return crew__fail(EMSGSIZE,
                        "pool %s: an item of %zu bytes, and a lane takes %zu; see lane_bytes",
                        p->name, size, p->lane_bytes);
        job = crew__job_new(p, it->function, &it->options, item, size);
        if (!job)
                return -ENOMEM;
        job->imap = it;
        job->index = it->begun;
        r = crew__submit(p, job, true);
        if (r < 0) {
                crew__job_unref(job);
                return r;
        }
        *free_slot(it) = job;
        it->begun++;
        it->under_way++;
        return 0;
}

/* Asks the source for as much as the window takes. */
static void pull(crew_imap *it)
{
        const void *item;
        size_t size;
        int r;

        while (!it->over && it->under_way < it->window) {
                if (!crew__pool_takes(it->pool)) {
                        it->over = true;
                        it->stopped = -ESHUTDOWN;
                        break;
                }
                item = NULL;
                size = 0;
                r = it->source(it->user, &item, &size);
                if (r > 0)
                        r = begin_one(it, item, size);
                else
                        it->over = true;
                if (r < 0) {
                        it->over = true;
                        it->stopped = r;
                }
        }
}

/* The next one that may be returned, or NULL. */
static crew_result *find(crew_imap *it)
{
        crew_result *job = NULL;

        if (it->unordered) {
                crew__pool_lock(it->pool);
                if (!crew__link_alone(&it->ready)) {
                        job = CREW__OF(it->ready.next, crew_result, link);
                        crew__link_leave(&job->link);
                }
                crew__pool_unlock(it->pool);
                if (job)
                        crew__job_unref(job); /* of the list; the slot has one */
                return job;
        }
        job = *slot_of(it, it->returned);
        if (job && atomic_load_explicit(&job->word, memory_order_acquire) & CREW__READY)
                return job;
        return NULL;
}

static void drop_last(crew_imap *it)
{
        if (it->last)
                it->last = crew_result_free(it->last);
}

static void hand_over(crew_imap *it, crew_result *job, crew_item *item)
{
        for (size_t i = 0; i < it->window; i++) {
                size_t at = (it->unordered ? i : it->returned + i) % it->window;

                if (it->slots[at] != job)
                        continue;
                it->slots[at] = NULL;
                break;
        }
        it->returned++;
        if (--it->under_way == 0) {
                /* Who made it ready is still busy with `it`, under the lock, and from now on nobody
                 * else is: the free that may follow needs no pool. */
                crew__pool_lock(it->pool);
                crew__pool_unlock(it->pool);
        }
        it->last = job;
        *item = (crew_item){ .index = job->index, .status = job->reason };
        if (!job->reason) {
                item->data = job->out;
                item->size = job->out_size;
                return;
        }
        it->failure = (crew_failure){ .size = sizeof it->failure };
        (void)crew_result_failure(job, &it->failure);
        it->failure.item = job->index;
        item->failure = &it->failure;
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
        int r = enter(it);

        if (r == 0 && !item)
                r = crew__fail(EINVAL, "imap: nowhere to store the item");
        if (r < 0)
                return r;
        drop_last(it);
        for (;;) {
                pull(it);
                if (!it->under_way && it->over)
                        return end_of(it);
                seen = atomic_load(&it->word);
                job = find(it);
                if (job) {
                        hand_over(it, job, item);
                        return 1;
                }
                (void)atomic_fetch_add(&it->sleepers, 1);
                r = crew__pool_await_change(it->pool, &it->word, seen, deadline);
                (void)atomic_fetch_sub(&it->sleepers, 1);
                if (r < 0)
                        return r;
        }
}

crew_imap *crew_imap_free(crew_imap *it)
{
        crew_pool *p;

        if (!it)
                return NULL;
        p = it->pool;
        if (it->generation != crew__generation()) {
                free(it->slots);
                free(it);
                return NULL;
        }
        drop_last(it);
        if (it->under_way) {
                crew__pool_lock(p);
                for (size_t i = 0; i < it->window; i++) {
                        crew_result *job = it->slots[i];

                        if (!job)
                                continue;
                        job->imap = NULL;
                        if (!job->finished)
                                crew__job_abort(job, CREW_CANCELLED, NULL);
                }
                while (!crew__link_alone(&it->ready)) {
                        crew_result *job = CREW__OF(it->ready.next, crew_result, link);

                        crew__link_leave(&job->link);
                        crew__job_unref(job);
                }
                p->look_again = true;
                crew__pool_unlock(p);
                crew__pool_wake(p);
        }
        for (size_t i = 0; i < it->window; i++)
                (void)crew_result_free(it->slots[i]);
        free(it->slots);
        free(it);
        return NULL;
}
