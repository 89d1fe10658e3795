/* SPDX-License-Identifier: MIT */

/* What ends a worker, and what that means for its task. */

#include "pool-help.h"

#include <limits.h>
#include <sys/resource.h>

POOL_WARM_UP

static int die(crew_pool *p, int sig, crew_failure *f)
{
        *f = (crew_failure){ .size = sizeof *f };
        return (int)crew_pool_apply(
                p, task_die, &sig, sizeof sig, NULL, 0, CREW_S(10), CREW_OPT(task, .failure = f));
}

TEST_POOLS(killed, "a task whose worker dies fails with the signal, and the pool goes on",
        "[live][pool]")
{
        static const int signals[] = { SIGKILL, SIGSEGV, SIGABRT, SIGTERM };
        crew_auto(pool) p = new_pool(2, NULL);
        crew_failure f;

        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
                CHECK_INT(die(p, signals[i], &f), ==, -EOWNERDEAD);
                CHECK_INT(f.reason, ==, CREW_DIED);
                CHECK_INT(f.exitcode, ==, -signals[i]);
                CHECK_INT(f.pid, >, 0);
                CHECK(strstr(f.message, "signal"));
        }
        CHECK_INT(die(p, 0, &f), ==, -EOWNERDEAD);
        CHECK_INT(f.exitcode, ==, 7);
        CHECK(strstr(f.message, "exit(7)"));
        CHECK_INT(twice(p, 3), ==, 6);
        CHECK_INT(stats_of(p).failed, ==, 5);
}

TEST_POOLS(behind, "tasks behind one that dies run elsewhere", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .restarts = UINT_MAX));
        crew_result *r[60];
        int kill_me = SIGKILL;

        for (int i = 0; i < 60; i++) {
                if (i % 10 == 5)
                        REQUIRE_OK(crew_pool_apply_async(
                                p, task_die, &kill_me, sizeof kill_me, &r[i], NULL));
                else
                        REQUIRE_OK(crew_pool_apply_async(p, task_twice, &i, sizeof i, &r[i], NULL));
        }
        for (int i = 0; i < 60; i++) {
                int out = 0;
                ssize_t n = crew_result_get(r[i], &out, sizeof out, CREW_S(10));

                CHECK_INT(n, ==, i % 10 == 5 ? -EOWNERDEAD : (ssize_t)sizeof out);
                CHECK_INT(out, ==, i % 10 == 5 ? 0 : 2 * i);
                (void)crew_result_free(r[i]);
        }
}

/* Dies in its first attempts, as many as its argument says. */
static int task_unlucky(crew_task *t, const void *arg, size_t size)
{
        unsigned attempt = crew_task_attempt(t);

        (void)size;
        if (attempt <= (unsigned)*(const int *)arg)
                (void)kill(getpid(), SIGKILL);
        return crew_task_return(t, &attempt, sizeof attempt);
}

TEST_POOLS(retried, "a task is run again after deaths, so often and no more", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .on_death = CREW_DEATH_RETRY, .retries = 2));
        crew_failure f = { .size = sizeof f };
        int deaths = 2;
        unsigned out = 0;

        CHECK_INT(crew_pool_apply(p, task_unlucky, &deaths, sizeof deaths, &out, sizeof out,
                          CREW_S(10), NULL),
                ==, sizeof out);
        CHECK_INT(out, ==, 3);
        deaths = 3;
        CHECK_INT(crew_pool_apply(p, task_unlucky, &deaths, sizeof deaths, &out, sizeof out,
                          CREW_S(10), CREW_OPT(task, .failure = &f)),
                ==, -EOWNERDEAD);
        CHECK_INT(f.attempt, ==, 3);
        CHECK(strstr(f.message, "attempt 3"));
        CHECK_INT(crew_pool_apply(p, task_unlucky, &deaths, sizeof deaths, &out, sizeof out,
                          CREW_S(10), CREW_OPT(task, .retries = 3)),
                ==, sizeof out);
        CHECK_INT(out, ==, 4);
}

