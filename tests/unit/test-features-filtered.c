/* SPDX-License-Identifier: MIT */
#include "features-case.h"
#include "kernel/syscall.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>

/* From now on the kernel answers `action` to the system call when (flags & bits) in argument n. */
static void filter_argument(int nr, unsigned argument, uint32_t bits, uint32_t action)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                        (uint32_t)offsetof(struct seccomp_data, args) + 8 * argument),
                BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, action),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };

        REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        REQUIRE(crew__sys_seccomp(SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}

static void filter(int nr, uint32_t action)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, action),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };

        REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        REQUIRE(crew__sys_seccomp(SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}

/* Which system call stands for a feature: an answer to it is an answer to the feature. */
static const struct {
        int feature, nr;
} gates[] = {
        { CREW__CLONE3, SYS_clone3 },
        { CREW__CLOSE_RANGE, SYS_close_range },
        { CREW__IO_URING, SYS_io_uring_setup },
        { CREW__IO_URING, SYS_io_uring_enter },
        { CREW__NOEXEC_SEAL, SYS_memfd_create },
        { CREW__LANDLOCK, SYS_landlock_create_ruleset },
        { CREW__ROBUST_LIST, SYS_get_robust_list },
        { CREW__ROBUST_LIST, SYS_set_robust_list },
        { CREW__USERNS, SYS_unshare },
        { CREW__FUTEX_WAITV, SYS_futex_waitv },
};

enum { N_GATES = sizeof gates / sizeof *gates };

struct refusal {
        int feature, nr, error, state;
};

static void refused(const void *arg)
{
        const struct refusal *r = arg;
        crew_feature f;

        filter(r->nr, SECCOMP_RET_ERRNO | (uint32_t)r->error);
        f = get((unsigned)r->feature);
        INFO("%s with %s", f.name, crew_error_name(r->error));
        CHECK_INT(f.state, ==, r->state);
        CHECK_INT(f.error, ==, r->error);
        CHECK(*f.why);
        if (r->feature == CREW__IO_URING) {
                CHECK_INT(get(CREW__URING_FUTEX).state, ==, r->state);
                CHECK_INT(get(CREW__URING_WAITID).error, ==, r->error);
                CHECK_STR(get(CREW__URING_WAITID).why, "needs io_uring");
        }
}

/* What unshares does so inside a user namespace. In a chroot none is to be had, nor its answer. */
static bool has_user_namespaces(void)
{
        int status = -1;
        pid_t pid = fork();

        REQUIRE(pid >= 0);
        if (pid == 0)
                _exit(unshare(CLONE_NEWUSER) < 0);
        REQUIRE(waitpid(pid, &status, 0) == pid);
        return status == 0;
}

/* Where others refuse the ring, a second filter cannot be told from them. */
static bool may_make_rings(void)
{
        return crew__syscall(SYS_io_uring_setup, 0, 0, 0, 0, 0, 0) == -EFAULT;
}

TEST(filters, "a filter that says EPERM is told from one that says ENOSYS", "[unit][features]")
{
        for (int i = 0; i < N_GATES; i++) {
                struct refusal r = { gates[i].feature, gates[i].nr, EPERM, CREW_FEATURE_BLOCKED };

                if (r.feature == CREW__USERNS && !has_user_namespaces())
                        continue;
                if (r.feature == CREW__IO_URING && !may_make_rings())
                        continue;
                apart(refused, &r);
                r.error = EACCES;
                apart(refused, &r);
                r.error = ENOSYS;
                r.state = CREW_FEATURE_NO;
                apart(refused, &r);
        }
}

static void forced_beats_filter(const void *arg)
{
        (void)arg;
        setenv("CREW_DISABLE", "landlock", 1);
        filter(SYS_landlock_create_ruleset, SECCOMP_RET_ERRNO | EPERM);
        CHECK_INT(get(CREW__LANDLOCK).state, ==, CREW_FEATURE_DISABLED);
        CHECK_INT(get(CREW__LANDLOCK).error, ==, 0);
}

TEST(force_untried, "what is forced off is not tried", "[unit][features]")
{
        apart(forced_beats_filter, NULL);
}

struct deadly {
        int gate;
        int state[CREW__FEATURES]; /* without a filter */
};

static void deadly(const void *arg)
{
        const struct deadly *d = arg;
        int feature = gates[d->gate].feature;

        filter(gates[d->gate].nr, SECCOMP_RET_KILL_PROCESS);
        CHECK_INT(get((unsigned)feature).state, ==, CREW_FEATURE_BLOCKED);
        /* Those that share a child with it, before and behind it, have their answers. */
        for (int i = 0; i < CREW__FEATURES; i++) {
                bool needs = i == CREW__URING_WAITID || i == CREW__URING_FUTEX;

                INFO("%s, when %s kills", get((unsigned)i).name, get((unsigned)feature).name);
                CHECK_INT(get((unsigned)i).state, ==,
                        i == feature || (needs && feature == CREW__IO_URING) ? CREW_FEATURE_BLOCKED
                                                                             : d->state[i]);
        }
}

TEST(deadly_filters, "a filter that kills does not kill the host", "[unit][features]")
{
        struct deadly d;

        forget();
        for (int i = 0; i < CREW__FEATURES; i++)
                d.state[i] = get((unsigned)i).state;
        for (d.gate = 0; d.gate < N_GATES; d.gate++) {
                if (gates[d.gate].nr != SYS_get_robust_list)
                        apart(deadly, &d);
        }
}

static void old_ring(const void *arg)
{
        (void)arg;
        filter(SYS_io_uring_setup, SECCOMP_RET_ERRNO | EINVAL);
        CHECK_INT(get(CREW__IO_URING).state, ==, CREW_FEATURE_NO);
        CHECK(strstr(get(CREW__IO_URING).why, "6.1"));
        CHECK_INT(get(CREW__URING_WAITID).state, ==, CREW_FEATURE_NO);
}

static void old_memfd(const void *arg)
{
        (void)arg;
        filter_argument(SYS_memfd_create, 1, MFD_NOEXEC_SEAL, SECCOMP_RET_ERRNO | EINVAL);
        CHECK_INT(get(CREW__NOEXEC_SEAL).state, ==, CREW_FEATURE_NO);
        CHECK_INT(get(CREW__NOEXEC_SEAL).error, ==, EINVAL);
}

static void old_ioctl(const void *arg)
{
        (void)arg;
        filter(SYS_ioctl, SECCOMP_RET_ERRNO | ENOTTY);
        CHECK_INT(get(CREW__PIDFD_INFO).state, ==, CREW_FEATURE_NO);
        CHECK_INT(get(CREW__PIDFD_INFO).error, ==, ENOTTY);
}

TEST(old_kernels, "what an older kernel answers means no", "[unit][features]")
{
        apart(old_ring, NULL);
        apart(old_memfd, NULL);
        apart(old_ioctl, NULL);
}

static void nested(const void *arg)
{
        struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog program = { .len = 1, .filter = &allow };

        (void)arg;
        REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        REQUIRE(crew__sys_seccomp(
                        SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) >= 0);
        CHECK_INT(get(CREW__SECCOMP_NOTIFY).state, ==, CREW_FEATURE_BLOCKED);
        CHECK_INT(get(CREW__SECCOMP_NOTIFY).error, ==, EBUSY);
}

TEST(second_listener, "a second seccomp listener is blocked", "[unit][features]")
{
        forget();
        if (!crew__has(CREW__SECCOMP_NOTIFY))
                SKIP("no seccomp listener here: %s", get(CREW__SECCOMP_NOTIFY).why);
        apart(nested, NULL);
}

static void childless(const void *arg)
{
        (void)arg;
        filter(SYS_clone, SECCOMP_RET_ERRNO | EPERM);
        CHECK_INT(get(CREW__IO_URING).state, ==, CREW_FEATURE_BLOCKED);
        CHECK_INT(get(CREW__USERNS).state, ==, CREW_FEATURE_BLOCKED);
        CHECK_INT(get(CREW__CLONE3).state, ==, CREW_FEATURE_YES);
        CHECK_INT(get(CREW__CLOSE_RANGE).state, ==, CREW_FEATURE_YES);
        CHECK_INT(get(CREW__ROBUST_LIST).state, ==, CREW_FEATURE_YES);
}

TEST(no_children, "a process that may not fork learns what it can", "[unit][features]")
{
        forget();
        if (!crew__has(CREW__CLONE3) || !crew__has(CREW__CLOSE_RANGE) ||
                !crew__has(CREW__ROBUST_LIST))
                SKIP("no clone3, close_range or robust list here");
        apart(childless, NULL);
}
