/* SPDX-License-Identifier: MIT */

/* Batches, zero copy, buffers that grow; and all of it against a model. */

#include "check.h"
#include "peer.h"

#include <crew/queue.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOTH (CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER)

static size_t page(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

static crew_queue *make(size_t max, const crew_queue_options *o)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_new(&q, max, o));
        return q;
}

static struct iovec text(const char *s)
{
        return (struct iovec){.iov_base = (void *)(uintptr_t)s, .iov_len = strlen(s)};
}

TEST(batch, "a batch goes in and comes out packed at multiples of 8", "[unit][queue]")
{
        struct iovec out[] = {text("one"), text(""), text("twentytwo"), text("12345678")}, in[8];
        _Alignas(8) char buf[64];
        crew_auto(queue) q = make(0, NULL);

        CHECK_INT(crew_queue_put_many(q, out, 4, CREW_NOW), ==, 4);
        CHECK_INT(crew_queue_count(q), ==, 4);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 8, CREW_NOW), ==, 4);
        CHECK(in[0].iov_base == buf && in[0].iov_len == 3);
        CHECK(in[1].iov_base == buf + 8 && in[1].iov_len == 0);
        CHECK(in[2].iov_base == buf + 8 && in[2].iov_len == 9);
        CHECK(in[3].iov_base == buf + 24 && in[3].iov_len == 8);
        CHECK(memcmp(buf, "one", 3) == 0);
        CHECK(memcmp(buf + 8, "twentytwo", 9) == 0);
        CHECK(memcmp(buf + 24, "12345678", 8) == 0);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 8, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 8, CREW_MS(1)), ==, -ETIMEDOUT);
}

TEST(batch_limits, "a batch puts what fits, and at least one or an error", "[unit][queue]")
{
        struct iovec m[5] = {text("a"), text("b"), text("c"), text("d"), text("e")}, in[8];
        _Alignas(8) char buf[64];
        crew_auto(queue) q = make(3, NULL);

        CHECK_INT(crew_queue_put_many(q, m, 2, CREW_NOW), ==, 2);
        CHECK_INT(crew_queue_put_many(q, m + 2, 3, CREW_NOW), ==, 1);
        CHECK_INT(crew_queue_put_many(q, m + 3, 2, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_queue_put_many(q, m + 3, 2, CREW_MS(5)), ==, -ETIMEDOUT);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 2, CREW_NOW), ==, 2);
        CHECK_INT(crew_queue_put_many(q, m + 3, 2, CREW_NOW), ==, 2);
        /* Limited by the buffer: two of the three, each rounded up to 8. */
        CHECK_INT(crew_queue_get_many(q, buf, 23, in, 8, CREW_NOW), ==, 3);
        CHECK(*(char *)in[2].iov_base == 'e');
        CHECK_INT(crew_queue_put_many(q, m, 3, CREW_NOW), ==, 3);
        CHECK_INT(crew_queue_get_many(q, buf, 16, in, 8, CREW_NOW), ==, 2);
        CHECK_INT(crew_queue_get_many(q, buf, 0, in, 8, CREW_NOW), ==, -EMSGSIZE);
        CHECK_INT(crew_queue_get_many(q, buf, 1, in, 8, CREW_NOW), ==, 1);
        CHECK(*(char *)in[0].iov_base == 'c');
}

TEST(batch_bytes, "a batch ends where the ring's bytes end", "[unit][queue]")
{
        crew_auto(queue) q = make(0, CREW_OPT(queue, .bytes = page() - 8));
        char *data = calloc(1, page());
        struct iovec m[3] = {{data, page() / 2 - 8}, {data, page() / 4 - 8}, {data, page() / 2}};

        REQUIRE(data);
        CHECK_INT(crew_queue_put_many(q, m, 3, CREW_NOW), ==, 2);
        CHECK_INT(crew_queue_put_many(q, m, 3, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_queue_put_many(q, m + 1, 2, CREW_NOW), ==, 1);
        CHECK_INT(crew_queue_bytes(q), ==, page());
        free(data);
}

TEST(batch_bad, "a message that can never be put ends the batch before it", "[unit][queue]")
{
        crew_auto(queue) q = make(0, CREW_OPT(queue, .bytes = 100));
        crew_auto(queue) fixed = make(0, CREW_OPT(queue, .message_size = 3));
        char *big = calloc(1, page());
        struct iovec m[] = {text("one"), text("two"), {big, page()}, text("fours")}, in[4];
        _Alignas(8) char buf[64];

        REQUIRE(big);
        CHECK_INT(crew_queue_put_many(q, m, 4, CREW_NOW), ==, 2);
        CHECK_INT(crew_queue_put_many(q, m + 2, 2, CREW_S(9)), ==, -EMSGSIZE);
        CHECK_INT(crew_queue_put_many(fixed, m, 4, CREW_NOW), ==, 2);
        CHECK_INT(crew_queue_put_many(fixed, m + 3, 1, CREW_S(9)), ==, -EBADMSG);
        CHECK_INT(crew_queue_put_many(q, m, 0, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_queue_put_many(q, NULL, 1, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 0, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, NULL, 4, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_queue_get_many(q, buf + 4, 32, in, 4, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_queue_count(q), ==, 2);
        REQUIRE_OK(crew_queue_close(q));
        CHECK_INT(crew_queue_put_many(q, m, 2, CREW_NOW), ==, -EPIPE);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 4, CREW_NOW), ==, 2);
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 4, CREW_FOREVER), ==, -EPIPE);
        free(big);
}

