/* SPDX-License-Identifier: MIT */
#include "output-order.h"

#include "bytes.h"

#include <stdlib.h>

void order_init(struct order *o)
{
        *o = (struct order){ .next = 1 };
}

void order_free(struct order *o)
{
        free(o->ring);
        *o = (struct order){ 0 };
}

static void grow(struct order *o, size_t needed)
{
        size_t cap = o->cap ? o->cap : 64;
        void **ring;

        while (cap < needed)
                cap *= 2;
        if (cap == o->cap)
                return;
        ring = must_have(cap * sizeof *ring);
        for (size_t i = 0; i < o->n; i++)
                ring[i] = o->ring[(o->first + i) % o->cap];
        free(o->ring);
        o->ring = ring;
        o->first = 0;
        o->cap = cap;
}

void order_put(struct order *o, uint64_t number, void *object)
{
        size_t distance = (size_t)(number - o->next);

        grow(o, distance + 1);
        if (distance >= o->n)
                o->n = distance + 1;
        o->ring[(o->first + distance) % o->cap] = object;
}

static void *shift(struct order *o)
{
        void *object = o->ring[o->first];

        o->ring[o->first] = NULL;
        o->first = (o->first + 1) % o->cap;
        o->n--;
        o->next++;
        return object;
}

void *order_take(struct order *o)
{
        return o->n && o->ring[o->first] ? shift(o) : NULL;
}

void *order_take_any(struct order *o)
{
        void *object = NULL;

        while (o->n && !object)
                object = shift(o);
        return object;
}
