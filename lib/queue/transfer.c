/* SPDX-License-Identifier: MIT */

/*
 * Putting and getting: lock the side, move what fits, commit with one store, unlock, notify.
 *
 * A death before the commit leaves the index as it was, so nothing happened; a death after it
 * leaves a whole message (or its absence). Records that were written but not committed are
 * overwritten by the next put.
 */

#include "queue/holders.h"
#include "queue/sides.h"

#include "base/fail.h"
#include "base/trace.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* This thread has put something and not waited since: what it gets next may be the answer. */
static _Thread_local bool asked __attribute__((tls_model("initial-exec")));

/* Could this message ever be put? 0 or why not. */
static inline int acceptable(const crew_queue *q, size_t size)
{
        if (__builtin_expect(size > q->ring_bytes - CREW__RECORD_HEADER, 0))
                return -EMSGSIZE;
        if (__builtin_expect(q->message_size && size != q->message_size, 0))
                return -EBADMSG;
        return 0;
}

static int refuse(const crew_queue *q, size_t size, int why)
{
        if (why == -EMSGSIZE)
                return crew__fail(EMSGSIZE,
                        "queue %.63s: a message of %zu bytes, and its ring takes at most %llu; "
                        "make the queue with more bytes",
                        q->ring->name, size,
                        (unsigned long long)(q->ring_bytes - CREW__RECORD_HEADER));
        return crew__fail(EBADMSG, "queue %.63s: a message of %zu bytes, and all have %llu",
                q->ring->name, size, (unsigned long long)q->message_size);
}

static inline int side_lock(crew_queue *q, enum crew__queue_side side, uint32_t single,
        crew__hold *hold, crew__patience *patience)
{
        crew__ring_side *at = side == CREW__QUEUE_PUT ? &q->ring->producers : &q->ring->consumers;

        if (q->flags & single)
                return 0;
        return crew__lock_try(&at->lock, hold) ? 0 : crew__queue_lock_slow(q, side, hold, patience);
}

/* Unlocks the side if it was locked and, if `moved`, tells those who wait on the other one. */
static inline void side_unlock(const crew_queue *q, crew__ring_side *side, uint32_t single,
        crew__hold *hold, bool moved, crew__events *events, int eventfd)
{
        if (q->flags & single) {
                if (moved)
                        crew__events_notify(events, eventfd);
        } else {
                crew__lock_release(&side->lock, hold);
                if (moved)
                        crew__events_notify_after_rmw(events, eventfd);
        }
}

/* With the producers' side held: how many of the messages went in; -EAGAIN if not even the first. */
static inline int put_inside(crew_queue *q, const struct iovec *messages, unsigned n)
{
        uint64_t tail = atomic_load_explicit(&q->ring->tail, memory_order_relaxed), at = tail;
        unsigned done = 0;

        for (; done < n && acceptable(q, messages[done].iov_len) == 0; done++) {
                size_t size = messages[done].iov_len;
                uint64_t need = crew__record_bytes(size);
                int r = crew__side_room(q, tail, at, need);
                char *record;

                if (__builtin_expect(r == -EAGAIN, 0))
                        break;
                if (__builtin_expect(r < 0, 0))
                        return r;
                record = crew__record_at(q->data, at, q->ring_bytes);
                *(uint64_t *)(void *)record = size;
                if (size)
                        memcpy(record + CREW__RECORD_HEADER, messages[done].iov_base, size);
                at = crew__index_add(at, need, 1);
        }
        if (__builtin_expect(done == 0, 0))
                return -EAGAIN;
        crew__side_commit_put(q, at);
        return (int)done;
}

static int put_once(
        crew_queue *q, const struct iovec *messages, unsigned n, crew__patience *patience)
{
        crew__hold hold;
        int r;

        r = crew__side_check(q, CREW__STATE_CLOSED);
        if (__builtin_expect(r < 0, 0))
                return r;
        r = side_lock(q, CREW__QUEUE_PUT, CREW_QUEUE_SINGLE_PRODUCER, &hold, patience);
        if (__builtin_expect(r < 0, 0))
                return r;
        /* Again inside: close sets the flag under this lock. An owner that died inside leaves
         * nothing to repair, so OWNER_DIED is as good as 0. */
        r = crew__side_check(q, CREW__STATE_CLOSED);
        if (__builtin_expect(r == 0, 1))
                r = put_inside(q, messages, n);
        side_unlock(q, &q->ring->producers, CREW_QUEUE_SINGLE_PRODUCER, &hold, r > 0,
                &q->ring->readable, crew__queue_bell(q, CREW__QUEUE_GET));
        return r;
}

