/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <errno.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

/* No EAL and no hugepages: the ring lives in plain shared memory, initialised by hand. */
static int setup_with(struct queue_run *r, unsigned flags)
{
        unsigned slots = queue_slots(r->size);
        ssize_t bytes = rte_ring_get_memsize_elem((unsigned)r->size, slots);
        struct rte_ring *ring;

        if (bytes < 0)
                return queue_fail(r, "rte_ring_get_memsize_elem", (int)-bytes);
        ring = queue_map(r, (size_t)bytes);
        if (!ring)
                return -1;
        if (rte_ring_init(ring, "bench", slots, flags) != 0) {
                queue_unmap(ring);
                return queue_fail(r, "rte_ring_init", EINVAL);
        }
        r->state = ring;
        return 0;
}

static int setup(struct queue_run *r)
{
        return setup_with(r, 0);
}

static int setup_rts(struct queue_run *r)
{
        return setup_with(r, RING_F_MP_RTS_ENQ | RING_F_MC_RTS_DEQ);
}

static void teardown(struct queue_run *r)
{
        queue_unmap(r->state);
}

#define PUT(r, from, size) (rte_ring_enqueue_elem((r)->state, from, (unsigned)(size)) == 0)
#define GET(r, to, size) (rte_ring_dequeue_elem((r)->state, to, (unsigned)(size)) == 0)

QUEUE_RING_LOOPS(one, PUT, GET)

static inline __attribute__((always_inline)) long burst_produce_sized(
        struct queue_run *r, unsigned n, const size_t size)
{
        long sent = 0;

        while (sent < (long)n) {
                unsigned in = 0;

                for (unsigned i = 0; i < QUEUE_BATCH; i++)
                        queue_stamp(r, r->out + i * size);
                while (in < QUEUE_BATCH) {
                        unsigned k = rte_ring_enqueue_burst_elem(r->state, r->out + in * size,
                                (unsigned)size, QUEUE_BATCH - in, NULL);

                        in += k;
                        if (k > 0)
                                continue;
                        if (*r->stop) {
                                r->stamp -= QUEUE_BATCH - in;
                                return sent + in;
                        }
                        queue_idle(r);
                }
                sent += QUEUE_BATCH;
        }
        return sent;
}

static inline __attribute__((always_inline)) long burst_consume_sized(
        struct queue_run *r, unsigned n, const size_t size)
{
        long got = 0;

        while (got < (long)n) {
                bool over = queue_over(r);
                unsigned k = rte_ring_dequeue_burst_elem(
                        r->state, r->in, (unsigned)size, QUEUE_BATCH, NULL);

                for (unsigned i = 0; i < k; i++)
                        queue_check(r, r->in + i * size);
                got += k;
                if (k > 0)
                        continue;
                if (over)
                        return -got - 1;
                queue_idle(r);
        }
        return got;
}

QUEUE_SIZED(burst, produce)
QUEUE_SIZED(burst, consume)

extern const struct queue_peer peer_rte, peer_rte_rts, peer_rte_burst;

const struct queue_peer peer_rte = {
        .name = "rte_ring",
        .setup = setup,
        .teardown = teardown,
        .produce = one_produce,
        .consume = one_consume,
};

const struct queue_peer peer_rte_rts = {
        .name = "rte_ring-rts",
        .setup = setup_rts,
        .teardown = teardown,
        .produce = one_produce,
        .consume = one_consume,
};

const struct queue_peer peer_rte_burst = {
        .name = "rte_ring-burst32",
        .max_size = 1024,
        .setup = setup,
        .teardown = teardown,
        .produce = burst_produce,
        .consume = burst_consume,
};
