/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_STOPWATCH_H
#define CREW_POOL_STOPWATCH_H

/*
 * How long the tasks of a worker take, for inspectors. Two looks at the clock are a tenth of a
 * short task and several of the shortest, so while tasks are short one in 16 or in 128 is timed and
 * stands for those before it; once one took longer each is. What is timed less often is weighted
 * accordingly, so the picture is right on average, and an outlier among short tasks may be missed.
 */

#include "status/pool-page.h"

#include <crew/error.h>

enum {
        CREW__STOPWATCH_EVERY = 16,
        CREW__STOPWATCH_SHORT = 20000, /* ns */
        CREW__STOPWATCH_SHORTEST_EVERY = 128,
        CREW__STOPWATCH_SHORTEST = 500,
};

typedef struct crew__stopwatch {
        int64_t start;   /* 0: this one is not timed */
        uint32_t passed; /* tasks since the last that was, this one included */
        uint32_t every;
} crew__stopwatch;

static inline void crew__stopwatch_start(crew__stopwatch *s)
{
        s->start = ++s->passed >= s->every ? crew_clock() : 0;
}

static inline void crew__stopwatch_stop(crew__stopwatch *s, crew__gauge *gauge)
{
        _Atomic uint32_t *bucket;
        int64_t took;

        if (!s->start)
                return;
        took = crew_clock() - s->start;
        bucket = &gauge->buckets[crew__gauge_bucket(took > 0 ? (uint64_t)took : 0)];
        atomic_store_explicit(bucket,
                atomic_load_explicit(bucket, memory_order_relaxed) + s->passed,
                memory_order_relaxed);
        s->passed = 0;
        if (took > CREW__STOPWATCH_SHORT)
                s->every = 1;
        else if (took > CREW__STOPWATCH_SHORTEST)
                s->every = CREW__STOPWATCH_EVERY;
        else
                s->every = CREW__STOPWATCH_SHORTEST_EVERY;
}

#endif
