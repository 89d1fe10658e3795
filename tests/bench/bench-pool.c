/* SPDX-License-Identifier: MIT */

/* Pools of two workers: no-op tasks, one apply at a time, a map, the start. */

#include "bench-pool.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_READINGS (1 << 16)
#define MIN_READINGS 3

static const struct bench_cell cells[POOL_CELLS] = {
        [POOL_TASKS] = { "no-op tasks, all at once", "tasks/s" },
        [POOL_ONE_ASLEEP] = { "one apply, idle pool", "us per round trip", true },
        [POOL_ONE] = { "one apply after the other", "us per round trip", true },
        [POOL_MAP] = { "map of 1M ints", "ms", true },
        [POOL_START] = { "start of 2 workers", "us until the first result", true },
};

static const struct bench_target targets[] = {
        { "no-op tasks, all at once", "crew", { "python-Pool" }, BENCH_AT_LEAST, 40 },
        { "no-op tasks, all at once", "crew", { "crew-none" }, BENCH_AT_LEAST, 0.95 },
        { "one apply, idle pool", "crew", { "crew-queue" }, BENCH_AT_MOST, 2 },
        { "map of 1M ints", "crew", { "python-Pool" }, BENCH_AT_MOST, 0.1 },
        { "no-op tasks, all at once", "crew", { "python-Executor", "joblib" }, BENCH_SHOWN },
        { "no-op tasks, all at once", "crew", { "openmp" }, BENCH_SHOWN },
        { "one apply, idle pool", "crew", { "crew-queue-free" }, BENCH_SHOWN },
        { "one apply, idle pool", "crew", { "crew-none" }, BENCH_SHOWN },
        { "one apply, idle pool", "crew-no-thread", { "crew-queue" }, BENCH_SHOWN },
        { "one apply, idle pool", "crew", { "python-Pool", "python-Executor", "joblib" },
                BENCH_SHOWN },
        { "one apply after the other", "crew", { "python-Pool", "python-Executor", "joblib" },
                BENCH_SHOWN },
        { "map of 1M ints", "crew", { "crew-none" }, BENCH_SHOWN },
        { "map of 1M ints", "crew", { "python-Executor", "joblib" }, BENCH_SHOWN },
        { "map of 1M ints", "crew", { "openmp" }, BENCH_SHOWN },
        { "start of 2 workers", "crew", { "python-Pool", "python-Executor", "joblib" },
                BENCH_SHOWN },
};

enum kind { CREW, QUEUE, OPENMP, PYTHON };

static const struct way {
        const char *name;
        const char *missing;
        enum kind kind;
        const char *how; /* of crew: the sandbox; of Python: what peers.py calls it */
        bool special;    /* no thread in the pool; no pinned processes of the queue */
} ways[] = {
#ifdef BENCH_CREW_POOL
#define NO_POOL NULL
#else
#define NO_POOL "the pool is not built"
#endif
#ifdef BENCH_OPENMP
#define NO_OPENMP NULL
#else
#define NO_OPENMP "no OpenMP when this was built"
#endif
#ifdef BENCH_PYTHON
#define NO_PYTHON NULL
#else
#define NO_PYTHON "no python3 when this was built"
#endif
        { "crew", NO_POOL, CREW, NULL, false },
        { "crew-none", NO_POOL, CREW, "none", false },
        { "crew-no-thread", NO_POOL, CREW, NULL, true },
        { "crew-queue", NO_POOL, QUEUE, NULL, false },
        { "crew-queue-free", NO_POOL, QUEUE, NULL, true },
        { "openmp", NO_OPENMP, OPENMP, NULL, false },
        { "python-Pool", NO_PYTHON, PYTHON, "pool", false },
        { "python-Executor", NO_PYTHON, PYTHON, "executor", false },
        { "joblib", NO_PYTHON, PYTHON, "joblib", false },
};
#define WAYS (sizeof ways / sizeof *ways)

/* One OpenMP task at a time is run by whoever makes it, and its threads start with the first. */
static bool offers(unsigned cell, unsigned row)
{
        switch (ways[row].kind) {
        case QUEUE:
                return cell == POOL_ONE_ASLEEP;
        case OPENMP:
                return cell == POOL_TASKS || cell == POOL_MAP;
        default:
                return true;
        }
}

void bench_pool_pause(void)
{
        struct timespec t = { 0, POOL_PAUSE_NS };

        nanosleep(&t, NULL);
}

