/* SPDX-License-Identifier: MIT */

/*
 * What CPython's Lib/test/_test_multiprocessing.py asks of a Pool's imap and imap_unordered. The
 * table from its cases to these is in docs/TESTING.md.
 */

#include "pool-gate.h"

POOL_WARM_UP

struct numbers {
        int64_t next, end;
        int64_t broken; /* the number in whose place the source fails; -1: none */
        int64_t value;
};

static int number(void *user, const void **item, size_t *size)
{
        struct numbers *n = user;

        if (n->next == n->broken)
                return -EILSEQ;
        if (n->next == n->end)
                return 0;
        n->value = n->next++;
        *item = &n->value;
        *size = sizeof n->value;
        return 1;
}

static struct numbers up_to(int64_t end)
{
        return (struct numbers){ .end = end, .broken = -1 };
}

CREW_TASK(square, int64_t, int64_t)
(crew_task *t, const int64_t *in, int64_t *out)
{
        if (*in < 0)
                return crew_task_fail(t, -EDOM, "negative");
        *out = *in * *in;
        return 0;
}

/* Fails for every fifth number. */
CREW_TASK(picky, int64_t, int64_t)
(crew_task *t, const int64_t *in, int64_t *out)
{
        if (*in % 5 == 3)
                return crew_task_fail(t, -EDOM, "not %d", (int)*in);
        *out = *in;
        return 0;
}

static int64_t value_of(const crew_item *item)
{
        int64_t value = -1;

        if (item->status == CREW_OK && CHECK_INT(item->size, ==, sizeof value))
                memcpy(&value, item->data, sizeof value);
        return value;
}

static void check_in_order(crew_pool *p, int64_t n, const crew_task_options *o)
{
        struct numbers source = up_to(n);
        crew_auto(imap) it = NULL;
        crew_item item;
        int64_t wrong = 0;

        REQUIRE_OK(crew_pool_imap(p, square, number, &source, &it, o));
        for (int64_t i = 0; i < n; i++) {
                REQUIRE(crew_imap_next(it, &item, CREW_S(10)) == 1);
                wrong += item.index != (size_t)i || value_of(&item) != i * i;
        }
        CHECK_INT(wrong, ==, 0);
        CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 0);
        CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 0);
}

TEST_POOLS(
        imap, "imap yields 10 squares in order and then its end, again and again", "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);

        check_in_order(p, 10, NULL);
}

TEST_POOLS(imap_chunks, "imap yields 1000 squares in order with chunks of 100", "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);

        check_in_order(p, 1000, CREW_OPT(task, .chunk = 100));
        check_in_order(p, 1000, CREW_OPT(task, .window = 100));
        check_in_order(p, 1000, CREW_OPT(task, .window = 1));
}

static void check_multiset(crew_pool *p, const crew_task_options *o)
{
        struct numbers source = up_to(1000);
        static bool seen[1000];
        crew_auto(imap) it = NULL;
        crew_item item;
        size_t wrong = 0;
        int r, n = 0;

        memset(seen, 0, sizeof seen);
        REQUIRE_OK(crew_pool_imap_unordered(p, square, number, &source, &it, o));
        while ((r = crew_imap_next(it, &item, CREW_S(10))) == 1) {
                int64_t index = (int64_t)item.index;

                wrong += index >= 1000 || seen[index] || value_of(&item) != index * index;
                seen[index % 1000] = true;
                n++;
        }
        CHECK_INT(r, ==, 0);
        CHECK_INT(n, ==, 1000);
        CHECK_INT(wrong, ==, 0);
}

TEST_POOLS(unordered, "imap_unordered yields each of 1000 squares once", "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);

        check_multiset(p, NULL);
        check_multiset(p, CREW_OPT(task, .window = 100, .chunk = 100));
}

static void check_source_error(crew_pool *p, int64_t broken, bool unordered)
{
        struct numbers source = { .end = 20, .broken = broken };
        crew_auto(imap) it = NULL;
        crew_item item;
        int64_t n = 0;
        int r;

        if (unordered)
                REQUIRE_OK(crew_pool_imap_unordered(p, square, number, &source, &it, NULL));
        else
                REQUIRE_OK(crew_pool_imap(p, square, number, &source, &it, NULL));
        while ((r = crew_imap_next(it, &item, CREW_S(10))) == 1) {
                int64_t at = unordered ? (int64_t)item.index : n;

                CHECK_INT(value_of(&item), ==, at * at);
                n++;
        }
        CHECK_INT(r, ==, -EILSEQ);
        CHECK_INT(n, ==, broken);
        CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 0);
}

TEST(source_errors, "a source that fails first or in the middle: what came before comes first",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);

        for (int again = 0; again < 2; again++) {
                for (int unordered = 0; unordered < 2; unordered++) {
                        check_source_error(p, 0, unordered);
                        check_source_error(p, 7, unordered);
                }
        }
        CHECK_INT(twice(p, 2), ==, 4);
}

static void check_item_errors(crew_pool *p, bool unordered)
{
        struct numbers source = up_to(20);
        crew_auto(imap) it = NULL;
        crew_item item;
        int n = 0, failed = 0, r;

        if (unordered)
                REQUIRE_OK(crew_pool_imap_unordered(p, picky, number, &source, &it, NULL));
        else
                REQUIRE_OK(crew_pool_imap(p, picky, number, &source, &it, NULL));
        while ((r = crew_imap_next(it, &item, CREW_S(10))) == 1) {
                if (!unordered)
                        CHECK_INT(item.index, ==, n);
                n++;
                if (item.index % 5 != 3) {
                        CHECK_INT(value_of(&item), ==, item.index);
                        continue;
                }
                CHECK_INT(item.status, ==, CREW_FAILED);
                REQUIRE(item.failure != NULL);
                CHECK_INT(item.failure->code, ==, -EDOM);
                CHECK(strstr(item.failure->message, "not "));
                failed++;
        }
        CHECK_INT(r, ==, 0);
        CHECK_INT(n, ==, 20);
        CHECK_INT(failed, ==, 4);
}

