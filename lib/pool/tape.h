/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_TAPE_H
#define CREW_POOL_TAPE_H

/*
 * When the last tasks of a worker ran, for a program that traces (base/trace.h): the worker notes
 * them in its page, and the driver takes them out after their results. Nobody waits for room: of
 * many short tasks the driver finds the last ones. The worker writes it, so times are bounded.
 */

#include <stdatomic.h>
#include <stdint.h>

enum { CREW__TAPE = 80 };

typedef struct crew__tape {
        _Atomic uint64_t noted; /* how many, ever; written after the entry */
        struct {
                _Atomic uint64_t id, began;
                _Atomic uint64_t took;
        } entry[CREW__TAPE];
} crew__tape;

static inline void crew__tape_note(crew__tape *t, uint64_t id, int64_t began, int64_t ended)
{
        uint64_t n = atomic_load_explicit(&t->noted, memory_order_relaxed);
        unsigned at = (unsigned)(n % CREW__TAPE);

        atomic_store_explicit(&t->entry[at].id, id, memory_order_relaxed);
        atomic_store_explicit(&t->entry[at].began, (uint64_t)began, memory_order_relaxed);
        atomic_store_explicit(&t->entry[at].took, (uint64_t)(ended - began), memory_order_relaxed);
        /* Release: who sees the count sees the entry, or a later one in its place. */
        atomic_store_explicit(&t->noted, n + 1, memory_order_release);
}

#endif
