/* SPDX-License-Identifier: MIT */

/* Programs: how they are found, what they get, and what a start that failed says. */

#include "exec-help.h"
#include "peer.h"
#include "wait-help.h"

#include <limits.h>
#include <sys/stat.h>

WAIT_WARM_UP

TEST_HOSTS(codes, "a program's exit code and signal come home", "[live][exec]")
{
        crew_exit e = { .size = sizeof e };
        crew_auto(process) p = NULL;

        CHECK_INT(run(ARGV("/bin/true"), NULL), ==, 0);
        CHECK_INT(run(SHELL("exit 7"), NULL), ==, 7);
        CHECK_INT(run(SHELL("kill -TERM $$"), NULL), ==, -SIGTERM);
        REQUIRE_OK(crew_process_new_exec(&p, SHELL("exit 3"), NULL));
        REQUIRE_OK(crew_process_start(p));
        CHECK_INT(join_code(p), ==, 3);
        CHECK_INT(crew_process_exit(p, &e), ==, 0);
        CHECK_INT(e.exec_errno, ==, 0);
        CHECK(e.usage && e.max_rss > 0);
        CHECK_INT(crew_process_start(p), ==, -EALREADY);
}

TEST(path, "a name is looked up in PATH, of the program's environment if it has one",
        "[live][exec]")
{
        char directory[] = "/tmp/crew-exec-XXXXXX", file[PATH_MAX], path[PATH_MAX];
        FILE *f;

        CHECK_INT(run(ARGV("true"), NULL), ==, 0);
        REQUIRE(mkdtemp(directory) != NULL);
        (void)snprintf(file, sizeof file, "%s/crew-test-program", directory);
        (void)snprintf(path, sizeof path, "PATH=/nonexistent:%s:/bin:/usr/bin", directory);
        f = fopen(file, "we");
        REQUIRE(f != NULL);
        /* No "#!": a shell runs it. */
        (void)fputs("exit $#\n", f);
        (void)fclose(f);
        {
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_new_exec(
                        &p, ARGV("crew-test-program"), CREW_OPT(process, .env = ARGV(path))));
                CHECK_INT(crew_process_start(p), ==, -EACCES);
                REQUIRE(chmod(file, 0755) == 0);
                REQUIRE_OK(crew_process_start(p));
                CHECK_INT(join_code(p), ==, 0);
        }
        CHECK_INT(run(ARGV("crew-test-program", "a", "b c"), CREW_OPT(process, .env = ARGV(path))),
                ==, 2);
        /* Relative to where it will work, not to where the host does. */
        CHECK_INT(
                run(ARGV("./crew-test-program", "a"), CREW_OPT(process, .cwd = directory)), ==, 1);
        CHECK_INT(run(ARGV("crew-test-program"),
                          CREW_OPT(process, .cwd = directory, .env = ARGV("PATH=:/bin"))),
                ==, 0);
        REQUIRE(unlink(file) == 0 && rmdir(directory) == 0);
}

TEST_HOSTS(missing, "a program that cannot be run says why, at the join or at the start",
        "[live][exec]")
{
        static const struct {
                const char *program;
                int error, code;
        } rows[] = { { "/nonexistent/program", ENOENT, 127 }, { "/etc/passwd", EACCES, 126 },
                { "/", EACCES, 126 } };

        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                crew_exit e = { .size = sizeof e };
                crew_auto(process) p = NULL;
                crew_auto(process) waits = NULL;

                REQUIRE_OK(crew_process_new_exec(&p, ARGV(rows[i].program), NULL));
                REQUIRE_OK(crew_process_start(p));
                CHECK_INT(join_code(p), ==, rows[i].code);
                CHECK_INT(crew_process_exit(p, &e), ==, 0);
                CHECK_INT(e.exec_errno, ==, rows[i].error);
                REQUIRE_OK(crew_process_new_exec(&waits, ARGV(rows[i].program),
                        CREW_OPT(process, .flags = CREW_PROCESS_WAIT_EXEC)));
                CHECK_INT(crew_process_start(waits), ==, -rows[i].error);
                CHECK(strstr(crew_error_detail(), rows[i].program) != NULL);
                CHECK_INT(crew_process_pid(waits), ==, -ESRCH);
                CHECK_INT(crew_active_children(NULL, 0), ==, 0);
        }
        {
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_new_exec(&p, ARGV("crew-no-such-program"), NULL));
                CHECK_INT(crew_process_start(p), ==, -ENOENT);
                CHECK(strstr(crew_error_detail(), "not found in PATH") != NULL);
        }
}

