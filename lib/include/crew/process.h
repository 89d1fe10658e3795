/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_H
#define CREW_PROCESS_H

/*
 * Processes as objects: a target function that runs in a child, seen through a pidfd.
 *
 * A handle belongs to the process that made it; in a forked child every call on it answers -ECHILD
 * and crew_process_free releases only the child's copy. Handles may be used by any thread, several
 * at once. No function here is async-signal-safe.
 *
 * By default the child is a fork: it sees the parent's memory as it was, its own from then on. While
 * the parent has one thread, the child comes from clone3() with no exit signal: it never shows up in
 * the host's waitpid(-1) and the host's disposition of SIGCHLD does not matter; pthread_atfork
 * handlers do not run. With more threads it is fork() (the handlers run, SIGCHLD is sent); if
 * somebody else then collects the child's status, crew falls back to what the kernel (6.15) or the
 * child itself left behind, and says -ENODATA only when neither did.
 *
 * CREW_METHOD_SPAWN runs the program anew, CREW_METHOD_FORKSERVER forks from one small process
 * ("crew-forkserver") that was started that way with the first such process. These children have
 * nothing of the parent's memory: they get their function (of the program, or of a library that
 * was loaded when main() began), a copy of `arg`, the descriptors 0-2 and keep_fds, and what they are
 * granted. They are safe to start whatever other threads do. Nothing of the parent is copied, so
 * that its size does not matter: start and join take about a millisecond by spawn and a third of
 * that by the fork server. The program has to call crew_spawn_main(). A spawned child is visible to
 * the host's waitpid(-1) as a program is; children of the fork server are not, only the server is.
 * It ends with this process, and daemons with it. Signals that are ignored, and the environment (but
 * for `env`), are those of the moment when it was started.
 *
 * In the child, exit(n) and returning n run the atexit handlers that the child itself registered,
 * join and end its own children, flush stdio and end it with status n mod 256. Handlers inherited
 * from the parent, or registered before main(), do not run.
 */

#include <crew/sandbox.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_process crew_process;
typedef struct crew_starter crew_starter;

/* What the child runs; its result, mod 256, is the exit code. */
typedef int crew_target_fn(void *arg);

enum {
        CREW_METHOD_DEFAULT = 0, /* fork */
        CREW_METHOD_FORK = 1,
        CREW_METHOD_FORKSERVER = 2, /* from a small process of this program; crew_spawn_main() */
        CREW_METHOD_SPAWN = 3,      /* exec of this program; crew_spawn_main() */
};

enum {
        /* Ends when the process that started it ends, however that ends (unless it changes its
         * user). A program that starts its first daemon while it has several threads gets one small
         * process, "crew-guardian", that sees to this. A child of a daemon is a daemon too unless
         * it is detached. */
        CREW_PROCESS_DAEMON = 1,
        /* Neither joined nor ended at exit, not listed among the active children. */
        CREW_PROCESS_DETACHED = 2,
        /* Leads a process group of its own. */
        CREW_PROCESS_GROUP = 4,
        /* Leads a session of its own, and so a group: it has no terminal. */
        CREW_PROCESS_SESSION = 8,
        /* For programs: the start waits until it runs, or answers why it does not. */
        CREW_PROCESS_WAIT_EXEC = 16,
        /* For programs in a sandbox: a refused call waits until the host has taken note of it, see
         * crew_process_report(). The start waits until the sandbox is in force, some hundred
         * microseconds. Forked targets leave a note by themselves. */
        CREW_PROCESS_REPORT = 32,
};

/* on_violation: what happens to a call that the sandbox refuses. */
enum {
        CREW_VIOLATION_KILL = 0, /* it ends the process that made it */
        CREW_VIOLATION_DENY = 1, /* it fails with EPERM */
};

