/* SPDX-License-Identifier: MIT */
#include "kernel/probe.h"

#include "base/cleanup.h"
#include "kernel/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/*
 * Every try happens in a child of its own. A seccomp filter may answer with death (systemd's does
 * unless told otherwise), which then hits the child and not the host; a ring that is freed sends
 * its task an interruption some milliseconds later, which would give the host an EINTR; a filter or
 * a user namespace cannot be undone.
 *
 * The child shares the memory (no page tables to copy, whatever the host's size) and the caller
 * sleeps until it has ended, as after vfork(). It has no exit signal and is reaped here, so neither
 * SIGCHLD nor waitpid(-1) tells the host of it.
 */

typedef int crew__trial_fn(void *arg);

struct trial {
        crew__trial_fn *body;
        void *arg;
};

enum { STACK_SIZE = 128 * 1024 };

/*
 * ThreadSanitizer takes every clone() for a fork and resets its books in the child, which with
 * shared memory would be the books of the host. Where it is, in the host or in crew, the child gets
 * a copy of the memory; the exit status carries the answer either way.
 */
extern void tsan_is_here(void) __asm__("__tsan_init") __attribute__((weak));

static int memory_flag(void)
{
        return tsan_is_here ? 0 : CLONE_VM;
}

/* Answers through the exit status, which also works where an emulator makes a fork of it. */
static int child_main(void *arg)
{
        const struct trial *trial = arg;
        /* No dump when a filter kills: 1 also stops the core_pattern pipes, which ignore 0. */
        struct rlimit64 no_core = {.rlim_cur = 1, .rlim_max = 1};

        (void)crew__syscall(SYS_prlimit64, 0, RLIMIT_CORE, (long)&no_core, 0, 0, 0);
        return -trial->body(trial->arg);
}

/* Waits for the child and translates how it ended. */
static int verdict(int pidfd)
{
        siginfo_t info = {0};
        int r;

        do
                r = crew__sys_waitid(pidfd, &info, WEXITED | __WALL, NULL);
        while (r == -EINTR);
        if (r == -ECHILD)
                return -EAGAIN; /* a waitpid(-1, ..., __WALL) of the host was faster */
        if (r < 0)
                return r;
        return info.si_code == CLD_EXITED ? -info.si_status : -EPERM;
}

/*
 * Runs the body in a child. *started says whether there was one; without, the result is clone's.
 * The pidfd of the reaped child is handed out if `pidfd` is not NULL.
 */
static int run_apart(crew__trial_fn *body, void *arg, int flags, bool *started, int *pidfd)
{
        struct trial trial = {.body = body, .arg = arg};
        const uint64_t everything = ~UINT64_C(0);
        uint64_t mask;
        char *stack;
        int fd = -1, saved = errno, pid, r;

        *started = false;
        stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) {
                errno = saved;
                return -ENOMEM;
        }

        /* A handler of the host that ran in the child would run on the host's memory. */
        (void)crew__sys_sigmask(SIG_BLOCK, &everything, &mask);
        pid = clone(child_main, stack + STACK_SIZE,
                memory_flag() | CLONE_VFORK | CLONE_PIDFD | flags, &trial, &fd);
        if (pid < 0) {
                r = -errno;
        } else {
                *started = true;
                r = verdict(fd);
        }
        (void)crew__sys_sigmask(SIG_SETMASK, &mask, NULL);

        (void)munmap(stack, STACK_SIZE);
        if (pidfd)
                *pidfd = fd;
        else if (fd >= 0)
                (void)crew__sys_close(fd);
        errno = saved;
        return r;
}

/* In a child, or where no child may be made (a sandbox, a process limit) right here. */
static int probe_harmless(crew__trial_fn *body)
{
        bool started;
        int r = run_apart(body, NULL, 0, &started, NULL);

        return started ? r : body(NULL);
}

static int probe_apart(crew__trial_fn *body)
{
        bool started;

        return run_apart(body, NULL, 0, &started, NULL);
}

