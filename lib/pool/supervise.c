/* SPDX-License-Identifier: MIT */

/*
 * Workers end, by themselves or because the pool says so, and what that means for their tasks.
 * By the driver, under the pool's lock.
 *
 *              TIME                          DIED      END
 *   EMPTY      -                             -         GONE
 *   ASKED      too late?                     -         GONE
 *   STARTING   turn, deadline, cancelled     verdict   close the lane
 *   RUNNING    turn, deadline, cancelled     verdict   close the lane
 *   ENDING     kill, give up                 verdict   -
 *   DEAD       how it ended, verdict         -         -
 *   GONE       -                             -         -
 */

#include "base/cleanup.h"
#include "base/fail.h"
#include "base/trace.h"
#include "kernel/syscall.h"
#include "pool/pool.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Between SIGTERM and SIGKILL where the caller says nothing. */
#define GRACE CREW_MS(50)
/* For a worker that is up to take a task: one that is stopped never will. */
#define TORPOR CREW_S(1)
/* For a worker that has nothing to do any more and still does not end. */
#define FAREWELL CREW_S(1)
/* After SIGKILL: memory takes time to go, uninterruptible sleep may last for ever. */
#define LAST_RITES CREW_S(1)
/* Between the two looks at a zygote that does not answer. */
#define RECONSIDER CREW_MS(500)

static void send(crew__worker *w, int sig)
{
        (void)crew__sys_pidfd_send_signal(w->pidfd, sig);
}

void crew__notify(crew_pool *p, int kind, const crew__worker *w, const crew__failure *failure)
{
        crew__notice *notice;

        if (crew__traces() || crew__debugs())
                crew__chronicle_event(p, kind, w, failure);
        if (!p->on_event)
                return;
        notice = calloc(1, sizeof *notice);
        if (!notice)
                return;
        crew__link_init(&notice->link);
        notice->event = (crew_pool_event){
                .size = sizeof notice->event,
                .kind = kind,
                .worker = w ? w->row : 0,
                .pid = w ? w->pid : 0,
        };
        if (failure)
                notice->failure = malloc(sizeof *failure);
        if (notice->failure) {
                *notice->failure = *failure;
                notice->failure->said.message = notice->failure->text;
                notice->failure->said.syscall_name = notice->failure->call;
                notice->event.failure = &notice->failure->said;
        }
        crew__link_append(&p->notices, &notice->link);
}

void crew__pool_break(crew_pool *p, const char *format, ...)
{
        crew__failure words = { .said = { .size = sizeof words.said, .reason = CREW_BROKEN } };
        va_list args;

        if (p->broken)
                return;
        va_start(args, format);
        (void)vsnprintf(p->why, sizeof p->why, format, args);
        va_end(args);
        p->broken = p->closed = p->terminated = p->look_again = true;
        p->grace = 0;
        (void)snprintf(words.text, sizeof words.text, "%s", p->why);
        crew__job_abort_all(p, CREW_BROKEN, p->why);
        crew__notify(p, CREW_EVENT_BROKEN, NULL, &words);
}

void crew__count_death(crew_pool *p, int64_t now)
{
        int64_t *oldest;

        if (p->restarts == UINT_MAX)
                return;
        if (p->restarts == 0)
                return;
        oldest = &p->deaths[p->n_deaths % p->restarts];
        if (p->n_deaths >= p->restarts && now - *oldest < p->restart_window)
                crew__pool_break(p, "more than %u workers ended unexpectedly within %lld ms%s%s",
                        p->restarts, (long long)(p->restart_window / 1000000),
                        p->last_words[0] ? "; the last: " : "", p->last_words);
        *oldest = now;
        p->n_deaths++;
}

static void begin_end(crew__worker *w, int why, int64_t grace, int64_t now)
{
        w->state = CREW__ENDING;
        w->why = why;
        w->kill_at = grace > CREW__NEVER - now ? CREW__NEVER : now + grace;
        w->give_up_at = CREW__NEVER;
        if (grace > 0) {
                send(w, SIGTERM);
        } else {
                send(w, SIGKILL);
                w->kill_at = CREW__NEVER;
                w->give_up_at = now + LAST_RITES;
        }
        w->due = crew__earlier(w->kill_at, w->give_up_at);
}

/* Is it past that item of the unit that is its oldest? */
static bool is_past(const crew__worker *w, uint64_t item, uint64_t current)
{
        const crew__unit *unit = crew__unit_at(w, w->popped);

        return item < unit->id || (current > item && current <= unit->id + unit->n);
}

void crew__worker_end(
        crew_pool *p, crew__worker *w, uint64_t item, int why, int64_t grace, int64_t now)
{
        uint64_t victim = w->popped, current;

        /* From here on it begins nothing more, or is seen to have begun it. */
        crew__lane_hold(w->lane, true);
        /* Before the results: what it has left is then among them, or to be salvaged. */
        current = crew__lane_current(w->lane);
        (void)crew__worker_drain(p, w, now);
        if (!w->lied && (w->popped != victim || (item && is_past(w, item, current)))) {
                crew__lane_hold(w->lane, false);
                crew__worker_turn(p, w, now);
                return;
        }
        /* One that is not at it has nothing to be told. */
        begin_end(w, why, crew__worker_began(w) ? grace : 0, now);
}

/* Its oldest unit has a deadline and was not begun: initializers take their time. Deadlines count
 * from the start; but a worker that does not take what is there for so long gives it back. */
