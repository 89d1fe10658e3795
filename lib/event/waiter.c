/* SPDX-License-Identifier: MIT */

/* The wait itself: try what is hot, arm what is not, sleep, and again. */

#include "event/waiter.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "base/trace.h"
#include "kernel/features.h"

#include <limits.h>
#include <unistd.h>

enum { DEFAULT_DEPTH = 64, MAX_FIRST_DEPTH = 65536 };

int crew__waiter_enter(const crew_waiter *w)
{
        if (__builtin_expect(w->generation == crew__generation(), 1))
                return 0;
        return crew__fail_quick(
                ECHILD, "the waiter was inherited through a fork; make one in this process");
}

int crew_waiter_new(crew_waiter **w, unsigned depth)
{
        crew_waiter *made;
        int r;

        if (!w)
                return crew__fail(EINVAL, "waiter: nowhere to store the handle");
        made = calloc(1, sizeof *made);
        if (!made)
                return crew__fail(ENOMEM, "waiter: no memory for it");
        crew__link_init(&made->hot);
        crew__link_init(&made->dirty);
        crew__link_init(&made->sliced);
        crew__link_init(&made->sources);
        made->tick = CREW__NEVER;
        made->set_source.arming = CREW__NO_ARMING;
        made->generation = crew__generation();
        depth = depth ? depth : DEFAULT_DEPTH;
        r = crew__table_init(made, depth < MAX_FIRST_DEPTH ? depth : MAX_FIRST_DEPTH);
        if (r < 0)
                (void)crew__fail(ENOMEM, "waiter: no memory for %u operations", depth);
        else
                r = crew__set_open(made);
        if (r < 0) {
                crew__set_close(made);
                crew__table_free(made);
                free(made);
                return r;
        }
        made->backend = crew__has(CREW__IO_URING) ? &crew__backend_uring : &crew__backend_epoll;
        *w = made;
        return 0;
}

/* In a forked child: nothing that the parent shares is touched, above all not its epoll. */
static void forget_all(crew_waiter *w)
{
        CREW__EACH (source, &w->sources) {
                crew__source *s = CREW__OF(source, crew__source, all);

                CREW__EACH (at, &s->ops) {
                        crew__op *op = CREW__OF(at, crew__op, sleeping);

                        if (op->spec.class->unref)
                                op->spec.class->unref(op->spec.object);
                }
                if (s->set_fd >= 0 && s->set_fd != s->fd)
                        (void)crew__close(s->set_fd);
                free(s);
        }
        crew__uring_forget(w->ring);
}

static void release_all(crew_waiter *w)
{
        /* A source goes with its last operation. */
        while (!crew__link_alone(&w->sources)) {
                crew__source *s = CREW__OF(w->sources.next, crew__source, all);

                crew__op_release(w, CREW__OF(s->ops.next, crew__op, sleeping));
        }
}

crew_waiter *crew_waiter_free(crew_waiter *w)
{
        if (!w)
                return NULL;
        if (w->generation == crew__generation()) {
                w->backend->close(w);
                release_all(w);
        } else {
                forget_all(w);
        }
        crew__set_close(w);
        crew__table_free(w);
        free(w);
        return NULL;
}

const char *crew__waiter_backend(const crew_waiter *w)
{
        return w->backend->name;
}

void crew__make_hot(crew_waiter *w, crew__op *op)
{
        if (!crew__link_alone(&op->hot))
                return;
        crew__link_append(&w->hot, &op->hot);
        w->n_hot++;
}

static void cool(crew_waiter *w, crew__op *op)
{
        if (crew__link_alone(&op->hot))
                return;
        crew__link_leave(&op->hot);
        w->n_hot--;
}

void crew__make_dirty(crew_waiter *w, crew__source *s)
{
        if (crew__link_alone(&s->dirty))
                crew__link_append(&w->dirty, &s->dirty);
}

static void slice(crew_waiter *w, crew__source *s)
{
        if (crew__link_alone(&s->sliced))
                crew__link_append(&w->sliced, &s->sliced);
        if (w->tick == CREW__NEVER)
                w->tick = crew_clock() + CREW__SLICE;
}

static void all_hot(crew_waiter *w, crew__source *s)
{
        CREW__EACH (at, &s->ops)
                crew__make_hot(w, CREW__OF(at, crew__op, sleeping));
}

void crew__hint(crew_waiter *w, crew__source *s, uint32_t revents)
{
        if (s->kind != CREW__SOURCE_FD) {
                /* An end is told once; if it then turns out not to be one, slices take over. */
                s->armed = s->told = s->kind == CREW__SOURCE_PROCESS;
                all_hot(w, s);
                return;
        }
        CREW__EACH (at, &s->ops) {
                crew__op *op = CREW__OF(at, crew__op, sleeping);
                uint32_t mine = revents & (op->spec.mask | CREW__FD_ALWAYS);

                if (mine) {
                        op->revents = mine;
                        op->told = w->pass;
                        crew__make_hot(w, op);
                }
        }
}

