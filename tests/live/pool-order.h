/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_POOL_ORDER_H
#define CREW_TESTS_POOL_ORDER_H

/* Items that say that they run, and end as they are told to. */

#include "pool-help.h"

#include <limits.h>

enum { DIES = 1, FAILS, SLEEPS };

static const int reason_of[] = { CREW_OK, CREW_DIED, CREW_FAILED, CREW_DEADLINE };
static const crew_ref no_log;

struct order {
        crew_ref log; /* a queue for the numbers of those that run, or no_log */
        int number;
        int end; /* 0, or one of these */
};

struct answer {
        int number, attempt;
};

static inline int task_order(crew_task *t, const void *arg, size_t size)
{
        const struct order *order = arg;
        struct answer answer = { order->number, (int)crew_task_attempt(t) };
        crew_queue *q = NULL;
        int r = 0;

        (void)size;
        if (memcmp(&order->log, &no_log, sizeof no_log) != 0) {
                r = crew_task_queue(t, order->log, &q);
                if (r == 0)
                        r = crew_queue_put(q, &order->number, sizeof order->number, CREW_S(5));
        }
        if (r < 0)
                return r;
        if (order->end == DIES)
                (void)kill(getpid(), SIGKILL);
        if (order->end == SLEEPS)
                pause_ms(10000);
        if (order->end == FAILS)
                return crew_task_fail(t, -EDOM, "order %d", order->number);
        return crew_task_return(t, &answer, sizeof answer);
}

/* A pool whose workers have the log and are replaced without end. */
static inline crew_pool *new_order_pool(crew_queue **log, unsigned workers, crew_pool_options o)
{
        crew_ref ref;

        REQUIRE_OK(crew_queue_new(log, 0, NULL));
        ref = crew_queue_ref(*log);
        o.size = sizeof o;
        o.grants = &ref;
        o.n_grants = 1;
        o.restarts = UINT_MAX;
        return new_pool(workers, &o);
}

#endif