TEST(batch_fresh, "a batch takes what was put since the last look as well", "[unit][queue]")
{
        crew_auto(queue) q = make(0, NULL);
        _Alignas(8) char buf[64];
        struct iovec in[8];
        int value = 1;

        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        CHECK_INT(crew_queue_get_many(q, buf, sizeof buf, in, 8, CREW_NOW), ==, 3);
}

TEST(alloc, "a buffer grows to what the message needs", "[unit][queue]")
{
        crew_auto(queue) q = make(0, NULL);
        char big[1000], *small;
        size_t cap = 12345;
        void *buf = NULL;

        memset(big, 'b', sizeof big);
        REQUIRE_OK(crew_queue_put(q, NULL, 0, CREW_NOW));
        CHECK_INT(crew_queue_get_alloc(q, &buf, &cap, CREW_NOW), ==, 0);
        REQUIRE_OK(crew_queue_put(q, big, 5, CREW_NOW));
        CHECK_INT(crew_queue_get_alloc(q, &buf, &cap, CREW_NOW), ==, 5);
        REQUIRE(buf != NULL);
        CHECK_INT(cap, >=, 5);
        REQUIRE_OK(crew_queue_put(q, big, 1000, CREW_NOW));
        CHECK_INT(crew_queue_get_alloc(q, &buf, &cap, CREW_NOW), ==, 1000);
        CHECK_INT(cap, >=, 1000);
        CHECK(memcmp(buf, big, 1000) == 0);
        /* Room enough: the same memory. */
        small = buf;
        REQUIRE_OK(crew_queue_put(q, big, 10, CREW_NOW));
        CHECK_INT(crew_queue_get_alloc(q, &buf, &cap, CREW_NOW), ==, 10);
        CHECK(buf == small);
        CHECK_INT(crew_queue_get_alloc(q, &buf, &cap, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_queue_get_alloc(q, &buf, &cap, CREW_MS(5)), ==, -ETIMEDOUT);
        CHECK_INT(crew_queue_get_alloc(q, NULL, &cap, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_queue_get_alloc(q, &buf, NULL, CREW_NOW), ==, -EINVAL);
        CHECK(buf == small);
        free(buf);
}

TEST(reserve, "a message is written in place and seen at its commit", "[unit][queue]")
{
        crew_auto(queue) q = make(0, CREW_OPT(queue, .flags = CREW_QUEUE_SINGLE_PRODUCER));
        void *at = NULL, *second = &at;
        char buf[64] = "";

        REQUIRE_OK(crew_queue_reserve(q, &at, 20, CREW_NOW));
        CHECK_INT((uintptr_t)at % 8, ==, 0);
        memcpy(at, "written in place", 17);
        CHECK(crew_queue_empty(q));
        CHECK_INT(crew_queue_reserve(q, &second, 1, CREW_S(9)), ==, -EBUSY);
        CHECK(second == &at);
        CHECK_INT(crew_queue_commit(q, 21), ==, -EINVAL);
        CHECK_INT(crew_queue_commit(q, 17), ==, 0);
        CHECK_INT(crew_queue_commit(q, 17), ==, -EINVAL);
        CHECK_INT(crew_queue_abort(q), ==, -EINVAL);
        CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, 17);
        CHECK_STR(buf, "written in place");
        REQUIRE_OK(crew_queue_reserve(q, &at, 20, CREW_NOW));
        CHECK_INT(crew_queue_abort(q), ==, 0);
        CHECK(crew_queue_empty(q));
        REQUIRE_OK(crew_queue_reserve(q, &at, 0, CREW_NOW));
        CHECK_INT(crew_queue_commit(q, 0), ==, 0);
        CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, 0);
        CHECK_INT(crew_queue_reserve(q, &at, 1 << 20, CREW_S(9)), ==, -EMSGSIZE);
        REQUIRE_OK(crew_queue_close(q));
        CHECK_INT(crew_queue_reserve(q, &at, 1, CREW_S(9)), ==, -EPIPE);
}

