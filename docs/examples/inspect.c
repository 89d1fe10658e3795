/* SPDX-License-Identifier: MIT */

/* Looking at oneself from outside: what crew ps would print of this program. */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

static int wait_for_it(void *arg)
{
        crew_queue *end = arg;
        int nothing;

        /* Until the queue is closed. */
        return CREW_GET(end, &nothing, CREW_FOREVER) == -EPIPE ? 0 : 1;
}

static int show(void)
{
        crew_auto(snapshot) s = NULL;
        const crew_process_info *p;
        const crew_queue_info *q;

        if (crew_snapshot_new(&s, CREW_SNAPSHOT_QUEUES) < 0)
                return 1;
        for (size_t i = 0; crew_snapshot_process(s, i, &p) == 0; i++) {
                if (p->parent == getpid())
                        printf("process %s\n", p->name);
        }
        for (size_t i = 0; crew_snapshot_queue(s, i, &q) == 0; i++) {
                if (q->owner == getpid())
                        printf("queue %s: %u of %llu messages\n", q->name, q->depth,
                                (unsigned long long)q->capacity);
        }
        return 0;
}

int main(void)
{
        crew_auto(queue) end = NULL;
        crew_auto(queue) full = NULL;
        crew_auto(process) one = NULL;
        crew_auto(process) two = NULL;
        int n = 0, r;

        if (crew_queue_new(&end, 1, CREW_OPT(queue, .name = "end")) < 0 ||
                crew_queue_new(&full, 3, CREW_OPT(queue, .name = "numbers")) < 0 ||
                crew_process_launch(&one, wait_for_it, end, CREW_OPT(process, .name = "one")) < 0 ||
                crew_process_launch(&two, wait_for_it, end, CREW_OPT(process, .name = "two")) < 0) {
                fprintf(stderr, "%s\n", crew_error_detail());
                return 1;
        }
        while (CREW_PUT(full, &n, CREW_NOW) == 0)
                n++;
        r = show();
        (void)crew_queue_close(end);
        return r || crew_process_join(one, CREW_S(10)) < 0 ||
               crew_process_join(two, CREW_S(10)) < 0;
}