TEST_POOLS(item_errors, "an item that fails is reported in its place and the others follow",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);

        check_item_errors(p, false);
        check_item_errors(p, true);
}

TEST(empty_iterable, "map, imap, imap_unordered and async map of nothing end at once",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(4, NULL);
        struct numbers none = up_to(0);
        crew_auto(imap) ordered = NULL;
        crew_auto(imap) unordered = NULL;
        crew_auto(result) r = NULL;
        crew_item item;

        REQUIRE_OK(square_map(p, NULL, 0, NULL, CREW_S(1), NULL));
        REQUIRE_OK(crew_pool_imap(p, square, number, &none, &ordered, NULL));
        CHECK_INT(crew_imap_next(ordered, &item, CREW_S(1)), ==, 0);
        REQUIRE_OK(crew_pool_imap_unordered(p, square, number, &none, &unordered, NULL));
        CHECK_INT(crew_imap_next(unordered, &item, CREW_S(1)), ==, 0);
        REQUIRE_OK(crew_pool_map_async(p, square, NULL, 0, 8, NULL, 8, &r, NULL));
        CHECK(crew_result_ready(r));
}

TEST_POOLS(left_half_way, "an imap that is left half-way does not hold up close and join",
        "[live][pool]")
{
        for (int unordered = 0; unordered < 2; unordered++) {
                crew_auto(pool) p = new_pool(2, NULL);
                struct numbers source = up_to(100000);
                crew_auto(imap) it = NULL;
                crew_item item;

                if (unordered)
                        REQUIRE_OK(crew_pool_imap_unordered(p, square, number, &source, &it, NULL));
                else
                        REQUIRE_OK(crew_pool_imap(p, square, number, &source, &it, NULL));
                for (int i = 0; i < 10; i++)
                        CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 1);
                CHECK_INT(crew_pool_close(p), ==, 0);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
                CHECK_INT(source.next, <=, 10 + 8);
        }
}

TEST(after_close, "an imap whose pool was closed yields what was under way, then says so",
        "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        struct numbers source = up_to(100000);
        crew_auto(imap) it = NULL;
        crew_item item;
        int r, n = 1;

        REQUIRE_OK(crew_pool_imap(p, square, number, &source, &it, NULL));
        CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 1);
        CHECK_INT(crew_pool_close(p), ==, 0);
        while ((r = crew_imap_next(it, &item, CREW_S(10))) == 1)
                CHECK_INT(item.index, ==, n++);
        CHECK_INT(r, ==, -ESHUTDOWN);
        CHECK_INT(n, ==, source.next);
}

TEST_POOLS(after_terminate, "an imap whose pool was terminated ends without a hang", "[live][pool]")
{
        for (int unordered = 0; unordered < 2; unordered++) {
                crew_auto(pool) p = new_pool(2, NULL);
                struct numbers source = up_to(100000);
                crew_auto(imap) it = NULL;
                crew_item item;
                int r;

                if (unordered)
                        REQUIRE_OK(crew_pool_imap_unordered(p, square, number, &source, &it, NULL));
                else
                        REQUIRE_OK(crew_pool_imap(p, square, number, &source, &it, NULL));
                CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 1);
                CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
                while ((r = crew_imap_next(it, &item, CREW_S(10))) == 1)
                        ;
                CHECK_INT(r, ==, -ESHUTDOWN);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), >=, 0);
        }
}

/* The workers are forks. */
static struct gate gate;

/* The first item ends when it is let. */
static int task_first_slow(crew_task *t, const void *arg, size_t size)
{
        struct gated first = { gate.kept[0], gate.kept[1], 0 };

        (void)size;
        return *(const int64_t *)arg == 0 ? task_gated(t, &first, sizeof first) : 0;
}

TEST(unordered_slow_first, "a slow first item holds up imap but not imap_unordered", "[live][pool]")
{
        struct numbers a = up_to(8), b = up_to(8);
        crew_imap *ordered = NULL, *unordered = NULL;
        crew_item item;
        crew_pool *p;

        gate_new(&gate);
        p = new_pool(2, CREW_OPT(pool, GATE_KEPT(&gate)));
        REQUIRE_OK(crew_pool_imap(p, task_first_slow, number, &a, &ordered, NULL));
        CHECK_INT(crew_imap_next(ordered, &item, CREW_MS(50)), ==, -ETIMEDOUT);
        gate_open(&gate, 1);
        CHECK_INT(crew_imap_next(ordered, &item, CREW_S(10)), ==, 1);
        CHECK_INT(item.index, ==, 0);
        REQUIRE_OK(crew_pool_imap_unordered(p, task_first_slow, number, &b, &unordered, NULL));
        CHECK_INT(crew_imap_next(unordered, &item, CREW_S(10)), ==, 1);
        CHECK_INT(item.index, !=, 0);
        (void)crew_imap_free(ordered);
        (void)crew_imap_free(unordered);
        (void)crew_pool_free(p);
        gate_free(&gate);
}
