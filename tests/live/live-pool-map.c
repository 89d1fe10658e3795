/* SPDX-License-Identifier: MIT */

/* Maps and imaps. */

#include "pool-gate.h"

POOL_WARM_UP

TEST(map, "a map puts each result at the place of its item", "[live][pool]")
{
        enum { N = 20000 };
        static int in[N], out[N];
        crew_auto(pool) p = new_pool(2, NULL);
        int wrong = 0;

        for (int i = 0; i < N; i++)
                in[i] = i;
        CHECK_INT(
                crew_pool_map(p, task_twice, in, N, sizeof *in, out, sizeof *out, CREW_S(20), NULL),
                ==, 0);
        for (int i = 0; i < N; i++)
                wrong += out[i] != 2 * i;
        CHECK_INT(wrong, ==, 0);
        CHECK_INT(crew_pool_map(p, task_twice, in, 10, sizeof *in, out, sizeof *out, CREW_S(20),
                          CREW_OPT(task, .chunk = 1)),
                ==, 0);
}

static void count_calls(crew_result *r, void *user)
{
        CHECK(crew_result_ready(r));
        (void)__atomic_fetch_add((int *)user, 1, __ATOMIC_SEQ_CST);
}

TEST(map_empty, "a map of nothing is ready at once and calls back", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        crew_auto(result) r = NULL;
        int calls = 0;

        CHECK_INT(crew_pool_map(p, task_twice, NULL, 0, 4, NULL, 4, CREW_S(5), NULL), ==, 0);
        REQUIRE_OK(crew_pool_map_async(p, task_twice, NULL, 0, 4, NULL, 4, &r,
                CREW_OPT(task, .done = count_calls, .user = &calls)));
        CHECK_INT(crew_result_wait(r, CREW_S(5)), ==, 0);
        CHECK(crew_result_successful(r));
        CHECK_INT(__atomic_load_n(&calls, __ATOMIC_SEQ_CST), ==, 1);
}

/* Fails for multiples of 7, dies at multiples of 50. */
static int task_mixed(crew_task *t, const void *arg, size_t size)
{
        int value = *(const int *)arg;

        (void)size;
        if (value % 50 == 49)
                (void)kill(getpid(), SIGKILL);
        if (value % 7 == 6)
                return crew_task_fail(t, -EDOM, "%d", value);
        return crew_task_return(t, &value, sizeof value);
}

TEST(map_status, "items fail alone; the first by place is the answer", "[live][pool]")
{
        enum { N = 200 };
        int in[N], out[N], status[N];
        crew_auto(pool) p = new_pool(2, NULL);
        crew_failure f = { .size = sizeof f };

        for (int i = 0; i < N; i++)
                in[i] = i;
        CHECK_INT(crew_pool_map(p, task_mixed, in, N, sizeof *in, out, sizeof *out, CREW_S(20),
                          CREW_OPT(task, .status = status, .failure = &f)),
                ==, -EDOM);
        CHECK_INT(f.item, ==, 6);
        for (int i = 0; i < N; i++)
                CHECK_INT(status[i], ==,
                        i % 50 == 49 ? CREW_DIED
                        : i % 7 == 6 ? CREW_FAILED
                                     : CREW_OK);
}

TEST(map_async, "a map shows its progress and can be dropped in the middle", "[live][pool]")
{
        enum { N = 400 };
        static int in[N], out[N];
        crew_auto(pool) p = new_pool(2, NULL);
        crew_result *r = NULL;
        size_t done = 0, total = 0;

        for (int i = 0; i < N; i++)
                in[i] = 50;
        REQUIRE_OK(
                crew_pool_map_async(p, task_sleep, in, N, sizeof *in, out, sizeof *out, &r, NULL));
        CHECK(SOON(crew_result_progress(r, &done, &total) == 0 && done > 0));
        CHECK_INT(done, <, total);
        CHECK_INT(total, ==, N);
        CHECK(crew_result_free(r) == NULL);
        memset(out, 0x55, sizeof out);
        CHECK_INT(twice(p, 2), ==, 4);
        pause_ms(80);
        for (int i = 0; i < N; i++)
                CHECK_INT(out[i], ==, 0x55555555);
        CHECK_INT(crew_pool_map(
                          p, task_sleep, in, N, sizeof *in, out, sizeof *out, CREW_MS(50), NULL),
                ==, -ETIMEDOUT);
}

struct numbers {
        int next, end, fail_at, most;
        int returned;
};

static int next_number(void *user, const void **item, size_t *size)
{
        struct numbers *n = user;

        if (n->next == n->fail_at)
                return -EIO;
        if (n->next == n->end)
                return 0;
        if (n->next - n->returned > n->most)
                n->most = n->next - n->returned;
        n->next++;
        *item = &n->next;
        *size = sizeof n->next;
        return 1;
}

