/* SPDX-License-Identifier: MIT */

/*
 * What CPython's Lib/test/_test_multiprocessing.py asks of a Pool, the other half: its making, its
 * states, its workers' lives and its end. The table from its cases to these is in docs/TESTING.md.
 */

#include "pool-gate.h"
#include "pool-port.h"

#include <sys/resource.h>

POOL_WARM_UP

TEST_POOLS(make_pool, "a pool has as many workers as it was asked for; 0 is all processors",
        "[live][pool]")
{
        for (unsigned n = 0; n <= 3; n++) {
                crew_auto(pool) p = new_pool(n, NULL);

                CHECK_INT(twice(p, 1), ==, 2);
                CHECK_INT(stats_of(p).workers, ==, n ? n : (unsigned)crew_cpu_count());
        }
}

TEST(make_pool_negative, "a negative number of workers is refused with words", "[live][pool]")
{
        crew_pool *p = NULL;

        CHECK_INT(crew_pool_new(&p, (unsigned)-1, NULL), <, 0);
        CHECK(p == NULL);
        CHECK(*crew_error_detail());
}

TEST_POOLS(terminate, "terminate with 10,000 long tasks returns fast and leaves none running",
        "[live][pool]")
{
        enum { TASKS = 10000 };
        crew_auto(pool) p = new_pool(3, NULL);
        static int in[TASKS], status[TASKS];
        crew_auto(result) r = NULL;
        int64_t begun;
        size_t other = 0;

        for (int i = 0; i < TASKS; i++)
                in[i] = 100;
        REQUIRE_OK(crew_pool_map_async(p, task_sleep, in, TASKS, sizeof *in, NULL, 0, &r,
                CREW_OPT(task, .chunk = 1, .status = status)));
        begun = crew_clock();
        CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        /* All of them would take minutes. */
        CHECK_INT(crew_clock() - begun, <, test_slow(CREW_S(5)));
        CHECK_INT(crew_result_get(r, NULL, 0, CREW_NOW), ==, -ECANCELED);
        for (int i = 0; i < TASKS; i++)
                other += status[i] != CREW_OK && status[i] != CREW_CANCELLED;
        CHECK_INT(other, ==, 0);
        CHECK_INT(status[TASKS - 1], ==, CREW_CANCELLED);
}

TEST_POOLS(get_after_terminate, "get after terminate answers instead of waiting", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_auto(result) running = start_sleep(p, 60000, NULL);
        crew_auto(result) queued = start_sleep(p, 60000, NULL);
        int out = 0;

        CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
        CHECK_INT(crew_result_get(running, &out, sizeof out, CREW_NOW), ==, -ECANCELED);
        CHECK_INT(crew_result_get(queued, &out, sizeof out, CREW_FOREVER), ==, -ECANCELED);
        CHECK_INT(failure_of(queued).reason, ==, CREW_CANCELLED);
}

/* Every way to submit answers the same. */
static void check_refused(crew_pool *p, int expected)
{
        crew_result *r = NULL;
        int in = 1, out = 0;

        CHECK_INT(crew_pool_apply(p, task_twice, &in, sizeof in, &out, sizeof out, CREW_S(5), NULL),
                ==, expected);
        CHECK_INT(crew_pool_apply_async(p, task_twice, &in, sizeof in, &r, NULL), ==, expected);
        CHECK_INT(
                crew_pool_map(p, task_twice, &in, 1, sizeof in, &out, sizeof out, CREW_S(5), NULL),
                ==, expected);
        CHECK_INT(crew_pool_map_async(p, task_twice, &in, 1, sizeof in, &out, sizeof out, &r, NULL),
                ==, expected);
        CHECK(r == NULL);
}

