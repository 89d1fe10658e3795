/* SPDX-License-Identifier: MIT */
#ifndef CREW_EVENT_WAITER_H
#define CREW_EVENT_WAITER_H

/*
 * The waiter as its own files see it.
 *
 *      operation  what the caller armed; hot (to be tried) or asleep on its source
 *      source     one thing that the kernel can tell of: a pidfd, a queue's side, a descriptor;
 *                 shared by all operations of this waiter on it. Armed (the kernel will tell),
 *                 or dirty (it will not, so its sleeping operations must be tried, or it armed)
 *      backend    arms sources and sleeps; io_uring or epoll
 *      set        the epoll of a waiter: everything that is a descriptor
 */

#include "event/heap.h"
#include "event/operation.h"
#include "kernel/generation.h"

#include <sys/epoll.h>

/* What epoll and poll() tell unasked. */
#define CREW__FD_ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP))

enum { CREW__NO_ARMING = UINT32_MAX };

/* Buckets of links, found by a 64-bit key that their owner compares. */
typedef struct crew__index {
        crew__link *buckets;
        unsigned bits;
        size_t count;
} crew__index;

struct crew__source {
        enum crew__source_kind kind;
        int fd;
        crew__events *events;
        _Atomic uint32_t *word;
        uint32_t value;      /* of the word, before the try */
        uint32_t mask;       /* FD: of all its operations */
        crew__link ops;      /* crew__op.sleeping */
        crew__link keyed;    /* in its bucket of keys */
        crew__link all;      /* waiter.sources */
        crew__link dirty;    /* waiter.dirty */
        crew__link sliced;   /* waiter.sliced: looked at every 20 ms */
        uint32_t slot;       /* its name in the set's events: {slot, sequence} */
        uint32_t arming;     /* its place among the ring's armings */
        int set_fd;          /* the descriptor that the set has: fd, a duplicate, or -1 */
        uint32_t set_events; /* what for */
        bool armed;
        bool told;    /* PROCESS: the kernel said once that it has ended */
        bool no_ring; /* the ring could not watch it: poll the descriptor */
};

typedef struct crew__slot {
        crew__source *source; /* NULL: free */
        uint32_t sequence;    /* of its users: a late event for an earlier one is ignored */
        uint32_t next_free;
} crew__slot;

typedef struct crew__backend {
        const char *name;
        /* First thing in every wait, by the thread that waits. May change the waiter's backend. */
        void (*begin)(crew_waiter *w);
        /*
         * Makes the kernel tell of the source's next change; arming what is armed is harmless.
         * Returns 0; -EAGAIN: not now; -ENOMEM, -EMFILE.
         */
        int (*arm)(crew_waiter *w, crew__source *s);
        /* The source is about to go. By any thread. */
        void (*forget)(crew_waiter *w, crew__source *s);
        /*
         * Hands what was armed to the kernel, sleeps until the absolute time `until` (0: not at
         * all) or until something happens, and marks what happened hot.
         * Returns 0; -EINTR: a signal handler ran during the sleep; -ENOMEM, -EMFILE.
         */
        int (*wait)(crew_waiter *w, int64_t until);
        /* The waiter goes, or goes over to another backend. By any thread. */
        void (*close)(crew_waiter *w);
} crew__backend;

extern const crew__backend crew__backend_epoll, crew__backend_uring;

typedef struct crew__op_chunk crew__op_chunk;

struct crew_waiter {
        uint64_t generation;
        const crew__backend *backend;
        _Atomic int woken;
        bool woken_last; /* the last completions were a wake alone: others go first */

        crew__link hot;
        size_t n_hot;
        crew__link dirty, sliced, sources;
        size_t armed;  /* operations */
        uint64_t pass; /* counts the waits */
        int64_t tick;  /* when the sliced sources are looked at next */
        crew__heap timers;
        size_t n_timers;

        crew__link free_ops;
        crew__op_chunk *chunks;
        crew__index tags, keys;
        crew__slot *slots;
        uint32_t n_slots, free_slot;

        int epoll, wake;
        unsigned in_set; /* sources in the epoll */
        bool set_ready;  /* io_uring: the epoll may have something; it is not watched then */

        /* Only once somebody asked for crew_waiter_pollfd: */
        bool polled;
        int timer;    /* in the epoll */
        int look;     /* eventfd in the epoll: something to do now; the ring writes to it too */
        bool looking; /* the waiter itself wrote to it */
        int64_t timer_set; /* what the timer is set to */
        bool unsettled;    /* something must be armed by the next wait */

        struct crew__uring *ring; /* io_uring: of the thread that waited last */
        crew__source set_source;  /* stands for the epoll in the ring */
};

/* table.c: memory of operations and sources. None of these sleeps. */
int crew__table_init(crew_waiter *w, unsigned depth);
void crew__table_free(crew_waiter *w);
crew__op *crew__op_new(crew_waiter *w, uint64_t tag); /* NULL: no memory */
void crew__op_free(crew_waiter *w, crew__op *op);
/* The source for that, made if there is none; without operations it must be freed again. */
crew__source *crew__source_get(crew_waiter *w, const crew__op_spec *spec);
void crew__source_free(crew_waiter *w, crew__source *s);
/* The source that an event names, or NULL if it went. */
crew__source *crew__source_named(const crew_waiter *w, uint64_t name);
uint64_t crew__source_name(const crew_waiter *w, const crew__source *s);
/* Where the operations with that tag are, among others; see crew__op.tagged. */
crew__link *crew__tag_bucket(const crew_waiter *w, uint64_t tag);

/* set.c */
int crew__set_open(crew_waiter *w);
void crew__set_close(crew_waiter *w);
/* Adds the source's descriptor or changes what it is there for. -EPERM, -EBADF, -ENOMEM, -EMFILE.
 */
int crew__set_add(crew_waiter *w, crew__source *s, uint32_t events);
void crew__set_remove(crew_waiter *w, crew__source *s);
/* The eventfd way of arming a source with an event count. */
int crew__set_arm_events(crew_waiter *w, crew__source *s);
/* Turns the epoll's events into hints without sleeping; how many there were. */
int crew__set_collect(crew_waiter *w);
/* Sleeps until the epoll has something; 0 or -EINTR. */
int crew__set_sleep(crew_waiter *w, int64_t until);
/* Makes the epoll readable while crew_waiter_wait has something to do; nothing unless polled. */
void crew__set_announce(crew_waiter *w);
/* The descriptors of crew_waiter_pollfd. */
int crew__set_poll(crew_waiter *w);

/* uring.c: in a forked child, the memory alone. NULL is fine. */
void crew__uring_forget(struct crew__uring *ring);

/* waiter.c */
void crew__make_hot(crew_waiter *w, crew__op *op);
/* The kernel told of this source: it is armed no more and all its operations are hot. */
void crew__hint(crew_waiter *w, crew__source *s, uint32_t revents);
void crew__make_dirty(crew_waiter *w, crew__source *s);
/* When the waiter has something to do by itself: the next timer or look at sliced sources. */
int64_t crew__next_time(const crew_waiter *w);
/* Takes an operation out of everything and drops its object. */
void crew__op_release(crew_waiter *w, crew__op *op);

#endif