TEST_HOSTS(waits_for_exec, "a start that waits returns when the program runs", "[live][exec]")
{
        crew_auto(process) p = NULL;
        char link[PATH_MAX], path[64];
        ssize_t n;

        REQUIRE_OK(crew_process_new_exec(
                &p, ARGV("sleep", "60"), CREW_OPT(process, .flags = CREW_PROCESS_WAIT_EXEC)));
        REQUIRE_OK(crew_process_start(p));
        (void)snprintf(path, sizeof path, "/proc/%d/exe", (int)crew_process_pid(p));
        /* The start ends where exec gives the old memory up, just before it shows the new file. */
        do {
                n = readlink(path, link, sizeof link - 1);
                REQUIRE(n > 0);
                link[n] = '\0';
        } while (strstr(link, "live-exec"));
        CHECK_INT(crew_process_is_alive(p), ==, 1);
        REQUIRE_OK(crew_process_kill(p));
        CHECK_INT(join_code(p), ==, -SIGKILL);
}

TEST(environment, "the environment is the host's, or what was given", "[live][exec]")
{
        char text[256];

        REQUIRE(setenv("CREW_TEST_WORD", "heard", 1) == 0);
        CHECK_STR(output_of(SHELL("echo $CREW_TEST_WORD"), (crew_process_options){ .size = 0 },
                          text, sizeof text),
                "heard\n");
        CHECK_STR(output_of(SHELL("echo $CREW_TEST_WORD$OTHER"),
                          (crew_process_options){ .env = ARGV("OTHER=1", "PATH=/bin") }, text,
                          sizeof text),
                "1\n");
        REQUIRE(unsetenv("CREW_TEST_WORD") == 0);
}

TEST(directory, "it works where it is told to", "[live][exec]")
{
        crew_auto(process) p = NULL;
        char text[256];

        CHECK_STR(
                output_of(ARGV("pwd"), (crew_process_options){ .cwd = "/usr" }, text, sizeof text),
                "/usr\n");
        REQUIRE_OK(
                crew_process_new_exec(&p, ARGV("pwd"), CREW_OPT(process, .cwd = "/nonexistent")));
        CHECK_INT(crew_process_start(p), ==, -ENOENT);
        CHECK(strstr(crew_error_detail(), "/nonexistent") != NULL);
}

static void on_signal(int sig)
{
        (void)sig;
}

TEST_HOSTS(signals, "no signal is blocked in it, and only what a user ignores is ignored",
        "[live][exec]")
{
        unsigned long long blocked = 1, ignored = 0, caught = 1;
        sigset_t all;
        char text[4096];
        struct sigaction handler = { .sa_handler = on_signal };

        REQUIRE(signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGHUP, SIG_IGN) != SIG_ERR);
        REQUIRE(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
        REQUIRE(sigaction(SIGTERM, &handler, NULL) == 0);
        (void)sigfillset(&all);
        REQUIRE(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
        {
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_new_exec(&p, ARGV("cat", "/proc/self/status"),
                        CREW_OPT(process, .out = { CREW_STDIO_PIPE, 0 })));
                REQUIRE_OK(crew_process_start(p));
                (void)drain(crew_process_stdio(p, 1), text, sizeof text);
                CHECK_INT(crew_process_join(p, CREW_S(10)), ==, 0);
        }
        REQUIRE(pthread_sigmask(SIG_UNBLOCK, &all, NULL) == 0);
        REQUIRE(strstr(text, "SigBlk:") && strstr(text, "SigIgn:") && strstr(text, "SigCgt:"));
        (void)sscanf(strstr(text, "SigBlk:") + 7, "%llx", &blocked);
        (void)sscanf(strstr(text, "SigIgn:") + 7, "%llx", &ignored);
        (void)sscanf(strstr(text, "SigCgt:") + 7, "%llx", &caught);
        CHECK_INT(blocked, ==, 0);
        CHECK_INT(caught, ==, 0);
        CHECK_INT(ignored, ==, 1LL << (SIGHUP - 1));
        (void)signal(SIGPIPE, SIG_DFL);
        (void)signal(SIGHUP, SIG_DFL);
        (void)signal(SIGCHLD, SIG_DFL);
}

