/* SPDX-License-Identifier: MIT */

/* A process as a class of its own: a struct with the state, a function that gets it. */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

struct my_process {
        int rounds;
};

static int my_process_run(void *arg)
{
        const struct my_process *self = arg;

        for (int x = 0; x < self->rounds; x++) {
                printf("子进程：%d\n", x);
                sleep(1);
        }
        return 0;
}

int main(void)
{
        struct my_process me = { .rounds = 5 };
        crew_auto(process) p = NULL;
        int r;

        /* arg_size: the process gets a copy, whatever becomes of `me`. */
        r = crew_process_launch(&p, my_process_run, &me,
                CREW_OPT(process, .name = "MyProcess", .arg_size = sizeof me));
        if (r < 0) {
                fprintf(stderr, "process-class: %s\n", crew_error_detail());
                return 1;
        }
        printf("主进程id:%d\n", getpid());
        return 0;
}
