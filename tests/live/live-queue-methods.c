/* SPDX-License-Identifier: MIT */

/*
 * CPython's cases about queues (_TestQueue, _TestSimpleQueue) with processes of every start method,
 * which find the queue by its ref. Those about a queue alone are in tests/unit/test-queue*.c.
 */

#include "host.h"
#include "peer.h"

#define A_WHILE CREW_S(15)

/* What crosses: the ref, and words that all of the case see. */
struct given {
        crew_ref ref;
        struct words {
                _Atomic uint32_t ready, go, done;
        } * words;
};

static crew_queue *make(struct given *given, size_t max, uint64_t flags)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_new(&q, max, CREW_OPT(queue, .flags = flags)));
        given->ref = crew_queue_ref(q);
        given->words = shared_new(sizeof *given->words);
        return q;
}

static crew_process *start(crew_target_fn *target, struct given *given)
{
        crew_process *p = NULL;

        REQUIRE_OK(crew_process_launch(&p, target, given,
                CREW_OPT(process, .method = host_method, .arg_size = sizeof *given,
                        .grants = &given->ref, .n_grants = 1)));
        return p;
}

static crew_queue *receive(const struct given *given)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_open(&q, given->ref));
        return q;
}

static void put_range(crew_queue *q, int from, int to)
{
        for (int i = from; i < to; i++)
                REQUIRE_OK(CREW_PUT(q, &i, A_WHILE));
}

static void get_range(crew_queue *q, int from, int to)
{
        int got;

        for (int i = from; i < to; i++) {
                REQUIRE_OK(CREW_GET(q, &got, A_WHILE));
                CHECK_INT(got, ==, i);
        }
}

static int put_second_half(void *arg)
{
        crew_auto(queue) q = receive(arg);

        put_range(q, 10, 20);
        return 0;
}

TEST_METHODS(py_fork, "test_fork: items of parent and child arrive, 0 to 19", "[live][queue]")
{
        struct given given;
        crew_auto(queue) q = make(&given, 0, 0);
        crew_auto(process) p = NULL;
        int got;

        put_range(q, 0, 10);
        p = start(put_second_half, &given);
        get_range(q, 0, 20);
        CHECK_INT(join_code(p), ==, 0);
        CHECK_INT(CREW_GET(q, &got, CREW_NOW), ==, -EAGAIN);
}

static int take_six(void *arg)
{
        struct given *given = arg;
        crew_auto(queue) q = receive(given);

        atomic_store(&given->words->ready, 1);
        REQUIRE(peer_await(&given->words->go, 1, A_WHILE));
        get_range(q, 1, 7);
        return 0;
}

TEST_METHODS(py_put, "test_put: a queue of six is full until the child takes", "[live][queue]")
{
        struct given given;
        crew_auto(queue) q = make(&given, 6, 0);
        crew_auto(process) p = start(take_six, &given);
        int64_t begun;
        int more = 7;

        REQUIRE(peer_await(&given.words->ready, 1, A_WHILE));
        put_range(q, 1, 7);
        CHECK(crew_queue_full(q) && !crew_queue_empty(q));
        CHECK_INT(CREW_PUT(q, &more, CREW_NOW), ==, -EAGAIN);
        begun = crew_clock();
        CHECK_INT(CREW_PUT(q, &more, CREW_MS(30)), ==, -ETIMEDOUT);
        CHECK_INT(crew_clock() - begun, >=, CREW_MS(30));
        atomic_store(&given.words->go, 1);
        /* The child makes the room that this waits for, and takes no more than six. */
        CHECK_INT(CREW_PUT(q, &more, CREW_FOREVER), ==, 0);
        CHECK_INT(join_code(p), ==, 0);
        get_range(q, 7, 8);
        CHECK(crew_queue_empty(q) && !crew_queue_full(q));
}

static int put_four_late(void *arg)
{
        struct given *given = arg;
        crew_auto(queue) q = receive(given);

        REQUIRE(peer_await(&given->words->go, 1, A_WHILE));
        put_range(q, 2, 6);
        return 0;
}

