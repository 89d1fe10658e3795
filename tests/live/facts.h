/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_FACTS_H
#define CREW_TESTS_FACTS_H

/*
 * What the experiments of docs/KERNEL.md share. They ask the kernel itself: nothing of libcrew is
 * linked, and CREW_DISABLE changes nothing.
 */

#include "check.h"
#include "kernel/syscall.h"
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* Long enough for whatever must happen, on any machine. */
#define FACT_SOON PEER_MS(5000)
/* Long enough to believe that nothing will happen. Waiting in vain, never judged for being late. */
#define FACT_NEVER PEER_MS(120)

/* Where another process is to make the call, which cannot skip. A size that no version had is
 * EINVAL wherever there is the call. */
static inline void fact_needs_clone3(void)
{
        int r = crew__sys_clone3(NULL, 0);

        if (r != -EINVAL)
                SKIP("no clone3: %s", strerror(-r));
}

/* The bare system call: no pthread_atfork handler, no repair of the C library. 0 in the child. */
static inline pid_t fact_clone(int exit_signal, uint64_t flags, int *pidfd)
{
        struct clone_args args = {
                .flags = flags | CLONE_PIDFD,
                .pidfd = (uint64_t)(uintptr_t)pidfd,
                .exit_signal = (uint64_t)exit_signal,
        };
        pid_t parent = getpid();
        int r = crew__sys_clone3(&args, sizeof args);

        if (r == -ENOSYS || r == -EPERM)
                SKIP("no clone3: %s", strerror(-r));
        REQUIRE(r >= 0);
        if (r == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent && !(flags & CLONE_PARENT))
                        _exit(1);
        }
        return r;
}

static inline bool fact_readable(int fd, int64_t ns)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, (int)(test_slow(ns) / PEER_MS(1)));
        while (r < 0 && errno == EINTR);
        return r == 1 && p.revents & POLLIN;
}

/* The pidfd's process has ended: it is a zombie, or somebody has reaped it. */
static inline bool fact_ended(int pidfd)
{
        return fact_readable(pidfd, FACT_SOON);
}

/* Reaps through the pidfd: the exit status, PEER_KILLED + signal, or a negative errno. */
static inline int fact_reap(int pidfd, int options)
{
        siginfo_t info = { 0 };
        int r = crew__sys_waitid(pidfd, &info, WEXITED | options, NULL);

        if (r < 0)
                return r;
        return info.si_code == CLD_EXITED ? info.si_status : PEER_KILLED + info.si_status;
}

/* The calling thread's robust list; where the C library has none yet, one of its own. */
static inline struct robust_list_head *fact_robust(void)
{
        static _Thread_local struct robust_list_head own;
        struct robust_list_head *head = NULL;
        size_t size;
        int r = crew__sys_get_robust_list(0, &head, &size);

        if (r < 0)
                SKIP("no robust list: %s", strerror(-r));
        if (!head) {
                own.list.next = &own.list;
                head = &own;
                REQUIRE(crew__sys_set_robust_list(head) == 0);
        }
        return head;
}

/* Names the word as the lock that this thread is about to take, holds, or has just released. */
static inline void fact_cover(_Atomic uint32_t *word)
{
        struct robust_list_head *head = fact_robust();

        head->list_op_pending =
                (struct robust_list *)((uintptr_t)word - (uintptr_t)head->futex_offset);
        atomic_signal_fence(memory_order_seq_cst);
}

static inline void fact_uncover(void)
{
        atomic_signal_fence(memory_order_seq_cst);
        fact_robust()->list_op_pending = NULL;
}

/* One of the C library, to be shared with other processes. */
static inline void fact_robust_mutex(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t how;

        REQUIRE(pthread_mutexattr_init(&how) == 0);
        REQUIRE(pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0);
        REQUIRE(pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST) == 0);
        REQUIRE(pthread_mutex_init(mutex, &how) == 0);
        REQUIRE(pthread_mutexattr_destroy(&how) == 0);
}

#endif
