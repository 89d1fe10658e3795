/* SPDX-License-Identifier: MIT */
#include "bench.h"
#include "queue-bench.h"

#include <stdlib.h>

#ifdef BENCH_PYTHON
/* Several times a run of ours: the interpreters have to get going. */
#        define PYTHON_RUNS 4

static double whole(struct queue_run *r, const char *kind, double ms, const int cpu[2])
{
        char size[24], producers[12], consumers[12], seconds[24], cpus[32];
        char *argv[] = {(char *)(uintptr_t)BENCH_PYTHON, (char *)(uintptr_t)BENCH_PEERS_PY,
                (char *)(uintptr_t)kind, size, producers, consumers, seconds, cpus, NULL};
        char out[64];

        snprintf(size, sizeof size, "%zu", r->size);
        snprintf(producers, sizeof producers, "%u", r->producers);
        snprintf(consumers, sizeof consumers, "%u", r->consumers);
        snprintf(seconds, sizeof seconds, "%g", PYTHON_RUNS * ms / 1e3);
        snprintf(cpus, sizeof cpus, "%d,%d", cpu[0], cpu[1]);
        if (bench_spawn(argv, out, sizeof out, 30, r->why) != 0)
                return -1;
        return strtod(out, NULL);
}

static double whole_queue(struct queue_run *r, double ms, const int cpu[2])
{
        return whole(r, "queue", ms, cpu);
}

static double whole_simple(struct queue_run *r, double ms, const int cpu[2])
{
        return whole(r, "simple", ms, cpu);
}
#        define MISSING NULL
#else
#        define whole_queue NULL
#        define whole_simple NULL
#        define MISSING "no python3 when this was built"
#endif

extern const struct queue_peer peer_py_queue, peer_py_simple;

const struct queue_peer peer_py_queue = {
        .name = "python-Queue",
        .missing = MISSING,
        .whole = whole_queue,
};

const struct queue_peer peer_py_simple = {
        .name = "python-SimpleQueue",
        .missing = MISSING,
        .whole = whole_simple,
};
