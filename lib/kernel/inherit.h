/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_INHERIT_H
#define CREW_KERNEL_INHERIT_H

/*
 * Giving up what a fork brought along: descriptors and shared memory. Raw system calls and stack
 * only, so also for the child of a process that had threads.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Closes every descriptor but those in `keep` (ascending) and `extra` (-1: none). `close_range`:
 * the kernel has that call. 0 or a negative errno.
 */
int crew__close_others(const int *keep, size_t n_keep, int extra, bool close_range);

typedef struct crew__range {
        uintptr_t from, to;
} crew__range;

enum crew__shared {
        CREW__SHARED_ALL,
        CREW__SHARED_MEMORY, /* what can be written, is no file or is a ring of the kernel's: the C
                                library maps files of its own for reading */
};

/* Unmaps shared mappings but those inside one of the ranges. Does nothing without /proc. */
void crew__drop_shared(enum crew__shared which, const crew__range *keep, size_t n_keep);

#endif
