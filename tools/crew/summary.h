/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_SUMMARY_H
#define CREW_TOOLS_CREW_SUMMARY_H

#include "schedule.h"

/* One line on stderr if jobs failed: how many, and how. */
void summary_tell(const struct run *run);

/* The exit status of the run. */
int summary_status(const struct run *run);

#endif
