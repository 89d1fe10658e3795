/* SPDX-License-Identifier: MIT */

/* How processes end and how that is waited for. */

#include "host.h"

#include <poll.h>
#include <sys/resource.h>

static int give(void *arg)
{
        return (int)(intptr_t)arg;
}

static int call_exit(void *arg)
{
        exit((int)(intptr_t)arg);
}

static int call__exit(void *arg)
{
        _exit((int)(intptr_t)arg);
}

static int raise_it(void *arg)
{
        (void)raise((int)(intptr_t)arg);
        return 0;
}

static int sleep_long(void *arg)
{
        (void)arg;
        for (;;)
                (void)sleep(1000);
        return 0;
}

TEST_METHODS(exit_codes, "every way of ending has its exit code", "[live][process]")
{
        static const struct {
                crew_target_fn *target;
                int arg, code;
        } rows[] = {
                { give, 0, 0 },
                { give, 1, 1 },
                { give, 255, 255 },
                { give, 300, 44 },
                { give, -1, 255 },
                { call_exit, 0, 0 },
                { call_exit, 7, 7 },
                { call_exit, 300, 44 },
                { call_exit, -1, 255 },
                { call__exit, 9, 9 },
                { raise_it, SIGTERM, -SIGTERM },
                { raise_it, SIGKILL, -SIGKILL },
                { raise_it, SIGUSR1, -SIGUSR1 },
                { raise_it, SIGHUP, -SIGHUP },
        };

        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                crew_exit e = { .size = sizeof e };
                crew_auto(process) p = NULL;

                INFO("row %zu", i);
                REQUIRE_OK(host_launch(&p, rows[i].target, (void *)(intptr_t)rows[i].arg, NULL));
                CHECK_INT(join_code(p), ==, rows[i].code);
                REQUIRE_OK(crew_process_exit(p, &e));
                CHECK_INT(e.code, ==, rows[i].code);
                CHECK_INT(e.signal, ==, rows[i].code < 0 ? -rows[i].code : 0);
                CHECK(e.usage);
                CHECK(!e.core);
        }
}

static int dump(void *arg)
{
        struct rlimit limit = { 0 };

        (void)arg;
        (void)getrlimit(RLIMIT_CORE, &limit);
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_CORE, &limit);
        if (chdir("/tmp") < 0)
                return 1;
        abort();
}

TEST(core_flag, "a core dump is told apart from its signal", "[live][process]")
{
        crew_exit e = { .size = sizeof e };
        crew_auto(process) p = NULL;
        struct rlimit limit;
        int status;
        pid_t pid;

        REQUIRE(getrlimit(RLIMIT_CORE, &limit) == 0);
        if (!limit.rlim_max)
                SKIP("core dumps are forbidden here");
        /* What the kernel says without crew. */
        pid = fork();
        if (pid == 0)
                _exit(dump(NULL));
        REQUIRE(waitpid(pid, &status, 0) == pid);
        REQUIRE_OK(host_launch(&p, dump, NULL, NULL));
        CHECK_INT(join_code(p), ==, -SIGABRT);
        REQUIRE_OK(crew_process_exit(p, &e));
        CHECK_INT(e.signal, ==, SIGABRT);
        CHECK_INT(e.core, ==, !!WCOREDUMP(status));
        (void)unlink("/tmp/core");
}

TEST_METHODS(sentinel, "the pidfd is readable once it has ended, and stays so", "[live][process]")
{
        struct pollfd readable = { .events = POLLIN };
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_launch(&p, sleep_long, NULL, NULL));
        readable.fd = (int)REQUIRE_OK(crew_process_fd(p));
        CHECK_INT(poll(&readable, 1, 10), ==, 0);
        CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(poll(&readable, 1, 5000), ==, 1);
        CHECK_INT(crew_process_is_alive(p), ==, 0);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        CHECK_INT(poll(&readable, 1, 0), ==, 1);
        CHECK_INT(crew_process_fd(p), ==, readable.fd);
}

TEST_METHODS(many, "a hundred start and join, a hundred start and terminate", "[live][process]")
{
        enum { N = 100 };
        crew_process *p[N];
        int wrong = 0;

        TEST_DEADLINE(60);
        for (int i = 0; i < N; i++)
                REQUIRE_OK(host_launch(&p[i], give, NULL, NULL));
        REQUIRE_OK(crew_join_all(p, N, CREW_S(30)));
        for (int i = 0; i < N; i++) {
                wrong += join_code(p[i]) != 0;
                p[i] = crew_process_free(p[i]);
        }
        for (int i = 0; i < N; i++)
                REQUIRE_OK(host_launch(&p[i], sleep_long, NULL, NULL));
        CHECK_INT(crew_join_all(p, N, CREW_MS(20)), ==, -ETIMEDOUT);
        CHECK_INT(crew_join_all(p, N, CREW_NOW), ==, -EAGAIN);
        for (int i = 0; i < N; i++)
                wrong += crew_process_terminate(p[i]) != 0;
        REQUIRE_OK(crew_join_all(p, N, CREW_S(30)));
        for (int i = 0; i < N; i++) {
                wrong += join_code(p[i]) != -SIGTERM;
                p[i] = crew_process_free(p[i]);
        }
        CHECK_INT(wrong, ==, 0);
        CHECK_INT(crew_active_children(NULL, 0), ==, 0);
}

