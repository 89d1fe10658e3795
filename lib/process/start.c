/* SPDX-License-Identifier: MIT */

/* The parent's side of a start. */

#include "base/cleanup.h"
#include "base/trace.h"
#include "kernel/features.h"
#include "kernel/syscall.h"
#include "process/clone.h"
#include "process/forkserver.h"
#include "process/guardian.h"
#include "process/registry.h"
#include "process/setup.h"
#include "process/spawn.h"
#include "status/page.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* What start answers inside when clone3() turned out not to work. */
enum { USE_FORK = 1 };

/* How long a child that was sent away gets to be gone. */
#define FAREWELL CREW_S(1)

static int words(const crew_process *p, int err, const char *what)
{
        switch (err) {
        case EMFILE:
        case ENFILE:
                return crew__fail(err,
                        "process %s: %s: no descriptor is left; it needs 2, and 3 more for the "
                        "first daemon of a threaded program; raise RLIMIT_NOFILE (ulimit -n)",
                        p->name, what);
        case EAGAIN:
                return crew__fail(err,
                        "process %s: %s: the limit of processes is reached (RLIMIT_NPROC, ulimit "
                        "-u, or pids.max of the cgroup)",
                        p->name, what);
        case ENOSYS:
                return crew__fail(err,
                        "process %s: %s: no pidfds here; crew needs Linux 5.4, and a valgrind that "
                        "knows pidfd_open",
                        p->name, what);
        default:
                return crew__fail(err, "process %s: %s: %s", p->name, what, strerror(err));
        }
}

static int cell_of(const crew_process *p)
{
        return p->setup ? crew__cell_fd(p->setup->confine.cell) : -1;
}

static int start_raw(crew__launch *l)
{
        crew_process *p = l->p;
        int pidfd = -1, pid;

        l->raw = true;
        pid = crew__clone_raw(&pidfd, cell_of(p));
        if (pid == 0)
                crew__child_main(l);
        if (pid == CREW__USE_FORK) {
                l->raw = false;
                return USE_FORK;
        }
        if (pid < 0)
                return words(p, -pid, "clone3");
        p->pid = pid;
        p->pidfd = crew__above_stdio(pidfd);
        return 0;
}

/* Sends a child away that never got through its gate, and collects it. */
static void abandon(crew__page *page, pid_t pid, int pidfd)
{
        int64_t deadline = crew_clock() + FAREWELL;
        struct timespec nap = crew__timespec(CREW_MS(1));
        crew__ending ending;

        crew__page_gate(page, CREW__GATE_GONE);
        if (pidfd >= 0) {
                (void)crew__sys_pidfd_send_signal(pidfd, SIGKILL);
                (void)crew__readable(pidfd, deadline);
                (void)crew__pidfd_collect(pidfd, &ending);
                return;
        }
        while (waitpid(pid, NULL, WNOHANG | __WALL) == 0 && crew_clock() < deadline)
                (void)nanosleep(&nap, NULL);
}

/*
 * The pidfd of a child that waits at its gate. Somebody may have killed and collected it already,
 * and then the number may be another's: a child of ours that has not been collected is no other,
 * for numbers come round only after all the others.
 */
static int open_child(const crew_process *p, pid_t pid)
{
        siginfo_t info = { 0 };
        int pidfd, r;

        pidfd = crew__above_stdio(crew__sys_pidfd_open(pid, 0));
        if (pidfd < 0 && pidfd != -ESRCH)
                return words(p, -pidfd, "pidfd_open");
        r = pidfd;
        if (pidfd >= 0)
                r = crew__sys_waitid(pidfd, &info, WEXITED | WNOWAIT | WNOHANG | __WALL, NULL);
        if (r >= 0 && info.si_pid == 0)
                return pidfd;
        (void)crew__close(pidfd);
        return crew__fail(ENODATA, "process %s (pid %d): somebody ended it before its target ran",
                p->name, (int)pid);
}

static int open_gate(crew__launch *l, pid_t pid)
{
        crew_process *p = l->p;
        crew__page *page = crew__page_of(p->page);
        int pidfd, r;

        pidfd = open_child(p, pid);
        if (pidfd < 0) {
                abandon(page, pid, -1);
                return pidfd;
        }
        p->pid = pid;
        p->pidfd = pidfd;
        atomic_store(&page->pid, (uint32_t)pid);
        /* Before the gate opens: no daemon ever runs unguarded. */
        r = (p->flags & CREW_PROCESS_DAEMON) && !l->tied ? crew__guardian_add(p) : 0;
        if (r < 0) {
                abandon(page, pid, pidfd);
                p->pidfd = crew__close(pidfd);
                return r;
        }
        crew__page_gate(page, CREW__GATE_OPEN);
        return 0;
}

/*
 * fork() is what a threaded program needs: it runs the pthread_atfork handlers and makes malloc and
 * stdio usable in the child. Its child can be collected by anybody, so it waits until its pidfd is
 * held, and leaves a note of its exit code.
 */