TEST_METHODS(py_get, "test_get and test_timeout: nothing is there until the child puts it",
        "[live][queue]")
{
        struct given given;
        crew_auto(queue) q = make(&given, 0, 0);
        crew_auto(process) p = start(put_four_late, &given);
        int64_t begun = crew_clock();
        int got;

        CHECK_INT(CREW_GET(q, &got, CREW_MS(30)), ==, -ETIMEDOUT);
        CHECK_INT(crew_clock() - begun, >=, CREW_MS(30));
        atomic_store(&given.words->go, 1);
        CHECK_INT(CREW_GET(q, &got, CREW_FOREVER), ==, 0);
        CHECK_INT(got, ==, 2);
        CHECK_INT(join_code(p), ==, 0);
        /* It outlives who put it. */
        CHECK(!crew_queue_empty(q));
        get_range(q, 3, 6);
        CHECK(crew_queue_empty(q));
        CHECK_INT(CREW_GET(q, &got, CREW_NOW), ==, -EAGAIN);
}

static int work(void *arg)
{
        struct given *given = arg;
        crew_auto(queue) q = receive(given);
        int value;

        while (CREW_GET(q, &value, A_WHILE) == 0 && value >= 0) {
                (void)usleep(1000);
                atomic_fetch_add(&given->words->done, 1);
                REQUIRE_OK(crew_queue_task_done(q));
        }
        return 0;
}

TEST_METHODS(py_task_done, "test_task_done: a join returns when four workers have done everything",
        "[live][queue][tasks]")
{
        enum { WORKERS = 4 };
        struct given given;
        crew_auto(queue) q = make(&given, 0, CREW_QUEUE_JOINABLE);
        crew_process *p[WORKERS];
        int stop = -1;

        for (int i = 0; i < WORKERS; i++)
                p[i] = start(work, &given);
        put_range(q, 0, 40);
        REQUIRE_OK(crew_queue_join(q, A_WHILE));
        CHECK_INT(atomic_load(&given.words->done), ==, 40);
        for (int i = 0; i < WORKERS; i++)
                REQUIRE_OK(CREW_PUT(q, &stop, A_WHILE));
        for (int i = 0; i < WORKERS; i++) {
                CHECK_INT(join_code(p[i]), ==, 0);
                p[i] = crew_process_free(p[i]);
        }
}

static int die_with_task(void *arg)
{
        struct given *given = arg;
        crew_queue *q = receive(given);
        int value;

        REQUIRE_OK(CREW_GET(q, &value, A_WHILE));
        atomic_store(&given->words->ready, 1);
        for (;;)
                (void)pause();
        return 0;
}

TEST_METHODS(dead_consumer, "a join says that a child was killed with a task",
        "[live][queue][tasks][kill]")
{
        struct given given;
        crew_auto(queue) q = make(&given, 0, CREW_QUEUE_JOINABLE);
        crew_auto(process) p = start(die_with_task, &given);

        put_range(q, 0, 1);
        REQUIRE(peer_await(&given.words->ready, 1, A_WHILE));
        CHECK_INT(crew_queue_join(q, CREW_MS(20)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_process_kill(p));
        CHECK_INT(crew_queue_join(q, A_WHILE), ==, -EOWNERDEAD);
        CHECK_INT(join_code(p), ==, -SIGKILL);
}

static int sleep_in_get(void *arg)
{
        struct given *given = arg;
        crew_auto(queue) q = receive(given);
        int value, r;

        atomic_store(&given->words->ready, 1);
        r = CREW_GET(q, &value, A_WHILE);
        return r == -EPIPE ? 3 : 4;
}

TEST_METHODS(py_closed, "test_closed_queue_*: a close here wakes the child, and refuses puts",
        "[live][queue]")
{
        struct given given;
        crew_auto(queue) q = make(&given, 0, 0);
        crew_auto(process) p = start(sleep_in_get, &given);
        int value = 1;

        REQUIRE(peer_await(&given.words->ready, 1, A_WHILE));
        CHECK(peer_await_sleep(crew_process_pid(p), CREW_S(5)));
        REQUIRE_OK(crew_queue_close(q));
        CHECK_INT(join_code(p), ==, 3);
        CHECK_INT(CREW_PUT(q, &value, CREW_NOW), ==, -EPIPE);
        CHECK_INT(CREW_GET(q, &value, CREW_NOW), ==, -EPIPE);
}