void bench_readings_start(struct bench_readings *r, double ms)
{
        r->v = malloc(MAX_READINGS * sizeof *r->v);
        if (!r->v)
                abort();
        r->n = 0;
        r->end = bench_now() + (int64_t)(ms * 1e6);
}

bool bench_readings_more(const struct bench_readings *r)
{
        return r->n < MAX_READINGS && (r->n < MIN_READINGS || bench_now() < r->end);
}

void bench_readings_add(struct bench_readings *r, double v)
{
        r->v[r->n++] = v;
}

double bench_readings_end(struct bench_readings *r)
{
        double median = bench_median(r->v, r->n);

        free(r->v);
        return median;
}

#ifdef BENCH_PYTHON
static char *text(const char *s)
{
        return (char *)(uintptr_t)s;
}

static const char *const python_cell[POOL_CELLS] = { "tasks", "asleep", "one", "map", "start" };

static int measure_python(
        struct bench *b, unsigned cell, const struct way *w, struct bench_result *r)
{
        char seconds[24], cpus[32], out[64];
        char *argv[] = { text(BENCH_PYTHON), text(BENCH_PEERS_PY), text("pool"), text(w->how),
                text(python_cell[cell]), seconds, cpus, NULL };

        snprintf(seconds, sizeof seconds, "%g", b->ms / 1e3);
        snprintf(cpus, sizeof cpus, "%d,%d", b->cpu[0], b->cpu[1]);
        if (bench_spawn(argv, out, sizeof out, 60, r->why) != 0)
                return -1;
        r->value = strtod(out, NULL);
        return 0;
}

static bool has_joblib(void)
{
        char *argv[] = { text(BENCH_PYTHON), text(BENCH_PEERS_PY), text("has-joblib"), NULL };
        char out[16] = "", why[BENCH_WHY] = "";

        return bench_spawn(argv, out, sizeof out, 30, why) == 0 && strncmp(out, "yes", 3) == 0;
}
#else
static int measure_python(
        struct bench *b, unsigned cell, const struct way *w, struct bench_result *r)
{
        (void)b;
        (void)cell;
        (void)w;
        (void)r;
        return -1;
}

static bool has_joblib(void)
{
        return false;
}
#endif

#ifdef BENCH_CREW_POOL
static int measure_queue(struct bench *b, const struct way *w, struct bench_result *r)
{
        struct bench_pool_queue q = { .ms = b->ms };
        struct bench_group g = {
                .members = 2, .pin = !w->special, .run = bench_pool_queue, .arg = &q
        };
        int err = -1;

        if (bench_pool_queue_new(&q) != 0)
                bench_why(r->why, "no queue");
        else
                err = bench_group_value(b, &g, r);
        bench_pool_queue_free(&q);
        return err;
}
#endif

/* In a process of its own, on both processors: where its workers go is the kernel's business. */
static int measure_group(
        struct bench *b, unsigned cell, const struct way *w, struct bench_result *r)
{
        struct bench_pool_run run = { (enum bench_pool_cell)cell, w->how, w->special, b->ms };
        struct bench_group g = { .members = 1, .arg = &run };

#ifdef BENCH_CREW_POOL
        if (w->kind == CREW)
                g.run = bench_pool_crew;
#endif
#ifdef BENCH_OPENMP
        if (w->kind == OPENMP)
                g.run = bench_pool_openmp;
#endif
        return g.run ? bench_group_value(b, &g, r) : -1;
}

static int measure(struct bench *b, unsigned cell, unsigned row, struct bench_result *r)
{
        const struct way *w = &ways[row];

        if (w->kind == PYTHON)
                return measure_python(b, cell, w, r);
#ifdef BENCH_CREW_POOL
        if (w->kind == QUEUE)
                return measure_queue(b, w, r);
#endif
        return measure_group(b, cell, w, r);
}

int main(int argc, char **argv)
{
        static struct bench_row rows[WAYS];
        struct bench b = {
                .name = "bench-pool",
                .cells = cells,
                .n_cells = POOL_CELLS,
                .rows = rows,
                .n_rows = WAYS,
                .targets = targets,
                .n_targets = sizeof targets / sizeof *targets,
                .offers = offers,
                .measure = measure,
        };

        for (unsigned i = 0; i < WAYS; i++) {
                rows[i].name = ways[i].name;
                rows[i].missing = ways[i].missing;
                if (ways[i].kind == PYTHON)
                        rows[i].every = 3;
                if (!ways[i].missing && strcmp(ways[i].name, "joblib") == 0 && !has_joblib())
                        rows[i].missing = "not importable in this python3";
        }
        return bench_main(&b, argc, argv);
}
