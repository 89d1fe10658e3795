/* SPDX-License-Identifier: MIT */

/* Calls that are looked at more closely: which arguments get through, which do not. */

#include "check.h"
#include "peer.h"
#include "sandbox/bpf.h"
#include "sandbox/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

/* Filters are made here and replayed, whatever this kernel could load. */
static void without_the_kernel(void)
{
        (void)seccomp_api_set(4);
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(without_the_kernel);
}

enum { PID = 4321, CONTROL = 77, EVENT = 78 };

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define YES SECCOMP_RET_ALLOW
#define NO SECCOMP_RET_TRAP
#define ERR(e) (SECCOMP_RET_ERRNO | (e))
#define PTHREAD 0x3d0f00
#define FORK (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)
#define SPAWN (CLONE_VM | CLONE_VFORK | SIGCHLD)
#define AT_CWD ((uint64_t)AT_FDCWD)

static const struct check {
        const char *words, *call;
        uint64_t args[6];
        unsigned action;
} checks[] = {
        { "compute", "mmap", { 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE }, YES },
        { "compute", "mmap", { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE }, NO },
        { "rwcpath thread proc", "mmap", { 0, 4096, PROT_EXEC }, NO },
        { "exec", "mmap", { 0, 4096, PROT_EXEC }, YES },
        { "compute", "mprotect", { 4096, 4096, PROT_READ }, YES },
        { "compute", "mprotect", { 4096, 4096, PROT_READ | PROT_EXEC }, NO },
        { "compute", "madvise", { 4096, 4096, MADV_DONTNEED }, YES },
        { "compute", "madvise", { 4096, 4096, MADV_WIPEONFORK }, YES },
        { "stdio", "madvise", { 4096, 4096, 100 }, NO },
        { "stdio", "madvise", { 4096, 4096, 101 }, NO },
        { "compute", "futex", { 4096, FUTEX_WAIT }, YES },
        { "compute", "futex", { 4096, FUTEX_WAKE_PRIVATE }, YES },
        { "compute", "futex", { 4096, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME }, YES },
        { "compute", "futex", { 4096, FUTEX_WAKE_OP }, YES },
        { "compute", "futex", { 4096, FUTEX_LOCK_PI }, NO },
        { "compute", "futex", { 4096, FUTEX_CMP_REQUEUE_PI_PRIVATE }, NO },
        { "thread", "futex", { 4096, FUTEX_LOCK_PI }, YES },
        { "compute", "get_robust_list", { 0 }, YES },
        { "compute", "get_robust_list", { 1 }, NO },
        { "thread", "get_robust_list", { 1 }, NO },
        { "compute", "kill", { PID, SIGTERM }, YES },
        { "compute", "kill", { PID + 1, SIGTERM }, NO },
        { "compute", "kill", { 0, SIGTERM }, NO },
        { "compute", "kill", { (uint64_t)-1, SIGTERM }, NO },
        { "thread", "tgkill", { PID, PID + 1, SIGABRT }, YES },
        { "thread", "tgkill", { PID + 1, PID, SIGABRT }, NO },
        { "stdio", "tkill", { PID, SIGABRT }, NO },
        { "proc", "kill", { 0, SIGTERM }, YES },
        { "compute", "rt_sigaction", { SIGINT }, YES },
        { "compute", "rt_sigaction", { SIGHUP }, YES },
        { "compute", "rt_sigaction", { 32 }, YES },
        { "compute", "rt_sigaction", { 64 }, YES },
        { "compute", "rt_sigaction", { SIGSYS }, ERR(EPERM) },
        { "rwcpath unix thread proc", "rt_sigaction", { SIGSYS }, ERR(EPERM) },
        { "exec", "rt_sigaction", { SIGSYS }, YES },
        { "compute", "read", { CONTROL, 4096, 1 }, YES },
        { "compute", "read", { 0, 4096, 1 }, NO },
        { "compute", "read", { EVENT, 4096, 1 }, NO },
        { "compute", "write", { CONTROL, 4096, 1 }, YES },
        { "compute", "write", { EVENT, 4096, 8 }, YES },
        { "compute", "write", { 1, 4096, 8 }, NO },
        { "stdio", "write", { 1, 4096, 8 }, YES },
        { "compute", "recvmsg", { CONTROL }, YES },
        { "stdio", "recvmsg", { CONTROL }, YES },
        { "stdio", "recvmsg", { 3 }, NO },
        { "unix", "recvmsg", { 3 }, YES },
        { "inet", "recvmsg", { 3 }, YES },
        { "compute", "prctl", { PR_SET_NAME, 4096 }, YES },
        { "compute", "prctl", { PR_SET_DUMPABLE, 1 }, NO },
        { "thread", "prctl", { PR_SET_MM }, NO },
        { "proc", "prctl", { PR_SET_PDEATHSIG, 0 }, NO },
        { "exec", "prctl", { PR_SET_PDEATHSIG, 9 }, YES },
        { "exec", "prctl", { PR_SET_MM }, NO },
        { "exec", "prctl", { 0x59616d61, (uint64_t)-1 }, NO },
        { "compute", "clone3", { 4096, 88 }, ERR(ENOSYS) },
        { "proc thread exec", "clone3", { 4096, 88 }, ERR(ENOSYS) },
        { "rwcpath", "openat2", { AT_CWD, 4096, 4096, 24 }, ERR(ENOSYS) },
        { "stdio", "statx", { AT_CWD, 4096 }, ERR(ENOSYS) },
        { "stdio", "newfstatat", { 1, 4096, 4096, AT_EMPTY_PATH }, ERR(EPERM) },
        { "rpath", "newfstatat", { 1, 4096, 4096, AT_EMPTY_PATH }, YES },

        { "stdio", "sendto", { 3, 4096, 1, 0, 0, 0 }, YES },
        { "stdio", "sendto", { 3, 4096, 1, 0, 4096, 16 }, NO },
        { "stdio", "sendto", { 3, 4096, 1, 0, UINT64_C(1) << 32, 16 }, NO },
        { "unix", "sendto", { 3, 4096, 1, 0, 4096, 16 }, YES },
        { "stdio", "socketpair", { AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 4096 }, YES },
        { "stdio", "socketpair", { AF_UNIX, SOCK_SEQPACKET, 0, 4096 }, YES },
        { "inet", "socketpair", { AF_UNIX, SOCK_DGRAM, 0, 4096 }, NO },
        { "unix", "socketpair", { AF_UNIX, SOCK_DGRAM, 0, 4096 }, YES },
        { "stdio", "prlimit64", { 0, 7, 0, 4096 }, YES },
        { "stdio", "prlimit64", { 0, 7, 4096, 0 }, NO },
        { "stdio", "prlimit64", { 1, 7, 0, 4096 }, NO },
        { "exec", "prlimit64", { 0, 7, 4096, 0 }, YES },
        { "exec", "prlimit64", { 1, 7, 4096, 0 }, NO },
        { "stdio", "fcntl", { 1, F_DUPFD, 3 }, YES },
        { "stdio", "fcntl", { 1, F_DUPFD_CLOEXEC, 3 }, YES },
        { "stdio", "fcntl", { 1, F_SETFL, O_NONBLOCK }, YES },
        { "stdio", "fcntl", { 1, F_SETLKW, 4096 }, YES },
        { "stdio", "fcntl", { 1, F_OFD_SETLK, 4096 }, YES },
        { "stdio", "fcntl", { 1, F_GET_SEALS }, YES },
        { "rwcpath inet unix thread proc", "fcntl", { 1, F_SETOWN, 1 }, NO },
        { "rwcpath inet unix thread proc", "fcntl", { 1, F_SETOWN_EX, 1 }, NO },
        { "stdio", "fcntl", { 1, F_SETSIG, 9 }, NO },
        { "stdio", "fcntl", { 1, F_ADD_SEALS, 0 }, NO },
        { "stdio", "fcntl", { 1, F_SETLEASE, 0 }, NO },
        { "stdio", "ioctl", { 1, TCGETS }, YES },
        { "stdio", "ioctl", { 1, TIOCGWINSZ }, YES },
        { "stdio", "ioctl", { 1, FIONREAD }, YES },
        { "stdio", "ioctl", { 1, TIOCSTI }, NO },
        { "stdio", "ioctl", { 1, FIOASYNC }, NO },
        { "stdio", "ioctl", { 1, FIOSETOWN }, NO },
        { "exec", "ioctl", { 1, TIOCSTI }, NO },
        { "exec proc rwcpath", "ioctl", { 1, TIOCLINUX }, NO },
        { "exec", "ioctl", { 1, TCGETS }, YES },
        { "exec", "ioctl", { 1, TCSETSW }, YES },
        { "exec", "ioctl", { 1, TIOCSCTTY }, YES },
        { "exec", "ioctl", { 1, TIOCSPGRP }, YES },
        { "exec", "ioctl", { 1, TIOCOUTQ }, YES },
        { "exec", "ioctl", { 1, TIOCGWINSZ }, YES },
        { "exec", "ioctl", { 1, TIOCSWINSZ }, YES },
        { "exec", "ioctl", { 1, FIONREAD }, YES },
        { "exec", "ioctl", { 1, FIONBIO }, YES },
        { "exec", "ioctl", { 1, FIOCLEX }, YES },
        { "exec", "ioctl", { 1, TIOCGPTN }, YES },
        { "exec", "ioctl", { 1, 0x8912 }, YES },
        { "exec", "ioctl", { 1, 0x40049409 }, YES },
        { "exec", "ioctl", { 1, 0x80086601 }, YES },

        { "rpath", "openat", { AT_CWD, 4096, O_RDONLY | O_CLOEXEC }, YES },
        { "rpath", "openat", { AT_CWD, 4096, O_RDONLY | O_DIRECTORY | O_PATH }, YES },
        { "rpath", "openat", { AT_CWD, 4096, O_WRONLY }, NO },
        { "rpath", "openat", { AT_CWD, 4096, O_RDWR }, NO },
        { "rpath", "openat", { AT_CWD, 4096, O_ACCMODE }, NO },
        { "rpath", "openat", { AT_CWD, 4096, O_RDONLY | O_CREAT }, NO },
        { "rpath", "openat", { AT_CWD, 4096, O_RDONLY | O_TRUNC }, NO },
        { "wpath", "openat", { AT_CWD, 4096, O_WRONLY | O_TRUNC | O_APPEND }, YES },
        { "wpath", "openat", { AT_CWD, 4096, O_RDONLY }, NO },
        { "wpath", "openat", { AT_CWD, 4096, O_RDWR }, NO },
        { "wpath", "openat", { AT_CWD, 4096, O_WRONLY | O_CREAT }, NO },
        { "wpath", "openat", { AT_CWD, 4096, O_WRONLY | O_TMPFILE }, NO },
        { "cpath", "openat", { AT_CWD, 4096, O_RDONLY | O_CREAT }, NO },
        { "cpath", "openat", { AT_CWD, 4096, O_WRONLY | O_CREAT }, NO },
        { "rwpath", "openat", { AT_CWD, 4096, O_RDWR }, YES },
        { "rwpath", "openat", { AT_CWD, 4096, O_RDWR | O_CREAT }, NO },
        { "rwpath", "openat", { AT_CWD, 4096, O_RDWR | O_TMPFILE }, NO },
        { "rwpath", "openat", { AT_CWD, 4096, O_RDONLY | O_TRUNC }, NO },
        { "rcpath", "openat", { AT_CWD, 4096, O_RDONLY | O_CREAT }, YES },
        { "rcpath", "openat", { AT_CWD, 4096, O_RDONLY | O_CREAT | O_TRUNC }, NO },
        { "rcpath", "openat", { AT_CWD, 4096, O_RDWR | O_CREAT }, NO },
        { "wcpath", "openat", { AT_CWD, 4096, O_WRONLY | O_CREAT | O_EXCL | O_TRUNC }, YES },
        { "wcpath", "openat", { AT_CWD, 4096, O_WRONLY | O_TMPFILE }, YES },
        { "wcpath", "openat", { AT_CWD, 4096, O_RDWR | O_CREAT }, NO },
        { "rwcpath", "openat", { AT_CWD, 4096, O_RDWR | O_CREAT | O_EXCL }, YES },
        { "rwcpath", "openat", { AT_CWD, 4096, O_RDWR | O_TMPFILE }, YES },
        { "sanitizer", "openat", { AT_CWD, 4096, O_RDONLY }, YES },
        { "sanitizer", "openat", { AT_CWD, 4096, O_WRONLY }, NO },
        { "cpath", "mknodat", { AT_CWD, 4096, S_IFIFO | 0600 }, YES },
        { "cpath", "mknodat", { AT_CWD, 4096, S_IFREG | 0600 }, YES },
        { "cpath", "mknodat", { AT_CWD, 4096, 0600 }, YES },
        { "rwcpath exec", "mknodat", { AT_CWD, 4096, S_IFCHR | 0600 }, NO },
        { "rwcpath exec", "mknodat", { AT_CWD, 4096, S_IFBLK | 0600 }, NO },

        { "stdio", "socket", { AF_INET, SOCK_STREAM }, ERR(EACCES) },
        { "compute", "socket", { AF_UNIX, SOCK_STREAM }, ERR(EACCES) },
        { "rwcpath thread proc exec", "socket", { AF_NETLINK, SOCK_RAW }, ERR(EACCES) },
        { "inet", "socket", { AF_INET, SOCK_STREAM | SOCK_NONBLOCK }, YES },
        { "inet", "socket", { AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC }, YES },
        { "inet", "socket", { AF_INET, SOCK_RAW }, NO },
        { "inet", "socket", { AF_UNIX, SOCK_STREAM }, ERR(EACCES) },
        { "inet unix", "socket", { AF_UNIX, SOCK_DGRAM }, YES },
        { "inet unix", "socket", { AF_NETLINK, SOCK_RAW }, ERR(EACCES) },
        { "unix", "socket", { AF_UNIX, SOCK_STREAM }, YES },
        { "unix", "socket", { AF_INET, SOCK_STREAM }, ERR(EACCES) },
        { "unix", "socket", { AF_INET6, SOCK_STREAM }, ERR(EACCES) },
        { "inet unix", "socket", { AF_PACKET, SOCK_RAW }, NO },
        { "inet unix", "socket", { 38 /* AF_ALG */, SOCK_SEQPACKET }, NO },

        { "stdio", "clone", { FORK }, NO },
        { "thread", "clone", { PTHREAD }, YES },
        { "thread", "clone", { PTHREAD | 0x400000 }, YES },
        { "thread", "clone", { PTHREAD | CLONE_NEWUSER }, NO },
        { "thread", "clone", { PTHREAD & ~CLONE_SIGHAND }, NO },
        { "thread", "clone", { FORK }, NO },
        { "thread", "clone", { SPAWN }, NO },
        { "proc", "clone", { FORK }, YES },
        { "proc", "clone", { SPAWN }, YES },
        { "proc", "clone", { PTHREAD }, NO },
        { "proc thread exec", "clone", { FORK | CLONE_NEWUSER }, NO },
        { "proc thread exec", "clone", { FORK | CLONE_NEWPID }, NO },
        { "proc thread exec", "clone", { FORK | CLONE_NEWNS }, NO },
        { "proc thread exec", "clone", { FORK | CLONE_NEWNET }, NO },
        { "proc", "clone", { FORK | CLONE_PARENT }, NO },
        { "proc", "clone", { FORK | CLONE_UNTRACED }, NO },
        { "proc", "clone", { FORK | CLONE_PIDFD }, YES },
        { "thread", "sched_setaffinity", { 0, 8, 4096 }, YES },
        { "thread", "sched_setaffinity", { 1, 8, 4096 }, NO },
        { "thread exec proc", "sched_setscheduler", { 1, 5, 4096 }, NO },
        { "exec", "sched_setattr", { 1, 4096 }, NO },
        { "proc exec", "setpriority", { 0, 0, 19 }, YES },
        { "proc exec", "setpriority", { 0, 1, 19 }, NO },
        { "proc exec", "setpriority", { 2, 0, 19 }, NO },
        { "exec", "ioprio_set", { 1, 0, 0 }, YES },
        { "exec", "ioprio_set", { 1, 1, 0 }, NO },
        { "exec", "seccomp", { 1, 0, 4096 }, YES },
        { "exec", "seccomp", { 1, 8, 4096 }, NO },
        { "exec", "seccomp", { 1, 9, 4096 }, NO },
        { "rwcpath thread proc", "seccomp", { 1, 0, 4096 }, NO },
        { "exec", "personality", { 0xffffffff }, YES },
        { "exec", "personality", { 0x0040000 }, NO },
        { "exec", "execve", { 4096, 4096, 4096 }, YES },
        { "rwcpath proc", "execve", { 4096, 4096, 4096 }, NO },
};

