/* SPDX-License-Identifier: MIT */
#include "cli.h"
#include "gate.h"
#include "quote.h"
#include "schedule.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { READ_AFTER_MS = 2, ASK_AGAIN_MS = 100, ASK_NEXT_MS = 10, MOST_ATTEMPTS = 50 };

/* More input, if some is there; else the wait tells when. */
static void fill(struct run *run)
{
        struct pollfd p = { .fd = input_fd(run->input), .events = POLLIN };
        uint64_t tag = schedule_other(OTHER_INPUT);
        char why[256];

        if (poll(&p, 1, 0) > 0) {
                if (run->input_waits)
                        (void)crew_waiter_cancel(run->waiter, tag);
                run->input_waits = false;
                if (input_fill(run->input, why) < 0)
                        schedule_trouble(run, "%s", why);
        } else if (!run->input_waits) {
                run->input_waits = true;
                if (crew_waiter_fd(run->waiter, p.fd, EPOLLIN, tag) < 0)
                        schedule_trouble(run, "cannot wait for input: %s", crew_error_detail());
        }
}

void schedule_input_ready(struct run *run)
{
        fill(run);
}

/* Whether the log says that this job need not run. */
static bool done_before(struct run *run, const struct job *j)
{
        if (!run->log || !(run->o->resume || run->o->resume_failed))
                return false;
        switch (log_find(run->log, j->seq, j->command)) {
        case LOG_SUCCEEDED:
                return true;
        case LOG_FAILED:
                return !run->o->resume_failed;
        case LOG_OTHER_COMMAND:
                if (!run->other_command)
                        cli_complain("the log has another command for job %llu; such jobs run "
                                     "again",
                                (unsigned long long)j->seq);
                run->other_command = true;
                break;
        case LOG_UNKNOWN:
                break;
        }
        return false;
}

/* Leaves it out; it counts as one that was. */
static void pass_over(struct run *run, struct job *j)
{
        output_skip(run->maker.output, j->seq);
        run->tally.succeeded++;
        job_free(j);
}

/* The next job of the input, in run->next. */
static void fetch(struct run *run)
{
        struct input_values values = { 0 };
        char why[256];

        while (!run->next && !run->input_ended && !run->stopping) {
                int r = input_next(run->input, &values, why);

                if (r == -EAGAIN) {
                        fill(run);
                        if (run->input_waits)
                                return;
                } else if (r < 0) {
                        schedule_trouble(run, "%s", why);
                } else if (r == 0) {
                        run->input_ended = true;
                } else {
                        struct job *j = job_new(&run->maker, ++run->seq, &values);

                        if (done_before(run, j))
                                pass_over(run, j);
                        else
                                run->next = j;
                }
        }
        if (run->tally.total == 0)
                run->tally.total = input_total(run->input);
}

/* The retry whose time has come, or NULL. */
static struct job *due(struct run *run, int64_t now)
{
        CREW__EACH (at, &run->retrying) {
                struct job *j = CREW__OF(at, struct job, link);

                if (j->deadline <= now) {
                        crew__link_leave(&j->link);
                        return j;
                }
        }
        return NULL;
}

static unsigned free_slot(struct run *run)
{
        for (uint32_t i = 0; i < run->cap_slots; i++) {
                if (!run->slots[i])
                        return i + 1;
        }
        run->slots = must_grow(run->slots, (run->cap_slots * 2 + 8) * sizeof *run->slots);
        memset(run->slots + run->cap_slots, 0, (run->cap_slots + 8) * sizeof *run->slots);
        run->cap_slots = run->cap_slots * 2 + 8;
        return free_slot(run);
}

static void tell(struct run *run, const struct job *j)
{
        struct sink *err = output_sink(run->maker.output, OUTPUT_ERR);

        if (!run->o->verbose)
                return;
        sink_put(err, j->command, strlen(j->command), NULL);
        sink_put(err, "\n", 1, NULL);
}

bool schedule_arm(struct run *run, struct job *j)
{
        int r = crew_waiter_join(run->waiter, j->process, schedule_tag(j, TAG_JOIN));

        /* Reports were asked for: somebody else listens to this process, or the kernel cannot. */
        run->blind |= run->maker.policy && j->reports < 0;
        /* The end of a short job is told by its join: hearing of the ends of its pipes, too, would
         * be two wakes more, in the middle of its exit. */
        j->read_at = run->chatty ? 0 : crew_clock() + CREW_MS(READ_AFTER_MS);
        j->watched[OUTPUT_OUT] = j->watched[OUTPUT_ERR] = false;
        if (j->reports >= 0 && r == 0)
                r = crew_waiter_fd(run->waiter, j->reports, EPOLLIN, schedule_tag(j, TAG_REPORT));
        return r == 0;
}

