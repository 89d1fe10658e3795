/* SPDX-License-Identifier: MIT */

/* A pool's tasks, their results and its states. */

#include "pool-gate.h"

POOL_WARM_UP

struct point {
        double x, y;
};

CREW_TASK(sum, struct point, double)
(crew_task *t, const struct point *in, double *out)
{
        (void)t;
        *out = in->x + in->y;
        return 0;
}

TEST(one, "apply runs a function in another process and returns its result", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        pid_t pid = 0;

        CHECK_INT(twice(p, 21), ==, 42);
        CHECK_INT(crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid, CREW_S(5), NULL), ==,
                sizeof pid);
        CHECK_INT(pid, >, 0);
        CHECK_INT(pid, !=, getpid());
}

TEST(typed, "a typed task takes and returns structs", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_auto(result) r = NULL;
        struct point in[3] = { { 1, 2 }, { 3, 4 }, { 5, 6 } };
        double out[3] = { 0 };

        REQUIRE_OK(sum_apply(p, &in[0], &out[0], CREW_S(5), NULL));
        CHECK(out[0] == 3);
        REQUIRE_OK(sum_map(p, in, 3, out, CREW_S(5), NULL));
        CHECK(out[2] == 11);
        REQUIRE_OK(sum_async(p, &in[1], &r, NULL));
        CHECK_INT(crew_result_get(r, &out[0], sizeof out[0], CREW_S(5)), ==, sizeof out[0]);
        CHECK(out[0] == 7);
        CHECK_INT(crew_pool_apply(p, sum, in, 3, out, sizeof out, CREW_S(5), NULL), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "3 bytes, expected 16"));
}

static int task_fails(crew_task *t, const void *arg, size_t size)
{
        (void)size;
        if (*(const int *)arg)
                return crew_task_fail(t, -EDOM, "no root of %d", -1);
        return -ERANGE;
}

TEST(failing, "a task's own error comes back with its words", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_failure f = { .size = sizeof f };
        int arg = 1;

        CHECK_INT(crew_pool_apply(p, task_fails, &arg, sizeof arg, NULL, 0, CREW_S(5),
                          CREW_OPT(task, .failure = &f, .name = "root")),
                ==, -EDOM);
        CHECK_INT(f.reason, ==, CREW_FAILED);
        CHECK_INT(f.code, ==, -EDOM);
        CHECK_INT(f.attempt, ==, 1);
        CHECK(strstr(f.message, "no root of -1"));
        CHECK(strstr(f.message, "root:"));
        arg = 0;
        CHECK_INT(crew_pool_apply(p, task_fails, &arg, sizeof arg, NULL, 0, CREW_S(5), NULL), ==,
                -ERANGE);
        CHECK(strstr(crew_error_detail(), "ERANGE"));
        CHECK_INT(twice(p, 1), ==, 2);
}

static int task_big(crew_task *t, const void *arg, size_t size)
{
        void *at = crew_task_result(t, *(const size_t *)arg);

        (void)size;
        if (at)
                memset(at, 'x', *(const size_t *)arg);
        return at ? 0 : -EMSGSIZE;
}

TEST(sizes, "arguments and results up to the lane's size, and both numbers beyond", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, CREW_OPT(pool, .lane_bytes = 65536));
        static char big[65537], out[65536];
        size_t size = 65536;

        CHECK_INT(crew_pool_apply(p, task_nothing, big, 65536, NULL, 0, CREW_S(5), NULL), ==, 0);
        CHECK_INT(crew_pool_apply(p, task_nothing, big, 65537, NULL, 0, CREW_S(5), NULL), ==,
                -EMSGSIZE);
        CHECK(strstr(crew_error_detail(), "65537") && strstr(crew_error_detail(), "65536"));
        CHECK_INT(
                crew_pool_apply(p, task_big, &size, sizeof size, out, sizeof out, CREW_S(5), NULL),
                ==, 65536);
        CHECK(out[65535] == 'x');
        CHECK_INT(crew_pool_apply(p, task_big, &size, sizeof size, out, 100, CREW_S(5), NULL), ==,
                -EMSGSIZE);
        CHECK(strstr(crew_error_detail(), "65536") && strstr(crew_error_detail(), "100"));
        size = 65537;
        CHECK_INT(
                crew_pool_apply(p, task_big, &size, sizeof size, out, sizeof out, CREW_S(5), NULL),
                ==, -EMSGSIZE);
}

