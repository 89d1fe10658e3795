/* SPDX-License-Identifier: MIT */

/*
 * The crash suites of CPython's concurrent.futures (test_process_pool, test_deadlock, test_init,
 * test_shutdown) and of loky, one half: tasks and workers that come to a bad end. None may hang.
 * The table from their cases to these is in docs/TESTING.md.
 */

#include "pool-gate.h"
#include "pool-port.h"

#include <limits.h>

POOL_WARM_UP

#define LANE 65536

/* How a task comes to its end. */
enum how { ERROR, EXIT, RAISED_EXIT, ABORT, SEGV, KILL, N_HOWS };

static int end_badly(crew_task *t, enum how how)
{
        switch (how) {
        case ERROR:
                return crew_task_fail(t, -EDOM, "on purpose");
        case EXIT:
                exit(1);
        case RAISED_EXIT:
                _exit(0);
        case ABORT:
                abort();
        case SEGV:
                (void)kill(getpid(), SIGSEGV);
                break;
        default:
                (void)kill(getpid(), SIGKILL);
        }
        return -EIO;
}

/* What the pool says of it. */
static void check_end(const crew_failure *f, enum how how)
{
        static const int exitcodes[N_HOWS] = { 0, 1, 0, -SIGABRT, -SIGSEGV, -SIGKILL };

        CHECK_INT(f->reason, ==, how == ERROR ? CREW_FAILED : CREW_DIED);
        CHECK_INT(f->exitcode, ==, exitcodes[how]);
        CHECK(f->message && *f->message);
        if (how != ERROR)
                CHECK_INT(f->pid, >, 0);
}

static int task_ends_at_once(crew_task *t, const void *arg, size_t size)
{
        (void)size;
        return end_badly(t, *(const enum how *)arg);
}

/* After it has begun to write a result: nothing of that may come out. */
static int task_ends_at_result(crew_task *t, const void *arg, size_t size)
{
        char *at = crew_task_result(t, LANE);

        (void)size;
        if (!at)
                return -EMSGSIZE;
        memset(at, 'x', LANE / 2);
        return end_badly(t, *(const enum how *)arg);
}

/* After its result was set in full. */
static int task_ends_after_result(crew_task *t, const void *arg, size_t size)
{
        int r = crew_task_return(t, arg, size);

        return r < 0 ? r : end_badly(t, *(const enum how *)arg);
}

/* With an argument as large as the lane, read to its last byte. */
static int task_ends_with_argument(crew_task *t, const void *arg, size_t size)
{
        const char *at = arg;
        unsigned sum = 0;

        for (size_t i = 0; i < size; i++)
                sum += (unsigned char)at[i];
        return sum ? end_badly(t, *(const enum how *)arg) : -EIO;
}

static void check_all_ends(crew_task_fn *f, size_t size)
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .lane_bytes = LANE, .restarts = 1000));
        static char arg[LANE], out[LANE];

        for (enum how how = ERROR; how < N_HOWS; how++) {
                crew_failure failure = { .size = sizeof failure };
                ssize_t r;

                memset(arg, 1, sizeof arg);
                memset(out, 0, sizeof out);
                memcpy(arg, &how, sizeof how);
                INFO("end %d", (int)how);
                r = crew_pool_apply(p, f, arg, size, out, sizeof out, CREW_S(10),
                        CREW_OPT(task, .failure = &failure));
                CHECK_INT(r, ==, how == ERROR ? -EDOM : -EOWNERDEAD);
                check_end(&failure, how);
                CHECK_INT(out[0], ==, 0);
                CHECK_INT(twice(p, 21), ==, 42);
        }
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
}

TEST_POOLS(during_run, "error, exit, abort, segv and kill while a task runs", "[live][pool][crash]")
{
        check_all_ends(task_ends_at_once, sizeof(enum how));
}

TEST_POOLS(at_argument, "error, exit, abort, segv and kill over an argument that fills the lane",
        "[live][pool][crash]")
{
        check_all_ends(task_ends_with_argument, LANE);
}

