/* SPDX-License-Identifier: MIT */

/* What a holder of a result can ask; and the calls that submit one and wait for it. */

#include "base/clock.h"
#include "base/fail.h"
#include "pool/imap.h"

#include <stdlib.h>
#include <string.h>

static int enter(const crew_result *r)
{
        if (!r)
                return crew__fail_quick(EINVAL, "no result handle");
        if (r->generation != crew__generation())
                return crew__fail_quick(
                        ECHILD, "the result was inherited through a fork; it is its parent's");
        return 0;
}

/* In its own callback it is ready too. */
static bool is_ready(crew_result *r)
{
        uint32_t word = atomic_load_explicit(&r->word, memory_order_acquire);

        return word & CREW__READY || (word & CREW__CALLED && crew__driving == r->pool);
}

static int await_result(crew_result *r, int64_t deadline, bool own)
{
        if (is_ready(r))
                return 0;
        crew__pool_watch(r->pool, r, deadline, own);
        return is_ready(r) ? 0 : crew__pool_await(r->pool, &r->word, CREW__READY, deadline);
}

static int await(crew_result *r, int64_t deadline)
{
        return await_result(r, deadline, false);
}

bool crew_result_ready(crew_result *r)
{
        return enter(r) == 0 && (is_ready(r) || await(r, 0) == 0);
}

bool crew_result_successful(crew_result *r)
{
        return crew_result_ready(r) && r->reason == CREW_OK;
}

int crew_result_wait(crew_result *r, int64_t timeout)
{
        int e = enter(r);

        if (e == 0 && !is_ready(r))
                e = await(r, crew__deadline(timeout));
        return e;
}

static int failure_of(const crew_result *r)
{
        if (!r->failure)
                return crew__fail(
                        r->reason == CREW_FAILED ? ENOMEM : -crew__reason_errno(r->reason, 0),
                        "the task did not succeed: %s", crew__reason_words(r->reason));
        return crew__fail(
                -crew__reason_errno(r->reason, r->failure->said.code), "%s", r->failure->text);
}

static ssize_t answer(crew_result *r, void *buf, size_t cap)
{
        if (r->reason)
                return failure_of(r);
        if (r->map)
                return 0;
        if (r->out_size > cap)
                return crew__fail(EMSGSIZE,
                        "the result has %zu bytes, more than the %zu there is room for",
                        r->out_size, cap);
        if (r->out_size && buf)
                memcpy(buf, r->out, r->out_size);
        return (ssize_t)r->out_size;
}

ssize_t crew_result_get(crew_result *r, void *buf, size_t cap, int64_t timeout)
{
        int e = crew_result_wait(r, timeout);

        return e < 0 ? e : answer(r, buf, cap);
}

const void *crew_result_data(crew_result *r, size_t *size)
{
        if (!crew_result_successful(r))
                return NULL;
        if (size)
                *size = r->map ? r->n * r->out_size : r->out_size;
        return r->out;
}

int crew_result_progress(crew_result *r, size_t *done, size_t *total)
{
        int e = enter(r);

        if (e < 0)
                return e;
        (void)is_ready(r);
        if (done)
                *done = __atomic_load_n(&r->done, __ATOMIC_RELAXED);
        if (total)
                *total = r->n;
        return 0;
}

static void tell_failure(const crew_result *r, crew_failure *f, bool keep)
{
        crew_failure bare;
        const crew_failure *from =
                crew__failure_of(r->failure, r->reason, r->index + r->failed_item, &bare);

        if (keep)
                crew__failure_keep(f, from);
        else
                crew__failure_copy(f, from);
}

int crew_result_failure(crew_result *r, crew_failure *f)
{
        int e = enter(r);

        if (e < 0)
                return e;
        if (!f || f->size < sizeof f->size)
                return crew__fail(
                        EINVAL, "crew_result_failure: set f->size to sizeof(crew_failure)");
        if (!is_ready(r) && await(r, 0) < 0)
                return crew__fail_quick(EBUSY, "the task is not done yet");
        if (!r->reason)
                return crew__fail_quick(ENODATA, "the task succeeded");
        tell_failure(r, f, false);
        return 0;
}

int crew_result_cancel(crew_result *r, int64_t grace)
{
        crew_pool *p;
        int e = enter(r);

        if (e < 0)
                return e;
        if (is_ready(r))
                return crew__fail_quick(EALREADY, "the task is done");
        p = r->pool;
        crew__pool_lock(p);
        if (r->finished) {
                e = crew__fail_quick(EALREADY, "the task is done");
        } else {
                r->grace = grace > 0 ? grace : 0;
                crew__job_abort(r, CREW_CANCELLED, NULL);
                p->look_again = true;
        }
        crew__pool_unlock(p);
        crew__pool_wake(p);
        return e;
}

crew_result *crew_result_free(crew_result *r)
{
        crew_pool *p;

        if (!r)
                return NULL;
        if (r->generation != crew__generation()) {
                crew__job_free(r);
                return NULL;
        }
        if (!(atomic_load_explicit(&r->word, memory_order_acquire) & CREW__READY)) {
                p = r->pool;
                crew__pool_lock(p);
                r->held = false;
                if (r->map && !r->finished) {
                        crew__job_abort(r, CREW_CANCELLED, NULL);
                        p->look_again = true;
                        p->unheld--;
                }
                crew__job_unref(r);
                crew__pool_unlock(p);
                crew__pool_wake(p);
                return NULL;
        }
        crew__job_unref(r);
        return NULL;
}

