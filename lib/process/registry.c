/* SPDX-License-Identifier: MIT */
#include "process/registry.h"

#include "base/clock.h"
#include "kernel/syscall.h"
#include "process/forkserver.h"
#include "process/guardian.h"
#include "status/page.h"

/* How many children a start looks at: more than it adds, so that the dead do not pile up. */
enum { SWEEP = 4 };

/* How long the exit hook tries for a lock that an interrupted thread may hold. */
#define PATIENCE CREW_MS(100)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crew_process *first, *last;
static _Atomic size_t listed; /* how many, for a look without the lock */

/* What a forked child inherited; kept reachable, for leak checkers. */
static crew_process *inherited;

/* In a forked child. The list may be torn, the lock held by a thread that does not exist here. */
static void reset(void)
{
        lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        inherited = first;
        first = last = NULL;
        atomic_store(&listed, 0);
        crew__guardian_reset();
        crew__forkserver_reset();
        crew__current_reset();
        crew__hook_reset();
}

void crew__registry_prepare(void)
{
        crew__on_fork(reset);
        (void)crew__generation();
}

static void enter(void)
{
        crew__registry_prepare();
        (void)pthread_mutex_lock(&lock);
}

static void leave(void)
{
        (void)pthread_mutex_unlock(&lock);
}

static void append(crew_process *p)
{
        p->previous = last;
        p->next = NULL;
        if (last)
                last->next = p;
        else
                first = p;
        last = p;
        p->registered = true;
        (void)atomic_fetch_add(&listed, 1);
}

static void unlink_process(crew_process *p)
{
        if (p->previous)
                p->previous->next = p->next;
        else
                first = p->next;
        if (p->next)
                p->next->previous = p->previous;
        else
                last = p->previous;
        p->next = p->previous = NULL;
        p->registered = false;
        (void)atomic_fetch_sub(&listed, 1);
}

/* Takes a dead one out and puts it on a list of those to be released outside the lock. */
static void bury(crew_process *p, crew_process **dead)
{
        unlink_process(p);
        crew__status_drop(p->row);
        p->row = NULL;
        p->next = *dead;
        *dead = p;
}

static void release(crew_process *dead)
{
        while (dead) {
                crew_process *next = dead->next;

                dead->next = NULL;
                (void)crew__process_unref(dead);
                dead = next;
        }
}

void crew__registry_add(crew_process *p)
{
        crew_process *dead = NULL, *seen = NULL;

        enter();
        for (int i = 0; i < SWEEP && first && first != seen; i++) {
                crew_process *oldest = first;

                if (crew__process_poll_ended(oldest) > 0) {
                        bury(oldest, &dead);
                        continue;
                }
                unlink_process(oldest);
                append(oldest);
                seen = seen ? seen : oldest;
        }
        append(crew__process_ref(p));
        leave();
        release(dead);
}

void crew__registry_remove(crew_process *p)
{
        crew_process *dead = NULL;

        enter();
        if (p->registered)
                bury(p, &dead);
        leave();
        release(dead);
}

void crew__registry_orphan(crew_process *p)
{
        crew_process *dead = NULL;

        enter();
        p->orphan = true;
        if (p->registered && crew__process_poll_ended(p) > 0)
                bury(p, &dead);
        leave();
        release(dead);
}

int crew__registry_each(int (*visit)(crew_process *p, void *data), void *data)
{
        crew_process *dead = NULL;
        int r = 0;

        enter();
        for (crew_process *p = first, *next; p && r == 0; p = next) {
                int ended = crew__process_poll_ended(p);

                next = p->next;
                if (ended > 0)
                        bury(p, &dead);
                else if (ended == 0)
                        r = visit(p, data);
        }
        leave();
        release(dead);
        return r;
}

bool crew__registry_empty(void)
{
        return atomic_load(&listed) == 0;
}

static bool enter_bounded(void)
{
        int64_t until = crew_clock() + PATIENCE;
        struct timespec nap = crew__timespec(CREW_MS(1));

        crew__registry_prepare();
        while (pthread_mutex_trylock(&lock) != 0) {
                if (crew_clock() >= until)
                        return false;
                (void)nanosleep(&nap, NULL);
        }
        return true;
}

crew_process *crew__registry_running(uint64_t mask, uint64_t flags)
{
        crew_process *p;

        if (!enter_bounded())
                return NULL;
        /* The dead stay in the list: exit may have interrupted malloc. */
        for (p = first; p; p = p->next) {
                if ((p->flags & mask) == flags && atomic_load(&p->state) == CREW__STARTED &&
                        crew__process_poll_ended_try(p) == 0)
                        break;
        }
        if (p)
                (void)crew__process_ref(p);
        leave();
        return p;
}

void crew__registry_signal(uint64_t flags, int sig)
{
        if (!enter_bounded())
                return;
        for (crew_process *p = first; p; p = p->next) {
                if ((p->flags & flags) && atomic_load(&p->state) == CREW__STARTED)
                        (void)crew__sys_pidfd_send_signal(p->pidfd, sig);
        }
        leave();
}

struct active {
        crew_process **out;
        size_t max, listed;
        int running;
};

static int list_active(crew_process *p, void *data)
{
        struct active *a = data;

        if (p->flags & CREW_PROCESS_DETACHED)
                return 0;
        a->running++;
        if (!p->orphan && a->listed < a->max)
                a->out[a->listed++] = p;
        return 0;
}

int crew_active_children(crew_process *out[], size_t max)
{
        struct active a = { .out = out, .max = max };

        if (max && !out)
                return crew__fail(EINVAL, "active_children: room for %zu but no array", max);
        (void)crew__registry_each(list_active, &a);
        return a.running;
}