/* The arguments that are pointers or 64 bits wide, as bits, by call. */
static unsigned wide_arguments(const char *call)
{
        return strcmp(call, "sendto") == 0 ? 1U << 4 : strcmp(call, "prlimit64") == 0 ? 1U << 2 : 0;
}

static unsigned run(const crew__filter *f, int nr, const uint64_t args[6])
{
        struct seccomp_data call = { .nr = nr, .arch = crew__native_arch() };

        memcpy(call.args, args, sizeof call.args);
        return crew__bpf_run(f->code, f->length, &call);
}

/* What the kernel ignores must not turn a refusal into a permission. */
static void with_rubbish(const crew__filter *f, int nr, const struct check *check, uint64_t *seed)
{
        for (int round = 0; round < 50; round++) {
                uint64_t args[6];

                for (int i = 0; i < 6; i++) {
                        args[i] = check->args[i];
                        if (!(wide_arguments(check->call) & 1U << i))
                                args[i] = (uint32_t)args[i] | peer_random(seed) << 32;
                }
                CHECK(run(f, nr, args) != SECCOMP_RET_ALLOW);
        }
}

TEST(arguments, "arguments decide where a number does not", "[unit][sandbox]")
{
        const int event = EVENT;
        uint64_t seed = peer_seed();

        TEST_DEADLINE(60);
        peer_needs_seccomp();
        for (size_t i = 0; i < COUNT(checks); i++) {
                const struct check *check = &checks[i];
                struct crew__scope scope = { .control = CONTROL, .events = &event, .n_events = 1,
                        .self = PID };
                int nr = seccomp_syscall_resolve_name(check->call);
                crew_sandbox *s = NULL;
                crew__filter f;
                unsigned action;

                if (nr < 0)
                        continue;
                REQUIRE_OK(crew_sandbox_new(&s, check->words, CREW_LANDLOCK_OFF));
                scope.words = s->words;
                (void)crew_sandbox_free(s);
                REQUIRE_OK(crew__filter_new(&f, &scope, CREW__REFUSE_TRAP));
                action = run(&f, nr, check->args);
                INFO("row %zu: %s under %s, arguments %#llx %#llx %#llx ...", i, check->call,
                        check->words, (unsigned long long)check->args[0],
                        (unsigned long long)check->args[1], (unsigned long long)check->args[2]);
                CHECK_INT(action, ==, check->action);
                CHECK_INT(crew__rules_allow(&scope, check->call, check->args), ==,
                        action == SECCOMP_RET_ALLOW);
                if (check->action != YES)
                        with_rubbish(&f, nr, check, &seed);
                crew__filter_free(&f);
        }
}

