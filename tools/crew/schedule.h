/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_SCHEDULE_H
#define CREW_TOOLS_CREW_SCHEDULE_H

/*
 * The run itself: one wait for the ends of jobs, what they print, their deadlines, the input, the
 * signals and the readers of the output.
 */

#include "engine.h"
#include "job.h"
#include "progress.h"
#include "trace.h"

/* How a run is brought to its end, each more than the one before. */
enum stopping {
        STOP_NOT,
        STOP_STARTING, /* those that run may finish */
        STOP_JOBS,     /* they got SIGTERM */
        STOP_KILL,     /* and SIGKILL */
};

enum { OUTCOMES = 512, OUTCOME_SIGNAL = 256, OUTCOME_TIMEOUT = 400 };

struct run {
        const struct run_options *o;
        struct job_maker maker;
        struct input *input;
        struct log *log;     /* or NULL */
        struct trace *trace; /* or NULL */
        struct progress progress;
        crew_waiter *waiter;
        struct engine *engine;
        uint64_t ignored; /* signals, see signals.h */

        crew__link running, retrying;
        struct job *next; /* could not be started yet */
        struct job **slots;
        uint32_t n_slots; /* that may be used now */
        uint32_t n_busy, cap_slots;
        uint64_t seq;         /* of the last job made */
        int64_t next_start;   /* --delay, or when to ask the machine again */
        unsigned untold;      /* jobs whose program could not be run */
        unsigned not_started; /* attempts to start a job in a row, with no other running */
        bool crowded; /* that, as no process or descriptor was left: at once if a job ends */
        bool input_ended, input_waits, sinks_wait[OUTPUT_STREAMS], watched;

        enum stopping stopping;
        int64_t stop_deadline; /* when to kill what SIGTERM did not end */
        int64_t paused;        /* since when, or 0 */
        int ended_by;          /* signal, or 0 */
        bool trouble;          /* something other than a job failed; it was said */
        int not_runnable;      /* exit status if the command itself cannot be run, or 0 */
        bool halted, other_command;
        bool blind;           /* what sandboxes refuse cannot be seen */
        uint64_t refusals;    /* jobs whose sandbox refused something */
        struct bytes refused; /* the kinds that were told, each ended by a zero */
        unsigned ends;        /* since orphans were collected */
        bool chatty; /* the last one printed what would nearly have filled a pipe: none waits */

        struct tally tally;
        uint64_t outcomes[OUTCOMES]; /* how often jobs failed with that status */
};

/* Runs it all. What is left to do is to tell: in the tally, ended_by, trouble, not_runnable. */
void schedule(struct run *run);

/* Brings the run nearer to its end. */
void schedule_stop(struct run *run, enum stopping how);

/* For the parts of schedule(): */
void schedule_trouble(struct run *run, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void schedule_signals(struct run *run);             /* schedule-signals.c */
bool schedule_start(struct run *run);               /* schedule-start.c: all that may start now */
int64_t schedule_next_start(const struct run *run); /* past: at once; INT64_MAX: others tell */
void schedule_input_ready(struct run *run);
void schedule_end(struct run *run, struct job *j); /* schedule-end.c */
bool schedule_arm(struct run *run, struct job *j);
void schedule_join_killed(struct run *run);

enum { TAG_JOIN, TAG_OUT, TAG_ERR, TAG_OTHER, TAG_REPORT, TAG_MASK = 7 };
enum { OTHER_SIGNALS, OTHER_INPUT, OTHER_SINK_OUT, OTHER_SINK_ERR, OTHER_WATCH };

static inline uint64_t schedule_tag(const struct job *j, int kind)
{
        return (uint64_t)(uintptr_t)j | (uint64_t)kind;
}

static inline uint64_t schedule_other(int what)
{
        return (uint64_t)what << 3 | TAG_OTHER;
}

#endif