TEST(results, "a result can be asked any number of times, before and after", "[live][pool]")
{
        crew_failure f = { .size = sizeof f };
        size_t size = 0, done = 9, total = 9;
        struct gate gate;
        crew_result *r;
        crew_pool *p;
        int out = 0;

        gate_new(&gate);
        p = new_pool(1, CREW_OPT(pool, GATE_KEPT(&gate)));
        r = start_gated(p, &gate, 100, NULL);
        CHECK(!crew_result_ready(r));
        CHECK_INT(crew_result_failure(r, &f), ==, -EBUSY);
        CHECK(crew_result_data(r, &size) == NULL);
        CHECK_INT(crew_result_get(r, &out, sizeof out, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_result_wait(r, CREW_MS(10)), ==, -ETIMEDOUT);
        CHECK_INT(crew_result_progress(r, &done, &total), ==, 0);
        CHECK_INT(done, ==, 0);
        CHECK_INT(total, ==, 1);
        gate_open(&gate, 1);
        CHECK_INT(crew_result_wait(r, CREW_S(5)), ==, 0);
        for (int i = 0; i < 2; i++)
                CHECK_INT(crew_result_get(r, &out, sizeof out, CREW_NOW), ==, sizeof out);
        CHECK_INT(out, ==, 100);
        CHECK(crew_result_ready(r) && crew_result_successful(r));
        CHECK_INT(*(const int *)crew_result_data(r, &size), ==, 100);
        CHECK_INT(size, ==, sizeof(int));
        CHECK_INT(crew_result_failure(r, &f), ==, -ENODATA);
        CHECK_INT(crew_result_cancel(r, 0), ==, -EALREADY);
        CHECK(crew_result_free(r) == NULL);
        (void)crew_pool_free(p);
        gate_free(&gate);
}

TEST(states, "close, submit, join: each in its state", "[live][pool]")
{
        crew_pool *p = new_pool(2, NULL);
        crew_result *r[20];

        CHECK_INT(crew_pool_join(p, CREW_NOW), ==, -EBUSY);
        for (int i = 0; i < 20; i++)
                r[i] = start_sleep(p, 5, NULL);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(1), NULL), ==,
                -ESHUTDOWN);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_NOW), ==, 0);
        for (int i = 0; i < 20; i++) {
                CHECK(crew_result_successful(r[i]));
                (void)crew_result_free(r[i]);
        }
        CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
        CHECK(crew_pool_free(p) == NULL);
        CHECK(crew_pool_free(NULL) == NULL);
}

TEST(unheld, "join counts the failures that nobody held a result for", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_result *held = NULL;
        int arg = 1;

        for (int i = 0; i < 3; i++)
                REQUIRE_OK(crew_pool_apply_async(p, task_fails, &arg, sizeof arg, NULL, NULL));
        REQUIRE_OK(crew_pool_apply_async(p, task_nothing, NULL, 0, NULL, NULL));
        REQUIRE_OK(crew_pool_apply_async(p, task_fails, &arg, sizeof arg, &held, NULL));
        REQUIRE_OK(crew_pool_close(p));
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 3);
        (void)crew_result_free(held);
}

TEST(wrong, "bad arguments are refused with words", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_pool *other = NULL;
        crew_ref nobody = { { 1, 2 } };

        CHECK_INT(crew_pool_new(NULL, 1, NULL), ==, -EINVAL);
        CHECK_INT(crew_pool_new(&other, 1, CREW_OPT(pool, .flags = 64)), ==, -EINVAL);
        CHECK_INT(crew_pool_new(&other, 1, CREW_OPT(pool, .on_death = 9)), ==, -EINVAL);
        CHECK_INT(crew_pool_new(&other, 1, CREW_OPT(pool, .sandbox = "stdoi")), ==, -EINVAL);
        CHECK_INT(crew_pool_new(&other, 1, CREW_OPT(pool, .grants = &nobody, .n_grants = 1)), ==,
                -ENOENT);
        CHECK(other == NULL);
        CHECK_INT(crew_pool_apply(p, NULL, NULL, 0, NULL, 0, CREW_NOW, NULL), ==, -EINVAL);
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 5, NULL, 0, CREW_NOW, NULL), ==, -EINVAL);
        CHECK_INT(crew_pool_fd(p), ==, -EINVAL);
        CHECK_INT(crew_pool_close(NULL), ==, -EINVAL);
        CHECK_INT(crew_pool_grant(p, nobody), ==, -ENOENT);
}

