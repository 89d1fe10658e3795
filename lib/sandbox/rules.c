/* SPDX-License-Identifier: MIT */
#include "sandbox/rules.h"

#include "kernel/missing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Calls that a word allows with any arguments. */
static const struct {
        unsigned any;
        const char *const *calls;
} plain[] = {
        { CREW__COMPUTE,
                LIST("brk", "munmap", "mremap", "getrandom", "clock_gettime", "clock_getres",
                        "clock_nanosleep", "nanosleep", "gettimeofday", "time", "sched_yield",
                        "getcpu", "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid",
                        "getegid", "sched_getscheduler", "rt_sigprocmask", "rt_sigreturn",
                        "sigaltstack", "restart_syscall", "exit", "exit_group", "close", "fstat",
                        "lseek", "poll", "ppoll") },
        { CREW__STDIO,
                LIST("read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev",
                        "preadv2", "pwritev2", "recvfrom", "select", "pselect6", "epoll_create",
                        "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
                        "eventfd", "eventfd2", "signalfd", "signalfd4", "timerfd_create",
                        "timerfd_settime", "timerfd_gettime", "timer_create", "timer_settime",
                        "timer_gettime", "timer_getoverrun", "timer_delete", "setitimer",
                        "getitimer", "alarm", "pause", "pipe", "pipe2", "dup", "dup2", "dup3",
                        "flock", "fsync", "fdatasync", "sync_file_range", "fadvise64", "readahead",
                        "msync", "mlock", "mlock2", "munlock", "sendfile", "copy_file_range",
                        "getsockopt", "getsockname", "getpeername", "shutdown", "uname", "sysinfo",
                        "times", "getrusage", "getrlimit", "getpriority", "getgroups", "getresuid",
                        "getresgid", "getpgid", "getpgrp", "getsid", "sched_getaffinity",
                        "sched_getparam", "sched_get_priority_max", "sched_get_priority_min",
                        "umask", "rt_sigpending", "rt_sigsuspend",
                        "rt_sigtimedwait", "close_range") },
        { CREW__RPATH,
                LIST("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
                        "readlink", "readlinkat", "getdents", "getdents64", "chdir", "fchdir",
                        "getcwd", "statfs", "fstatfs", "getxattr", "lgetxattr", "fgetxattr",
                        "listxattr", "llistxattr", "flistxattr", "inotify_init", "inotify_init1",
                        "inotify_add_watch", "inotify_rm_watch") },
        { CREW__WPATH, LIST("ftruncate", "fallocate", "sync", "syncfs") },
        { CREW__CPATH,
                LIST("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat",
                        "renameat2", "link", "linkat", "symlink", "symlinkat") },
        { CREW__FATTR,
                LIST("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown",
                        "fchownat", "utime", "utimes", "futimesat", "utimensat", "setxattr",
                        "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr") },
        { CREW__INET | CREW__UNIX,
                LIST("connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg",
                        "sendmmsg", "recvmsg", "recvmmsg", "setsockopt") },
        { CREW__THREAD | CREW__PROC | CREW__EXEC,
                LIST("set_robust_list", "rseq", "set_tid_address") },
        { CREW__THREAD | CREW__EXEC,
                LIST("futex", "membarrier", "sched_getaffinity", "sched_getscheduler",
                        "sched_getparam", "futex_waitv") },
        { CREW__PROC,
                LIST("fork", "vfork", "wait4", "waitid", "pidfd_open", "pidfd_send_signal", "kill",
                        "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setpgid",
                        "setsid") },
        { CREW__EXEC,
                LIST("execve", "arch_prctl", "mmap", "mprotect", "madvise", "rt_sigaction", "fcntl",
                        "setrlimit", "capget", "capset", "ioprio_get", "sched_getattr",
                        "sched_rr_get_interval", "mincore",
                        "mlockall", "munlockall", "remap_file_pages", "pkey_alloc", "pkey_free",
                        "pkey_mprotect", "cachestat", "mseal", "splice", "tee", "vmsplice",
                        "get_mempolicy", "set_mempolicy", "mbind", "setpgid", "setsid", "setuid",
                        "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
                        "setfsuid", "setfsgid", "get_robust_list") },
        { CREW__EXEC | CREW__NARROWING,
                LIST("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self") },
        { CREW__SANITIZER,
                LIST("readlink", "readlinkat", "newfstatat", "getdents64", "sched_getaffinity",
                        "getcwd") },
};

