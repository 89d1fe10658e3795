/* SPDX-License-Identifier: MIT */

/*
 * The crash suites of CPython's concurrent.futures and of loky, the other half: shutting down,
 * callbacks, and workers that come and go. The table from their cases to these is in
 * docs/TESTING.md.
 */

#include "pool-gate.h"
#include "pool-port.h"

#include <limits.h>

POOL_WARM_UP

enum how { NOTHING, DIE, N_HOWS };

static void task_how(crew_pool *p, enum how how, crew_result **r, const crew_task_options *o)
{
        int arg = how == DIE ? SIGKILL : 1;

        REQUIRE_OK(crew_pool_apply_async(
                p, how == DIE ? task_die : task_sleep, &arg, sizeof arg, r, o));
}

TEST_POOLS(shutdown_deadlock, "close and join while workers die do not hang", "[live][pool][crash]")
{
        for (int round = 0; round < 5; round++) {
                crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .restarts = UINT_MAX));

                for (int i = 0; i < 10; i++)
                        task_how(p, i % 2 ? DIE : NOTHING, NULL, NULL);
                CHECK_INT(crew_pool_close(p), ==, 0);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 5);
        }
}

TEST_POOLS(
        shutdown_after_crash, "terminate right after a crash does not hang", "[live][pool][crash]")
{
        for (int round = 0; round < 20; round++) {
                crew_auto(pool) p = new_pool(2, NULL);
                crew_auto(result) dying = NULL;
                crew_auto(result) sleeping = start_sleep(p, 60000, NULL);

                task_how(p, DIE, &dying, NULL);
                pause_ms(round % 5);
                CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
                CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
                CHECK(crew_result_ready(dying) && !crew_result_successful(dying));
                CHECK_INT(crew_result_get(sleeping, NULL, 0, CREW_NOW), ==, -ECANCELED);
        }
}

static int task_slow_pid(crew_task *t, const void *arg, size_t size)
{
        pause_ms(20);
        return task_pid(t, arg, size);
}

/* The ids of all workers, each of which is kept busy for a moment. */
static void find_workers(crew_pool *p, pid_t *pid, unsigned n)
{
        int64_t until = crew_clock() + test_slow(CREW_S(10));
        unsigned found = 0;

        while (found < n && crew_clock() < until) {
                crew_result *r[8];

                REQUIRE(n <= 8);
                for (unsigned i = 0; i < n; i++)
                        REQUIRE_OK(crew_pool_apply_async(p, task_slow_pid, NULL, 0, &r[i], NULL));
                for (unsigned i = 0; i < n; i++) {
                        unsigned k = 0;
                        pid_t one = 0;

                        REQUIRE_OK(crew_result_get(r[i], &one, sizeof one, CREW_S(10)));
                        while (k < found && pid[k] != one)
                                k++;
                        if (k == found && found < n)
                                pid[found++] = one;
                        r[i] = crew_result_free(r[i]);
                }
        }
        REQUIRE(found == n);
}

TEST_POOLS(deadlock_kill, "all workers killed at once, idle or busy: the pool goes on",
        "[live][pool][crash]")
{
        enum { N = 3 };
        crew_result *r[N];
        struct gate gate;
        crew_pool *p;
        pid_t pid[N];

        gate_new(&gate);
        p = new_pool(N, CREW_OPT(pool, .restarts = UINT_MAX, GATE_KEPT(&gate)));
        find_workers(p, pid, N);
        for (int i = 0; i < N; i++)
                REQUIRE(kill(pid[i], SIGKILL) == 0);
        CHECK(SOON(stats_of(p).restarts == N));
        CHECK_INT(twice(p, 1), ==, 2);
        find_workers(p, pid, N);
        for (int i = 0; i < N; i++)
                r[i] = start_gated(p, &gate, 1, NULL);
        gate_await(&gate, N);
        for (int i = 0; i < N; i++)
                REQUIRE(kill(pid[i], SIGKILL) == 0);
        for (int i = 0; i < N; i++) {
                CHECK_INT(crew_result_get(r[i], NULL, 0, CREW_S(5)), ==, -EOWNERDEAD);
                r[i] = crew_result_free(r[i]);
        }
        CHECK_INT(twice(p, 1), ==, 2);
        (void)crew_pool_free(p);
        gate_free(&gate);
}

