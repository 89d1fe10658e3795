/* SPDX-License-Identifier: MIT */

/* libcrew's side of bench-pool: its pool, and the queue that an apply is held to. */

#include "bench-pool.h"

#include <crew/pool.h>
#include <crew/queue.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE INT64_C(4000000000)
#define TRIP_BYTES 64
#define WARM_UP 50 /* as in peers.py */

static int nothing(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        return 0;
}

static int increment(crew_task *t, const void *arg, size_t size)
{
        int v;

        (void)size;
        memcpy(&v, arg, sizeof v);
        v++;
        return crew_task_return(t, &v, sizeof v);
}

static crew_pool *new_pool(const struct bench_pool_run *run, struct bench_member *m)
{
        crew_pool_options o = { .size = sizeof o,
                .sandbox = run->sandbox,
                .flags = run->no_thread ? CREW_POOL_NO_THREAD : 0 };
        crew_pool *p = NULL;

        if (crew_pool_new(&p, POOL_WORKERS, &o) != 0)
                bench_why(m->why, "no pool: %s", crew_error_detail());
        return p;
}

static bool apply(crew_pool *p, struct bench_member *m)
{
        ssize_t r = crew_pool_apply(p, nothing, NULL, 0, NULL, 0, PATIENCE, NULL);

        if (r != 0)
                bench_why(m->why, "apply: %zd, %s", r, crew_error_detail());
        return r == 0;
}

/* Every result is held and asked for, as Python's are. Returns tasks/s. */
static double tasks(crew_pool *p, crew_result **results, struct bench_member *m)
{
        int64_t start = bench_now();

        for (int i = 0; i < POOL_BATCH; i++)
                if (crew_pool_apply_async(p, nothing, NULL, 0, &results[i], NULL) != 0) {
                        bench_why(m->why, "task %d: %s", i, crew_error_detail());
                        results[i] = NULL;
                }
        for (int i = 0; i < POOL_BATCH && results[i]; i++) {
                ssize_t r = crew_result_get(results[i], NULL, 0, PATIENCE);

                if (r != 0 && !m->why[0])
                        bench_why(m->why, "result %d: %zd, %s", i, r, crew_error_detail());
                crew_result_free(results[i]);
        }
        return POOL_BATCH / ((double)(bench_now() - start) / 1e9);
}

static void run_tasks(crew_pool *p, double ms, struct bench_member *m)
{
        crew_result **results = calloc(POOL_BATCH, sizeof(void *));
        struct bench_readings r;

        if (!results)
                abort();
        bench_readings_start(&r, ms);
        while (!m->why[0] && bench_readings_more(&r))
                bench_readings_add(&r, tasks(p, results, m));
        m->value = bench_readings_end(&r);
        free(results);
}

static void run_one(crew_pool *p, bool asleep, double ms, struct bench_member *m)
{
        struct bench_readings r;

        bench_readings_start(&r, ms);
        while (!m->why[0] && bench_readings_more(&r)) {
                int64_t start;

                if (asleep)
                        bench_pool_pause();
                start = bench_now();
                if (apply(p, m))
                        bench_readings_add(&r, (double)(bench_now() - start) / 1e3);
        }
        m->value = bench_readings_end(&r);
}

static void run_map(crew_pool *p, double ms, struct bench_member *m)
{
        int *in = malloc(POOL_MAP_ITEMS * sizeof *in);
        int *out = malloc(POOL_MAP_ITEMS * sizeof *out);
        struct bench_readings r;

        if (!in || !out)
                abort();
        for (int i = 0; i < POOL_MAP_ITEMS; i++)
                in[i] = i;
        bench_readings_start(&r, ms);
        while (!m->why[0] && bench_readings_more(&r)) {
                int64_t start;
                int e;

                memset(out, 0, POOL_MAP_ITEMS * sizeof *out);
                start = bench_now();
                e = crew_pool_map(p, increment, in, POOL_MAP_ITEMS, sizeof *in, out, sizeof *out,
                        PATIENCE, NULL);
                bench_readings_add(&r, (double)(bench_now() - start) / 1e6);
                if (e != 0)
                        bench_why(m->why, "map: %d, %s", e, crew_error_detail());
                for (int i = 0; i < POOL_MAP_ITEMS && e == 0; i++)
                        if (out[i] != i + 1) {
                                bench_why(m->why, "map: item %d became %d", i, out[i]);
                                break;
                        }
        }
        m->value = bench_readings_end(&r);
        free(out);
        free(in);
}

/* From nothing to the first result; the end of the pool is not timed. */
static void run_start(const struct bench_pool_run *run, struct bench_member *m)
{
        struct bench_readings r;

        bench_readings_start(&r, run->ms);
        while (!m->why[0] && bench_readings_more(&r)) {
                int64_t start = bench_now();
                crew_pool *p = new_pool(run, m);

                if (p && apply(p, m))
                        bench_readings_add(&r, (double)(bench_now() - start) / 1e3);
                crew_pool_free(p);
        }
        m->value = bench_readings_end(&r);
}

void bench_pool_crew(struct bench_shared *s, unsigned who, void *arg)
{
        const struct bench_pool_run *run = arg;
        struct bench_member *m = &s->member[who];
        crew_pool *p;

        if (run->cell == POOL_START) {
                run_start(run, m);
                return;
        }
        p = new_pool(run, m);
        for (int i = 0; p && i < WARM_UP && apply(p, m); i++)
                ;
        if (!p || m->why[0]) {
                crew_pool_free(p);
                return;
        }
        if (run->cell == POOL_TASKS)
                run_tasks(p, run->ms, m);
        else if (run->cell == POOL_MAP)
                run_map(p, run->ms, m);
        else
                run_one(p, run->cell == POOL_ONE_ASLEEP, run->ms, m);
        crew_pool_free(p);
}

int bench_pool_queue_new(struct bench_pool_queue *q)
{
        for (int i = 0; i < 2; i++) {
                crew_queue *queue;

                if (crew_queue_new(&queue, 0, NULL) != 0)
                        return -1;
                q->queue[i] = queue;
        }
        return 0;
}

void bench_pool_queue_free(struct bench_pool_queue *q)
{
        crew_queue_free(q->queue[0]);
        crew_queue_free(q->queue[1]);
}

/* An empty message ends it. */
void bench_pool_queue(struct bench_shared *s, unsigned who, void *arg)
{
        const struct bench_pool_queue *q = arg;
        char message[TRIP_BYTES] = { 0 };
        struct bench_readings r;
        ssize_t n;

        while (who == 1 && (n = crew_queue_get(q->queue[0], message, sizeof message, PATIENCE)) > 0)
                if (crew_queue_put(q->queue[1], message, (size_t)n, PATIENCE) != 0)
                        _exit(3);
        if (who == 1)
                return;
        bench_readings_start(&r, q->ms);
        while (bench_readings_more(&r)) {
                int64_t start;

                bench_pool_pause();
                start = bench_now();
                if (crew_queue_put(q->queue[0], message, sizeof message, PATIENCE) != 0 ||
                        crew_queue_get(q->queue[1], message, sizeof message, PATIENCE) !=
                                sizeof message)
                        _exit(3);
                bench_readings_add(&r, (double)(bench_now() - start) / 1e3);
        }
        if (crew_queue_put(q->queue[0], NULL, 0, PATIENCE) != 0)
                _exit(3);
        s->member[who].value = bench_readings_end(&r);
}
