/* SPDX-License-Identifier: MIT */
#ifndef CREW_QUEUE_QUEUE_H
#define CREW_QUEUE_QUEUE_H

/*
 * The handle behind crew_queue, and what the waiter needs of it.
 *
 * The handle is process-local memory; everything it takes from the shared header at attach (the
 * geometry) it keeps a copy of, and never reads again.
 */

#include "kernel/segment.h"
#include "kernel/spin.h"
#include "queue/ring.h"

#include <crew/queue.h>

/* One open reserve or peek. */
typedef struct crew__window {
        bool open;
        uint64_t size;
} crew__window;

struct crew_queue {
        _Atomic unsigned references;
        crew__segment *segment;
        crew__ring *ring;
        struct crew__row *rows; /* of the holders, or NULL; see holders.h */
        uint32_t pool_row;      /* of a pool's handle: the pool's row, from 1, or 0 */
        bool uncounted;
        char *data;
        uint64_t ring_bytes;
        uint64_t message_size;
        uint32_t max_messages;
        uint32_t flags;
        _Atomic uint64_t generation; /* the process that last announced itself, see adopt */
        crew__spin put_spin, get_spin; /* of this handle's sleepers on one side; see spin.c */
        crew__window reserved, peeked;
        struct crew__descriptor *_Atomic descriptor; /* of crew_queue_fd, or NULL */
        _Atomic uint64_t unmoved[2]; /* per side: who held its lock, and since when; see granted.c */
};

enum crew__queue_side { CREW__QUEUE_GET, CREW__QUEUE_PUT };

int crew__queue_adopt(crew_queue *q);

/*
 * First thing in every operation. A process that did not make the handle announces itself once, so
 * that sleepers know that the queue is shared. -EXDEV, -ENOTRECOVERABLE.
 */
static inline int crew__queue_enter(crew_queue *q)
{
        if (__builtin_expect(atomic_load_explicit(&q->generation, memory_order_relaxed) ==
                                     crew__generation(),
                    1))
                return 0;
        return crew__queue_adopt(q);
}

static inline uint32_t crew__queue_state(const crew_queue *q)
{
        return atomic_load_explicit(&q->ring->state, memory_order_acquire);
}

static inline bool crew__queue_sliced(const crew_queue *q)
{
        return crew__queue_state(q) & CREW__STATE_SHARING || q->rows ||
               atomic_load_explicit(&q->segment->granted, memory_order_relaxed);
}

/*
 * granted.c. From now on somebody shares the queue who is not trusted: nobody waits for its locks
 * for more than 100 ms in which nothing moves.
 */
void crew__queue_grant(crew_queue *q);
void crew__queue_ungrant(crew_queue *q);

/* The side's lock after a fast try failed; as crew__lock_slow, and -ENOTRECOVERABLE. */
int crew__queue_lock_slow(crew_queue *q, enum crew__queue_side side, crew__hold *hold,
        crew__patience *patience);

/* One look, without any wait, at a queue that this process granted: is it broken? Come again within
 * 100 ms. */
bool crew__queue_inspect(crew_queue *q);

/* What is wrong with it, in words that follow its name. */
void crew__queue_why(crew_queue *q, char *text, size_t size);

/* Marks the queue unusable for everybody and says why; returns -ENOTRECOVERABLE. */
int crew__queue_broken(crew_queue *q, const char *why);

/* The answer to an operation that the state (CLOSED, BROKEN) forbids; what is broken stays so for
 * this handle. */
int crew__queue_refused(crew_queue *q, uint32_t state);

crew_queue *crew__queue_ref(crew_queue *q);

/* Do `record` more bytes fit behind `tail`? No for a pair that no correct peer wrote. */
static inline bool crew__queue_room(
        const crew_queue *q, uint64_t tail, uint64_t head, uint64_t record)
{
        return crew__index_bytes(tail, head) + record <= q->ring_bytes &&
               (!q->max_messages || crew__index_messages(tail, head) < q->max_messages);
}

/* What a sleeper on that side sleeps on. */
static inline crew__events *crew__queue_events(crew_queue *q, enum crew__queue_side side)
{
        return side == CREW__QUEUE_GET ? &q->ring->readable : &q->ring->writable;
}

static inline int crew__queue_eventfd(const crew_queue *q, enum crew__queue_side side)
{
        return q->segment->events[side];
}

/* What wakes those who sleep on that. */
static inline int crew__queue_bell(const crew_queue *q, enum crew__queue_side side)
{
        return atomic_load_explicit(&q->segment->bells[side], memory_order_relaxed);
}

/*
 * Is a try worth it: a message is there (or room for `size` bytes), or the queue is closed or
 * broken, so that a try answers with that. Takes no lock; may be wrong a moment later.
 */
bool crew__queue_ready(crew_queue *q, enum crew__queue_side side, size_t size);

/*
 * holders.c. Closes a queue whose last process that could put has died; looks at most every 20 ms,
 * whoever looks.
 */
void crew__holders_sweep(crew_queue *q);

/* For who waits for messages: as crew__queue_ready, after such a look. */
static inline bool crew__queue_look(crew_queue *q)
{
        if (q->rows)
                crew__holders_sweep(q);
        return crew__queue_ready(q, CREW__QUEUE_GET, 0);
}

/*
 * Around a fork, for queues that end by themselves (CREW_QUEUE_EOF). expect, before it, gives the
 * child a row in each such queue that this process has, or in those of `only`, so that none ends
 * before the child has come to say anything; expected, after it, says which child it is (0: none);
 * arrive, first thing in the child, takes the rows over. -ENOSPC, -ENOMEM.
 */
typedef struct crew__expected {
        crew__segment *segment;
        uint32_t row;
} crew__expected;

typedef struct crew__expectation {
        crew__expected *list;
        size_t n;
        uint32_t parent;
} crew__expectation;

int crew__queue_expect(crew__expectation *e, crew__segment *const *only, size_t n_only);
void crew__queue_expected(crew__expectation *e, pid_t child);
void crew__queue_arrive(const crew__expectation *e);

/* A pool that this queue is granted to, and its handle: it counts as one that could put, until it
 * is finished. -ENOSPC. */
int crew__queue_pool_joins(crew_queue *q);
void crew__queue_pool_leaves(crew_queue *q);

/* Closes the queue, with `why` (0 or CREW__STATE_OVER) among the bits of its state. */
void crew__queue_shut(crew_queue *q, uint32_t why);

/* Before a get by a thread that has just put something: a short close look at an empty queue for the
 * answer. Takes no lock, writes nothing shared, and promises nothing. */
void crew__queue_expect_answer(crew_queue *q);

/* Spins, then sleeps until crew__queue_ready may hold. 0: look again; -EAGAIN, -ETIMEDOUT, -EINTR. */
int crew__queue_pause(crew_queue *q, enum crew__queue_side side, size_t size, int64_t deadline);

/* Re-arms crew_queue_fd before a get answers -EAGAIN; true if a message came meanwhile. */
bool crew__queue_rearm(crew_queue *q);
void crew__queue_descriptor_free(crew_queue *q);

#endif
