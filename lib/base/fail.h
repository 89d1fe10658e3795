/* SPDX-License-Identifier: MIT */
#ifndef CREW_BASE_FAIL_H
#define CREW_BASE_FAIL_H

/*
 * Failing with words. A failure is a negative errno plus a sentence for crew_error_detail(): what
 * was wrong, which object, what to do. Inside the library negative means "forward unchanged".
 */

#include <crew/error.h>
#include <errno.h>

/* Stores the formatted sentence and returns -err. `err` is positive. */
int crew__fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The same for a literal, cheap enough for answers such as "empty" on a polling path. */
int crew__fail_quick(int err, const char *literal);

/*
 * Refuses an options struct that a newer caller filled with what this library does not know: the
 * caller's size must cover the first field, and what lies beyond `known` must be zero. Copies the
 * rest over `into` (known bytes, zeroed first). NULL options mean all defaults.
 */
int crew__options(void *into, size_t known, const void *options, const char *what);

#endif
