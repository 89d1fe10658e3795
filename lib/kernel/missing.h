/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_MISSING_H
#define CREW_KERNEL_MISSING_H

/*
 * Kernel constants that are newer than the oldest headers crew builds with (Linux 6.1, liburing
 * 2.3), each with the kernel that brought it. Having the constant says nothing about the running
 * kernel: ask crew__has().
 *
 * What newer headers define as a macro is guarded and keeps its own name. What they define as an
 * enumerator or a struct cannot be guarded by the preprocessor and is called CREW__... here.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* io_uring operations; enumerators in the kernel's header. Ask for uring_waitid, uring_futex. */
enum {
        CREW__IORING_OP_WAITID = 50,     /* 6.7 */
        CREW__IORING_OP_FUTEX_WAIT = 51, /* 6.7 */
        CREW__IORING_OP_FUTEX_WAKE = 52, /* 6.7 */
        CREW__IORING_OP_FUTEX_WAITV = 53 /* 6.7 */
};

/* Flags of a ring that leaves its host alone. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#        define IORING_SETUP_SINGLE_ISSUER (1U << 12) /* 6.0 */
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#        define IORING_SETUP_DEFER_TASKRUN (1U << 13) /* 6.1 */
#endif
#ifndef IORING_SETUP_NO_SQARRAY
#        define IORING_SETUP_NO_SQARRAY (1U << 16) /* 6.6 */
#endif

/* futex2 flags, as the io_uring futex operations take them; 6.7 there. Shared is the default. */
#ifndef FUTEX2_SIZE_U32
#        define FUTEX2_SIZE_U32 0x02
#endif
#ifndef FUTEX2_PRIVATE
#        define FUTEX2_PRIVATE 128
#endif

/* One word of futex_waitv(), 5.16; <linux/futex.h> of Debian 12 has it, older ones do not. */
struct crew__futex_waitv {
        uint64_t val;
        uint64_t uaddr;
        uint32_t flags; /* FUTEX2_SIZE_U32 */
        uint32_t reserved;
};
#ifndef SYS_futex_waitv
#        define SYS_futex_waitv 449
#endif

#ifndef MFD_NOEXEC_SEAL
#        define MFD_NOEXEC_SEAL 0x0008U /* 6.3 */
#endif
#ifndef MFD_EXEC
#        define MFD_EXEC 0x0010U /* 6.3 */
#endif

/* Seals: <linux/fcntl.h> cannot be included beside <fcntl.h>. */
#ifndef F_SEAL_SEAL
#        define F_SEAL_SEAL 0x0001
#        define F_SEAL_SHRINK 0x0002
#        define F_SEAL_GROW 0x0004
#        define F_SEAL_WRITE 0x0008
#endif
#ifndef F_SEAL_FUTURE_WRITE
#        define F_SEAL_FUTURE_WRITE 0x0010 /* 5.1 */
#endif
#ifndef F_SEAL_EXEC
#        define F_SEAL_EXEC 0x0020 /* 6.3 */
#endif

/* An enumerator of idtype_t in the C library, where it has it (5.4). */
#define CREW__P_PIDFD 3

#ifndef PIDFD_NONBLOCK
#        define PIDFD_NONBLOCK 04000 /* O_NONBLOCK; 5.10 */
#endif

#ifndef CLONE_PIDFD
#        define CLONE_PIDFD 0x00001000 /* 5.2 */
#endif
#ifndef CLONE_CLEAR_SIGHAND
#        define CLONE_CLEAR_SIGHAND 0x100000000ULL /* 5.5 */
#endif
#ifndef CLONE_INTO_CGROUP
#        define CLONE_INTO_CGROUP 0x200000000ULL /* 5.7 */
#endif

#ifndef CLOSE_RANGE_UNSHARE
#        define CLOSE_RANGE_UNSHARE (1U << 1) /* 5.9 */
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#        define CLOSE_RANGE_CLOEXEC (1U << 2) /* 5.11 */
#endif

/*
 * What PIDFD_GET_INFO fills in: the first published version, 64 bytes, which later kernels keep as
 * the front of theirs. exit_code is a wait status and was reserved space before 6.15: it counts
 * only if the answer's mask has CREW__PIDFD_INFO_EXIT.
 */
struct crew__pidfd_info {
        uint64_t mask; /* in: what is asked for; out: what was answered */
        uint64_t cgroupid;
        uint32_t pid;
        uint32_t tgid;
        uint32_t ppid;
        uint32_t ruid;
        uint32_t rgid;
        uint32_t euid;
        uint32_t egid;
        uint32_t suid;
        uint32_t sgid;
        uint32_t fsuid;
        uint32_t fsgid;
        int32_t exit_code;
};

_Static_assert(sizeof(struct crew__pidfd_info) == 64, "the kernel's size of version 0");
_Static_assert(offsetof(struct crew__pidfd_info, exit_code) == 60, "the kernel's layout");

#define CREW__PIDFD_INFO_PID (1ULL << 0)      /* 6.13, always answered while the process lives */
#define CREW__PIDFD_INFO_CREDS (1ULL << 1)    /* 6.13 */
#define CREW__PIDFD_INFO_CGROUPID (1ULL << 2) /* 6.13 */
#define CREW__PIDFD_INFO_EXIT (1ULL << 3)     /* 6.15, answered once the process was reaped */
#define CREW__PIDFD_GET_INFO _IOWR(0xFF, 11, struct crew__pidfd_info)

/* seccomp */
#ifndef SECCOMP_FILTER_FLAG_TSYNC_ESRCH
#        define SECCOMP_FILTER_FLAG_TSYNC_ESRCH (1UL << 4) /* 5.7 */
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#        define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* 5.19 */
#endif
#ifndef SECCOMP_ADDFD_FLAG_SEND
#        define SECCOMP_ADDFD_FLAG_SEND (1UL << 1) /* 5.14 */
#endif

/*
 * Landlock, with the ABI version that crew__sys_landlock_abi() must at least answer. Rights above
 * the running ABI make landlock_create_ruleset() fail, so mask them off.
 */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#        define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14) /* ABI 3, 6.2 */
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#        define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15) /* ABI 5, 6.10 */
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#        define LANDLOCK_ACCESS_NET_BIND_TCP (1ULL << 0)    /* ABI 4, 6.7 */
#        define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1) /* ABI 4, 6.7 */
#endif
#ifndef LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
#        define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0) /* ABI 6, 6.12 */
#        define LANDLOCK_SCOPE_SIGNAL (1ULL << 1)               /* ABI 6, 6.12 */
#endif

enum { CREW__LANDLOCK_RULE_NET_PORT = 2 }; /* an enumerator in the kernel's header; ABI 4 */

/* struct landlock_ruleset_attr of ABI 6; pass the size that the running ABI knows. */
struct crew__landlock_ruleset_attr {
        uint64_t handled_access_fs;  /* ABI 1: size 8 */
        uint64_t handled_access_net; /* ABI 4: size 16 */
        uint64_t scoped;             /* ABI 6: size 24 */
};

struct crew__landlock_net_port_attr {
        uint64_t allowed_access;
        uint64_t port;
};

#endif