TEST_POOLS(sigkill_shutdown, "workers killed while the pool shuts down leave none behind",
        "[live][pool][crash]")
{
        enum { N = 3 };
        struct gate gate;
        crew_pool *p;
        pid_t pid[N];

        gate_new(&gate);
        p = new_pool(N, CREW_OPT(pool, GATE_KEPT(&gate)));
        find_workers(p, pid, N);
        for (int i = 0; i < 20; i++)
                (void)crew_result_free(start_gated(p, &gate, 1, NULL));
        CHECK_INT(crew_pool_close(p), ==, 0);
        REQUIRE(kill(pid[0], SIGKILL) == 0);
        gate_open(&gate, 20);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), >=, 0);
        for (int i = 0; i < N; i++)
                CHECK(gone_within(pid[i], 2000));
        CHECK(crew_pool_free(p) == NULL);
        gate_free(&gate);
}

TEST_POOLS(stopped_worker, "a stopped worker holds up neither the others nor terminate",
        "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        pid_t pid[2];
        int64_t begun;

        find_workers(p, pid, 2);
        REQUIRE(kill(pid[0], SIGSTOP) == 0);
        for (int i = 0; i < 20; i++) {
                int ms = 1;

                REQUIRE_OK(crew_pool_apply_async(p, task_sleep, &ms, sizeof ms, NULL, NULL));
        }
        pause_ms(100);
        begun = crew_clock();
        CHECK_INT(crew_pool_terminate(p, CREW_MS(50)), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), >=, 0);
        CHECK_INT(crew_clock() - begun, <, test_slow(CREW_S(5)));
        CHECK(gone_within(pid[0], 2000));
}

TEST(saturation, "more tasks than anybody has room for all run", "[live][pool][crash]")
{
        enum { TASKS = 20000 };
        crew_auto(pool) p = new_pool(2, NULL);

        for (int i = 0; i < TASKS; i++)
                REQUIRE_OK(crew_pool_apply_async(p, task_nothing, NULL, 0, NULL, NULL));
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(15)), ==, 0);
        CHECK_INT(stats_of(p).done, ==, TASKS);
}

TEST_POOLS(idle_reuse, "idle workers are used again, not made again", "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        pid_t first[2], second[2];

        find_workers(p, first, 2);
        pause_ms(200);
        find_workers(p, second, 2);
        CHECK((first[0] == second[0] && first[1] == second[1]) ||
                (first[0] == second[1] && first[1] == second[0]));
        CHECK_INT(stats_of(p).restarts, ==, 0);
}

static void check_not_behind(crew_pool *p, crew_task_fn *f, int ms)
{
        int64_t fastest = INT64_MAX;
        int value = 0;

        for (int round = 0; round < 5; round++) {
                crew_auto(result) r = NULL;
                int64_t begun, took;

                for (int i = 0; i < 200; i++)
                        CHECK_INT(crew_pool_apply(p, f, &value, sizeof value, &value, sizeof value,
                                          CREW_S(10), NULL),
                                ==, sizeof value);
                r = start_sleep(p, 60000, NULL);
                pause_ms(ms);
                begun = crew_clock();
                for (int i = 0; i < 20; i++)
                        CHECK_INT(crew_pool_apply(p, f, &value, sizeof value, &value, sizeof value,
                                          CREW_S(10), NULL),
                                ==, sizeof value);
                took = crew_clock() - begun;
                fastest = took < fastest ? took : fastest;
                CHECK(!crew_result_ready(r));
                CHECK_INT(crew_result_cancel(r, 0), ==, 0);
                pause_ms(5);
        }
        CHECK_INT(fastest, <, test_slow(CREW_S(1)));
}