static inline int put_or_wait(crew_queue *q, const struct iovec *messages, unsigned n, int64_t timeout,
        int64_t *began)
{
        crew__patience patience = crew__patience_of(timeout);
        int r;

        r = crew__queue_enter(q);
        if (__builtin_expect(r < 0, 0))
                return r;
        r = acceptable(q, messages[0].iov_len);
        if (__builtin_expect(r < 0, 0))
                return refuse(q, messages[0].iov_len, r);
        if (__builtin_expect(q->rows && crew__holders_silent(q), 0))
                return crew__holders_broke_word();
        if (__builtin_expect(q->reserved.open, 0))
                return crew__fail(EBUSY,
                        "queue %.63s: a reservation is open where the message would go; commit or "
                        "abort it first",
                        q->ring->name);
        for (;;) {
                r = put_once(q, messages, n, &patience);
                asked = true;
                if (__builtin_expect(r != -EAGAIN, 1))
                        return r;
                if (timeout <= 0)
                        return crew__fail_quick(EAGAIN, "the queue is full");
                if (!*began)
                        *began = crew__trace_clock();
                r = crew__queue_pause(q, CREW__QUEUE_PUT, messages[0].iov_len,
                        crew__patience_end(&patience));
                if (r == -ETIMEDOUT)
                        return crew__fail_quick(
                                ETIMEDOUT, "the queue stayed full until the timeout");
                if (r < 0)
                        return r;
        }
}

/* A wait of this thread, for CREW_TRACE. */
static void __attribute__((noinline, cold)) trace_wait(
        const crew_queue *q, const char *what, int64_t began)
{
        crew__trace_span(0, "wait", began, crew_clock(), "%s %.63s", what, q->ring->name);
}

static int put_all(crew_queue *q, const struct iovec *messages, unsigned n, int64_t timeout)
{
        int64_t began = 0;
        int r = put_or_wait(q, messages, n, timeout, &began);

        if (__builtin_expect(began != 0, 0))
                trace_wait(q, "put", began);
        return r;
}

int crew_queue_put(crew_queue *q, const void *data, size_t size, int64_t timeout)
{
        struct iovec one = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
        int r = put_all(q, &one, 1, timeout);

        return r < 0 ? r : 0;
}

int crew_queue_put_many(
        crew_queue *q, const struct iovec *messages, unsigned n, int64_t timeout)
{
        if (n == 0 || !messages)
                return crew__fail(EINVAL, "queue %.63s: put_many of no messages", q->ring->name);
        return put_all(q, messages, n < INT_MAX ? n : INT_MAX, timeout);
}

/* Where a get puts what it takes. */
typedef struct taking {
        char *buf;
        size_t cap;
        struct iovec *messages; /* of the batch, or NULL */
        unsigned max;
        bool exact;   /* only a message of `cap` bytes */
        size_t size;  /* of the first message: taken, or too big to be */
} taking;

/* With the consumers' side held: how many were taken; -EAGAIN, -EMSGSIZE, -EBADMSG. */
static inline int get_inside(crew_queue *q, taking *t)
{
        uint64_t head = atomic_load_explicit(&q->ring->head, memory_order_relaxed), at = head, tail;
        size_t used = 0;
        unsigned done = 0;
        int r;

        r = crew__side_messages(q, head, &tail);
        if (r < 0)
                return r;
        for (; done < t->max && (at != tail || crew__side_more(q, head, &tail)); done++) {
                int64_t size = crew__side_size(q, at, tail);

                if (__builtin_expect(size < 0, 0))
                        return (int)size;
                if (done == 0)
                        t->size = (size_t)size;
                if (__builtin_expect(t->exact && (size_t)size != t->cap, 0))
                        return -EBADMSG;
                if (__builtin_expect(used > t->cap || (size_t)size > t->cap - used, 0))
                        break;
                if (size)
                        memcpy(t->buf + used,
                                crew__record_at(q->data, at, q->ring_bytes) + CREW__RECORD_HEADER,
                                (size_t)size);
                if (t->messages)
                        t->messages[done] = (struct iovec){ t->buf + used, (size_t)size };
                used += ((size_t)size + 7) & ~(size_t)7;
                at = crew__index_add(at, crew__record_bytes((uint64_t)size), 1);
        }
        if (__builtin_expect(done == 0, 0))
                return -EMSGSIZE;
        if (__builtin_expect(q->rows != NULL, 0))
                crew__holders_took(q, done);
        crew__side_commit_get(q, at);
        return (int)done;
}

static int get_once(crew_queue *q, taking *t, crew__patience *patience)
{
        uint32_t state;
        crew__hold hold;
        int r;

        r = crew__side_check(q, 0);
        if (__builtin_expect(r < 0, 0))
                return r;
        /* Before the look at the ring: what was put before the close is then seen by the look. */
        state = crew__queue_state(q);
        r = side_lock(q, CREW__QUEUE_GET, CREW_QUEUE_SINGLE_CONSUMER, &hold, patience);
        if (__builtin_expect(r < 0, 0))
                return r;
        r = get_inside(q, t);
        side_unlock(q, &q->ring->consumers, CREW_QUEUE_SINGLE_CONSUMER, &hold, r > 0,
                &q->ring->writable, crew__queue_bell(q, CREW__QUEUE_PUT));
        if (r == -EAGAIN && state & CREW__STATE_CLOSED)
                return crew__queue_refused(q, state);
        return r;
}