/* TIOCSTI and TIOCLINUX are refused by demanding bits of everything else: nothing slips between. */
TEST(every_ioctl, "foreign programs may use every ioctl but two that type into the terminal",
        "[unit][sandbox]")
{
        struct crew__scope scope = { .words = crew__words_closed(CREW__EXEC), .control = -1,
                .self = PID };
        int nr = seccomp_syscall_resolve_name("ioctl");
        crew__filter f;

        peer_needs_seccomp();
        REQUIRE_OK(crew__filter_new(&f, &scope, CREW__REFUSE_ERRNO));
        for (uint64_t command = 0; command <= 0xffff; command++) {
                const uint64_t args[6] = { 0, command };
                bool allowed = run(&f, nr, args) == SECCOMP_RET_ALLOW;

                if (command == TIOCSTI || command == TIOCLINUX)
                        REQUIRE(!allowed);
                else if (command < 0x541d || command > 0x541f)
                        REQUIRE(allowed || command >> 7 == 0x5480 >> 7);
        }
        crew__filter_free(&f);
}

TEST(late_self, "a filter made before its process takes the pid later", "[unit][sandbox]")
{
        struct crew__scope scope = { .words = CREW__COMPUTE, .control = -1 };
        int kill_nr = seccomp_syscall_resolve_name("kill");
        const uint64_t to_self[6] = { PID, SIGTERM };
        crew__filter f;

        peer_needs_seccomp();
        REQUIRE_OK(crew__filter_new(&f, &scope, CREW__REFUSE_TRAP));
        CHECK(f.n_self > 0);
        CHECK_INT(run(&f, kill_nr, to_self), ==, NO);
        crew__filter_set_self(&f, f.code, PID);
        CHECK_INT(run(&f, kill_nr, to_self), ==, YES);
        crew__filter_free(&f);
}

