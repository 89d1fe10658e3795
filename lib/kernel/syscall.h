/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_SYSCALL_H
#define CREW_KERNEL_SYSCALL_H

/*
 * System calls, raw: each returns what the kernel answered, a negative errno for failure. They
 * leave errno alone and are no cancellation points, so they may be used where the C library may
 * not: in a child that shares its parent's memory and therefore its parent's errno.
 */

#include "base/clock.h"
#include "kernel/missing.h"

#include <limits.h>
/* <sched.h> goes first: the kernel's header has the struct, the C library's has the macros. */
#include <sched.h>

#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef LANDLOCK_CREATE_RULESET_VERSION
#        define LANDLOCK_CREATE_RULESET_VERSION (1U << 0)
#endif

#if defined(__x86_64__) && !defined(__ILP32__)

static inline long crew__syscall(long nr, long a, long b, long c, long d, long e, long f)
{
        register long r10 __asm__("r10") = d;
        register long r8 __asm__("r8") = e;
        register long r9 __asm__("r9") = f;
        long r;

        __asm__ volatile("syscall"
                         : "=a"(r)
                         : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
        return r;
}

#elif defined(__aarch64__)

static inline long crew__syscall(long nr, long a, long b, long c, long d, long e, long f)
{
        register long x8 __asm__("x8") = nr;
        register long x0 __asm__("x0") = a;
        register long x1 __asm__("x1") = b;
        register long x2 __asm__("x2") = c;
        register long x3 __asm__("x3") = d;
        register long x4 __asm__("x4") = e;
        register long x5 __asm__("x5") = f;

        __asm__ volatile("svc 0"
                         : "+r"(x0)
                         : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                         : "memory");
        return x0;
}

#else
#        error "crew knows x86-64 and arm64"
#endif

/*
 * Only without CLONE_VM, or with a stack of its own and code that never returns: the child comes
 * back here on args->stack. A plain fork runs no pthread_atfork handler and repairs neither the
 * thread id nor the robust list of the C library.
 */
static inline int crew__sys_clone3(struct clone_args *args, size_t size)
{
        return (int)crew__syscall(SYS_clone3, (long)args, (long)size, 0, 0, 0, 0);
}

static inline int crew__sys_pidfd_open(pid_t pid, unsigned flags)
{
        return (int)crew__syscall(SYS_pidfd_open, pid, flags, 0, 0, 0, 0);
}

static inline int crew__sys_pidfd_send_signal(int pidfd, int sig)
{
        return (int)crew__syscall(SYS_pidfd_send_signal, pidfd, sig, 0, 0, 0, 0);
}

static inline int crew__sys_pidfd_getfd(int pidfd, int fd)
{
        return (int)crew__syscall(SYS_pidfd_getfd, pidfd, fd, 0, 0, 0, 0);
}

/*
 * waitid(P_PIDFD) with the resource usage that the C library's has no room for. With WNOHANG and
 * nobody dead it answers 0 and leaves info->si_pid 0, so clear *info first. `usage` may be NULL.
 */
static inline int crew__sys_waitid(int pidfd, siginfo_t *info, int options, struct rusage *usage)
{
        return (int)crew__syscall(
                SYS_waitid, CREW__P_PIDFD, pidfd, (long)info, options, (long)usage, 0);
}

/* PIDFD_GET_INFO; info->mask says what is wanted, then what was there. */
static inline int crew__sys_pidfd_info(int pidfd, struct crew__pidfd_info *info)
{
        return (int)crew__syscall(
                SYS_ioctl, pidfd, (long)CREW__PIDFD_GET_INFO, (long)info, 0, 0, 0);
}

/*
 * Sleeps while *word is `expected`, until the CLOCK_MONOTONIC `deadline`. 0 = woken (perhaps for
 * nothing), -EAGAIN = the word differs, -ETIMEDOUT, -EINTR = a signal handler ran.
 *
 * Words are shared between processes: never FUTEX_PRIVATE_FLAG. A timeout is always given, even
 * for CREW__NEVER: the kernel restarts a futex wait without one silently after an SA_RESTART
 * handler, and crew promises -EINTR.
 */
static inline int crew__sys_futex_wait(
        const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
        struct timespec until = crew__timespec(deadline > 0 ? deadline : 0);

        return (int)crew__syscall(SYS_futex, (long)word, FUTEX_WAIT_BITSET, (long)expected,
                (long)&until, 0, (long)FUTEX_BITSET_MATCH_ANY);
}

/*
 * The same for two words: sleeps while each is what is expected of it. Other than above, the kernel
 * goes on with it silently after an SA_RESTART handler. -ENOSYS: ask for CREW__FUTEX_WAITV.
 */
static inline int crew__sys_futex_wait_either(const _Atomic uint32_t *one, uint32_t expected,
        const _Atomic uint32_t *other, uint32_t expected_there, int64_t deadline)
{
        struct timespec until = crew__timespec(deadline > 0 ? deadline : 0);
        const struct crew__futex_waitv words[] = {
                { .val = expected, .uaddr = (uintptr_t)one, .flags = FUTEX2_SIZE_U32 },
                { .val = expected_there, .uaddr = (uintptr_t)other, .flags = FUTEX2_SIZE_U32 },
        };
        int r = (int)crew__syscall(
                SYS_futex_waitv, (long)words, 2, 0, (long)&until, CLOCK_MONOTONIC, 0);

        return r > 0 ? 0 : r;
}

/* Wakes up to n sleepers; answers how many. */
static inline int crew__sys_futex_wake(_Atomic uint32_t *word, int n)
{
        return (int)crew__syscall(SYS_futex, (long)word, FUTEX_WAKE, n, 0, 0, 0);
}

/*
 * Adds one to the word and wakes everybody, in one system call: a SIGKILL cannot fall between the
 * two, so no sleeper is left with a word that says it was woken already.
 */
static inline int crew__sys_futex_wake_add(_Atomic uint32_t *word)
{
        return (int)crew__syscall(SYS_futex, (long)word, FUTEX_WAKE_OP, INT_MAX, 0, (long)word,
                (long)FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
}

/* The list of a thread, 0 for the calling one. */
static inline int crew__sys_get_robust_list(pid_t tid, struct robust_list_head **head, size_t *size)
{
        return (int)crew__syscall(SYS_get_robust_list, tid, (long)head, (long)size, 0, 0, 0);
}

static inline int crew__sys_set_robust_list(struct robust_list_head *head)
{
        return (int)crew__syscall(SYS_set_robust_list, (long)head, sizeof *head, 0, 0, 0, 0);
}

/* The scheduling policy of a thread; -ESRCH: there is none with that number, not even one that is dead
 * and was not collected. */
static inline int crew__sys_sched_getscheduler(uint32_t tid)
{
        return (int)crew__syscall(SYS_sched_getscheduler, (long)tid, 0, 0, 0, 0, 0);
}

static inline int crew__sys_close_range(unsigned first, unsigned last, unsigned flags)
{
        return (int)crew__syscall(SYS_close_range, first, last, flags, 0, 0, 0);
}

static inline int crew__sys_close(int fd)
{
        return (int)crew__syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline int crew__sys_memfd_create(const char *name, unsigned flags)
{
        return (int)crew__syscall(SYS_memfd_create, (long)name, flags, 0, 0, 0, 0);
}

/* Not getpid() and friends of the C library where it may remember: these always ask. */
static inline pid_t crew__sys_gettid(void)
{
        return (pid_t)crew__syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static inline pid_t crew__sys_getpid(void)
{
        return (pid_t)crew__syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static inline ssize_t crew__sys_getrandom(void *bytes, size_t size, unsigned flags)
{
        return (ssize_t)crew__syscall(SYS_getrandom, (long)bytes, (long)size, flags, 0, 0, 0);
}

static inline int crew__sys_prctl(int option, unsigned long a, unsigned long b)
{
        return (int)crew__syscall(SYS_prctl, option, (long)a, (long)b, 0, 0, 0);
}

static inline int crew__sys_seccomp(unsigned operation, unsigned long flags, void *args)
{
        return (int)crew__syscall(SYS_seccomp, operation, (long)flags, (long)args, 0, 0, 0);
}

static inline int crew__sys_landlock_create_ruleset(
        const struct crew__landlock_ruleset_attr *attr, size_t size, unsigned flags)
{
        return (int)crew__syscall(
                SYS_landlock_create_ruleset, (long)attr, (long)size, flags, 0, 0, 0);
}

/* The ABI version, 1 and up. -ENOSYS: not built in, -EOPNOTSUPP: not switched on at boot. */
static inline int crew__sys_landlock_abi(void)
{
        return crew__sys_landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static inline int crew__sys_landlock_add_rule(
        int ruleset, int type, const void *attr, unsigned flags)
{
        return (int)crew__syscall(SYS_landlock_add_rule, ruleset, type, (long)attr, flags, 0, 0);
}

static inline int crew__sys_landlock_restrict_self(int ruleset, unsigned flags)
{
        return (int)crew__syscall(SYS_landlock_restrict_self, ruleset, flags, 0, 0, 0, 0);
}

/*
 * The whole mask, also the two signals that the C library keeps for itself and its sigprocmask()
 * refuses to block. NULL reads or leaves.
 */
static inline int crew__sys_sigmask(int how, const uint64_t *set, uint64_t *old)
{
        return (int)crew__syscall(
                SYS_rt_sigprocmask, how, (long)set, (long)old, sizeof(uint64_t), 0, 0);
}

/* Ends the calling process (every thread) without any handler of the C library. */
static inline void __attribute__((noreturn)) crew__sys_exit(int code)
{
        for (;;)
                (void)crew__syscall(SYS_exit_group, code, 0, 0, 0, 0, 0);
}

#endif
