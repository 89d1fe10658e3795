/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_JOB_H
#define CREW_TOOLS_CREW_JOB_H

/* One job: its command, its process, its end. */

#include "base/list.h"
#include "environment.h"
#include "log.h"
#include "output.h"
#include "template.h"

#include <crew/crew.h>

struct job {
        crew__link link;
        uint64_t seq;
        struct input_values values;
        char *command; /* visible, for logs; NULL if nobody asks */
        unsigned slot, attempts;

        crew_process *process; /* while it runs */
        struct printed *printed;
        int pipes[OUTPUT_STREAMS]; /* -1: closed, or there is none */
        bool watched[OUTPUT_STREAMS];
        int64_t read_at; /* from when on they are; INT64_MAX: it was before */
        int reports;     /* descriptor of what its sandbox refused, or -1 */

        int64_t began; /* crew_clock() */
        int64_t began_wall;
        int64_t deadline; /* of what is next: TERM, KILL, another attempt */
        bool timed_out, interrupted, termed, killed;
        char *refused;   /* what its sandbox refused first, in words, or NULL */
        int not_started; /* why its program could not be run, negative; 0: it ran */
};

/* What all jobs of a run share. */
struct job_maker {
        const struct run_options *o;
        const struct template *command, *tag;
        struct environment environment;
        struct output *output;
        bool wants_command;
        int terminal;               /* for --tty, or -1 */
        const crew_sandbox *policy; /* or NULL */
        crew_starter **starters;    /* one a slot, made when it is needed first; NULL: not yet */
        unsigned n_starters;
        bool no_more_starters; /* none could be made: jobs enter their sandbox themselves */
};

/* Frees what the making of jobs has gathered. */
void job_maker_free(struct job_maker *m);

struct job *job_new(const struct job_maker *m, uint64_t seq, struct input_values *values);
void job_free(struct job *j);

/*
 * Starts an attempt in the slot. 0: it runs, or not_started says why it never will;
 * -EAGAIN: there is no room for another process or descriptor now; other errors with words in
 * `why`.
 */
int job_start(struct job_maker *m, struct job *j, unsigned slot, char why[256]);

/* Signals all processes of its group. */
void job_signal(struct job *j, int signal);

/* Ends it and all it started. */
void job_kill(struct job *j);

/* Lets go of the process, which has ended, and tells how. */
void job_ended(struct job *j, struct ending *e);

/* Whether that was a success. */
bool job_succeeded(const struct ending *e);

/* The exit status that stands for it: its own, 128 + the signal, or 255 for a deadline. */
int job_status(const struct ending *e);

#endif
