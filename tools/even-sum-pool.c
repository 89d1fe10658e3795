/* SPDX-License-Identifier: MIT */

/*
 * The tutorial's program: a pool, a queue that its workers are granted, one task for each part, close,
 * join, and then the partial sums are taken from the queue without waiting.
 */

#include "cli.h"
#include "even-sum-loop.h"
#include "even-sum.h"

#include <crew/crew.h>
#include <errno.h>

struct pool_task {
        struct share share;
        crew_ref sums;
        uint32_t number, unused;
};

CREW_TASK(sum_part, struct pool_task, crew_none)
(crew_task *t, const struct pool_task *task, crew_none *none)
{
        struct part part = { .number = task->number };
        crew_queue *sums;
        int r;

        (void)none;
        r = crew_task_queue(t, task->sums, &sums);
        if (r < 0)
                return r;
        part.sum = even_sum_loop(task->share.from, task->share.to);
        return CREW_PUT(sums, &part, CREW_FOREVER);
}

/* By the thread of the pool, one at a time. */
static void done(crew_result *r, void *user)
{
        int64_t *parts = user;
        crew_failure failure = { .size = sizeof failure };

        if (crew_result_failure(r, &failure) == 0)
                cli_complain("task %" PRIu64 ": %s", failure.task, failure.message);
        even_sum_show(++*parts);
}

static int submit(crew_pool *pool, crew_ref sums, int64_t *parts)
{
        for (int64_t i = 0; i < even_sum_options.tasks; i++) {
                struct pool_task task = { .share = even_sum_share(i), .sums = sums,
                        .number = (uint32_t)i };
                int r = sum_part_async(
                        pool, &task, NULL, CREW_OPT(task, .done = done, .user = parts));

                if (r < 0)
                        return even_sum_failed("submitting a task", r);
        }
        return 0;
}

int even_sum_by_pool(struct total *total)
{
        crew_auto(queue) sums = NULL;
        crew_auto(pool) pool = NULL;
        int64_t parts = 0;
        crew_ref ref;
        int r;

        /* Nobody gets before the join, so there must be room for all. */
        r = crew_queue_new(&sums,
                even_sum_options.tasks > QUEUE_MESSAGES ? (size_t)even_sum_options.tasks
                                                        : QUEUE_MESSAGES,
                CREW_OPT(queue, .name = "sums", .message_size = sizeof(struct part),
                        .bytes = (size_t)even_sum_options.tasks * 2 * sizeof(struct part)));
        if (r < 0)
                return even_sum_failed("making the queue", r);
        ref = crew_queue_ref(sums);
        r = crew_pool_new(&pool, (unsigned)even_sum_options.workers,
                CREW_OPT(pool, .name = "even-sum", .grants = &ref, .n_grants = 1,
                        .sandbox = even_sum_options.sandbox));
        if (r < 0)
                return even_sum_failed("making the pool", r);
        r = submit(pool, ref, &parts);
        if (r)
                return r;
        (void)crew_pool_close(pool);
        while ((r = crew_pool_join(pool, CREW_FOREVER)) == -EINTR)
                ;
        if (r < 0)
                return even_sum_failed("joining the pool", r);
        /* Failures were told of one by one. */
        return r > 0 ? CLI_FAILED : even_sum_take(sums, total);
}
