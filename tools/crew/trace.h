/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_TRACE_H
#define CREW_TOOLS_CREW_TRACE_H

/* A timeline in the Chrome trace format: one lane per slot, one bar per attempt of a job. */

#include "log.h"

struct trace;

int trace_open(struct trace **t, const char *path, char why[256]);

/* An attempt that has ended: `e` tells when and how; `what` "job", "interrupted", "timeout". */
void trace_add(struct trace *t, unsigned slot, const char *what, const struct ending *e);

/* Closes it. 0, or a negative errno if not all of it could be written. */
int trace_close(struct trace *t);

#endif
