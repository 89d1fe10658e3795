/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_EVENTS_H
#define CREW_KERNEL_EVENTS_H

/*
 * An event count in shared memory: sleep until something changes, at no cost to those who change it
 * while nobody sleeps.
 *
 *      changer                                 sleeper
 *   1  commit (release store)               a  value = crew__events_prepare()   sets the bit
 *   2  full barrier                         b  seq_cst fence (inside prepare)
 *   3  read the sleeper bit                 c  look again at what was waited for
 *   4  if set: FUTEX_WAKE_OP(ADD 1)         d  futex wait while the word is `value`
 *
 * Either 3 sees the bit or c sees the commit: with a barrier between the store and the load on both
 * sides the two loads cannot both miss (C11 7.17.4; without it x86 loses one in two thousand).
 * The barrier of 2 is a seq_cst fence. A changer that released a lock after its commit has executed
 * an atomic exchange since: on x86 a locked instruction is that barrier already and the fence is
 * left out (it would be a third of the cost of a small message); C11 promises nothing of the kind
 * for two objects and arm64 keeps no such order, so everywhere else the fence stays.
 * 4 makes the odd word even, so the bit is gone and the count moved, and wakes everybody, in one
 * system call that SIGKILL cannot split. Two changers may both add: the word is odd again without a
 * sleeper, which costs one wake for nobody. All are woken because a waiter whose io_uring was armed
 * may swallow a single wake without running.
 * A death between 1 and 4 is covered by the slice that every sleeper of a shared object has.
 *
 * Who cannot sleep on a futex (epoll, foreign event loops) sets `armed` in place of the bit and
 * sleeps on an eventfd; the changer that clears `armed` writes to it. Nobody reads it: each sleeper
 * sees the edge with an epoll of its own. A death between clearing and writing is again covered by
 * the slice.
 */

#include "kernel/lock.h"

typedef struct crew__events {
        _Atomic uint32_t word; /* count << 1 | somebody sleeps */
        _Atomic uint32_t armed;
} crew__events;

/* The slow half of notify: somebody sleeps. */
void crew__events_wake(crew__events *events, int eventfd);

static inline void crew__events_look(crew__events *events, int eventfd)
{
        if (__builtin_expect((atomic_load_explicit(&events->word, memory_order_relaxed) & 1) |
                            atomic_load_explicit(&events->armed, memory_order_relaxed),
                    0))
                crew__events_wake(events, eventfd);
}

/* Both pair with the fence in crew__events_prepare and crew__events_arm. */
static inline void crew__events_notify(crew__events *events, int eventfd)
{
        atomic_thread_fence(memory_order_seq_cst);
        crew__events_look(events, eventfd);
}

/* The same for a caller whose last atomic operation, after the commit, was a read-modify-write. */
static inline void crew__events_notify_after_rmw(crew__events *events, int eventfd)
{
#if defined(__x86_64__)
        atomic_signal_fence(memory_order_seq_cst);
#else
        atomic_thread_fence(memory_order_seq_cst);
#endif
        crew__events_look(events, eventfd);
}

/* Announces a sleeper; the caller then looks again, and sleeps while the word is what this returned.
 * An announcement that is not followed by a sleep costs one spurious wake. */
static inline uint32_t crew__events_prepare(crew__events *events)
{
        uint32_t value = atomic_fetch_or_explicit(&events->word, 1, memory_order_relaxed) | 1;

        atomic_thread_fence(memory_order_seq_cst);
        return value;
}

/* The same for a sleeper on the eventfd. */
static inline void crew__events_arm(crew__events *events)
{
        atomic_store_explicit(&events->armed, 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
}

/*
 * Sleeps while the word is `value`, until the deadline; at most one slice if `sliced`.
 * Returns 0: look again (woken, changed, or the slice is over); -ETIMEDOUT; -EAGAIN; -EINTR.
 */
int crew__events_sleep(crew__events *events, uint32_t value, int64_t deadline, bool sliced);

#endif
