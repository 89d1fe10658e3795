/* SPDX-License-Identifier: MIT */

/* The driver: one round after the other, and sleeping in between. */

#include "base/cleanup.h"
#include "base/fail.h"
#include "event/operation.h"
#include "kernel/syscall.h"
#include "pool/pool.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Tags in the waiter: kind, and the row below it. */
#define TAG_LANE (UINT64_C(1) << 32)
#define TAG_WORKER (UINT64_C(2) << 32)
#define TAG_ZYGOTE (UINT64_C(3) << 32)
#define TAG_TIMER (UINT64_C(4) << 32)
#define TAG_BIRTHS (UINT64_C(5) << 32)
#define TAG_PULSE (UINT64_C(6) << 32)

/* Rounds that found something in a row, without a look at the descriptors. */
enum { STREAK = 64, AT_ONCE = 32 };

_Thread_local crew_pool *crew__driving;

static bool lane_try(crew__op *op, int64_t *result)
{
        *result = 0;
        return crew__lane_ready(op->spec.object);
}

static bool lane_ready(const crew__op *op)
{
        return crew__lane_ready(op->spec.object);
}

/* A worker that dies between a result and its notice is seen by its pidfd. */
static bool lane_sliced(const crew__op *op)
{
        (void)op;
        return false;
}

static const crew__op_class lane_class = {
        .kind = CREW_READABLE,
        .level = true,
        .try = lane_try,
        .ready = lane_ready,
        .sliced = lane_sliced,
};

int crew__watch(crew_pool *p, crew__worker *w)
{
        crew__op_spec spec = {
                .class = &lane_class,
                .object = w->lane,
                .tag = TAG_LANE | w->row,
                .source = CREW__SOURCE_EVENTS,
                .fd = crew__lane_eventfd(w->lane),
                .events = crew__lane_results(w->lane),
        };
        int r = crew__waiter_arm(p->waiter, &spec);

        if (r == 0)
                r = crew_waiter_fd(p->waiter, w->pidfd, EPOLLIN, TAG_WORKER | w->row);
        if (r == 0)
                r = crew__watch_pulse(p, w, TAG_PULSE | w->row);
        if (r < 0)
                crew__unwatch(p, w);
        return r;
}

void crew__unwatch(crew_pool *p, crew__worker *w)
{
        (void)crew_waiter_cancel(p->waiter, TAG_LANE | w->row);
        (void)crew_waiter_cancel(p->waiter, TAG_WORKER | w->row);
        crew__unwatch_pulse(p, w);
}

void crew__unwatch_pulse(crew_pool *p, crew__worker *w)
{
        (void)crew_waiter_cancel(p->waiter, TAG_PULSE | w->row);
}

int crew__watch_zygote(crew_pool *p)
{
        int r = crew_waiter_fd(p->waiter, crew__zygote_fd(p->zygote), EPOLLIN, TAG_ZYGOTE);

        if (r == 0)
                r = crew_waiter_fd(
                        p->waiter, crew__zygote_births_fd(p->zygote), EPOLLIN, TAG_BIRTHS);
        return r;
}

/* The jobs whose callbacks are due, and the events: without the lock. */
static bool call_back(crew_pool *p)
{
        crew__link called, notices;

        crew__link_init(&called);
        crew__link_init(&notices);
        crew__pool_lock(p);
        crew__link_move_all(&called, &p->called);
        crew__link_move_all(&notices, &p->notices);
        crew__pool_unlock(p);
        if (crew__link_alone(&called) && crew__link_alone(&notices))
                return false;
        CREW__EACH (at, &notices) {
                crew__notice *notice = CREW__OF(at, crew__notice, link);

                p->on_event(&notice->event, p->user);
                free(notice->failure);
                free(notice);
        }
        while (!crew__link_alone(&called)) {
                crew_result *job = CREW__OF(called.next, crew_result, link);

                crew__link_leave(&job->link);
                (void)atomic_fetch_or(&job->word, CREW__CALLED);
                job->call(job, job->user);
                crew__pool_lock(p);
                crew__job_publish(job);
                crew__pool_unlock(p);
        }
        (void)atomic_fetch_add(&p->rounds, 1);
        (void)crew__sys_futex_wake(&p->rounds, INT_MAX);
        return true;
}

static void zygote_died(crew_pool *p, int64_t now)
{
        if (!p->broken)
                crew__pool_break(p,
                        "its zygote (pid %d), which makes the workers, was ended by somebody",
                        (int)crew__zygote_pid(p->zygote));
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = &p->workers[i];

                /* They end with it; nobody will say how. */
                if (w->state == CREW__ASKED)
                        crew__worker_unask(p, w);
                if (crew__worker_alive(w) || w->state == CREW__ENDING)
                        (void)crew__sys_pidfd_send_signal(w->pidfd, SIGKILL);
                w->due = crew__earlier(w->due, now);
        }
}