TEST(behind_a_long_one, "a short task does not wait behind a long one while a worker is idle",
        "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(2, NULL);

        check_not_behind(p, task_twice, 0);
        check_not_behind(p, task_sleep, 5);
}

TEST(cancel_futures, "what waits can be taken back and what is done cannot", "[live][pool][crash]")
{
        enum { N = 20 };
        crew_auto(pool) p = new_pool(2, NULL);
        crew_result *r[N];
        int done = 0, cancelled = 0;

        /* The others are not done yet, however late that is seen. */
        for (int i = 0; i < N; i++)
                r[i] = start_sleep(p, i < 4 ? 50 : 60000, NULL);
        CHECK_INT(crew_result_wait(r[0], CREW_S(10)), ==, 0);
        for (int i = N - 1; i >= 0; i--) {
                int c = crew_result_cancel(r[i], CREW_S(1));

                CHECK(c == 0 || c == -EALREADY);
        }
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        for (int i = 0; i < N; i++) {
                ssize_t got = crew_result_get(r[i], &(int){ 0 }, sizeof(int), CREW_NOW);

                done += got == sizeof(int);
                cancelled += got == -ECANCELED;
                r[i] = crew_result_free(r[i]);
        }
        CHECK_INT(done, >=, 1);
        CHECK_INT(cancelled, >=, N - 6);
        CHECK_INT(done + cancelled, ==, N);
}

TEST_POOLS(max_tasks_early_shutdown, "close with work left for workers of few tasks does it all",
        "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(3, CREW_OPT(pool, .tasks_per_worker = 2));

        for (int i = 0; i < 100; i++)
                REQUIRE_OK(crew_pool_apply_async(p, task_nothing, NULL, 0, NULL, NULL));
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(15)), ==, 0);
        CHECK_INT(stats_of(p).done, ==, 100);
}

TEST_POOLS(queue_full, "a full backlog refuses and a crash behind it hangs nobody",
        "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(1, CREW_OPT(pool, .backlog = 4, .restarts = UINT_MAX));
        int sig = SIGKILL, taken = 0, refused = 0;

        for (int i = 0; i < 200; i++) {
                int r = crew_pool_apply_async(p, task_die, &sig, sizeof sig, NULL, NULL);

                CHECK(r == 0 || r == -EAGAIN);
                taken += r == 0;
                refused += r != 0;
        }
        CHECK_INT(refused, >, 0);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(15)), ==, taken);
}

struct chain {
        crew_pool *pool;
        crew_result *again;
        int calls, left, joined, freed;
};

static int calls_of(struct chain *c)
{
        return __atomic_load_n(&c->calls, __ATOMIC_SEQ_CST);
}

static void called(struct chain *c)
{
        (void)__atomic_add_fetch(&c->calls, 1, __ATOMIC_SEQ_CST);
}

static void submit_again(crew_result *r, void *user)
{
        struct chain *c = user;
        int sig = SIGKILL;

        CHECK(crew_result_ready(r));
        if (c->left-- > 0)
                CHECK_INT(crew_pool_apply_async(c->pool, task_die, &sig, sizeof sig, NULL,
                                  CREW_OPT(task, .done = submit_again, .user = c)),
                        ==, 0);
        called(c);
}

TEST_POOLS(in_callback_submit_with_crash,
        "a callback of a task that crashed submits the next, 10 times", "[live][pool][crash]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .restarts = UINT_MAX));
        struct chain c = { .pool = p, .left = 10 };

        task_how(p, DIE, NULL, CREW_OPT(task, .done = submit_again, .user = &c));
        CHECK(SOON(calls_of(&c) == 11));
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 11);
}

static void close_and_join(crew_result *r, void *user)
{
        struct chain *c = user;

        (void)r;
        CHECK_INT(crew_pool_close(c->pool), ==, 0);
        c->joined = crew_pool_join(c->pool, CREW_FOREVER);
        called(c);
}

