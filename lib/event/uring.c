/* SPDX-License-Identifier: MIT */

/*
 * The io_uring backend: one entry of the kernel hands over what is newly armed, sleeps and fetches
 * what happened. The end of a child is WAITID (with WNOWAIT: it only tells, the process layer
 * collects), a queue's side is FUTEX_WAIT on its event count; a kernel without those has the pidfd
 * polled in the ring and the eventfd watched by the waiter's epoll, which the ring polls.
 *
 * Once somebody polls the waiter from outside, it sleeps in its epoll: the ring's own descriptor
 * never gets readable (DEFER_TASKRUN), but it writes to an eventfd there.
 */

#include "event/ring.h"
#include "event/waiter.h"

#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/missing.h"

#include <poll.h>
#include <sys/wait.h>

/* An endless sleep in slices, so that a time always fits. */
#define LONGEST CREW_S(3600)

static void rearm(crew_waiter *w, crew__source *s)
{
        s->arming = CREW__NO_ARMING;
        if (s == &w->set_source) {
                w->set_ready = true;
                return;
        }
        s->armed = false;
        if (!crew__link_alone(&s->ops))
                crew__make_dirty(w, s);
}

/* Everything armed in the ring is armed no more. */
static void abandon(crew_waiter *w)
{
        crew__uring *ring = w->ring;

        if (!ring)
                return;
        w->ring = NULL;
        CREW__EACH (at, &w->sources) {
                crew__source *s = CREW__OF(at, crew__source, all);

                if (s->arming != CREW__NO_ARMING)
                        rearm(w, s);
        }
        rearm(w, &w->set_source);
        crew__uring_return(ring);
}

static void begin(crew_waiter *w)
{
        int r;

        if (w->ring && crew__uring_mine(w->ring))
                return;
        abandon(w);
        r = crew__uring_lend(&w->ring);
        if (r == 0)
                return;
        /* No descriptor left is this thread's trouble of the moment; anything else will stay. */
        if (r != -EMFILE && r != -ENFILE)
                crew__feature_fell_short(CREW__IO_URING, -r);
        w->backend = &crew__backend_epoll;
}

static void prepare_process(struct io_uring_sqe *sqe, const crew__source *s)
{
        if (s->no_ring || !crew__has(CREW__URING_WAITID)) {
                io_uring_prep_poll_add(sqe, s->fd, POLLIN);
                return;
        }
        io_uring_prep_rw(CREW__IORING_OP_WAITID, sqe, s->fd, NULL, CREW__P_PIDFD, 0);
        sqe->file_index = WEXITED | WNOWAIT | __WALL;
}

static bool is_futex(const crew__source *s)
{
        return s->kind == CREW__SOURCE_EVENTS || s->kind == CREW__SOURCE_WORD;
}

static void prepare_futex(struct io_uring_sqe *sqe, crew__source *s)
{
        bool plain = s->kind == CREW__SOURCE_WORD;
        uint32_t value = plain ? s->value : crew__events_prepare(s->events);

        io_uring_prep_rw(CREW__IORING_OP_FUTEX_WAIT, sqe, FUTEX2_SIZE_U32,
                plain ? s->word : &s->events->word, 0, value);
        sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
}

static int arm(crew_waiter *w, crew__source *s)
{
        struct io_uring_sqe *sqe;
        uint64_t name;

        /* For who sleeps elsewhere a queue's own eventfd tells: with its futex in the ring the
         * descriptor to poll stays silent now and then on Linux 6.12 (live/pool-drive finds it). */
        if (is_futex(s) && (w->polled || s->no_ring || !crew__has(CREW__URING_FUTEX)))
                return s->kind == CREW__SOURCE_WORD ? -EAGAIN : crew__set_arm_events(w, s);
        if (s->arming == CREW__NO_ARMING) {
                sqe = crew__uring_prepare(w->ring, s, &s->arming, &name);
                if (!sqe)
                        return -EAGAIN;
                if (is_futex(s))
                        prepare_futex(sqe, s);
                else
                        prepare_process(sqe, s);
                sqe->user_data = name;
        }
        s->armed = true;
        return 0;
}

static void forget(crew_waiter *w, crew__source *s)
{
        if (s->arming != CREW__NO_ARMING)
                crew__uring_orphan(w->ring, s->arming);
        s->arming = CREW__NO_ARMING;
        crew__set_remove(w, s);
}

