/* SPDX-License-Identifier: MIT */

/* How an empty row gets its worker: the zygote is asked, and answers some time later. */

#include "base/cleanup.h"
#include "base/fail.h"
#include "pool/pool.h"

#include <stdio.h>

/* How long a failed start of a worker is not repeated. */
#define SPAWN_PAUSE CREW_MS(20)

static void reset(crew__worker *w)
{
        w->pushed = w->popped = w->items = w->given = 0;
        w->why = 0;
        w->closed = w->lied = false;
        w->pace = 0;
        w->refused = 0;
        w->traced = 0;
        w->pulse = 0;
        w->marked = false;
        w->due = w->late_at = w->stuck_at = w->kill_at = w->give_up_at = CREW__NEVER;
}

int crew__worker_ask(crew_pool *p, crew__worker *w)
{
        crew__lane *lane = NULL;
        int r = crew__lane_new(&lane, p->lane_bytes);

        if (r == 0)
                r = crew__zygote_ask(p->zygote, w->row, lane);
        if (r < 0) {
                (void)crew__lane_free(lane);
                return r;
        }
        crew__pool_lock(p);
        reset(w);
        w->lane = lane;
        w->state = CREW__ASKED;
        w->overdue = false;
        p->asked++;
        p->heard = crew_clock();
        w->due = p->heard + CREW__ZYGOTE_PATIENCE;
        crew__pool_unlock(p);
        return 0;
}

void crew__worker_unask(crew_pool *p, crew__worker *w)
{
        crew__zygote_withdraw(p->zygote, w->row);
        w->lane = crew__lane_free(w->lane);
        w->state = CREW__EMPTY;
        w->due = CREW__NEVER;
        p->asked--;
}

/* It is at the gate: watched first, since one that is dead already is told of by its pidfd. */
static int let_through(crew_pool *p, crew__worker *w, const crew__birth *birth)
{
        int r = birth->result;

        crew__worker_forget(w);
        w->pidfd = birth->pidfd;
        w->pid = birth->pid;
        if (r == 0)
                r = crew__watch(p, w);
        if (r == 0)
                r = crew__zygote_release(p->zygote, w->row);
        if (r < 0) {
                w->pidfd = crew__close(w->pidfd);
                w->pid = 0;
        }
        return r;
}

int crew__worker_birth(crew_pool *p, unsigned *row)
{
        crew__birth birth;
        crew__worker *w;
        int r = crew__zygote_birth(p->zygote, &birth);

        if (r <= 0)
                return r;
        w = &p->workers[birth.row];
        *row = birth.row;
        r = let_through(p, w, &birth);
        crew__pool_lock(p);
        p->heard = crew_clock();
        if (r < 0) {
                crew__worker_unask(p, w);
                crew__pool_unlock(p);
                return r;
        }
        p->asked--;
        w->due = CREW__NEVER;
        w->state = CREW__STARTING;
        if (w->ever)
                p->replaced++;
        crew__notify(p, w->ever ? CREW_EVENT_REPLACED : CREW_EVENT_STARTED, w, NULL);
        w->ever = true;
        crew__publish(p);
        crew__feed(p);
        crew__pool_unlock(p);
        return 1;
}

void crew__spawn_failed(crew_pool *p, unsigned row, int64_t now)
{
        (void)snprintf(p->last_words, sizeof p->last_words, "worker %u cannot be made: %s", row,
                crew_error_detail());
        p->spawn_at = now + SPAWN_PAUSE;
        p->next_look = crew__earlier(p->next_look, p->spawn_at);
        crew__count_death(p, now);
}

/* The zygote is dead, or that row failed. */
static void failed(crew_pool *p, unsigned row, int r, int64_t now)
{
        crew__pool_lock(p);
        if (r == -EPIPE)
                p->zygote_dead = true;
        crew__spawn_failed(p, row, now);
        crew__pool_unlock(p);
}

/* Takes in those that were asked for. True if there is more to do at once. */
bool crew__take_births(crew_pool *p, int64_t now)
{
        unsigned row = 0;
        bool did = false;
        int r = 1;

        while (p->asked && !p->zygote_dead && r != 0 && r != -EPIPE) {
                r = crew__worker_birth(p, &row);
                if (r < 0)
                        failed(p, row, r, now);
                did |= r != 0;
        }
        return did;
}

unsigned crew__missing_worker(const crew_pool *p, unsigned from, int64_t now)
{
        if (p->terminated || p->zygote_dead || p->spawn_at > now)
                return p->n_workers;
        while (from < p->n_workers && p->workers[from].state != CREW__EMPTY)
                from++;
        return from;
}

/* Asks for what is missing. True if there is more to do at once. */
bool crew__make_workers(crew_pool *p, int64_t now)
{
        for (unsigned i = 0; p->asked < CREW__ASK_AT_ONCE; i++) {
                int r;

                crew__pool_lock(p);
                i = crew__missing_worker(p, i, now);
                crew__pool_unlock(p);
                if (i == p->n_workers)
                        return false;
                r = crew__worker_ask(p, &p->workers[i]);
                if (r == -EAGAIN && p->asked)
                        return false;
                if (r < 0) {
                        failed(p, i, r, now);
                        return true;
                }
        }
        return false;
}
