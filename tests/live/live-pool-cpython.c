/* SPDX-License-Identifier: MIT */

/*
 * What CPython's Lib/test/_test_multiprocessing.py asks of a Pool, one half: apply, map and async.
 * The table from its cases to these is in docs/TESTING.md.
 */

#include "pool-gate.h"

POOL_WARM_UP

#define ITEMS 1000

struct pair {
        int32_t a, b;
};

CREW_TASK(square, int64_t, int64_t)
(crew_task *t, const int64_t *in, int64_t *out)
{
        (void)t;
        *out = *in * *in;
        return 0;
}

CREW_TASK(multiply, struct pair, int64_t)
(crew_task *t, const struct pair *in, int64_t *out)
{
        (void)t;
        *out = (int64_t)in->a * in->b;
        return 0;
}

static int task_raises(crew_task *t, const void *arg, size_t size)
{
        (void)arg;
        (void)size;
        return crew_task_fail(t, -EDOM, "say so");
}

static void count_up(int64_t *in, size_t n)
{
        for (size_t i = 0; i < n; i++)
                in[i] = (int64_t)i;
}

static void check_squares(const int64_t *out, size_t n)
{
        size_t wrong = 0;

        for (size_t i = 0; i < n; i++)
                wrong += out[i] != (int64_t)(i * i);
        CHECK_INT(wrong, ==, 0);
}

TEST_POOLS(apply, "apply squares a number and takes no argument at all", "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);
        int64_t five = 5, out = 0;

        REQUIRE_OK(square_apply(p, &five, &out, CREW_S(10), NULL));
        CHECK_INT(out, ==, 25);
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(10), NULL), ==, 0);
}

TEST_POOLS(map, "map squares 10 items, and 100 of them 20 at a time", "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);
        int64_t in[100], out[100] = { 0 };

        count_up(in, 100);
        REQUIRE_OK(square_map(p, in, 10, out, CREW_S(10), NULL));
        check_squares(out, 10);
        memset(out, 0, sizeof out);
        REQUIRE_OK(square_map(p, in, 100, out, CREW_S(10), CREW_OPT(task, .chunk = 20)));
        check_squares(out, 100);
}

TEST_POOLS(starmap, "map over pairs multiplies them, now and later", "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);
        crew_auto(result) r = NULL;
        struct pair in[100];
        int64_t out[100] = { 0 };

        for (int i = 0; i < 100; i++)
                in[i] = (struct pair){ i, 99 - i };
        REQUIRE_OK(multiply_map(p, in, 100, out, CREW_S(10), CREW_OPT(task, .chunk = 20)));
        for (int i = 0; i < 100; i++)
                CHECK_INT(out[i], ==, i * (99 - i));
        memset(out, 0, sizeof out);
        REQUIRE_OK(
                crew_pool_map_async(p, multiply, in, 100, sizeof *in, out, sizeof *out, &r, NULL));
        REQUIRE_OK(crew_result_get(r, NULL, 0, CREW_S(10)));
        for (int i = 0; i < 100; i++)
                CHECK_INT(out[i], ==, i * (99 - i));
}

struct calls {
        int good, bad;
        int64_t code;
};

static void on_done(crew_result *r, void *user)
{
        struct calls *calls = user;
        crew_failure f = { .size = sizeof f };

        if (crew_result_failure(r, &f) == 0) {
                calls->bad++;
                calls->code = f.code;
        } else {
                calls->good++;
        }
}

TEST_POOLS(map_async_callbacks, "a map calls back exactly once, for success and for failure",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);
        crew_auto(result) good = NULL;
        crew_auto(result) bad = NULL;
        struct calls calls = { 0 };
        int64_t in[50], out[50];

        count_up(in, 50);
        REQUIRE_OK(crew_pool_map_async(p, square, in, 50, sizeof *in, out, sizeof *out, &good,
                CREW_OPT(task, .done = on_done, .user = &calls)));
        REQUIRE_OK(crew_result_wait(good, CREW_S(10)));
        CHECK_INT(calls.good, ==, 1);
        CHECK_INT(calls.bad, ==, 0);
        check_squares(out, 50);
        REQUIRE_OK(crew_pool_map_async(p, task_raises, in, 50, sizeof *in, out, sizeof *out, &bad,
                CREW_OPT(task, .done = on_done, .user = &calls)));
        REQUIRE_OK(crew_result_wait(bad, CREW_S(10)));
        CHECK_INT(calls.good, ==, 1);
        CHECK_INT(calls.bad, ==, 1);
        CHECK_INT(calls.code, ==, -EDOM);
}

