/* SPDX-License-Identifier: MIT */
#include "event/heap.h"

#include "base/fail.h"

#include <stdlib.h>

int crew__heap_reserve(crew__heap *heap, size_t count)
{
        size_t room = heap->room ? heap->room : 16;
        crew__op **ops;

        if (count <= heap->room)
                return 0;
        while (room < count)
                room *= 2;
        ops = realloc(heap->ops, room * sizeof(crew__op *));
        if (!ops)
                return crew__fail(ENOMEM, "waiter: no memory for %zu timers", count);
        heap->ops = ops;
        heap->room = room;
        return 0;
}

static void place(crew__heap *heap, crew__op *op, size_t at)
{
        heap->ops[at - 1] = op;
        op->heap_at = at;
}

static void rise(crew__heap *heap, crew__op *op, size_t at)
{
        for (; at > 1 && heap->ops[at / 2 - 1]->spec.when > op->spec.when; at /= 2)
                place(heap, heap->ops[at / 2 - 1], at);
        place(heap, op, at);
}

static void sink(crew__heap *heap, crew__op *op, size_t at)
{
        for (;;) {
                size_t child = at * 2;

                if (child > heap->count)
                        break;
                if (child < heap->count &&
                        heap->ops[child]->spec.when < heap->ops[child - 1]->spec.when)
                        child++;
                if (heap->ops[child - 1]->spec.when >= op->spec.when)
                        break;
                place(heap, heap->ops[child - 1], at);
                at = child;
        }
        place(heap, op, at);
}

void crew__heap_add(crew__heap *heap, crew__op *op)
{
        heap->count++;
        rise(heap, op, heap->count);
}

void crew__heap_remove(crew__heap *heap, crew__op *op)
{
        size_t at = op->heap_at;
        crew__op *last;

        if (!at)
                return;
        op->heap_at = 0;
        last = heap->ops[--heap->count];
        if (last == op)
                return;
        /* Its new place may be too deep or too high. */
        if (at > 1 && heap->ops[at / 2 - 1]->spec.when > last->spec.when)
                rise(heap, last, at);
        else
                sink(heap, last, at);
}
