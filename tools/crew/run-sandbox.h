/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_RUN_SANDBOX_H
#define CREW_TOOLS_CREW_RUN_SANDBOX_H

/* What jobs may do: --sandbox and what goes with it. */

#include "profile.h"

#include <crew/process.h>

struct run_sandbox {
        struct profile profile;
        int on_violation; /* CREW_VIOLATION_... */
        crew_limits limits;
        bool limited;
        bool explain;
        const char **ro, **rw; /* what the profile points to */
        char *allow;
};

/* "mem=1G,cpu=60s,files=256,fsize=1G,procs=100". 0 or -EINVAL. */
int run_sandbox_limits(const char *text, crew_limits *limits);

void run_sandbox_free(struct run_sandbox *s);

/* Arguments of options; 0 or CLI_USAGE. The target is a struct run_sandbox. */
int run_sandbox_take_name(const char *value, void *target);
int run_sandbox_take_ro(const char *value, void *target);
int run_sandbox_take_rw(const char *value, void *target);
int run_sandbox_take_allow(const char *value, void *target);
int run_sandbox_take_limit(const char *value, void *target);
int run_sandbox_take_violation(const char *value, void *target);

#endif