TEST_HOSTS(groups, "it leads a group or a session if it is asked to", "[live][exec]")
{
        for (uint64_t flag = 0; flag <= CREW_PROCESS_SESSION; flag += CREW_PROCESS_GROUP) {
                crew_auto(process) p = NULL;
                pid_t pid;

                REQUIRE_OK(crew_process_new_exec(&p, ARGV("sleep", "60"),
                        CREW_OPT(process, .flags = flag | CREW_PROCESS_WAIT_EXEC)));
                REQUIRE_OK(crew_process_start(p));
                pid = crew_process_pid(p);
                CHECK_INT(getpgid(pid) == pid, ==, flag != 0);
                CHECK_INT(getsid(pid) == pid, ==, flag == CREW_PROCESS_SESSION);
                REQUIRE_OK(crew_process_kill(p));
                CHECK_INT(join_code(p), ==, -SIGKILL);
        }
}

TEST(waiter, "a waiter joins programs", "[live][exec]")
{
        enum { N = 8 };
        crew_process *p[N] = { NULL };
        crew_completion c[N];
        crew_auto(waiter) w = NULL;
        int seen = 0;

        REQUIRE_OK(crew_waiter_new(&w, 0));
        for (int i = 0; i < N; i++) {
                char code[8];

                (void)snprintf(code, sizeof code, "exit %d", i);
                REQUIRE_OK(crew_process_new_exec(&p[i], SHELL(code), NULL));
                REQUIRE_OK(crew_process_start(p[i]));
                REQUIRE_OK(crew_waiter_join(w, p[i], (uint64_t)i));
        }
        while (seen < N) {
                int n = crew_waiter_wait(w, c, N, CREW_S(15));

                REQUIRE(n > 0);
                for (int i = 0; i < n; i++) {
                        CHECK_INT(join_code(p[c[i].tag]), ==, c[i].tag);
                        seen++;
                }
        }
        for (int i = 0; i < N; i++)
                (void)crew_process_free(p[i]);
}

static void start_daemon(_Atomic int *pid, bool threaded)
{
        crew_process *p = NULL;
        struct second_thread t;

        if (threaded)
                second_thread_start(&t);
        if (crew_process_new_exec(&p, ARGV("sleep", "60"),
                    CREW_OPT(process, .flags = CREW_PROCESS_DAEMON | CREW_PROCESS_WAIT_EXEC)) < 0 ||
                crew_process_start(p) < 0)
                _exit(1);
        atomic_store(pid, crew_process_pid(p));
        (void)pause();
}

TEST(daemons, "a program that is a daemon ends with the host", "[live][exec]")
{
        _Atomic int *pid = shared_new(sizeof *pid);

        for (int threaded = 0; threaded < 2; threaded++) {
                pid_t app;
                int status;

                atomic_store(pid, 0);
                app = fork();
                if (app == 0)
                        start_daemon(pid, threaded);
                REQUIRE(EVENTUALLY(atomic_load(pid) != 0, CREW_S(10)));
                CHECK(peer_lives(atomic_load(pid)));
                REQUIRE(kill(app, SIGKILL) == 0 && waitpid(app, &status, 0) == app);
                CHECK(EVENTUALLY(!peer_lives(atomic_load(pid)), CREW_S(10)));
        }
        shared_free(pid, sizeof *pid);
}