TEST(join_all_border, "join_all reports the first error and joins the rest", "[live][process]")
{
        crew_auto(process) never = NULL;
        crew_auto(process) quick = NULL;
        crew_process *both[2];
        int code;

        REQUIRE_OK(crew_join_all(NULL, 0, CREW_FOREVER));
        CHECK_INT(crew_join_all(NULL, 1, CREW_NOW), ==, -EINVAL);
        REQUIRE_OK(host_new(&never, give, NULL, NULL));
        REQUIRE_OK(host_launch(&quick, give, NULL, NULL));
        CHECK(EVENTUALLY(crew_process_is_alive(quick) == 0, CREW_S(5)));
        both[0] = never, both[1] = quick;
        CHECK_INT(crew_join_all(both, 2, CREW_S(1)), ==, -ESRCH);
        CHECK_INT(crew_process_exitcode(quick, &code), ==, 0);
        both[0] = NULL;
        CHECK_INT(crew_join_all(both, 2, CREW_S(1)), ==, -EINVAL);
}

struct joiner {
        pthread_t thread;
        crew_process *p;
        int joined, code;
};

static void *join_it(void *data)
{
        struct joiner *j = data;

        j->joined = crew_process_join(j->p, CREW_S(15));
        j->code = 9999;
        (void)crew_process_exitcode(j->p, &j->code);
        return NULL;
}

static int nap(void *arg)
{
        (void)usleep((unsigned)(intptr_t)arg);
        return 6;
}

TEST(joiners, "eight threads join one process", "[live][process]")
{
        for (int round = 0; round < test_scale(100, 3); round++) {
                struct joiner j[8];
                crew_auto(process) p = NULL;

                REQUIRE_OK(host_launch(&p, nap, (void *)(intptr_t)20000, NULL));
                for (int i = 0; i < 8; i++) {
                        j[i] = (struct joiner){ .p = p };
                        REQUIRE(pthread_create(&j[i].thread, NULL, join_it, &j[i]) == 0);
                }
                for (int i = 0; i < 8; i++) {
                        (void)pthread_join(j[i].thread, NULL);
                        CHECK_INT(j[i].joined, ==, 0);
                        CHECK_INT(j[i].code, ==, 6);
                }
        }
}

static void on_signal(int sig)
{
        (void)sig;
}

TEST(interrupted, "a signal handler interrupts a join", "[live][process]")
{
        struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
        atomic_int *over = shared_new(sizeof *over);
        crew_auto(process) p = NULL;
        pid_t host = getpid(), pid;

        REQUIRE_OK(host_launch(&p, sleep_long, NULL, NULL));
        REQUIRE(sigaction(SIGUSR1, &act, NULL) == 0);
        pid = fork();
        if (pid == 0) {
                /* The first one may come before the join. */
                do
                        (void)usleep(50000);
                while (!atomic_load(over) && kill(host, SIGUSR1) == 0);
                _exit(0);
        }
        CHECK_INT(crew_process_join(p, CREW_FOREVER), ==, -EINTR);
        atomic_store(over, 1);
        CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
        CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(join_code(p), ==, -SIGKILL);
}

static int burn(void *arg)
{
        size_t size = 32u << 20;
        char *memory = malloc(size);
        struct rusage used;

        (void)arg;
        if (!memory)
                return 1;
        for (size_t i = 0; i < size; i += 4096)
                ((volatile char *)memory)[i] = 1;
        do {
                if (getrusage(RUSAGE_SELF, &used) < 0)
                        return 1;
        } while (used.ru_utime.tv_sec == 0 && used.ru_utime.tv_usec < 30000);
        free(memory);
        return 0;
}

TEST_METHODS(usage, "the resources it used are known", "[live][process]")
{
        crew_exit e = { .size = sizeof e }, small = { .size = offsetof(crew_exit, signal) };
        crew_exit none = { .size = 0 };
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_launch(&p, burn, NULL, NULL));
        CHECK_INT(crew_process_exit(p, &none), ==, -EINVAL);
        CHECK_INT(join_code(p), ==, 0);
        REQUIRE_OK(crew_process_exit(p, &e));
        CHECK(e.usage);
        CHECK_INT(e.user_time + e.system_time, >=, CREW_MS(25));
        CHECK_INT(e.max_rss, >=, 32 << 20);
        small.signal = 55;
        small.code = 55;
        REQUIRE_OK(crew_process_exit(p, &small));
        CHECK_INT(small.code, ==, 0);
        CHECK_INT(small.signal, ==, 55);
}
