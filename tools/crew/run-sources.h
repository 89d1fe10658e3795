/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_RUN_SOURCES_H
#define CREW_TOOLS_CREW_RUN_SOURCES_H

/* The operands of `crew run`: a command, then ::: :::+ :::: ::::+ and what they introduce. */

#include "run.h"

/* Adds a file as a source. */
void run_source_file(struct input_options *o, const char *name);

void run_sources_free(struct input_options *o);

/*
 * Splits operands into the command and the sources; without any source, stdin is one. CLI_RUN or
 * CLI_USAGE.
 */
int run_sources(struct run_options *o, char **operands, size_t n);

#endif
