/* SPDX-License-Identifier: MIT */
#include "cli.h"
#include "schedule.h"
#include "signals.h"

#include <signal.h>
#include <unistd.h>

/* Ctrl-C: once to end the jobs, again to kill them. */
static void interrupt(struct run *run)
{
        run->ended_by = SIGINT;
        if (run->stopping >= STOP_JOBS) {
                schedule_stop(run, STOP_KILL);
                return;
        }
        schedule_stop(run, STOP_JOBS);
        if (run->n_busy && isatty(STDERR_FILENO)) {
                progress_clear(&run->progress);
                cli_complain("ending %u job%s; once more kills %s", run->n_busy,
                        run->n_busy == 1 ? "" : "s", run->n_busy == 1 ? "it" : "them");
        }
}

static void signal_all(struct run *run, int number)
{
        CREW__EACH (at, &run->running)
                job_signal(CREW__OF(at, struct job, link), number);
}

/* Ctrl-Z. The jobs are in sessions of their own, where the terminal does not reach them. */
static void pause_all(struct run *run)
{
        if (run->paused)
                return;
        run->paused = crew_clock();
        signal_all(run, SIGSTOP);
        progress_clear(&run->progress);
        engine_stop(run->engine);
}

/* The time that passed meanwhile was nobody's. */
static void go_on(struct run *run)
{
        int64_t lost = run->paused ? crew_clock() - run->paused : 0;

        if (!run->paused)
                return;
        run->paused = 0;
        signal_all(run, SIGCONT);
        CREW__EACH (at, &run->running) {
                struct job *j = CREW__OF(at, struct job, link);

                if (j->deadline != INT64_MAX)
                        j->deadline += lost;
        }
        run->progress.began += lost;
}

static void change_slots(struct run *run, int by)
{
        if (by > 0 && run->n_slots < UINT32_MAX)
                run->n_slots++;
        else if (by < 0 && run->n_slots > 1)
                run->n_slots--;
}

void schedule_signals(struct run *run)
{
        int number;

        while ((number = engine_signal(run->engine)) > 0) {
                if (signals_ignored(run->ignored, number))
                        continue;
                switch (number) {
                case SIGINT:
                        interrupt(run);
                        break;
                case SIGTERM:
                        run->ended_by = SIGTERM;
                        schedule_stop(run, run->stopping < STOP_JOBS ? STOP_JOBS : STOP_KILL);
                        break;
                case SIGHUP:
                        if (!run->ended_by)
                                run->ended_by = SIGHUP;
                        schedule_stop(run, STOP_STARTING);
                        break;
                case SIGQUIT:
                        run->ended_by = SIGQUIT;
                        schedule_stop(run, STOP_KILL);
                        break;
                case SIGTSTP:
                        pause_all(run);
                        break;
                case SIGCONT:
                        go_on(run);
                        break;
                case SIGUSR1:
                        change_slots(run, 1);
                        break;
                case SIGUSR2:
                        change_slots(run, -1);
                        break;
                }
        }
}
