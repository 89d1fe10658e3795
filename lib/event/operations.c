/* SPDX-License-Identifier: MIT */

/* The operations that need nothing above this layer: queues, pipes, descriptors, timers. */

#include "event/waiter.h"

#include "base/fail.h"
#include "pipe/pipe.h"
#include "queue/queue.h"

#include <poll.h>

static void queue_unref(void *object)
{
        (void)crew_queue_free(object);
}

static bool queue_sliced(const crew__op *op)
{
        return crew__queue_sliced(op->spec.object);
}

static bool get_ready(const crew__op *op)
{
        return crew__queue_look(op->spec.object);
}

static bool put_ready(const crew__op *op)
{
        return crew__queue_ready(op->spec.object, CREW__QUEUE_PUT, op->spec.size);
}

/* A lock that is held, or a handler that ran meanwhile, is no answer: it is tried again. */
static bool answered(int64_t result)
{
        return result != -EAGAIN && result != -EINTR;
}

static bool get_try(crew__op *op, int64_t *result)
{
        crew_queue *q = op->spec.object;

        *result = crew__queue_enter(q);
        if (*result < 0)
                return true;
        if (!get_ready(op))
                return false;
        *result = crew_queue_get(q, op->spec.buffer.into, op->spec.size, CREW_NOW);
        return answered(*result);
}

static bool put_try(crew__op *op, int64_t *result)
{
        crew_queue *q = op->spec.object;

        /* No look at the room first: what can never be put is refused even when there is none. */
        *result = crew_queue_put(q, op->spec.buffer.from, op->spec.size, CREW_NOW);
        return answered(*result);
}

static bool level_try(crew__op *op, int64_t *result, bool drained)
{
        crew_queue *q = op->spec.object;
        uint32_t state;

        *result = crew__queue_enter(q);
        if (*result < 0)
                return true;
        /* Before the look: what was put before the close is then seen by the look. */
        state = crew__queue_state(q);
        if (state & CREW__STATE_BROKEN)
                *result = -ENOTRECOVERABLE;
        else if (state & CREW__STATE_CLOSED && (!drained || crew_queue_empty(q)))
                *result = -EPIPE;
        else if (!op->spec.class->ready(op))
                return false;
        return true;
}

static bool readable_try(crew__op *op, int64_t *result)
{
        return level_try(op, result, true);
}

static bool writable_try(crew__op *op, int64_t *result)
{
        return level_try(op, result, false);
}

static void connection_unref(void *object)
{
        (void)crew_connection_free(object);
}

static bool recv_try(crew__op *op, int64_t *result)
{
        *result = crew_connection_recv(
                op->spec.object, op->spec.buffer.into, op->spec.size, CREW_NOW);
        return answered(*result);
}

static bool fd_try(crew__op *op, int64_t *result)
{
        /* The kernel's events of poll() and epoll have the same numbers. */
        struct pollfd fd = { .fd = op->spec.fd, .events = (short)op->spec.mask };

        *result = 0;
        if (!op->revents && poll(&fd, 1, 0) > 0 && !(fd.revents & POLLNVAL))
                op->revents = (unsigned short)fd.revents;
        return op->revents;
}

static bool timer_try(crew__op *op, int64_t *result)
{
        int64_t now = crew_clock(), every = op->spec.every, n;

        if (now < op->spec.when)
                return false;
        n = every ? (now - op->spec.when) / every + 1 : 1;
        *result = n;
        op->spec.when =
                every > (CREW__NEVER - op->spec.when) / n ? CREW__NEVER : op->spec.when + n * every;
        return true;
}

static const crew__op_class get_class = {
        .kind = CREW_GOT,
        .try = get_try,
        .ready = get_ready,
        .sliced = queue_sliced,
        .unref = queue_unref,
};

static const crew__op_class put_class = {
        .kind = CREW_PUT_IN,
        .try = put_try,
        .ready = put_ready,
        .sliced = queue_sliced,
        .unref = queue_unref,
};

static const crew__op_class readable_class = {
        .kind = CREW_READABLE,
        .level = true,
        .try = readable_try,
        .ready = get_ready,
        .sliced = queue_sliced,
        .unref = queue_unref,
};

static const crew__op_class writable_class = {
        .kind = CREW_WRITABLE,
        .level = true,
        .try = writable_try,
        .ready = put_ready,
        .sliced = queue_sliced,
        .unref = queue_unref,
};

static const crew__op_class recv_class = {
        .kind = CREW_GOT,
        .try = recv_try,
        .unref = connection_unref,
};

