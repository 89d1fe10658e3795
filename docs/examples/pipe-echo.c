/* SPDX-License-Identifier: MIT */

/*
 * Two processes talk over a pipe, one question and one answer at a time. Each frees the end that it
 * does not use: then the one sees the end of the other.
 */

#include <crew/crew.h>
#include <stdio.h>

struct ends {
        crew_connection *ours, *theirs;
};

static int square(void *arg)
{
        struct ends *e = arg;
        int n, r;

        e->ours = crew_connection_free(e->ours);
        while ((r = CREW_RECV(e->theirs, &n, CREW_S(5))) == 0) {
                n *= n;
                if (CREW_SEND(e->theirs, &n, CREW_S(5)) < 0)
                        return 1;
        }
        printf("child: %s\n", r == -EPIPE ? "no more questions" : crew_error_detail());
        return r != -EPIPE;
}

int main(void)
{
        crew_auto(process) child = NULL;
        struct ends e = { NULL, NULL };
        int answer, r = crew_pipe(&e.ours, &e.theirs, true);

        if (r == 0)
                r = crew_process_launch(&child, square, &e, NULL);
        e.theirs = crew_connection_free(e.theirs);
        for (int n = 1; r == 0 && n <= 4; n++) {
                r = CREW_SEND(e.ours, &n, CREW_S(5));
                if (r == 0)
                        r = CREW_RECV(e.ours, &answer, CREW_S(5));
                if (r == 0)
                        printf("%d squared is %d\n", n, answer);
        }
        fflush(stdout);
        e.ours = crew_connection_free(e.ours);
        if (r == 0)
                r = crew_process_join(child, CREW_FOREVER);
        if (r < 0)
                fprintf(stderr, "pipe-echo: %s\n", crew_error_detail());
        return r < 0;
}