TEST(map_chunksize, "an empty map does not stall, whatever its chunk", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_auto(result) r = NULL;

        REQUIRE_OK(crew_pool_map_async(
                p, square, NULL, 0, 8, NULL, 8, &r, CREW_OPT(task, .chunk = 1)));
        CHECK_INT(crew_result_get(r, NULL, 0, CREW_S(1)), ==, 0);
        REQUIRE_OK(crew_pool_map(
                p, square, NULL, 0, 8, NULL, 8, CREW_S(1), CREW_OPT(task, .chunk = SIZE_MAX)));
}

TEST(map_chunk_huge, "a chunk larger than the map is the map", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        int64_t in[7], out[7];

        count_up(in, 7);
        REQUIRE_OK(square_map(p, in, 7, out, CREW_S(10), CREW_OPT(task, .chunk = SIZE_MAX)));
        check_squares(out, 7);
}

TEST(async, "a result is there after its task's time and not before", "[live][pool]")
{
        struct gate gate;
        crew_result *r;
        crew_pool *p;
        int64_t begun;
        int out = 0;

        gate_new(&gate);
        p = new_pool(4, CREW_OPT(pool, GATE_KEPT(&gate)));
        /* To wait for its end would be for ever. */
        r = start_gated(p, &gate, 5, NULL);
        CHECK(!crew_result_ready(r));
        gate_open(&gate, 1);
        CHECK_INT(crew_result_get(r, &out, sizeof out, CREW_FOREVER), ==, sizeof out);
        CHECK_INT(out, ==, 5);
        (void)crew_result_free(r);
        begun = crew_clock();
        r = start_sleep(p, 200, NULL);
        CHECK_INT(crew_result_get(r, &out, sizeof out, CREW_FOREVER), ==, sizeof out);
        CHECK_INT(out, ==, 200);
        CHECK_INT(crew_clock() - begun, >=, CREW_MS(200));
        (void)crew_result_free(r);
        (void)crew_pool_free(p);
        gate_free(&gate);
}

TEST(async_timeout, "get gives up on time and the task goes on", "[live][pool]")
{
        struct gate gate;
        crew_result *r;
        crew_pool *p;
        int64_t begun, took = INT64_MAX;
        int out = 0;

        gate_new(&gate);
        p = new_pool(2, CREW_OPT(pool, GATE_KEPT(&gate)));
        r = start_gated(p, &gate, 600, NULL);
        /* Who is kept from running is late, but not every time. */
        for (int i = 0; i < 5 && took >= test_slow(CREW_MS(450)); i++) {
                begun = crew_clock();
                CHECK_INT(crew_result_get(r, &out, sizeof out, CREW_MS(200)), ==, -ETIMEDOUT);
                took = crew_clock() - begun;
                CHECK_INT(took, >=, CREW_MS(200));
        }
        CHECK_INT(took, <, test_slow(CREW_MS(450)));
        CHECK_INT(crew_result_get(r, &out, sizeof out, -5), ==, -EAGAIN);
        gate_open(&gate, 1);
        CHECK_INT(crew_result_get(r, &out, sizeof out, CREW_S(10)), ==, sizeof out);
        CHECK_INT(out, ==, 600);
        (void)crew_result_free(r);
        (void)crew_pool_free(p);
        gate_free(&gate);
}

TEST_POOLS(async_error_callback, "a failing task calls back once, with its words", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_auto(result) r = NULL;
        struct calls calls = { 0 };

        REQUIRE_OK(crew_pool_apply_async(
                p, task_raises, NULL, 0, &r, CREW_OPT(task, .done = on_done, .user = &calls)));
        CHECK_INT(crew_result_get(r, NULL, 0, CREW_S(10)), ==, -EDOM);
        CHECK(strstr(crew_error_detail(), "say so"));
        CHECK_INT(calls.bad, ==, 1);
        CHECK_INT(calls.good, ==, 0);
        CHECK_INT(calls.code, ==, -EDOM);
}

