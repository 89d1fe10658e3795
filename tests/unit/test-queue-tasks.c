/* SPDX-License-Identifier: MIT */

/* Queues whose messages are tasks: said to be done, and waited for. */

#include "check.h"
#include "peer.h"

#include "queue/holders.h"

#include <crew/queue.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define A_WHILE CREW_S(10)

struct stage {
        crew_queue *q;
        _Atomic uint32_t ready, go, taken, done;
        _Atomic int32_t result;
};

static struct stage *stage(uint64_t flags)
{
        struct stage *s = peer_memory(sizeof *s);

        REQUIRE_OK(crew_queue_new(&s->q, 0, CREW_OPT(queue, .flags = CREW_QUEUE_JOINABLE | flags)));
        return s;
}

static void unstage(struct stage *s)
{
        (void)crew_queue_free(s->q);
        peer_memory_free(s, sizeof *s);
}

static void put(struct stage *s, int n)
{
        for (int i = 0; i < n; i++)
                REQUIRE_OK(CREW_PUT(s->q, &i, CREW_NOW));
}

TEST(too_often, "task_done is refused more often than messages were taken", "[unit][queue][tasks]")
{
        struct stage *s = stage(0);
        int value;

        CHECK_INT(crew_queue_task_done(s->q), ==, -EINVAL);
        REQUIRE_OK(crew_queue_join(s->q, CREW_NOW));
        put(s, 2);
        CHECK_INT(crew_queue_task_done(s->q), ==, -EINVAL);
        CHECK_INT(crew_queue_join(s->q, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_queue_join(s->q, CREW_MS(1)), ==, -ETIMEDOUT);
        REQUIRE_OK(CREW_GET(s->q, &value, CREW_NOW));
        REQUIRE_OK(CREW_GET(s->q, &value, CREW_NOW));
        REQUIRE_OK(crew_queue_task_done(s->q));
        CHECK_INT(crew_queue_join(s->q, CREW_NOW), ==, -EAGAIN);
        REQUIRE_OK(crew_queue_task_done(s->q));
        CHECK_INT(crew_queue_task_done(s->q), ==, -EINVAL);
        REQUIRE_OK(crew_queue_join(s->q, CREW_NOW));
        unstage(s);
}

TEST(not_joinable, "other queues have no tasks", "[unit][queue][tasks]")
{
        crew_auto(queue) q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        CHECK_INT(crew_queue_task_done(q), ==, -EOPNOTSUPP);
        CHECK_INT(crew_queue_join(q, CREW_NOW), ==, -EOPNOTSUPP);
}

static void work(void *arg)
{
        struct stage *s = arg;
        int value;

        while (CREW_GET(s->q, &value, A_WHILE) == 0 && value >= 0) {
                peer_pause(CREW_MS(1));
                atomic_fetch_add(&s->done, 1);
                REQUIRE_OK(crew_queue_task_done(s->q));
        }
}

/* CPython: test_task_done. */
TEST(py_task_done, "a join returns when four workers have done everything",
        "[unit][queue][tasks][cpython]")
{
        struct stage *s = stage(0);
        pid_t pid[4];
        int stop = -1;

        for (int i = 0; i < 4; i++)
                pid[i] = peer_start(work, s);
        put(s, 40);
        REQUIRE_OK(crew_queue_join(s->q, A_WHILE));
        CHECK_INT(atomic_load(&s->done), ==, 40);
        for (int i = 0; i < 4; i++)
                REQUIRE_OK(CREW_PUT(s->q, &stop, A_WHILE));
        for (int i = 0; i < 4; i++)
                CHECK_INT(peer_join(pid[i]), ==, 0);
        unstage(s);
}

static void take_two(void *arg)
{
        struct stage *s = arg;
        int value;

        REQUIRE_OK(CREW_GET(s->q, &value, A_WHILE));
        REQUIRE_OK(CREW_GET(s->q, &value, A_WHILE));
        REQUIRE_OK(crew_queue_task_done(s->q));
        atomic_store(&s->ready, 1);
        REQUIRE(peer_await(&s->go, 1, A_WHILE));
}

TEST(dead_consumer, "a join says that a consumer died with a task", "[unit][queue][tasks][kill]")
{
        struct stage *s = stage(0);
        int value;
        pid_t pid;

        put(s, 3);
        pid = peer_start(take_two, s);
        REQUIRE(peer_await(&s->ready, 1, A_WHILE));
        CHECK_INT(crew_queue_join(s->q, CREW_MS(45)), ==, -ETIMEDOUT);
        peer_kill(pid);
        CHECK_INT(crew_queue_join(s->q, A_WHILE), ==, -EOWNERDEAD);
        CHECK(strstr(crew_error_detail(), " 1 messages") != NULL);
        /* Somebody else may see to it. */
        REQUIRE_OK(crew_queue_task_done(s->q));
        CHECK_INT(crew_queue_join(s->q, CREW_MS(45)), ==, -ETIMEDOUT);
        REQUIRE_OK(CREW_GET(s->q, &value, CREW_NOW));
        REQUIRE_OK(crew_queue_task_done(s->q));
        REQUIRE_OK(crew_queue_join(s->q, CREW_NOW));
        unstage(s);
}

static void join_it(void *arg)
{
        struct stage *s = arg;

        atomic_store(&s->ready, 1);
        atomic_store(&s->result, crew_queue_join(s->q, A_WHILE));
}

TEST(wakes, "the last task_done wakes who joins, in another process", "[unit][queue][tasks]")
{
        struct stage *s = stage(0);
        pid_t pid;
        int value;

        atomic_store(&s->result, 1);
        put(s, 1);
        REQUIRE_OK(CREW_GET(s->q, &value, CREW_NOW));
        pid = peer_start(join_it, s);
        REQUIRE(peer_await(&s->ready, 1, A_WHILE) && peer_await_sleep(pid, A_WHILE));
        REQUIRE_OK(crew_queue_task_done(s->q));
        CHECK_INT(peer_join(pid), ==, 0);
        CHECK_INT(atomic_load(&s->result), ==, 0);
        unstage(s);
}

TEST(in_place, "a message that was read in place is a task too", "[unit][queue][tasks]")
{
        struct stage *s = stage(CREW_QUEUE_SINGLE_CONSUMER);
        const void *at;

        put(s, 1);
        REQUIRE(crew_queue_peek(s->q, &at, CREW_NOW) == sizeof(int));
        CHECK_INT(crew_queue_task_done(s->q), ==, -EINVAL);
        REQUIRE_OK(crew_queue_release(s->q, true));
        REQUIRE_OK(crew_queue_task_done(s->q));
        REQUIRE_OK(crew_queue_join(s->q, CREW_NOW));
        unstage(s);
}

static void consume_for_ever(void *arg)
{
        struct stage *s = arg;
        int value;

        while (CREW_GET(s->q, &value, A_WHILE) == 0) {
                atomic_fetch_add(&s->taken, 1);
                REQUIRE_OK(crew_queue_task_done(s->q));
                atomic_fetch_add(&s->done, 1);
        }
}

TEST(killed, "consumers that are killed anywhere lose at most their own task each",
        "[unit][queue][tasks][kill]")
{
        enum { CONSUMERS = 3, MESSAGES = 3000 };
        uint64_t seed = peer_seed();
        int rounds = (int)test_scale(500, 8);

        for (int round = 0; round < rounds; round++) {
                struct stage *s = stage(0);
                pid_t pid[CONSUMERS], rest;
                uint32_t most = (uint32_t)(peer_random(&seed) % MESSAGES);
                int r;

                for (int i = 0; i < CONSUMERS; i++)
                        pid[i] = peer_start(consume_for_ever, s);
                put(s, MESSAGES);
                while (atomic_load(&s->taken) < most)
                        ;
                for (int i = 0; i < CONSUMERS; i++)
                        peer_kill(pid[i]);
                /* The rest is done by one that lives; it waits for more until it is killed. */
                rest = peer_start(consume_for_ever, s);
                r = crew_queue_join(s->q, A_WHILE);
                CHECK(r == 0 || r == -EOWNERDEAD);
                for (int lost = 0; r == -EOWNERDEAD; r = crew_queue_join(s->q, A_WHILE)) {
                        if (!crew_queue_empty(s->q))
                                continue;
                        REQUIRE(lost++ < CONSUMERS);
                        REQUIRE_OK(crew_queue_task_done(s->q));
                }
                CHECK_INT(r, ==, 0);
                peer_kill(rest);
                unstage(s);
        }
}
