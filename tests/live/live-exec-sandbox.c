/* SPDX-License-Identifier: MIT */

/* Sandboxes, limits, priority and processors of single processes, and what is told of them. */

#include "exec-help.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* What /bin/sh and the like need, and no network. */
#define ORDINARY "rpath wpath proc exec"

static bool notifies(void)
{
        crew_feature f = { .size = sizeof f };
        int notify = crew_feature_find("seccomp_notify"), range = crew_feature_find("close_range");

        REQUIRE(notify >= 0 && range >= 0);
        REQUIRE_OK(crew_feature_get((unsigned)notify, &f));
        if (f.state != CREW_FEATURE_YES)
                return false;
        REQUIRE_OK(crew_feature_get((unsigned)range, &f));
        return f.state == CREW_FEATURE_YES;
}

static crew_process *start(const char *const argv[], crew_process_options o)
{
        crew_process *p = NULL;

        o.size = sizeof o;
        REQUIRE_OK(crew_process_new_exec(&p, argv, &o));
        REQUIRE_OK(crew_process_start(p));
        return p;
}

#define REMOVE(path) ARGV("rm", path)

TEST_HOSTS(allowed, "a program does what its words allow, and the rest fails", "[live][exec]")
{
        char file[] = "/tmp/crew-sandbox-XXXXXX";
        crew_violation v = { .size = sizeof v };
        crew_exit e = { .size = sizeof e };
        int fd = mkostemp(file, O_CLOEXEC);
        crew_process *p;

        REQUIRE(fd >= 0);
        p = start(SHELL("cat /etc/passwd && echo fine"),
                (crew_process_options){ .sandbox = ORDINARY, .out = { CREW_STDIO_NULL, 0 } });
        CHECK_INT(join_code(p), ==, 0);
        CHECK_INT(crew_process_violation(p, &v), ==, -ENODATA);
        CHECK_INT(crew_process_exit(p, &e), ==, 0);
        CHECK(!e.violated);
        (void)crew_process_free(p);
        p = start(REMOVE(file),
                (crew_process_options){ .sandbox = ORDINARY, .on_violation = CREW_VIOLATION_DENY });
        CHECK_INT(join_code(p), ==, 1);
        CHECK(access(file, F_OK) == 0);
        (void)crew_process_free(p);
        /* Without a listener nobody knows which call it was. */
        p = start(REMOVE(file), (crew_process_options){ .sandbox = ORDINARY });
        CHECK_INT(join_code(p), ==, -SIGSYS);
        CHECK_INT(crew_process_violation(p, &v), ==, 0);
        CHECK_INT(v.syscall, ==, -1);
        CHECK_INT(v.count, ==, 1);
        CHECK(access(file, F_OK) == 0);
        (void)crew_process_free(p);
        (void)unlink(file);
        (void)close(fd);
}

TEST_HOSTS(reported, "the join reports the call, and the word that it needs", "[live][exec]")
{
        char file[] = "/tmp/crew-sandbox-XXXXXX";
        int fd = mkostemp(file, O_CLOEXEC);

        if (!notifies())
                SKIP("no seccomp notification here");
        REQUIRE(fd >= 0);
        for (int deny = 0; deny < 2; deny++) {
                crew_violation v = { .size = sizeof v };
                crew_exit e = { .size = sizeof e };
                crew_process *p = start(REMOVE(file), (crew_process_options){ .sandbox = ORDINARY,
                                                              .flags = CREW_PROCESS_REPORT,
                                                              .on_violation = deny });

                CHECK_INT(join_code(p), ==, deny ? 1 : -SIGKILL);
                CHECK_INT(crew_process_violation(p, &v), ==, 0);
                CHECK_STR(v.words, "cpath");
                CHECK(strncmp(v.name, "unlink", 6) == 0);
                CHECK(strstr(v.text, "cpath") != NULL);
                CHECK_INT(v.count, ==, 1);
                CHECK_INT(crew_process_exit(p, &e), ==, 0);
                CHECK(e.violated);
                CHECK_INT(e.exec_errno, ==, 0);
                CHECK(access(file, F_OK) == 0);
                (void)crew_process_free(p);
        }
        (void)unlink(file);
        (void)close(fd);
}

