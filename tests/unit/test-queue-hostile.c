/* SPDX-License-Identifier: MIT */

/* Shared memory that a hostile peer writes: errors or data, but no crash, no hang, nothing beyond.
 */

#include "hostile-case.h"
#include "queue/queue.h"

#include <crew/queue.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOTH (CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER)

static crew_queue *make(uint64_t flags)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .bytes = 8184, .flags = flags)));
        return q;
}

TEST(programs, "random attacks and calls", "[unit][queue][hostile]")
{
        TEST_DEADLINE(100);
        hostile_programs(test_scale(100000, 1000), 512);
}

static void expect_broken(crew_queue *q)
{
        char buf[64];
        const void *seen;

        CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_S(9)), ==, -ENOTRECOVERABLE);
        CHECK_INT(crew_queue_put(q, buf, 8, CREW_S(9)), ==, -ENOTRECOVERABLE);
        if (q->flags & BOTH)
                CHECK_INT(crew_queue_peek(q, &seen, CREW_S(9)), ==, -ENOTRECOVERABLE);
        CHECK(strlen(crew_error_detail()) > 10);
}

TEST(bad_size, "a record that claims too much breaks the queue, once and for all",
        "[unit][queue][hostile]")
{
        const uint64_t sizes[] = { 9, 16, 8185, 8192, 1 << 20, UINT32_MAX, INT64_MAX, UINT64_MAX,
                UINT64_MAX - 7, UINT64_MAX - 15 };

        for (size_t i = 0; i < 2 * (sizeof sizes / sizeof *sizes); i++) {
                crew_auto(queue) q = make(i & 1 ? BOTH : 0);
                void *buf = NULL;
                size_t cap = 0;

                REQUIRE_OK(crew_queue_put(q, "12345678", 8, CREW_NOW));
                memcpy(q->data, &sizes[i / 2], 8);
                CHECK_INT(crew_queue_get_alloc(q, &buf, &cap, CREW_S(9)), ==, -ENOTRECOVERABLE);
                CHECK(buf == NULL);
                expect_broken(q);
        }
}

TEST(bad_index, "indices that contradict each other break the queue", "[unit][queue][hostile]")
{
        const uint64_t tails[] = { 1, (uint64_t)1 << 63, UINT64_MAX, (uint64_t)1025 << 32 | 1,
                (uint64_t)1 << 32 | 2, UINT32_MAX };

        for (size_t i = 0; i < 2 * (sizeof tails / sizeof *tails); i++) {
                crew_auto(queue) q = make(i & 1 ? BOTH : 0);

                atomic_store(&q->ring->tail, tails[i / 2]);
                CHECK_INT(crew_queue_bytes(q), <=, 8192);
                expect_broken(q);
        }
}

TEST(broken_wakes, "a queue that breaks wakes its sleepers", "[unit][queue][hostile]")
{
        struct {
                crew_queue *q;
        } *s = peer_memory(4096);
        char buf[8];
        pid_t pid;

        s->q = make(0);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                CHECK_INT(crew_queue_get(s->q, buf, sizeof buf, CREW_S(10)), ==, -ENOTRECOVERABLE);
                _exit(0);
        }
        REQUIRE(peer_await_sleep(pid, CREW_S(5)));
        (void)crew__queue_broken(s->q, "as a test");
        CHECK_INT(peer_join(pid), ==, 0);
        (void)crew_queue_free(s->q);
        peer_memory_free(s, 4096);
}

/* The words about a foreign namespace quote a name that need not end. */
TEST(endless_name, "a name without an end is quoted with one", "[unit][queue][hostile]")
{
        crew_auto(queue) q = make(0);
        crew_queue *other = NULL;
        const char *as;

        memset(q->ring->name, 'A', offsetof(crew__ring, state) - offsetof(crew__ring, name));
        q->ring->pid_namespace = 1;
        CHECK_INT(crew_queue_open(&other, crew_queue_ref(q)), ==, -EXDEV);
        as = strchr(crew_error_detail(), 'A');
        REQUIRE(as != NULL);
        CHECK_INT(strspn(as, "A"), ==, 63);
}

TEST(bad_header, "a header of something else is not opened", "[unit][queue][hostile]")
{
        crew_auto(queue) q = make(0);
        crew_queue *other = NULL;

        q->ring->magic ^= 1;
        CHECK_INT(crew_queue_open(&other, crew_queue_ref(q)), ==, -ENOENT);
        q->ring->magic ^= 1;
        q->ring->version++;
        CHECK_INT(crew_queue_open(&other, crew_queue_ref(q)), ==, -ENOENT);
        q->ring->version--;
        q->ring->ring_bytes *= 2;
        CHECK_INT(crew_queue_open(&other, crew_queue_ref(q)), ==, -ENOENT);
        CHECK(other == NULL);
}

/* Geometry that changes under a handle changes nothing for it. */
TEST(geometry, "a handle keeps the geometry it was made with", "[unit][queue][hostile]")
{
        crew_auto(queue) q = make(0);
        char buf[8184];

        memset(buf, 3, sizeof buf);
        q->ring->ring_bytes = (uint64_t)1 << 40;
        q->ring->message_size = 1;
        q->ring->max_messages = 1;
        q->ring->flags = BOTH;
        REQUIRE_OK(crew_queue_put(q, buf, 100, CREW_NOW));
        REQUIRE_OK(crew_queue_put(q, buf, 100, CREW_NOW));
        CHECK_INT(crew_queue_put(q, buf, 1 << 20, CREW_NOW), ==, -EMSGSIZE);
        CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, 100);
        CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, 100);
}