#define IS(n, bits, v) { .argument = (n), .comparison = CREW__IS, .mask = (bits), .value = (v) }
#define INT(n, v) IS(n, 0xffffffffU, (uint32_t)(v))
#define NULLED(n) IS(n, UINT64_MAX, 0)
#define BELOW(n, v) { .argument = (n), .comparison = CREW__BELOW, .value = (v) }

/* The pid that is replaced by crew__scope.self; two numbers that no pid and descriptor has. */
#define SELF UINT64_C(0xfffffffffffffff0)
#define CONTROL UINT64_C(0xfffffffffffffff1)

#define TMPFILE (O_TMPFILE & ~O_DIRECTORY)

/*
 * open() asks for reading, writing and creating in one flag word. Truncating counts as writing and
 * must come with a write access mode: read-only with O_TRUNC truncates on Linux, and Landlock
 * before ABI 3 does not see it.
 */
#define OPEN(call_, n)                                                                             \
        { .call = (call_), .any = CREW__RPATH | CREW__SANITIZER,                                   \
                .when = { IS(n, O_ACCMODE | O_CREAT | O_TRUNC | TMPFILE, O_RDONLY) } },            \
        { .call = (call_), .all = CREW__WPATH,                                                     \
                .when = { IS(n, O_ACCMODE | O_CREAT | TMPFILE, O_WRONLY) } },                      \
        { .call = (call_), .all = CREW__RPATH | CREW__WPATH,                                       \
                .when = { IS(n, O_ACCMODE | O_CREAT | TMPFILE, O_RDWR) } },                        \
        { .call = (call_), .all = CREW__RPATH | CREW__CPATH,                                       \
                .when = { IS(n, O_ACCMODE | O_TRUNC | TMPFILE, O_RDONLY) } },                      \
        { .call = (call_), .all = CREW__WPATH | CREW__CPATH,                                       \
                .when = { IS(n, O_ACCMODE, O_WRONLY) } },                                          \
        { .call = (call_), .all = CREW__RPATH | CREW__WPATH | CREW__CPATH,                         \
                .when = { IS(n, O_ACCMODE, O_RDWR) } }

/* Plain files, pipes and sockets; devices need a privilege that a root job would have. */
#define MKNOD(call_, n)                                                                            \
        { .call = (call_), .all = CREW__CPATH, .when = { IS(n, S_IFMT, 0) } },                     \
        { .call = (call_), .all = CREW__CPATH, .when = { IS(n, S_IFMT, S_IFREG) } },               \
        { .call = (call_), .all = CREW__CPATH, .when = { IS(n, S_IFMT, S_IFIFO) } },               \
        { .call = (call_), .all = CREW__CPATH, .when = { IS(n, S_IFMT, S_IFSOCK) } }

/* 0x7f: the operation without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME. */
#define FUTEX(operation)                                                                           \
        { .call = "futex", .all = CREW__COMPUTE, .when = { IS(1, 0x7f, operation) } }

#define PRCTL(words_, option) { .call = "prctl", .any = (words_), .when = { INT(0, option) } }
#define FCNTL(command) { .call = "fcntl", .all = CREW__STDIO, .when = { INT(1, command) } }
#define IOCTL(words_, command) { .call = "ioctl", .any = (words_), .when = { INT(1, command) } }

/*
 * ioctl for foreign programs: everything but TIOCSTI (0x5412) and TIOCLINUX (0x541c), which type
 * into the terminal. A rule can only demand bits, so: what transfers data by its number, what is
 * not of type 'T', and of that type what those two are not.
 */
