/* SPDX-License-Identifier: MIT */

/* Arming and cancelling, which is user memory and, for descriptors, the epoll. */

#include "event/waiter.h"

#include "base/fail.h"

#include <limits.h>

static int attach(crew_waiter *w, crew__op *op)
{
        const crew__op_spec *spec = &op->spec;
        crew__source *s;
        int r;

        if (spec->source == CREW__SOURCE_NONE) {
                r = crew__heap_reserve(&w->timers, w->n_timers + 1);
                if (r < 0)
                        return r;
                w->n_timers++;
                crew__heap_add(&w->timers, op);
                return 0;
        }
        s = crew__source_get(w, spec);
        if (!s)
                return crew__fail(ENOMEM, "waiter: no memory for another source");
        if (spec->source == CREW__SOURCE_FD) {
                r = crew__set_add(w, s, s->mask | spec->mask);
                if (r < 0) {
                        if (crew__link_alone(&s->ops))
                                crew__source_free(w, s);
                        return r;
                }
                s->mask |= spec->mask;
                s->armed = true;
        }
        op->source = s;
        crew__link_append(&s->ops, &op->sleeping);
        if (spec->source == CREW__SOURCE_EVENTS || spec->source == CREW__SOURCE_WORD || s->told)
                crew__make_hot(w, op);
        else if (!s->armed)
                crew__make_dirty(w, s);
        return 0;
}

int crew__waiter_arm(crew_waiter *w, const crew__op_spec *spec)
{
        crew__op *op;
        int r = crew__waiter_enter(w);

        if (r < 0)
                return r;
        op = crew__op_new(w, spec->tag);
        if (!op)
                return crew__fail(ENOMEM, "waiter: no memory for operation %zu", w->armed + 1);
        op->spec = *spec;
        r = attach(w, op);
        if (r < 0)
                crew__op_free(w, op);
        else
                crew__set_announce(w);
        return r;
}

/* A descriptor is watched for what is left; too much would only be told for nothing. */
static void narrow(crew_waiter *w, crew__source *s)
{
        uint32_t mask = 0;

        CREW__EACH (at, &s->ops)
                mask |= CREW__OF(at, crew__op, sleeping)->spec.mask;
        if (mask != s->mask && crew__set_add(w, s, mask) == 0)
                s->mask = mask;
}

int crew_waiter_cancel(crew_waiter *w, uint64_t tag)
{
        int n = 0, r = crew__waiter_enter(w);

        if (r < 0)
                return r;
        CREW__EACH (at, crew__tag_bucket(w, tag)) {
                crew__op *op = CREW__OF(at, crew__op, tagged);
                crew__source *s = op->source;
                bool last = s && s->ops.next == s->ops.prev;

                if (op->spec.tag != tag)
                        continue;
                crew__op_release(w, op);
                if (s && !last && s->kind == CREW__SOURCE_FD)
                        narrow(w, s);
                n += n < INT_MAX;
        }
        if (n)
                crew__set_announce(w);
        return n;
}
