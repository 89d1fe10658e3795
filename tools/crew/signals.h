/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_SIGNALS_H
#define CREW_TOOLS_CREW_SIGNALS_H

/*
 * What the engine leaves to be seen to. A signal that was ignored when the run began (nohup, a
 * shell's background) stays so: the engine tells of it, and nobody heeds it.
 */

#include <stdbool.h>
#include <stdint.h>

/* Ignores SIGPIPE, and returns the set of what was ignored already: bit n for signal n. */
uint64_t signals_begin(void);

static inline bool signals_ignored(uint64_t ignored, int signal)
{
        return ignored >> signal & 1;
}

/* Ends this process by the signal, as if it had never been held back. */
void signals_die(int signal);

#endif
