/* SPDX-License-Identifier: MIT */
#ifndef CREW_QUEUE_SIDES_H
#define CREW_QUEUE_SIDES_H

/*
 * What copying transfers (with the side's lock) and transfers in place (on a single side) share:
 * finding room and finding messages, by this side's copy of the other side's index, and committing.
 */

#include "queue/queue.h"

/* The ring was just seen to hold what lies between the indices; on the line that the lock is on. */
static inline void crew__side_note(crew__ring_side *side, uint64_t tail, uint64_t head)
{
        uint32_t depth = crew__index_messages(tail, head);

        if (depth > atomic_load_explicit(&side->high, memory_order_relaxed))
                atomic_store_explicit(&side->high, depth, memory_order_relaxed);
}

/*
 * Is there room for `record` bytes behind `at`, which lies at or behind the committed `tail`?
 * 0, -EAGAIN, -ENOTRECOVERABLE.
 */
static inline int crew__side_room(crew_queue *q, uint64_t tail, uint64_t at, uint64_t record)
{
        crew__ring_side *side = &q->ring->producers;
        uint64_t head = atomic_load_explicit(&side->other, memory_order_relaxed);

        if (__builtin_expect(crew__queue_room(q, at, head, record), 1))
                return 0;
        /* Acquire pairs with the release of the head in a get: the bytes that it frees have been
         * read. */
        head = atomic_load_explicit(&q->ring->head, memory_order_acquire);
        if (!crew__index_valid(tail, head, q->ring_bytes))
                return crew__queue_broken(q, "its indices contradict each other");
        atomic_store_explicit(&side->other, head, memory_order_relaxed);
        crew__side_note(side, tail, head);
        return crew__queue_room(q, at, head, record) ? 0 : -EAGAIN;
}

/* A tail behind which there is at least one message: 0, -EAGAIN, -ENOTRECOVERABLE. */
static inline int crew__side_messages(crew_queue *q, uint64_t head, uint64_t *tail)
{
        crew__ring_side *side = &q->ring->consumers;

        *tail = atomic_load_explicit(&side->other, memory_order_relaxed);
        if (*tail != head && crew__index_valid(*tail, head, q->ring_bytes))
                return 0;
        /* Acquire pairs with the commit of a put: the records before the tail are whole. */
        *tail = atomic_load_explicit(&q->ring->tail, memory_order_acquire);
        if (*tail == head)
                return -EAGAIN;
        if (!crew__index_valid(*tail, head, q->ring_bytes))
                return crew__queue_broken(q, "its indices contradict each other");
        atomic_store_explicit(&side->other, *tail, memory_order_relaxed);
        crew__side_note(side, *tail, head);
        return 0;
}

/* For a batch that has come to the end of what was known: is there more by now? */
static inline bool crew__side_more(crew_queue *q, uint64_t head, uint64_t *tail)
{
        uint64_t seen = atomic_load_explicit(&q->ring->tail, memory_order_acquire);

        if (seen == *tail || !crew__index_valid(seen, head, q->ring_bytes))
                return false;
        *tail = seen;
        atomic_store_explicit(&q->ring->consumers.other, seen, memory_order_relaxed);
        crew__side_note(&q->ring->consumers, seen, head);
        return true;
}

/* The size of the record at `at`, which lies before `tail`; read once. -ENOTRECOVERABLE. */
static inline int64_t crew__side_size(crew_queue *q, uint64_t at, uint64_t tail)
{
        uint64_t size = *(volatile uint64_t *)(void *)crew__record_at(q->data, at, q->ring_bytes);

        if (__builtin_expect(size > q->ring_bytes - CREW__RECORD_HEADER ||
                                     crew__record_bytes(size) > crew__index_bytes(tail, at),
                    0))
                return crew__queue_broken(q, "a record claims more bytes than were put");
        return (int64_t)size;
}

/* Release: a get that sees this tail sees the records before it. */
static inline void crew__side_commit_put(crew_queue *q, uint64_t tail)
{
        atomic_store_explicit(&q->ring->tail, tail, memory_order_release);
}

/* Release: a put that sees this head may overwrite what lies before it, for it was read. */
static inline void crew__side_commit_get(crew_queue *q, uint64_t head)
{
        atomic_store_explicit(&q->ring->head, head, memory_order_release);
}

/* -EPIPE or -ENOTRECOVERABLE if the state says so; `forbidden` is CREW__STATE_CLOSED or 0. */
static inline int crew__side_check(crew_queue *q, uint32_t forbidden)
{
        uint32_t state = crew__queue_state(q) & (forbidden | CREW__STATE_BROKEN);

        return __builtin_expect(state == 0, 1) ? 0 : crew__queue_refused(q, state);
}

#endif
