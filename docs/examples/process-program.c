/* SPDX-License-Identifier: MIT */

/*
 * Another program in a sandbox: it may read files and do nothing else. What it prints comes through
 * a pipe; what it was refused is told by the kernel.
 */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

static int run(const char *script)
{
        const char *const argv[] = { "sh", "-c", script, NULL };
        crew_violation refused = { .size = sizeof refused };
        crew_exit end = { .size = sizeof end };
        crew_auto(process) p = NULL;
        char text[256];
        ssize_t n;
        int r;

        r = crew_process_new_exec(&p, argv,
                CREW_OPT(process, .sandbox = "rpath proc exec", .flags = CREW_PROCESS_REPORT,
                        .on_violation = CREW_VIOLATION_DENY, .out = { CREW_STDIO_PIPE, 0 },
                        .err = { CREW_STDIO_NULL, 0 }));
        if (r == 0)
                r = crew_process_start(p);
        if (r < 0)
                return r;
        /* The join also answers what the sandbox reports, so it comes before the end of the pipe.
         */
        r = crew_process_join(p, CREW_S(10));
        if (r == 0)
                r = crew_process_exit(p, &end);
        if (r < 0)
                return r;
        while ((n = read(crew_process_stdio(p, 1), text, sizeof text)) > 0)
                fwrite(text, 1, (size_t)n, stdout);
        printf("exit code %d\n", end.code);
        if (end.violated && crew_process_violation(p, &refused) == 0)
                printf("refused: %s\n", refused.text);
        return 0;
}

int main(void)
{
        int r = run("echo hello from sh");

        if (r == 0)
                r = run("mkdir /tmp/process-program-never || exit 3");
        if (r < 0)
                fprintf(stderr, "process-program: %s\n", crew_error_detail());
        return r < 0;
}
