/* SPDX-License-Identifier: MIT */

/* The end of a process as an operation of a waiter. */

#include "event/operation.h"
#include "process/process.h"

#include <sys/epoll.h>

static bool try_join(crew__op *op, int64_t *result)
{
        *result = 0;
        return crew__process_poll_ended(op->spec.object) != 0;
}

static void drop(void *object)
{
        (void)crew__process_unref(object);
}

static const crew__op_class join_class = {
        .kind = CREW_JOINED,
        .try = try_join,
        .unref = drop,
};

int crew_waiter_join(crew_waiter *w, crew_process *p, uint64_t tag)
{
        crew__op_spec spec = { .class = &join_class, .object = p, .tag = tag };
        int r;

        r = crew__waiter_enter(w);
        if (r == 0)
                r = crew__process_enter_joinable(p);
        if (r < 0)
                return r;
        spec.fd = p->pidfd;
        spec.source = CREW__SOURCE_PROCESS;
        if (p->role == CREW__PARENT) {
                /* Not a child of ours: waitid() would refuse it, but its pidfd can be polled. */
                spec.source = CREW__SOURCE_FD;
                spec.mask = EPOLLIN;
        }
        (void)crew__process_ref(p);
        r = crew__waiter_arm(w, &spec);
        if (r < 0)
                (void)crew__process_unref(p);
        return r;
}
