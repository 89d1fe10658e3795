/* SPDX-License-Identifier: MIT */
#include "schedule.h"

#include "base/clock.h"
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MOST_COMPLETIONS = 64, ENDS_PER_COLLECTION = 256, JOIN_PATIENCE_MS = 1000 };

void schedule_trouble(struct run *run, const char *format, ...)
{
        char words[512];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(words, sizeof words, format, args);
        va_end(args);
        if (!run->trouble) {
                progress_clear(&run->progress);
                cli_complain("%s", words);
        }
        run->trouble = true;
        schedule_stop(run, STOP_STARTING);
}

void schedule_stop(struct run *run, enum stopping how)
{
        if (how <= run->stopping)
                return;
        run->stopping = how;
        if (how < STOP_JOBS)
                return;
        run->stop_deadline = how == STOP_JOBS ? crew_clock() + run->o->kill_after : INT64_MAX;
        CREW__EACH (at, &run->running) {
                struct job *j = CREW__OF(at, struct job, link);

                j->interrupted = true;
                if (how == STOP_KILL)
                        job_kill(j);
                else
                        job_signal(j, SIGTERM);
                if (run->paused)
                        job_signal(j, SIGCONT);
        }
}

/* A pipe has something, or its end. */
static void read_pipe(struct run *run, struct job *j, int which)
{
        int r = output_read(run->maker.output, j->printed, which, j->pipes[which]);

        if (r == 1 || r == -EAGAIN)
                return;
        (void)crew_waiter_cancel(run->waiter, schedule_tag(j, TAG_OUT + which));
        j->watched[which] = false;
        j->pipes[which] = -1;
        if (r < 0)
                schedule_trouble(run, "cannot keep the output of job %llu: %s",
                        (unsigned long long)j->seq, crew_error_text(r));
}

/* Nobody would tell of what there is to do: then it is better to end. */
static void cannot_wait(struct run *run, int error)
{
        schedule_trouble(run, "cannot wait for what jobs print: %s", crew_error_text(error));
        schedule_stop(run, STOP_KILL);
}

static void read_from(struct run *run, struct job *j, bool wanted)
{
        int r = 0;

        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                if (j->pipes[i] < 0 || j->watched[i] == wanted)
                        continue;
                if (wanted)
                        r = crew_waiter_fd(
                                run->waiter, j->pipes[i], EPOLLIN, schedule_tag(j, TAG_OUT + i));
                else
                        (void)crew_waiter_cancel(run->waiter, schedule_tag(j, TAG_OUT + i));
                j->watched[i] = wanted && r == 0;
                if (r < 0)
                        cannot_wait(run, r);
        }
}

/* Begins to read from jobs whose time has come; stops while they print faster than somebody reads.
 */
static void choose_pipes(struct run *run)
{
        bool full = output_lines_full(run->maker.output);
        int64_t now = crew_clock();

        CREW__EACH (at, &run->running) {
                struct job *j = CREW__OF(at, struct job, link);

                if (j->read_at <= now)
                        j->read_at = INT64_MAX;
                read_from(run, j, !full && j->read_at == INT64_MAX);
        }
}

/* Writes what can be written, and sees to being told when more can. */
static void flush(struct run *run)
{
        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                struct sink *s = output_sink(run->maker.output, i);
                uint64_t tag = schedule_other(OTHER_SINK_OUT + i);
                bool waits;

                if (!crew__link_alone(&s->items))
                        progress_clear(&run->progress);
                waits = sink_flush(s);
                if (waits && !run->sinks_wait[i]) {
                        int r = crew_waiter_fd(run->waiter, s->fd, EPOLLOUT, tag);

                        if (r < 0) {
                                cannot_wait(run, r);
                                s->gone = true;
                                s->error = -r;
                                waits = sink_flush(s);
                        }
                } else if (!waits && run->sinks_wait[i])
                        (void)crew_waiter_cancel(run->waiter, tag);
                run->sinks_wait[i] = waits;
                if (i == OUTPUT_OUT && s->error)
                        schedule_trouble(
                                run, "cannot write the output: %s", crew_error_text(s->error));
                if (i == OUTPUT_OUT && s->gone && !s->error && !run->ended_by && run->watched)
                        run->ended_by = SIGPIPE;
        }
        if (run->ended_by == SIGPIPE || output_sink(run->maker.output, OUTPUT_OUT)->error)
                schedule_stop(run, STOP_JOBS);
}

static void other(struct run *run, const crew_completion *c)
{
        switch (c->tag >> 3) {
        case OTHER_SIGNALS:
                schedule_signals(run);
                break;
        case OTHER_INPUT:
                schedule_input_ready(run);
                break;
        case OTHER_WATCH: /* nobody reads stdout any more */
                (void)crew_waiter_cancel(run->waiter, c->tag);
                output_sink(run->maker.output, OUTPUT_OUT)->gone = true;
                break;
        }
}

/* A call that its sandbox refuses waits for this. */
static void report(struct run *run, struct job *j, const crew_completion *c)
{
        (void)crew_process_report(j->process);
        /* EPOLLERR is said of a look that a signal interrupted, too. */
        if (c->revents & EPOLLHUP) {
                (void)crew_waiter_cancel(run->waiter, c->tag);
                j->reports = -1;
        }
}

