/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_OUTPUT_ORDER_H
#define CREW_TOOLS_CREW_OUTPUT_ORDER_H

/* Jobs by their number, until those before them are there. */

#include <stddef.h>
#include <stdint.h>

struct order {
        void **ring; /* ring[(first + i) % cap] is for number next + i */
        size_t first, cap, n;
        uint64_t next;
};

void order_init(struct order *o);
void order_free(struct order *o);

/* Notes an object for a number that is not behind `next`. */
void order_put(struct order *o, uint64_t number, void *object);

/* The object whose turn it is, which is taken out; NULL: it is not there. */
void *order_take(struct order *o);

/* The same whether or not the numbers before it are there; NULL: none is left. */
void *order_take_any(struct order *o);

#endif