TEST_POOLS(context, "after its end a pool refuses every way to submit", "[live][pool]")
{
        crew_auto(pool) closed = new_pool(2, NULL);
        crew_auto(pool) terminated = new_pool(2, NULL);

        CHECK_INT(twice(closed, 4), ==, 8);
        CHECK_INT(crew_pool_close(closed), ==, 0);
        check_refused(closed, -ESHUTDOWN);
        CHECK_INT(crew_pool_join(closed, CREW_S(10)), ==, 0);
        check_refused(closed, -ESHUTDOWN);
        CHECK_INT(crew_pool_terminate(terminated, 0), ==, 0);
        check_refused(terminated, -ESHUTDOWN);
}

TEST(states, "join wants close first; close, terminate and join again are fine", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);

        CHECK_INT(crew_pool_join(p, CREW_S(1)), ==, -EBUSY);
        CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
        CHECK_INT(crew_pool_terminate(p, CREW_S(1)), ==, 0);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
}

TEST(join_timeout, "join gives up on time while a task runs", "[live][pool]")
{
        struct gate gate;
        crew_result *r;
        crew_pool *p;

        gate_new(&gate);
        p = new_pool(1, CREW_OPT(pool, GATE_KEPT(&gate)));
        r = start_gated(p, &gate, 1, NULL);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_pool_join(p, CREW_MS(50)), ==, -ETIMEDOUT);
        gate_open(&gate, 1);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        CHECK(crew_result_successful(r));
        (void)crew_result_free(r);
        (void)crew_pool_free(p);
        gate_free(&gate);
}

static unsigned distinct(const pid_t *pid, unsigned n)
{
        unsigned different = 0;

        for (unsigned i = 0; i < n; i++) {
                unsigned k = 0;

                while (k < i && pid[k] != pid[i])
                        k++;
                different += k == i;
        }
        return different;
}

struct signed_twice {
        pid_t pid;
        int twice;
};

static int task_signed_twice(crew_task *t, const void *arg, size_t size)
{
        struct signed_twice out = { .pid = getpid() };
        int in;

        if (size != sizeof in)
                return -EINVAL;
        memcpy(&in, arg, sizeof in);
        out.twice = 2 * in;
        return crew_task_return(t, &out, sizeof out);
}

TEST_POOLS(
        worker_lifetime, "workers leave after their 10 tasks and others take over", "[live][pool]")
{
        enum { N = 200 };
        crew_auto(pool) p = new_pool(3, CREW_OPT(pool, .tasks_per_worker = 10));
        pid_t pid[N];
        uint64_t retired = 0;

        for (int i = 0; i < N; i++) {
                struct signed_twice out = { 0 };

                CHECK_INT(crew_pool_apply(p, task_signed_twice, &i, sizeof i, &out, sizeof out,
                                  CREW_S(10), NULL),
                        ==, sizeof out);
                CHECK_INT(out.twice, ==, 2 * i);
                pid[i] = out.pid;
        }
        for (int i = 0; i < N; i++) {
                unsigned same = 0, before = 0;

                for (int k = 0; k < N; k++) {
                        same += pid[k] == pid[i];
                        before += k < i && pid[k] == pid[i];
                }
                CHECK_INT(same, <=, 10);
                retired += same == 10 && before == 0;
        }
        CHECK_INT(distinct(pid, N), >=, N / 10);
        CHECK(SOON(stats_of(p).restarts == retired));
        CHECK(SOON(stats_of(p).workers == 3));
}

TEST_POOLS(lifetime_early_close,
        "close with workers of one task each, then join: all results are there", "[live][pool]")
{
        crew_auto(pool) p = new_pool(3, CREW_OPT(pool, .tasks_per_worker = 1));
        crew_result *r[6];

        for (int i = 0; i < 6; i++)
                r[i] = start_sleep(p, 100, NULL);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        for (int i = 0; i < 6; i++) {
                int out = 0;

                CHECK_INT(crew_result_get(r[i], &out, sizeof out, CREW_NOW), ==, sizeof out);
                CHECK_INT(out, ==, 100);
                r[i] = crew_result_free(r[i]);
        }
}

