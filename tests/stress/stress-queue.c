/* SPDX-License-Identifier: MIT */

/*
 * Many processes on one queue, every way of putting and getting mixed. Each message is stamped with
 * its producer, its number and a checksum: each is seen exactly once, whole, and in its producer's
 * order by whoever sees it. Messages too small for a stamp are counted.
 */

#include "check.h"
#include "peer.h"

#include <crew/queue.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 16, BATCH = 6, LARGEST = 65536 };

struct stamp {
        uint64_t producer, number, size, sum;
};

struct plan {
        int producers, consumers;
        size_t max_messages, bytes;
        size_t (*size)(uint64_t random, size_t bytes);
        uint64_t flags;
        long long messages; /* per producer */
};

struct field {
        struct plan plan;
        crew_queue *q;
        _Atomic int next;
        uint64_t seed;
        size_t words; /* of the bits per producer */
        _Atomic uint64_t small_put, small_got, stamped_got;
        _Atomic uint64_t seen[]; /* a bit per message */
};

static uint64_t checksum(const unsigned char *p, size_t size)
{
        uint64_t sum = size, word;

        for (; size >= 8; p += 8, size -= 8) {
                memcpy(&word, p, 8);
                sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        }
        while (size--)
                sum = (sum ^ *p++) * 31;
        return sum;
}

static void fill(
        struct field *f, unsigned char *p, size_t size, int me, uint64_t number, uint64_t *random)
{
        struct stamp stamp = { (uint64_t)me, number, size, 0 };

        if (size < sizeof stamp) {
                memset(p, 0x33, size);
                atomic_fetch_add(&f->small_put, 1);
                return;
        }
        for (size_t i = sizeof stamp; i + 8 <= size; i += 8) {
                uint64_t word = peer_random(random);

                memcpy(p + i, &word, 8);
        }
        memset(p + size / 8 * 8, (int)number, size % 8);
        stamp.sum = checksum(p + sizeof stamp, size - sizeof stamp);
        memcpy(p, &stamp, sizeof stamp);
}

static void check_one(struct field *f, const unsigned char *p, size_t size, uint64_t *last)
{
        struct stamp stamp;
        uint64_t bit;

        if (size < sizeof stamp) {
                for (size_t i = 0; i < size; i++)
                        REQUIRE(p[i] == 0x33);
                atomic_fetch_add(&f->small_got, 1);
                return;
        }
        memcpy(&stamp, p, sizeof stamp);
        REQUIRE(stamp.size == size);
        REQUIRE(stamp.producer < (uint64_t)f->plan.producers);
        REQUIRE(stamp.number < (uint64_t)f->plan.messages);
        REQUIRE(stamp.sum == checksum(p + sizeof stamp, size - sizeof stamp));
        /* In order, numbers counted from 1. */
        REQUIRE(stamp.number + 1 > last[stamp.producer]);
        last[stamp.producer] = stamp.number + 1;
        bit = UINT64_C(1) << stamp.number % 64;
        REQUIRE(!(atomic_fetch_or(&f->seen[stamp.producer * f->words + stamp.number / 64], bit) &
                  bit));
        atomic_fetch_add(&f->stamped_got, 1);
}

/* Puts the messages, all of them, however many calls that takes. */
static void put_all(struct field *f, struct iovec *m, unsigned n, uint64_t how)
{
        for (unsigned done = 0; done < n;) {
                int64_t timeout = how & 1 ? CREW_NOW : how & 2 ? CREW_FOREVER : CREW_MS(3);
                void *at;
                int r;

                if (f->plan.flags & CREW_QUEUE_SINGLE_PRODUCER && how & 4) {
                        r = crew_queue_reserve(f->q, &at, m[done].iov_len, timeout);
                        if (r == 0) {
                                memcpy(at, m[done].iov_base, m[done].iov_len);
                                REQUIRE_OK(crew_queue_commit(f->q, m[done].iov_len));
                        }
                } else if (n > 1) {
                        r = crew_queue_put_many(f->q, m + done, n - done, timeout);
                } else {
                        r = crew_queue_put(f->q, m[0].iov_base, m[0].iov_len, timeout);
                }
                if (r == -EAGAIN)
                        sched_yield();
                REQUIRE(r >= 0 || r == -EAGAIN || r == -ETIMEDOUT);
                done += r > 0 ? (unsigned)r : r == 0;
        }
}

static void producer(void *arg)
{
        struct field *f = arg;
        int me = atomic_fetch_add(&f->next, 1);
        uint64_t random = f->seed + (uint64_t)me * 1000003;
        unsigned char *buf = malloc(BATCH * (size_t)LARGEST);
        struct iovec m[BATCH];

        REQUIRE(buf);
        for (uint64_t number = 0; number < (uint64_t)f->plan.messages;) {
                uint64_t how = peer_random(&random) >> 20;
                unsigned n = how >> 8 & 1 ? 1 + (unsigned)(how >> 10) % BATCH : 1;

                for (unsigned i = 0; i < n; i++) {
                        size_t size = f->plan.size(peer_random(&random) >> 3, f->plan.bytes);

                        m[i] = (struct iovec){ buf + i * (size_t)LARGEST, size };
                        if (number == (uint64_t)f->plan.messages) {
                                n = i;
                                break;
                        }
                        fill(f, m[i].iov_base, size, me, number++, &random);
                }
                put_all(f, m, n, how);
        }
        free(buf);
        (void)crew_queue_free(f->q);
}