TEST(backlog, "a backlog that is full refuses", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, CREW_OPT(pool, .backlog = 3));
        int ms = 60000, taken = 0, r = 0;

        while (taken < 20 &&
                (r = crew_pool_apply_async(p, task_sleep, &ms, sizeof ms, NULL, NULL)) == 0)
                taken++;
        CHECK_INT(r, ==, -EAGAIN);
        CHECK_INT(taken, ==, 4);
        CHECK_INT(stats_of(p).queued, ==, 3);
        CHECK_INT(stats_of(p).busy, ==, 1);
        CHECK_INT(stats_of(p).submitted, ==, 4);
}

TEST(many_pools, "100 pools made and freed leave nothing", "[live][pool]")
{
        TEST_DEADLINE(60);
        for (int i = 0; i < 100; i++) {
                crew_auto(pool) p = new_pool(2, NULL);

                if (i % 3)
                        CHECK_INT(twice(p, i), ==, 2 * i);
        }
}

TEST(sizes_of_pools, "one worker, and more workers than processors", "[live][pool]")
{
        for (unsigned n = 1; n <= 16; n += 15) {
                crew_auto(pool) p = new_pool(n, NULL);
                int in[200], out[200];

                for (int i = 0; i < 200; i++)
                        in[i] = i;
                CHECK_INT(
                        crew_pool_map(p, task_twice, in, 200, 4, out, 4, CREW_S(10), NULL), ==, 0);
                for (int i = 0; i < 200; i++)
                        CHECK_INT(out[i], ==, 2 * i);
                CHECK_INT(stats_of(p).workers, ==, n);
        }
}

static int count_to(void *user, const void **item, size_t *size)
{
        (void)user;
        (void)item;
        (void)size;
        return 0;
}

TEST(forked, "in a forked child every call answers ECHILD and free only frees", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_auto(result) r = start_sleep(p, 50, NULL);
        crew_auto(imap) it = NULL;
        crew_item item;
        pid_t child;
        int status = 0;

        REQUIRE_OK(crew_pool_imap(p, task_twice, count_to, NULL, &it, NULL));
        child = fork();
        if (child == 0) {
                crew_failure f = { .size = sizeof f };
                crew_pool_stats s = { .size = sizeof s };

                CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(1), NULL), ==,
                        -ECHILD);
                CHECK_INT(crew_pool_apply_async(p, task_nothing, NULL, 0, NULL, NULL), ==, -ECHILD);
                CHECK_INT(
                        crew_pool_map(p, task_nothing, NULL, 0, 0, NULL, 0, 0, NULL), ==, -ECHILD);
                CHECK_INT(crew_pool_close(p), ==, -ECHILD);
                CHECK_INT(crew_pool_terminate(p, 0), ==, -ECHILD);
                CHECK_INT(crew_pool_join(p, 0), ==, -ECHILD);
                CHECK_INT(crew_pool_read_stats(p, &s), ==, -ECHILD);
                CHECK_INT(crew_imap_next(it, &item, 0), ==, -ECHILD);
                CHECK_INT(crew_result_wait(r, CREW_S(1)), ==, -ECHILD);
                CHECK_INT(crew_result_cancel(r, 0), ==, -ECHILD);
                CHECK_INT(crew_result_failure(r, &f), ==, -ECHILD);
                CHECK(!crew_result_ready(r));
                (void)crew_imap_free(it);
                (void)crew_result_free(r);
                (void)crew_pool_free(p);
                _exit(0);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK_INT(status, ==, 0);
        CHECK_INT(crew_result_wait(r, CREW_S(5)), ==, 0);
        CHECK(crew_result_successful(r));
        CHECK_INT(twice(p, 4), ==, 8);
}

static int task_own_pool(crew_task *t, const void *arg, size_t size)
{
        crew_pool *p = *(crew_pool *const *)arg;
        int r = crew_pool_apply_async(p, task_nothing, NULL, 0, NULL, NULL);

        (void)size;
        return crew_task_return(t, &r, sizeof r);
}

TEST(inside, "a worker cannot call its own pool", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        int out = 0;

        CHECK_INT(
                crew_pool_apply(p, task_own_pool, &p, sizeof p, &out, sizeof out, CREW_S(5), NULL),
                ==, sizeof out);
        CHECK_INT(out, ==, -ECHILD);
}
