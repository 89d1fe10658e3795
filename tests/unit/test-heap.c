/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "event/heap.h"

#include <stdlib.h>

enum { N = 500 };

static crew__op ops[N];

/* Every operation knows its place, and none is before its parent. */
static void check_heap(const crew__heap *heap)
{
        for (size_t i = 0; i < heap->count; i++) {
                CHECK_INT(heap->ops[i]->heap_at, ==, i + 1);
                if (i > 0)
                        CHECK_INT(
                                heap->ops[(i + 1) / 2 - 1]->spec.when, <=, heap->ops[i]->spec.when);
        }
}

TEST(sorted, "timers come out in the order of their times", "[unit][wait]")
{
        crew__heap heap = { 0 };
        int64_t last = -1;

        REQUIRE_OK(crew__heap_reserve(&heap, N));
        for (int i = 0; i < N; i++) {
                ops[i].spec.when = i * 7919 % 211;
                crew__heap_add(&heap, &ops[i]);
        }
        check_heap(&heap);
        for (int i = 0; i < N; i++) {
                crew__op *first = crew__heap_first(&heap);

                CHECK_INT(first->spec.when, >=, last);
                last = first->spec.when;
                crew__heap_remove(&heap, first);
                CHECK_INT(first->heap_at, ==, 0);
        }
        CHECK(crew__heap_first(&heap) == NULL);
        free(heap.ops);
}

TEST(anywhere, "a timer leaves from any place", "[unit][wait]")
{
        crew__heap heap = { 0 };
        unsigned seed = 4;

        REQUIRE_OK(crew__heap_reserve(&heap, N));
        for (int i = 0; i < N; i++)
                ops[i].heap_at = 0;
        for (int round = 0; round < 20000; round++) {
                crew__op *op = &ops[rand_r(&seed) % N];

                if (op->heap_at) {
                        crew__heap_remove(&heap, op);
                } else {
                        op->spec.when = rand_r(&seed) % 100;
                        crew__heap_add(&heap, op);
                }
                if (round % 500 == 0)
                        check_heap(&heap);
        }
        check_heap(&heap);
        for (int i = 0; i < N; i++)
                crew__heap_remove(&heap, &ops[i]);
        CHECK_INT(heap.count, ==, 0);
        crew__heap_remove(&heap, &ops[0]);
        CHECK_INT(heap.count, ==, 0);
        free(heap.ops);
}
