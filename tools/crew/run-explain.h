/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_RUN_EXPLAIN_H
#define CREW_TOOLS_CREW_RUN_EXPLAIN_H

#include "run.h"
#include "template.h"

/*
 * --explain: runs the first job, without its sandbox, and prints on stderr what that would have
 * refused, with the options that allow it. Returns the job's exit status.
 */
int run_explain(const struct run_options *o, struct input *in, const struct template *t);

#endif