static int wrong_size(const crew_queue *q, const taking *t, int why)
{
        if (why == -EMSGSIZE)
                return crew__fail(EMSGSIZE,
                        "queue %.63s: the next message has %zu bytes and the buffer %zu; it stays "
                        "queued",
                        q->ring->name, t->size, t->cap);
        return crew__fail(EBADMSG,
                "queue %.63s: the next message has %zu bytes, not %zu; it stays queued",
                q->ring->name, t->size, t->cap);
}

static inline int get_or_wait(crew_queue *q, taking *t, int64_t timeout, int64_t *began)
{
        crew__patience patience = crew__patience_of(timeout);
        bool rearmed = false;
        int r;

        r = crew__queue_enter(q);
        if (__builtin_expect(r < 0, 0))
                return r;
        if (__builtin_expect(q->peeked.open, 0))
                return crew__fail(EBUSY,
                        "queue %.63s: the next message is being read in place; release it first",
                        q->ring->name);
        if (asked && timeout > 0) {
                asked = false;
                crew__queue_expect_answer(q);
        }
        for (;;) {
                r = get_once(q, t, &patience);
                if (__builtin_expect(r > 0, 1))
                        return r;
                if (r == -EMSGSIZE || r == -EBADMSG)
                        return wrong_size(q, t, r);
                if (r != -EAGAIN)
                        return r;
                if (timeout <= 0) {
                        /* Once: a message behind a lock that is not let go is there each time. */
                        if (!rearmed &&
                                ((q->rows && crew__queue_look(q)) || crew__queue_rearm(q))) {
                                rearmed = true;
                                continue;
                        }
                        return crew__fail_quick(EAGAIN, "the queue is empty");
                }
                if (!*began)
                        *began = crew__trace_clock();
                r = crew__queue_pause(q, CREW__QUEUE_GET, 0, crew__patience_end(&patience));
                if (r == -ETIMEDOUT)
                        return crew__fail_quick(
                                ETIMEDOUT, "the queue stayed empty until the timeout");
                if (r < 0)
                        return r;
        }
}

static int get_all(crew_queue *q, taking *t, int64_t timeout)
{
        int64_t began = 0;
        int r = get_or_wait(q, t, timeout, &began);

        if (__builtin_expect(began != 0, 0))
                trace_wait(q, "get", began);
        return r;
}

ssize_t crew_queue_get(crew_queue *q, void *buf, size_t cap, int64_t timeout)
{
        taking t = { .buf = buf, .cap = cap, .max = 1 };
        int r = get_all(q, &t, timeout);

        return r < 0 ? r : (ssize_t)t.size;
}

int crew_queue_get_exact(crew_queue *q, void *buf, size_t size, int64_t timeout)
{
        taking t = { .buf = buf, .cap = size, .max = 1, .exact = true };
        int r = get_all(q, &t, timeout);

        return r < 0 ? r : 0;
}

ssize_t crew_queue_get_alloc(crew_queue *q, void **buf, size_t *cap, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);

        if (!buf || !cap)
                return crew__fail(EINVAL, "queue %.63s: get_alloc needs buf and cap", q->ring->name);
        for (;;) {
                taking t = { .buf = *buf, .cap = *buf ? *cap : 0, .max = 1 };
                int r = get_all(q, &t, deadline ? crew_until(deadline) : CREW_NOW);
                void *grown;

                if (r > 0)
                        return (ssize_t)t.size;
                /* Another consumer may take it before we come back with room; then go on waiting
                 * for the rest of the time. */
                if (r != -EMSGSIZE)
                        return r == -EAGAIN ? crew__expired(deadline) : r;
                grown = realloc(*buf, t.size);
                if (!grown)
                        return crew__fail(ENOMEM,
                                "queue %.63s: no memory for a message of %zu bytes; it stays queued",
                                q->ring->name, t.size);
                *buf = grown;
                *cap = t.size;
        }
}

int crew_queue_get_many(crew_queue *q, void *buf, size_t cap, struct iovec *messages, unsigned max,
        int64_t timeout)
{
        taking t = { .buf = buf, .cap = cap, .messages = messages, .max = max };

        if (max == 0 || !messages || (uintptr_t)buf % 8)
                return crew__fail(EINVAL,
                        "queue %.63s: get_many needs room for a message and an 8-aligned buffer",
                        q->ring->name);
        if (t.max > INT_MAX)
                t.max = INT_MAX;
        return get_all(q, &t, timeout);
}
