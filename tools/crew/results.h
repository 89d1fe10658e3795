/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_RESULTS_H
#define CREW_TOOLS_CREW_RESULTS_H

/* Files for what jobs print: with names below --results, and without in TMPDIR. */

#include "input.h"

/*
 * Makes DIR/1/VALUE/2/VALUE.../ with the files stdout, stderr and seq, as GNU parallel does, and
 * opens the first two for writing. In names, / becomes +z, + becomes ++, a leading . is +., an
 * empty one +e; longer ones than a name may be are cut and end with a hash. 0, or a negative errno
 * with words in `why`.
 */
int results_open(const char *directory, uint64_t seq, const struct input_values *values,
        int files[2], char why[256]);

/* Adds a value as a name. */
struct bytes;
void results_name(struct bytes *into, const char *value);

/* An empty file that nobody else can open and that nobody must remove, or a negative errno. */
int results_nameless(void);

/* FNV-1a. */
uint64_t results_hash(const char *text, size_t n);

#endif
