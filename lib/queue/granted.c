/* SPDX-License-Identifier: MIT */

/*
 * A queue that somebody shares who is not trusted. He can keep a lock: by stopping himself inside a
 * put, or by writing into the word the number of a thread that lives. The kernel says nothing then,
 * so time has to: a lock that is seen in the same hands while the index that it guards stands still
 * for 100 ms (and 1 ms per MiB of ring) breaks the queue, for everybody. A thread that is only kept
 * from running, as on a busy machine, gets a second. Whether it is can be seen by who granted the
 * queue; in a worker's sandbox nobody knows, so workers leave the verdict to the program for so
 * long.
 *
 * That nobody had the lock in between is known by the bit that says somebody waits, which every
 * look sets: letting go clears it. So a look costs its holder one needless wake, two looks are
 * enough, and the fast paths know nothing of all this. Who keeps the index moving under a lock that
 * he holds cannot be told from a busy one: then only the caller's deadline bounds the wait.
 */

#include "queue/queue.h"

#include "base/fail.h"
#include "kernel/owner.h"
#include "kernel/relax.h"

#include <signal.h>
#include <stdio.h>

/* In ms; a message as large as the ring takes its time to copy. */
static uint32_t patience_of(const crew_queue *q)
{
        return 100 + (uint32_t)(q->ring_bytes >> 20);
}

/* The same for a lock that changes hands all the time while nothing moves, and for a thread that
 * may only want a processor. */
#define TURMOIL CREW_S(1)

enum { LOOKS = 64 };

static crew__lock *lock_of(crew_queue *q, enum crew__queue_side side)
{
        return side == CREW__QUEUE_PUT ? &q->ring->producers.lock : &q->ring->consumers.lock;
}

static uint64_t index_of(crew_queue *q, enum crew__queue_side side)
{
        _Atomic uint64_t *index = side == CREW__QUEUE_PUT ? &q->ring->tail : &q->ring->head;

        return atomic_load_explicit(index, memory_order_relaxed);
}

static bool granted(crew_queue *q)
{
        if (atomic_load_explicit(&q->segment->granted, memory_order_relaxed))
                return true;
        if (!(crew__queue_state(q) & CREW__STATE_GRANTED))
                return false;
        /* The bit can be taken back. */
        atomic_store(&q->segment->granted, true);
        return true;
}

void crew__queue_grant(crew_queue *q)
{
        atomic_store(&q->segment->granter, crew__generation());
        atomic_store(&q->segment->granted, true);
        /* He could fill an eventfd and make it blocking, for all that hold it. Who sleeps on one
         * looks up every 20 ms. */
        for (int side = 0; side < CREW__SEGMENT_EVENTS; side++)
                atomic_store(&q->segment->bells[side], -1);
        (void)atomic_fetch_add(&q->segment->holders, 1);
        (void)atomic_fetch_or(&q->ring->state, CREW__STATE_GRANTED);
}

void crew__queue_ungrant(crew_queue *q)
{
        (void)atomic_fetch_sub(&q->segment->holders, 1);
}

/* Who holds the lock at each of many looks; 0: it was free or changed hands meanwhile. */
static uint32_t steady_owner(crew__lock *lock, bool *marked)
{
        uint32_t first = atomic_load_explicit(&lock->word, memory_order_relaxed), word = first;

        *marked = first & FUTEX_WAITERS;
        for (int looks = 0; looks < LOOKS && word & FUTEX_TID_MASK; looks++) {
                crew__relax_for(1);
                word = atomic_load_explicit(&lock->word, memory_order_relaxed);
                if ((word ^ first) & FUTEX_TID_MASK)
                        return 0;
        }
        if (word & FUTEX_TID_MASK && !(word & FUTEX_WAITERS)) {
                *marked = false;
                (void)atomic_compare_exchange_strong(&lock->word, &word, word | FUTEX_WAITERS);
        }
        return word & FUTEX_TID_MASK;
}

static bool may_go_on(const crew_queue *q, uint32_t tid)
{
        return atomic_load(&q->segment->granter) != crew__generation() ||
               crew__thread_is_runnable(tid);
}

