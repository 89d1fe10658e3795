/* SPDX-License-Identifier: MIT */

/* Joining in a waiter: the kernel only tells of the end; it is collected as by every join. */

#include "event/operation.h"
#include "process/process.h"

static bool try_join(crew__op *op, int64_t *result)
{
        *result = 0;
        return crew__process_poll_ended(op->spec.object) != 0;
}

static void unref(void *process)
{
        (void)crew__process_unref(process);
}

static const crew__op_class join_class = {
        .kind = CREW_JOINED,
        .try = try_join,
        .unref = unref,
};

int crew_waiter_join(crew_waiter *w, crew_process *p, uint64_t tag)
{
        crew__op_spec spec = {
                .class = &join_class,
                .object = p,
                .tag = tag,
                .source = CREW__SOURCE_PROCESS,
        };
        int r = crew__waiter_enter(w);

        if (r == 0)
                r = crew__process_enter_joinable(p);
        if (r < 0)
                return r;
        spec.fd = p->pidfd;
        (void)crew__process_ref(p);
        r = crew__waiter_arm(w, &spec);
        if (r < 0)
                (void)crew__process_unref(p);
        return r;
}