/* Ends come last: a job is gone after its own, and with it what the others would be about. */
static void complete(struct run *run, const crew_completion *c, int n)
{
        for (int i = 0; i < n; i++) {
                struct job *j = (struct job *)(uintptr_t)(c[i].tag & ~(uint64_t)TAG_MASK);
                int kind = (int)(c[i].tag & TAG_MASK);

                if (kind == TAG_OTHER)
                        other(run, &c[i]);
                else if (kind == TAG_REPORT)
                        report(run, j, &c[i]);
                else if (kind != TAG_JOIN && j->pipes[kind - TAG_OUT] >= 0)
                        read_pipe(run, j, kind - TAG_OUT);
        }
        for (int i = 0; i < n; i++) {
                if ((c[i].tag & TAG_MASK) == TAG_JOIN && c[i].kind == CREW_JOINED)
                        schedule_end(run, (struct job *)(uintptr_t)c[i].tag);
        }
}

/* A job's time is over, once for SIGTERM and once for SIGKILL. */
static void expire(struct run *run, struct job *j, int64_t now)
{
        j->timed_out = true;
        if (j->termed) {
                job_kill(j);
                j->deadline = INT64_MAX;
        } else {
                job_signal(j, SIGTERM);
                j->termed = true;
                j->deadline = now + run->o->kill_after;
        }
}

static void deadlines(struct run *run, int64_t now)
{
        if (run->paused)
                return;
        CREW__EACH (at, &run->running) {
                struct job *j = CREW__OF(at, struct job, link);

                if (j->deadline <= now)
                        expire(run, j, now);
        }
        if (run->stopping == STOP_JOBS && run->stop_deadline <= now && run->ended_by != SIGINT)
                schedule_stop(run, STOP_KILL);
}

/* What there is to be done at a certain time, whatever happens. */
static int64_t next_deadline(const struct run *run)
{
        int64_t next = schedule_next_start(run);

        if (run->paused)
                return INT64_MAX;
        CREW__EACH (at, &run->running) {
                const struct job *j = CREW__OF(at, struct job, link);

                next = crew__earlier(next, crew__earlier(j->deadline, j->read_at));
        }
        if (run->stopping == STOP_JOBS && run->ended_by != SIGINT)
                next = crew__earlier(next, run->stop_deadline);
        if (run->progress.fd >= 0)
                next = crew__earlier(next, run->progress.due);
        return next;
}

static bool finished(const struct run *run)
{
        if (run->n_busy || run->sinks_wait[OUTPUT_OUT] || run->sinks_wait[OUTPUT_ERR])
                return false;
        return run->stopping ||
               (run->input_ended && !run->next && crew__link_alone(&run->retrying));
}

static int arm(struct run *run)
{
        const struct sink *out = output_sink(run->maker.output, OUTPUT_OUT);
        int r = crew_waiter_fd(
                run->waiter, run->engine->signals, EPOLLIN, schedule_other(OTHER_SIGNALS));

        if (r < 0)
                return r;
        /* Of a file there is no such news. Closed from the beginning, it has no reader to lose. */
        run->watched = !out->gone;
        if (run->watched)
                (void)crew_waiter_fd(run->waiter, out->fd, EPOLLERR, schedule_other(OTHER_WATCH));
        return 0;
}

/* Without the waiter, which fails: what was killed ends by itself. */
void schedule_join_killed(struct run *run)
{
        CREW__EACH (at, &run->running) {
                struct job *j = CREW__OF(at, struct job, link);

                if (crew_process_join(j->process, CREW_MS(JOIN_PATIENCE_MS)) != 0)
                        continue;
                (void)crew_waiter_cancel(run->waiter, schedule_tag(j, TAG_JOIN));
                schedule_end(run, j);
        }
}

static void wait_once(struct run *run)
{
        crew_completion c[MOST_COMPLETIONS];
        int64_t next = next_deadline(run);
        int n = crew_waiter_wait(run->waiter, c, MOST_COMPLETIONS, crew_until(next));

        if (n > 0)
                complete(run, c, n);
        else if (n != -EAGAIN && n != -ETIMEDOUT && n != -EINTR) {
                schedule_trouble(run, "cannot wait: %s", crew_error_detail());
                schedule_stop(run, STOP_KILL);
                schedule_join_killed(run);
        }
        deadlines(run, crew_clock());
}

static bool is_job(pid_t pid, void *data)
{
        struct run *run = data;

        CREW__EACH (at, &run->running) {
                if (crew_process_pid(CREW__OF(at, struct job, link)->process) == pid)
                        return true;
        }
        return false;
}

/* What jobs left behind and what then ended is ours to collect. */
static void collect_orphans(struct run *run)
{
        if (run->ends < ENDS_PER_COLLECTION)
                return;
        run->ends = 0;
        (void)engine_reap(run->engine, is_job, run);
}

void schedule(struct run *run)
{
        if (arm(run) < 0)
                schedule_trouble(run, "cannot wait: %s", crew_error_detail());
        for (;;) {
                if (!run->stopping && !run->paused)
                        (void)schedule_start(run);
                if (run->stopping && run->n_busy == 0)
                        output_give_up_order(run->maker.output);
                flush(run);
                choose_pipes(run);
                if (finished(run))
                        break;
                progress_draw(&run->progress, &run->tally, run->n_busy, crew_clock());
                wait_once(run);
                collect_orphans(run);
        }
        progress_clear(&run->progress);
}