/* One look: has the same thread held it since a look 100 ms ago, with nothing done? */
static bool unmoved(crew_queue *q, enum crew__queue_side side)
{
        _Atomic uint64_t *record = &q->unmoved[side];
        uint32_t now = (uint32_t)(crew_clock() / 1000000), owner, what;
        uint64_t index, before = atomic_load(record);
        bool marked;

        owner = steady_owner(lock_of(q, side), &marked);
        if (!owner) {
                atomic_store(record, 0);
                return false;
        }
        index = index_of(q, side);
        /* One word, so that threads that look at once agree on whose time it is. */
        what = ((uint32_t)(index * UINT64_C(0x9e3779b97f4a7c15) >> 32) ^ owner * 0x85ebca6bU) | 1;
        if (!marked || before >> 32 != what) {
                atomic_store(record, (uint64_t)what << 32 | now);
                return false;
        }
        if (now - (uint32_t)before <= patience_of(q) ||
                (now - (uint32_t)before <= TURMOIL / 1000000 && may_go_on(q, owner)))
                return false;
        atomic_store(&q->segment->blamed, owner);
        return true;
}

/* Only who granted it may look: in a sandbox the question itself may be forbidden. */
static const char *state_of(const crew_queue *q, uint32_t tid)
{
        if (atomic_load(&q->segment->granter) != crew__generation())
                return "";
        return kill((pid_t)tid, 0) == 0 || errno == EPERM ? " (there is such a thread)"
                                                          : " (there is no such thread)";
}

void crew__queue_why(crew_queue *q, char *text, size_t size)
{
        uint32_t tid = atomic_load(&q->segment->blamed);

        if (tid)
                (void)snprintf(text, size,
                        "it is shared with a process that is not trusted, and one of its locks, "
                        "which names thread %u%s, was held for 100 ms in which nothing moved",
                        tid, state_of(q, tid));
        else
                (void)snprintf(text, size, "%s",
                        crew__queue_state(q) & CREW__STATE_STUCK
                                ? "one of its locks was held for 100 ms in which nothing moved"
                                : "its shared memory held values that no correct peer writes");
}

static int stuck(crew_queue *q)
{
        char why[200];

        (void)atomic_fetch_or(&q->ring->state, CREW__STATE_STUCK);
        crew__queue_why(q, why, sizeof why);
        return crew__queue_broken(q, why);
}

/* A lock that names this thread, which is in no lock: the only lie that shows at once. */
static bool slandered(const crew__lock *lock, const crew__hold *hold)
{
        return !crew__lock_covered(lock, hold->self);
}

int crew__queue_lock_slow(
        crew_queue *q, enum crew__queue_side side, crew__hold *hold, crew__patience *patience)
{
        int64_t end, now, since;
        uint64_t index;
        int r;

        if (!granted(q))
                return crew__lock_slow(lock_of(q, side), hold, patience);
        end = crew__patience_end(patience);
        since = now = crew_clock();
        index = index_of(q, side);
        for (;; now = crew_clock()) {
                /* In the past, but not 0: that would sleep. */
                crew__patience slice = { .deadline =
                                                 end ? crew__earlier(end, now + CREW__SLICE) : 1 };

                r = crew__lock_slow(lock_of(q, side), hold, &slice);
                if (r == -EDEADLK && slandered(lock_of(q, side), hold)) {
                        atomic_store(&q->segment->blamed, hold->self->tid);
                        return stuck(q);
                }
                if (r != -ETIMEDOUT)
                        return r;
                if (crew__queue_state(q) & CREW__STATE_BROKEN || atomic_load(&q->segment->broken))
                        return crew__queue_refused(q, crew__queue_state(q) | CREW__STATE_BROKEN);
                if (unmoved(q, side))
                        return stuck(q);
                if (index_of(q, side) != index) {
                        index = index_of(q, side);
                        since = now;
                } else if (now - since > TURMOIL) {
                        return stuck(q);
                }
                if (now >= end)
                        return crew__expired(end);
        }
}

bool crew__queue_inspect(crew_queue *q)
{
        /* Workers may not look at other processes. */
        if (q->rows)
                crew__holders_sweep(q);
        if (atomic_load(&q->segment->broken) || crew__queue_state(q) & CREW__STATE_BROKEN) {
                /* Again, should it have been taken back. */
                atomic_store(&q->segment->broken, true);
                (void)atomic_fetch_or(&q->ring->state, CREW__STATE_BROKEN);
                return true;
        }
        for (int side = CREW__QUEUE_GET; side <= CREW__QUEUE_PUT; side++) {
                uint32_t single = side == CREW__QUEUE_GET ? CREW_QUEUE_SINGLE_CONSUMER
                                                          : CREW_QUEUE_SINGLE_PRODUCER;

                if (!(q->flags & single) && unmoved(q, side)) {
                        (void)stuck(q);
                        return true;
                }
        }
        return false;
}
