/* SPDX-License-Identifier: MIT */

/* Processes that start with nothing of their parent: what they need is given to them. */

#include <crew/crew.h>
#include <stdio.h>

/* A copy of it reaches the child. Pointers mean nothing there, a ref opens what was granted. */
struct job {
        int from, to;
        crew_ref results;
};

static int sum(void *arg)
{
        const struct job *job = arg;
        crew_auto(queue) results = NULL;
        long total = 0;

        for (int i = job->from; i < job->to; i++)
                total += i;
        if (crew_queue_open(&results, job->results) < 0)
                return 1;
        return CREW_PUT(results, &total, CREW_S(5)) < 0;
}

static int run(int method)
{
        crew_auto(queue) results = NULL;
        crew_process *p[4] = { NULL };
        long total = 0, part;
        int r = crew_queue_new(&results, 0, NULL);

        for (int i = 0; i < 4 && r == 0; i++) {
                struct job job = { i * 1000, (i + 1) * 1000, crew_queue_ref(results) };

                r = crew_process_launch(&p[i], sum, &job,
                        CREW_OPT(process, .method = method, .arg_size = sizeof job,
                                .grants = &job.results, .n_grants = 1));
        }
        for (int i = 0; i < 4 && r == 0; i++) {
                r = CREW_GET(results, &part, CREW_S(10));
                total += part;
        }
        for (int i = 0; i < 4; i++)
                p[i] = crew_process_free(p[i]);
        if (r == 0)
                printf("%ld\n", total);
        return r;
}

int main(void)
{
        /* Before anything else: in a new process it does not return. */
        crew_spawn_main();

        if (run(CREW_METHOD_FORKSERVER) < 0 || run(CREW_METHOD_SPAWN) < 0) {
                fprintf(stderr, "process-spawn: %s\n", crew_error_detail());
                return 1;
        }
        return 0;
}
