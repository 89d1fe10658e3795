/* SPDX-License-Identifier: MIT */

/*
 * A worker is dead: what of the tasks in its lane? Results that are in it count. The oldest item
 * without one died with it if it was begun; what is behind that runs elsewhere, as if it had never
 * been handed out. By the driver, under the pool's lock.
 */

#include "base/cleanup.h"
#include "base/fail.h"
#include "pool/pool.h"
#include "sandbox/report.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* For the zygote to note how it ended. */
#define INQUEST CREW_MS(200)
/* If it was the mark that told: that is kept from nobody for its memory to go. */
#define MARKED_INQUEST CREW_MS(50)

static bool violated(const crew_pool *p, const crew__ending *ending)
{
        return p->sandboxed && ending->known && ending->signal == SIGSYS;
}

static bool starved(const crew_pool *p, const crew__worker *w, const crew__ending *ending)
{
        return (!ending->known || ending->signal == SIGKILL) &&
               crew__zygote_starved(p->zygote, w->row);
}

/* What it was about, for the unit it was in (or none). */
static crew__failure *accuse(crew_pool *p, crew__worker *w, const crew__unit *unit,
        const crew__ending *ending, int reason)
{
        crew__failure *f = crew__failure_new(unit->job, unit->item, unit, w, reason);
        crew__violation v;
        char how[96];

        if (!f)
                return NULL;
        crew__ending_words(ending, how, sizeof how);
        if (reason == CREW_DIED || reason == CREW_MEMORY)
                f->said.exitcode = ending->signal ? -ending->signal : ending->code;
        if (reason == CREW_VIOLATED) {
                crew__report_read(
                        crew__zygote_report(p->zygote, w->row), w->pid, &p->plan.scope, &v);
                f->said.syscall = v.nr;
                (void)snprintf(f->call, sizeof f->call, "%s", v.name);
                crew__failure_say(f, "worker %u (pid %d) was ended by the sandbox: %s", w->row,
                        (int)w->pid, v.text);
        } else if (w->lied) {
                crew__failure_say(
                        f, "worker %u (pid %d) was ended, because %s", w->row, (int)w->pid, w->lie);
        } else if (reason == CREW_DEADLINE) {
                crew__failure_say(f,
                        "worker %u (pid %d) was ended, because the task ran longer than "
                        "its deadline of %lld.%03lld ms",
                        w->row, (int)w->pid, (long long)(unit->job->deadline / 1000000),
                        (long long)(unit->job->deadline / 1000 % 1000));
        } else if (reason == CREW_MEMORY) {
                crew__failure_say(f,
                        "worker %u (pid %d) was ended, because it went past its memory limit of "
                        "%llu bytes",
                        w->row, (int)w->pid, (unsigned long long)crew__zygote_memory(p->zygote));
        } else {
                crew__failure_say(f, "worker %u (pid %d) %s", w->row, (int)w->pid, how);
        }
        return f;
}

static bool runs_again(const crew_pool *p, const crew__unit *unit, int reason)
{
        return (reason == CREW_DIED || reason == CREW_MEMORY) && p->on_death == CREW_DEATH_RETRY &&
               unit->attempt <= unit->job->retries;
}

/* The unit it was in. */
static void blame(crew_pool *p, crew__worker *w, crew__unit *unit, const crew__ending *ending)
{
        int reason = w->why                  ? w->why
                     : violated(p, ending)   ? CREW_VIOLATED
                     : starved(p, w, ending) ? CREW_MEMORY
                                             : CREW_DIED;
        char words[CREW__FAILURE_TEXT];
        crew__failure *f;

        if (unit->job->finished)
                return;
        f = accuse(p, w, unit, ending, reason);
        if (reason == CREW_VIOLATED) {
                p->violations++;
                crew__publish_violation(p, f ? f->text : "unknown");
                crew__notify(p, CREW_EVENT_VIOLATED, w, f);
        }
        if (runs_again(p, unit, reason)) {
                unit->attempt++;
                crew__requeue(p, unit);
                free(f);
                return;
        }
        (void)snprintf(words, sizeof words, "%s", f ? f->text : crew__reason_words(reason));
        crew__item_failed(unit->job, unit->item, reason, f);
        if ((reason == CREW_DIED || reason == CREW_MEMORY) && p->on_death == CREW_DEATH_FAIL_POOL)
                crew__pool_break(p, "a worker died, which ends this pool: %s", words);
}

static void settle_units(crew_pool *p, crew__worker *w, const crew__ending *ending)
{
        crew__unit unit, rest;
        bool began;

        crew__worker_salvage(w);
        if (!w->items)
                return;
        began = w->lied || crew__worker_began(w);
        /* From the back, as each goes to the front. */
        while (w->pushed - w->popped > 1) {
                unit = *crew__unit_at(w, --w->pushed);
                crew__requeue(p, &unit);
                crew__job_unref(unit.job);
        }
        unit = rest = *crew__unit_at(w, w->popped++);
        w->items = 0;
        rest.item += began;
        rest.n -= began;
        crew__requeue(p, &rest);
        if (began) {
                unit.n = 1;
                blame(p, w, &unit, ending);
        }
        crew__job_unref(unit.job);
}

