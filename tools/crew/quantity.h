/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_QUANTITY_H
#define CREW_TOOLS_CREW_QUANTITY_H

/* Durations, sizes and numbers of slots as people type them. All return 0 or -EINVAL. */

#include <stdint.h>

enum { QUANTITY_UNLIMITED = UINT32_MAX };

/* "10", "2.5", "500ms", "2m", "1.5h", "1d12h": to nanoseconds; seconds where there is no unit. */
int quantity_duration(const char *text, int64_t *ns);

/* "4096", "64k", "1.5G", "2MiB": to bytes; a unit is always a power of 1024. */
int quantity_size(const char *text, uint64_t *bytes);

/*
 * "3", "50%", "+2", "-1": to how many of `cpus`; at least 1. "0" is QUANTITY_UNLIMITED. A share is
 * rounded down.
 */
int quantity_slots(const char *text, unsigned cpus, uint32_t *slots);

/* "3" or "150%" of `whole`, as a fraction. */
int quantity_share(const char *text, double whole, double *value);

#endif
