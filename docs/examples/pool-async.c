/* SPDX-License-Identifier: MIT */

/* Ten tasks for a pool of three: as one process is done with a task, it takes the next. */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

/* A function `worker` and, typed, worker_async: an int in, nothing out. */
CREW_TASK(worker, int, crew_none)
(crew_task *t, const int *num, crew_none *none)
{
        (void)t;
        (void)none;
        for (int x = 0; x < 5; x++) {
                printf("num:%d,pid:%d\n", *num, getpid());
                usleep(100000);
        }
        return 0;
}

int main(void)
{
        crew_auto(pool) pool = NULL;
        int r = crew_pool_new(&pool, 3, NULL);

        for (int x = 0; r == 0 && x < 10; x++)
                r = worker_async(pool, &x, NULL, NULL);
        /* Nothing new from here on; then wait for what was asked for. Without the join, the end of
         * the program would be the end of its workers. */
        if (r == 0)
                r = crew_pool_close(pool);
        if (r == 0)
                r = crew_pool_join(pool, CREW_FOREVER);
        if (r < 0)
                fprintf(stderr, "pool-async: %s\n", crew_error_detail());
        else if (r > 0)
                fprintf(stderr, "pool-async: %d tasks failed\n", r);
        return r != 0;
}
