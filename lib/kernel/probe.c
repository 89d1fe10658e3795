/* SPDX-License-Identifier: MIT */
#include "kernel/probe.h"

#include "base/cleanup.h"
#include "kernel/cell.h"
#include "kernel/syscall.h"
#include "kernel/vmclone.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/*
 * Every try happens in a child. A seccomp filter may answer with death (systemd's does unless told
 * otherwise), which then hits the child and not the host; a ring that is freed sends its task an
 * interruption some milliseconds later, which would give the host an EINTR; a filter or a user
 * namespace cannot be undone.
 *
 * The child shares the memory (no page tables to copy, whatever the host's size) and the caller
 * sleeps until it has ended, as after vfork(). It has no exit signal and is reaped here, so neither
 * SIGCHLD nor waitpid(-1) tells the host of it.
 *
 * A child costs more than what is tried in it, so one tries several features and says which it is
 * at. If that one kills it, the next child goes on behind it.
 */

#define BIT(feature) (1U << (feature))

/* Without a child at all these may be tried in the host. */
#define HARMLESS                                                                                   \
        (BIT(CREW__NOEXEC_SEAL) | BIT(CREW__CLOSE_RANGE) | BIT(CREW__LANDLOCK) |                   \
                BIT(CREW__CLONE3) | BIT(CREW__FUTEX_WAITV))
#define PLAIN (HARMLESS | BIT(CREW__PIDFD_INFO) | BIT(CREW__ROBUST_LIST))
#define RING (BIT(CREW__IO_URING) | BIT(CREW__URING_WAITID) | BIT(CREW__URING_FUTEX))

enum { DONE = -1 };

/* In memory that is shared also where the child gets a copy of the rest. */
struct trial {
        void (*body)(struct trial *trial);
        unsigned wanted, tried;
        int at; /* the feature that is being tried, or DONE */
        int answer[CREW__FEATURES];
        /* A lock as crew uses it: no list, only the pending slot points near the word. */
        struct robust_list_head head;
        struct robust_list entry;
        _Atomic uint32_t word;
        int cell; /* to move to */
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

static int child_main(void *arg)
{
        struct trial *trial = arg;
        /* No dump when a filter kills: 1 also stops the core_pattern pipes, which ignore 0. */
        struct rlimit64 no_core = { .rlim_cur = 1, .rlim_max = 1 };

        (void)crew__syscall(SYS_prlimit64, 0, RLIMIT_CORE, (long)&no_core, 0, 0, 0);
        trial->body(trial);
        trial->at = DONE;
        return 0;
}

/* Waits for the child and translates how it ended. */
static int verdict(int pidfd)
{
        siginfo_t info = { 0 };
        int r;

        do
                r = crew__sys_waitid(pidfd, &info, WEXITED | __WALL, NULL);
        while (r == -EINTR);
        if (r == -ECHILD)
                return -EAGAIN; /* a waitpid(-1, ..., __WALL) of the host was faster */
        if (r < 0)
                return r;
        return info.si_code == CLD_EXITED ? 0 : -EPERM;
}

/*
 * Runs the body in a child. The pidfd of the reaped child is the caller's; -1: there was no child,
 * and the result is clone's. Negative otherwise: the child did not come to its end.
 */
static int run_apart(struct trial *trial, int flags, int *pidfd)
{
        const uint64_t everything = ~UINT64_C(0);
        uint64_t mask;
        char *stack;
        int pid, r;

        *pidfd = -1;
        stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED)
                return -ENOMEM;

        /* A handler of the host that ran in the child would run on the host's memory. */
        (void)crew__sys_sigmask(SIG_BLOCK, &everything, &mask);
        pid = clone(child_main, stack + STACK_SIZE,
                memory_flag() | CLONE_VFORK | CLONE_PIDFD | flags, trial, pidfd);
        r = pid < 0 ? -errno : verdict(*pidfd);
        (void)crew__sys_sigmask(SIG_SETMASK, &mask, NULL);
        (void)munmap(stack, STACK_SIZE);
        return r;
}

/*
 * A size that no version of the call had is refused with EINVAL before anything is looked at, so a
 * kernel that knows clone3 says EINVAL. Filters see the number and cannot look into the struct, so
 * theirs is the answer that a real call would get. Starting a process would tell no more.
 */
static int try_clone3(void)
{
        int r = crew__sys_clone3(NULL, 0);

        return r == -EINVAL ? 0 : r < 0 ? r : -EPROTO;
}

/* A real call above every descriptor that can exist. */
static int try_close_range(void)
{
        return crew__sys_close_range(UINT_MAX, UINT_MAX, CLOSE_RANGE_CLOEXEC);
}

static int try_noexec_seal(void)
{
        CREW__AUTO_CLOSE int fd = -1;
        int seals;

        fd = crew__sys_memfd_create("crew:probe", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
        if (fd < 0)
                return fd;
        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return -errno;
        return seals & F_SEAL_EXEC ? 0 : -EOPNOTSUPP;
}

/* Fails with EOPNOTSUPP where Landlock is built in but was left out at boot. */
static int try_landlock(void)
{
        int abi = crew__sys_landlock_abi();

        return abi < 0 ? abi : abi > 0 ? 0 : -EOPNOTSUPP;
}

/* The words are not what is waited for: EAGAIN comes from a kernel that compared. */
static int try_futex_waitv(void)
{
        static const _Atomic uint32_t word;
        int r = crew__sys_futex_wait_either(&word, 1, &word, 1, 0);

        return r == -EAGAIN ? 0 : r < 0 ? r : -EPROTO;
}

static int try_die_with_lock(struct trial *trial)
{
        trial->head.list.next = &trial->head.list;
        trial->head.futex_offset =
                (long)offsetof(struct trial, word) - (long)offsetof(struct trial, entry);
        trial->head.list_op_pending = &trial->entry;
        trial->word = (uint32_t)crew__sys_gettid();
        return crew__sys_set_robust_list(&trial->head);
}

static const struct {
        enum crew__feature feature;
        int (*try)(void);
} calls[] = {
        { CREW__NOEXEC_SEAL, try_noexec_seal },
        { CREW__CLOSE_RANGE, try_close_range },
        { CREW__LANDLOCK, try_landlock },
        { CREW__CLONE3, try_clone3 },
        { CREW__FUTEX_WAITV, try_futex_waitv },
};

static bool begin(struct trial *trial, enum crew__feature feature)
{
        if (!(trial->wanted & BIT(feature)))
                return false;
        trial->at = (int)feature;
        return true;
}

static void conclude(struct trial *trial, int answer)
{
        trial->answer[trial->at] = answer;
        trial->tried |= BIT(trial->at);
}

static void try_harmless(struct trial *trial)
{
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
                if (begin(trial, calls[i].feature))
                        conclude(trial, calls[i].try());
        }
}

static void plain_body(struct trial *trial)
{
        try_harmless(trial);
        if (begin(trial, CREW__ROBUST_LIST))
                conclude(trial, try_die_with_lock(trial));
}

/* Submits one operation and fetches its result; false: it did not come. */
static bool ring_round(struct trial *trial, struct io_uring *uring, int right)
{
        struct __kernel_timespec patience = { .tv_sec = 1 };
        struct io_uring_cqe *cqe;
        int r = io_uring_submit_and_wait_timeout(uring, &cqe, 1, &patience, NULL);

        if (r < 0) {
                conclude(trial, r);
                return false;
        }
        r = cqe->res;
        io_uring_cqe_seen(uring, cqe);
        conclude(trial, r == right ? 0 : r < 0 ? r : -EPROTO);
        return true;
}

/* With the only kind of ring that crew uses. */
static void ring_body(struct trial *trial)
{
        static const uint32_t word;
        struct io_uring_sqe *sqe;
        struct io_uring uring;
        bool sound = true;
        int r;

        r = io_uring_queue_init(4, &uring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
        if (r < 0) {
                for (int i = 0; i < CREW__FEATURES; i++) {
                        if (begin(trial, (enum crew__feature)i))
                                conclude(trial, r);
                }
                return;
        }
        if (begin(trial, CREW__IO_URING)) {
                io_uring_prep_nop(io_uring_get_sqe(&uring));
                sound = ring_round(trial, &uring, 0);
        }
        /* The child has no children: ECHILD is the answer of a kernel that looked for one. */
        if (sound && begin(trial, CREW__URING_WAITID)) {
                sqe = io_uring_get_sqe(&uring);
                io_uring_prep_rw(CREW__IORING_OP_WAITID, sqe, 0, NULL, P_ALL, 0);
                sqe->file_index = WEXITED | WNOWAIT | __WALL;
                sound = ring_round(trial, &uring, -ECHILD);
        }
        /* The word is not what is waited for: EAGAIN comes from a kernel that compared. */
        if (sound && begin(trial, CREW__URING_FUTEX)) {
                sqe = io_uring_get_sqe(&uring);
                io_uring_prep_rw(CREW__IORING_OP_FUTEX_WAIT, sqe, FUTEX2_SIZE_U32, &word, 0,
                        (uint64_t)word + 1);
                sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
                (void)ring_round(trial, &uring, -EAGAIN);
        }
        io_uring_queue_exit(&uring);
}

/*
 * Loads a filter that allows everything and asks for its listener: the kernel has only one per
 * process, so under somebody else's this is EBUSY although every query says yes.
 */
static void notify_body(struct trial *trial)
{
        struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog program = { .len = 1, .filter = &allow };
        int r;

        (void)begin(trial, CREW__SECCOMP_NOTIFY);
        r = crew__sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0);
        if (r == 0)
                r = crew__sys_seccomp(
                        SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
        if (r >= 0)
                (void)crew__sys_close(r);
        conclude(trial, r < 0 ? r : 0);
}

/*
 * Being in a user namespace is not enough: some distributions let everybody make one and then
 * grant no right inside. A mount namespace is the cheapest thing that needs such a right.
 */
static void userns_body(struct trial *trial)
{
        (void)begin(trial, CREW__USERNS);
        conclude(trial, (int)crew__syscall(SYS_unshare, CLONE_NEWNS, 0, 0, 0, 0, 0));
}

/* The exit status of a process that was reaped is what crew needs, so that is what is asked. */
static int ask_info(int pidfd)
{
        struct crew__pidfd_info info = { .mask = CREW__PIDFD_INFO_EXIT };
        int r = crew__sys_pidfd_info(pidfd, &info);

        return r < 0 ? r : info.mask & CREW__PIDFD_INFO_EXIT ? 0 : -EOPNOTSUPP;
}

/*
 * The other half of the answer: the C library has registered a list for this thread (musl does so
 * late). Its offset must lead from a list node to a lock word in the same mutex, else it is not
 * what crew believes it to be.
 */
static int ask_robust_list(void)
{
        struct robust_list_head *head = NULL;
        size_t size = 0;
        int r = crew__sys_get_robust_list(0, &head, &size);

        if (r < 0)
                return r;
        if (!head)
                return -ENODATA;
        if (size != sizeof *head || head->futex_offset < -256 || head->futex_offset > 256)
                return -EOPNOTSUPP;
        return 0;
}

/* What is known after the end of a child, or without one (then `r` says why). */
static void complete(struct trial *trial, int pidfd, int r)
{
        int *answer = trial->answer;

        if (pidfd < 0) {
                /* No child may be made (a sandbox, a process limit): what can be tried right here,
                 * and of robust lists the other half has to do. */
                try_harmless(trial);
                for (int i = 0; i < CREW__FEATURES; i++) {
                        if (trial->wanted & ~trial->tried & BIT(i))
                                answer[i] = i == CREW__ROBUST_LIST ? 0 : r;
                }
                trial->tried = trial->wanted;
        } else if (trial->at != DONE) {
                conclude(trial, r < 0 ? r : -EPROTO);
        } else if (trial->tried & BIT(CREW__ROBUST_LIST) && answer[CREW__ROBUST_LIST] == 0 &&
                   !(atomic_load(&trial->word) & FUTEX_OWNER_DIED)) {
                answer[CREW__ROBUST_LIST] = -EOPNOTSUPP;
        }
        if (pidfd >= 0 && trial->wanted & BIT(CREW__PIDFD_INFO)) {
                answer[CREW__PIDFD_INFO] = ask_info(pidfd);
                trial->tried |= BIT(CREW__PIDFD_INFO);
        }
}

static void run(struct trial *trial, int flags)
{
        int pidfd, r;

        trial->tried = 0;
        trial->at = __builtin_ctz(trial->wanted);
        r = run_apart(trial, flags, &pidfd);
        complete(trial, pidfd, r);
        if (pidfd >= 0)
                (void)crew__sys_close(pidfd);
        /* What has no ring has no operations of it. */
        if (trial->wanted & BIT(CREW__IO_URING) && trial->answer[CREW__IO_URING] < 0) {
                trial->answer[CREW__URING_WAITID] = trial->answer[CREW__IO_URING];
                trial->answer[CREW__URING_FUTEX] = trial->answer[CREW__IO_URING];
                trial->tried = trial->wanted;
        }
        trial->wanted &= ~trial->tried;
}

CREW__VM_CHILD static void leave(void *unused)
{
        (void)unused;
        crew__sys_exit(0);
}

/* By clone3(), for a process that moves later makes all others of the machine wait for some
 * milliseconds; where that is not there, so. */
static int try_to_be_born_in(const crew__cell *cell, struct trial *trial)
{
        const uint64_t everything = ~UINT64_C(0);
        _Atomic uint32_t alive = 1;
        int pidfd = -1, pid;
        uint64_t mask;
        struct crew__vm_child child = { .pidfd = &pidfd,
                .alive = &alive,
                .stack_size = STACK_SIZE,
                .cgroup = crew__cell_fd(cell) };

        if (!crew__has(CREW__CLONE3))
                return -ENOSYS;
        child.stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (child.stack == MAP_FAILED)
                return -ENOMEM;
        (void)crew__sys_sigmask(SIG_BLOCK, &everything, &mask);
        pid = crew__sys_vm_child(&child, true, leave, trial);
        if (pid > 0)
                pid = verdict(pidfd);
        (void)crew__sys_sigmask(SIG_SETMASK, &mask, NULL);
        if (pidfd >= 0)
                (void)crew__sys_close(pidfd);
        (void)munmap(child.stack, STACK_SIZE);
        return pid;
}

static void cell_body(struct trial *trial)
{
        (void)begin(trial, CREW__CGROUP_MEMORY);
        conclude(trial, crew__cell_enter(trial->cell));
}

static int try_cell(struct trial *trial)
{
        enum { MEMORY = 64 << 20 };
        crew__cell *cell = NULL;
        int r = crew__cell_new(&cell, MEMORY);

        if (r < 0)
                return r;
        r = try_to_be_born_in(cell, trial);
        if (r < 0) {
                trial->cell = crew__cell_fd(cell);
                trial->body = cell_body;
                trial->wanted = BIT(CREW__CGROUP_MEMORY);
                run(trial, 0);
                r = trial->answer[CREW__CGROUP_MEMORY];
        }
        (void)crew__cell_free(cell, crew_clock() + CREW_MS(100));
        return r;
}

unsigned crew__probe_group(enum crew__feature feature)
{
        if (PLAIN & BIT(feature))
                return PLAIN;
        return RING & BIT(feature) ? RING : BIT(feature);
}

static void set_up(struct trial *trial, unsigned wanted, int *flags)
{
        *flags = 0;
        trial->wanted = wanted;
        if (wanted & PLAIN) {
                trial->body = plain_body;
        } else if (wanted & RING) {
                trial->body = ring_body;
        } else if (wanted & BIT(CREW__SECCOMP_NOTIFY)) {
                trial->body = notify_body;
        } else {
                trial->body = userns_body;
                *flags = CLONE_NEWUSER | CLONE_NEWPID;
        }
}

void crew__probe(unsigned wanted, int answer[CREW__FEATURES])
{
        int flags, saved = errno;
        struct trial *trial;

        trial = mmap(
                NULL, sizeof *trial, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (trial == MAP_FAILED) {
                for (int i = 0; i < CREW__FEATURES; i++)
                        answer[i] = -ENOMEM;
        } else if (wanted & BIT(CREW__CGROUP_MEMORY)) {
                answer[CREW__CGROUP_MEMORY] = try_cell(trial);
                (void)munmap(trial, sizeof *trial);
        } else {
                set_up(trial, wanted, &flags);
                while (trial->wanted)
                        run(trial, flags);
                memcpy(answer, trial->answer, sizeof trial->answer);
                (void)munmap(trial, sizeof *trial);
                if (wanted & BIT(CREW__ROBUST_LIST) && answer[CREW__ROBUST_LIST] == 0)
                        answer[CREW__ROBUST_LIST] = ask_robust_list();
        }
        errno = saved;
}