/* One call that gets something; its result. */
static ssize_t get_some(struct field *f, void **buf, size_t *cap, uint64_t how, uint64_t *last)
{
        int64_t timeout = how & 1 ? CREW_NOW : how & 2 ? CREW_FOREVER : CREW_MS(3);
        struct iovec in[BATCH];
        const void *at;
        ssize_t r;

        if (f->plan.flags & CREW_QUEUE_SINGLE_CONSUMER && how & 4) {
                r = crew_queue_peek(f->q, &at, timeout);
                if (r < 0)
                        return r;
                if (how & 8)
                        check_one(f, at, (size_t)r, last);
                REQUIRE_OK(crew_queue_release(f->q, how & 8));
                return r;
        }
        if (how & 16) {
                r = crew_queue_get_many(
                        f->q, *buf, *cap, in, 1 + (unsigned)(how >> 10) % BATCH, timeout);
                for (ssize_t i = 0; i < r; i++)
                        check_one(f, in[i].iov_base, in[i].iov_len, last);
                return r;
        }
        r = how & 32 ? crew_queue_get_alloc(f->q, buf, cap, timeout)
                     : crew_queue_get(f->q, *buf, *cap, timeout);
        if (r >= 0)
                check_one(f, *buf, (size_t)r, last);
        return r;
}

static void consumer(void *arg)
{
        struct field *f = arg;
        uint64_t random = f->seed * 3 + (uint64_t)getpid(), last[MOST] = { 0 };
        size_t cap = LARGEST;
        void *buf = malloc(cap);
        ssize_t r;

        REQUIRE(buf);
        do {
                r = get_some(f, &buf, &cap, peer_random(&random) >> 20, last);
                if (r == -EAGAIN)
                        sched_yield();
                REQUIRE(r >= 0 || r == -EAGAIN || r == -ETIMEDOUT || r == -EPIPE);
        } while (r != -EPIPE);
        free(buf);
        (void)crew_queue_free(f->q);
}

static void run(struct plan plan)
{
        size_t words = (size_t)plan.messages / 64 + 1;
        size_t size = sizeof(struct field) + words * (size_t)plan.producers * sizeof(uint64_t);
        struct field *f = peer_memory(size);
        pid_t pid[2 * MOST];

        TEST_DEADLINE(300);
        f->plan = plan;
        f->words = words;
        f->seed = peer_seed();
        REQUIRE_OK(crew_queue_new(&f->q, plan.max_messages,
                CREW_OPT(queue, .bytes = plan.bytes, .flags = plan.flags)));
        for (int i = 0; i < plan.producers + plan.consumers; i++)
                pid[i] = peer_start(i < plan.producers ? producer : consumer, f);
        for (int i = 0; i < plan.producers + plan.consumers; i++) {
                if (i == plan.producers)
                        REQUIRE_OK(crew_queue_close(f->q));
                CHECK_INT(peer_join(pid[i]), ==, 0);
        }
        CHECK(crew_queue_empty(f->q));
        CHECK_INT(crew_queue_bytes(f->q), ==, 0);
        CHECK_INT(f->small_got, ==, f->small_put);
        CHECK_INT(f->stamped_got + f->small_got, ==, plan.messages * plan.producers);
        f->q = crew_queue_free(f->q);
        peer_memory_free(f, size);
}

/* Of every magnitude alike: most are small, and 64 KiB comes up too. */
static size_t any_size(uint64_t random, size_t bytes)
{
        (void)bytes;
        return (random >> 8) % (((size_t)1 << random % 17) + 1);
}

static size_t tiny(uint64_t random, size_t bytes)
{
        (void)bytes;
        return random % 64;
}

/* Half of them leave room for next to nothing beside them. */
static size_t nearly_all(uint64_t random, size_t bytes)
{
        return random & 1 ? bytes - (random >> 8) % 100 : (random >> 8) % 200;
}

TEST(sizes, "4 and 4 processes, sizes from 0 to 64 KiB", "[stress][queue]")
{
        run((struct plan){ 4, 4, 0, (1 << 20) - 8, any_size, 0, test_scale(100000, 2000) });
}

TEST(tight, "4 and 4 processes, a ring of 128 KiB that is mostly full", "[stress][queue]")
{
        run((struct plan){ 4, 4, 0, 65536, any_size, 0, test_scale(100000, 2000) });
}

TEST(limits, "queues of 1, 2 and 10 messages", "[stress][queue]")
{
        const size_t limits[] = { 1, 2, 10 };

        for (int i = 0; i < 3; i++)
                run((struct plan){ 3, 3, limits[i], 65536, tiny, 0, test_scale(100000, 1000) });
}

TEST(big, "one message that fills nearly all of the ring, among small ones", "[stress][queue]")
{
        run((struct plan){ 3, 2, 0, 65536 - 8, nearly_all, 0, test_scale(50000, 1000) });
}

TEST(small, "8 and 8 processes, small messages", "[stress][queue]")
{
        run((struct plan){ 8, 8, 0, 8184, tiny, 0, test_scale(500000, 5000) });
}

TEST(fan_in, "8 producers, one declared consumer with and without copies", "[stress][queue]")
{
        run((struct plan){
                8, 1, 0, 65536, any_size, CREW_QUEUE_SINGLE_CONSUMER, test_scale(50000, 500) });
}

TEST(fan_out, "one declared producer with and without copies, 8 consumers", "[stress][queue]")
{
        run((struct plan){
                1, 8, 10, 65536, any_size, CREW_QUEUE_SINGLE_PRODUCER, test_scale(300000, 3000) });
}

TEST(pair, "one declared producer and one declared consumer", "[stress][queue]")
{
        run((struct plan){ 1, 1, 0, 65536, any_size,
                CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER,
                test_scale(500000, 5000) });
}
