/* SPDX-License-Identifier: MIT */

/* Who drives a pool: callbacks, many threads, and a pool without a thread. */

#include "pool-help.h"

#include <crew/features.h>

#include <poll.h>

POOL_WARM_UP

struct board {
        crew_pool *pool;
        crew_result *result;
        int calls, go, join, get, submit, end;
};

static int calls_of(struct board *b)
{
        return __atomic_load_n(&b->calls, __ATOMIC_SEQ_CST);
}

static bool called(struct board *b, int n)
{
        return SOON(calls_of(b) >= n);
}

static void again(crew_result *r, void *user)
{
        struct board *b = user;
        int out = 0, value = 4;

        CHECK(crew_result_ready(r) && crew_result_successful(r));
        CHECK_INT(crew_result_get(r, &out, sizeof out, CREW_NOW), ==, sizeof out);
        CHECK_INT(out, ==, 8);
        b->join = crew_pool_join(b->pool, CREW_S(1));
        if (calls_of(b) == 0) {
                b->submit = crew_pool_apply_async(b->pool, task_twice, &value, sizeof value,
                        &b->result, CREW_OPT(task, .done = again, .user = b));
                b->get = (int)crew_result_get(b->result, &out, sizeof out, CREW_FOREVER);
        }
        (void)__atomic_fetch_add(&b->calls, 1, __ATOMIC_SEQ_CST);
}

TEST(callback, "a callback sees its result and may submit, but not wait", "[live][pool]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        struct board b = { .pool = p };
        int value = 4;

        REQUIRE_OK(crew_pool_apply_async(p, task_twice, &value, sizeof value, NULL,
                CREW_OPT(task, .done = again, .user = &b)));
        CHECK(called(&b, 2));
        CHECK_INT(b.submit, ==, 0);
        CHECK_INT(b.get, ==, -EDEADLK);
        CHECK_INT(b.join, ==, -EBUSY);
        REQUIRE_OK(crew_pool_close(p));
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
        (void)crew_result_free(b.result);
}

/* Keeps the driver until told, at most for 20 s. */
static void stay(crew_result *r, void *user)
{
        struct board *b = user;

        (void)r;
        (void)__atomic_fetch_add(&b->calls, 1, __ATOMIC_SEQ_CST);
        for (int i = 0; i < 20000 && !__atomic_load_n(&b->end, __ATOMIC_SEQ_CST); i++)
                pause_ms(1);
        (void)__atomic_fetch_add(&b->calls, 1, __ATOMIC_SEQ_CST);
}

TEST(own_lane, "an apply hears of its result from the worker, whatever the driver is at",
        "[live][pool]")
{
        crew_feature waitv = { .size = sizeof waitv };
        crew_auto(pool) p = new_pool(1, NULL);
        struct board b = { .pool = p };
        int value = 4, out = 0, ms = 50;

        REQUIRE_OK(crew_feature_get((unsigned)crew_feature_find("futex_waitv"), &waitv));
        if (waitv.state != CREW_FEATURE_YES)
                SKIP("no futex_waitv");
        REQUIRE_OK(crew_pool_apply_async(p, task_twice, &value, sizeof value, NULL,
                CREW_OPT(task, .done = stay, .user = &b)));
        REQUIRE(called(&b, 1));
        /* Long enough that no spin sees its end. */
        CHECK_INT(
                crew_pool_apply(p, task_sleep, &ms, sizeof ms, &out, sizeof out, CREW_S(10), NULL),
                ==, sizeof out);
        CHECK_INT(crew_pool_apply(
                          p, task_twice, &value, sizeof value, &out, sizeof out, CREW_S(10), NULL),
                ==, sizeof out);
        CHECK_INT(out, ==, 8);
        CHECK_INT(calls_of(&b), ==, 1);
        __atomic_store_n(&b.end, 1, __ATOMIC_SEQ_CST);
        CHECK(called(&b, 2));
        REQUIRE_OK(crew_pool_close(p));
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
}

static void end_it(crew_result *r, void *user)
{
        struct board *b = user;

        if (calls_of(b) == 0) {
                CHECK(SOON(__atomic_load_n(&b->go, __ATOMIC_SEQ_CST) == 1));
                CHECK_INT(crew_pool_close(b->pool), ==, 0);
                b->join = crew_pool_join(b->pool, CREW_S(1));
                b->end = crew_pool_terminate(b->pool, CREW_MS(10));
        }
        (void)crew_result_free(r);
        (void)__atomic_fetch_add(&b->calls, 1, __ATOMIC_SEQ_CST);
}

TEST(callback_ends, "a callback may terminate the pool and free its result", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        struct board b = { .pool = p, .end = -1 };

        for (int i = 0; i < 50; i++)
                (void)start_sleep(p, i ? 2000 : 1, CREW_OPT(task, .done = end_it, .user = &b));
        __atomic_store_n(&b.go, 1, __ATOMIC_SEQ_CST);
        CHECK(called(&b, 50));
        CHECK_INT(b.join, ==, -EDEADLK);
        CHECK_INT(b.end, ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
}

static void *submit_many(void *arg)
{
        crew_pool *p = arg;
        long wrong = 0;

        for (int i = 0; i < 500; i++)
                wrong += twice(p, i) != 2 * i;
        for (int i = 0; i < 500; i++)
                wrong += crew_pool_apply_async(p, task_nothing, NULL, 0, NULL, NULL) != 0;
        return (void *)wrong;
}

TEST(threads, "several threads submit and wait", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        pthread_t thread[4];
        void *wrong;

        for (int i = 0; i < 4; i++)
                REQUIRE(pthread_create(&thread[i], NULL, submit_many, p) == 0);
        for (int i = 0; i < 4; i++) {
                (void)pthread_join(thread[i], &wrong);
                CHECK(wrong == NULL);
        }
        REQUIRE_OK(crew_pool_close(p));
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        CHECK_INT(stats_of(p).done, ==, 4000);
}

TEST(no_thread, "without a thread whoever waits drives", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD));
        pthread_t thread[3];
        crew_result *r;
        void *wrong;
        int in[100], out[100];

        CHECK_INT(twice(p, 6), ==, 12);
        for (int i = 0; i < 100; i++)
                in[i] = i;
        CHECK_INT(crew_pool_map(p, task_twice, in, 100, 4, out, 4, CREW_S(5), NULL), ==, 0);
        CHECK_INT(out[99], ==, 198);
        for (int i = 0; i < 3; i++)
                REQUIRE(pthread_create(&thread[i], NULL, submit_many, p) == 0);
        for (int i = 0; i < 3; i++) {
                (void)pthread_join(thread[i], &wrong);
                CHECK(wrong == NULL);
        }
        r = start_sleep(p, 20, NULL);
        CHECK(SOON(crew_result_ready(r)));
        CHECK(crew_result_successful(r));
        (void)crew_result_free(r);
        REQUIRE_OK(crew_pool_close(p));
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
}