TEST(close_in_callback, "a callback may close its pool, and a join in it answers",
        "[live][pool][crash]")
{
        for (enum how how = NOTHING; how < N_HOWS; how++) {
                crew_auto(pool) p = new_pool(2, NULL);
                struct chain c = { .pool = p };
                crew_auto(result) r = NULL;

                task_how(p, how, &r, CREW_OPT(task, .done = close_and_join, .user = &c));
                CHECK(SOON(calls_of(&c) == 1));
                CHECK_INT(c.joined, ==, -EDEADLK);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        }
}

static void terminate_in(crew_result *r, void *user)
{
        struct chain *c = user;

        (void)r;
        c->joined = crew_pool_terminate(c->pool, CREW_FOREVER);
        called(c);
}

TEST_POOLS(terminate_in_callback,
        "a callback of a failed task may terminate, and all results are ready",
        "[live][pool][crash]")
{
        for (enum how how = NOTHING; how < N_HOWS; how++) {
                crew_auto(pool) p = new_pool(2, NULL);
                struct chain c = { .pool = p };
                crew_auto(result) r = NULL;
                crew_auto(result) waiting = start_sleep(p, 60000, NULL);

                task_how(p, how, &r, CREW_OPT(task, .done = terminate_in, .user = &c));
                CHECK(SOON(calls_of(&c) == 1));
                CHECK_INT(c.joined, ==, 0);
                CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
                CHECK_INT(crew_result_get(waiting, NULL, 0, CREW_S(5)), ==, -ECANCELED);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        }
}

static void free_in(crew_result *r, void *user)
{
        struct chain *c = user;

        (void)r;
        c->pool = crew_pool_free(c->pool);
        called(c);
}

static int count_threads(void)
{
        DIR *dir = opendir("/proc/self/task");
        int n = 0;

        REQUIRE(dir != NULL);
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n;
}

TEST(free_in_callback, "a callback may free its pool, which then takes itself away",
        "[live][pool][crash]")
{
        int threads = count_threads();

        for (enum how how = NOTHING; how < N_HOWS; how++) {
                crew_pool *p = new_pool(2, NULL);
                struct chain c = { .pool = p };

                task_how(p, how, NULL, CREW_OPT(task, .done = free_in, .user = &c));
                CHECK(SOON(calls_of(&c) == 1));
                CHECK(c.pool == NULL);
        }
        CHECK(SOON(count_threads() <= threads));
}

static void *wait_for_result(void *arg)
{
        crew_result *r = arg;
        ssize_t e = crew_result_get(r, NULL, 0, CREW_S(10));

        CHECK(e == 0 || e == -ECANCELED);
        CHECK(crew_result_ready(r));
        return NULL;
}

TEST(freed_under_waiters,
        "a pool that is freed while others wait for its results leaves them ready", "[live][pool]")
{
        enum { WAITERS = 4 };

        TEST_DEADLINE(100);
        for (long long round = 0; round < test_scale(1000, 15); round++) {
                crew_pool *p = new_pool(1 + (unsigned)(round % 2), NULL);
                crew_result *r[WAITERS];
                pthread_t threads[WAITERS];

                for (int i = 0; i < WAITERS; i++) {
                        /* The last may be running when the pool goes, and be looked for. */
                        if (round % 3 == 0 && i == WAITERS - 1)
                                r[i] = start_sleep(p, 10000, NULL);
                        else
                                REQUIRE_OK(crew_pool_apply_async(
                                        p, task_nothing, NULL, 0, &r[i], NULL));
                        REQUIRE(pthread_create(&threads[i], NULL, wait_for_result, r[i]) == 0);
                }
                CHECK(crew_pool_free(p) == NULL);
                for (int i = 0; i < WAITERS; i++) {
                        (void)pthread_join(threads[i], NULL);
                        (void)crew_result_free(r[i]);
                }
        }
}
