/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <ck_ring.h>

/* The ring stores elements of any size through its typed interface, here spelled out. */
struct state {
        _Alignas(128) ck_ring_t ring;
        _Alignas(4096) unsigned char slots[];
};

static int setup(struct queue_run *r)
{
        unsigned slots = queue_slots(r->size);
        struct state *s = queue_map(r, sizeof *s + slots * r->size);

        if (!s)
                return -1;
        ck_ring_init(&s->ring, slots);
        r->state = s;
        return 0;
}

static void teardown(struct queue_run *r)
{
        queue_unmap(r->state);
}

static inline struct state *state(struct queue_run *r)
{
        return r->state;
}

#define PUT_SP(r, from, size)                                                                      \
        _ck_ring_enqueue_sp(&state(r)->ring, state(r)->slots, from, (unsigned)(size), NULL)
#define GET_SC(r, to, size)                                                                        \
        _ck_ring_dequeue_sc(&state(r)->ring, state(r)->slots, to, (unsigned)(size))
#define PUT_MP(r, from, size)                                                                      \
        _ck_ring_enqueue_mp(&state(r)->ring, state(r)->slots, from, (unsigned)(size), NULL)
#define GET_MC(r, to, size)                                                                        \
        _ck_ring_dequeue_mc(&state(r)->ring, state(r)->slots, to, (unsigned)(size))

QUEUE_RING_LOOPS(spsc, PUT_SP, GET_SC)
QUEUE_RING_LOOPS(mpmc, PUT_MP, GET_MC)

static long produce(struct queue_run *r, unsigned n)
{
        return r->producers == 1 ? spsc_produce(r, n) : mpmc_produce(r, n);
}

static long consume(struct queue_run *r, unsigned n)
{
        return r->consumers == 1 ? spsc_consume(r, n) : mpmc_consume(r, n);
}

extern const struct queue_peer peer_ck;
const struct queue_peer peer_ck = {
        .name = "ck_ring",
        .setup = setup,
        .teardown = teardown,
        .produce = produce,
        .consume = consume,
};