int64_t crew__next_time(const crew_waiter *w)
{
        const crew__op *first = crew__heap_first(&w->timers);

        return first ? crew__earlier(first->spec.when, w->tick) : w->tick;
}

void crew__op_release(crew_waiter *w, crew__op *op)
{
        crew__source *s = op->source;

        cool(w, op);
        crew__link_leave(&op->sleeping);
        crew__heap_remove(&w->timers, op);
        if (op->spec.source == CREW__SOURCE_NONE)
                w->n_timers--;
        if (s && crew__link_alone(&s->ops)) {
                w->backend->forget(w, s);
                crew__source_free(w, s);
                if (crew__link_alone(&w->sliced))
                        w->tick = CREW__NEVER;
        }
        if (op->spec.class->unref)
                op->spec.class->unref(op->spec.object);
        crew__op_free(w, op);
}

/* It was tried and is not done: sees to it that something will make it hot again. */
static void not_yet(crew_waiter *w, crew__op *op)
{
        crew__source *s = op->source;

        if (!s)
                crew__heap_add(&w->timers, op);
        else if (s->kind == CREW__SOURCE_PROCESS && s->told)
                slice(w, s);
        else if (!s->armed)
                crew__make_dirty(w, s);
}

static bool attempt(crew_waiter *w, crew__op *op, crew_completion *done)
{
        int64_t result = 0;

        if (op->told != w->pass)
                op->revents = 0;
        /* Before the try: what changes after it is not what is slept on. */
        if (op->spec.source == CREW__SOURCE_WORD)
                op->source->value = atomic_load_explicit(op->spec.word, memory_order_relaxed);
        if (!op->spec.class->try(op, &result)) {
                not_yet(w, op);
                return false;
        }
        *done = (crew_completion){
                .tag = op->spec.tag,
                .result = result,
                .object = op->spec.object,
                .kind = op->spec.class->kind,
                .revents = op->revents,
        };
        if (!op->spec.class->level || result < 0)
                crew__op_release(w, op);
        else if (op->spec.source == CREW__SOURCE_NONE)
                crew__heap_add(&w->timers, op);
        else if (op->spec.source != CREW__SOURCE_FD) /* of which the epoll tells again */
                crew__make_hot(w, op);
        return true;
}

/*
 * A wake goes before what is ready, but not twice in a row: a caller who takes one completion at a
 * time and is woken all the time still gets to see the others.
 */
static int take_wake(crew_waiter *w, crew_completion *done)
{
        uint64_t count;
        ssize_t n;

        if (!atomic_load(&w->woken) || (w->woken_last && w->n_hot))
                return 0;
        /* In this order: the other way round, a wake in between would set the flag and have its
         * write read here, and a poller of the descriptor would sleep. */
        n = read(w->wake, &count, sizeof count);
        (void)n;
        atomic_store(&w->woken, 0);
        *done = (crew_completion){ .kind = CREW_WOKEN };
        return 1;
}

/* Tries each hot operation once, in the order in which they got hot, while there is room. */
static int try_all(crew_waiter *w, crew_completion *out, int max)
{
        int woken = take_wake(w, out), n = woken;

        for (size_t left = w->n_hot; left && n < max; left--) {
                crew__op *op = CREW__OF(w->hot.next, crew__op, hot);

                cool(w, op);
                if (attempt(w, op, &out[n]))
                        n++;
        }
        w->woken_last = woken && n == 1;
        return n;
}

/* What time alone makes hot. */
static void look_at_clock(crew_waiter *w)
{
        int64_t now;
        crew__op *op;

        if (crew__next_time(w) == CREW__NEVER)
                return;
        now = crew_clock();
        while ((op = crew__heap_first(&w->timers)) && op->spec.when <= now) {
                crew__heap_remove(&w->timers, op);
                crew__make_hot(w, op);
        }
        if (w->tick > now)
                return;
        w->tick = now + CREW__SLICE;
        CREW__EACH (source, &w->sliced) {
                crew__source *s = CREW__OF(source, crew__source, sliced);

                CREW__EACH (at, &s->ops) {
                        crew__op *op_at = CREW__OF(at, crew__op, sleeping);

                        if (s->kind == CREW__SOURCE_EVENTS && !op_at->spec.class->ready(op_at))
                                continue;
                        /* It should have been told: whoever died in between may have left the
                         * event count unarmed. Arming twice is harmless. */
                        if (s->kind == CREW__SOURCE_EVENTS)
                                s->armed = false;
                        crew__make_hot(w, op_at);
                }
                if (!s->armed)
                        crew__make_dirty(w, s);
        }
}

/*
 * What was not armed when the last wait ended: queues are simply tried, which may save the arming;
 * a process is armed, which is cheaper than asking for it.
 */
static int rouse(crew_waiter *w)
{
        crew__link later;
        int r = 0;

        crew__link_init(&later);
        crew__link_move_all(&later, &w->dirty);
        CREW__EACH (at, &later) {
                crew__source *s = CREW__OF(at, crew__source, dirty);

                crew__link_leave(&s->dirty);
                if (s->kind == CREW__SOURCE_EVENTS)
                        all_hot(w, s);
                else if (r == 0)
                        r = w->backend->arm(w, s);
                if (!s->armed && s->kind != CREW__SOURCE_EVENTS)
                        crew__make_dirty(w, s);
        }
        return r == -EAGAIN ? 0 : r;
}