TEST(waited, "who waits otherwise is told by the descriptor, also of what the program started",
        "[live][exec]")
{
        crew_violation v = { .size = sizeof v };
        struct epoll_event event = { .events = EPOLLIN };
        int poll = epoll_create1(EPOLL_CLOEXEC), fd, n = 0;
        crew_process *p;

        if (!notifies())
                SKIP("no seccomp notification here");
        p = start(SHELL("sh -c 'rm -f /tmp/crew-no-such-file-anywhere; exit 0'; exit 5"),
                (crew_process_options){ .sandbox = ORDINARY,
                        .flags = CREW_PROCESS_REPORT,
                        .on_violation = CREW_VIOLATION_DENY });
        fd = crew_process_report_fd(p);
        REQUIRE(fd >= 0);
        REQUIRE(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0);
        while (n == 0) {
                REQUIRE(epoll_wait(poll, &event, 1, 15000) == 1);
                REQUIRE(event.events & EPOLLIN);
                n = crew_process_report(p);
        }
        CHECK_INT(crew_process_violation(p, &v), ==, 0);
        CHECK_STR(v.words, "cpath");
        CHECK_INT(join_code(p), ==, 5);
        CHECK_INT(crew_process_report(p), ==, 0);
        /* Nobody is left who could be refused anything. */
        REQUIRE(epoll_wait(poll, &event, 1, 15000) == 1);
        CHECK(event.events & EPOLLHUP);
        (void)crew_process_free(p);
        (void)close(poll);
}

TEST(network, "a socket is refused politely, and reported", "[live][exec]")
{
        crew_violation v = { .size = sizeof v };
        crew_process *p;

        if (!notifies())
                SKIP("no seccomp notification here");
        if (access("/bin/bash", X_OK) < 0)
                SKIP("no bash, whose /dev/tcp makes a socket");
        p = start(ARGV("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9; exit 3"),
                (crew_process_options){ .sandbox = ORDINARY,
                        .flags = CREW_PROCESS_REPORT,
                        .err = { CREW_STDIO_NULL, 0 } });
        CHECK_INT(join_code(p), >, 0);
        CHECK_INT(crew_process_violation(p, &v), ==, 0);
        CHECK_STR(v.name, "socket");
        CHECK_STR(v.words, "inet");
        (void)crew_process_free(p);
}

TEST(policy, "one policy serves many programs, and may be freed before they end", "[live][exec]")
{
        crew_sandbox *s = NULL;
        crew_process *p[4];

        REQUIRE_OK(crew_sandbox_new(&s, "rpath proc exec", CREW_BEST_EFFORT));
        for (int i = 0; i < 4; i++)
                p[i] = start(SHELL("cat; cat /dev/null >/tmp/crew-never-made && exit 9; exit 4"),
                        (crew_process_options){ .policy = s,
                                .on_violation = CREW_VIOLATION_DENY,
                                .in = { CREW_STDIO_PIPE, 0 },
                                .err = { CREW_STDIO_NULL, 0 } });
        (void)crew_sandbox_free(s);
        for (int i = 0; i < 4; i++) {
                REQUIRE_OK(crew_process_close_stdio(p[i], 0));
                CHECK_INT(join_code(p[i]), ==, 4);
                (void)crew_process_free(p[i]);
        }
}

TEST(paths, "paths limit a program", "[live][exec]")
{
        crew_feature f = { .size = sizeof f };
        crew_process *p;

        REQUIRE_OK(crew_feature_get((unsigned)crew_feature_find("landlock"), &f));
        if (f.state != CREW_FEATURE_YES)
                SKIP("no Landlock here");
        p = start(SHELL("[ -r /etc/passwd ] && ! cat /etc/passwd"),
                (crew_process_options){ .sandbox =
                                                "rpath:/usr:/lib:/lib64:/bin:/etc/ld.so.cache:/dev "
                                                "wpath:/dev exec:/usr:/lib:/lib64:/bin proc",
                        .err = { CREW_STDIO_NULL, 0 } });
        CHECK_INT(join_code(p), ==, 0);
        (void)crew_process_free(p);
}

static int make_socket(void *arg)
{
        (void)arg;
        return socket(AF_VSOCK, SOCK_STREAM, 0) < 0 && errno == EPERM ? 6 : 7;
}

TEST_HOSTS(forked, "a forked target in a sandbox leaves a note", "[live][exec]")
{
        for (int deny = 0; deny < 2; deny++) {
                crew_violation v = { .size = sizeof v };
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_new(&p, make_socket, NULL,
                        CREW_OPT(process, .sandbox = "stdio inet", .on_violation = deny)));
                REQUIRE_OK(crew_process_start(p));
                CHECK_INT(join_code(p), ==, deny ? 6 : -SIGSYS);
                CHECK_INT(crew_process_violation(p, &v), ==, 0);
                CHECK_INT(v.syscall, ==, SYS_socket);
                CHECK_STR(v.name, "socket");
                CHECK_INT(v.count, ==, 1);
        }
}

