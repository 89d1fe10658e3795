/* SPDX-License-Identifier: MIT */

/*
 * Events and semaphores in a waiter. They lie in memory of the caller's, which has no descriptor:
 * in the ring they are futexes as queues are, without it they are looked at every 20 ms.
 */

#include "event/operation.h"
#include "sync/event.h"
#include "sync/mutex.h"

/* Whoever sets or releases may be another process, and die before it tells. */
static bool always(const crew__op *op)
{
        (void)op;
        return true;
}

/* `size` is what the event looked like when it was armed. */
static bool event_ready(const crew__op *op)
{
        return crew__event_passed(op->spec.object, (uint32_t)op->spec.size);
}

static bool event_try(crew__op *op, int64_t *result)
{
        *result = 0;
        return event_ready(op);
}

static bool semaphore_ready(const crew__op *op)
{
        return crew_semaphore_value(op->spec.object) > 0;
}

static bool semaphore_try(crew__op *op, int64_t *result)
{
        *result = 0;
        return crew__semaphore_take(op->spec.object, 0);
}

static const crew__op_class event_class = {
        .kind = CREW_EVENT,
        .try = event_try,
        .ready = event_ready,
        .sliced = always,
};

static const crew__op_class semaphore_class = {
        .kind = CREW_ACQUIRED,
        .try = semaphore_try,
        .ready = semaphore_ready,
        .sliced = always,
};

int crew_waiter_event(crew_waiter *w, crew_event *e, uint64_t tag)
{
        crew__op_spec spec = {
                .class = &event_class,
                .object = e,
                .tag = tag,
                .source = CREW__SOURCE_EVENTS,
                .fd = -1,
        };
        int r = crew__sync_check(e, "waiter: event");

        if (r < 0)
                return r;
        spec.events = &((crew__event *)e)->events;
        spec.size = crew__event_look(e);
        return crew__waiter_arm(w, &spec);
}

int crew_waiter_semaphore(crew_waiter *w, crew_semaphore *s, uint64_t tag)
{
        crew__op_spec spec = {
                .class = &semaphore_class,
                .object = s,
                .tag = tag,
                .source = CREW__SOURCE_EVENTS,
                .fd = -1,
        };
        int r = crew__sync_check(s, "waiter: semaphore");

        if (r < 0)
                return r;
        spec.events = &((crew__semaphore *)s)->rings;
        return crew__waiter_arm(w, &spec);
}