/* A completion. What failed for a reason that will stay is watched in another way. */
static void tell(void *data, crew__source *s, int result)
{
        crew_waiter *w = data;

        s->arming = CREW__NO_ARMING;
        if (s == &w->set_source || result == -ECANCELED || result == -EINTR) {
                rearm(w, s);
        } else if (is_futex(s)) {
                s->no_ring = result < 0 && result != -EAGAIN;
                crew__hint(w, s, 0);
        } else if (result < 0 && !s->no_ring) {
                /* Not a child, or somebody else collected it: its pidfd knows. */
                s->no_ring = true;
                rearm(w, s);
        } else {
                crew__hint(w, s, 0);
        }
}

/* Has the ring watch the epoll, unless there may be something in it now. */
static void watch_set(crew_waiter *w)
{
        struct io_uring_sqe *sqe;
        uint64_t name;

        if (w->set_ready)
                w->set_ready = crew__set_collect(w) > 0;
        if (w->set_ready || w->set_source.arming != CREW__NO_ARMING)
                return;
        sqe = crew__uring_prepare(w->ring, &w->set_source, &w->set_source.arming, &name);
        if (!sqe) {
                w->set_ready = true;
                return;
        }
        io_uring_prep_poll_add(sqe, w->epoll, POLLIN);
        sqe->user_data = name;
}

static int sleep_in(crew__uring *ring, int64_t until)
{
        int64_t left = crew__earlier(crew_until(until), LONGEST), end = crew_clock() + left;
        struct __kernel_timespec patience = {
                .tv_sec = left / CREW_S(1),
                .tv_nsec = left % CREW_S(1),
        };
        struct io_uring_cqe *cqe;
        int r = io_uring_submit_and_wait_timeout(&ring->io, &cqe, 1, &patience, NULL);

        /* A call that also submitted something says how much, and nothing of the handler that ended
         * its sleep. It slept only if it submitted all. */
        if (r > 0 && !io_uring_cq_ready(&ring->io) && !io_uring_sq_ready(&ring->io) &&
                crew_clock() < end)
                return -EINTR;
        return r;
}

/* Into the kernel, at most until `until`; what it said. */
static int enter(crew_waiter *w, int64_t until)
{
        crew__uring *ring = w->ring;

        if (until && !w->n_hot && !w->set_ready && !io_uring_cq_ready(&ring->io))
                return sleep_in(ring, until);
        return crew__uring_busy(ring) ? io_uring_submit_and_get_events(&ring->io) : 0;
}

/*
 * What the kernel's refusal means. With EBADR it had no memory for a completion and dropped it, so
 * nothing armed can be relied on: all is armed again in another ring. Else the ring cannot be used
 * any more, as in a sandbox or after the host closed descriptors that it does not own.
 */
static int refused(crew_waiter *w, int r)
{
        switch (r) {
        case -ETIME:
        case -EAGAIN:
        case -EBUSY:
                return 0;
        case -EINTR:
                return r;
        case -EBADR:
                abandon(w);
                begin(w);
                return 0;
        default:
                if (r == -EPERM || r == -ENOSYS)
                        crew__feature_fell_short(CREW__IO_URING, -r);
                crew__uring_lose(w->ring, r);
                abandon(w);
                w->backend = &crew__backend_epoll;
                return 0;
        }
}

/* What the epoll has, then what the ring has: it wrote to the epoll's eventfd before, so what comes
 * after this look writes to it again. */
static int look(crew_waiter *w)
{
        int r;

        (void)crew__set_collect(w);
        r = enter(w, 0);
        crew__uring_collect(w->ring, tell, w);
        return r < 0 ? refused(w, r) : 0;
}

/* Sleeps in the epoll, where the ring reports to an eventfd. */
static int wait_polled(crew_waiter *w, int64_t until)
{
        int r;

        if (w->ring->events < 0 && crew__uring_report_to(w->ring, w->look) < 0)
                return crew__fail(ENOMEM, "waiter: the ring cannot report to an eventfd");
        r = look(w);
        if (r < 0 || !until || !w->ring || w->n_hot || !crew__link_alone(&w->dirty))
                return r;
        r = crew__set_sleep(w, until);
        (void)look(w);
        return r;
}

static int wait_for(crew_waiter *w, int64_t until)
{
        int r;

        crew__uring_cancel_orphans(w->ring);
        if (w->polled)
                return wait_polled(w, until);
        watch_set(w);
        r = enter(w, until);
        crew__uring_collect(w->ring, tell, w);
        if (w->set_ready)
                w->set_ready = crew__set_collect(w) > 0;
        return r < 0 ? refused(w, r) : 0;
}

const crew__backend crew__backend_uring = {
        .name = "io_uring",
        .begin = begin,
        .arm = arm,
        .forget = forget,
        .wait = wait_for,
        .close = abandon,
};