TEST_POOLS(large_pool, "200 workers run 200 tasks at once and go", "[live][pool]")
{
        static int in[200], out[200];
        crew_pool *p;

        TEST_DEADLINE(60);
        p = new_pool(200, CREW_OPT(pool, .lane_bytes = 4096));
        for (int i = 0; i < 200; i++)
                in[i] = i;
        CHECK_INT(crew_pool_map(p, task_twice, in, 200, sizeof *in, out, sizeof *out, CREW_S(30),
                          CREW_OPT(task, .chunk = 1)),
                ==, 0);
        for (int i = 0; i < 200; i++)
                CHECK_INT(out[i], ==, 2 * i);
        CHECK_INT(stats_of(p).workers, ==, 200);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(30)), ==, 0);
        CHECK(crew_pool_free(p) == NULL);
}

/* The status with which a program ends that has a pool and does this. */
static int status_of(void (*program)(void), int64_t *took)
{
        int64_t begun = crew_clock();
        int status = -1;
        pid_t pid = fork();

        REQUIRE(pid >= 0);
        if (pid == 0) {
                program();
                exit(0);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        *took = crew_clock() - begun;
        return status;
}

/* Reachable, so that it is no leak. */
static crew_pool *forgotten;

static void leave_idle(void)
{
        crew_pool *p = forgotten = new_pool(3, NULL);

        CHECK_INT(twice(p, 1), ==, 2);
}

static void leave_busy(void)
{
        crew_pool *p = forgotten = new_pool(3, NULL);

        for (int i = 0; i < 10; i++)
                (void)crew_result_free(start_sleep(p, 60000, NULL));
}

static void leave_closed(void)
{
        crew_pool *p = forgotten = new_pool(3, NULL);

        for (int i = 0; i < 10; i++)
                (void)crew_result_free(start_sleep(p, 60000, NULL));
        (void)crew_pool_close(p);
}

static void leave_driven_by_hand(void)
{
        crew_pool *p = forgotten = new_pool(2, CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD));

        CHECK_INT(twice(p, 1), ==, 2);
}

TEST_POOLS(finalization_via_atexit, "a program that forgets its pool exits with 0 at once",
        "[live][pool]")
{
        void (*const programs[])(
                void) = { leave_idle, leave_busy, leave_closed, leave_driven_by_hand };

        for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
                int64_t took = 0;

                CHECK_INT(status_of(programs[i], &took), ==, 0);
                /* The tasks of the busy ones would take a minute. */
                CHECK_INT(took, <, test_slow(CREW_S(5)));
        }
}

TEST_POOLS(no_leak_on_failure, "a pool that cannot be made leaves nothing", "[live][pool]")
{
        struct rlimit old, few;
        unsigned made = 0, refused = 0;

        REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
        for (rlim_t n = 4; n < 64; n++) {
                crew_pool *p = NULL;
                int r;

                few = (struct rlimit){ n, old.rlim_max };
                REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
                r = crew_pool_new(&p, 4, CREW_OPT(pool, .method = pool_method));
                REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
                if (r == 0) {
                        made++;
                        CHECK_INT(twice(p, 2), ==, 4);
                } else {
                        refused++;
                        CHECK_INT(r, ==, -EMFILE);
                        CHECK(p == NULL);
                        CHECK(*crew_error_detail());
                }
                (void)crew_pool_free(p);
        }
        CHECK_INT(refused, >, 0);
        CHECK_INT(made, >, 0);
}

TEST_POOLS(
        initializer, "the initializer runs once in each worker, before its tasks", "[live][pool]")
{
        struct tally tally;
        crew_pool *p;

        tally_new(&tally);
        p = new_pool(3, CREW_OPT(pool, .initializer = task_tally, .init_arg = &tally.fd[1],
                                .init_size = sizeof tally.fd[1], .keep_fds = &tally.fd[1],
                                .n_keep_fds = 1));
        for (int i = 0; i < 30; i++)
                CHECK_INT(twice(p, i), ==, 2 * i);
        CHECK(SOON(tally_read(&tally) == 3));
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        CHECK(crew_pool_free(p) == NULL);
        CHECK_INT(tally_read(&tally), ==, 3);
        tally_free(&tally);
}