#define IOCTL_BITS(bits, v) { .call = "ioctl", .all = CREW__EXEC, .when = { IS(1, bits, v) } }

/* What a thread's start asks of clone; musl adds CLONE_DETACHED, which means nothing any more. */
#define THREAD_FLAGS                                                                               \
        (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |        \
                CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)
/* What a new process may not ask: namespaces, another parent, or to be a thread. */
#define NO_PROCESS_FLAGS                                                                           \
        (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
                CLONE_NEWPID | CLONE_NEWNET | CLONE_UNTRACED | CLONE_PTRACE | CLONE_PARENT |       \
                CLONE_THREAD)

#define SOCKET_TYPE 0xf /* without SOCK_CLOEXEC and SOCK_NONBLOCK */
#define SOCKET(family, type)                                                                       \
        { .call = "socket", .all = CREW__INET, .when = { INT(0, family), IS(1, SOCKET_TYPE, type) } }
/*
 * Families that libraries try on the way and live without (a name service daemon, netlink) are
 * answered politely; anything else is a violation.
 */
#define NO_SOCKET(family, words_)                                                                  \
        { .call = "socket", .any = CREW__INET | CREW__UNIX, .none = (words_),                      \
                .when = { INT(0, family) }, .error = EACCES }
/* A datagram pair can be connected to any address afterwards; a stream cannot. */
#define PAIR(words_, type)                                                                         \
        { .call = "socketpair", .all = (words_),                                                   \
                .when = { INT(0, AF_UNIX), IS(1, SOCKET_TYPE, type) } }