/* Puts it into a slot. False: there is no room, and it waits as run->next or a retry. */
static bool launch(struct run *run, struct job *j, int64_t now)
{
        unsigned slot = free_slot(run);
        char why[256];
        int r = job_start(&run->maker, j, slot, why);

        if (r == -EAGAIN && (run->n_busy > 0 || run->not_started++ < MOST_ATTEMPTS)) {
                /* The attempt itself may have taken long. */
                run->next_start = crew_clock() + CREW_MS(ASK_AGAIN_MS);
                run->crowded = true;
                return false;
        }
        if (r < 0) {
                schedule_trouble(run, "cannot start job %llu: %s", (unsigned long long)j->seq, why);
                return false;
        }
        run->not_started = 0;
        tell(run, j);
        run->slots[slot - 1] = j;
        run->n_busy++;
        j->deadline = run->o->timeout ? now + run->o->timeout : INT64_MAX;
        crew__link_append(&run->running, &j->link);
        run->next_start = run->o->delay ? now + run->o->delay : 0;
        if (!j->process)
                schedule_end(run, j);
        else if (!schedule_arm(run, j)) {
                schedule_trouble(run, "cannot wait for a job: %s", crew_error_detail());
                schedule_stop(run, STOP_KILL);
                schedule_join_killed(run);
        }
        return true;
}

/*
 * Whether more output waits than may. If nothing runs and nobody reads, it waits for a job before
 * it in order, which itself waits for another attempt: that must not wait, too.
 */
static bool full(const struct run *run)
{
        return output_full(run->maker.output) &&
               (run->n_busy > 0 || run->sinks_wait[OUTPUT_OUT] || run->sinks_wait[OUTPUT_ERR]);
}

/* Whether the machine and the readers of the output can bear another job. */
static bool bearable(struct run *run, int64_t now)
{
        const struct run_options *o = run->o;

        if (now >= run->next_start)
                run->next_start = 0;
        if (run->next_start || full(run))
                return false;
        run->crowded = false;
        if (o->load < 0 && o->memory_free == 0)
                return true;
        /* With nothing running, waiting for the others to end could be for ever. */
        if (run->n_busy > 0 && !gate_open(o->load, o->memory_free)) {
                run->next_start = now + CREW_MS(ASK_AGAIN_MS);
                return false;
        }
        return true;
}

bool schedule_start(struct run *run)
{
        bool any = false;

        while (run->n_busy < run->n_slots && !run->stopping) {
                int64_t now = crew_clock();
                struct job *j;

                if (!bearable(run, now))
                        break;
                j = due(run, now);
                if (!j) {
                        fetch(run);
                        j = run->next;
                        run->next = NULL;
                }
                if (!j)
                        break;
                if (!launch(run, j, now)) {
                        if (j->attempts)
                                crew__link_append(&run->retrying, &j->link);
                        else
                                run->next = j;
                        break;
                }
                /* What was just started shows only after a while. */
                if ((run->o->load >= 0 || run->o->memory_free) &&
                        run->next_start < now + CREW_MS(ASK_NEXT_MS))
                        run->next_start = now + CREW_MS(ASK_NEXT_MS);
                any = true;
        }
        return any;
}

int64_t schedule_next_start(const struct run *run)
{
        int64_t next = INT64_MAX;

        /* A job's end, or a reader, tells when there is room again. */
        if (run->stopping || run->n_busy >= run->n_slots || full(run))
                return next;
        /*
         * At once if nothing is in the way: since the last attempt the time may have come, or what
         * waited to be printed may be gone. Nothing else would tell of either.
         */
        if (run->next || (!run->input_ended && !run->input_waits))
                next = run->next_start;
        CREW__EACH (at, &run->retrying) {
                int64_t due_at = CREW__OF(at, struct job, link)->deadline;

                if (due_at < run->next_start)
                        due_at = run->next_start;
                if (due_at < next)
                        next = due_at;
        }
        return next;
}
