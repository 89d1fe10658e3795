/* SPDX-License-Identifier: MIT */

/*
 * Messages between the workers of a pool. They share nothing unless it is granted: the pool is
 * given the queue, the task is given its name and opens it.
 */

#include <crew/crew.h>
#include <stdio.h>
#include <string.h>

CREW_TASK(write_func, crew_ref, crew_none)
(crew_task *t, const crew_ref *ref, crew_none *none)
{
        static const char *const values[] = { "m1", "m2", "m3" };
        crew_queue *q;
        int r = crew_task_queue(t, *ref, &q);

        (void)none;
        for (int i = 0; r == 0 && i < 3; i++)
                r = crew_queue_put(q, values[i], strlen(values[i]), CREW_S(3));
        return r;
}

CREW_TASK(read_func, crew_ref, crew_none)
(crew_task *t, const crew_ref *ref, crew_none *none)
{
        crew_queue *q;
        char value[16];
        ssize_t n;
        int r = crew_task_queue(t, *ref, &q);

        (void)none;
        /* First in, first out. */
        while (r == 0 && !crew_queue_empty(q)) {
                n = crew_queue_get(q, value, sizeof value, CREW_NOW);
                if (n < 0)
                        return (int)n;
                printf("读到的值:%.*s\n", (int)n, value);
        }
        return r;
}

int main(void)
{
        crew_auto(queue) q = NULL;
        crew_auto(pool) pool = NULL;
        crew_none none;
        crew_ref ref;
        int r = crew_queue_new(&q, 0, NULL);

        if (r == 0) {
                ref = crew_queue_ref(q);
                r = crew_pool_new(&pool, 2, CREW_OPT(pool, .grants = &ref, .n_grants = 1));
        }
        if (r == 0)
                r = write_func_apply(pool, &ref, &none, CREW_FOREVER, NULL);
        if (r == 0)
                r = read_func_apply(pool, &ref, &none, CREW_FOREVER, NULL);
        if (r == 0)
                r = crew_pool_close(pool);
        if (r == 0)
                r = crew_pool_join(pool, CREW_FOREVER);
        if (r < 0)
                fprintf(stderr, "pool-queue: %s\n", crew_error_detail());
        return r < 0;
}
