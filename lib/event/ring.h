/* SPDX-License-Identifier: MIT */
#ifndef CREW_EVENT_RING_H
#define CREW_EVENT_RING_H

/*
 * Rings, and who may touch them.
 *
 * A ring is entered only by the thread that made it (SINGLE_ISSUER; the kernel refuses others, and
 * it is what DEFER_TASKRUN takes, without which the host's own sleeps would be interrupted). Each
 * thread has a home for its rings: free ones, kept because freeing a ring interrupts its thread
 * once, and those lent to a waiter.
 *
 * A lent ring, its armings included, belongs to whoever uses the waiter; a waiter is used by one
 * thread at a time, so nothing here needs a lock while it is lent. Only the ring's own thread
 * enters it; others (cancelling, say) write to the armings, which are user memory.
 *
 * A waiter that is used by another thread, or freed by one, forgets what it armed (each arming's
 * source becomes NULL) and gives the ring back to its home under the home's mutex. The ring's own
 * thread cancels and collects the leftovers when it lends the ring again. Until then they cost
 * nothing: futex waits (wakes go to all), ends of processes that nobody collects by them, an epoll;
 * never a descriptor of the caller's.
 *
 * When a thread ends, its home closes the free rings. Lent ones are left alone, as their waiter may
 * be in use at this moment; the kernel cancels what is armed in them, their waiter sees that the
 * home is not this thread's, arms everything again elsewhere and closes the ring, which needs no
 * entry. A waiter that is polled through its descriptor is told by a write.
 *
 * A home lives as long as its thread or one of its rings, so its address is never another thread's.
 *
 * An arming is what one submission says of itself: {place, sequence}, never a pointer. Its place is
 * free again only when its completion was collected, so a late one finds its own arming without a
 * source, or a sequence that has gone on, and touches nothing else.
 */

#include "base/list.h"

#include <liburing.h>

typedef struct crew__source crew__source;

enum crew__arming_state {
        CREW__ARMING_FREE,
        CREW__ARMING_FLYING,
        CREW__ARMING_ORPHAN,   /* flying, in the list of those to cancel */
        CREW__ARMING_LANDED,   /* in that list still, but its completion was faster */
        CREW__ARMING_CANCELLED /* flying, its cancellation too */
};

typedef struct crew__arming {
        crew__source *source; /* NULL: nobody wants to hear of it any more */
        uint32_t sequence;
        uint32_t next; /* in the list of free ones or of orphans */
        enum crew__arming_state state;
} crew__arming;

typedef struct crew__uring {
        struct io_uring io;
        struct crew__ring_home *home;
        crew__link link; /* in the home: free or lent */
        crew__arming *armings;
        uint32_t n, free, orphans;
        size_t flying;
        int events; /* eventfd that the ring writes to, or -1 */
        bool lost;  /* the kernel refuses it: never entered again, nor kept */
} crew__uring;

/*
 * Lends a ring of the calling thread. Returns 0; -EMFILE and the like, -ENOMEM, -EPERM: the
 * kernel's answer.
 */
int crew__uring_lend(crew__uring **ring);

/* Gives a ring back, by any thread; all its armings become nobody's. */
void crew__uring_return(crew__uring *ring);

/* The kernel refused to enter it, and why: it will be neither entered nor kept. */
void crew__uring_lose(crew__uring *ring, int why);

/* Is it the calling thread's? */
bool crew__uring_mine(const crew__uring *ring);

/* Frees the memory of a ring that was inherited through a fork. NULL is fine. */
void crew__uring_forget(crew__uring *ring);

/*
 * A submission entry that reports to `source`; its arming's place goes to *arming. The caller fills
 * in everything but user_data, which it copies from *name. NULL: no memory or no room now.
 */
struct io_uring_sqe *crew__uring_prepare(
        crew__uring *ring, crew__source *source, uint32_t *arming, uint64_t *name);

/* Nobody wants to hear of that arming any more. By any thread; it is cancelled later. */
void crew__uring_orphan(crew__uring *ring, uint32_t arming);

/* Prepares the cancellation of orphans. Own thread only, like all below. */
void crew__uring_cancel_orphans(crew__uring *ring);

/* Hands each completion that somebody wants to `tell`; its arming is free by then. */
void crew__uring_collect(
        crew__uring *ring, void (*tell)(void *data, crew__source *source, int result), void *data);

/* Is there anything that entering the kernel without sleeping would do? */
bool crew__uring_busy(const crew__uring *ring);

/* Lets the ring write to an eventfd at each completion, from now on. 0 or negative. */
int crew__uring_report_to(crew__uring *ring, int eventfd);

#endif