/*
 * Limits of one process (a worker, a program), which its children inherit; 0 = the host's.
 *
 * memory_max: where the kernel has a control group to spare (`cgroup_memory` in `crew features`),
 * it is what the process and all that it starts use together, in memory that they touched
 * themselves: what a fork shares with its parent is the parent's. Going past it ends them all at
 * once: crew_exit.out_of_memory, and CREW_MEMORY of a task. When the process has ended (unless it
 * is detached) what it left running is ended too. Elsewhere it limits the address space of each,
 * and going past it makes an allocation fail.
 */
typedef struct crew_limits {
        size_t size;
        uint64_t memory_max; /* bytes, see above */
        uint64_t cpu_time;   /* ns, rounded up to seconds */
        uint64_t open_files;
        uint64_t file_bytes;
        uint64_t processes; /* of its user, all together */
} crew_limits;

/* What one of the three standard descriptors of a child becomes. */
enum {
        CREW_STDIO_INHERIT = 0, /* the host's own */
        CREW_STDIO_NULL = 1,    /* /dev/null */
        CREW_STDIO_PIPE = 2,    /* a pipe; the other end is crew_process_stdio() */
        CREW_STDIO_FD = 3,      /* a copy of the descriptor `fd`, which stays the caller's */
};

typedef struct crew_stdio {
        int kind; /* CREW_STDIO_... */
        int fd;   /* for CREW_STDIO_FD; else 0 */
} crew_stdio;

typedef struct crew_process_options {
        size_t size;      /* of this struct; CREW_OPT sets it */
        const char *name; /* copied; NULL = "Process-1", in its children "Process-1:1" */
        uint64_t flags;   /* CREW_PROCESS_...; DAEMON with DETACHED is -EINVAL */
        int method;       /* CREW_METHOD_... */
        size_t arg_size;  /* bytes copied from arg by _new; 0 = the pointer itself, which only a fork
                             can use: else arg must be NULL then */
        /* What stays open in the child beside 0-2, under its number; -EINVAL for a fork, which has
         * all. In a program close-on-exec is taken off. Copied; they must be open at the start. The
         * fork server takes 250 descriptors for a child, of which each grant is 3 at most. */
        const int *keep_fds;
        size_t n_keep_fds;
        const char *const *env; /* "NAME=value", ..., NULL; copied. NULL = the host's at the start
                                   (the fork server's), which is all there is for a fork */
        const char *cwd; /* where it works; copied. NULL = where the host works at the start */
        crew_stdio in, out, err; /* its stdin, stdout, stderr */
        /* Queues, connections and shared memory that a child which is no fork can open by their
         * refs. Held until the handle is freed. (A fork has all of its parent's.) */
        const crew_ref *grants;
        size_t n_grants;
        const crew_limits *limits; /* copied; with limits or a sandbox it leaves no core dump */
        /* What it may do, in words (see sandbox.h), or a policy; not both. A program needs the word
         * exec. A policy is prepared once for all that are made with it, words for each anew. */
        const char *sandbox;
        const crew_sandbox *policy;
        int on_violation;     /* CREW_VIOLATION_... */
        int nice;             /* added to the host's; below 0 takes a privilege */
        const unsigned *cpus; /* the processors it may use; copied. NULL = the host's */
        size_t n_cpus;
        /* For programs: starts it, and has its sandbox, so no words, policy, on_violation or
         * CREW_PROCESS_REPORT beside it; see crew_starter_new(). Held until the process is gone. */
        crew_starter *starter;
} crew_process_options;

/* A call that a sandbox refused. */
typedef struct crew_violation {
        size_t size;    /* of this struct, set by the caller */
        int syscall;    /* its number, -1: unknown */
        char name[32];  /* "openat"; "" if unknown */
        char words[64]; /* that would have allowed it, "wpath and cpath"; "" if none would */
        char text[240]; /* all of that as a sentence */
        uint64_t count; /* how many calls were refused; this is the first of them */
} crew_violation;