TEST(imap, "an imap yields results in order, with a bounded window", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_auto(imap) it = NULL;
        struct numbers n = { .end = 2000, .fail_at = -1 };
        crew_item item;
        int r;

        REQUIRE_OK(
                crew_pool_imap(p, task_twice, next_number, &n, &it, CREW_OPT(task, .window = 5)));
        while ((r = crew_imap_next(it, &item, CREW_S(5))) > 0) {
                CHECK_INT(item.index, ==, n.returned);
                CHECK_INT(item.status, ==, CREW_OK);
                n.returned++;
                CHECK_INT(*(const int *)item.data, ==, 2 * n.returned);
        }
        CHECK_INT(r, ==, 0);
        CHECK_INT(n.returned, ==, 2000);
        CHECK_INT(n.most, <=, 5);
        CHECK_INT(crew_imap_next(it, &item, CREW_S(5)), ==, 0);
}

TEST(imap_unordered, "an unordered imap yields what is done first", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_auto(imap) it = NULL;
        struct numbers n = { .end = 500, .fail_at = -1 };
        char seen[501] = { 0 };
        crew_item item;
        int r;

        REQUIRE_OK(crew_pool_imap_unordered(p, task_twice, next_number, &n, &it, NULL));
        while ((r = crew_imap_next(it, &item, CREW_S(5))) > 0) {
                int value = *(const int *)item.data / 2;

                REQUIRE(value >= 1 && value <= 500);
                CHECK_INT(item.index, ==, value - 1);
                CHECK_INT(seen[value]++, ==, 0);
                n.returned++;
        }
        CHECK_INT(r, ==, 0);
        CHECK_INT(n.returned, ==, 500);
}

TEST(imap_infinite, "an imap over endless input can be left at any time", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        struct numbers n = { .end = -1, .fail_at = -1 };

        for (int way = 0; way < 2; way++) {
                crew_imap *it = NULL;
                crew_item item;

                REQUIRE_OK((way ? crew_pool_imap_unordered : crew_pool_imap)(
                        p, task_twice, next_number, &n, &it, NULL));
                for (int i = 0; i < 1000; i++)
                        CHECK_INT(crew_imap_next(it, &item, CREW_S(5)), ==, 1);
                CHECK(crew_imap_free(it) == NULL);
                CHECK_INT(twice(p, 1), ==, 2);
        }
        CHECK_INT(stats_of(p).queued, ==, 0);
}

TEST(imap_errors, "errors of items and of the source come at their place", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_auto(imap) it = NULL;
        struct numbers n = { .end = 100, .fail_at = 20 };
        crew_item item;
        int r;

        REQUIRE_OK(crew_pool_imap(p, task_mixed, next_number, &n, &it, NULL));
        while ((r = crew_imap_next(it, &item, CREW_S(5))) > 0) {
                n.returned++;
                CHECK_INT(item.status, ==, n.returned % 7 == 6 ? CREW_FAILED : CREW_OK);
                if (item.failure)
                        CHECK_INT(item.failure->code, ==, -EDOM);
        }
        CHECK_INT(r, ==, -EIO);
        CHECK_INT(n.returned, ==, 20);
        CHECK_INT(crew_imap_next(it, &item, CREW_S(5)), ==, 0);
}

/* The workers are forks. */
static struct gate gate;

static int task_waits(crew_task *t, const void *arg, size_t size)
{
        struct gated gated = { gate.kept[0], gate.kept[1], *(const int *)arg };

        (void)size;
        return task_gated(t, &gated, sizeof gated);
}

TEST(imap_times, "a next that is not there in time can be asked for again", "[live][pool]")
{
        struct numbers n = { .next = 99, .end = 101, .fail_at = -1 };
        crew_imap *it = NULL;
        crew_item item;
        crew_pool *p;

        gate_new(&gate);
        p = new_pool(1, CREW_OPT(pool, GATE_KEPT(&gate)));
        REQUIRE_OK(crew_pool_imap(p, task_waits, next_number, &n, &it, NULL));
        CHECK_INT(crew_imap_next(it, &item, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_imap_next(it, &item, CREW_MS(5)), ==, -ETIMEDOUT);
        gate_open(&gate, 1);
        CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 1);
        CHECK_INT(*(const int *)item.data, ==, 100);
        REQUIRE_OK(crew_pool_terminate(p, 0));
        CHECK_INT(crew_imap_next(it, &item, CREW_S(5)), ==, 1);
        CHECK_INT(item.status, ==, CREW_CANCELLED);
        CHECK_INT(crew_imap_next(it, &item, CREW_S(5)), <=, 0);
        (void)crew_imap_free(it);
        (void)crew_pool_free(p);
        gate_free(&gate);
}
