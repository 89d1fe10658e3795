/* SPDX-License-Identifier: MIT */

/* The child's side of a start, and its end. */

#include "kernel/features.h"
#include "kernel/lock.h"
#include "kernel/syscall.h"
#include "process/forkserver.h"
#include "process/guardian.h"
#include "process/registry.h"
#include "status/page.h"

#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/prctl.h>

/* The status of a child that never came to run its target; nobody is left to see it. */
enum { NEVER_RAN = 255 };

/* What the end of this process needs; set once, before the host's code runs. */
static struct {
        uint64_t generation;
        crew__page *page;
} me;

#ifdef __GLIBC__
/* All streams, newest first; exported by glibc since 2.2.5 though no header names it. */
extern FILE *_IO_list_all __attribute__((weak));
#endif

/*
 * Does any stream hold output? fflush(NULL) would find out too, by locking and so copying what the
 * child still shares with its parent: a tenth of the cost of a start. Only with one thread.
 */
static bool any_output(void)
{
#ifdef __GLIBC__
        if (&_IO_list_all) {
                for (const FILE *f = _IO_list_all; f; f = f->_chain) {
                        /* A wide stream keeps its output elsewhere. */
                        if (f->_mode > 0 || f->_IO_write_ptr > f->_IO_write_base)
                                return true;
                }
                return false;
        }
#endif
        return true;
}

/*
 * Flushes everything, unless a thread of this child sits in a read of stdin: it holds the stream's
 * lock, and flushing all streams would wait for it.
 */
static void flush_streams(void)
{
        if (crew__single_threaded()) {
                if (any_output())
                        (void)fflush(NULL);
                return;
        }
        if (ftrylockfile(stdin) == 0) {
                (void)fflush(NULL);
                funlockfile(stdin);
                return;
        }
        if (ftrylockfile(stdout) == 0) {
                (void)fflush(stdout);
                funlockfile(stdout);
        }
        if (ftrylockfile(stderr) == 0) {
                (void)fflush(stderr);
                funlockfile(stderr);
        }
}

/*
 * The first handler registered in the child, so the last that runs: handlers inherited from the
 * parent come after it, that is, never. What the child forks itself inherits it too: there the hook
 * finds that process's own children, and the page is not its to write.
 */
static void finish(int status, void *unused)
{
        (void)unused;
        crew__hook_run();
        flush_streams();
        if (me.page && me.generation == crew__generation())
                crew__page_note_exit(me.page, status & 0xff);
        crew__sys_exit(status & 0xff);
}

static bool parent_is_gone(const crew__launch *l)
{
        pid_t parent = getppid(), expected = l->maker ? l->maker : l->parent;

        /* 0: it lives outside this pid namespace. */
        return (parent != expected && parent != 0) || crew__readable(l->parent_fd, 0) == 0;
}

/* The death signal is lost if the parent died before it was asked for; then look. */
static void tie_to_parent(const crew__launch *l)
{
        (void)crew__sys_prctl(PR_SET_PDEATHSIG, SIGKILL, 0);
        if (parent_is_gone(l))
                crew__sys_exit(NEVER_RAN);
}

static void wait_at_gate(const crew__launch *l, crew__page *page)
{
        uint32_t verdict;

        while ((verdict = atomic_load(&page->gate)) == CREW__GATE_SHUT) {
                (void)crew__sys_futex_wait(
                        &page->gate, CREW__GATE_SHUT, crew_clock() + CREW__SLICE);
                if (atomic_load(&page->gate) == CREW__GATE_SHUT && parent_is_gone(l))
                        crew__sys_exit(NEVER_RAN);
        }
        if (verdict != CREW__GATE_OPEN)
                crew__sys_exit(NEVER_RAN);
}

static void drop_stale(const crew__launch *l)
{
        if (l->stale_out)
                __fpurge(stdout);
        if (l->stale_err)
                __fpurge(stderr);
}

/* Before it uses memory of its own, unless it was born there. Cells beside that one would be a way
 * out of its limit. */
static void enter_cell(const crew__launch *l)
{
        const crew__setup *s = l->p->setup;

        if (!s || !s->confine.cell)
                return;
        if (!l->raw && crew__cell_enter(crew__cell_fd(s->confine.cell)) < 0)
                crew__sys_exit(NEVER_RAN);
        crew__feature_forbid(CREW__CGROUP_MEMORY);
}

void crew__child_main(const crew__launch *l)
{
        crew_process *p = l->p;

        if (l->tied)
                tie_to_parent(l);
        crew__guardian_forget();
        crew__forkserver_forget();
        /* The first look at the generation resets what was inherited. It is known to be missing,
         * and reading the wiped page before writing it would be two page faults. */
        me.generation = l->fresh ? crew__generation() : crew__generation_slow();
        me.page = p->page ? crew__page_of(p->page) : NULL;
        enter_cell(l);
        crew__queue_arrive(&l->queues);
        crew__current_become(p, l->parent);
        crew__status_become(p->row);
        drop_stale(l);
        if (p->flags & CREW_PROCESS_SESSION)
                (void)setsid();
        else if (p->flags & CREW_PROCESS_GROUP)
                (void)setpgid(0, 0);
        if (p->setup && crew__setup_enter(p->setup) < 0)
                crew__sys_exit(NEVER_RAN);
        if (on_exit(finish, NULL) != 0)
                crew__sys_exit(NEVER_RAN);
        if (l->fresh)
                crew__page_arrive(crew__child_page_of(p->page), CREW__ARRIVAL_READY, 0);
        if (!l->raw)
                wait_at_gate(l, me.page);
        (void)crew__sys_sigmask(SIG_SETMASK, &l->mask, NULL);
        if (p->setup && crew__confine_enter(&p->setup->confine) < 0)
                crew__sys_exit(NEVER_RAN);
        if (p->setup)
                crew__setup_let_go(p->setup);
        exit(p->target(p->arg));
}
