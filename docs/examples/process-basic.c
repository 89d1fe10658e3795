/* SPDX-License-Identifier: MIT */

/* A function in a process of its own, beside the main program. End it with Ctrl-C. */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

static int zhiliao(void *arg)
{
        (void)arg;
        puts("zhiliao process");
        return 0;
}

int main(void)
{
        crew_auto(process) p = NULL;
        int r = crew_process_launch(&p, zhiliao, NULL, NULL);

        if (r < 0) {
                fprintf(stderr, "process-basic: %s\n", crew_error_detail());
                return 1;
        }
        for (;;) {
                puts("main process");
                sleep(3);
        }
}