static void not_begun(crew__worker *w, int64_t deadline, int64_t now)
{
        w->since = now;
        w->late_at = now + crew__earlier(deadline, CREW_MS(5));
        if (w->state != CREW__RUNNING || now - w->drained - TORPOR < deadline)
                return;
        crew__lane_hold(w->lane, true);
        if (crew__worker_began(w))
                crew__lane_hold(w->lane, false);
        else
                begin_end(w, 0, 0, now);
}

/* Its oldest unit has a deadline: is it still at the same item? */
static void look_at_deadline(crew_pool *p, crew__worker *w, int64_t now)
{
        const crew__unit *unit = crew__unit_at(w, w->popped);
        uint64_t current = crew__lane_current(w->lane);

        if (!crew__worker_began(w)) {
                not_begun(w, unit->job->deadline, now);
                return;
        }
        /* Forwards only: so it comes to an end whatever the worker writes there. */
        if (current > w->watched && current < unit->id + unit->n) {
                w->watched = current;
                w->since = now;
        }
        if (now - w->since >= unit->job->deadline)
                crew__worker_end(p, w, w->watched, CREW_DEADLINE, GRACE, now);
        else
                w->late_at = crew__worker_watch(w, now);
}

static void live_time(crew_pool *p, crew__worker *w, int64_t now)
{
        const crew_result *job;

        /* That the driver looks now is all that was wanted: see crew__feed_idle. */
        if (w->stuck_at <= now)
                w->stuck_at = CREW__NEVER;
        if (w->lied) {
                begin_end(w, CREW_DIED, 0, now);
                return;
        }
        if (p->terminated) {
                crew__lane_hold(w->lane, true);
                begin_end(w, CREW_CANCELLED, p->grace, now);
                return;
        }
        if (!w->items) {
                if (w->closed && w->kill_at == CREW__NEVER)
                        w->kill_at = now + FAREWELL;
                if (w->kill_at <= now)
                        begin_end(w, 0, 0, now);
                else
                        w->due = w->kill_at;
                return;
        }
        job = crew__unit_at(w, w->popped)->job;
        if (job->finished) {
                crew__lane_cancel(w->lane, crew__unit_at(w, w->popped)->id);
                /* It will skip it: to start again would keep slow initializers from ever ending. */
                if (w->state == CREW__STARTING && !crew__worker_began(w))
                        w->due = now + CREW_MS(5);
                else
                        crew__worker_end(p, w, 0, CREW_CANCELLED, job->grace, now);
                return;
        }
        if (w->late_at <= now)
                look_at_deadline(p, w, now);
        if (crew__worker_alive(w))
                crew__worker_due(p, w);
}

static void ending_time(crew__worker *w, int64_t now)
{
        if (w->kill_at <= now) {
                send(w, SIGKILL);
                w->kill_at = CREW__NEVER;
                w->give_up_at = now + LAST_RITES;
        }
        w->due = crew__earlier(w->kill_at, w->give_up_at);
}

static bool any_alive(const crew_pool *p)
{
        for (unsigned i = 0; i < p->n_workers; i++) {
                if (crew__worker_alive(&p->workers[i]))
                        return true;
        }
        return false;
}

/*
 * The zygote has not answered for long: it is stopped, or so large that its forks take longer.
 * While there are other workers it is asked again; without any the tasks would wait for ever. Two
 * looks, as the answer may be there when everything was stopped and goes on.
 */
static void asked_time(crew_pool *p, crew__worker *w, int64_t now)
{
        int64_t due = p->heard + CREW__ZYGOTE_PATIENCE;

        if (now < due || !w->overdue) {
                w->overdue = now >= due;
                w->due = w->overdue ? now + RECONSIDER : due;
                return;
        }
        crew__worker_unask(p, w);
        (void)crew__fail(
                ETIMEDOUT, "its zygote (pid %d) does not answer", (int)crew__zygote_pid(p->zygote));
        crew__spawn_failed(p, w->row, now);
        if (!any_alive(p))
                crew__pool_break(p,
                        "its zygote (pid %d), which makes the workers, does not answer: it is "
                        "stopped",
                        (int)crew__zygote_pid(p->zygote));
}

static void live_end(crew_pool *p, crew__worker *w, int64_t now)
{
        if (w->closed)
                return;
        w->closed = true;
        /* Nobody waits for its end but its pidfd. */
        crew__unwatch_pulse(p, w);
        crew__lane_close(w->lane);
        w->kill_at = now + FAREWELL;
        w->due = w->kill_at;
}

void crew__supervise(crew_pool *p, crew__worker *w, enum crew__worker_event event, int64_t now)
{
        switch (w->state) {
        case CREW__EMPTY:
                if (event == CREW__EVENT_END)
                        w->state = CREW__GONE;
                return;
        case CREW__ASKED:
                if (event == CREW__EVENT_TIME && !p->terminated)
                        asked_time(p, w, now);
                if (event == CREW__EVENT_END) {
                        /* What is at the gate ends with the zygote. */
                        crew__worker_unask(p, w);
                        w->state = CREW__GONE;
                }
                return;
        case CREW__STARTING:
        case CREW__RUNNING:
                if (event == CREW__EVENT_TIME)
                        live_time(p, w, now);
                else if (event == CREW__EVENT_END)
                        live_end(p, w, now);
                else
                        crew__worker_died(p, w, now);
                return;
        case CREW__ENDING:
                if (event == CREW__EVENT_DIED || w->give_up_at <= now)
                        crew__worker_died(p, w, now);
                else if (event == CREW__EVENT_TIME)
                        ending_time(w, now);
                return;
        case CREW__DEAD:
                if (event == CREW__EVENT_TIME)
                        crew__worker_inquest(p, w, now);
                return;
        default:
                return;
        }
}