TEST(refusals, "what is refused is refused as asked", "[unit][sandbox]")
{
        static const struct {
                enum crew__refusal refusal;
                unsigned action;
        } kinds[] = { { CREW__REFUSE_TRAP, SECCOMP_RET_TRAP },
                { CREW__REFUSE_KILL, SECCOMP_RET_KILL_PROCESS },
                { CREW__REFUSE_ERRNO, ERR(EPERM) } };
        const uint64_t nothing[6] = { 0 };

        peer_needs_seccomp();
        for (size_t i = 0; i < COUNT(kinds); i++) {
                struct crew__scope scope = { .words = CREW__COMPUTE | CREW__STDIO, .control = -1 };
                crew__filter f;

                REQUIRE_OK(crew__filter_new(&f, &scope, kinds[i].refusal));
                CHECK_INT(run(&f, seccomp_syscall_resolve_name("ptrace"), nothing), ==,
                        kinds[i].action);
                CHECK_INT(run(&f, seccomp_syscall_resolve_name("execve"), nothing), ==,
                        kinds[i].action);
                crew__filter_free(&f);
        }
}

TEST(no_filter, "none has no filter", "[unit][sandbox]")
{
        struct crew__scope scope = { .words = CREW__NONE, .control = -1 };
        crew__filter f;

        REQUIRE_OK(crew__filter_new(&f, &scope, CREW__REFUSE_TRAP));
        CHECK_INT(f.length, ==, 0);
        crew__filter_free(&f);
}