/*
 * A size that no version of the call had is refused with EINVAL before anything is looked at, so a
 * kernel that knows clone3 says EINVAL. Filters see the number and cannot look into the struct, so
 * theirs is the answer that a real call would get. Starting a process would tell no more.
 */
static int try_clone3(void *arg)
{
        int r = crew__sys_clone3(NULL, 0);

        (void)arg;
        return r == -EINVAL ? 0 : r < 0 ? r : -EPROTO;
}

int crew__probe_clone3(void)
{
        return probe_harmless(try_clone3);
}

/* A real call above every descriptor that can exist. */
static int try_close_range(void *arg)
{
        (void)arg;
        return crew__sys_close_range(UINT_MAX, UINT_MAX, CLOSE_RANGE_CLOEXEC);
}

int crew__probe_close_range(void)
{
        return probe_harmless(try_close_range);
}

/* The exit status of a process that was reaped is what crew needs, so that is what is asked. */
static int try_nothing(void *arg)
{
        (void)arg;
        return 0;
}

int crew__probe_pidfd_info(void)
{
        struct crew__pidfd_info info = {.mask = CREW__PIDFD_INFO_EXIT};
        CREW__AUTO_CLOSE int pidfd = -1;
        bool started;
        int r;

        r = run_apart(try_nothing, NULL, 0, &started, &pidfd);
        if (r < 0)
                return r;
        r = crew__sys_pidfd_info(pidfd, &info);
        if (r < 0)
                return r;
        return info.mask & CREW__PIDFD_INFO_EXIT ? 0 : -EOPNOTSUPP;
}

/* Makes a ring of the only kind crew uses, submits one operation and fetches its result. */
static int ring_round(void (*prepare)(struct io_uring_sqe *), int *result)
{
        struct __kernel_timespec patience = {.tv_sec = 1};
        struct io_uring_cqe *cqe;
        struct io_uring_sqe *sqe;
        struct io_uring ring;
        int r;

        r = io_uring_queue_init(4, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
        if (r < 0)
                return r;
        sqe = io_uring_get_sqe(&ring);
        prepare(sqe);
        r = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &patience, NULL);
        if (r >= 0) {
                *result = cqe->res;
                r = 0;
        }
        io_uring_queue_exit(&ring);
        return r;
}

static int try_io_uring(void *arg)
{
        int result, r;

        (void)arg;
        r = ring_round(io_uring_prep_nop, &result);
        return r < 0 ? r : result;
}

int crew__probe_io_uring(void)
{
        return probe_apart(try_io_uring);
}

/* The child has no children: ECHILD is the right answer of a kernel that looked for one. */
static void prepare_waitid(struct io_uring_sqe *sqe)
{
        io_uring_prep_rw(CREW__IORING_OP_WAITID, sqe, 0, NULL, P_ALL, 0);
        sqe->file_index = WEXITED | WNOWAIT | __WALL;
}

static int try_uring_waitid(void *arg)
{
        int result, r;

        (void)arg;
        r = ring_round(prepare_waitid, &result);
        if (r < 0)
                return r;
        return result == -ECHILD ? 0 : result < 0 ? result : -EPROTO;
}

int crew__probe_uring_waitid(void)
{
        return probe_apart(try_uring_waitid);
}

/* The word is not what is waited for: EAGAIN comes from a kernel that compared. */
static void prepare_futex(struct io_uring_sqe *sqe)
{
        static const uint32_t word;

        io_uring_prep_rw(
                CREW__IORING_OP_FUTEX_WAIT, sqe, FUTEX2_SIZE_U32, &word, 0, (uint64_t)word + 1);
        sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
}

static int try_uring_futex(void *arg)
{
        int result, r;

        (void)arg;
        r = ring_round(prepare_futex, &result);
        if (r < 0)
                return r;
        return result == -EAGAIN ? 0 : result < 0 ? result : -EPROTO;
}

int crew__probe_uring_futex(void)
{
        return probe_apart(try_uring_futex);
}