/* Calls that are looked at more closely, those of one name in a row. */
static const struct crew__rule closer[] = {
        { .call = "mmap", .all = CREW__COMPUTE, .when = { IS(2, PROT_EXEC, 0) } },
        { .call = "mprotect", .all = CREW__COMPUTE, .when = { IS(2, PROT_EXEC, 0) } },
        /* From 100 on: poisoning pages. Root could take a page from under those who share it. */
        { .call = "madvise", .all = CREW__COMPUTE, .when = { BELOW(2, 100) } },
        FUTEX(FUTEX_WAIT), FUTEX(FUTEX_WAKE), FUTEX(FUTEX_REQUEUE), FUTEX(FUTEX_CMP_REQUEUE),
        FUTEX(FUTEX_WAKE_OP), FUTEX(FUTEX_WAIT_BITSET), FUTEX(FUTEX_WAKE_BITSET),
        { .call = "get_robust_list", .all = CREW__COMPUTE, .when = { INT(0, 0) } },
        { .call = "kill", .all = CREW__COMPUTE, .when = { INT(0, SELF) } },
        { .call = "tgkill", .all = CREW__COMPUTE, .when = { INT(0, SELF) } },
        /* Every signal but SIGSYS, whose handler writes the report. */
        { .call = "rt_sigaction", .all = CREW__COMPUTE, .when = { BELOW(0, SIGSYS) } },
        { .call = "rt_sigaction", .all = CREW__COMPUTE, .when = { IS(0, 0xffffffe0U, 32) } },
        { .call = "rt_sigaction", .all = CREW__COMPUTE, .when = { INT(0, 64) } },
        { .call = "rt_sigaction", .all = CREW__COMPUTE, .when = { INT(0, SIGSYS) }, .error = EPERM },
        { .call = "read", .all = CREW__COMPUTE, .when = { INT(0, CONTROL) } },
        { .call = "write", .all = CREW__COMPUTE, .when = { INT(0, CONTROL) } },
        { .call = "recvmsg", .all = CREW__COMPUTE, .when = { INT(0, CONTROL) } },

        /* Of oneself: another process of the user, the parent, could be slowed down to a halt. */
        { .call = "sched_setaffinity", .any = CREW__THREAD | CREW__EXEC, .when = { INT(0, 0) } },
        { .call = "sched_setscheduler", .any = CREW__THREAD | CREW__EXEC, .when = { INT(0, 0) } },
        { .call = "sched_setparam", .any = CREW__THREAD | CREW__EXEC, .when = { INT(0, 0) } },
        { .call = "sched_setattr", .all = CREW__EXEC, .when = { INT(0, 0) } },
        { .call = "setpriority", .any = CREW__PROC | CREW__EXEC,
                .when = { INT(0, PRIO_PROCESS), INT(1, 0) } },
        { .call = "ioprio_set", .all = CREW__EXEC, .when = { INT(0, 1), INT(1, 0) } },

        /* Connected sockets only: no address. */
        { .call = "sendto", .all = CREW__STDIO, .when = { NULLED(4) } },
        PAIR(CREW__STDIO, SOCK_STREAM), PAIR(CREW__STDIO, SOCK_SEQPACKET),
        PAIR(CREW__UNIX, SOCK_DGRAM),
        { .call = "prlimit64", .all = CREW__STDIO, .when = { INT(0, 0), NULLED(2) } },
        { .call = "prlimit64", .all = CREW__EXEC, .when = { INT(0, 0) } },
        /* Not the owner of a descriptor's signals, which would reach any process of the user. */
        { .call = "fcntl", .all = CREW__STDIO, .when = { BELOW(1, F_SETOWN) } },
        FCNTL(F_DUPFD_CLOEXEC), FCNTL(F_GETPIPE_SZ), FCNTL(F_GET_SEALS), FCNTL(F_OFD_GETLK),
        FCNTL(F_OFD_SETLK), FCNTL(F_OFD_SETLKW),
        IOCTL(CREW__STDIO, TCGETS), IOCTL(CREW__STDIO, TIOCGWINSZ), IOCTL(CREW__STDIO, TIOCGPGRP),
        IOCTL(CREW__STDIO, FIONREAD), IOCTL(CREW__STDIO, FIONBIO), IOCTL(CREW__STDIO, FIOCLEX),
        IOCTL(CREW__STDIO, FIONCLEX),
        IOCTL_BITS(0x80000000U, 0x80000000U), IOCTL_BITS(0x40000000U, 0x40000000U),
        IOCTL_BITS(0x8000, 0x8000), IOCTL_BITS(0x4000, 0), IOCTL_BITS(0x2000, 0x2000),
        IOCTL_BITS(0x1000, 0), IOCTL_BITS(0x800, 0x800), IOCTL_BITS(0x400, 0),
        IOCTL_BITS(0x200, 0x200), IOCTL_BITS(0x100, 0x100), IOCTL_BITS(0xfffffff0U, 0x5400),
        IOCTL_BITS(0xffffffe0U, 0x5420), IOCTL_BITS(0xffffffc0U, 0x5440),
        IOCTL_BITS(0xfffffffeU, 0x5410), IOCTL_BITS(0xffffffffU, 0x5413),
        IOCTL_BITS(0xfffffffcU, 0x5414), IOCTL_BITS(0xfffffffcU, 0x5418),
        PRCTL(CREW__COMPUTE, PR_SET_NAME), PRCTL(CREW__COMPUTE, PR_GET_NAME),
        PRCTL(CREW__COMPUTE, PR_SET_VMA), PRCTL(CREW__EXEC, PR_SET_PDEATHSIG),
        PRCTL(CREW__EXEC, PR_GET_PDEATHSIG), PRCTL(CREW__EXEC, PR_GET_DUMPABLE),
        PRCTL(CREW__EXEC, PR_SET_DUMPABLE), PRCTL(CREW__EXEC, PR_GET_KEEPCAPS),
        PRCTL(CREW__EXEC, PR_SET_KEEPCAPS), PRCTL(CREW__EXEC, PR_GET_SECCOMP),
        PRCTL(CREW__EXEC, PR_SET_SECCOMP), PRCTL(CREW__EXEC, PR_CAPBSET_READ),
        PRCTL(CREW__EXEC, PR_CAPBSET_DROP), PRCTL(CREW__EXEC, PR_SET_TIMERSLACK),
        PRCTL(CREW__EXEC, PR_GET_TIMERSLACK), PRCTL(CREW__EXEC, PR_SET_CHILD_SUBREAPER),
        PRCTL(CREW__EXEC, PR_GET_CHILD_SUBREAPER), PRCTL(CREW__EXEC | CREW__NARROWING, PR_SET_NO_NEW_PRIVS),
        PRCTL(CREW__EXEC, PR_GET_NO_NEW_PRIVS), PRCTL(CREW__EXEC, PR_SET_THP_DISABLE),
        PRCTL(CREW__EXEC, PR_GET_THP_DISABLE), PRCTL(CREW__EXEC, PR_CAP_AMBIENT),

        /* glibc's fstat() is this call with an empty path. The handler turns it into fstat. */
        { .call = "newfstatat", .any = CREW__COMPUTE, .none = CREW__HANDLED | CREW__RPATH,
                .error = EPERM },
        /* Callers go on with the older calls. */
        { .call = "statx", .any = CREW__COMPUTE, .none = CREW__RPATH, .error = ENOSYS },
        /* Their flags lie in memory, where a filter cannot look. */
        { .call = "clone3", .any = CREW__COMPUTE, .error = ENOSYS },
        { .call = "openat2", .any = CREW__COMPUTE, .error = ENOSYS },

        OPEN("open", 1), OPEN("openat", 2),
        { .call = "creat", .all = CREW__WPATH | CREW__CPATH },
        { .call = "truncate", .all = CREW__WPATH, .none = CREW__NO_TRUNCATE },
        MKNOD("mknod", 1), MKNOD("mknodat", 2),

        { .call = "socket", .none = CREW__INET | CREW__UNIX, .error = EACCES },
        SOCKET(AF_INET, SOCK_STREAM), SOCKET(AF_INET, SOCK_DGRAM), SOCKET(AF_INET6, SOCK_STREAM),
        SOCKET(AF_INET6, SOCK_DGRAM),
        { .call = "socket", .all = CREW__UNIX, .when = { INT(0, AF_UNIX) } },
        NO_SOCKET(AF_UNIX, CREW__UNIX), NO_SOCKET(AF_INET, CREW__INET),
        NO_SOCKET(AF_INET6, CREW__INET), NO_SOCKET(AF_NETLINK, 0),

        { .call = "clone", .all = CREW__THREAD,
                .when = { IS(0, 0xffffffffU & ~CLONE_DETACHED, THREAD_FLAGS) } },
        { .call = "clone", .all = CREW__PROC, .when = { IS(0, NO_PROCESS_FLAGS, 0) } },
        { .call = "seccomp", .any = CREW__EXEC | CREW__NARROWING,
                .when = { IS(1, SECCOMP_FILTER_FLAG_NEW_LISTENER, 0) } },
        /* Asking, and the ordinary one. */
        { .call = "personality", .all = CREW__EXEC, .when = { INT(0, 0xffffffffU) } },
        { .call = "personality", .all = CREW__EXEC, .when = { INT(0, 0) } },
};

