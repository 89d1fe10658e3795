/* SPDX-License-Identifier: MIT */

/* Tasks without a pool of processes: threads of one process. What isolation costs. */

#include "bench-pool.h"

#include <stdlib.h>

/* Not inlined: tasks whose function the compiler sees through are none. */
__attribute__((noinline)) static void nothing(int *count)
{
        __asm__ volatile("" : : "r"(count) : "memory");
}

__attribute__((noinline)) static int increment(int v)
{
        __asm__ volatile("" : "+r"(v));
        return v + 1;
}

static double tasks(void)
{
        int64_t start = bench_now();
        int count = 0;

#pragma omp parallel num_threads(POOL_WORKERS)
#pragma omp single
        for (int i = 0; i < POOL_BATCH; i++) {
#pragma omp task shared(count)
                nothing(&count);
        }
        return POOL_BATCH / ((double)(bench_now() - start) / 1e9);
}

static double map(int *in, int *out)
{
        int64_t start = bench_now();

#pragma omp parallel for num_threads(POOL_WORKERS) schedule(static)
        for (int i = 0; i < POOL_MAP_ITEMS; i++)
                out[i] = increment(in[i]);
        return (double)(bench_now() - start) / 1e6;
}

void bench_pool_openmp(struct bench_shared *s, unsigned who, void *arg)
{
        const struct bench_pool_run *run = arg;
        int *in = calloc(POOL_MAP_ITEMS, sizeof *in);
        int *out = calloc(POOL_MAP_ITEMS, sizeof *out);
        struct bench_readings r;

        if (!in || !out)
                abort();
        tasks();
        map(in, out);
        bench_readings_start(&r, run->ms);
        while (bench_readings_more(&r))
                bench_readings_add(&r, run->cell == POOL_MAP ? map(in, out) : tasks());
        s->member[who].value = bench_readings_end(&r);
        if (out[POOL_MAP_ITEMS - 1] != 1)
                bench_why(s->member[who].why, "a wrong result");
        free(out);
        free(in);
}
