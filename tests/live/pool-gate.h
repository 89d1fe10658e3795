/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_POOL_GATE_H
#define CREW_TESTS_POOL_GATE_H

/* Tasks that tell when they have begun and end when the case lets them, however busy the machine
 * is. Workers share no memory with the case: both goes through pipes that the pool keeps for them.
 */

#include "pool-help.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

struct gate {
        int begun[2], open[2];
        int kept[2]; /* the workers' ends, for keep_fds */
};

struct gated {
        int begun, open, value;
};

#define GATE_KEPT(gate) .keep_fds = (gate)->kept, .n_keep_fds = 2

UNUSED static void gate_new(struct gate *g)
{
        REQUIRE(pipe2(g->begun, O_CLOEXEC) == 0 && pipe2(g->open, O_CLOEXEC) == 0);
        g->kept[0] = g->begun[1];
        g->kept[1] = g->open[0];
}

UNUSED static void gate_free(struct gate *g)
{
        for (int i = 0; i < 2; i++) {
                (void)close(g->begun[i]);
                (void)close(g->open[i]);
        }
}

/* Waits until so many more have begun. */
UNUSED static void gate_await(const struct gate *g, int n)
{
        struct pollfd begun = { .fd = g->begun[0], .events = POLLIN };
        char c;

        for (; n > 0; n--) {
                REQUIRE(poll(&begun, 1, (int)(test_slow(CREW_S(10)) / 1000000)) == 1);
                REQUIRE(read(g->begun[0], &c, 1) == 1);
        }
}

/* Lets so many end. */
UNUSED static void gate_open(const struct gate *g, int n)
{
        for (; n > 0; n--)
                REQUIRE(write(g->open[1], "", 1) == 1);
}

/* Returns the value in its argument. */
UNUSED static int task_gated(crew_task *t, const void *arg, size_t size)
{
        const struct gated *gated = arg;
        char c;

        (void)size;
        if (write(gated->begun, "", 1) != 1 || read(gated->open, &c, 1) != 1)
                return crew_task_fail(t, -EIO, "the gate: %m");
        return crew_task_return(t, &gated->value, sizeof gated->value);
}

UNUSED static crew_result *start_gated(
        crew_pool *p, const struct gate *g, int value, const crew_task_options *o)
{
        struct gated gated = { g->kept[0], g->kept[1], value };
        crew_result *r = NULL;

        REQUIRE_OK(crew_pool_apply_async(p, task_gated, &gated, sizeof gated, &r, o));
        return r;
}

#endif
