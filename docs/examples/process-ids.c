/* SPDX-License-Identifier: MIT */

/* Who is who. The main program ends first, and waits at its exit: nobody is left behind. */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

static int zhiliao(void *arg)
{
        (void)arg;
        printf("===子进程===\n");
        printf("子进程id:%d\n", getpid());
        printf("父进程id:%d\n", getppid());
        printf("===子进程===\n");
        return 0;
}

int main(void)
{
        crew_auto(process) p = NULL;
        int r = crew_process_launch(&p, zhiliao, NULL, NULL);

        if (r < 0) {
                fprintf(stderr, "process-ids: %s\n", crew_error_detail());
                return 1;
        }
        printf("主进程id:%d\n", getpid());
        return 0;
}
