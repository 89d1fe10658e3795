/* SPDX-License-Identifier: MIT */
#ifndef CREW_BASE_NEAREST_H
#define CREW_BASE_NEAREST_H

/* "Did you mean": the command compiles this file too, so it stays free of everything else. */

#include <stddef.h>

/*
 * The candidate that a mistyped word most likely meant, or NULL if none is near: about one slip
 * per three letters, a swap of neighbours counting as one.
 */
const char *crew__nearest(const char *word, const char *const *candidates, size_t n);

#endif
