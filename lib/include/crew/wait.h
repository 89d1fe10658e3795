/* SPDX-License-Identifier: MIT */
#ifndef CREW_WAIT_H
#define CREW_WAIT_H

/*
 * One wait for everything: ends of processes, queue operations, descriptors and timers.
 *
 * Operations are armed with a tag of the caller's choice and complete inside crew_waiter_wait, and
 * only there: buffers are touched and messages taken nowhere else, so a cancelled operation has
 * either completed before or has had no effect. join, get, put, recv, event and semaphore fire once;
 * readable, writable, fd and timer until cancelled. An armed operation keeps its object alive, so
 * every _free is safe (events and semaphores lie in memory of yours, which must stay). A closed queue
 * completes its operations once with -EPIPE (get and readable after the last message) and disarms
 * them.
 *
 * A waiter is used by one thread at a time (any thread; only crew_waiter_wake may come from others
 * meanwhile). In a forked child its calls answer -ECHILD. The kernel side is io_uring where there
 * is one, else epoll; nothing differs but speed.
 */

#include <crew/error.h>
#include <crew/pipe.h>
#include <crew/process.h>
#include <crew/queue.h>
#include <crew/sync.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_waiter crew_waiter;

enum {
        CREW_JOINED,   /* result 0; ask crew_process_exitcode for the code */
        CREW_GOT,      /* get, recv: result = size of the message */
        CREW_PUT_IN,   /* result 0 */
        CREW_READABLE, /* there may be a message; again at every wait while there is */
        CREW_WRITABLE, /* there may be room; again at every wait while there is */
        CREW_FD,       /* revents says what; again at every wait while it holds */
        CREW_TIMER,    /* result = expirations since the last completion */
        CREW_EVENT,    /* result 0: the event is set, or was since it was armed */
        CREW_ACQUIRED, /* result 0: a unit of the semaphore is the caller's */
        CREW_WOKEN,    /* crew_waiter_wake was called; tag and object are 0 */
};

typedef struct crew_completion {
        uint64_t tag;
        int64_t result; /* as above, or a negative errno */
        void *object;   /* what it was armed with; NULL for fd, timer and wake */
        int kind;
        uint32_t revents; /* CREW_FD: EPOLLIN and so on */
} crew_completion;

/*
 * Makes a waiter. `depth` is how many operations it is sized for (0 = 64); more are taken too.
 * Returns 0; -EMFILE, -ENFILE, -ENOMEM.
 */
CREW_PUBLIC int crew_waiter_new(crew_waiter **w, unsigned depth);

/* Cancels what is armed. NULL is fine; always returns NULL. */
CREW_PUBLIC crew_waiter *crew_waiter_free(crew_waiter *w);

/*
 * Waits until at least one operation completes and stores up to `max` completions.
 * Returns how many (at least 1); -EAGAIN or -ETIMEDOUT; -EINTR (io_uring answers so also after the
 * process was stopped and continued); -EINVAL: max < 1; -EDEADLK: nothing
 * is armed and the timeout is CREW_FOREVER while nobody asked for _pollfd; -ECHILD.
 */
CREW_PUBLIC int crew_waiter_wait(crew_waiter *w, crew_completion *out, int max, int64_t timeout);

/*
 * Arm an operation. All return 0; -EINVAL; -ENOMEM; -EMFILE; -ECHILD. Tags need not be unique.
 *
 *   join      `p` ends. Also for crew_parent_process(). -ESRCH: not started.
 *   get       takes one message into `buf`, which stays the waiter's until completion or cancel.
 *   put       puts one message from `data`, which likewise stays until then.
 *   recv      receives one message into `buf`, likewise. To be told of messages (or of room to send)
 *             without taking them, use fd with crew_connection_fd().
 *   readable  `q` has a message, or is closed.
 *   writable  `q` has room, or is closed.
 *   fd        `fd` has one of `events` (EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP; EPOLLERR and
 *             EPOLLHUP always). The descriptor must stay open while armed. -EPERM: a regular file.
 *   timer     in `first` ns from now, then every `every` ns (0 = once).
 *   event     `e` is set, or was since. Without io_uring it is told within 20 ms.
 *   semaphore takes one unit; without io_uring within 20 ms. Cancelled, it has taken none.
 */
CREW_PUBLIC int crew_waiter_join(crew_waiter *w, crew_process *p, uint64_t tag);
CREW_PUBLIC int crew_waiter_get(
        crew_waiter *w, crew_queue *q, void *buf, size_t cap, uint64_t tag);
CREW_PUBLIC int crew_waiter_put(
        crew_waiter *w, crew_queue *q, const void *data, size_t size, uint64_t tag);
CREW_PUBLIC int crew_waiter_recv(
        crew_waiter *w, crew_connection *c, void *buf, size_t cap, uint64_t tag);
CREW_PUBLIC int crew_waiter_readable(crew_waiter *w, crew_queue *q, uint64_t tag);
CREW_PUBLIC int crew_waiter_writable(crew_waiter *w, crew_queue *q, uint64_t tag);
CREW_PUBLIC int crew_waiter_fd(crew_waiter *w, int fd, uint32_t events, uint64_t tag);
CREW_PUBLIC int crew_waiter_timer(crew_waiter *w, int64_t first, int64_t every, uint64_t tag);
CREW_PUBLIC int crew_waiter_event(crew_waiter *w, crew_event *e, uint64_t tag);
CREW_PUBLIC int crew_waiter_semaphore(crew_waiter *w, crew_semaphore *s, uint64_t tag);

/*
 * Disarms every operation with this tag. Returns how many (0: none, or all completed before);
 * -ECHILD. Exact: what it counted had no effect and never completes.
 */
CREW_PUBLIC int crew_waiter_cancel(crew_waiter *w, uint64_t tag);

/*
 * A descriptor for another event loop, readable when crew_waiter_wait(w, …, CREW_NOW) has something
 * to do (which may end with -EAGAIN). Timers included: nothing else is needed. Borrowed; -EMFILE.
 */
CREW_PUBLIC int crew_waiter_pollfd(crew_waiter *w);

/*
 * Makes the current or the next wait return with CREW_WOKEN (once for any number of calls).
 * From any thread and from signal handlers. Returns 0 or -ECHILD.
 */
CREW_PUBLIC int crew_waiter_wake(crew_waiter *w);

static inline void crew_waiter_freep(crew_waiter **w)
{
        *w = crew_waiter_free(*w);
}

#ifdef __cplusplus
}
#endif
#endif
