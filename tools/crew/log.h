/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_LOG_H
#define CREW_TOOLS_CREW_LOG_H

/*
 * The log of a run: a line for each job, written once the job has been collected and its output
 * passed on, never for one that was interrupted. So whatever happens to the run, a job that is in
 * the log was done and its output is where it belongs; one that is not has to run (again).
 *
 * A job is known again by its number and its command: the same number of another list is another
 * job.
 */

#include "run.h"
#include "sink.h"

struct log;

/* How a job ended. */
struct ending {
        uint64_t seq;
        const char *command; /* visible, in one line */
        int64_t began;       /* of the last attempt, in ns since 1970 */
        int64_t took;        /* ns */
        uint64_t printed;    /* bytes */
        int code, signal;    /* code is -1 if a deadline ended it */
        unsigned attempts;
        bool usage; /* the next three are known */
        int64_t user_time, system_time;
        uint64_t max_rss;
        const char *violation; /* what its sandbox refused, or NULL */
};

enum log_known { LOG_UNKNOWN, LOG_SUCCEEDED, LOG_FAILED, LOG_OTHER_COMMAND };

/*
 * Opens it and makes it this run's; nothing in it changes yet. Who resumes waits for the run that
 * has it, however long, and says so; to be called where Ctrl-C still ends the process. Others wait
 * a moment, since what a killed run leaves behind ends one after the other. 0, or a negative errno
 * with words in `why`: -EBUSY another run writes to it.
 */
int log_open(struct log **l, const struct run_options *o, char why[256]);

/*
 * Empties it or, to resume, reads what is in it and removes a line that was cut short. 0, or a
 * negative errno with words in `why`.
 */
int log_begin(struct log *l, char why[256]);
void log_close(struct log *l);

/* What the log said about a job when it was opened. */
enum log_known log_find(const struct log *l, uint64_t seq, const char *command);

/* What writes the job's line once it is dropped for the last time. */
struct receipt *log_receipt(struct log *l, const struct ending *e);

/* The first error of writing, positive; 0: none. */
int log_error(const struct log *l);

#endif