static const crew__op_class fd_class = { .kind = CREW_FD, .level = true, .try = fd_try };
static const crew__op_class once_class = { .kind = CREW_TIMER, .try = timer_try };
static const crew__op_class timer_class = { .kind = CREW_TIMER, .level = true, .try = timer_try };

static int arm_queue(crew_waiter *w, crew_queue *q, enum crew__queue_side side, crew__op_spec *spec)
{
        int r;

        if (!q)
                return crew__fail(EINVAL, "waiter: no queue");
        spec->source = CREW__SOURCE_EVENTS;
        spec->fd = crew__queue_eventfd(q, side);
        spec->events = crew__queue_events(q, side);
        spec->object = crew__queue_ref(q);
        r = crew__waiter_arm(w, spec);
        if (r < 0)
                (void)crew_queue_free(q);
        return r;
}

int crew_waiter_get(crew_waiter *w, crew_queue *q, void *buf, size_t cap, uint64_t tag)
{
        crew__op_spec spec = { .class = &get_class, .buffer.into = buf, .size = cap, .tag = tag };

        if (!buf && cap)
                return crew__fail(EINVAL, "waiter: a get of up to %zu bytes to nowhere", cap);
        return arm_queue(w, q, CREW__QUEUE_GET, &spec);
}

int crew_waiter_put(crew_waiter *w, crew_queue *q, const void *data, size_t size, uint64_t tag)
{
        crew__op_spec spec = { .class = &put_class, .buffer.from = data, .size = size, .tag = tag };

        if (!data && size)
                return crew__fail(EINVAL, "waiter: a put of %zu bytes from nowhere", size);
        return arm_queue(w, q, CREW__QUEUE_PUT, &spec);
}

int crew_waiter_recv(crew_waiter *w, crew_connection *c, void *buf, size_t cap, uint64_t tag)
{
        crew__op_spec spec = {
                .class = &recv_class,
                .buffer.into = buf,
                .size = cap,
                .tag = tag,
                .source = CREW__SOURCE_FD,
                .mask = EPOLLIN,
        };
        int r;

        if (!buf && cap)
                return crew__fail(EINVAL, "waiter: a message of up to %zu bytes to nowhere", cap);
        r = crew__connection_enter(c, CREW__PIPE_RECEIVES);
        if (r < 0)
                return r;
        spec.fd = crew__connection_socket(c);
        spec.object = crew__connection_ref(c);
        r = crew__waiter_arm(w, &spec);
        if (r < 0)
                (void)crew_connection_free(c);
        return r;
}

int crew_waiter_readable(crew_waiter *w, crew_queue *q, uint64_t tag)
{
        crew__op_spec spec = { .class = &readable_class, .tag = tag };

        return arm_queue(w, q, CREW__QUEUE_GET, &spec);
}

int crew_waiter_writable(crew_waiter *w, crew_queue *q, uint64_t tag)
{
        /* "Room" as crew_queue_full() means it. */
        crew__op_spec spec = {
                .class = &writable_class, .tag = tag, .size = q ? (size_t)q->message_size : 0
        };

        return arm_queue(w, q, CREW__QUEUE_PUT, &spec);
}

int crew_waiter_fd(crew_waiter *w, int fd, uint32_t events, uint64_t tag)
{
        const uint32_t known = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | CREW__FD_ALWAYS;
        crew__op_spec spec = {
                .class = &fd_class,
                .tag = tag,
                .source = CREW__SOURCE_FD,
                .fd = fd,
                .mask = events,
        };

        if (fd < 0)
                return crew__fail(EINVAL, "waiter: %d is no descriptor", fd);
        if (events & ~known)
                return crew__fail(EINVAL,
                        "waiter: events 0x%x; there are EPOLLIN, EPOLLOUT, EPOLLPRI and EPOLLRDHUP",
                        events & ~known);
        return crew__waiter_arm(w, &spec);
}

int crew_waiter_timer(crew_waiter *w, int64_t first, int64_t every, uint64_t tag)
{
        crew__op_spec spec = {
                .class = every ? &timer_class : &once_class,
                .tag = tag,
                .source = CREW__SOURCE_NONE,
                .fd = -1,
                .when = crew__deadline(first),
                .every = every,
        };

        if (every < 0)
                return crew__fail(EINVAL, "waiter: a timer every %lld ns", (long long)every);
        if (first <= 0)
                spec.when = crew_clock();
        return crew__waiter_arm(w, &spec);
}