TEST(reserve_limits, "a reservation waits for room and keeps to the message size", "[unit][queue]")
{
        crew_auto(queue) q = make(1, CREW_OPT(queue, .message_size = 8, .flags = BOTH));
        int64_t began;
        void *at;

        CHECK_INT(crew_queue_reserve(q, &at, 7, CREW_NOW), ==, -EBADMSG);
        REQUIRE_OK(crew_queue_reserve(q, &at, 8, CREW_NOW));
        CHECK_INT(crew_queue_commit(q, 7), ==, -EBADMSG);
        CHECK_INT(crew_queue_commit(q, 8), ==, 0);
        CHECK_INT(crew_queue_reserve(q, &at, 8, CREW_NOW), ==, -EAGAIN);
        began = peer_now();
        CHECK_INT(crew_queue_reserve(q, &at, 8, CREW_MS(50)), ==, -ETIMEDOUT);
        CHECK_INT(peer_now() - began, >=, CREW_MS(50));
        CHECK_INT(crew_queue_abort(q), ==, -EINVAL);
}

TEST(peek, "a message is read in place and taken at its release", "[unit][queue]")
{
        crew_auto(queue) q = make(0, CREW_OPT(queue, .flags = CREW_QUEUE_SINGLE_CONSUMER));
        const void *at = NULL, *second = &at;

        CHECK_INT(crew_queue_peek(q, &at, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_queue_peek(q, &at, CREW_MS(5)), ==, -ETIMEDOUT);
        CHECK(at == NULL);
        CHECK_INT(crew_queue_release(q, true), ==, -EINVAL);
        REQUIRE_OK(crew_queue_put(q, "first", 6, CREW_NOW));
        REQUIRE_OK(crew_queue_put(q, "second", 7, CREW_NOW));
        CHECK_INT(crew_queue_peek(q, &at, CREW_NOW), ==, 6);
        CHECK_STR((const char *)at, "first");
        CHECK_INT((uintptr_t)at % 8, ==, 0);
        CHECK_INT(crew_queue_peek(q, &second, CREW_S(9)), ==, -EBUSY);
        CHECK_INT(crew_queue_count(q), ==, 2);
        CHECK_INT(crew_queue_release(q, false), ==, 0);
        CHECK_INT(crew_queue_release(q, false), ==, -EINVAL);
        CHECK_INT(crew_queue_count(q), ==, 2);
        CHECK_INT(crew_queue_peek(q, &at, CREW_FOREVER), ==, 6);
        CHECK_INT(crew_queue_release(q, true), ==, 0);
        CHECK_INT(crew_queue_count(q), ==, 1);
        REQUIRE_OK(crew_queue_close(q));
        CHECK_INT(crew_queue_peek(q, &at, CREW_FOREVER), ==, 7);
        CHECK_INT(crew_queue_release(q, true), ==, 0);
        CHECK_INT(crew_queue_peek(q, &at, CREW_FOREVER), ==, -EPIPE);
}

TEST(undeclared, "zero copy is refused on a side that several may use", "[unit][queue]")
{
        crew_auto(queue) producer = make(0, CREW_OPT(queue, .flags = CREW_QUEUE_SINGLE_PRODUCER));
        crew_auto(queue) consumer = make(0, CREW_OPT(queue, .flags = CREW_QUEUE_SINGLE_CONSUMER));
        const void *seen;
        void *at;

        REQUIRE_OK(crew_queue_put(producer, "x", 1, CREW_NOW));
        CHECK_INT(crew_queue_peek(producer, &seen, CREW_S(9)), ==, -EOPNOTSUPP);
        CHECK(strstr(crew_error_detail(), "CREW_QUEUE_SINGLE_CONSUMER") != NULL);
        CHECK_INT(crew_queue_reserve(consumer, &at, 1, CREW_S(9)), ==, -EOPNOTSUPP);
        CHECK(strstr(crew_error_detail(), "CREW_QUEUE_SINGLE_PRODUCER") != NULL);
}

/* The model: sizes and seeds of what is queued. */
struct model {
        size_t size[4096];
        unsigned char first[4096];
        unsigned head, tail;
        size_t bytes;
        unsigned char next;
};

static void model_put(struct model *m, size_t size)
{
        m->size[m->tail % 4096] = size;
        m->first[m->tail++ % 4096] = m->next;
        m->bytes += (size + 15) / 8 * 8;
}

static void model_get(struct model *m, const void *data, size_t size)
{
        const unsigned char *p = data;

        REQUIRE(m->head != m->tail);
        CHECK_INT(size, ==, m->size[m->head % 4096]);
        for (size_t i = 0; i < size; i++)
                REQUIRE(p[i] == (unsigned char)(m->first[m->head % 4096] + i));
        m->bytes -= (size + 15) / 8 * 8;
        m->head++;
}

static void write_next(struct model *m, unsigned char *p, size_t size)
{
        m->next = (unsigned char)(m->next + 37);
        for (size_t i = 0; i < size; i++)
                p[i] = (unsigned char)(m->next + i);
}

static void one_step(crew_queue *q, struct model *m, uint64_t r, size_t ring)
{
        static _Alignas(8) unsigned char buf[1 << 16];
        size_t size = (r >> 8) % (ring / 3);
        bool fits = m->bytes + (size + 15) / 8 * 8 <= ring;
        struct iovec in[5];
        const void *seen;
        void *at;
        int n;

        switch (r % 6) {
        case 0:
                write_next(m, buf, size);
                CHECK_INT(crew_queue_put(q, buf, size, CREW_NOW), ==, fits ? 0 : -EAGAIN);
                if (fits)
                        model_put(m, size);
                break;
        case 1:
                CHECK_INT(crew_queue_reserve(q, &at, size, CREW_NOW), ==, fits ? 0 : -EAGAIN);
                if (!fits)
                        break;
                write_next(m, at, size);
                if (r >> 60 < 3) {
                        REQUIRE_OK(crew_queue_abort(q));
                        break;
                }
                size -= size ? (r >> 40) % size : 0;
                REQUIRE_OK(crew_queue_commit(q, size));
                model_put(m, size);
                break;
        case 2:
                n = (int)crew_queue_get(q, buf, sizeof buf, CREW_NOW);
                CHECK_INT(n < 0, ==, m->head == m->tail);
                if (n >= 0)
                        model_get(m, buf, (size_t)n);
                break;
        case 3:
                n = (int)crew_queue_peek(q, &seen, CREW_NOW);
                CHECK_INT(n < 0, ==, m->head == m->tail);
                if (n < 0)
                        break;
                if (r >> 63)
                        model_get(m, seen, (size_t)n);
                REQUIRE_OK(crew_queue_release(q, r >> 63));
                break;
        case 4:
                n = crew_queue_get_many(q, buf, sizeof buf, in, 1 + (unsigned)(r >> 62), CREW_NOW);
                CHECK_INT(n < 0, ==, m->head == m->tail);
                for (int i = 0; i < n; i++)
                        model_get(m, in[i].iov_base, in[i].iov_len);
                break;
        default:
                write_next(m, buf, 64);
                for (int i = 0; i < 4; i++)
                        in[i] = (struct iovec){buf, (size_t)(r >> (8 + i * 6)) % 64};
                n = crew_queue_put_many(q, in, 4, CREW_NOW);
                for (int i = 0; i < n; i++)
                        model_put(m, in[i].iov_len);
                CHECK(n == 4 || m->bytes + (in[n < 0 ? 0 : n].iov_len + 15) / 8 * 8 > ring);
                break;
        }
        CHECK_INT(crew_queue_count(q), ==, m->tail - m->head);
        CHECK_INT(crew_queue_bytes(q), ==, m->bytes);
}

TEST(model, "random calls do what a list would do", "[unit][queue]")
{
        uint64_t random = peer_seed();

        for (unsigned flags = 0; flags <= BOTH; flags += BOTH) {
                crew_auto(queue) q = make(0, CREW_OPT(queue, .bytes = 8184, .flags = BOTH));
                size_t ring = page() > 8192 ? page() : 8192;
                struct model *m = calloc(1, sizeof *m);

                REQUIRE(m);
                for (long long i = 0; i < test_scale(2000000, 20000); i++)
                        one_step(q, m, peer_random(&random), ring);
                free(m);
        }
}

TEST(in_place_excludes_copies, "while a message is written or read in place, copies are refused",
        "[unit][queue]")
{
        crew_queue *q = NULL;
        const void *read_at;
        void *write_at;
        int n = 7;

        REQUIRE_OK(crew_queue_new(&q, 0,
                CREW_OPT(queue, .flags = CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER)));
        REQUIRE_OK(crew_queue_reserve(q, &write_at, sizeof n, CREW_NOW));
        CHECK_INT(CREW_PUT(q, &n, CREW_NOW), ==, -EBUSY);
        REQUIRE_OK(crew_queue_abort(q));
        REQUIRE_OK(CREW_PUT(q, &n, CREW_NOW));
        REQUIRE_OK(crew_queue_peek(q, &read_at, CREW_NOW));
        CHECK_INT(CREW_GET(q, &n, CREW_NOW), ==, -EBUSY);
        REQUIRE_OK(crew_queue_release(q, false));
        REQUIRE_OK(CREW_GET(q, &n, CREW_NOW));
        CHECK_INT(n, ==, 7);
        crew_queue_free(q);
}