TEST(foreign_locks, "locks that name a live stranger delay a call to its timeout",
        "[unit][queue][hostile]")
{
        crew_auto(queue) q = make(0);
        char buf[8] = "";
        int64_t began, took, shortest[2] = { INT64_MAX, INT64_MAX };

        for (int i = 0; i < 6; i++) {
                uint32_t unlisted = i % 2;

                atomic_store(&q->ring->producers.lock.word, (uint32_t)getppid());
                atomic_store(&q->ring->consumers.lock.word, (uint32_t)getppid());
                atomic_store(&q->ring->producers.lock.watched, unlisted);
                atomic_store(&q->ring->consumers.lock.watched, unlisted);
                began = peer_now();
                CHECK_INT(crew_queue_put(q, buf, 8, CREW_NOW), ==, -EAGAIN);
                CHECK_INT(crew_queue_put(q, buf, 8, CREW_MS(50)), ==, -ETIMEDOUT);
                CHECK_INT(crew_queue_get(q, buf, 8, CREW_NOW), ==, -EAGAIN);
                CHECK_INT(crew_queue_get(q, buf, 8, CREW_MS(50)), ==, -ETIMEDOUT);
                CHECK_INT(peer_now() - began, >=, CREW_MS(100));
                took = peer_now() - began;
                shortest[unlisted] = took < shortest[unlisted] ? took : shortest[unlisted];
        }
        CHECK_INT(shortest[0], <, test_slow(CREW_S(2)));
        CHECK_INT(shortest[1], <, test_slow(CREW_S(2)));
        began = peer_now();
        REQUIRE_OK(crew_queue_close(q));
        CHECK_INT(peer_now() - began, <, test_slow(CREW_S(5)));
}

static void scribbler(void *arg)
{
        crew_queue *q = arg;
        uint64_t random = (uint64_t)getpid();
        size_t words = sizeof *q->ring / 8;

        for (;;) {
                uint64_t r = peer_random(&random), value = peer_random(&random);
                volatile uint64_t *header = (volatile uint64_t *)(void *)q->ring;

                switch (r % 8) {
                case 0:
                        header[(r >> 8) % words] = value >> (r >> 58);
                        break;
                case 1:
                        ((volatile uint64_t *)(void *)q->data)[(r >> 8) % 1024] =
                                value >> (r >> 58);
                        break;
                case 2:
                        atomic_store(&q->ring->state, (uint32_t)(value % 16) & 12);
                        break;
                case 3:
                        atomic_store(&q->ring->producers.lock.word, 0);
                        atomic_store(&q->ring->consumers.lock.word, 0);
                        break;
                default:
                        atomic_store(&q->ring->tail, crew__index_add(atomic_load(&q->ring->head),
                                                             value % 1024 * 8, (value >> 20) % 8));
                        break;
                }
                if (r >> 56 == 0)
                        peer_pause(1000);
        }
}

static void timed(int64_t began, const char *what)
{
        int64_t took = peer_now() - began;

        if (took >= test_slow(CREW_S(3)))
                INFO("%s took %lld ms", what, (long long)took / 1000000);
        CHECK_INT(took, <, test_slow(CREW_S(3)));
}

/* While a child scribbles over all of it, each call comes back soon after its timeout. */
static void live_attack(uint64_t flags)
{
        crew_queue *q = make(flags);
        pid_t pid = peer_start(scribbler, q);
        int64_t until = peer_now() + test_scale(CREW_S(60), CREW_MS(700));
        _Alignas(8) char buf[2048] = "";
        struct iovec in[4], out[2] = { { buf, 100 }, { buf, 2000 } };
        const void *seen;
        void *at;

        while (peer_now() < until) {
                int64_t began = peer_now();

                (void)crew_queue_put(q, buf, (size_t)began % 2048, CREW_MS(5));
                timed(began, "put");
                began = peer_now();
                (void)crew_queue_get(q, buf, sizeof buf, CREW_MS(5));
                timed(began, "get");
                began = peer_now();
                (void)crew_queue_get_many(q, buf, sizeof buf, in, 4, CREW_NOW);
                (void)crew_queue_put_many(q, out, 2, CREW_NOW);
                timed(began, "many");
                (void)crew_queue_full(q);
                CHECK_INT(crew_queue_bytes(q), <=, 8192);
                if (!flags)
                        continue;
                if (crew_queue_reserve(q, &at, 2000, CREW_MS(1)) == 0) {
                        memset(at, 0, 2000);
                        (void)crew_queue_commit(q, 1000);
                }
                if (crew_queue_peek(q, &seen, CREW_MS(1)) > 0)
                        (void)crew_queue_release(q, true);
        }
        peer_kill(pid);
        (void)crew_queue_free(q);
}

TEST(live, "calls come back while a peer scribbles over everything", "[unit][queue][hostile]")
{
        TEST_DEADLINE(100);
        live_attack(0);
        live_attack(BOTH);
}
