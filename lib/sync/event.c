/* SPDX-License-Identifier: MIT */
#include "sync/event.h"

#include "base/fail.h"
#include "sync/mutex.h"

#include <string.h>

int crew_event_init(crew_event *e)
{
        int r = crew__sync_check(e, "event");

        if (r == 0)
                memset(e, 0, sizeof *e);
        return r;
}

int crew_event_set(crew_event *e)
{
        crew__event *event = (crew__event *)e;
        uint32_t state = atomic_load_explicit(&event->state, memory_order_relaxed);

        /* Release pairs with the acquire of the look: what was done before the set is seen after
         * the wait. Also if it is set already. */
        while (!atomic_compare_exchange_weak_explicit(&event->state, &state,
                state & 1 ? state : (state + 2) | 1, memory_order_release, memory_order_relaxed))
                ;
        crew__events_notify_after_rmw(&event->events, -1);
        return 0;
}

int crew_event_clear(crew_event *e)
{
        (void)atomic_fetch_and_explicit(&((crew__event *)e)->state, ~1U, memory_order_acq_rel);
        return 0;
}

bool crew_event_is_set(const crew_event *e)
{
        return crew__event_look(e) & 1;
}

int crew_event_wait(crew_event *e, int64_t timeout)
{
        crew__event *event = (crew__event *)e;
        crew__patience patience = crew__patience_of(timeout);
        uint32_t seen = crew__event_look(e);
        int r = 0;

        while (r == 0 && !crew__event_passed(e, seen)) {
                uint32_t value = crew__events_prepare(&event->events);

                if (crew__event_passed(e, seen))
                        return 0;
                r = crew__events_sleep(&event->events, value, crew__patience_end(&patience), true);
        }
        if ((r == -EAGAIN || r == -ETIMEDOUT) && crew__event_passed(e, seen))
                return 0;
        if (r == -EAGAIN)
                return crew__fail_quick(EAGAIN, "the event is not set");
        if (r == -ETIMEDOUT)
                return crew__fail_quick(ETIMEDOUT, "the event was not set before the timeout");
        return r;
}