static int start_gated(crew__launch *l)
{
        crew_process *p = l->p;
        CREW__AUTO_CLOSE int reserved = -1;
        pid_t pid = -1;
        int r;

        r = crew__page_new(&p->page, p->name);
        if (r < 0)
                return words(p, -r, "status page");
        reserved = fcntl(l->parent_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (reserved < 0) {
                r = words(p, errno, "pidfd");
        } else {
                pid = fork();
                if (pid == 0) {
                        (void)crew__close(reserved);
                        crew__child_main(l);
                }
                r = pid < 0 ? words(p, errno, "fork") : 0;
        }
        /* Kept until here, so that the child's pidfd does not fail for want of a descriptor. */
        reserved = crew__close(reserved);
        if (r == 0)
                r = open_gate(l, pid);
        if (r < 0)
                p->page = crew__segment_unref(p->page);
        return r;
}

static int start_child(crew__launch *l, bool single)
{
        int r = USE_FORK;

        if (l->p->setup && l->p->setup->argv)
                return crew__program_start(l);
        if (l->p->method == CREW_METHOD_SPAWN)
                return crew__spawn_start(l);
        if (l->p->method == CREW_METHOD_FORKSERVER)
                return crew__forkserver_start(l);
        if (single && crew__has(CREW__CLONE3))
                r = start_raw(l);
        return r == USE_FORK ? start_gated(l) : r;
}

/* A fork inherits every queue, another image what it is granted, another program none. */
static int expect_in_queues(crew__launch *l)
{
        const crew_process *p = l->p;

        if (!p->target)
                return 0;
        if (p->method == CREW_METHOD_FORK)
                return crew__queue_expect(&l->queues, NULL, 0);
        return p->setup && p->setup->n_grants
                       ? crew__queue_expect(&l->queues, p->setup->grants, p->setup->n_grants)
                       : 0;
}

static int start(crew_process *p)
{
        crew__launch l = { .p = p, .parent = getpid() };
        bool single = crew__alone();
        static const uint64_t all = UINT64_MAX;
        int r;

        l.parent_fd = crew__self_pidfd();
        if (l.parent_fd < 0)
                return words(p, -l.parent_fd, "pidfd of this process");
        r = p->setup ? crew__setup_open(p->setup, p->name) : 0;
        if (r < 0)
                return r;
        /* PDEATHSIG follows the thread that starts the child; only a process's one thread is sure
         * to live as long as the process. */
        /* Against a thread that stays: the only one, or a starter, which its process keeps. */
        l.tied = p->flags & CREW_PROCESS_DAEMON &&
                 (single || (p->setup && p->setup->confine.starter));
        (void)crew__has(CREW__CLONE3); /* a probe may start a child of its own */
        (void)crew__has(CREW__CLOSE_RANGE);
        r = expect_in_queues(&l);
        if (r < 0) {
                if (p->setup)
                        crew__setup_close(p->setup, true);
                return r;
        }
        if (p->target && p->method == CREW_METHOD_FORK) {
                l.stale_out = crew__flush(stdout, single);
                l.stale_err = crew__flush(stderr, single);
        }
        /* No handler of the host runs in a half-made child. */
        (void)crew__sys_sigmask(SIG_SETMASK, &all, &l.mask);
        r = start_child(&l, single);
        if (r == 0 && (p->flags & CREW_PROCESS_GROUP) && !p->server)
                (void)setpgid(p->pid, p->pid); /* both sides: whoever asks next sees it done */
        (void)crew__sys_sigmask(SIG_SETMASK, &l.mask, NULL);
        crew__queue_expected(&l.queues, r == 0 ? p->pid : 0);
        if (p->setup)
                crew__setup_close(p->setup, r < 0);
        if (r == 0 && p->method == CREW_METHOD_SPAWN && p->target)
                return crew__spawn_await(p);
        return r == 0 && (p->flags & CREW_PROCESS_WAIT_EXEC) ? crew__program_await(p) : r;
}

/* What inspectors see of it. */
static crew__row *describe(const crew_process *p)
{
        bool program = p->setup && p->setup->argv;
        crew__row *row = crew__status_reserve(p->name, CREW__ROLE_PROCESS,
                program ? CREW__ROW_PROGRAM : (uint16_t)p->method, (uint32_t)p->flags);
        const crew__plan *plan = p->setup ? p->setup->confine.plan : NULL;

        if (plan)
                crew__status_confined(row, p->setup->confine.words, plan->ruleset.abi);
        return row;
}

int crew_process_start(crew_process *p)
{
        int r = crew__process_enter(p), expected = CREW__NEW;

        if (r < 0)
                return r;
        if (!atomic_compare_exchange_strong(&p->state, &expected, CREW__STARTING))
                return crew__fail(EALREADY,
                        "process %s: it was started already; a process object "
                        "starts one process",
                        p->name);
        crew__hook_install();
        crew__status_publish(crew_current_process()->name);
        crew__registry_add(p);
        p->row = describe(p);
        r = start(p);
        if (r < 0) {
                crew__registry_remove(p);
                atomic_store(&p->state, CREW__NEW);
                return r;
        }
        if (p->setup)
                crew__setup_let_go(p->setup);
        crew__status_started(p->row, p->pid);
        if (crew__traces()) {
                p->began = crew_clock();
                crew__trace_name(p->pid, p->name);
                crew__trace_mark(p->pid, "process", "started");
        }
        atomic_store(&p->state, CREW__STARTED);
        return 0;
}
