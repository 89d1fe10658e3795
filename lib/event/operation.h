/* SPDX-License-Identifier: MIT */
#ifndef CREW_EVENT_OPERATION_H
#define CREW_EVENT_OPERATION_H

/*
 * What can be armed in a waiter: an operation is something to try, something to sleep on while the
 * try answers "not yet", and an object to keep alive. The layers above make kinds of their own.
 *
 * Operations live in the waiter's memory and are tried inside crew_waiter_wait only, by the thread
 * that calls it. What the kernel tells of a source is never more than a hint to try again.
 */

#include "base/list.h"
#include "kernel/events.h"

#include <crew/wait.h>

typedef struct crew__op crew__op;
typedef struct crew__source crew__source;

enum crew__source_kind {
        CREW__SOURCE_NONE,    /* time alone */
        CREW__SOURCE_PROCESS, /* the end of a process, by its pidfd */
        CREW__SOURCE_EVENTS,  /* an event count and the eventfd that goes with it, or -1 */
        CREW__SOURCE_WORD,    /* a futex word, slept on while it is what the try saw of it */
        CREW__SOURCE_FD,      /* a descriptor, level-triggered */
};

typedef struct crew__op_class {
        int kind; /* of its completions: CREW_GOT, ... */
        /* Stays armed after a completion that is no error. */
        bool level;
        /*
         * Does it if it can be done now: true, with *result as crew_completion has it (negative:
         * the operation failed and is disarmed). False: not yet, and nothing was done.
         */
        bool (*try)(crew__op *op, int64_t *result);
        /* For CREW__SOURCE_EVENTS: is a try worth it? Cheap, takes no lock. */
        bool (*ready)(const crew__op *op);
        /* For CREW__SOURCE_EVENTS: must it be looked at every 20 ms, as its notifier may die? */
        bool (*sliced)(const crew__op *op);
        /* Drops the operation's reference to its object; NULL if it has none. */
        void (*unref)(void *object);
} crew__op_class;

/* What crew__waiter_arm is given. */
typedef struct crew__op_spec {
        const crew__op_class *class;
        void *object;
        union {
                void *into;       /* get, recv */
                const void *from; /* put */
        } buffer;
        size_t size;
        uint64_t tag;
        enum crew__source_kind source;
        int fd;                 /* pidfd, eventfd or descriptor; stays open while armed */
        crew__events *events;   /* EVENTS */
        _Atomic uint32_t *word; /* WORD */
        uint32_t mask;          /* FD: EPOLLIN and so on */
        int64_t when, every;    /* NONE: the first time (absolute) and the period, 0 = once */
} crew__op_spec;

struct crew__op {
        crew__op_spec spec;
        crew__source *source;
        crew__link hot;      /* to be tried at the next pass */
        crew__link sleeping; /* one of its source's operations, hot or not */
        crew__link tagged;   /* in its bucket of tags */
        size_t heap_at;      /* place among the timers, from 1; 0 = not there */
        uint32_t revents;    /* FD: what the kernel said during this wait; 0 = ask it */
        uint64_t told;       /* FD: in which wait it said so */
};

/*
 * Arms an operation. On success it owns one reference to spec->object, which class->unref drops
 * when it completes for good, is cancelled or goes with the waiter; on failure the caller keeps it.
 * PROCESS: `fd` is a pidfd, and the first try comes only when the kernel says that it has ended.
 * Returns 0; -ECHILD; -ENOMEM, -EMFILE, -EPERM (FD: cannot be polled), -EBADF.
 */
int crew__waiter_arm(crew_waiter *w, const crew__op_spec *spec);

/* 0, or -ECHILD with words: the waiter was inherited through a fork. Before anything else. */
int crew__waiter_enter(const crew_waiter *w);

/* Which backend a waiter uses at the moment: "io_uring" or "epoll". For tests and inspection. */
const char *crew__waiter_backend(const crew_waiter *w);

#endif