/* It ended before it ran anything: why? */
static void remember_start(crew_pool *p, crew__worker *w, const crew__ending *ending)
{
        crew__worker_note note = { .stage = CREW__STAGE_GATE };
        crew__violation v;
        char how[96];

        crew__zygote_note(p->zygote, w->row, &note);
        if (starved(p, w, ending))
                (void)snprintf(how, sizeof how, "went past its memory limit");
        else
                crew__ending_words(ending, how, sizeof how);
        if (note.stage == CREW__STAGE_REFUSED && note.step >= CREW__STEP_NICE)
                (void)snprintf(p->last_words, sizeof p->last_words, "worker %u: %s: %s", w->row,
                        crew__step_name(note.step), crew_error_text(note.code));
        else if (note.stage == CREW__STAGE_REFUSED && note.step)
                (void)snprintf(p->last_words, sizeof p->last_words,
                        "worker %u could not enter its sandbox: %s: %s", w->row,
                        crew__step_name(note.step), crew_error_text(note.code));
        else if (note.stage == CREW__STAGE_REFUSED)
                (void)snprintf(p->last_words, sizeof p->last_words,
                        "the initializer of worker %u answered %s (%s)", w->row,
                        crew_error_name(note.code), crew_error_text(note.code));
        else if (violated(p, ending)) {
                crew__report_read(
                        crew__zygote_report(p->zygote, w->row), w->pid, &p->plan.scope, &v);
                (void)snprintf(
                        p->last_words, sizeof p->last_words, "worker %u: %s", w->row, v.text);
        } else
                (void)snprintf(p->last_words, sizeof p->last_words, "worker %u (pid %d) %s%s",
                        w->row, (int)w->pid, how,
                        note.stage == CREW__STAGE_INITIALIZER ? " in its initializer" : "");
}

/* Where its parent is gone it may be ours to collect, by now. Else that does nothing. */
void crew__worker_forget(crew__worker *w)
{
        crew__ending ending;

        if (w->pidfd >= 0)
                (void)crew__pidfd_collect(w->pidfd, &ending);
        w->pidfd = crew__close(w->pidfd);
}

/* `noted`: by the zygote, which has collected it. */
static void bury(
        crew_pool *p, crew__worker *w, const crew__ending *ending, bool noted, int64_t now)
{
        bool wished =
                w->state == CREW__DEAD && (w->why == CREW_DEADLINE || w->why == CREW_CANCELLED);
        bool retired = w->closed && ending->known && !ending->signal;

        while (crew__worker_drain(p, w, now))
                ;
        if (w->pushed == w->popped &&
                (retired || w->kill_at != CREW__NEVER || w->give_up_at != CREW__NEVER))
                wished = true;
        if (!wished && !p->terminated)
                remember_start(p, w, ending);
        settle_units(p, w, ending);
        crew__worker_refusals(p, w);
        crew__notify(p, CREW_EVENT_ENDED, w, NULL);
        crew__zygote_vacate(p->zygote, w->row);
        w->lane = crew__lane_free(w->lane);
        if (noted)
                w->pidfd = crew__close(w->pidfd);
        w->pid = 0;
        w->due = CREW__NEVER;
        w->state = CREW__EMPTY;
        if (!wished && !p->terminated)
                crew__count_death(p, now);
}

void crew__worker_refusals(crew_pool *p, crew__worker *w)
{
        crew__failure words = { .said = { .size = sizeof words.said, .reason = CREW_VIOLATED } };
        uint64_t refused;

        if (p->on_violation != CREW_VIOLATION_DENY || p->zygote_dead)
                return;
        /* The worker writes it: what it is worth is that it has changed. */
        refused = atomic_load_explicit(
                &crew__zygote_report(p->zygote, w->row)->refused, memory_order_relaxed);
        if (refused == w->refused)
                return;
        w->refused = refused;
        p->violations++;
        words.said.syscall = -1;
        (void)snprintf(words.text, sizeof words.text,
                "worker %u (pid %d): the sandbox answered %llu calls with EPERM so far", w->row,
                (int)w->pid, (unsigned long long)refused);
        crew__publish_violation(p, words.text);
        crew__notify(p, CREW_EVENT_VIOLATED, w, &words);
}

void crew__worker_died(crew_pool *p, crew__worker *w, int64_t now)
{
        crew__unwatch(p, w);
        w->state = CREW__DEAD;
        w->inquest = now + (w->marked ? MARKED_INQUEST : INQUEST);
        crew__worker_inquest(p, w, now);
}

void crew__worker_inquest(crew_pool *p, crew__worker *w, int64_t now)
{
        crew__ending ending = { .known = false };

        bool noted = crew__zygote_ending(p->zygote, w->row, &ending);

        /* After a terminate nobody asks how it ended, and the zygote may be stopped. */
        if (!noted && now < w->inquest && !p->zygote_dead && !p->terminated &&
                !(w->marked && crew__pulse_ending(w, &ending))) {
                w->due = now + CREW_MS(1) / 4;
                return;
        }
        if (!noted && p->zygote_dead)
                (void)crew__pidfd_collect(w->pidfd, &ending);
        /* The zygote is late: what it has not collected still says how it ended. */
        if (!noted && !ending.known && !p->terminated)
                (void)crew__pulse_ending(w, &ending);
        bury(p, w, &ending, noted, now);
}

void crew__collect_orphans(crew_pool *p)
{
        int64_t until = crew_clock() + CREW_MS(250);

        for (unsigned i = 0; i < p->n_workers; i++) {
                /* A large one takes its time; most are gone. */
                if (p->workers[i].pidfd >= 0)
                        (void)crew__readable(p->workers[i].pidfd, until);
                crew__worker_forget(&p->workers[i]);
        }
}
