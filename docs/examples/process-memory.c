/* SPDX-License-Identifier: MIT */

/* Processes do not share their data: the child changes its own copy. */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

static int AGE = 1;

struct names {
        const char *name[4];
        int n;
};

static void show(const char *who, const struct names *names)
{
        printf("======== %s ========\n", who);
        printf("AGE:%d\n", AGE);
        printf("names:");
        for (int i = 0; i < names->n; i++)
                printf(" %s", names->name[i]);
        printf("\npid:%d\n", getpid());
        printf("======== %s ========\n", who);
}

static int child_func(void *arg)
{
        struct names *names = arg;

        AGE++;
        names->name[names->n++] = "ketang";
        show("子进程", names);
        return 0;
}

int main(void)
{
        struct names names = { .name = { "qiujie" }, .n = 1 };
        crew_auto(process) p = NULL;
        int r = crew_process_launch(&p, child_func, &names, NULL);

        if (r == 0)
                r = crew_process_join(p, CREW_FOREVER);
        if (r < 0) {
                fprintf(stderr, "process-memory: %s\n", crew_error_detail());
                return 1;
        }
        show("父进程", &names);
        return 0;
}
