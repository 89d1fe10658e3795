/* SPDX-License-Identifier: MIT */

/* Imaps whose items go through the lanes in chunks: what ends, fails and is returned is the item.
 */

#include "pool-order.h"

POOL_WARM_UP

struct source {
        struct order order;
        int end;               /* items; INT_MAX: endless */
        int every, offset, as; /* which end so */
        int error;             /* instead of the end */
        int pause;             /* ms before each */
        crew_queue *log;
};

enum { WAITS_AT = 20 };

static int next_order(void *user, const void **item, size_t *size)
{
        struct source *s = user;
        int logged;

        /* Slow: and long after the first item was due it waits for that to run. */
        if (s->pause)
                pause_ms(s->pause);
        if (s->pause && s->order.number + 1 == WAITS_AT)
                CHECK_INT(
                        crew_queue_get_exact(s->log, &logged, sizeof logged, test_slow(CREW_S(10))),
                        ==, 0);
        if (s->order.number + 1 == s->end)
                return s->error;
        s->order.number++;
        s->order.end = s->every && s->order.number % s->every == s->offset ? s->as : 0;
        *item = &s->order;
        *size = sizeof s->order;
        return 1;
}

static struct source orders(crew_queue *log, int end)
{
        return (struct source){
                .order = { .log = log ? crew_queue_ref(log) : no_log, .number = -1 },
                .end = end,
                .log = log,
        };
}

static crew_imap *start(crew_pool *p, struct source *s, bool unordered, const crew_task_options *o)
{
        crew_imap *it = NULL;

        REQUIRE_OK((unordered ? crew_pool_imap_unordered : crew_pool_imap)(
                p, task_order, next_order, s, &it, o));
        return it;
}

/* So that the pool knows their pace and makes batches. */
static void warm_up(crew_pool *p)
{
        struct source s = orders(NULL, 2000);
        crew_auto(imap) it = start(p, &s, false, CREW_OPT(task, .chunk = 8));
        crew_item item;
        int n = 0;

        while (crew_imap_next(it, &item, CREW_S(10)) == 1)
                n++;
        CHECK_INT(n, ==, 2000);
}

static crew_pool *prepare(crew_queue **log, unsigned workers, crew_pool_options o)
{
        crew_pool *p = new_order_pool(log, workers, o);

        warm_up(p);
        return p;
}

enum { ITEMS = 1000 };

/* Each item once, in order if that is asked for, each with its own end; `runs`: who ends early. */
static void check_all(
        crew_pool *p, struct source s, bool unordered, const crew_task_options *o, int runs)
{
        static bool seen[ITEMS];
        static int ran[ITEMS];
        crew_auto(imap) it = NULL;
        crew_item item;
        struct answer answer;
        int n = 0, wrong = 0, number, r;

        memset(seen, 0, sizeof seen);
        memset(ran, 0, sizeof ran);
        it = start(p, &s, unordered, o);
        while ((r = crew_imap_next(it, &item, CREW_S(20))) == 1) {
                int i = (int)item.index, end = s.every && i % s.every == s.offset ? s.as : 0;

                REQUIRE(i < ITEMS && !seen[i]);
                seen[i] = true;
                wrong += (!unordered && i != n) || item.status != reason_of[end];
                if (item.status == CREW_OK && CHECK_INT(item.size, ==, sizeof answer)) {
                        memcpy(&answer, item.data, sizeof answer);
                        wrong += answer.number != i || answer.attempt != 1;
                } else if (item.status != CREW_OK) {
                        wrong += item.failure->item != item.index;
                        wrong += item.failure->reason != item.status;
                }
                n++;
        }
        CHECK_INT(r, ==, s.error);
        CHECK_INT(n, ==, s.end);
        CHECK_INT(wrong, ==, 0);
        if (!s.log)
                return;
        while (crew_queue_get_exact(s.log, &number, sizeof number, CREW_NOW) == 0)
                ran[number]++;
        wrong = 0;
        for (int i = 0; i < s.end; i++)
                wrong += ran[i] != (s.every && i % s.every == s.offset ? runs : 1);
        CHECK_INT(wrong, ==, 0);
}

TEST(order, "chunks of any size are returned item by item, in order or not", "[live][pool][chunk]")
{
        static const size_t sizes[] = { 2, 7, 64, 333, ITEMS, SIZE_MAX };
        crew_auto(pool) p = new_pool(2, NULL);

        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                for (int unordered = 0; unordered < 2; unordered++)
                        check_all(p, orders(NULL, ITEMS - 3), unordered,
                                CREW_OPT(task, .chunk = sizes[i]), 1);
        }
        check_all(p, orders(NULL, 5), false, CREW_OPT(task, .chunk = 64), 1);
        check_all(p, orders(NULL, 0), false, CREW_OPT(task, .chunk = 64), 1);
}