TEST_POOLS(at_result, "error, exit, abort, segv and kill in the middle of a result",
        "[live][pool][crash]")
{
        check_all_ends(task_ends_at_result, sizeof(enum how));
}

TEST_POOLS(after_result, "error, exit, abort, segv and kill after the result was set",
        "[live][pool][crash]")
{
        check_all_ends(task_ends_after_result, sizeof(enum how));
}

/* A function of no use: a worker that calls it dies while it begins the task. */
TEST(at_decode, "a function that is not one costs its own task only", "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_failure f = { .size = sizeof f };
        crew_task_fn *nowhere;
        uintptr_t address = 8;
        ssize_t r;

        memcpy(&nowhere, &address, sizeof nowhere);
        r = crew_pool_apply(
                p, nowhere, NULL, 0, NULL, 0, CREW_S(10), CREW_OPT(task, .failure = &f));
        CHECK_INT(r, ==, -EOWNERDEAD);
        CHECK_INT(f.reason, ==, CREW_DIED);
        CHECK_INT(f.exitcode, ==, -SIGSEGV);
        CHECK_INT(twice(p, 1), ==, 2);
}

/* Some results lie in the lane when their worker is killed: they are neither lost nor doubled. */
static int task_every_tenth_dies(crew_task *t, const void *arg, size_t size)
{
        int value = *(const int *)arg;

        if (value % 10 == 9)
                (void)kill(getpid(), SIGKILL);
        return task_twice(t, arg, size);
}

TEST_POOLS(map_with_crashes, "a map in which every tenth item kills its worker has all the others",
        "[live][pool][crash]")
{
        enum { N = 200 };
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .restarts = UINT_MAX));
        int in[N], out[N], status[N];
        int wrong = 0;

        TEST_DEADLINE(60);
        for (int i = 0; i < N; i++)
                in[i] = i;
        CHECK_INT(crew_pool_map(p, task_every_tenth_dies, in, N, sizeof *in, out, sizeof *out,
                          CREW_S(30), CREW_OPT(task, .status = status)),
                ==, -EOWNERDEAD);
        for (int i = 0; i < N; i++) {
                if (i % 10 == 9)
                        wrong += status[i] != CREW_DIED;
                else
                        wrong += status[i] != CREW_OK || out[i] != 2 * i;
        }
        CHECK_INT(wrong, ==, 0);
}

static int task_fill_and_die(crew_task *t, const void *arg, size_t size)
{
        static char much[LANE];

        (void)arg;
        if (size == LANE && ((const char *)arg)[0] == 9)
                (void)kill(getpid(), SIGKILL);
        return crew_task_return(t, much, sizeof much);
}

TEST_POOLS(
        crash_big_data, "crashes while arguments and results fill the lanes", "[live][pool][crash]")
{
        enum { N = 40 };
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .lane_bytes = LANE, .restarts = UINT_MAX));
        static char arg[LANE];
        crew_result *r[N];

        for (int i = 0; i < N; i++) {
                arg[0] = (char)(i % 10);
                REQUIRE_OK(crew_pool_apply_async(p, task_fill_and_die, arg, LANE, &r[i], NULL));
        }
        for (int i = 0; i < N; i++) {
                size_t size = 0;

                CHECK_INT(crew_result_wait(r[i], CREW_S(15)), ==, 0);
                CHECK_INT(crew_result_successful(r[i]), ==, i % 10 != 9);
                if (i % 10 != 9)
                        CHECK(crew_result_data(r[i], &size) && size == LANE);
                r[i] = crew_result_free(r[i]);
        }
}

