/* SPDX-License-Identifier: MIT */
#ifndef CREW_EVENT_HEAP_H
#define CREW_EVENT_HEAP_H

/* Timers by their time: a binary heap, each operation knowing its place in it. */

#include "event/operation.h"

typedef struct crew__heap {
        crew__op **ops;
        size_t count, room;
} crew__heap;

/* Makes room for `count` operations; -ENOMEM. Adding up to that many cannot fail then. */
int crew__heap_reserve(crew__heap *heap, size_t count);

void crew__heap_add(crew__heap *heap, crew__op *op);

/* Does nothing if it is not there. */
void crew__heap_remove(crew__heap *heap, crew__op *op);

/* The earliest, or NULL. */
static inline crew__op *crew__heap_first(const crew__heap *heap)
{
        return heap->count ? heap->ops[0] : NULL;
}

#endif
