/* SPDX-License-Identifier: MIT */

/* The end of a process: waiting for it, collecting it once, telling it to everybody who asks. */

#include "base/clock.h"
#include "base/trace.h"
#include "kernel/lock.h"
#include "kernel/syscall.h"
#include "process/forkserver.h"
#include "process/process.h"
#include "process/registry.h"
#include "status/page.h"

#include <string.h>

/* What a fork server gets to note how its child ended; it is stopped if that is not enough. */
#define NOTING CREW_S(1)

/*
 * A child of the fork server has ended: the server collects it and notes how, within microseconds
 * if it runs. When it is dead or stopped others may know.
 */
static bool told_by_server(const crew_process *p, crew__ending *ending)
{
        crew__child_page *page = crew__child_page_of(p->page);
        int64_t until = crew_clock() + NOTING;
        bool hopeful = true;

        while (!crew__page_obituary(page, ending)) {
                if (!hopeful)
                        return false;
                hopeful = crew__forkserver_is(p->server) && crew_clock() < until;
                if (hopeful)
                        (void)crew__sys_futex_wait(&page->told, 0, crew_clock() + CREW__SLICE);
        }
        return true;
}

/*
 * Somebody else collected the status (a waitpid(-1) in the host, or the kernel because SIGCHLD is
 * ignored). What is left is the kernel's memory, then the note that the child itself left, which is
 * missing when a signal ended it.
 */
static void reconstruct(crew_process *p, crew__ending *ending)
{
        int code;

        *ending = (crew__ending){ .known = false };
        if (p->server && told_by_server(p, ending))
                return;
        if (crew__pidfd_remembers(p->pidfd, ending))
                return;
        if (p->page && crew__page_exit(crew__page_of(p->page), &code))
                *ending = (crew__ending){ .known = true, .code = code };
}

static void trace_life(const crew_process *p)
{
        const crew__ending *e = &p->ending;

        crew__trace_span(p->pid, "process", p->began, crew_clock(), "%s: %s %d", p->name,
                !e->known   ? "ended, unknown how"
                : e->signal ? "signal"
                            : "exit",
                e->signal ? e->signal : e->code);
        if (e->signal)
                crew__trace_mark(p->pid, "process", "ended by signal %d", e->signal);
}

/* What a detached process left running goes on, in its cell. */
static void vacate(crew_process *p)
{
        crew__confine *c = &p->setup->confine;

        if (p->role != CREW__CHILD || !c->cell)
                return;
        if (p->flags & CREW_PROCESS_DETACHED && !crew__cell_empty(c->cell))
                c->cell = crew__cell_abandon(c->cell);
        else
                crew__confine_vacate(c);
}

/* Under p->lock. 1: it has ended and the status is stored; 0: it runs. */
static int collect(crew_process *p)
{
        crew__ending ending = { .known = false };
        int r = -ECHILD;

        if (atomic_load(&p->state) == CREW__ENDED)
                return 1;
        if (p->role == CREW__CHILD && !p->server)
                r = crew__pidfd_collect(p->pidfd, &ending);
        if (r == 0) {
                if (p->setup)
                        crew__setup_settle(p->setup);
                return 0;
        }
        if (r < 0) {
                /* Not ours to collect: then only the pidfd tells whether it lives. It is no pidfd
                 * (-EBADF) if the host closed descriptors that it does not own; better "ended" than
                 * a wait for ever. */
                if (r != -EBADF && crew__readable(p->pidfd, 0) == -EAGAIN)
                        return 0;
                if (p->role == CREW__CHILD)
                        reconstruct(p, &ending);
        }
        p->ending = ending;
        if (p->setup)
                vacate(p);
        if (p->role == CREW__CHILD && p->began && crew__traces())
                trace_life(p);
        if (p->setup)
                crew__setup_settle(p->setup);
        atomic_store(&p->state, CREW__ENDED);
        return 1;
}

int crew__process_poll_ended(crew_process *p)
{
        int state = atomic_load(&p->state), r;

        if (state == CREW__ENDED)
                return 1;
        if (state < CREW__STARTED)
                return -ESRCH;
        if (p->role == CREW__SELF)
                return 0;
        (void)pthread_mutex_lock(&p->lock);
        r = collect(p);
        (void)pthread_mutex_unlock(&p->lock);
        return r;
}

int crew__process_poll_ended_try(crew_process *p)
{
        int state = atomic_load(&p->state), r;

        if (state != CREW__STARTED)
                return state == CREW__ENDED;
        if (pthread_mutex_trylock(&p->lock) != 0)
                return crew__readable(p->pidfd, 0) != -EAGAIN;
        r = collect(p);
        (void)pthread_mutex_unlock(&p->lock);
        return r;
}

