/* SPDX-License-Identifier: MIT */

/*
 * A queue of tasks: its workers say of each message when it is done, so that the parent can wait
 * for all of them, and the queue ends by itself once nobody is left who could put. Nobody has to
 * send as many "stop" messages as there are workers.
 */

#include <crew/crew.h>
#include <errno.h>
#include <stdio.h>

enum { WORKERS = 3, TASKS = 9 };

static int work(void *arg)
{
        crew_queue *q = arg;
        int task, n = 0, r = crew_queue_put_done(q); /* a worker only takes */

        while (r == 0 && (r = CREW_GET(q, &task, CREW_S(5))) == 0) {
                n++;
                r = crew_queue_task_done(q);
        }
        return r == -EPIPE ? n : 255; /* the queue has ended: as it should be */
}

int main(void)
{
        crew_auto(queue) q = NULL;
        crew_process *p[WORKERS] = { NULL };
        int done = 0, code, r;

        r = crew_queue_new(&q, 0,
                CREW_OPT(queue, .flags = CREW_QUEUE_EOF | CREW_QUEUE_JOINABLE,
                        .message_size = sizeof(int)));
        for (int i = 0; r == 0 && i < WORKERS; i++)
                r = crew_process_launch(&p[i], work, q, NULL);
        for (int i = 0; r == 0 && i < TASKS; i++)
                r = CREW_PUT(q, &i, CREW_S(5));
        if (r == 0)
                r = crew_queue_join(q, CREW_S(5));
        if (r == 0) {
                printf("all %d tasks are done\n", TASKS);
                r = crew_queue_put_done(q);
        }
        for (int i = 0; i < WORKERS; i++) {
                if (r == 0)
                        r = crew_process_join(p[i], CREW_FOREVER);
                if (r == 0)
                        r = crew_process_exitcode(p[i], &code);
                if (r == 0)
                        done += code;
                p[i] = crew_process_free(p[i]);
        }
        if (r == 0)
                printf("the workers did %d\n", done);
        else
                fprintf(stderr, "queue-tasks: %s\n", crew_error_detail());
        return r < 0;
}
