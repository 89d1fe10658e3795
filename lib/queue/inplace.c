/* SPDX-License-Identifier: MIT */

/*
 * Zero copy on a side declared single: the message is written, or read, where it lies. Nothing is
 * locked meanwhile; until the commit the index stands before the record, so a death leaves nothing.
 */

#include "queue/holders.h"
#include "queue/sides.h"

#include "base/fail.h"

static int need(const crew_queue *q, uint32_t single, const char *what, const char *flag)
{
        if (q->flags & single)
                return 0;
        return crew__fail(EOPNOTSUPP,
                "queue %.63s: %s would hold a lock in the caller's code; make the queue with %s",
                q->ring->name, what, flag);
}

static int reserve_once(crew_queue *q, void **at, size_t size)
{
        uint64_t tail = atomic_load_explicit(&q->ring->tail, memory_order_relaxed);
        int r = crew__side_check(q, CREW__STATE_CLOSED);

        if (r == 0)
                r = crew__side_room(q, tail, tail, crew__record_bytes(size));
        if (r < 0)
                return r;
        *at = crew__record_at(q->data, tail, q->ring_bytes) + CREW__RECORD_HEADER;
        q->reserved = (crew__window){ .open = true, .size = size };
        return 0;
}

int crew_queue_reserve(crew_queue *q, void **at, size_t size, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        int r;

        r = crew__queue_enter(q);
        if (r < 0)
                return r;
        r = need(q, CREW_QUEUE_SINGLE_PRODUCER, "reserve", "CREW_QUEUE_SINGLE_PRODUCER");
        if (r < 0)
                return r;
        if (q->rows && crew__holders_silent(q))
                return crew__holders_broke_word();
        if (q->reserved.open)
                return crew__fail(EBUSY, "queue %.63s: a reservation is open; commit or abort it",
                        q->ring->name);
        if (size > q->ring_bytes - CREW__RECORD_HEADER)
                return crew__fail(EMSGSIZE,
                        "queue %.63s: a message of %zu bytes, and its ring takes at most %llu",
                        q->ring->name, size,
                        (unsigned long long)(q->ring_bytes - CREW__RECORD_HEADER));
        if (q->message_size && size < q->message_size)
                return crew__fail(EBADMSG, "queue %.63s: %zu bytes reserved, and all messages have "
                                           "%llu",
                        q->ring->name, size, (unsigned long long)q->message_size);
        while ((r = reserve_once(q, at, size)) == -EAGAIN) {
                if (timeout <= 0)
                        return crew__fail_quick(EAGAIN, "the queue is full");
                r = crew__queue_pause(q, CREW__QUEUE_PUT, size, deadline);
                if (r < 0)
                        return r;
        }
        return r;
}

int crew_queue_commit(crew_queue *q, size_t size)
{
        uint64_t tail = atomic_load_explicit(&q->ring->tail, memory_order_relaxed);
        int r = crew__queue_enter(q);

        if (r < 0)
                return r;
        if (!q->reserved.open || size > q->reserved.size)
                return crew__fail(EINVAL, "queue %.63s: commit of %zu bytes, reserved are %llu",
                        q->ring->name, size,
                        (unsigned long long)(q->reserved.open ? q->reserved.size : 0));
        if (q->message_size && size != q->message_size)
                return crew__fail(EBADMSG, "queue %.63s: a message of %zu bytes, and all have %llu",
                        q->ring->name, size, (unsigned long long)q->message_size);
        *(uint64_t *)(void *)crew__record_at(q->data, tail, q->ring_bytes) = size;
        q->reserved.open = false;
        crew__side_commit_put(q, crew__index_add(tail, crew__record_bytes(size), 1));
        crew__events_notify(&q->ring->readable, crew__queue_bell(q, CREW__QUEUE_GET));
        return 0;
}

int crew_queue_abort(crew_queue *q)
{
        int r = crew__queue_enter(q);

        if (r < 0)
                return r;
        if (!q->reserved.open)
                return crew__fail(EINVAL, "queue %.63s: no reservation is open", q->ring->name);
        q->reserved.open = false;
        return 0;
}

static ssize_t peek_once(crew_queue *q, const void **at)
{
        /* Before the look at the ring: what was put before the close is then seen by the look. */
        uint32_t state = crew__queue_state(q);
        uint64_t head = atomic_load_explicit(&q->ring->head, memory_order_relaxed), tail = 0;
        int64_t size;
        int r = crew__side_check(q, 0);

        if (r == 0)
                r = crew__side_messages(q, head, &tail);
        if (r == -EAGAIN && state & CREW__STATE_CLOSED)
                return crew__queue_refused(q, state);
        if (r < 0)
                return r;
        size = crew__side_size(q, head, tail);
        if (size < 0)
                return size;
        *at = crew__record_at(q->data, head, q->ring_bytes) + CREW__RECORD_HEADER;
        q->peeked = (crew__window){ .open = true, .size = (uint64_t)size };
        return size;
}

ssize_t crew_queue_peek(crew_queue *q, const void **at, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        ssize_t r;

        r = crew__queue_enter(q);
        if (r < 0)
                return r;
        r = need(q, CREW_QUEUE_SINGLE_CONSUMER, "peek", "CREW_QUEUE_SINGLE_CONSUMER");
        if (r < 0)
                return r;
        if (q->peeked.open)
                return crew__fail(EBUSY, "queue %.63s: a message is being read; release it",
                        q->ring->name);
        while ((r = peek_once(q, at)) == -EAGAIN) {
                if (timeout <= 0) {
                        if ((q->rows && crew__queue_look(q)) || crew__queue_rearm(q))
                                continue;
                        return crew__fail_quick(EAGAIN, "the queue is empty");
                }
                r = crew__queue_pause(q, CREW__QUEUE_GET, 0, deadline);
                if (r < 0)
                        return r;
        }
        return r;
}

int crew_queue_release(crew_queue *q, bool taken)
{
        uint64_t head = atomic_load_explicit(&q->ring->head, memory_order_relaxed);
        int r = crew__queue_enter(q);

        if (r < 0)
                return r;
        if (!q->peeked.open)
                return crew__fail(EINVAL, "queue %.63s: no message is being read", q->ring->name);
        q->peeked.open = false;
        if (!taken)
                return 0;
        /* The size is the one that peek checked, not what the record says now. */
        if (q->rows)
                crew__holders_took(q, 1);
        crew__side_commit_get(q, crew__index_add(head, crew__record_bytes(q->peeked.size), 1));
        crew__events_notify(&q->ring->writable, crew__queue_bell(q, CREW__QUEUE_PUT));
        return 0;
}
