/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_INVENTORY_H
#define CREW_TESTS_INVENTORY_H

/* What a process holds that could leak, and what its descendants are doing. */

#include "check.h"

#include <stddef.h>
#include <sys/types.h>

struct inventory {
        char **entry[TEST_RESOURCES];
        size_t count[TEST_RESOURCES];
};

/*
 * Lists the calling process's descriptors, children (zombies too), threads and shared mappings.
 * Private mappings are left out: malloc and lazily loaded libraries grow them. @into is overwritten
 * and belongs to the caller until inventory_free().
 */
void inventory_take(struct inventory *into);
void inventory_free(struct inventory *of);

/*
 * Compares two inventories. Returns how many resources exceed what the case allowed; @report says
 * whether each is also written to the case's report as a failure.
 */
int inventory_compare(const struct inventory *before, const struct inventory *after, bool report);

/* Whether threads are listed: ThreadSanitizer starts one of its own with the first of the case's.
 */
bool inventory_has_threads(void);

/* The direct children of a process, at most @size of them; returns how many there are. */
size_t inventory_children(pid_t of, pid_t *children, size_t size);

/* Notes in the report, for each thread of each descendant of @root, where it is and why it waits.
 */
void inventory_dump(pid_t root);

#endif