enum { PLAIN = sizeof plain / sizeof *plain, CLOSER = sizeof closer / sizeof *closer };

const char *const crew__closed_calls[] = { "io_uring_setup", "io_uring_enter", "io_uring_register",
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
        "kcmp", "memfd_create", "memfd_secret", "execveat", "add_key", "request_key", "keyctl",
        "bpf", "userfaultfd", "perf_event_open", "kexec_load", "kexec_file_load", "init_module",
        "finit_module", "delete_module", "mount", "umount2", "pivot_root", "chroot", "open_tree",
        "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "unshare",
        "setns", "pidfd_getfd", "clone3", "openat2",
        "open_by_handle_at", "name_to_handle_at", "fanotify_init", "io_setup", "io_submit",
        "modify_ldt", "iopl", "ioperm", "swapon", "swapoff", "reboot", "acct", "quotactl", "syslog",
        "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname",
        "setdomainname", "vhangup", "migrate_pages", "move_pages", NULL };

static bool holds(const struct crew__rule *rule, unsigned words)
{
        return (!rule->any || rule->any & words) && (rule->all & words) == rule->all &&
               !(rule->none & words);
}

static bool conditional(const struct crew__rule *rule)
{
        return rule->when[0].comparison != CREW__ANY;
}

static bool plainly_allowed(unsigned words, const char *call)
{
        for (size_t i = 0; i < PLAIN; i++) {
                if (!(plain[i].any & words))
                        continue;
                for (const char *const *c = plain[i].calls; *c; c++) {
                        if (strcmp(*c, call) == 0)
                                return true;
                }
        }
        return false;
}