static int task_fails_first(crew_task *t, const void *arg, size_t size)
{
        int ms = 500;

        if (*(const int *)arg == 0)
                return crew_task_fail(t, -EDOM, "the first");
        return task_sleep(t, &ms, size);
}

TEST(map_no_failfast, "a map that fails at once still waits for all of its items", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        int in[2] = { 0, 1 }, out[2] = { 0 }, status[2] = { 9, 9 };
        int64_t begun = crew_clock();

        CHECK_INT(crew_pool_map(p, task_fails_first, in, 2, sizeof *in, out, sizeof *out,
                          CREW_S(10), CREW_OPT(task, .chunk = 1, .status = status)),
                ==, -EDOM);
        CHECK_INT(crew_clock() - begun, >=, CREW_MS(500));
        CHECK_INT(status[0], ==, CREW_FAILED);
        CHECK_INT(status[1], ==, CREW_OK);
        CHECK_INT(out[1], ==, 500);
}

TEST(map_chunk_goes_on, "an item that fails does not take along the rest of its chunk",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        int in[3] = { 1, 0, 1 }, status[3] = { 9, 9, 9 };

        CHECK_INT(crew_pool_map(p, task_fails_first, in, 3, sizeof *in, NULL, 0, CREW_S(10),
                          CREW_OPT(task, .chunk = 3, .status = status)),
                ==, -EDOM);
        CHECK_INT(status[0], ==, CREW_OK);
        CHECK_INT(status[1], ==, CREW_FAILED);
        CHECK_INT(status[2], ==, CREW_OK);
}

static int task_too_large(crew_task *t, const void *arg, size_t size)
{
        static char much[70000];

        (void)arg;
        (void)size;
        return crew_task_return(t, much, sizeof much);
}

TEST_POOLS(unpickleable_result, "20 results too large for the lane fail alone and cost no worker",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .lane_bytes = 65536));
        static char out[70000];

        for (int i = 0; i < 20; i++) {
                crew_failure f = { .size = sizeof f };

                CHECK_INT(crew_pool_apply(p, task_too_large, NULL, 0, out, sizeof out, CREW_S(10),
                                  CREW_OPT(task, .failure = &f)),
                        ==, -EMSGSIZE);
                CHECK_INT(f.reason, ==, CREW_FAILED);
        }
        CHECK_INT(stats_of(p).restarts, ==, 0);
        CHECK_INT(twice(p, 3), ==, 6);
}

TEST(map_unpicklable, "a map of items too large is refused, and the pool goes on", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .lane_bytes = 65536));
        static char in[2][70000];

        CHECK_INT(crew_pool_map(p, task_nothing, in, 2, sizeof in[0], NULL, 0, CREW_S(10), NULL),
                ==, -EMSGSIZE);
        CHECK_INT(twice(p, 3), ==, 6);
}

/* What a caller hands in can be reused at once: apply has a copy. */
TEST_POOLS(release_task_refs, "arguments are copied at the call and results belong to their handle",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_result *r[50];
        int64_t value, out = 0;

        for (int64_t i = 0; i < 50; i++) {
                value = i;
                REQUIRE_OK(square_async(p, &value, &r[i], NULL));
        }
        value = -1;
        for (int64_t i = 0; i < 50; i++) {
                CHECK_INT(crew_result_get(r[i], &out, sizeof out, CREW_S(10)), ==, sizeof out);
                CHECK_INT(out, ==, i * i);
                r[i] = crew_result_free(r[i]);
        }
}

TEST_POOLS(many, "a thousand applies come back each with its own result", "[live][pool]")
{
        crew_auto(pool) p = new_pool(3, NULL);
        static crew_result *r[ITEMS];
        size_t wrong = 0;

        for (int64_t i = 0; i < ITEMS; i++)
                REQUIRE_OK(square_async(p, &i, &r[i], NULL));
        for (int64_t i = 0; i < ITEMS; i++) {
                int64_t out = -1;

                wrong += crew_result_get(r[i], &out, sizeof out, CREW_S(10)) != sizeof out ||
                         out != i * i;
                r[i] = crew_result_free(r[i]);
        }
        CHECK_INT(wrong, ==, 0);
}
