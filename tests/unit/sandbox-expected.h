/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_SANDBOX_EXPECTED_H
#define CREW_TESTS_SANDBOX_EXPECTED_H

/*
 * What each word adds, written down apart from the library's table: a slip there must be made here
 * a second time to go unseen. `always` with any arguments, `some` with certain arguments only.
 */

static const struct {
        const char *word, *brings, *always, *some;
} expected[] = {
        { "compute", "",
                "brk munmap mremap getrandom clock_gettime clock_getres clock_nanosleep nanosleep "
                "gettimeofday time sched_yield getcpu getpid gettid getppid getuid geteuid getgid "
                "getegid sched_getscheduler rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group "
                "close fstat lseek poll ppoll",
                "mmap mprotect madvise futex get_robust_list kill tgkill rt_sigaction read write "
                "recvmsg prctl" },
        { "stdio", "compute",
                "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 recvfrom "
                "select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
                "epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime "
                "timerfd_gettime timer_create timer_settime timer_gettime timer_getoverrun "
                "timer_delete setitimer getitimer alarm pause pipe pipe2 dup dup2 dup3 flock fsync "
                "fdatasync sync_file_range fadvise64 readahead msync mlock mlock2 munlock sendfile "
                "copy_file_range getsockopt getsockname getpeername shutdown uname sysinfo times "
                "getrusage getrlimit getpriority getgroups getresuid getresgid getpgid getpgrp "
                "getsid sched_getaffinity sched_getparam sched_get_priority_max "
                "sched_get_priority_min umask rt_sigpending rt_sigsuspend rt_sigtimedwait "
                "close_range",
                "sendto socketpair prlimit64 fcntl ioctl" },
        { "rpath", "stdio",
                "stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat "
                "getdents getdents64 chdir fchdir getcwd statfs fstatfs getxattr lgetxattr "
                "fgetxattr listxattr llistxattr flistxattr inotify_init inotify_init1 "
                "inotify_add_watch inotify_rm_watch",
                "open openat" },
        { "wpath", "stdio", "ftruncate truncate fallocate sync syncfs", "open openat" },
        { "cpath", "stdio",
                "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink "
                "symlinkat",
                "mknod mknodat" },
        { "fattr", "stdio",
                "chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime utimes "
                "futimesat utimensat setxattr lsetxattr fsetxattr removexattr lremovexattr "
                "fremovexattr",
                "" },
        { "inet", "stdio",
                "connect bind listen accept accept4 sendto sendmsg sendmmsg recvmsg recvmmsg "
                "setsockopt",
                "socket" },
        { "unix", "stdio",
                "connect bind listen accept accept4 sendto sendmsg sendmmsg recvmsg recvmmsg "
                "setsockopt",
                "socket" },
        { "thread", "compute",
                "futex futex_waitv membarrier set_robust_list rseq set_tid_address "
                "sched_getaffinity sched_getscheduler sched_getparam",
                "clone sched_setaffinity sched_setscheduler sched_setparam" },
        { "proc", "stdio",
                "fork vfork wait4 waitid pidfd_open pidfd_send_signal kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo "
                "setpgid setsid set_robust_list rseq set_tid_address",
                "clone setpriority" },
        { "exec", "stdio",
                "execve arch_prctl mmap mprotect madvise rt_sigaction fcntl setrlimit capget "
                "capset ioprio_get sched_getattr sched_rr_get_interval mincore mlockall munlockall "
                "remap_file_pages pkey_alloc pkey_free pkey_mprotect cachestat mseal splice tee "
                "vmsplice get_mempolicy set_mempolicy mbind setpgid setsid setuid setgid setreuid "
                "setregid setresuid setresgid setgroups setfsuid setfsgid landlock_create_ruleset "
                "landlock_add_rule landlock_restrict_self get_robust_list futex futex_waitv "
                "membarrier set_robust_list rseq set_tid_address",
                "sched_setaffinity sched_setscheduler sched_setparam sched_setattr setpriority "
                "ioprio_set seccomp personality prlimit64 ioctl prctl" },
        { "sanitizer", "stdio",
                "readlink readlinkat newfstatat getdents64 sched_getaffinity getcwd",
                "open openat" },
};

/* What needs two words. */
static const struct {
        const char *words, *always, *some;
} together[] = {
        { "wpath cpath", "creat", "" },
};

/* What no set of words may ever let through, with any arguments. */
static const char never[] =
        "io_uring_setup io_uring_enter io_uring_register ptrace process_vm_readv "
        "process_vm_writev process_madvise process_mrelease kcmp memfd_create memfd_secret "
        "execveat add_key request_key keyctl bpf userfaultfd perf_event_open kexec_load "
        "kexec_file_load init_module finit_module delete_module mount umount2 pivot_root chroot "
        "open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr unshare setns clone3 "
        "openat2 pidfd_getfd open_by_handle_at name_to_handle_at "
        "fanotify_init fanotify_mark io_setup io_submit io_getevents io_cancel io_destroy "
        "io_pgetevents modify_ldt iopl ioperm swapon swapoff reboot acct quotactl syslog "
        "settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname vhangup "
        "migrate_pages move_pages shmget shmat shmctl shmdt semget semop semctl semtimedop msgget "
        "msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify "
        "mq_getsetattr _sysctl ustat sysfs uselib nfsservctl lookup_dcookie create_module "
        "get_kernel_syms query_module getpmsg putpmsg afs_syscall tuxcall security vserver "
        "set_thread_area get_thread_area epoll_ctl_old epoll_wait_old mknod_none quotactl_fd "
        "set_mempolicy_home_node map_shadow_stack futex_wake futex_wait futex_requeue statmount "
        "listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules";

#endif