/* How a process ended. */
typedef struct crew_exit {
        size_t size;         /* of this struct, set by the caller */
        int code;            /* exit status 0..255; -signal if a signal ended it */
        int signal;          /* the signal, or 0 */
        bool core;           /* it left a core dump */
        bool usage;          /* the three fields below are known (nobody else collected them) */
        int64_t user_time;   /* ns */
        int64_t system_time; /* ns */
        uint64_t max_rss;    /* bytes */
        int exec_errno;      /* why program or target never ran, positive; 0: it did */
        bool violated;       /* a sandbox refused a call: crew_process_violation() */
        bool out_of_memory;  /* the kernel ended it: more memory than its limit, see crew_limits */
} crew_exit;

/*
 * A process that will run target(arg). Nothing is started yet. @o may be NULL.
 * Returns 0; -EINVAL (no target, unknown flag or method, size, arg_size without arg, a pointer
 * without arg_size for what is no fork); -ENOENT: a grant that this process does not hold; -ENOMEM.
 */
CREW_PUBLIC int crew_process_new(
        crew_process **p, crew_target_fn *target, void *arg, const crew_process_options *o);

/*
 * A process that will run the program argv[0] with the arguments argv (NULL ends them), which are
 * copied; @o may be NULL. Nothing is started yet. A name without a slash is looked up in PATH (of
 * `env` if that is given), relative ones in `cwd`; a script without "#!" runs in /bin/sh.
 *
 * The program gets the descriptors 0-2 and keep_fds, nothing else. No signal is blocked in it; all
 * have their default actions, except that ignored ones (but SIGPIPE, SIGXFSZ and SIGCHLD) stay
 * ignored. The exec makes it visible to the host's waitpid(-1) and SIGCHLD, whatever crew does: a
 * host that collects it there takes its status (see above). Its start costs the same in a large
 * host as in a small one, and never waits: a program that cannot be run ends with 127 (it is not
 * there) or 126, and crew_process_exit() tells why. CREW_PROCESS_WAIT_EXEC asks the start to wait.
 *
 * Returns 0; -EINVAL (no program, a start method or arg_size, unknown flags, bad stdio); -ENOMEM.
 */
CREW_PUBLIC int crew_process_new_exec(
        crew_process **p, const char *const argv[], const crew_process_options *o);

/*
 * A thread that starts programs in one sandbox, for who starts many: it loads the sandbox's filter
 * once, and what it starts has that from birth, which makes a start in a sandbox cost nearly as
 * little as one without. Everything else of a start is as without a starter.
 *
 * One process at a time, from its start until its handle is freed (-EBUSY): reports are told apart
 * by that. So make as many starters as processes shall run at once. What a process leaves behind
 * that goes on is not mistaken for the next one, unless it was started after that.
 *
 * `policy` needs the words stdio, rpath, thread, proc and exec; it may be freed afterwards.
 * on_violation and CREW_PROCESS_REPORT (or 0) as in crew_process_options. Afterwards
 * crew_sandbox_enter() in this process is -EBUSY, since a thread has a filter of its own.
 * Returns 0; -EINVAL; -EAGAIN: no thread can be made; -EOPNOTSUPP: no seccomp; -EBUSY: another
 * listener; -ENOMEM, -EMFILE.
 */
CREW_PUBLIC int crew_starter_new(
        crew_starter **s, const crew_sandbox *policy, int on_violation, uint64_t flags);

/* Ends it, once its process is gone. NULL is fine; returns NULL. */
CREW_PUBLIC crew_starter *crew_starter_free(crew_starter *s);

/*
 * Starts it, once. stdout and stderr are flushed first (unless another thread is using them), so
 * that nothing is written twice; programs are started without.
 * Returns 0; -EALREADY; -ECHILD; -EAGAIN (process limit), -ENOMEM, -EMFILE; -ENOSPC: a queue with
 * CREW_QUEUE_EOF that the child would have is held by 256 processes; -ENODATA: somebody
 * ended the child before its target ran; -ETIMEDOUT: a daemon's guardian does not answer, or the
 * child was stopped on the way to its sandbox (CREW_PROCESS_REPORT); -EBADF: a
 * descriptor of the options is not open; -ENOENT, -EACCES, ...: cwd, or a program that is not in
 * PATH (with CREW_PROCESS_WAIT_EXEC also whatever else execve() answers).
 * By spawn, which waits until the target is about to run, or by the fork server also -EOPNOTSUPP:
 * main() does not call crew_spawn_main() first, or this is a set-user-ID program; -ENOENT: the
 * target's library is not in the new process; -E2BIG: too many descriptors for the fork server;
 * -ETIMEDOUT: the fork server does not answer (10 s).
 * After a failure other than EALREADY it can be tried again; nothing is left of it.
 */
