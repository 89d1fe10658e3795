/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_PIDFD_H
#define CREW_KERNEL_PIDFD_H

/*
 * What crew asks of a pidfd: has it ended, how, and whose was it to know.
 *
 * A status can be collected once. Nothing here waits in waitid(): readiness of the descriptor comes
 * first, so a process in an uninterruptible sleep costs its waiter no more than the deadline.
 */

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

/* How a process ended. */
typedef struct crew__ending {
        bool known;   /* code, signal and core mean something */
        bool counted; /* usage does */
        bool core;    /* it left a core dump */
        int code;     /* exit status 0..255, 0 for a signal */
        int signal;   /* or 0 */
        struct rusage usage;
} crew__ending;

/*
 * Waits until one of the events of poll() holds (or an error or hang-up, which always counts).
 * Returns 0; -EAGAIN or -ETIMEDOUT; -EINTR: a handler interrupted the sleep; -EBADF.
 */
int crew__ready(int fd, short events, int64_t deadline);

/* Until a descriptor is readable, which a pidfd is once its process has ended. */
static inline int crew__readable(int fd, int64_t deadline)
{
        return crew__ready(fd, POLLIN, deadline);
}

/*
 * Collects the status of a child that has ended: one waitid(), which no second call can repeat.
 * Returns 1 and fills *ending; 0: it runs; -ECHILD: not a child, or collected by somebody else.
 */
int crew__pidfd_collect(int pidfd, crew__ending *ending);

/*
 * The status of a process that somebody else collected, where the kernel keeps it (6.15).
 * Fills *ending and returns 1, or 0 when nobody knows. Call it only once the pidfd is readable.
 */
int crew__pidfd_remembers(int pidfd, crew__ending *ending);

#endif