/* Waits for a job of one's own, which nobody can interrupt or wait for twice. */
static ssize_t finish_own(
        crew_result *job, void *out, size_t cap, int64_t deadline, const crew_task_options *o)
{
        ssize_t r;

        do
                r = await_result(job, deadline, true);
        while (r == -EINTR);
        if (r < 0 && !is_ready(job)) {
                (void)crew_result_cancel(job, 0);
                (void)crew__fail((int)-r, "the task was not done in time and was cancelled");
        } else {
                r = answer(job, out, cap);
                if (job->reason && o->failure && o->failure->size >= sizeof o->failure->size)
                        tell_failure(job, o->failure, true);
        }
        (void)crew_result_free(job);
        return r;
}

static int refuse_own(crew_pool *p)
{
        if (crew__driving == p)
                return crew__fail(EDEADLK,
                        "pool %s: a callback would wait for a task, and the pool for the callback",
                        p->name);
        return 0;
}

static int check_size(const crew_pool *p, size_t size)
{
        if (size > p->lane_bytes)
                return crew__fail(EMSGSIZE,
                        "pool %s: an argument of %zu bytes, and a lane takes %zu; see lane_bytes",
                        p->name, size, p->lane_bytes);
        return 0;
}

static int submit_one(crew_pool *p, crew_task_fn *f, const void *arg, size_t size,
        const crew_task_options *o, bool held, crew_result **r)
{
        int e = check_size(p, size);

        if (e == 0 && size && !arg)
                e = crew__fail(
                        EINVAL, "pool %s: %zu bytes of argument and no pointer", p->name, size);
        if (e < 0)
                return e;
        *r = crew__job_new(p, f, o, arg, size);
        if (!*r)
                return -ENOMEM;
        (*r)->held = held;
        e = crew__submit(p, *r, false);
        if (e < 0)
                crew__job_unref(*r);
        return e;
}

ssize_t crew_pool_apply(crew_pool *p, crew_task_fn *f, const void *arg, size_t size, void *out,
        size_t cap, int64_t timeout, const crew_task_options *o)
{
        int64_t deadline = crew__deadline(timeout);
        crew_task_options options;
        crew_result *job = NULL;
        int r = crew__submit_check(p, f, o, &options);

        if (r == 0)
                r = refuse_own(p);
        if (r == 0)
                r = submit_one(p, f, arg, size, &options, true, &job);
        return r < 0 ? r : finish_own(job, out, cap, deadline, &options);
}

int crew_pool_apply_async(crew_pool *p, crew_task_fn *f, const void *arg, size_t size,
        crew_result **r, const crew_task_options *o)
{
        crew_task_options options;
        crew_result *job = NULL;
        int e = crew__submit_check(p, f, o, &options);

        if (e == 0)
                e = submit_one(p, f, arg, size, &options, r != NULL, &job);
        if (e < 0)
                return e;
        if (r)
                *r = job;
        else
                crew__job_unref(job);
        return 0;
}

static int submit_map(crew_pool *p, crew_task_fn *f, const void *in, size_t n, size_t in_size,
        void *out, size_t out_size, const crew_task_options *o, crew_result **r)
{
        size_t share = 4 * (size_t)p->n_workers;
        crew_result *job;
        int e = check_size(p, in_size);

        if (e == 0 && ((n && in_size && !in) || (n && out_size && !out)))
                e = crew__fail(
                        EINVAL, "pool %s: a map of %zu items without memory for them", p->name, n);
        if (e == 0)
                e = check_size(p, out_size);
        if (e < 0)
                return e;
        job = crew__job_new(p, f, o, NULL, 0);
        if (!job)
                return -ENOMEM;
        job->map = true;
        job->in = in;
        job->in_size = in_size;
        job->n = n;
        job->out = out;
        job->out_size = out_size;
        job->status = o->status;
        job->chunk = o->chunk ? o->chunk : n / share + (n % share != 0);
        job->seen = calloc(n / 8 + 1, 1);
        e = job->seen ? crew__submit(p, job, false)
                      : crew__fail(ENOMEM, "pool %s: no memory for a map of %zu", p->name, n);
        if (e < 0)
                crew__job_unref(job);
        else
                *r = job;
        return e;
}

int crew_pool_map(crew_pool *p, crew_task_fn *f, const void *in, size_t n, size_t in_size,
        void *out, size_t out_size, int64_t timeout, const crew_task_options *o)
{
        int64_t deadline = crew__deadline(timeout);
        crew_task_options options;
        crew_result *job;
        int r = crew__submit_check(p, f, o, &options);

        if (r == 0)
                r = refuse_own(p);
        if (r == 0)
                r = submit_map(p, f, in, n, in_size, out, out_size, &options, &job);
        return r < 0 ? r : (int)finish_own(job, NULL, 0, deadline, &options);
}

int crew_pool_map_async(crew_pool *p, crew_task_fn *f, const void *in, size_t n, size_t in_size,
        void *out, size_t out_size, crew_result **r, const crew_task_options *o)
{
        crew_task_options options;
        crew_result *job;
        int e = crew__submit_check(p, f, o, &options);

        if (e == 0 && !r)
                e = crew__fail(
                        EINVAL, "pool %s: a map needs somewhere to store its result", p->name);
        if (e == 0)
                e = submit_map(p, f, in, n, in_size, out, out_size, &options, &job);
        if (e == 0)
                *r = job;
        return e;
}
