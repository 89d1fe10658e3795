/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_HALT_H
#define CREW_TOOLS_CREW_HALT_H

/* When a run stops before its input does: --halt WHEN,WHY=HOW-MANY. */

#include <stdbool.h>
#include <stdint.h>

enum halt_when { HALT_NEVER, HALT_SOON, HALT_NOW };
enum halt_why { HALT_FAIL, HALT_SUCCESS, HALT_DONE };

struct halt {
        enum halt_when when;
        enum halt_why why;
        double limit;
        bool percent; /* of all jobs; then nothing is decided before their number is known */
};

struct tally {
        uint64_t succeeded, failed;
        uint64_t total;  /* of all jobs; 0 = not known yet */
        int last_failed; /* exit status of the job that failed last */
};

/* "never", "now,fail=1", "soon,done=30%", and GNU's 0, 1, 2, -1, -2. 0 or -EINVAL. */
int halt_parse(const char *text, struct halt *h);

bool halt_reached(const struct halt *h, const struct tally *t);

/* The exit status of a run that went by this rule, as docs/CREW-RUN.md lists them. */
int halt_status(const struct halt *h, const struct tally *t);

#endif
