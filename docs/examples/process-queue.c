/* SPDX-License-Identifier: MIT */

/* Messages from one process to another, through a queue that both inherit. */

#include <crew/crew.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int read_func(void *arg)
{
        crew_queue *q = arg;
        char value[16];
        ssize_t n = crew_queue_get(q, value, sizeof value, CREW_FOREVER);

        if (n < 0)
                return 1;
        printf("read value %.*s\n", (int)n, value);
        return 0;
}

static int write_func(void *arg)
{
        static const char *const values[] = { "m1", "m2", "m3", "m4" };
        crew_queue *q = arg;

        for (int i = 0; i < 4; i++) {
                /* With a timeout: if nobody made room, this would wait for ever. */
                if (crew_queue_put(q, values[i], strlen(values[i]), CREW_S(3)) < 0)
                        return 1;
                sleep(1);
        }
        return 0;
}

int main(void)
{
        crew_auto(queue) q = NULL;
        crew_auto(process) writer = NULL;
        crew_auto(process) reader = NULL;
        /* With less than four places, as nobody reads meanwhile, the writer would give up. */
        int r = crew_queue_new(&q, 4, NULL);

        if (r == 0)
                r = crew_process_launch(&writer, write_func, q, NULL);
        if (r == 0)
                r = crew_process_join(writer, CREW_FOREVER);
        if (r == 0)
                r = crew_process_launch(&reader, read_func, q, NULL);
        if (r < 0) {
                fprintf(stderr, "process-queue: %s\n", crew_error_detail());
                return 1;
        }
        return 0;
}
