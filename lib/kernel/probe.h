/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_PROBE_H
#define CREW_KERNEL_PROBE_H

/*
 * Trying the kernel's features by use. It allocates nothing (but for cgroup_memory, which reads
 * files), takes no lock, leaves nothing behind and may be done by any thread. Answers are kept by
 * features.c.
 */

#include "kernel/features.h"

/* The features that are tried in one go with that one, itself among them; a bit for each. */
unsigned crew__probe_group(enum crew__feature feature);

/* Tries those of a group that are `wanted`: 0 = works, else the negative errno of what went wrong.
 */
void crew__probe(unsigned wanted, int answer[CREW__FEATURES]);

#endif