int crew__process_await(crew_process *p, int64_t deadline)
{
        int r;

        for (;;) {
                if (deadline != 0 && atomic_load(&p->state) != CREW__ENDED) {
                        r = crew__process_watch(p, deadline);
                        if (r < 0 && r != -ETIMEDOUT)
                                return r;
                }
                if (crew__process_poll_ended(p) > 0)
                        return 0;
                if (deadline <= crew_clock())
                        return deadline == 0
                                       ? crew__fail_quick(EAGAIN, "the process still runs")
                                       : crew__fail(ETIMEDOUT,
                                                 "process %s (pid %d): still running when the "
                                                 "timeout passed",
                                                 p->name, (int)p->pid);
        }
}

int crew__process_enter_joinable(crew_process *p)
{
        int r = crew__process_enter(p);

        if (r < 0)
                return r;
        if (p->role == CREW__SELF)
                return crew__fail(ECHILD, "process %s: a process cannot join itself", p->name);
        if (atomic_load(&p->state) < CREW__STARTED)
                return crew__fail(ESRCH, "process %s: not started yet", p->name);
        return 0;
}

int crew_process_join(crew_process *p, int64_t timeout)
{
        int64_t began = crew__trace_clock();
        int r = crew__process_enter_joinable(p);

        if (r < 0)
                return r;
        r = crew__process_await(p, crew__deadline(timeout));
        if (began)
                crew__trace_span(0, "wait", began, crew_clock(), "join %s", p->name);
        return r;
}

int crew_join_all(crew_process *const ps[], size_t n, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        int first = 0, r;

        if (n && !ps)
                return crew__fail(EINVAL, "join_all: %zu processes but no array", n);
        for (size_t i = 0; i < n; i++) {
                r = crew__process_enter_joinable(ps[i]);
                if (r == 0)
                        r = crew__process_await(ps[i], deadline);
                if (r < 0 && first == 0) {
                        /* The answer is known; what has ended already is still joined. */
                        first = r;
                        deadline = 0;
                }
        }
        return first;
}

int crew_process_is_alive(crew_process *p)
{
        int r = crew__process_enter(p);

        if (r < 0)
                return r;
        return crew__process_poll_ended(p) == 0;
}

/* 0 once it has ended and the status is known. */
static int enter_ended(crew_process *p)
{
        int r = crew__process_enter(p);

        if (r < 0)
                return r;
        r = crew__process_poll_ended(p);
        if (r == 0)
                return crew__fail_quick(EBUSY, "the process still runs");
        if (r < 0)
                return crew__fail(ESRCH, "process %s: not started yet", p->name);
        if (p->role == CREW__PARENT)
                return crew__fail_quick(
                        ENODATA, "the exit status of the parent goes to its own parent");
        if (!p->ending.known)
                return crew__fail(ENODATA,
                        "process %s (pid %d): ended, but somebody else in this program collected "
                        "its exit status (waitpid(-1), or SIGCHLD is ignored)",
                        p->name, (int)p->pid);
        return 0;
}

static int code_of(const crew_process *p)
{
        return p->ending.signal ? -p->ending.signal : p->ending.code;
}

int crew_process_exitcode(crew_process *p, int *code)
{
        int r = enter_ended(p);

        if (r < 0)
                return r;
        *code = code_of(p);
        return 0;
}

static int64_t nanoseconds(struct timeval t)
{
        return (int64_t)t.tv_sec * 1000000000 + (int64_t)t.tv_usec * 1000;
}

/* Why it did not come to its program or target, if it said so; positive. */
static int never_ran(const crew_process *p)
{
        int err = p->setup ? crew__setup_error(p->setup) : 0;

        if (!err && p->server)
                err = atomic_load(&crew__child_page_of(p->page)->arrival_error);
        return err > 0 && err < 4096 ? err : 0;
}

int crew_process_exit(crew_process *p, crew_exit *e)
{
        const struct rusage *usage;
        crew__violation violation;
        crew_exit answer;
        uint64_t count;
        int r;

        r = crew__process_enter(p);
        if (r < 0)
                return r;
        if (!e || e->size < sizeof e->size)
                return crew__fail(EINVAL, "crew_process_exit: set e->size to sizeof(crew_exit)");
        r = enter_ended(p);
        if (r < 0)
                return r;
        usage = &p->ending.usage;
        answer = (crew_exit){
                .size = e->size,
                .code = code_of(p),
                .signal = p->ending.signal,
                .core = p->ending.core,
                .usage = p->ending.counted,
                .exec_errno = never_ran(p),
                .violated = crew__process_violated(p, &violation, &count),
                .out_of_memory =
                        p->setup && p->setup->confine.starved && p->ending.signal == SIGKILL,
        };
        if (p->ending.counted) {
                answer.user_time = nanoseconds(usage->ru_utime);
                answer.system_time = nanoseconds(usage->ru_stime);
                answer.max_rss = (uint64_t)usage->ru_maxrss * 1024;
        }
        memcpy(e, &answer, e->size < sizeof answer ? e->size : sizeof answer);
        return 0;
}
