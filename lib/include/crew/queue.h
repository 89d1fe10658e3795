/* SPDX-License-Identifier: MIT */
#ifndef CREW_QUEUE_H
#define CREW_QUEUE_H

/*
 * A queue of messages between processes: a ring in a sealed memfd.
 *
 * put returns when the message is in the ring: there is no feeder thread and nothing to flush at
 * exit, and a message outlives the process that put it. Messages of one producer come out in the
 * order they went in. A process may be killed at any instruction: the others go on, and no message
 * is lost, torn or doubled once its put returned (a message whose put or get was cut short by the
 * kill is either whole or not there).
 *
 * Any thread may use a handle. A handle stays usable in a child made by fork(), by clone3() or by
 * crew_process_start(); each process frees its own copy. Sizes are bytes, timeouts nanoseconds.
 * No function here is async-signal-safe, and a put or get must not be left by longjmp.
 */

#include <crew/error.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_queue crew_queue;

enum {
        /* The queue closes by itself when the last process that could put has ended, has freed it
         * or has called crew_queue_put_done. What counts is every process that holds the queue: the
         * one that made it; a child from crew_process_start on; others from crew_queue_open,
         * crew_queue_connect or (after another kind of fork) their first put or get on; a pool that
         * it is granted to, until its workers are gone. At most 256 of them. */
        CREW_QUEUE_EOF = 1,
        /* Only one thread of one process at a time puts (gets). The side then takes no lock, and
         * crew_queue_reserve (crew_queue_peek) is available. Two at a time corrupt the queue. */
        CREW_QUEUE_SINGLE_PRODUCER = 2,
        CREW_QUEUE_SINGLE_CONSUMER = 4,
        /* crew_queue_task_done and crew_queue_join; at most 256 processes. */
        CREW_QUEUE_JOINABLE = 8,
};

typedef struct crew_queue_options {
        size_t size;         /* of this struct; CREW_OPT sets it */
        const char *name;    /* shown by inspectors, at most 63 bytes; NULL = none */
        size_t bytes;        /* a message of this size fits; 0 = a ring of 1 MiB. At most 8 GiB.
                                A message occupies its size + 8, rounded up to a multiple of 8 */
        size_t message_size; /* 0 = any; else every message has exactly this size (EBADMSG) */
        uint64_t flags;      /* CREW_QUEUE_... */
} crew_queue_options;

/*
 * Makes a queue of at most `max_messages` messages (0 = only the bytes limit it; at most 2^31 - 1).
 *
 * @o may be NULL. Takes three descriptors (a memfd and two eventfds), all close-on-exec.
 * Returns 0; -EINVAL bad option; -EMFILE, -ENFILE, -ENOMEM.
 */
CREW_PUBLIC int crew_queue_new(crew_queue **q, size_t max_messages, const crew_queue_options *o);

/*
 * Drops this process's handle; an operation that a waiter has armed keeps the object until then.
 * The ring goes with the last handle of the last process. NULL is fine; always returns NULL.
 */
CREW_PUBLIC crew_queue *crew_queue_free(crew_queue *q);

/*
 * Appends one message of `size` bytes (0 is a message too).
 *
 * Returns 0; -EAGAIN or -ETIMEDOUT: full; -EPIPE: closed; -EMSGSIZE: larger than the ring can ever
 * take; -EBADMSG: not the queue's message_size; -EBUSY: a reservation is open on this handle; -EINTR;
 * -EXDEV; -ENOTRECOVERABLE.
 * One big put competes with many small ones: only its deadline bounds the wait.
 */
CREW_PUBLIC int crew_queue_put(crew_queue *q, const void *data, size_t size, int64_t timeout);

/*
 * Takes the oldest message into `buf`.
 *
 * Returns its size; -EAGAIN or -ETIMEDOUT: empty; -EPIPE: closed and drained; -EMSGSIZE: it is
 * larger than `cap` and stays (crew_error_detail() has both sizes); -EBUSY: a message is being read
 * in place on this handle; -EINTR; -EXDEV; -ENOTRECOVERABLE.
 */