/* Whether an earlier list that holds has the call too: it must be visited once. */
static bool seen(unsigned words, size_t list, const char *call)
{
        for (size_t i = 0; i < list; i++) {
                if (!(plain[i].any & words))
                        continue;
                for (const char *const *c = plain[i].calls; *c; c++) {
                        if (strcmp(*c, call) == 0)
                                return true;
                }
        }
        return false;
}

/* The rule with the scope's own numbers in place of SELF and CONTROL; false if there is none. */
static bool fill_in(struct crew__rule *rule, const struct crew__scope *scope)
{
        struct crew__condition *when = &rule->when[0];

        if (when->value == (uint32_t)SELF)
                when->value = scope->self;
        if (when->value == (uint32_t)CONTROL) {
                if (scope->control < 0)
                        return false;
                when->value = (uint32_t)scope->control;
        }
        return true;
}

static int visit_events(const struct crew__scope *scope,
        int (*visit)(const struct crew__rule *rule, void *data), void *data)
{
        for (size_t i = 0; i < scope->n_events; i++) {
                struct crew__rule rule = { .call = "write", .when = { INT(0, scope->events[i]) } };
                int r = visit(&rule, data);

                if (r)
                        return r;
        }
        return 0;
}

int crew__rules_each(const struct crew__scope *scope,
        int (*visit)(const struct crew__rule *rule, void *data), void *data)
{
        int r;

        for (size_t i = 0; i < PLAIN; i++) {
                if (!(plain[i].any & scope->words))
                        continue;
                for (const char *const *c = plain[i].calls; *c; c++) {
                        struct crew__rule rule = { .call = *c };

                        if (seen(scope->words, i, *c))
                                continue;
                        r = visit(&rule, data);
                        if (r)
                                return r;
                }
        }
        for (size_t i = 0; i < CLOSER; i++) {
                struct crew__rule rule = closer[i];

                if (!holds(&rule, scope->words) || plainly_allowed(scope->words, rule.call) ||
                        !fill_in(&rule, scope))
                        continue;
                r = visit(&rule, data);
                if (r)
                        return r;
        }
        return plainly_allowed(scope->words, "write") ? 0 : visit_events(scope, visit, data);
}

struct question {
        const char *name;
        const uint64_t *args;
};

static bool matches(const struct crew__rule *rule, const struct question *q)
{
        if (strcmp(rule->call, q->name) != 0)
                return false;
        for (int i = 0; conditional(rule) && i < CREW__CONDITIONS; i++) {
                const struct crew__condition *when = &rule->when[i];
                uint64_t value = q->args[when->argument];

                if ((when->comparison == CREW__IS && (value & when->mask) != when->value) ||
                        (when->comparison == CREW__BELOW && value >= when->value))
                        return false;
        }
        return true;
}

static int answer(const struct crew__rule *rule, void *data)
{
        return !rule->error && matches(rule, data);
}

static int answer_error(const struct crew__rule *rule, void *data)
{
        return matches(rule, data) ? rule->error : 0;
}

bool crew__rules_allow(const struct crew__scope *scope, const char *name, const uint64_t args[6])
{
        struct question q = { .name = name, .args = args };

        return crew__rules_each(scope, answer, &q) == 1;
}

int crew__rules_error(const struct crew__scope *scope, const char *name, const uint64_t args[6])
{
        struct question q = { .name = name, .args = args };

        return crew__rules_each(scope, answer_error, &q);
}
