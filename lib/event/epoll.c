/* SPDX-License-Identifier: MIT */

/* The reference backend: everything is a descriptor in the waiter's epoll. */

#include "event/waiter.h"

#include <sys/epoll.h>

static int arm(crew_waiter *w, crew__source *s)
{
        int r;

        if (s->kind == CREW__SOURCE_WORD)
                return -EAGAIN; /* looked at every 20 ms */
        if (s->kind == CREW__SOURCE_EVENTS)
                return crew__set_arm_events(w, s);
        /* Edges here too: a traced process may look ended for long and not be collectable. */
        r = crew__set_add(w, s, EPOLLIN | EPOLLET);
        if (r == 0)
                s->armed = true;
        return r;
}

static int wait_for(crew_waiter *w, int64_t until)
{
        int r = until ? crew__set_sleep(w, until) : 0;

        /* An epoll with nothing but the wake in it is not worth a system call. */
        if (until || w->in_set || w->polled)
                (void)crew__set_collect(w);
        return r;
}

static void begin(crew_waiter *w)
{
        (void)w;
}

const crew__backend crew__backend_epoll = {
        .name = "epoll",
        .begin = begin,
        .arm = arm,
        .forget = crew__set_remove,
        .wait = wait_for,
        .close = begin,
};
