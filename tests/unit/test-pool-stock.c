/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "peer.h"

#include "pool/stock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

TEST(again, "what was given back is taken again, newest first", "[unit][pool]")
{
        crew__stock *s = crew__stock_new();
        void *a, *b;

        REQUIRE(s != NULL);
        a = crew__stock_take(s);
        b = crew__stock_take(s);
        REQUIRE(a && b && a != b);
        memset(a, 0xa5, CREW__STOCK_BLOCK);
        memset(b, 0x5a, CREW__STOCK_BLOCK);
        crew__stock_give(s, a);
        crew__stock_give(s, b);
        if (CREW__STOCK_KEEPS) {
                CHECK(crew__stock_take(s) == b);
                CHECK(crew__stock_take(s) == a);
                CHECK_INT(s->made, ==, 2);
                crew__stock_give(s, b);
                crew__stock_give(s, a);
        }
        crew__stock_close(s);
}

TEST(bound, "no more is kept than said", "[unit][pool]")
{
        enum { N = 20000 };
        crew__stock *s = crew__stock_new();
        void **blocks = calloc(N, sizeof *blocks);

        REQUIRE(s && blocks);
        for (int round = 0; round < 3; round++) {
                for (int i = 0; i < N; i++)
                        REQUIRE((blocks[i] = crew__stock_take(s)) != NULL);
                CHECK_INT(s->made, ==, N);
                CHECK_INT(s->out, ==, N + 1);
                for (int i = 0; i < N; i++)
                        crew__stock_give(s, blocks[i]);
                CHECK_INT(s->made, ==, CREW__STOCK_KEEPS);
                CHECK_INT(s->out, ==, 1);
        }
        free(blocks);
        crew__stock_close(s);
}

/* A sanitizer or valgrind sees what is left, or used again. */
TEST(outlived, "blocks that outlive the pool take the stock with them", "[unit][pool]")
{
        crew__stock *s = crew__stock_new();
        void *block[4];

        REQUIRE(s != NULL);
        for (int i = 0; i < 4; i++)
                REQUIRE((block[i] = crew__stock_take(s)) != NULL);
        for (int i = 0; i < 3; i++)
                crew__stock_give(s, block[i]);
        /* Of the three one is out now, and one came back after the others were taken in. */
        block[0] = crew__stock_take(s);
        block[1] = crew__stock_take(s);
        REQUIRE(block[0] && block[1]);
        crew__stock_give(s, block[1]);
        crew__stock_close(s);
        CHECK(s->ready == NULL);
        crew__stock_give(s, block[0]);
        CHECK(s->returned == NULL);
        memset(block[3], 0xff, CREW__STOCK_BLOCK);
        crew__stock_give(s, block[3]);
        crew__stock_close(NULL);
}

enum { THREADS = 4, SLOTS = 64 };

/* Blocks wander from thread to thread over the slots; each is one thread's at a time. */
struct wanderer {
        _Atomic unsigned steps;
};
static _Atomic(struct wanderer *) slot[SLOTS];
static _Atomic unsigned shared;

static void *wander(void *stock)
{
        static _Atomic uint64_t threads;
        uint64_t random = peer_seed() + atomic_fetch_add(&threads, 1);
        long long n = test_scale(10000000, 100000);

        for (long long i = 0; i < n; i++) {
                struct wanderer *block = crew__stock_take(stock), *old;

                if (!block)
                        abort();
                atomic_store_explicit(&block->steps, 0, memory_order_relaxed);
                if (atomic_fetch_add_explicit(&block->steps, 1, memory_order_relaxed) != 0)
                        (void)atomic_fetch_add(&shared, 1);
                old = atomic_exchange(&slot[peer_random(&random) % SLOTS], block);
                if (!old)
                        continue;
                if (atomic_fetch_add_explicit(&old->steps, 1, memory_order_relaxed) != 1)
                        (void)atomic_fetch_add(&shared, 1);
                crew__stock_give(stock, old);
        }
        return NULL;
}

TEST(threads, "no block is two threads' at once", "[unit][pool]")
{
        crew__stock *s = crew__stock_new();
        pthread_t thread[THREADS];

        TEST_DEADLINE(600);
        REQUIRE(s != NULL);
        for (int i = 0; i < THREADS; i++)
                REQUIRE(pthread_create(&thread[i], NULL, wander, s) == 0);
        for (int i = 0; i < THREADS; i++)
                REQUIRE(pthread_join(thread[i], NULL) == 0);
        CHECK_INT(shared, ==, 0);
        CHECK_INT(s->made, <=, SLOTS + 2 * THREADS + CREW__STOCK_KEEPS);
        crew__stock_close(s);
        for (int i = 0; i < SLOTS; i++) {
                if (slot[i])
                        crew__stock_give(s, atomic_load(&slot[i]));
        }
}
