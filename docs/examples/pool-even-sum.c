/* SPDX-License-Identifier: MIT */

/*
 * The sum of all even numbers from 1 to 1,000,000,000, in ten parts by ten workers, which put what
 * they have found into a queue. pool-even-sum N goes to N instead.
 */

#include <crew/crew.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS 10

struct part {
        int64_t from, to; /* both included */
        crew_ref sums;
};

CREW_TASK(sum_data, struct part, crew_none)
(crew_task *t, const struct part *part, crew_none *none)
{
        crew_queue *sums;
        int64_t sum = 0;
        int r = crew_task_queue(t, part->sums, &sums);

        (void)none;
        for (int64_t x = part->from; x <= part->to; x++) {
                if (x % 2 == 0)
                        sum += x;
        }
        return r < 0 ? r : CREW_PUT(sums, &sum, CREW_S(1));
}

static int submit(crew_pool *pool, int64_t last, crew_ref sums)
{
        int64_t from = 1;

        for (int i = 1; i <= PARTS; i++) {
                struct part part = { .from = from, .to = last / PARTS * i, .sums = sums };
                int r;

                if (i == PARTS)
                        part.to = last;
                r = sum_data_async(pool, &part, NULL, NULL);
                if (r < 0)
                        return r;
                from = part.to + 1;
        }
        return 0;
}

static int sum_up(int64_t last, int64_t *total)
{
        crew_auto(queue) sums = NULL;
        crew_auto(pool) pool = NULL;
        int64_t sum;
        crew_ref ref;
        /* Nobody takes anything before the join: there is room for all parts. */
        int r = crew_queue_new(&sums, PARTS, CREW_OPT(queue, .message_size = sizeof sum));

        if (r < 0)
                return r;
        ref = crew_queue_ref(sums);
        r = crew_pool_new(&pool, PARTS, CREW_OPT(pool, .grants = &ref, .n_grants = 1));
        if (r == 0)
                r = submit(pool, last, ref);
        if (r == 0)
                r = crew_pool_close(pool);
        if (r == 0)
                r = crew_pool_join(pool, CREW_FOREVER);
        for (int i = 0; r == 0 && i < PARTS; i++) {
                r = CREW_GET(sums, &sum, CREW_NOW);
                *total += r == 0 ? sum : 0;
        }
        return r;
}

int main(int argc, char **argv)
{
        int64_t last = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000000, total = 0;
        int64_t begun = crew_clock();
        int r = sum_up(last, &total);

        if (r != 0) {
                if (r < 0)
                        fprintf(stderr, "pool-even-sum: %s\n", crew_error_detail());
                else
                        fprintf(stderr, "pool-even-sum: %d parts are missing\n", r);
                return 1;
        }
        printf("%.2fs: %" PRId64 "\n", (double)(crew_clock() - begun) / 1e9, total);
        return 0;
}