TEST_POOLS(fail_pool, "a death may end the pool", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .on_death = CREW_DEATH_FAIL_POOL));
        crew_auto(result) other = start_sleep(p, 5000, NULL);
        crew_failure f;

        CHECK_INT(die(p, SIGKILL, &f), ==, -EOWNERDEAD);
        CHECK_INT(crew_result_wait(other, CREW_S(5)), ==, 0);
        CHECK_INT(failure_of(other).reason, ==, CREW_BROKEN);
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(1), NULL), ==,
                -ENOTRECOVERABLE);
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
}

TEST_POOLS(idle, "an idle worker that is killed is replaced", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        pid_t pid = 0, next = 0;

        REQUIRE_OK(crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid, CREW_S(5), NULL));
        CHECK_INT(kill(pid, SIGKILL), ==, 0);
        pause_ms(50);
        REQUIRE_OK(crew_pool_apply(p, task_pid, NULL, 0, &next, sizeof next, CREW_S(5), NULL));
        CHECK_INT(pid, !=, next);
        CHECK_INT(stats_of(p).restarts, ==, 1);
        CHECK_INT(stats_of(p).failed, ==, 0);
}

TEST_POOLS(deadline, "a task that runs past its deadline is ended", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_failure f = { .size = sizeof f };
        int ms = 10000;
        int64_t from, took = INT64_MAX;

        /* On a busy machine it may be late, but not every time. */
        for (int i = 0; i < 5 && took >= test_slow(CREW_MS(1000)); i++) {
                from = crew_clock();
                CHECK_INT(crew_pool_apply(p, task_sleep, &ms, sizeof ms, NULL, 0, CREW_S(5),
                                  CREW_OPT(task, .deadline = CREW_MS(50), .failure = &f)),
                        ==, -ETIME);
                took = crew_clock() - from;
        }
        CHECK_INT(took, <, test_slow(CREW_MS(1000)));
        CHECK_INT(f.reason, ==, CREW_DEADLINE);
        CHECK(strstr(f.message, "50.000 ms"));
        ms = 1;
        CHECK_INT(crew_pool_apply(p, task_sleep, &ms, sizeof ms, &ms, sizeof ms, CREW_S(5),
                          CREW_OPT(task, .deadline = CREW_S(3))),
                ==, sizeof ms);
}

/* Will not be told. */
static __attribute__((noreturn)) int task_deaf(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        (void)signal(SIGTERM, SIG_IGN);
        for (;;)
                (void)pause();
}

TEST_POOLS(deaf, "SIGKILL comes after the grace for a task that ignores SIGTERM", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);

        CHECK_INT(crew_pool_apply(p, task_deaf, NULL, 0, NULL, 0, CREW_S(5),
                          CREW_OPT(task, .deadline = CREW_MS(20))),
                ==, -ETIME);
        CHECK_INT(twice(p, 1), ==, 2);
}

TEST_POOLS(timeout, "apply gives up in time, cancels, and never writes later", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        int ms = 300, out = -1, r = 0;
        int64_t from, took = INT64_MAX;

        /* Who is kept from running is late, or finds the result there, but not every time. */
        for (int i = 0; i < 5 && (r != -ETIMEDOUT || took >= test_slow(CREW_MS(250))); i++) {
                out = -1;
                from = crew_clock();
                r = (int)crew_pool_apply(
                        p, task_sleep, &ms, sizeof ms, &out, sizeof out, CREW_MS(30), NULL);
                took = crew_clock() - from;
        }
        CHECK_INT(r, ==, -ETIMEDOUT);
        CHECK_INT(took, <, test_slow(CREW_MS(250)));
        CHECK_INT(twice(p, 5), ==, 10);
        pause_ms(350);
        CHECK_INT(out, ==, -1);
        ms = 60000;
        CHECK_INT(crew_pool_apply(p, task_sleep, &ms, sizeof ms, &out, sizeof out, CREW_NOW, NULL),
                ==, -EAGAIN);
}

