/* SPDX-License-Identifier: MIT */
#ifndef CREW_SYNC_EVENT_H
#define CREW_SYNC_EVENT_H

/* Events and semaphores as the waiter sees them. */

#include "kernel/events.h"

#include <crew/sync.h>

typedef struct crew__event {
        crew__events events;
        _Atomic uint32_t state; /* how often it was set << 1 | is it set */
        uint32_t unused;
} __attribute__((may_alias)) crew__event;

_Static_assert(sizeof(crew__event) == sizeof(crew_event), "the public struct");

/* The state from which crew__event_passed tells whether the event is set or was since. */
static inline uint32_t crew__event_look(const crew_event *e)
{
        return atomic_load_explicit(&((const crew__event *)e)->state, memory_order_acquire);
}

static inline bool crew__event_passed(const crew_event *e, uint32_t seen)
{
        uint32_t now = crew__event_look(e);

        return now & 1 || now >> 1 != seen >> 1;
}

/*
 * One word is both the units and what threads sleep on, so that no wake can be missed between the
 * two: SLEEPERS is set by who finds no unit, and who slept takes its unit with SLEEPERS set, for
 * others may sleep beside it and be known to nobody else. A release wakes one. If that one dies,
 * swallowing the wake, the others look up every 20 ms. Waiters' rings sleep on the event count.
 */
#define CREW__SEMAPHORE_SLEEPERS 0x80000000U

typedef struct crew__semaphore {
        crew__events rings;
        _Atomic uint32_t value;
        uint32_t bound;
} __attribute__((may_alias)) crew__semaphore;

_Static_assert(sizeof(crew__semaphore) == sizeof(crew_semaphore), "the public struct");

/* Takes a unit if there is one. */
bool crew__semaphore_take(crew_semaphore *s, uint32_t sleepers);

#endif
