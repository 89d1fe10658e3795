/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_EXPLAIN_H
#define CREW_TOOLS_EXPLAIN_H

/*
 * What a command would need beyond a profile: it runs once WITHOUT its sandbox, while its path and
 * network calls, and those of all that it starts, are looked at by seccomp notification and let go
 * on. Only what it used in this one run is known afterwards.
 */

#include "profile.h"

#include <stdio.h>

/*
 * Runs the program with the host's stdin, stdout and stderr and writes to `out` what the profile
 * would have refused, a line for each with the option that allows it, and at last all the options.
 * `env` may be NULL. Returns the exit code of the program (128 + signal, 126, 127), or a negative
 * errno with words in `words`: -EOPNOTSUPP: this kernel cannot tell, or somebody listens already;
 * -EPERM, -EACCES, ...: it ran, but not all of what it did could be looked at.
 */
int explain_run(const struct profile *p, const char *const argv[], const char *const env[],
        FILE *out, char *words, size_t cap);

#endif