TEST_POOLS(cancel, "queued and running tasks can be taken back", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_auto(result) running = start_sleep(p, 10000, NULL);
        crew_auto(result) queued = start_sleep(p, 10000, NULL);
        crew_auto(result) last = start_sleep(p, 1, NULL);
        int out;

        pause_ms(30);
        CHECK_INT(crew_result_cancel(queued, 0), ==, 0);
        CHECK_INT(crew_result_get(queued, &out, sizeof out, CREW_S(1)), ==, -ECANCELED);
        CHECK_INT(failure_of(queued).reason, ==, CREW_CANCELLED);
        CHECK_INT(crew_result_cancel(running, CREW_MS(20)), ==, 0);
        CHECK_INT(crew_result_get(running, &out, sizeof out, CREW_S(1)), ==, -ECANCELED);
        CHECK_INT(crew_result_cancel(running, 0), ==, -EALREADY);
        CHECK_INT(crew_result_get(last, &out, sizeof out, CREW_S(5)), ==, sizeof out);
}

TEST(terminate, "terminate with 10,000 queued makes every result ready", "[live][pool]")
{
        enum { N = 10000 };
        static crew_result *r[N];
        crew_auto(pool) p = new_pool(2, NULL);
        int ready = 0;
        pid_t pid = 0;
        int64_t from;

        REQUIRE_OK(crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid, CREW_S(5), NULL));
        for (int i = 0; i < N; i++)
                r[i] = start_sleep(p, 1000, NULL);
        from = crew_clock();
        CHECK_INT(crew_pool_terminate(p, CREW_MS(10)), ==, 0);
        for (int i = 0; i < N; i++) {
                ready += crew_result_ready(r[i]) && !crew_result_successful(r[i]);
                (void)crew_result_free(r[i]);
        }
        CHECK_INT(ready, ==, N);
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
        /* All of them would take hours. */
        CHECK_INT(crew_clock() - from, <, test_slow(CREW_S(5)));
        CHECK(gone_within(pid, 2000));
}

TEST_POOLS(retire, "a worker is replaced after so many tasks", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, CREW_OPT(pool, .tasks_per_worker = 3));
        pid_t pid[9];

        for (int i = 0; i < 9; i++)
                REQUIRE_OK(crew_pool_apply(
                        p, task_pid, NULL, 0, &pid[i], sizeof *pid, CREW_S(5), NULL));
        for (int i = 0; i < 9; i += 3) {
                CHECK(pid[i] == pid[i + 1] && pid[i] == pid[i + 2]);
                CHECK(i == 0 || pid[i] != pid[i - 1]);
        }
        CHECK_INT(stats_of(p).failed, ==, 0);
}

static int init_fails(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        return -EXDEV;
}

TEST_POOLS(budget, "workers that cannot start break the pool, which says why", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .initializer = init_fails, .restarts = 5));
        crew_failure f = { .size = sizeof f };

        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(10),
                          CREW_OPT(task, .failure = &f)),
                ==, -ENOTRECOVERABLE);
        if (f.message) {
                CHECK_INT(f.reason, ==, CREW_BROKEN);
                CHECK(strstr(f.message, "EXDEV"));
        }
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(10), NULL), ==,
                -ENOTRECOVERABLE);
        CHECK(strstr(crew_error_detail(), "initializer"));
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
}

static int task_parent(crew_task *t, const void *arg, size_t size)
{
        pid_t pid = getppid();

        (void)arg;
        (void)size;
        return crew_task_return(t, &pid, sizeof pid);
}

