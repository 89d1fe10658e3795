/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_DRY_RUN_H
#define CREW_TOOLS_CREW_DRY_RUN_H

#include "input.h"
#include "template.h"

/* Prints what would be run, a line for each job, and runs nothing. Returns the exit status. */
int dry_run(struct input *in, const struct template *t);

#endif