static int use_up(void *arg)
{
        struct rlimit64 limit;

        (void)arg;
        REQUIRE(prlimit64(0, RLIMIT_NOFILE, NULL, &limit) == 0);
        return (int)limit.rlim_cur;
}

TEST_HOSTS(limits, "limits hold for programs and targets", "[live][exec]")
{
        const crew_limits l = {
                .size = sizeof l, .open_files = 33, .cpu_time = 1500000000, .file_bytes = 4096
        };
        crew_auto(process) target = NULL;
        char text[256];

        CHECK_STR(output_of(SHELL("ulimit -n; ulimit -t; ulimit -f"),
                          (crew_process_options){ .limits = &l }, text, sizeof text),
                "33\n2\n8\n");
        REQUIRE_OK(crew_process_new(&target, use_up, NULL, CREW_OPT(process, .limits = &l)));
        REQUIRE_OK(crew_process_start(target));
        CHECK_INT(join_code(target), ==, 33);
}

TEST(priority, "niceness and processors are the program's own", "[live][exec]")
{
        char text[1024], expected[64];
        const unsigned first = (unsigned)sched_getcpu();
        crew_process *p;

        (void)snprintf(expected, sizeof expected, "Cpus_allowed_list:\t%u\n", first);
        (void)output_of(ARGV("grep", "Cpus_allowed_list", "/proc/self/status"),
                (crew_process_options){ .cpus = &first, .n_cpus = 1 }, text, sizeof text);
        CHECK_STR(text, expected);
        (void)snprintf(expected, sizeof expected, "%d\n", getpriority(PRIO_PROCESS, 0) + 3);
        CHECK_STR(output_of(ARGV("nice"), (crew_process_options){ .nice = 3 }, text, sizeof text),
                expected);
        /* A program that cannot have its processors does not run on others. */
        p = start(ARGV("true"),
                (crew_process_options){ .cpus = (const unsigned[]){ 4000 }, .n_cpus = 1 });
        CHECK_INT(join_code(p), ==, 126);
        {
                crew_exit e = { .size = sizeof e };

                CHECK_INT(crew_process_exit(p, &e), ==, 0);
                CHECK_INT(e.exec_errno, ==, EINVAL);
        }
        (void)crew_process_free(p);
}

TEST(refused_options, "a sandbox that makes no sense is refused", "[live][exec]")
{
        crew_process *p = NULL;
        crew_sandbox *s = NULL;

        REQUIRE_OK(crew_sandbox_new(&s, "exec", CREW_BEST_EFFORT));
#define REFUSED(...)                                                                               \
        CHECK_INT(crew_process_new_exec(&p, ARGV("true"), CREW_OPT(process, __VA_ARGS__)), ==,     \
                -EINVAL)
        REFUSED(.sandbox = "rpath");
        REFUSED(.sandbox = "exex");
        REFUSED(.sandbox = "exec", .policy = s);
        REFUSED(.on_violation = CREW_VIOLATION_DENY);
        REFUSED(.sandbox = "exec", .on_violation = 2);
        REFUSED(.flags = CREW_PROCESS_REPORT);
        REFUSED(.nice = 100);
        REFUSED(.n_cpus = 1);
        CHECK(p == NULL);
        (void)crew_sandbox_free(s);
}

TEST(unheard, "a report that nobody fetches fails when the handle goes", "[live][exec]")
{
        int ends[2];
        crew_process *p;
        char text[64] = "";

        if (!notifies())
                SKIP("no seccomp notification here");
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        p = start(SHELL("rm -f /tmp/crew-no-such-file-anywhere; echo over"),
                (crew_process_options){ .sandbox = ORDINARY,
                        .flags = CREW_PROCESS_REPORT | CREW_PROCESS_DETACHED,
                        .out = { CREW_STDIO_FD, ends[1] },
                        .err = { CREW_STDIO_NULL, 0 } });
        (void)close(ends[1]);
        REQUIRE(crew_process_report_fd(p) >= 0);
        (void)crew_process_free(p);
        REQUIRE(read(ends[0], text, sizeof text - 1) == 5);
        CHECK_STR(text, "over\n");
        (void)close(ends[0]);
        CHECK(EVENTUALLY(crew_active_children(NULL, 0) == 0 &&
                                 waitpid(-1, NULL, WNOHANG | __WALL) <= 0 && errno == ECHILD,
                CREW_S(10)));
}
