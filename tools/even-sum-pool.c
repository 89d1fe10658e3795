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

struct run {
        crew_pool *pool;
        int64_t parts;
        bool failed;
};

/* By the thread of the pool, one at a time. */
static void done(crew_result *r, void *user)
{
        crew_failure failure = { .size = sizeof failure };
        struct run *run = user;

        if (crew_result_failure(r, &failure) != 0) {
                even_sum_show(++run->parts);
        } else if (!run->failed) {
                /* Without this part there is no sum: the others are of no use. */
                run->failed = true;
                cli_complain("%s", failure.message);
                (void)crew_pool_terminate(run->pool, CREW_NOW);
        }
}

static int submit(struct run *run, crew_ref sums)
{
        for (int64_t i = 0; i < even_sum_options.tasks; i++) {
                struct pool_task task = { .share = even_sum_share(i), .sums = sums,
                        .number = (uint32_t)i };
                char name[24];
                int r;

                (void)snprintf(name, sizeof name, "%" PRId64, i + 1);
                r = sum_part_async(run->pool, &task, NULL,
                        CREW_OPT(task, .name = name, .done = done, .user = run));

                /* A task that failed already ended the pool, and was told of. */
                if (r == -ESHUTDOWN)
                        break;
                if (r < 0)
                        return even_sum_failed("submitting a task", r);
        }
        return 0;
}

int even_sum_by_pool(struct total *total)
{
        crew_auto(queue) sums = NULL;
        crew_auto(pool) pool = NULL;
        struct run run = { 0 };
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
        run.pool = pool;
        r = submit(&run, ref);
        if (r)
                return r;
        (void)crew_pool_close(pool);
        while ((r = crew_pool_join(pool, CREW_FOREVER)) == -EINTR)
                ;
        if (r < 0)
                return even_sum_failed("joining the pool", r);
        return r > 0 || run.failed ? CLI_FAILED : even_sum_take(sums, total);
}