CREW_PUBLIC int crew_process_start(crew_process *p);

/* new and start in one; nothing is left on failure. */
CREW_PUBLIC int crew_process_launch(
        crew_process **p, crew_target_fn *target, void *arg, const crew_process_options *o);

/*
 * Waits until it has ended. Any number of threads, any number of times.
 * Returns 0; -EAGAIN or -ETIMEDOUT: it runs; -EINTR; -ESRCH; -ECHILD (also for oneself).
 * The exit code is another question: crew_process_exitcode.
 */
CREW_PUBLIC int crew_process_join(crew_process *p, int64_t timeout);

/*
 * Joins `n` processes with one deadline. Returns 0 when all have ended, else the first error; what
 * has ended by then is joined.
 */
CREW_PUBLIC int crew_join_all(crew_process *const ps[], size_t n, int64_t timeout);

/* 1 while it runs, 0 before the start and after the end, -ECHILD. Never 1 for a dead process. */
CREW_PUBLIC int crew_process_is_alive(crew_process *p);

/*
 * Its exit code: 0..255, or -signal if a signal ended it.
 * Returns 0; -EBUSY: it runs; -ESRCH; -ENODATA: it ended, but somebody else collected its status
 * and neither the kernel nor the child left a copy; -ECHILD.
 */
CREW_PUBLIC int crew_process_exitcode(crew_process *p, int *code);

/* The same with the resources it used; e->size must be set. Errors as exitcode, and -EINVAL. */
CREW_PUBLIC int crew_process_exit(crew_process *p, crew_exit *e);

/*
 * The first call of the process that its sandbox refused, so far. What is known of it: of a forked
 * target, what its own handler wrote down; of a program with CREW_PROCESS_REPORT, what the kernel
 * says; of one without, only that SIGSYS ended it.
 * Returns 0; -ENODATA: none; -EINVAL (size); -ESRCH; -ECHILD.
 */
CREW_PUBLIC int crew_process_violation(crew_process *p, crew_violation *v);

/*
 * CREW_PROCESS_REPORT: a refused call of the program, or of what it started, sleeps in the kernel
 * until the host has looked at it and on_violation is done. crew_process_join() and crew_join_all()
 * look while they wait. Who waits otherwise watches the descriptor (for EPOLLIN, in a waiter or
 * elsewhere) and calls _report when it is readable; it is borrowed, and gets EPOLLHUP when the last
 * process in that sandbox is gone. Once the handle is freed, refused calls fail with ENOSYS.
 *
 * _report_fd returns the descriptor; -ENOENT: reports were not asked for, or are not to be had here
 * (the sandbox holds without). _report returns how many calls it dealt with. Both: -ESRCH, -ECHILD.
 */
CREW_PUBLIC int crew_process_report_fd(crew_process *p);
CREW_PUBLIC int crew_process_report(crew_process *p);

/*
 * Sends a signal, through the pidfd: never to another process that got its number.
 * Returns 0, also when it has ended already; -ESRCH before the start; -EINVAL bad signal; -ECHILD;
 * -EPERM (it changed its user).
 */
CREW_PUBLIC int crew_process_signal(crew_process *p, int sig);
CREW_PUBLIC int crew_process_terminate(crew_process *p); /* SIGTERM */
CREW_PUBLIC int crew_process_kill(crew_process *p);      /* SIGKILL */

