/* SPDX-License-Identifier: MIT */
#ifndef CREW_ERROR_H
#define CREW_ERROR_H

/*
 * Results, times and the small vocabulary that every other crew header uses.
 *
 * A crew function returns 0 or a count (or a named positive outcome) when it did what was asked,
 * and a negative errno when it did not. Outputs are untouched on failure. The libc variable errno
 * carries nothing. Each errno has one meaning:
 *
 *   EAGAIN      the timeout was CREW_NOW (or already past) and the answer is "not now"
 *   ETIMEDOUT   a timeout above zero passed
 *   EINTR       a signal handler ran and interrupted the sleep; nothing was done, call again
 *   EPIPE       the queue is closed (and, for a get, drained), or nobody holds the other end of the
 *               pipe (and everything was received)
 *   ECONNRESET  the other end of the pipe went in the middle of a message
 *   EMSGSIZE    the message is too big: for the queue (put) or for the buffer (get, recv; it stays)
 *   EBADMSG     the message has another size or kind than the one asked for; it stays
 *   EBUSY       still running
 *   ESRCH       not started yet
 *   EALREADY    started already
 *   ECHILD      the handle belongs to another process (it was inherited through a fork)
 *   ENOENT      no such object, or it was never given to this process
 *   ENODATA     the exit status is gone: somebody else collected it
 *   EDEADLK     the caller would wait for itself
 *   EXDEV       the object lives in another pid namespace
 *   EMFILE      no descriptor is left; crew_error_detail() says how many are needed
 *   EEXIST      such a thing is there already
 *   ENOTRECOVERABLE  shared memory or a pipe holds what no correct peer writes; the object is unusable
 *   EOPNOTSUPP  this object was not made for that
 *   EINVAL      a bad argument or option, and nothing else
 *
 * Anything else (ENOMEM, ENOSPC, EPERM, ...) is the kernel's own answer, handed on.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__GNUC__)
#define CREW_PUBLIC __attribute__((visibility("default")))
#define CREW_CHECK __attribute__((warn_unused_result))
#else
#define CREW_PUBLIC
#define CREW_CHECK
#endif

#define CREW_VERSION_MAJOR 0
#define CREW_VERSION_MINOR 1
#define CREW_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* A timeout is in nanoseconds from now. Zero and everything negative mean "do not wait". */
#define CREW_NOW ((int64_t)0)
#define CREW_FOREVER INT64_MAX
#define CREW_MS(n) ((int64_t)(n)*1000000)
#define CREW_S(n) ((int64_t)(n)*1000000000)

/*
 * CLOCK_MONOTONIC in nanoseconds.
 * Thread-safe, async-signal-safe, usable in a forked child.
 */
CREW_PUBLIC int64_t crew_clock(void);

/*
 * What is left until the crew_clock() time `when`, never negative: one deadline over a loop of
 * calls. crew_until(CREW_FOREVER) is CREW_FOREVER.
 */
CREW_PUBLIC int64_t crew_until(int64_t when);

/*
 * The symbol of an errno, of either sign: crew_error_name(-EPIPE) is "EPIPE". "0" for zero and
 * "unknown" for numbers that name nothing. Static storage.
 */
CREW_PUBLIC const char *crew_error_name(int err);

/*
 * What that errno means when crew returns it: "the queue is closed". Falls back to the C library's
 * text for numbers crew has no meaning of its own for. Static storage.
 */
CREW_PUBLIC const char *crew_error_text(int err);

/*
 * The last failure of the calling thread in words, naming the object and what to do. Valid until
 * the thread's next crew call; never NULL, "" if nothing failed yet.
 */
CREW_PUBLIC const char *crew_error_detail(void);

/* The version of the library that is running, as "0.1.0". Static storage. */
CREW_PUBLIC const char *crew_version(void);

/*
 * Names a queue in arguments and messages. Plain bytes: copy it, send it, store it. It opens only
 * in processes that hold the object (that inherited it, or were granted it).
 */
typedef struct crew_ref {
        uint64_t word[2];
} crew_ref;

/*
 * Options in place, zero meaning default: crew_queue_new(&q, 0, CREW_OPT(queue, .bytes = 65536)).
 * The result is a pointer that lives until the end of the enclosing block (C) or of the full
 * expression (C++20).
 */
#ifdef __cplusplus
} /* extern "C" */
namespace crew_detail {
template <typename T> const T *address(const T &options)
{
        return &options;
}
} // namespace crew_detail
extern "C" {
#define CREW_OPT(kind, ...)                                                                        \
        (__extension__ crew_detail::address(                                                       \
                crew_##kind##_options{.size = sizeof(crew_##kind##_options), ##__VA_ARGS__}))
#else
#define CREW_OPT(kind, ...)                                                                        \
        (&(crew_##kind##_options){.size = sizeof(crew_##kind##_options), __VA_ARGS__})
#endif

/* A handle that frees itself at the end of its block: crew_auto(queue) q = NULL; */
#define crew_auto(kind) __attribute__((cleanup(crew_##kind##_freep), unused)) crew_##kind *

#ifdef __cplusplus
}
#endif
#endif
