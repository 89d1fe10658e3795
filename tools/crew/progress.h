/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_PROGRESS_H
#define CREW_TOOLS_CREW_PROGRESS_H

/* A line on a terminal's stderr that tells how far the run is. */

#include "halt.h"

#include <stddef.h>
#include <stdint.h>

struct progress {
        int fd; /* -1: there is nobody to tell */
        bool bar, eta;
        bool drawn;
        int64_t began, due;
};

void progress_begin(struct progress *p, bool bar, bool eta);

/* Writes the text of the line for a terminal so wide; `left` ns that it will take, < 0 = unknown. */
int progress_text(char *text, size_t size, unsigned width, bool bar, const struct tally *t,
        unsigned running, int64_t left);

/* Draws the line if it is time to, or was cleared. */
void progress_draw(struct progress *p, const struct tally *t, unsigned running, int64_t now);

/* Before anything else is printed to the terminal, and at the end. */
void progress_clear(struct progress *p);

#endif