/*
 * SIGKILL to the process and to all that it has started, as far as they can be found in /proc: its
 * children and theirs, and with CREW_PROCESS_GROUP or _SESSION who is still in that group or
 * session, also when the process itself has ended. They are stopped until nobody new is found, then
 * killed. Not found is who left the session and whose parents are gone (a daemon), and who is
 * another user's; without a /proc of this pid namespace only the process and its group are. With
 * limits->memory_max and `cgroup_memory` (`crew features`) nobody escapes (from Linux 5.14 on),
 * counted or not. Returns how many were found and killed; -ESRCH before the start; -ECHILD.
 */
CREW_PUBLIC int crew_process_kill_tree(crew_process *p);

/* Its pidfd, readable once it has ended; borrowed from the handle. -ESRCH before the start. */
CREW_PUBLIC int crew_process_fd(const crew_process *p);

/*
 * The host's end of a CREW_STDIO_PIPE of a child that was started: `which` is 0, 1 or 2; of 0 it is
 * the end to write to. Blocking, close-on-exec, borrowed: _close_stdio closes it (the child then
 * reads the end of its input), as does _free. Children that the host forks meanwhile have copies.
 * Returns the descriptor; -ENOENT: no such pipe, or its end was closed; -EINVAL; -ESRCH; -ECHILD.
 */
CREW_PUBLIC int crew_process_stdio(crew_process *p, int which);
CREW_PUBLIC int crew_process_close_stdio(crew_process *p, int which);

/* Its pid, also after it has ended; -ESRCH before the start. */
CREW_PUBLIC pid_t crew_process_pid(const crew_process *p);

/* Its name; lives as long as the handle. */
CREW_PUBLIC const char *crew_process_name(const crew_process *p);

/* Whether it is a daemon: 1 or 0. */
CREW_PUBLIC int crew_process_daemon(const crew_process *p);

/*
 * Drops the handle. A running child goes on, stays among what is joined (or ended) at exit and is
 * collected when it ends. NULL is fine; always returns NULL.
 */
CREW_PUBLIC crew_process *crew_process_free(crew_process *p);

/* This process as an object; never NULL, borrowed. It can be named and asked, not joined. */
CREW_PUBLIC crew_process *crew_current_process(void);

/*
 * The process that started this one with crew: NULL in a main program; borrowed. It can be joined,
 * also in a waiter (a lifeline); its exit code is -ENODATA.
 */
CREW_PUBLIC crew_process *crew_parent_process(void);

/*
 * The children of this process that run, detached ones apart: up to `max` of them in `out`
 * (borrowed; valid until their handle is freed; freed ones are counted but not listed).
 * Returns how many run, which may be more than `max`. Collects those that have ended.
 */
CREW_PUBLIC int crew_active_children(crew_process *out[], size_t max);

/*
 * How many processors this process may use: the smallest of its affinity mask and the CPU quota of
 * its cgroup (rounded up), at least 1. CREW_CPUS in the environment overrides both.
 */
CREW_PUBLIC int crew_cpu_count(void);

/*
 * The first call of main(), before anything else, in a program that uses CREW_METHOD_FORKSERVER or
 * CREW_METHOD_SPAWN. It returns at once, except in a new process that such a start made: there it
 * becomes that process and never returns, so that nothing of main() happens twice. In C++ global
 * objects have been constructed. Do not call it from anywhere but main().
 */
CREW_PUBLIC void crew_spawn_main(void);

/*
 * The hook that runs at exit(): daemons get SIGTERM and 100 ms later SIGKILL, all others but
 * detached ones are joined. crew_atexit(false), or CREW_ATEXIT=0 in the environment, turns it off
 * for this process. Returns what it was.
 */
CREW_PUBLIC bool crew_atexit(bool enabled);

static inline void crew_starter_freep(crew_starter **s)
{
        *s = crew_starter_free(*s);
}
static inline void crew_process_freep(crew_process **p)
{
        *p = crew_process_free(*p);
}

#ifdef __cplusplus
}
#endif
#endif