CREW_PUBLIC ssize_t crew_queue_get(crew_queue *q, void *buf, size_t cap, int64_t timeout);

/* As crew_queue_get, for one size only: 0, or -EBADMSG if the message has another; it stays. */
CREW_PUBLIC int crew_queue_get_exact(crew_queue *q, void *buf, size_t size, int64_t timeout);

/*
 * As crew_queue_get, into memory that grows as getline(3)'s does: *buf is NULL or from malloc and
 * has room for *cap bytes; both are updated, also when the get fails after growing. The caller
 * frees *buf. Returns the size; -ENOMEM besides crew_queue_get's errors.
 */
CREW_PUBLIC ssize_t crew_queue_get_alloc(crew_queue *q, void **buf, size_t *cap, int64_t timeout);

/* One object of the type that `p` points to. */
#define CREW_PUT(q, p, timeout) crew_queue_put((q), (p), sizeof *(p), (timeout))
#define CREW_GET(q, p, timeout) crew_queue_get_exact((q), (p), sizeof *(p), (timeout))

/*
 * Zero-copy put, for a queue made with CREW_QUEUE_SINGLE_PRODUCER (else -EOPNOTSUPP).
 *
 * reserve waits for room for `size` bytes and points *at to them, 8-aligned, to be written in place
 * until commit, which sends the first `size` (no more than reserved) bytes as one message, or
 * abort. Nobody sees the message before the commit; a death before it leaves nothing behind.
 * reserve: errors as put, and -EBUSY when one is open already. commit and abort: 0, -EINVAL when
 * none is open or `size` is larger than reserved, -EBADMSG for another size than message_size.
 */
CREW_PUBLIC int crew_queue_reserve(crew_queue *q, void **at, size_t size, int64_t timeout);
CREW_PUBLIC int crew_queue_commit(crew_queue *q, size_t size);
CREW_PUBLIC int crew_queue_abort(crew_queue *q);

/*
 * Zero-copy get, for a queue made with CREW_QUEUE_SINGLE_CONSUMER (else -EOPNOTSUPP).
 *
 * peek waits for a message and points *at to it, 8-aligned, readable until release. release(true)
 * takes it off the queue, release(false) leaves it there. A death in between leaves it there.
 * peek: the size, errors as get, and -EBUSY when one is open already. release: 0, -EINVAL when none
 * is open.
 */
CREW_PUBLIC ssize_t crew_queue_peek(crew_queue *q, const void **at, int64_t timeout);
CREW_PUBLIC int crew_queue_release(crew_queue *q, bool taken);

/*
 * Puts up to `n` messages with one commit: all that fit at once, at least one.
 * Returns how many of the first were put (1 to n), or the error of putting the first; -EINVAL for
 * n = 0. A message that is not the first and could never be put ends the batch before it.
 */
CREW_PUBLIC int crew_queue_put_many(
        crew_queue *q, const struct iovec *messages, unsigned n, int64_t timeout);

/*
 * Takes up to `max` messages that are there now, waiting for the first only. They are packed into
 * `buf` (8-aligned by the caller), each at a multiple of 8; messages[i] points to the i-th.
 * Returns how many (1 to max), or the error of getting the first; -EINVAL for max = 0 or a buffer
 * that is not 8-aligned.
 */
CREW_PUBLIC int crew_queue_get_many(crew_queue *q, void *buf, size_t cap, struct iovec *messages,
        unsigned max, int64_t timeout);

/*
 * What was true a moment ago: messages queued, bytes of ring they occupy, nothing to get, and no
 * room (at the message limit, or not even `message_size` bytes, or 0 without one, would fit).
 */
CREW_PUBLIC size_t crew_queue_count(crew_queue *q);
CREW_PUBLIC size_t crew_queue_bytes(crew_queue *q);
CREW_PUBLIC bool crew_queue_empty(crew_queue *q);
CREW_PUBLIC bool crew_queue_full(crew_queue *q);