/* Arms what is dirty and looks again at what may have changed before that. */
static int settle(crew_waiter *w)
{
        while (!crew__link_alone(&w->dirty)) {
                crew__source *s = CREW__OF(w->dirty.next, crew__source, dirty);
                int r = w->backend->arm(w, s);

                if (r < 0 && r != -EAGAIN)
                        return r;
                crew__link_leave(&s->dirty);
                if (r == -EAGAIN)
                        slice(w, s); /* unarmed: looked at in 20 ms, and armed then */
                if (s->kind != CREW__SOURCE_EVENTS)
                        continue;
                CREW__EACH (at, &s->ops) {
                        crew__op *op = CREW__OF(at, crew__op, sleeping);

                        if (op->spec.class->ready(op))
                                crew__make_hot(w, op);
                        if (op->spec.class->sliced(op))
                                slice(w, s);
                }
        }
        return 0;
}

static bool nothing_left(const crew_waiter *w, int64_t timeout)
{
        return w->armed == 0 && timeout == CREW_FOREVER && !w->polled;
}

/* The time is over: what got hot meanwhile still counts, but only once, lest others who keep taking
 * what this waiter is told of keep it here. */
static int last_try(crew_waiter *w, crew_completion *out, int max, int64_t deadline)
{
        int r = try_all(w, out, max);

        return r ? r : crew__expired(deadline);
}

/* One round: 1 and up = so many completions, 0 = go on, negative = the wait is over. */
static int round_of(crew_waiter *w, crew_completion *out, int max, int64_t deadline)
{
        bool interrupted = false;
        int r = settle(w);

        if (r < 0)
                return r;
        if (!w->n_hot) {
                r = w->backend->wait(w, crew__earlier(deadline, crew__next_time(w)));
                if (r < 0 && r != -EINTR)
                        return r;
                interrupted = r == -EINTR;
                look_at_clock(w);
        }
        if (deadline <= crew_clock() && !interrupted)
                return last_try(w, out, max, deadline);
        r = try_all(w, out, max);
        if (r == 0 && interrupted)
                return crew__fail_quick(EINTR, "a signal handler ran during the wait");
        return r;
}

/* Shorter ones are not worth a line of a trace. */
#define LONG_WAIT INT64_C(20000)

static int wait_until(crew_waiter *w, crew_completion *out, int max, int64_t timeout)
{
        crew__patience patience = crew__patience_of(timeout);
        int r;

        w->pass++;
        w->backend->begin(w);
        r = rouse(w);
        if (r < 0)
                return r;
        r = w->backend->wait(w, 0);
        if (r < 0 && r != -EINTR)
                return r;
        look_at_clock(w);
        if (nothing_left(w, timeout) && !atomic_load(&w->woken))
                return crew__fail(EDEADLK,
                        "waiter: nothing is armed and the wait would never end; arm something or "
                        "give it a timeout");
        r = try_all(w, out, max);
        while (r == 0)
                r = round_of(w, out, max, crew__patience_end(&patience));
        return r;
}

int crew_waiter_wait(crew_waiter *w, crew_completion *out, int max, int64_t timeout)
{
        int r = crew__waiter_enter(w);
        int64_t began;

        if (r < 0)
                return r;
        if (max < 1 || !out)
                return crew__fail(EINVAL, "waiter: room for %d completions, at least 1", max);
        began = crew__trace_clock();
        r = wait_until(w, out, max, timeout);
        if (__builtin_expect(began != 0, 0) && crew_clock() - began > LONG_WAIT)
                crew__trace_span(0, "wait", began, crew_clock(), "waiter: %d", r);
        if (r == -EAGAIN)
                (void)crew__fail_quick(EAGAIN, "nothing has completed");
        else if (r == -ETIMEDOUT)
                (void)crew__fail_quick(ETIMEDOUT, "nothing completed before the timeout");
        if (w->polled) {
                /* What was armed must be with the kernel when the caller goes to sleep elsewhere.
                 */
                (void)w->backend->wait(w, 0);
                w->unsettled = false;
                crew__set_announce(w);
        }
        return r;
}

int crew_waiter_pollfd(crew_waiter *w)
{
        int r = crew__waiter_enter(w);

        if (r < 0)
                return r;
        if (!w->polled) {
                r = crew__set_poll(w);
                if (r < 0)
                        return r;
                /* What is armed was armed for a sleep elsewhere: the next wait arms it again. */
                w->unsettled = w->armed > 0;
        }
        crew__set_announce(w);
        return w->epoll;
}

int crew_waiter_wake(crew_waiter *w)
{
        static const uint64_t one = 1;
        int saved = errno;
        ssize_t n;

        if (w->generation != crew__generation())
                return -ECHILD;
        if (!atomic_exchange(&w->woken, 1)) {
                n = write(w->wake, &one, sizeof one);
                (void)n;
        }
        errno = saved;
        return 0;
}
