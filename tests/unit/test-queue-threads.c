/* SPDX-License-Identifier: MIT */

/* One handle and many threads, for ThreadSanitizer above all. */

#include "check.h"
#include "peer.h"

#include "queue/queue.h"

#include <crew/queue.h>
#include <errno.h>
#include <pthread.h>

struct field {
        crew_queue *q;
        uint64_t each;
        _Atomic uint64_t sum, got;
};

static void *producer(void *arg)
{
        struct field *f = arg;

        for (uint64_t i = 1; i <= f->each; i++) {
                uint64_t message[3] = { i, i * 2, i * 3 };
                struct iovec out[2] = { { message, sizeof message }, { message, 8 } };

                if (i % 3)
                        REQUIRE_OK(CREW_PUT(f->q, &message, CREW_S(20)));
                else
                        REQUIRE(crew_queue_put_many(f->q, out, 1, CREW_S(20)) == 1);
        }
        return NULL;
}

static void *consumer(void *arg)
{
        struct field *f = arg;
        uint64_t message[12];
        struct iovec in[4];
        int r;

        while ((r = crew_queue_get_many(f->q, message, sizeof message, in, 4, CREW_S(20))) > 0) {
                for (int i = 0; i < r; i++) {
                        const uint64_t *m = in[i].iov_base;

                        REQUIRE(in[i].iov_len == 24 && m[1] == m[0] * 2 && m[2] == m[0] * 3);
                        atomic_fetch_add(&f->sum, m[0]);
                        atomic_fetch_add(&f->got, 1);
                }
        }
        CHECK_INT(r, ==, -EPIPE);
        return NULL;
}

static void run(size_t max, uint64_t flags, int threads)
{
        struct field f = { .each = (uint64_t)test_scale(200000, 2000) };
        pthread_t put[4], get[4];

        REQUIRE_OK(crew_queue_new(&f.q, max, CREW_OPT(queue, .bytes = 4088, .flags = flags)));
        for (int i = 0; i < threads; i++) {
                REQUIRE(pthread_create(&get[i], NULL, consumer, &f) == 0);
                REQUIRE(pthread_create(&put[i], NULL, producer, &f) == 0);
        }
        for (int i = 0; i < threads; i++)
                (void)pthread_join(put[i], NULL);
        REQUIRE_OK(crew_queue_close(f.q));
        for (int i = 0; i < threads; i++)
                (void)pthread_join(get[i], NULL);
        CHECK_INT(atomic_load(&f.got), ==, f.each * (uint64_t)threads);
        CHECK_INT(atomic_load(&f.sum), ==, f.each * (f.each + 1) / 2 * (uint64_t)threads);
        CHECK(crew_queue_empty(f.q));
        f.q = crew_queue_free(f.q);
}

TEST(several, "threads share a handle", "[unit][queue]")
{
        run(0, 0, 3);
        run(2, 0, 3);
}

TEST(single, "two threads with a queue declared single on both sides", "[unit][queue]")
{
        run(0, CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER, 1);
        run(2, CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER, 1);
}

static void *first_fd(void *arg)
{
        return (void *)(intptr_t)crew_queue_fd(arg);
}

TEST(one_descriptor, "threads that ask at once get one descriptor", "[unit][queue]")
{
        for (int round = 0; round < 50; round++) {
                crew_auto(queue) q = NULL;
                pthread_t thread[4];
                void *fd[4];

                REQUIRE_OK(crew_queue_new(&q, 0, NULL));
                for (int i = 0; i < 4; i++)
                        REQUIRE(pthread_create(&thread[i], NULL, first_fd, q) == 0);
                for (int i = 0; i < 4; i++)
                        (void)pthread_join(thread[i], &fd[i]);
                for (int i = 0; i < 4; i++)
                        CHECK_INT((intptr_t)fd[i], ==, crew_queue_fd(q));
        }
}

static void put_some(crew_queue *q, int n)
{
        for (int value = 0; value < n; value++)
                REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
}

static void get_one(crew_queue *q, int64_t timeout, int expected)
{
        int value = -1;

        REQUIRE_OK(CREW_GET(q, &value, timeout));
        CHECK_INT(value, ==, expected);
}

/* The mark of the spin moves to the head when a close look found the answer, and not otherwise. */
TEST(answer, "who has put something looks closely for the answer, who only gets does not",
        "[unit][queue]")
{
        crew_auto(queue) q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        put_some(q, 1);
        get_one(q, CREW_S(20), 0);
        atomic_store(&q->get_spin.budget, 1000);
        put_some(q, 2);
        get_one(q, CREW_S(20), 0);
        CHECK_INT(atomic_load(&q->get_spin.mark), ==, 1);
        CHECK_INT(atomic_load(&q->get_spin.budget), ==, 1000); /* it was there already */
        get_one(q, CREW_S(20), 1); /* no put since */
        CHECK_INT(atomic_load(&q->get_spin.mark), ==, 1);
        put_some(q, 2);
        get_one(q, CREW_S(20), 0); /* two have passed since the mark: a stream */
        CHECK_INT(atomic_load(&q->get_spin.mark), ==, 1);
        atomic_store(&q->get_spin.mark, 4);
        atomic_store(&q->get_spin.budget, 0);
        put_some(q, 1);
        get_one(q, CREW_S(20), 1); /* spinning does not pay */
        CHECK_INT(atomic_load(&q->get_spin.mark), ==, 4);
        atomic_store(&q->get_spin.budget, 1000);
        get_one(q, CREW_NOW, 0); /* nothing to wait for */
        CHECK_INT(atomic_load(&q->get_spin.mark), ==, 4);
        /* And an answer that does not come is waited for as ever. */
        put_some(q, 1);
        get_one(q, CREW_S(20), 0);
        CHECK_INT(CREW_GET(q, &(int){ 0 }, CREW_MS(1)), ==, -ETIMEDOUT);
}
