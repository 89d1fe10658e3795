/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_EXPLAIN_NEEDS_H
#define CREW_TOOLS_EXPLAIN_NEEDS_H

/* What a followed command did that a profile would refuse. */

#include "profile.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* The calls to follow, by name; NULL ends them. */
extern const char *const needs_calls[];

struct need {
        char *option; /* "--rw /srv/mp3", "--net"; "" where no option helps */
        char *what;   /* "wrote /srv/mp3/a.mp3" */
};

struct needs {
        struct need *list;
        size_t n;
        unsigned long calls, unseen; /* that were looked at, and of these not seen */
        int error;                   /* why, of the first */
        bool missed;                 /* private */
};

/* A call that is about to be made by that thread. Reads its memory. */
void needs_look(
        struct needs *needs, const struct profile *p, pid_t pid, int nr, const uint64_t args[6]);

/* What was found; if calls were unseen, that is not all. */
void needs_print(const struct needs *needs, const struct profile *p, FILE *out);
void needs_free(struct needs *needs);

#endif