TEST(bad_options, "what makes no sense is refused with words", "[live][exec]")
{
        crew_process *p = NULL;
        const int standard = 1, closed = 1000;
        const crew_stdio strange = { .kind = 9 },
                         superfluous = { .kind = CREW_STDIO_PIPE, .fd = 4 };

        CHECK_INT(crew_process_new_exec(&p, NULL, NULL), ==, -EINVAL);
        CHECK_INT(crew_process_new_exec(&p, (const char *const[]){ NULL }, NULL), ==, -EINVAL);
        CHECK_INT(crew_process_new_exec(&p, ARGV(""), NULL), ==, -EINVAL);
#define REFUSED(...)                                                                               \
        CHECK_INT(crew_process_new_exec(&p, ARGV("true"), CREW_OPT(process, __VA_ARGS__)), ==,     \
                -EINVAL)
        REFUSED(.method = CREW_METHOD_FORK);
        REFUSED(.arg_size = 4);
        REFUSED(.flags = 1 << 20);
        REFUSED(.in = strange);
        REFUSED(.err = superfluous);
        REFUSED(.out = { CREW_STDIO_FD, -1 });
        REFUSED(.keep_fds = &standard, .n_keep_fds = 1);
        REFUSED(.n_keep_fds = 1);
        REFUSED(.cwd = "");
        /* A target of the host's shares what it has. */
        CHECK_INT(crew_process_new(&p, host_nothing, NULL,
                          CREW_OPT(process, .keep_fds = &closed, .n_keep_fds = 1)),
                ==, -EINVAL);
        CHECK_INT(crew_process_new(&p, host_nothing, NULL, CREW_OPT(process, .env = ARGV("A=1"))),
                ==, -EINVAL);
        CHECK_INT(crew_process_new(&p, host_nothing, NULL,
                          CREW_OPT(process, .flags = CREW_PROCESS_WAIT_EXEC)),
                ==, -EINVAL);
        CHECK(p == NULL);
        REQUIRE_OK(crew_process_new_exec(
                &p, ARGV("true"), CREW_OPT(process, .keep_fds = &closed, .n_keep_fds = 1)));
        CHECK_INT(crew_process_start(p), ==, -EBADF);
        (void)crew_process_free(p);
}

static void *start_many(void *failures)
{
        for (int i = 0; i < 50; i++) {
                crew_process *p = NULL;
                int code = -1;

                if (crew_process_new_exec(
                            &p, i % 2 ? ARGV("/bin/true") : ARGV("/nonexistent"), NULL) < 0 ||
                        crew_process_start(p) < 0 || crew_process_join(p, CREW_S(15)) < 0 ||
                        crew_process_exitcode(p, &code) < 0 || code != (i % 2 ? 0 : 127))
                        (void)atomic_fetch_add((_Atomic int *)failures, 1);
                (void)crew_process_free(p);
        }
        return NULL;
}

TEST(threads, "many threads start programs at once", "[live][exec]")
{
        pthread_t thread[4];
        _Atomic int failures = 0;

        for (int i = 0; i < 4; i++)
                REQUIRE(pthread_create(&thread[i], NULL, start_many, &failures) == 0);
        for (int i = 0; i < 4; i++)
                (void)pthread_join(thread[i], NULL);
        CHECK_INT(failures, ==, 0);
}

TEST(killed, "a program killed on the way to its exec is joined, and nothing of it stays",
        "[live][exec]")
{
        static const crew_process_options kinds[] = {
                { .size = sizeof kinds[0], .out = { CREW_STDIO_PIPE, 0 } },
                { .size = sizeof kinds[0],
                        .sandbox = "rpath proc exec",
                        .flags = CREW_PROCESS_REPORT | CREW_PROCESS_SESSION },
        };
        uint64_t seed = peer_seed();
        int survived = 0;

        for (long long i = 0; i < test_scale(10000, 100); i++) {
                const struct timespec delay = { .tv_nsec = (long)(peer_random(&seed) % 400000) };
                crew_exit e = { .size = sizeof e };
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_new_exec(&p, ARGV("/bin/true"), &kinds[i % 2]));
                REQUIRE_OK(crew_process_start(p));
                (void)nanosleep(&delay, NULL);
                REQUIRE_OK(crew_process_kill(p));
                REQUIRE_OK(crew_process_join(p, CREW_S(15)));
                REQUIRE_OK(crew_process_exit(p, &e));
                CHECK(e.code == 0 || e.signal == SIGKILL);
                CHECK_INT(e.exec_errno, ==, 0);
                survived += e.code == 0;
        }
        INFO("%d ended by themselves", survived);
}