/*
 * Ends the queue for every process: puts answer -EPIPE from now on, gets drain what is there first,
 * and all sleepers wake. Idempotent. Returns 0.
 */
CREW_PUBLIC int crew_queue_close(crew_queue *q);

/*
 * For a queue made with CREW_QUEUE_EOF (else -EOPNOTSUPP): this process puts no more; its puts
 * answer -EPIPE from now on. Also to be called by processes that only get, or the queue does not end
 * before they do. A process that dies without saying so counts as ended within 20 ms. Idempotent.
 * Returns 0; -ENOSPC: 256 others hold the queue, which is also what every first use in a process
 * then answers.
 */
CREW_PUBLIC int crew_queue_put_done(crew_queue *q);

/*
 * For a queue made with CREW_QUEUE_JOINABLE (else -EOPNOTSUPP): a message that was taken is done;
 * and: wait until every message that was ever put is.
 *
 * task_done: of one that this process took, or, if it has none left, of another's. 0; -EINVAL: more
 * often than messages were taken.
 * join: 0; -EAGAIN or -ETIMEDOUT; -EOWNERDEAD: messages were taken by a process that has ended, or
 * freed the queue, before it said that they are done (crew_error_detail() has how many): they will
 * not be, unless another process says it for them; -EINTR; -EXDEV; -ENOTRECOVERABLE.
 */
CREW_PUBLIC int crew_queue_task_done(crew_queue *q);
CREW_PUBLIC int crew_queue_join(crew_queue *q, int64_t timeout);

/*
 * A descriptor for poll, epoll or another event loop, readable when there may be a message: call
 * crew_queue_get with CREW_NOW until it answers -EAGAIN, which re-arms it. It also gets readable
 * now and then with nothing there (the 20 ms recheck that bounds the effect of a peer's death).
 * Borrowed, made on first use for this handle in this process; -EMFILE, -ENOMEM.
 * In a forked child call it again: the parent's is not the child's.
 */
CREW_PUBLIC int crew_queue_fd(crew_queue *q);

/* The queue's name in arguments and messages. */
CREW_PUBLIC crew_ref crew_queue_ref(const crew_queue *q);

/*
 * A new handle for a queue that this process holds already, typically through a fork.
 * Returns 0; -ENOENT: never given to this process, or freed; -EXDEV; -ENOMEM.
 */
CREW_PUBLIC int crew_queue_open(crew_queue **q, crew_ref ref);

/*
 * Gives the queue a name under which other processes of the same user find it, in the same pid
 * namespace: 1 to 63 bytes without slash and control characters. Nothing appears in a file system
 * and no server is needed. The name holds until this process has freed the queue or is gone, also if
 * others still hold the queue; inside a sandbox neither call works.
 *
 * publish takes one descriptor. Returns 0; -EEXIST: such a name is there already (two that publish
 * at once may both get this), or this process has published the queue; -EOPNOTSUPP: the queue's
 * descriptor is not here; -EINVAL; -EACCES: /proc cannot be read; -EMFILE, -ENFILE, -ENOMEM.
 */
CREW_PUBLIC int crew_queue_publish(crew_queue *q, const char *name);

/*
 * A handle for the queue that was published under the name. A wait for it in a waiter without
 * io_uring, or by crew_queue_fd(), learns of messages at the 20 ms recheck.
 * Returns 0; -ENOENT: there is none; -EEXIST: several processes publish the name; -EXDEV: in another
 * pid namespace; -EPERM: by another user; -EINVAL; -EACCES; -EMFILE, -ENFILE, -ENOMEM.
 */
CREW_PUBLIC int crew_queue_connect(crew_queue **q, const char *name);

static inline void crew_queue_freep(crew_queue **q)
{
        *q = crew_queue_free(*q);
}

#ifdef __cplusplus
}
#endif
#endif