static int try_noexec_seal(void *arg)
{
        CREW__AUTO_CLOSE int fd = -1;
        int seals;

        (void)arg;
        fd = crew__sys_memfd_create("crew:probe", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
        if (fd < 0)
                return fd;
        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return -errno;
        return seals & F_SEAL_EXEC ? 0 : -EOPNOTSUPP;
}

int crew__probe_noexec_seal(void)
{
        return probe_harmless(try_noexec_seal);
}

/* Fails with EOPNOTSUPP where Landlock is built in but was left out at boot. */
static int try_landlock(void *arg)
{
        int abi = crew__sys_landlock_abi();

        (void)arg;
        return abi < 0 ? abi : abi > 0 ? 0 : -EOPNOTSUPP;
}

int crew__probe_landlock(void)
{
        return probe_harmless(try_landlock);
}

/*
 * Loads a filter that allows everything and asks for its listener: the kernel has only one per
 * process, so under somebody else's this is EBUSY although every query says yes.
 */
static int try_seccomp_notify(void *arg)
{
        struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog program = {.len = 1, .filter = &allow};
        int r;

        (void)arg;
        r = crew__sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0);
        if (r < 0)
                return r;
        r = crew__sys_seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
        if (r < 0)
                return r;
        (void)crew__sys_close(r);
        return 0;
}

int crew__probe_seccomp_notify(void)
{
        return probe_apart(try_seccomp_notify);
}

/* A lock as crew uses it: no list, only the pending slot points near the word. */
struct robust_trial {
        struct robust_list_head head;
        struct robust_list entry;
        _Atomic uint32_t word;
};

static int try_die_with_lock(void *arg)
{
        struct robust_trial *trial = arg;

        trial->head.list.next = &trial->head.list;
        trial->head.futex_offset = (long)offsetof(struct robust_trial, word) -
                                   (long)offsetof(struct robust_trial, entry);
        trial->head.list_op_pending = &trial->entry;
        trial->word = (uint32_t)crew__sys_gettid();
        return crew__sys_set_robust_list(&trial->head);
}

/* Whether the kernel marks the lock of a child that dies with it. */
static int probe_mark(void)
{
        struct robust_trial *trial = mmap(
                NULL, sizeof *trial, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        bool started;
        int r;

        if (trial == MAP_FAILED)
                return -ENOMEM;
        r = run_apart(try_die_with_lock, trial, 0, &started, NULL);
        if (!started)
                r = 0; /* no child may be made: the other half of the answer has to do */
        else if (r == 0 && !(atomic_load(&trial->word) & FUTEX_OWNER_DIED))
                r = -EOPNOTSUPP;
        (void)munmap(trial, sizeof *trial);
        return r;
}

/*
 * Two halves: a child that dies holding a lock gets it marked, and the C library has registered a
 * list for this thread (musl does so late). Its offset must lead from a list node to a lock word
 * in the same mutex, else it is not what crew believes it to be.
 */
int crew__probe_robust_list(void)
{
        struct robust_list_head *head = NULL;
        size_t size = 0;
        int r;

        r = probe_mark();
        if (r < 0)
                return r;
        r = crew__sys_get_robust_list(0, &head, &size);
        if (r < 0)
                return r;
        if (!head)
                return -ENODATA;
        if (size != sizeof *head || head->futex_offset < -256 || head->futex_offset > 256)
                return -EOPNOTSUPP;
        return 0;
}

/*
 * Being in a user namespace is not enough: some distributions let everybody make one and then
 * grant no right inside. A mount namespace is the cheapest thing that needs such a right.
 */
static int try_unshare(void *arg)
{
        (void)arg;
        return (int)crew__syscall(SYS_unshare, CLONE_NEWNS, 0, 0, 0, 0, 0);
}

int crew__probe_userns(void)
{
        bool started;

        return run_apart(try_unshare, NULL, CLONE_NEWUSER | CLONE_NEWPID, &started, NULL);
}