TEST_POOLS(killed_child, "a child killed from outside fails the task it ran, and what waited runs",
        "[live][pool][crash]")
{
        crew_result *running, *waiting;
        struct gate gate;
        crew_pool *p;
        pid_t pid = 0;

        gate_new(&gate);
        p = new_pool(1, CREW_OPT(pool, GATE_KEPT(&gate)));
        REQUIRE_OK(crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid, CREW_S(10), NULL));
        running = start_gated(p, &gate, 1, NULL);
        waiting = start_sleep(p, 1, NULL);
        gate_await(&gate, 1);
        REQUIRE(kill(pid, SIGKILL) == 0);
        CHECK_INT(crew_result_get(running, NULL, 0, CREW_S(5)), ==, -EOWNERDEAD);
        CHECK_INT(failure_of(running).exitcode, ==, -SIGKILL);
        CHECK_INT(failure_of(running).pid, ==, pid);
        CHECK_INT(crew_result_wait(waiting, CREW_S(5)), ==, 0);
        CHECK(crew_result_successful(waiting));
        (void)crew_result_free(running);
        (void)crew_result_free(waiting);
        (void)crew_pool_free(p);
        gate_free(&gate);
}

static int task_kill(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)size;
        return kill(*(const pid_t *)arg, SIGKILL) < 0 ? -errno : 0;
}

TEST_POOLS(crash_races, "workers killed at random moments lose no task but their own",
        "[live][pool][crash]")
{
        enum { TASKS = 300 };
        crew_auto(pool) p = new_pool(3,
                CREW_OPT(pool, .on_death = CREW_DEATH_RETRY, .retries = 100, .restarts = UINT_MAX));
        crew_result *r[TASKS];
        int wrong = 0;

        TEST_DEADLINE(60);
        for (int i = 0; i < TASKS; i++)
                REQUIRE_OK(crew_pool_apply_async(p, task_twice, &i, sizeof i, &r[i], NULL));
        for (int i = 0; i < TASKS; i++) {
                pid_t pid = 0;

                if (i % 10 == 0 && crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid,
                                           CREW_S(10), NULL) == sizeof pid) {
                        struct timespec short_time = { .tv_nsec = i * 1000 };

                        (void)nanosleep(&short_time, NULL);
                        (void)kill(pid, SIGKILL);
                }
        }
        for (int i = 0; i < TASKS; i++) {
                int out = -1;

                wrong += crew_result_get(r[i], &out, sizeof out, CREW_S(10)) != sizeof out ||
                         out != 2 * i;
                r[i] = crew_result_free(r[i]);
        }
        CHECK_INT(wrong, ==, 0);
        CHECK_INT(twice(p, 5), ==, 10);
}

TEST_POOLS(no_killing, "a task cannot kill the program that asked for it", "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        pid_t self = getpid();

        CHECK_INT(crew_pool_apply(p, task_kill, &self, sizeof self, NULL, 0, CREW_S(10), NULL), ==,
                -EPERM);
        CHECK_INT(twice(p, 1), ==, 2);
}

static int init_badly(crew_task *t, const void *arg, size_t size)
{
        (void)size;
        return end_badly(t, *(const enum how *)arg);
}

TEST_POOLS(init, "an initializer that fails in any way breaks the pool and every task soon",
        "[live][pool][crash]")
{
        for (enum how how = ERROR; how < N_HOWS; how++) {
                crew_auto(pool) p =
                        new_pool(2, CREW_OPT(pool, .initializer = init_badly, .init_arg = &how,
                                            .init_size = sizeof how, .restarts = 3));
                crew_result *r[10] = { NULL };
                int64_t begun = crew_clock();

                INFO("end %d", (int)how);
                for (int i = 0; i < 10; i++)
                        (void)crew_pool_apply_async(p, task_nothing, NULL, 0, &r[i], NULL);
                for (int i = 0; i < 10 && r[i]; i++) {
                        CHECK_INT(crew_result_get(r[i], NULL, 0, CREW_S(10)), ==, -ENOTRECOVERABLE);
                        CHECK_INT(failure_of(r[i]).reason, ==, CREW_BROKEN);
                        r[i] = crew_result_free(r[i]);
                }
                CHECK_INT(crew_clock() - begun, <, test_slow(CREW_S(8)));
                CHECK(SOON(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(1), NULL) ==
                           -ENOTRECOVERABLE));
                CHECK_INT(stats_of(p).restarts, <=, 5);
                CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        }
}
