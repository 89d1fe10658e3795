/* SPDX-License-Identifier: MIT */

/* The descriptors of programs, and of targets that ask for more than the host's own. */

#include "exec-help.h"

#include <limits.h>

TEST_HOSTS(pipes, "pipes carry its input and output", "[live][exec]")
{
        crew_auto(process) p = NULL;
        char text[64];

        REQUIRE_OK(crew_process_new_exec(&p, SHELL("tr a-z A-Z; echo done >&2"),
                CREW_OPT(process, .in = { CREW_STDIO_PIPE, 0 }, .out = { CREW_STDIO_PIPE, 0 },
                        .err = { CREW_STDIO_PIPE, 0 })));
        CHECK_INT(crew_process_stdio(p, 0), ==, -ESRCH);
        REQUIRE_OK(crew_process_start(p));
        REQUIRE(write(crew_process_stdio(p, 0), "hello\n", 6) == 6);
        REQUIRE_OK(crew_process_close_stdio(p, 0));
        CHECK_INT(crew_process_stdio(p, 0), ==, -ENOENT);
        CHECK_STR(drain(crew_process_stdio(p, 1), text, sizeof text), "HELLO\n");
        CHECK_STR(drain(crew_process_stdio(p, 2), text, sizeof text), "done\n");
        CHECK_INT(crew_process_stdio(p, 3), ==, -EINVAL);
        CHECK_INT(join_code(p), ==, 0);
}

TEST(pipes_end, "a freed handle leaves a program the end of its pipes", "[live][exec]")
{
        crew_process *p = NULL;
        int fd;

        REQUIRE_OK(crew_process_new_exec(
                &p, ARGV("cat"), CREW_OPT(process, .in = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        fd = fcntl(crew_process_fd(p), F_DUPFD_CLOEXEC, 0);
        (void)crew_process_free(p);
        CHECK(EVENTUALLY(crew_active_children(NULL, 0) == 0, CREW_S(10)));
        (void)close(fd);
}

TEST_HOSTS(crossed, "descriptors that change places arrive where they belong", "[live][exec]")
{
        int in[2], out[2], saved[3];
        char text[64];
        crew_auto(process) p = NULL;

        REQUIRE(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
        for (int i = 0; i < 3; i++)
                saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        /* The host has them crosswise. */
        REQUIRE(dup3(in[0], 1, O_CLOEXEC) == 1 && dup3(out[1], 0, O_CLOEXEC) == 0);
        REQUIRE_OK(crew_process_new_exec(&p, SHELL("read x; echo got $x; echo err >&2"),
                CREW_OPT(process, .in = { CREW_STDIO_FD, 1 }, .out = { CREW_STDIO_FD, 0 },
                        .err = { CREW_STDIO_FD, 0 })));
        REQUIRE_OK(crew_process_start(p));
        for (int i = 0; i < 3; i++) {
                (void)dup2(saved[i], i);
                (void)close(saved[i]);
        }
        (void)close(out[1]);
        (void)close(in[0]);
        REQUIRE(write(in[1], "this\n", 5) == 5);
        CHECK_STR(drain(out[0], text, sizeof text), "got this\nerr\n");
        CHECK_INT(join_code(p), ==, 0);
        (void)close(in[1]);
        (void)close(out[0]);
}

TEST_HOSTS(kept, "a program gets the descriptors it was given, and no other", "[live][exec]")
{
        int kept = open("/dev/null", O_RDONLY | O_CLOEXEC), lost = open("/dev/null", O_RDONLY);
        int moved = fcntl(kept, F_DUPFD_CLOEXEC, 50);
        char script[256], text[256], line[16];

        REQUIRE(kept > 2 && lost > 2 && moved == 50);
        (void)snprintf(script, sizeof script,
                "for i in /proc/self/fd/*; do i=${i##*/}; "
                "[ -e /proc/$$/fd/$i ] && echo $i; done; exit 0");
        (void)output_of(SHELL(script),
                (crew_process_options){ .keep_fds = (const int[]){ moved, kept }, .n_keep_fds = 2 },
                text, sizeof text);
        (void)snprintf(line, sizeof line, "%d\n", kept);
        /* A shell may have one of its own at 10. */
        CHECK(strncmp(text, "0\n1\n", 4) == 0);
        CHECK(strstr(text, line) != NULL);
        CHECK(strstr(text, "\n50\n") != NULL);
        (void)snprintf(line, sizeof line, "\n%d\n", lost);
        CHECK(strstr(text, line) == NULL);
        CHECK(fcntl(kept, F_GETFD) == FD_CLOEXEC && fcntl(lost, F_GETFD) == 0);
        (void)close(kept);
        (void)close(lost);
        (void)close(moved);
}

static int echo_twice(void *arg)
{
        char line[64] = "", place[PATH_MAX];
        (void)arg;

        if (!fgets(line, sizeof line, stdin) || !getcwd(place, sizeof place))
                return 1;
        (void)printf("%s: %s", place, line);
        return fgets(line, sizeof line, stdin) ? 2 : 0;
}

TEST_METHODS(function, "a target of this program gets pipes and a directory too", "[live][exec]")
{
        crew_auto(process) p = NULL;
        char text[64];

        REQUIRE_OK(host_new(&p, echo_twice, NULL,
                CREW_OPT(process, .in = { CREW_STDIO_PIPE, 0 }, .out = { CREW_STDIO_PIPE, 0 },
                        .cwd = "/usr", .flags = CREW_PROCESS_SESSION)));
        REQUIRE_OK(crew_process_start(p));
        REQUIRE(write(crew_process_stdio(p, 0), "one\n", 4) == 4);
        REQUIRE_OK(crew_process_close_stdio(p, 0));
        CHECK_STR(drain(crew_process_stdio(p, 1), text, sizeof text), "/usr: one\n");
        CHECK_INT(join_code(p), ==, 0);
}

TEST(closed_host, "a host without descriptors 0-2 starts programs", "[live][exec]")
{
        crew_auto(process) p = NULL;
        int saved[3], r, code = -1;
        char text[64];

        for (int i = 0; i < 3; i++) {
                saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
                (void)close(i);
        }
        r = crew_process_new_exec(&p, SHELL("echo fine; [ ! -e /proc/self/fd/2 ]"),
                CREW_OPT(process, .out = { CREW_STDIO_PIPE, 0 }));
        if (r == 0)
                r = crew_process_start(p);
        if (r == 0)
                (void)drain(crew_process_stdio(p, 1), text, sizeof text);
        (void)crew_process_join(p, CREW_S(10));
        (void)crew_process_exitcode(p, &code);
        for (int i = 0; i < 3; i++) {
                if (saved[i] >= 0)
                        (void)dup2(saved[i], i);
                (void)close(saved[i]);
        }
        REQUIRE_OK(r);
        CHECK_STR(text, "fine\n");
        CHECK_INT(code, ==, 0);
}
