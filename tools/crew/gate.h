/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_GATE_H
#define CREW_TOOLS_CREW_GATE_H

/* What the machine has to say about another start. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From the text of /proc/stat: processes that run or wait for a disk, without the one that asks. */
bool gate_load(const char *stat, double *load);

/* From the text of /proc/meminfo: bytes that new programs could have. */
bool gate_memory(const char *meminfo, uint64_t *bytes);

/* Whether less than `load` (< 0: any) processes run and at least `memory` (0: any) is free. */
bool gate_open(double load, uint64_t memory);

#endif