static int first_within(crew_pool *p, size_t chunk, size_t window, int64_t timeout)
{
        struct source s = orders(NULL, 4);
        crew_auto(imap) it = NULL;
        crew_item item;

        s.every = 4;
        s.offset = 2;
        s.as = SLEEPS;
        it = start(p, &s, false, CREW_OPT(task, .chunk = chunk, .window = window));
        return crew_imap_next(it, &item, timeout);
}

TEST(record, "a chunk goes to a worker at once, and a chunk of one alone", "[live][pool][chunk]")
{
        crew_auto(pool) p = new_pool(1, NULL);
        int r = 1;

        /* What a batch has done is shown when it ends, and its third item does not. Whoever is kept
         * from running while a chunk is gathered sends what there is of it. */
        for (int i = 0; i < 5 && r == 1; i++) {
                warm_up(p);
                r = first_within(p, 8, 0, CREW_MS(200));
        }
        CHECK_INT(r, ==, -ETIMEDOUT);
        warm_up(p);
        CHECK_INT(first_within(p, 1, 0, CREW_S(5)), ==, 1);
        warm_up(p);
        CHECK_INT(first_within(p, 0, 0, CREW_S(5)), ==, 1);
        /* A window this small leaves no more for a chunk. */
        warm_up(p);
        CHECK_INT(first_within(p, 8, 3, CREW_S(5)), ==, 1);
}

TEST(failures, "an item of a chunk that fails fails alone", "[live][pool][chunk]")
{
        crew_queue *log = NULL;
        crew_pool *p = prepare(&log, 2, (crew_pool_options){ 0 });
        struct source s = orders(log, ITEMS);
        crew_imap *it;
        crew_item item;

        s.every = 17;
        s.offset = 5;
        s.as = FAILS;
        check_all(p, s, false, CREW_OPT(task, .chunk = 50), 1);
        check_all(p, s, true, CREW_OPT(task, .chunk = 50), 1);
        it = start(p, &s, false, CREW_OPT(task, .chunk = 50));
        for (int i = 0; i < 6; i++)
                REQUIRE(crew_imap_next(it, &item, CREW_S(10)) == 1);
        CHECK_INT(item.status, ==, CREW_FAILED);
        CHECK_INT(item.failure->code, ==, -EDOM);
        CHECK_STR(item.failure->message, "task, item 5: order 5");
        (void)crew_imap_free(it);
        (void)crew_pool_free(p);
        (void)crew_queue_free(log);
}

TEST(deaths, "who dies in a chunk takes no other item with it, and none runs twice",
        "[live][pool][chunk]")
{
        crew_queue *log = NULL;
        crew_pool *p = prepare(&log, 2, (crew_pool_options){ 0 });
        struct source s = orders(log, ITEMS);

        s.every = 97;
        s.offset = 13;
        s.as = DIES;
        check_all(p, s, false, CREW_OPT(task, .chunk = 64), 1);
        check_all(p, s, true, CREW_OPT(task, .chunk = 64), 1);
        (void)crew_pool_free(p);
        (void)crew_queue_free(log);
}

TEST(retries, "only the item that died is tried again", "[live][pool][chunk]")
{
        crew_queue *log = NULL;
        crew_pool *p = prepare(&log, 2, (crew_pool_options){ .on_death = CREW_DEATH_RETRY });
        struct source s = orders(log, ITEMS);

        s.every = 301;
        s.offset = 7;
        s.as = DIES;
        check_all(p, s, false, CREW_OPT(task, .chunk = 64, .retries = 2), 3);
        (void)crew_pool_free(p);
        (void)crew_queue_free(log);
}

TEST(deadlines, "the late item of a chunk is ended, and nothing else", "[live][pool][chunk]")
{
        crew_queue *log = NULL;
        crew_pool *p = prepare(&log, 2, (crew_pool_options){ 0 });
        struct source s = orders(log, ITEMS);

        s.every = 400;
        s.offset = 100;
        s.as = SLEEPS;
        /* No other item may be kept from running for so long. */
        check_all(p, s, false,
                CREW_OPT(task, .chunk = 64, .deadline = CREW_S(1) + test_slow(CREW_MS(150))), 1);
        (void)crew_pool_free(p);
        (void)crew_queue_free(log);
}

