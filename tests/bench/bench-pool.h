/* SPDX-License-Identifier: MIT */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

#include "bench.h"

enum bench_pool_cell {
        POOL_TASKS,
        POOL_ONE_ASLEEP,
        POOL_ONE,
        POOL_MAP,
        POOL_START,
        POOL_CELLS,
};

#define POOL_WORKERS 2
#define POOL_BATCH 10000 /* tasks that are submitted all at once; peers.py has the same */
#define POOL_MAP_ITEMS 1000000
#define POOL_PAUSE_NS 300000 /* as bench-latency: whoever spins before it sleeps has given up */

/* The member of a run; `arg` says which pool and which cell. The figure goes to member[who]. */
struct bench_pool_run {
        enum bench_pool_cell cell;
        const char *sandbox;
        bool no_thread;
        double ms;
};
void bench_pool_crew(struct bench_shared *s, unsigned who, void *arg);
void bench_pool_openmp(struct bench_shared *s, unsigned who, void *arg);

/* The crew queue's own round trip with the partner asleep: two members. */
struct bench_pool_queue {
        void *queue[2];
        double ms;
};
int bench_pool_queue_new(struct bench_pool_queue *q);
void bench_pool_queue_free(struct bench_pool_queue *q);
void bench_pool_queue(struct bench_shared *s, unsigned who, void *arg);

/* Readings of one run until its time is over, at least three; `value` is their median. */
struct bench_readings {
        double *v;
        size_t n;
        int64_t end;
};
void bench_readings_start(struct bench_readings *r, double ms);
bool bench_readings_more(const struct bench_readings *r);
void bench_readings_add(struct bench_readings *r, double v);
double bench_readings_end(struct bench_readings *r);

void bench_pool_pause(void);

#endif
