/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_ENVIRONMENT_H
#define CREW_TOOLS_CREW_ENVIRONMENT_H

/*
 * What jobs find in their environment: that of the run, or with --clean-env only the usual part of
 * it, then --env, then the job's number and slot as CREW_SEQ, CREW_SLOT and, for scripts written
 * for GNU parallel, PARALLEL_SEQ, PARALLEL_JOBSLOT.
 */

#include "run.h"

enum { ENVIRONMENT_OWN = 4, ENVIRONMENT_LONGEST = 48 };

struct environment {
        const char **list;
        size_t n; /* before the own ones */
        char own[ENVIRONMENT_OWN][ENVIRONMENT_LONGEST];
};

void environment_make(struct environment *e, const struct run_options *o, char *const *from);
void environment_free(struct environment *e);

/* The list for a job; valid until the next call. */
const char *const *environment_of(struct environment *e, uint64_t seq, unsigned slot);

#endif