TEST_POOLS(zygote, "the death of the zygote breaks the pool and nothing hangs", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_result *r[50];
        pid_t zygote = 0;

        REQUIRE_OK(
                crew_pool_apply(p, task_parent, NULL, 0, &zygote, sizeof zygote, CREW_S(5), NULL));
        for (int i = 0; i < 50; i++)
                r[i] = start_sleep(p, 60000, NULL);
        REQUIRE(zygote > 1 && zygote != getpid());
        CHECK_INT(kill(zygote, SIGKILL), ==, 0);
        for (int i = 0; i < 50; i++) {
                CHECK_INT(crew_result_wait(r[i], CREW_S(10)), ==, 0);
                CHECK(!crew_result_successful(r[i]));
                if (i == 49)
                        CHECK(strstr(failure_of(r[i]).message, "zygote"));
                (void)crew_result_free(r[i]);
        }
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(1), NULL), ==,
                -ENOTRECOVERABLE);
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
}

static int task_remove(crew_task *t, const void *arg, size_t size)
{
        (void)arg;
        (void)size;
        return unlink("/nowhere/nothing") < 0 ? crew_task_fail(t, -errno, "unlink: %m") : 0;
}

TEST_POOLS(violation, "a refused call is named, with the word that allows it", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_auto(pool) allowed = new_pool(1, CREW_OPT(pool, .sandbox = "stdio rpath cpath"));
        crew_auto(pool) denied = new_pool(1, CREW_OPT(pool, .on_violation = CREW_VIOLATION_DENY));
        crew_failure f = { .size = sizeof f };

        CHECK_INT(crew_pool_apply(p, task_remove, NULL, 0, NULL, 0, CREW_S(5),
                          CREW_OPT(task, .failure = &f)),
                ==, -EPERM);
        CHECK_INT(f.reason, ==, CREW_VIOLATED);
        CHECK(f.syscall_name && strstr(f.syscall_name, "unlink"));
        CHECK(f.message && strstr(f.message, "cpath"));
        CHECK_INT(stats_of(p).violations, ==, 1);
        CHECK_INT(twice(p, 2), ==, 4);
        CHECK_INT(crew_pool_apply(allowed, task_remove, NULL, 0, NULL, 0, CREW_S(5), NULL), ==,
                -ENOENT);
        CHECK_INT(crew_pool_apply(denied, task_remove, NULL, 0, NULL, 0, CREW_S(5),
                          CREW_OPT(task, .failure = &f)),
                ==, -EPERM);
        CHECK_INT(f.reason, ==, CREW_FAILED);
        CHECK_INT(stats_of(denied).violations, ==, 1);
        CHECK_INT(twice(denied, 2), ==, 4);
}

TEST(rest, "a pool that has nothing to do takes no time", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        struct rusage before, after;
        int64_t used = INT64_MAX;

        CHECK_INT(twice(p, 2), ==, 4);
        /* Time that the machine itself was away for may be counted as used, but not every time. */
        for (int i = 0; i < 5 && used >= CREW_MS(20); i++) {
                crew_auto(result) r = start_sleep(p, 250, CREW_OPT(task, .deadline = CREW_S(100)));

                (void)getrusage(RUSAGE_SELF, &before);
                pause_ms(200);
                (void)getrusage(RUSAGE_SELF, &after);
                used = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * CREW_S(1) +
                       (after.ru_utime.tv_usec - before.ru_utime.tv_usec) * 1000;
        }
        CHECK_INT(used, <, CREW_MS(20));
}

TEST_POOLS(exit_without_join, "workers end with the program, however it ends", "[live][pool]")
{
        for (int how = 0; how < 2; how++) {
                pid_t *pid = mmap(NULL, sizeof *pid, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                pid_t child = fork();

                if (child == 0) {
                        crew_pool *p = new_pool(1, NULL);

                        (void)crew_pool_apply(
                                p, task_pid, NULL, 0, pid, sizeof *pid, CREW_S(5), NULL);
                        (void)start_sleep(p, 10000, NULL);
                        if (how == 0)
                                _exit(0);
                        (void)kill(getpid(), SIGKILL);
                }
                REQUIRE(waitpid(child, NULL, 0) == child);
                REQUIRE(*pid > 0);
                CHECK(gone_within(*pid, 5000));
                (void)munmap(pid, sizeof *pid);
        }
}