static bool look_after(crew_pool *p, int64_t now)
{
        bool over, all, did = false;

        if (p->zygote_dead)
                zygote_died(p, now);
        over = p->terminated || (p->closed && p->unfinished == 0);
        all = p->terminated || p->look_again;
        p->look_again = false;
        p->next_look = p->spawn_at > now ? p->spawn_at : CREW__NEVER;
        crew__granted_look(p, now);
        if (p->n_queues)
                p->next_look = crew__earlier(p->next_look, p->queues_due);
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = &p->workers[i];

                if ((crew__worker_alive(w) || w->state == CREW__ENDING) &&
                        crew__worker_drain(p, w, now) > 0)
                        did = true;
                if (w->due <= now || w->lied || all)
                        crew__supervise(p, w, CREW__EVENT_TIME, now);
                if (over)
                        crew__supervise(p, w, CREW__EVENT_END, now);
        }
        crew__feed(p);
        did |= crew__feed_idle(p, now);
        for (unsigned i = 0; i < p->n_workers; i++) {
                const crew__worker *w = &p->workers[i];

                p->next_look = crew__earlier(p->next_look, w->due);
        }
        return did;
}

/* The last one is gone: the zygote goes too. */
static void end_if_over(crew_pool *p)
{
        crew__zygote *zygote = NULL;
        bool over;

        crew__pool_lock(p);
        over = p->closed && p->unfinished == 0 && crew__link_alone(&p->called) &&
               crew__link_alone(&p->notices);
        for (unsigned i = 0; i < p->n_workers; i++)
                over = over && p->workers[i].state == CREW__GONE;
        crew__pool_unlock(p);
        if (!over || crew__pool_finished(p))
                return;
        (void)crew_waiter_cancel(p->waiter, TAG_ZYGOTE);
        (void)crew_waiter_cancel(p->waiter, TAG_BIRTHS);
        (void)crew_waiter_cancel(p->waiter, TAG_TIMER);
        /* A grant may wait for its answer, with the lock. It has one then. */
        crew__zygote_dismiss(p->zygote);
        (void)pthread_mutex_lock(&p->zygote_lock);
        zygote = CREW__TAKE(p->zygote);
        (void)pthread_mutex_unlock(&p->zygote_lock);
        (void)crew__zygote_free(zygote);
        crew__collect_orphans(p);
        crew__granted_over(p);
        (void)atomic_fetch_or(&p->finished, CREW__READY);
        (void)crew__sys_futex_wake(&p->finished, INT_MAX);
}

static void hear(crew_pool *p, const crew_completion *c)
{
        uint64_t kind = c->tag & ~(uint64_t)UINT32_MAX;
        crew__worker *w;

        if (c->kind != CREW_FD)
                return;
        crew__pool_lock(p);
        if (kind == TAG_ZYGOTE) {
                p->zygote_dead = true;
                (void)crew_waiter_cancel(p->waiter, TAG_ZYGOTE);
                (void)crew_waiter_cancel(p->waiter, TAG_BIRTHS);
        } else if (kind == TAG_WORKER) {
                w = &p->workers[(uint32_t)c->tag];
                crew__supervise(p, w, CREW__EVENT_DIED, crew_clock());
        } else if (kind == TAG_PULSE) {
                crew__pulse_stops(p, &p->workers[(uint32_t)c->tag], crew_clock());
        }
        crew__pool_unlock(p);
}

/* Waits for something and hears what it is. How many; 0: nothing until then; -EINTR. */
static int listen_until(crew_pool *p, int64_t deadline)
{
        crew_completion c[AT_ONCE];
        int n;

        n = crew_waiter_wait(p->waiter, c, AT_ONCE, deadline ? crew_until(deadline) : CREW_NOW);
        for (int i = 0; i < n; i++)
                hear(p, &c[i]);
        return n > 0 || n == -EINTR ? n : 0;
}

bool crew__drive(crew_pool *p)
{
        int64_t now = crew_clock();
        bool did, missing;

        crew__pool_lock(p);
        did = look_after(p, now);
        missing = crew__missing_worker(p, 0, now) < p->n_workers;
        crew__publish(p);
        crew__pool_unlock(p);
        did |= call_back(p);
        did |= crew__take_births(p, now);
        if (missing)
                did |= crew__make_workers(p, now);
        end_if_over(p);
        return did;
}

static int64_t next_look(crew_pool *p)
{
        int64_t when;

        crew__pool_lock(p);
        when = p->look_again ? 0 : p->next_look;
        crew__pool_unlock(p);
        return when;
}

void *crew__pool_thread(void *pool)
{
        crew_pool *p = pool;
        unsigned streak = 0;

        crew__driving = p;
        while (!crew__pool_finished(p)) {
                bool did = crew__drive(p);

                if (did && ++streak < STREAK)
                        continue;
                streak = 0;
                if (!crew__pool_finished(p))
                        (void)listen_until(p, did ? 0 : next_look(p));
        }
        if (atomic_load(&p->orphan))
                crew__pool_destroy(p);
        return NULL;
}

/* Someone else's event loop has to hear of deadlines too. */
static void announce(crew_pool *p)
{
        int64_t when = next_look(p);

        if (!p->polled || when == p->timer)
                return;
        (void)crew_waiter_cancel(p->waiter, TAG_TIMER);
        if (when != CREW__NEVER)
                (void)crew_waiter_timer(p->waiter, crew_until(when), 0, TAG_TIMER);
        p->timer = when;
}

