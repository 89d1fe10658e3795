/* SPDX-License-Identifier: MIT */

/* Workers and zygotes that live and do nothing. */

#include "pool-help.h"

POOL_WARM_UP

/* What is to happen in a short time is kept from that on a busy machine, but not every time: one
 * round in time is enough. */
static bool once_in_time(bool (*round)(void))
{
        TEST_DEADLINE(60);
        for (int i = 0; i < 12; i++) {
                if (round())
                        return true;
        }
        return false;
}

static bool in_time(int64_t from, int64_t bound)
{
        int64_t took = crew_clock() - from;

        if (took >= test_slow(bound))
                INFO("took %lld us", (long long)took / 1000);
        return took < test_slow(bound);
}

static pid_t worker_of(crew_pool *p)
{
        pid_t pid = 0;

        REQUIRE_OK(crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid, CREW_S(5), NULL));
        return pid;
}

/* Says who it is, then sleeps for five seconds. */
static int task_tell(crew_task *t, const void *arg, size_t size)
{
        pid_t pid = getpid();
        crew_queue *q = NULL;
        crew_ref ref;
        int r, ms = 5000;

        (void)size;
        memcpy(&ref, arg, sizeof ref);
        r = crew_task_queue(t, ref, &q);
        if (r == 0)
                r = crew_queue_put(q, &pid, sizeof pid, CREW_S(5));
        return r < 0 ? r : task_sleep(t, &ms, sizeof ms);
}

static bool stop_running(void)
{
        crew_auto(queue) q = NULL;
        crew_auto(pool) p = NULL;
        crew_auto(result) late = NULL;
        pid_t stopped = 0;
        crew_failure f;
        crew_ref ref;
        int64_t from;
        bool quick;

        REQUIRE_OK(crew_queue_new(&q, 1, NULL));
        ref = crew_queue_ref(q);
        p = new_pool(2, CREW_OPT(pool, .grants = &ref, .n_grants = 1));
        REQUIRE_OK(crew_pool_apply_async(
                p, task_tell, &ref, sizeof ref, &late, CREW_OPT(task, .deadline = CREW_MS(300))));
        REQUIRE_OK(crew_queue_get_exact(q, &stopped, sizeof stopped, CREW_S(10)));
        from = crew_clock();
        REQUIRE(stopped > 0);
        /* It was late before it could be stopped. */
        if (kill(stopped, SIGSTOP) < 0)
                return false;
        for (int i = 0; i < 100; i++)
                CHECK_INT(twice(p, i), ==, 2 * i);
        CHECK_INT(crew_result_wait(late, CREW_S(5)), ==, 0);
        quick = in_time(from, CREW_MS(300 + 50 + 100));
        f = failure_of(late);
        CHECK_INT(f.reason, ==, CREW_DEADLINE);
        CHECK_INT(f.pid, ==, stopped);
        CHECK(gone_within(stopped, 2000));
        return quick;
}

TEST_POOLS(running, "a stopped worker: others go on, and its deadline kills it", "[live][pool]")
{
        CHECK(once_in_time(stop_running));
}

TEST_POOLS(idle, "a task in the lane of a stopped worker is not late for ever", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        pid_t stopped = worker_of(p), pid = 0;

        REQUIRE(kill(stopped, SIGSTOP) == 0);
        CHECK_INT(crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid, CREW_S(10),
                          CREW_OPT(task, .deadline = CREW_MS(100))),
                !=, -ETIMEDOUT);
        (void)kill(stopped, SIGCONT);
}

TEST_POOLS(
        given_up, "an apply that gives up on a stopped worker frees its successor", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        pid_t stopped = worker_of(p);

        REQUIRE(kill(stopped, SIGSTOP) == 0);
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_MS(50), NULL), ==,
                -ETIMEDOUT);
        CHECK_INT(twice(p, 3), ==, 6);
        CHECK(gone_within(stopped, 2000));
}

static bool terminate_stopped(void)
{
        crew_pool *p = new_pool(1, NULL);
        pid_t stopped = worker_of(p);
        crew_auto(result) r = NULL;
        int64_t from;
        bool quick;

        REQUIRE(kill(stopped, SIGSTOP) == 0);
        r = start_sleep(p, 1, NULL);
        from = crew_clock();
        CHECK_INT(crew_pool_terminate(p, CREW_MS(20)), ==, 0);
        CHECK(crew_result_ready(r));
        CHECK(crew_pool_free(p) == NULL);
        quick = in_time(from, CREW_MS(500));
        CHECK(gone_within(stopped, 2000));
        return quick;
}

TEST_POOLS(terminated, "a pool of stopped workers ends in time", "[live][pool]")
{
        CHECK(once_in_time(terminate_stopped));
}

static int task_parent(crew_task *t, const void *arg, size_t size)
{
        pid_t pid = getppid();

        (void)arg;
        (void)size;
        return crew_task_return(t, &pid, sizeof pid);
}

static bool stop_zygote(void)
{
        crew_pool *p = new_pool(2, NULL);
        crew_auto(result) r = NULL;
        pid_t zygote = 0;
        int sig = SIGKILL;
        int64_t from;
        bool quick;

        REQUIRE_OK(
                crew_pool_apply(p, task_parent, NULL, 0, &zygote, sizeof zygote, CREW_S(5), NULL));
        REQUIRE(zygote > 1 && kill(zygote, SIGSTOP) == 0);
        for (int i = 0; i < 100; i++)
                CHECK_INT(twice(p, i), ==, 2 * i);
        from = crew_clock();
        REQUIRE_OK(crew_pool_apply_async(p, task_die, &sig, sizeof sig, &r, NULL));
        CHECK_INT(crew_result_get(r, NULL, 0, CREW_S(5)), ==, -EOWNERDEAD);
        quick = in_time(from, CREW_MS(500));
        /* It noted nothing, and the worker still tells. */
        CHECK_INT(failure_of(r).exitcode, ==, -SIGKILL);
        from = crew_clock();
        CHECK(crew_pool_free(p) == NULL);
        quick &= in_time(from, CREW_S(1));
        CHECK(gone_within(zygote, 2000));
        return quick;
}

TEST_POOLS(zygote, "a stopped zygote: its workers go on, and the pool ends in time", "[live][pool]")
{
        CHECK(once_in_time(stop_zygote));
}

static int slow_start(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        pause_ms(300);
        return 0;
}

TEST_POOLS(
        slow, "callers that give up early do not keep slow workers from starting", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, CREW_OPT(pool, .initializer = slow_start));
        int r = -ETIMEDOUT;

        for (int i = 0; i < 150 && r == -ETIMEDOUT; i++)
                r = (int)crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_MS(100), NULL);
        CHECK_INT(r, ==, 0);
}
