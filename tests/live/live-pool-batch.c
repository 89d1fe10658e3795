/* SPDX-License-Identifier: MIT */

/* Maps whose items go through the lanes in batches: the item stays what runs, fails and is late. */

#include "pool-order.h"

POOL_WARM_UP

enum { ITEMS = 2000 };

struct work {
        crew_queue *log;
        struct order in[ITEMS];
        struct answer out[ITEMS];
        int status[ITEMS], runs[ITEMS];
};

/* All end well once, so that the pool knows their pace and makes batches. */
static crew_pool *prepare(struct work *w, unsigned workers, crew_pool_options o)
{
        crew_pool *p = new_order_pool(&w->log, workers, o);
        crew_ref ref = crew_queue_ref(w->log);

        for (int i = 0; i < ITEMS; i++)
                w->in[i] = (struct order){ .log = ref, .number = i };
        CHECK_INT(crew_pool_map(p, task_order, w->in, ITEMS, sizeof *w->in, w->out, sizeof *w->out,
                          CREW_S(20), NULL),
                ==, 0);
        return p;
}

static void count_runs(struct work *w)
{
        int number = 0;

        memset(w->runs, 0, sizeof w->runs);
        while (crew_queue_get_exact(w->log, &number, sizeof number, CREW_NOW) == 0) {
                REQUIRE(number >= 0 && number < ITEMS);
                w->runs[number]++;
        }
}

/* Each item once, and each with its own end. */
static void check_ends(struct work *w)
{
        int wrong = 0;

        count_runs(w);
        for (int i = 0; i < ITEMS; i++) {
                int reason = reason_of[w->in[i].end];
                const struct answer *out = &w->out[i];
                bool right = w->status[i] == reason && w->runs[i] == 1 &&
                             (reason || (out->number == i && out->attempt == 1));

                if (!right && wrong++ < 5)
                        INFO("item %d: status %d, expected %d; ran %d times; attempt %d", i,
                                w->status[i], reason, w->runs[i], out->attempt);
        }
        CHECK_INT(wrong, ==, 0);
}

static int run(crew_pool *p, struct work *w, const crew_task_options *o)
{
        count_runs(w);
        memset(w->out, 0x55, sizeof w->out);
        memset(w->status, 0x55, sizeof w->status);
        return crew_pool_map(
                p, task_order, w->in, ITEMS, sizeof *w->in, w->out, sizeof *w->out, CREW_S(60), o);
}

TEST(deaths, "who dies in a batch takes no other item with it, and none runs twice",
        "[live][pool][batch]")
{
        static struct work w;
        crew_pool *p = prepare(&w, 2, (crew_pool_options){ 0 });

        for (int i = 13; i < ITEMS; i += 97)
                w.in[i].end = i % 2 ? DIES : FAILS;
        CHECK_INT(run(p, &w, CREW_OPT(task, .status = w.status)), ==, -EOWNERDEAD);
        check_ends(&w);
        (void)crew_pool_free(p);
        (void)crew_queue_free(w.log);
}

TEST(retries, "only the item that died is tried again", "[live][pool][batch]")
{
        static struct work w;
        crew_pool *p =
                prepare(&w, 2, (crew_pool_options){ .on_death = CREW_DEATH_RETRY, .retries = 2 });
        int wrong = 0;

        for (int i = 7; i < ITEMS; i += 301)
                w.in[i].end = DIES;
        CHECK_INT(run(p, &w, CREW_OPT(task, .status = w.status)), ==, -EOWNERDEAD);
        count_runs(&w);
        for (int i = 0; i < ITEMS; i++)
                wrong += w.runs[i] != (w.in[i].end ? 3 : 1) ||
                         w.status[i] != (w.in[i].end ? CREW_DIED : CREW_OK);
        CHECK_INT(wrong, ==, 0);
        (void)crew_pool_free(p);
        (void)crew_queue_free(w.log);
}

TEST(deadlines, "the late item of a batch is ended, and nothing else", "[live][pool][batch]")
{
        static struct work w;
        /* No other item may be kept from running for so long. */
        int64_t deadline = CREW_S(1) + test_slow(CREW_MS(150));
        crew_pool *p = prepare(&w, 2, (crew_pool_options){ 0 });

        w.in[100].end = w.in[900].end = w.in[901].end = SLEEPS;
        CHECK_INT(run(p, &w, CREW_OPT(task, .status = w.status, .deadline = deadline)), ==, -ETIME);
        check_ends(&w);
        (void)crew_pool_free(p);
        (void)crew_queue_free(w.log);
}

/* Nobody else has the pace of this one. */
static int task_stuck(crew_task *t, const void *arg, size_t size)
{
        return task_order(t, arg, size);
}

TEST(stuck, "what waits behind a stuck item runs elsewhere", "[live][pool][batch]")
{
        static struct work w;
        crew_pool *p = prepare(&w, 2, (crew_pool_options){ 0 });
        crew_result *r = NULL;
        size_t done = 0, chunk = 50;

        count_runs(&w);
        w.in[ITEMS / 3].end = SLEEPS;
        REQUIRE_OK(crew_pool_map_async(p, task_order, w.in, ITEMS, sizeof *w.in, w.out,
                sizeof *w.out, &r, CREW_OPT(task, .chunk = chunk)));
        /* What it had done of its batch before is shown when that ends. */
        for (int64_t until = crew_clock() + CREW_S(8); done < ITEMS - chunk; pause_ms(1)) {
                REQUIRE(crew_clock() < until);
                CHECK_INT(crew_result_progress(r, &done, NULL), ==, 0);
        }
        CHECK(!crew_result_ready(r));
        CHECK(crew_result_free(r) == NULL);
        (void)crew_pool_free(p);
        (void)crew_queue_free(w.log);
}

TEST(stuck_alone, "single tasks do so too", "[live][pool][batch]")
{
        static struct work w;
        crew_pool *p = prepare(&w, 2, (crew_pool_options){ 0 });
        crew_result *stuck = NULL, *r[50];
        struct order slow = w.in[0];
        struct answer answer;

        for (int i = 0; i < 200; i++)
                REQUIRE_OK(crew_pool_apply(p, task_stuck, &w.in[i], sizeof w.in[i], &answer,
                        sizeof answer, CREW_S(5), NULL));
        slow.end = SLEEPS;
        REQUIRE_OK(crew_pool_apply_async(p, task_stuck, &slow, sizeof slow, &stuck, NULL));
        for (int i = 0; i < 50; i++)
                REQUIRE_OK(crew_pool_apply_async(
                        p, task_stuck, &w.in[i], sizeof w.in[i], &r[i], NULL));
        for (int i = 0; i < 50; i++) {
                CHECK_INT(crew_result_get(r[i], &answer, sizeof answer, CREW_S(8)), ==,
                        sizeof answer);
                CHECK_INT(answer.number, ==, i);
                CHECK_INT(answer.attempt, ==, 1);
                (void)crew_result_free(r[i]);
        }
        CHECK(!crew_result_ready(stuck));
        (void)crew_result_free(stuck);
        (void)crew_pool_free(p);
        (void)crew_queue_free(w.log);
}
