/* SPDX-License-Identifier: MIT */

/* join waits for the end of a process, but no longer than it is told: here two seconds of five. */

#include <crew/crew.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int zhiliao(void *arg)
{
        (void)arg;
        for (int x = 0; x < 5; x++) {
                printf("子进程中的代码%d\n", x);
                sleep(1);
        }
        return 0;
}

int main(void)
{
        crew_auto(process) p = NULL;
        int r = crew_process_launch(&p, zhiliao, NULL, NULL);

        if (r == 0)
                r = crew_process_join(p, CREW_S(2)); /* CREW_FOREVER: until it has ended */
        if (r < 0 && r != -ETIMEDOUT) {
                fprintf(stderr, "process-join: %s\n", crew_error_detail());
                return 1;
        }
        printf("父进程中的代码\n");
        return 0;
}
