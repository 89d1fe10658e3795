/* SPDX-License-Identifier: MIT */

/* The books of a job: items end, and with the last of them the job. All under the pool's lock. */

#include "base/fail.h"
#include "kernel/syscall.h"
#include "pool/imap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

void crew__job_ref(crew_result *job)
{
        (void)atomic_fetch_add_explicit(&job->references, 1, memory_order_relaxed);
}

void crew__job_unref(crew_result *job)
{
        if (atomic_fetch_sub_explicit(&job->references, 1, memory_order_acq_rel) == 1)
                crew__job_free(job);
}

void crew__job_free(crew_result *job)
{
        if (!job->map && job->out != job->small)
                free(job->out);
        crew__chunk_free(job);
        free(job->seen);
        free(job->failure);
        if (job->stock)
                crew__stock_give(job->stock, job);
        else
                free(job);
}

/* Some of it has ended. The imap has a reference to what is in its lists. */
static void tell_imap(crew_result *job)
{
        crew_imap *it = job->imap;

        if (!it)
                return;
        if (it->unordered && crew__link_alone(&job->told))
                crew__link_append(&it->ready, &job->told);
        (void)atomic_fetch_add(&it->word, 1);
        if (atomic_load(&it->sleepers))
                (void)crew__sys_futex_wake(&it->word, INT_MAX);
}

void crew__job_publish(crew_result *job)
{
        crew_pool *p = job->pool;
        uint32_t word;

        p->unfinished--;
        p->look_again |= p->closed && !p->unfinished;
        word = atomic_exchange(&job->word, CREW__READY);
        if (word & CREW__AWAITED)
                (void)crew__sys_futex_wake(&job->word, INT_MAX);
        if (word >= CREW__WATCHER)
                (void)atomic_fetch_add(&p->watchers, (int)(word / CREW__WATCHER));
        if (!job->pieces)
                tell_imap(job);
        crew__job_unref(job);
}

void crew__job_finish(crew_result *job)
{
        crew_pool *p = job->pool;
        size_t waiting = job->n - job->next;

        job->finished = true;
        crew__link_leave(&job->all);
        if (waiting) {
                p->queued -= waiting;
                job->next = job->n;
        }
        crew__link_leave(&job->link);
        if (job->reason && !job->held && p->unheld < INT_MAX)
                p->unheld++;
        if (job->call) {
                /* The driver calls back, without the lock, and publishes then. */
                crew__link_append(&p->called, &job->link);
                if (crew__driving != p)
                        crew__pool_wake(p);
                return;
        }
        crew__job_publish(job);
}

static void set_bits(unsigned char *bits, size_t from, size_t n)
{
        for (; n && from % 8; n--, from++)
                bits[from / 8] |= (unsigned char)(1U << (from % 8));
        memset(bits + from / 8, 0xff, n / 8);
        from += n & ~(size_t)7;
        for (n %= 8; n; n--, from++)
                bits[from / 8] |= (unsigned char)(1U << (from % 8));
}

/* An item is in one unit at a time, so it ends once. */
static void mark(crew_result *job, size_t item, size_t n, int reason)
{
        crew_pool *p = job->pool;

        if (job->map) {
                set_bits(job->seen, item, n);
                for (size_t i = 0; job->status && i < n; i++)
                        job->status[item + i] = reason;
        }
        if (job->pieces)
                crew__chunk_ended(job, item, n, reason);
        if (reason)
                p->failed += n;
        else
                p->done += n;
        __atomic_store_n(&job->done, job->done + n, __ATOMIC_RELAXED);
        if (job->pieces)
                tell_imap(job);
}

static void fail(crew_result *job, size_t item, int reason, crew__failure *failure)
{
        if (job->reason && job->failed_item < item) {
                free(failure);
                return;
        }
        job->reason = reason;
        job->failed_item = item;
        free(job->failure);
        job->failure = failure;
}

void crew__item_failed(crew_result *job, size_t item, int reason, crew__failure *failure)
{
        if (job->finished) {
                free(failure);
                return;
        }
        if (job->pieces)
                job->pieces[item].failure = failure;
        mark(job, item, 1, reason);
        if (!job->pieces)
                fail(job, item, reason, failure);
        if (job->done == job->n)
                crew__job_finish(job);
}

void *crew__items_place(crew_result *job, size_t item, size_t n, size_t size, int *error)
{
        if (job->map && job->out_size && size != job->out_size) {
                *error = crew__fail(
                        EBADMSG, "a result of %zu bytes, expected %zu", size, job->out_size);
                return NULL;
        }
        if (job->map)
                return job->out_size ? job->out + item * size : NULL;
        if (job->pieces)
                return crew__chunk_place(job, item, n, size, error);
        if (n != 1)
                return NULL;
        job->out = size <= sizeof job->small ? job->small : malloc(size);
        job->out_size = size;
        if (!job->out)
                *error = crew__fail(ENOMEM, "no memory for its result of %zu bytes", size);
        return job->out;
}

void crew__items_done(crew_result *job, size_t item, size_t n)
{
        mark(job, item, n, CREW_OK);
        if (job->done == job->n)
                crew__job_finish(job);
}

void crew__job_abort(crew_result *job, int reason, const char *why)
{
        size_t first = SIZE_MAX;
        crew__failure *f;

        if (job->finished)
                return;
        if (job->pieces) {
                job->pool->failed += job->n - job->done;
                crew__chunk_abort(job, reason, why);
                tell_imap(job);
                crew__job_finish(job);
                return;
        }
        if (!job->map)
                first = 0;
        for (size_t i = 0; job->map && i < job->n; i++) {
                if (job->seen[i / 8] & (1U << (i % 8)))
                        continue;
                if (first == SIZE_MAX)
                        first = i;
                if (job->status)
                        job->status[i] = reason;
        }
        job->pool->failed += job->n - job->done;
        f = crew__failure_new(job, first, NULL, NULL, reason);
        if (why && *why)
                crew__failure_say(f, "%s", why);
        fail(job, first, reason, f);
        crew__job_finish(job);
}

void crew__job_abort_all(crew_pool *p, int reason, const char *why)
{
        while (!crew__link_alone(&p->jobs))
                crew__job_abort(CREW__OF(p->jobs.next, crew_result, all), reason, why);
        while (!crew__link_alone(&p->again)) {
                crew__again *again = CREW__OF(p->again.next, crew__again, link);

                crew__link_leave(&again->link);
                p->queued -= again->unit.n;
                crew__job_unref(again->unit.job);
                free(again);
        }
}
