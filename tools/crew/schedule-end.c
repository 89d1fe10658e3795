/* SPDX-License-Identifier: MIT */
#include "cli.h"
#include "quote.h"
#include "schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        MOST_DOUBLINGS = 10,
        MOST_READS = 1024,
        MOST_TOLD = 4096,
        MOST_NOT_STARTED = 10,
        CHATTY = 32768
};

/*
 * What it left in its pipes. Whoever else holds their other ends (something it left behind) has
 * nothing to say any more, and must not keep us.
 */
static void drain(struct run *run, struct job *j)
{
        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                int r = 1;

                if (j->pipes[i] < 0)
                        continue;
                if (j->watched[i])
                        (void)crew_waiter_cancel(run->waiter, schedule_tag(j, TAG_OUT + i));
                j->watched[i] = false;
                for (int n = 0; r == 1 && n < MOST_READS; n++)
                        r = output_read(run->maker.output, j->printed, i, j->pipes[i]);
                if (r < 0 && r != -EAGAIN)
                        schedule_trouble(run, "cannot keep the output of job %llu: %s",
                                (unsigned long long)j->seq, crew_error_text(r));
        }
}

static void leave_slot(struct run *run, struct job *j)
{
        run->slots[j->slot - 1] = NULL;
        run->n_busy--;
        if (run->crowded)
                run->next_start = 0;
        run->ends++;
        crew__link_leave(&j->link);
}

/* The program that all jobs would run is not there, or cannot be run: so it will be for all. */
static bool command_is_at_fault(const struct run *run, const struct job *j)
{
        return j->not_started && template_program_fixed(run->maker.command);
}

static bool try_again(struct run *run, struct job *j, const struct ending *e)
{
        unsigned doublings = j->attempts - 1;

        if (job_succeeded(e) || j->interrupted || run->stopping ||
                j->attempts >= (uint64_t)run->o->retries || command_is_at_fault(run, j))
                return false;
        if (j->printed)
                output_again(run->maker.output, j->printed);
        if (doublings > MOST_DOUBLINGS)
                doublings = MOST_DOUBLINGS;
        j->deadline = crew_clock() + (run->o->retry_delay << doublings);
        crew__link_append(&run->retrying, &j->link);
        return true;
}

static void count(struct run *run, const struct job *j, const struct ending *e)
{
        if (j->interrupted)
                return;
        if (job_succeeded(e)) {
                run->tally.succeeded++;
                return;
        }
        run->tally.failed++;
        run->tally.last_failed = job_status(e);
        run->outcomes[e->code < 0      ? OUTCOME_TIMEOUT
                      : e->signal != 0 ? OUTCOME_SIGNAL + e->signal
                                       : e->code]++;
        if (command_is_at_fault(run, j) && !run->not_runnable)
                run->not_runnable = job_status(e);
}

static void trace(struct run *run, const struct job *j, const struct ending *e)
{
        if (run->trace)
                trace_add(run->trace, j->slot,
                        j->interrupted ? "interrupted"
                        : j->timed_out ? "timeout"
                                       : "job",
                        e);
}

/* Hands over what it printed; the log gets its line when that is passed on. */
static void finish(struct run *run, struct job *j, const struct ending *e)
{
        struct receipt *line = NULL;

        if (run->log && !j->interrupted)
                line = log_receipt(run->log, e);
        if (line)
                line->pending++;
        if (j->printed)
                output_end(run->maker.output, j->printed, line);
        j->printed = NULL;
        receipt_drop(line);
        if (run->log && log_error(run->log))
                schedule_trouble(
                        run, "cannot write the log: %s", crew_error_text(log_error(run->log)));
}

/*
 * Told once of each kind, and only of jobs that failed: many programs try what they can do without.
 * The log has all of it.
 */
static void tell_refusal(struct run *run, const struct job *j)
{
        if (!j->refused)
                return;
        run->refusals++;
        for (size_t i = 0; i < run->refused.n; i += strlen(run->refused.at + i) + 1) {
                if (strcmp(run->refused.at + i, j->refused) == 0)
                        return;
        }
        if (run->refused.n > MOST_TOLD)
                return;
        bytes_add(&run->refused, j->refused, strlen(j->refused) + 1);
        progress_clear(&run->progress);
        cli_complain("job %llu: %s", (unsigned long long)j->seq, j->refused);
}

/* Its program could not be run, of which nobody else tells. */
static void tell_not_started(struct run *run, const struct job *j)
{
        struct template_values v = { j->values.at, j->values.n, j->seq, j->slot };
        struct bytes name = { 0 };
        char **argv;
        bool line;

        if (!j->not_started || run->untold++ >= MOST_NOT_STARTED)
                return;
        argv = template_argv(run->maker.command, &v);
        quote_visible(&name, argv[0] ? argv[0] : "", argv[0] ? strlen(argv[0]) : 0);
        progress_clear(&run->progress);
        line = j->not_started == -ENOENT && argv[0] && strchr(argv[0], ' ');
        cli_complain("job %llu: cannot run '%s': %s%s", (unsigned long long)j->seq,
                bytes_ended(&name), strerror(-j->not_started),
                line ? "; a line for the shell needs --shell" : "");
        bytes_free(&name);
        free(argv);
}

void schedule_end(struct run *run, struct job *j)
{
        struct ending e;

        if (j->process)
                drain(run, j);
        if (j->reports >= 0)
                (void)crew_waiter_cancel(run->waiter, schedule_tag(j, TAG_REPORT));
        j->reports = -1;
        job_ended(j, &e);
        run->chatty = e.printed >= CHATTY;
        leave_slot(run, j);
        trace(run, j, &e);
        if (try_again(run, j, &e))
                return;
        count(run, j, &e);
        tell_not_started(run, j);
        if (!job_succeeded(&e))
                tell_refusal(run, j);
        finish(run, j, &e);
        job_free(j);
        if (run->not_runnable)
                schedule_stop(run, STOP_STARTING);
        if (!run->halted && halt_reached(&run->o->halt, &run->tally)) {
                run->halted = true;
                schedule_stop(run, run->o->halt.when == HALT_NOW ? STOP_JOBS : STOP_STARTING);
        }
}
