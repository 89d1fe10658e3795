/* SPDX-License-Identifier: MIT */
#ifndef CREW_PIPE_H
#define CREW_PIPE_H

/*
 * Two connected ends, over which messages of any size go: each arrives whole, as one, or not at
 * all. Nothing is left in the file system, and nothing here raises SIGPIPE.
 *
 * Any thread may use a handle, and several processes may share an end: each message then goes to
 * one of them, and messages of several senders are never mixed. A sender that is killed or runs out
 * of time in the middle of a long message leaves nothing that its peer would take for one. A
 * message longer than CREW_PIPE_PACKET travels in pieces; if its receiver's time is over half-way
 * the rest is received by the next call on the same handle, and lost if another process receives
 * before that.
 *
 * A handle stays usable in a child made by fork(), by clone3() or by crew_process_start(). The end
 * of the messages (-EPIPE) comes when the last process that held the other end has freed it or is
 * gone: as with every pipe, each process frees the end that it does not use.
 *
 * Timeouts are nanoseconds. No function here is async-signal-safe, and none may be left by longjmp.
 */

#include <crew/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_connection crew_connection;

/* A message of at most so many bytes is handed to the kernel in one piece (less where the system's
 * socket buffers are very small). */
#define CREW_PIPE_PACKET 65504

/*
 * Makes two connected ends. With `duplex` both send and receive; without, a receives and b sends,
 * and the other direction is -EOPNOTSUPP.
 *
 * Takes four descriptors, all close-on-exec. Returns 0; -EINVAL; -EMFILE, -ENFILE, -ENOMEM.
 */
CREW_PUBLIC int crew_pipe(crew_connection **a, crew_connection **b, bool duplex);

/* Drops this handle; a waiter that has an operation armed on it keeps it until then. NULL is fine;
 * always returns NULL. */
CREW_PUBLIC crew_connection *crew_connection_free(crew_connection *c);

/*
 * Sends one message of `size` bytes (0 is a message too). What the other end has not received yet
 * is held by the kernel, some 200 KiB; then a send waits.
 *
 * Returns 0; -EAGAIN or -ETIMEDOUT: no room, and nothing of it will be received (nor would a
 * message ever be sent with CREW_NOW that is larger than what the kernel holds); -EPIPE: nobody
 * holds the other end; -EOPNOTSUPP: this end receives only, or was granted to a pool by this
 * process; -EINTR: nothing of it will be received; -ENOMEM; -EXDEV.
 */
CREW_PUBLIC int crew_connection_send(
        crew_connection *c, const void *data, size_t size, int64_t timeout);

/*
 * Receives one message.
 *
 * Returns its size; -EAGAIN or -ETIMEDOUT: there is none, or only a part of one, which is kept;
 * -EPIPE: nobody holds the other end and everything was received; -ECONNRESET: the other end went
 * in the middle of a message, which is dropped; -EMSGSIZE: it is larger than `cap` and stays
 * (crew_error_detail() has both sizes); -EBADMSG: the next is a descriptor, which stays;
 * -EOPNOTSUPP: this end sends only, or was granted to a pool by this process; -EINTR; -ENOMEM;
 * -EXDEV; -ENOTRECOVERABLE: something came that no crew sends.
 */
CREW_PUBLIC ssize_t crew_connection_recv(
        crew_connection *c, void *buf, size_t cap, int64_t timeout);

/* As crew_connection_recv, for one size only: 0, or -EBADMSG if the message has another; it stays.
 */
CREW_PUBLIC int crew_connection_recv_exact(
        crew_connection *c, void *buf, size_t size, int64_t timeout);

/*
 * As crew_connection_recv, into memory that grows as getline(3)'s does: *buf is NULL or from malloc
 * and has room for *cap bytes; both are updated. The caller frees *buf. From somebody who is not
 * trusted rather take what fits in a buffer: this grows to whatever is sent.
 */
CREW_PUBLIC ssize_t crew_connection_recv_alloc(
        crew_connection *c, void **buf, size_t *cap, int64_t timeout);

/* One object of the type that `p` points to. */
#define CREW_SEND(c, p, timeout) crew_connection_send((c), (p), sizeof *(p), (timeout))
#define CREW_RECV(c, p, timeout) crew_connection_recv_exact((c), (p), sizeof *(p), (timeout))

/*
 * Waits until a receive would not wait: a message (or the beginning of a long one) or the end is
 * there. Returns 0; -EAGAIN or -ETIMEDOUT: nothing; -EOPNOTSUPP; -EINTR; -EXDEV.
 */
CREW_PUBLIC int crew_connection_poll(crew_connection *c, int64_t timeout);

/*
 * Sends and receives a descriptor, in order among the messages. The receiver gets a duplicate,
 * close-on-exec; the sender keeps its own.
 * send_fd: as crew_connection_send, and -EINVAL: not open. recv_fd: the descriptor, or as
 * crew_connection_recv, with -EBADMSG: the next is a message, which stays, and -EMFILE: it stays.
 */
CREW_PUBLIC int crew_connection_send_fd(crew_connection *c, int fd, int64_t timeout);
CREW_PUBLIC int crew_connection_recv_fd(crew_connection *c, int64_t timeout);

/*
 * A descriptor for poll, epoll or crew_waiter_fd: readable when crew_connection_poll would answer
 * 0, writable when there is room. Borrowed: not to be read, written or closed.
 */
CREW_PUBLIC int crew_connection_fd(crew_connection *c);

/* This end's name in arguments and messages; for a pool's grants, name the end that the pool's
 * tasks are to use, and use the other one. */
CREW_PUBLIC crew_ref crew_connection_ref(const crew_connection *c);

/*
 * A new handle for an end that this process holds already, typically through a fork.
 * Returns 0; -ENOENT: never given to this process, or freed; -EXDEV; -ENOMEM.
 */
CREW_PUBLIC int crew_connection_open(crew_connection **c, crew_ref ref);

static inline void crew_connection_freep(crew_connection **c)
{
        *c = crew_connection_free(*c);
}

#ifdef __cplusplus
}
#endif
#endif