static void count_call(crew_result *r, void *user)
{
        (void)r;
        (void)__atomic_fetch_add(&((struct board *)user)->calls, 1, __ATOMIC_SEQ_CST);
}

TEST(loop, "a pool in somebody else's event loop, deadlines included", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD));
        struct board b = { .pool = p };
        crew_auto(result) late = NULL;
        int fd = REQUIRE_OK(crew_pool_fd(p)), rounds = 0;
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        int64_t until = crew_clock() + test_slow(CREW_S(10));
        int r = 0;

        for (int i = 0; i < 100; i++)
                REQUIRE_OK(crew_pool_apply_async(p, task_nothing, NULL, 0, NULL,
                        CREW_OPT(task, .done = count_call, .user = &b)));
        late = start_sleep(
                p, 10000, CREW_OPT(task, .deadline = CREW_MS(60), .done = count_call, .user = &b));
        while (calls_of(&b) < 101 && crew_clock() < until) {
                CHECK_INT(poll(&pfd, 1, 10000), ==, 1);
                (void)crew_pool_drive(p, CREW_NOW);
                rounds++;
        }
        CHECK_INT(calls_of(&b), ==, 101);
        CHECK_INT(rounds, <, 1000);
        CHECK_INT(failure_of(late).reason, ==, CREW_DEADLINE);
        while (crew_pool_drive(p, CREW_MS(20)) == 0)
                ;
        /* The successor of the late one's worker comes when it comes. */
        while ((r = crew_pool_drive(p, CREW_NOW)) == 0 && crew_clock() < until)
                pause_ms(1);
        CHECK_INT(r, ==, -EAGAIN);
}

static void note_event(const crew_pool_event *e, void *user)
{
        int *counts = user;

        if (e->kind >= 0 && e->kind < 8)
                (void)__atomic_fetch_add(&counts[e->kind], 1, __ATOMIC_SEQ_CST);
}

TEST(events, "a pool tells of its workers", "[live][pool]")
{
        int counts[8] = { 0 }, sig = SIGKILL;
        crew_pool *p = new_pool(2, CREW_OPT(pool, .on_event = note_event, .user = counts));

        CHECK_INT(crew_pool_apply(p, task_die, &sig, sizeof sig, NULL, 0, CREW_S(5), NULL), ==,
                -EOWNERDEAD);
        CHECK_INT(twice(p, 1), ==, 2);
        REQUIRE_OK(crew_pool_close(p));
        CHECK_INT(crew_pool_join(p, CREW_S(5)), ==, 0);
        CHECK_INT(counts[CREW_EVENT_STARTED], ==, 2);
        CHECK_INT(counts[CREW_EVENT_ENDED], >=, 2);
        CHECK_INT(counts[CREW_EVENT_BROKEN], ==, 0);
        p = crew_pool_free(p);
}

static int task_put(crew_task *t, const void *arg, size_t size)
{
        crew_queue *q = NULL;
        int r = crew_task_queue(t, *(const crew_ref *)arg, &q), value = 5;

        (void)size;
        return r < 0 ? crew_task_fail(t, r, "not granted") : CREW_PUT(q, &value, CREW_S(1));
}

TEST(grants, "queues are granted before and after the start", "[live][pool]")
{
        crew_auto(queue) early = NULL;
        crew_auto(queue) late = NULL;
        crew_auto(queue) never = NULL;
        crew_auto(pool) p = NULL;
        crew_ref ref;
        int value = 0;

        REQUIRE_OK(crew_queue_new(&early, 0, NULL));
        REQUIRE_OK(crew_queue_new(&never, 0, NULL));
        ref = crew_queue_ref(early);
        p = new_pool(1, CREW_OPT(pool, .grants = &ref, .n_grants = 1));
        CHECK_INT(crew_pool_apply(p, task_put, &ref, sizeof ref, NULL, 0, CREW_S(5), NULL), ==, 0);
        INFO("%s", crew_error_detail());
        CHECK_INT(CREW_GET(early, &value, CREW_S(1)), ==, 0);
        CHECK_INT(value, ==, 5);
        REQUIRE_OK(crew_queue_new(&late, 0, NULL));
        ref = crew_queue_ref(late);
        REQUIRE_OK(crew_pool_grant(p, ref));
        CHECK_INT(crew_pool_apply(p, task_put, &ref, sizeof ref, NULL, 0, CREW_S(5), NULL), ==, 0);
        ref = crew_queue_ref(never);
        CHECK_INT(crew_pool_apply(p, task_put, &ref, sizeof ref, NULL, 0, CREW_S(5), NULL), ==,
                -ENOENT);
}