TEST(stuck, "what is behind a stuck item of its chunk runs elsewhere", "[live][pool][chunk]")
{
        crew_queue *log = NULL;
        crew_pool *p = prepare(&log, 2, (crew_pool_options){ 0 });
        struct source s = orders(NULL, 500);
        crew_imap *it;
        crew_item item;
        int n = 0;

        s.every = 500;
        s.as = SLEEPS;
        it = start(p, &s, true, CREW_OPT(task, .chunk = 64));
        while (n < 499 && crew_imap_next(it, &item, CREW_S(8)) == 1) {
                CHECK_INT(item.index, !=, 0);
                n++;
        }
        CHECK_INT(n, ==, 499);
        CHECK_INT(crew_imap_next(it, &item, CREW_NOW), ==, -EAGAIN);
        (void)crew_imap_free(it);
        (void)crew_pool_free(p);
        (void)crew_queue_free(log);
}

/* How much the first call asks for. Less than a window if it was kept from running meanwhile: what
 * is gathered for long is sent, and what has ended is returned. */
static int first_pull(crew_pool *p, bool unordered, int most)
{
        int pulled = 0;

        for (int i = 0; i < 5 && pulled != most; i++) {
                struct source s = orders(NULL, INT_MAX);
                crew_auto(imap) it = start(p, &s, unordered, CREW_OPT(task, .chunk = 16));
                crew_item item;

                REQUIRE(crew_imap_next(it, &item, CREW_S(10)) == 1);
                pulled = s.order.number + 1;
        }
        return pulled;
}

TEST(window, "no more items are under way than the window has", "[live][pool][chunk]")
{
        static const size_t windows[] = { 0, 1, 7, 64, 1000 };
        crew_auto(pool) p = new_pool(2, NULL);

        for (size_t i = 0; i < 2 * sizeof windows / sizeof *windows; i++) {
                size_t window = windows[i / 2];
                int most = window ? (int)window : 4 * 2 * 16, over = 0;
                struct source s = orders(NULL, INT_MAX);
                crew_imap *it = start(p, &s, i % 2, CREW_OPT(task, .chunk = 16, .window = window));
                crew_item item;

                for (int n = 0; n < 3000; n++) {
                        REQUIRE(crew_imap_next(it, &item, CREW_S(10)) == 1);
                        over += s.order.number + 1 - n > most;
                }
                CHECK_INT(over, ==, 0);
                (void)crew_imap_free(it);
                if (!window)
                        CHECK_INT(first_pull(p, i % 2, most), ==, most);
        }
}