/* One turn of a driver without a thread: 1: something was done; 0; -EINTR. */
static int turn(crew_pool *p, int64_t deadline)
{
        int r = 0;

        crew__driving = p;
        if (crew__drive(p))
                r = 1;
        else if (!crew__pool_finished(p))
                r = listen_until(p, crew__earlier(deadline, next_look(p)));
        if (r >= 0 && crew__drive(p))
                r = 1;
        if (!crew__pool_finished(p))
                announce(p);
        crew__driving = NULL;
        return r;
}

/* A callback freed the pool: whoever drove it brings it to its end, and may not touch it again. */
static int finish_orphan(crew_pool *p)
{
        while (!crew__pool_finished(p))
                (void)turn(p, CREW__NEVER);
        crew__pool_destroy(p);
        return crew__fail_quick(ECANCELED, "a callback freed the pool");
}

/* Drives, or waits while another thread does. -ECANCELED: the pool is no more. */
static int help(crew_pool *p, int64_t deadline)
{
        uint32_t seen = atomic_load(&p->rounds);
        int r;

        if (pthread_mutex_trylock(&p->driver) == 0) {
                r = turn(p, deadline);
                (void)pthread_mutex_unlock(&p->driver);
                if (atomic_load(&p->orphan))
                        return finish_orphan(p);
                (void)atomic_fetch_add(&p->rounds, 1);
                (void)crew__sys_futex_wake(&p->rounds, INT_MAX);
                return r;
        }
        r = crew__sys_futex_wait(
                &p->rounds, seen, crew__earlier(deadline, crew_clock() + CREW__SLICE));
        return r == -EINTR ? r : 0;
}

static int not_now(crew_pool *p, int64_t deadline)
{
        if (crew__driving == p && deadline != 0)
                return crew__fail_quick(EDEADLK,
                        "a callback of the pool waits for the pool, which waits for the callback");
        if (deadline <= crew_clock())
                return deadline == 0 ? crew__fail_quick(EAGAIN, "it is not ready")
                                     : crew__fail_quick(ETIMEDOUT, "it was not ready in time");
        return 0;
}

/* Where nobody else drives, even those who do not wait give it a push. */
static int push_on(crew_pool *p, int64_t deadline)
{
        if (!p->threaded && deadline == 0 && crew__driving != p && help(p, 0) == -ECANCELED)
                return -ECANCELED;
        return 0;
}

/* Sleeps while the word is `seen`, or drives where nobody else does. 0: look again. */
static int await_once(crew_pool *p, _Atomic uint32_t *word, uint32_t seen, int64_t deadline)
{
        int r = not_now(p, deadline);

        if (r < 0)
                return r;
        if (!p->threaded)
                r = help(p, deadline);
        else
                r = crew__sys_futex_wait(word, seen, deadline);
        if (r == -EINTR)
                return crew__fail_quick(EINTR, "a signal handler ran during the wait");
        return r == -ECANCELED ? r : 0;
}

int crew__pool_await(crew_pool *p, _Atomic uint32_t *word, uint32_t bits, int64_t deadline)
{
        uint32_t seen;
        int r;

        if (!(atomic_load(word) & bits) && push_on(p, deadline) < 0)
                return -ECANCELED;
        for (;;) {
                seen = atomic_load(word);
                /* In this order: what made it ready may have freed the pool since. */
                if (!(seen & bits) && p->threaded && deadline > 0)
                        seen = atomic_fetch_or(word, CREW__AWAITED) | CREW__AWAITED;
                if (seen & bits)
                        return 0;
                r = await_once(p, word, seen, deadline);
                if (r < 0)
                        return r;
        }
}

int crew__pool_await_change(crew_pool *p, _Atomic uint32_t *word, uint32_t seen, int64_t deadline)
{
        int r;

        if (atomic_load(word) == seen && push_on(p, deadline) < 0)
                return -ECANCELED;
        while (atomic_load(word) == seen) {
                r = await_once(p, word, seen, deadline);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int enter_threadless(crew_pool *p)
{
        int r = crew__pool_enter(p);

        if (r == 0 && p->threaded)
                r = crew__fail(EINVAL,
                        "pool %s: it has a thread that drives it; see CREW_POOL_NO_THREAD",
                        p->name);
        return r;
}

int crew_pool_fd(crew_pool *p)
{
        int r = enter_threadless(p), fd;

        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&p->driver);
        fd = crew_waiter_pollfd(p->waiter);
        if (fd >= 0 && !p->polled) {
                p->polled = true;
                p->timer = CREW__NEVER;
                announce(p);
        }
        (void)pthread_mutex_unlock(&p->driver);
        return fd;
}

int crew_pool_drive(crew_pool *p, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        int r = enter_threadless(p);

        while (r == 0) {
                r = crew__driving == p ? not_now(p, CREW__NEVER) : help(p, deadline);
                if (r == -ECANCELED)
                        return 0;
                if (r == 0 && crew__pool_finished(p))
                        return 0;
                if (r == 0)
                        r = not_now(p, deadline);
        }
        return r > 0 ? 0 : r;
}