TEST(endless, "an endless imap can be left in the middle of a chunk", "[live][pool][chunk]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        crew_item item;

        for (int round = 0; round < 60; round++) {
                struct source s = orders(NULL, INT_MAX);
                crew_imap *it = start(p, &s, round % 2, CREW_OPT(task, .chunk = 16));

                for (int i = 0; i < 3 * round; i++)
                        REQUIRE(crew_imap_next(it, &item, CREW_S(10)) == 1);
                CHECK(crew_imap_free(it) == NULL);
        }
        CHECK_INT(stats_of(p).failed + stats_of(p).done, ==, stats_of(p).submitted);
        check_all(p, orders(NULL, ITEMS), false, CREW_OPT(task, .chunk = 16), 1);
        CHECK_INT(crew_pool_close(p), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
}

TEST(source_errors, "items before an error of the source are answered", "[live][pool][chunk]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        struct source s = orders(NULL, 70);

        s.error = -EILSEQ;
        check_all(p, s, false, CREW_OPT(task, .chunk = 64), 1);
        check_all(p, s, true, CREW_OPT(task, .chunk = 64), 1);
}

TEST(slow_source, "what a slow source yielded is not kept until its chunk is full",
        "[live][pool][chunk]")
{
        crew_queue *log = NULL;
        crew_pool *p = prepare(&log, 2, (crew_pool_options){ 0 });
        struct source s = orders(log, 2000);
        crew_imap *it;
        crew_item item;

        s.pause = 5;
        it = start(p, &s, false, CREW_OPT(task, .chunk = 1000));
        CHECK_INT(crew_imap_next(it, &item, CREW_S(20)), ==, 1);
        CHECK_INT(item.index, ==, 0);
        CHECK_INT(s.order.number, <, 999);
        (void)crew_imap_free(it);
        (void)crew_pool_free(p);
        (void)crew_queue_free(log);
}

TEST(ended_pool, "a pool that ends in the middle of a chunk answers for all of it",
        "[live][pool][chunk]")
{
        for (int way = 0; way < 4; way++) {
                crew_auto(pool) p = new_pool(2, NULL);
                struct source s = orders(NULL, INT_MAX);
                crew_auto(imap) it = NULL;
                crew_item item;
                int r, n = 1, cancelled = 0;

                s.every = 40;
                s.offset = 39;
                s.as = way / 2 ? SLEEPS : 0;
                it = start(p, &s, way % 2, CREW_OPT(task, .chunk = 16));
                CHECK_INT(crew_imap_next(it, &item, CREW_S(10)), ==, 1);
                if (way / 2)
                        CHECK_INT(crew_pool_terminate(p, 0), ==, 0);
                else
                        CHECK_INT(crew_pool_close(p), ==, 0);
                for (; (r = crew_imap_next(it, &item, CREW_S(10))) == 1; n++) {
                        cancelled += item.status == CREW_CANCELLED;
                        CHECK(item.status == CREW_OK || item.failure->message[0]);
                }
                CHECK_INT(r, ==, -ESHUTDOWN);
                CHECK_INT(n, ==, s.order.number + 1);
                if (way / 2 == 0)
                        CHECK_INT(cancelled, ==, 0);
                /* Who was kept from running may not have asked for what does not end by itself. */
                else if (s.order.number >= s.offset)
                        CHECK_INT(cancelled, >, 0);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
        }
}

/* What a source of texts has: runs of one size, and sizes that change. */
struct texts {
        int next, end;
        size_t most;
        char text[2048];
};

static size_t size_of(const struct texts *t, int i)
{
        return i % 10 < 6 ? t->most : (size_t)(i * 37) % (t->most + 1);
}

static int next_text(void *user, const void **item, size_t *size)
{
        struct texts *t = user;

        if (t->next == t->end)
                return 0;
        *size = size_of(t, t->next);
        memset(t->text, 'a' + t->next % 26, sizeof t->text);
        t->next++;
        *item = t->text;
        return 1;
}

static int task_echo(crew_task *t, const void *arg, size_t size)
{
        return crew_task_return(t, arg, size);
}

static void check_texts(crew_pool *p, size_t most, bool unordered)
{
        struct texts t = { .end = 500, .most = most };
        crew_auto(imap) it = NULL;
        crew_item item;
        int n = 0, wrong = 0;

        REQUIRE_OK((unordered ? crew_pool_imap_unordered : crew_pool_imap)(
                p, task_echo, next_text, &t, &it, CREW_OPT(task, .chunk = 100)));
        while (crew_imap_next(it, &item, CREW_S(10)) == 1) {
                size_t size = size_of(&t, (int)item.index);

                n++;
                wrong += item.status != CREW_OK || item.size != size;
                wrong += (uintptr_t)item.data % 16 != 0;
                for (size_t i = 0; i < size && i < item.size; i++)
                        wrong += ((const char *)item.data)[i] != 'a' + (int)item.index % 26;
        }
        CHECK_INT(n, ==, 500);
        CHECK_INT(wrong, ==, 0);
}

TEST(lane, "a chunk that is larger than a lane is cut into what fits", "[live][pool][chunk]")
{
        static const size_t lanes[] = { 1, 40, 200, 2000 };

        for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
                crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .lane_bytes = lanes[i]));

                for (int round = 0; round < 4; round++)
                        check_texts(p, lanes[i], round % 2);
        }
}

TEST(lane_too_small, "an item that fits into no lane ends the imap behind those before it",
        "[live][pool][chunk]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .lane_bytes = 200));
        /* Four that are smaller, and then the largest. */
        struct texts t = { .next = 6, .end = 500, .most = 201 };
        crew_auto(imap) it = NULL;
        crew_item item;
        int n = 0, r;

        REQUIRE_OK(crew_pool_imap(p, task_echo, next_text, &t, &it, CREW_OPT(task, .chunk = 100)));
        while ((r = crew_imap_next(it, &item, CREW_S(10))) == 1)
                n++;
        CHECK_INT(n, ==, 4);
        CHECK_INT(r, ==, -EMSGSIZE);
}

static void count_done(crew_result *r, void *user)
{
        int answer[2], *n = user;

        if (crew_result_get(r, answer, sizeof answer, CREW_NOW) == sizeof answer)
                ++*n;
}

TEST(callback, "a callback has one result to look at", "[live][pool][chunk]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        int n = 0;

        check_all(p, orders(NULL, 300), false,
                CREW_OPT(task, .chunk = 50, .done = count_done, .user = &n), 1);
        CHECK_INT(n, ==, 300);
}
