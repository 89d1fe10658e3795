/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_RUN_CONFIG_H
#define CREW_TOOLS_CREW_RUN_CONFIG_H

/* Options that a user has once and for all. */

#include "cli.h"

/*
 * Splits text into words as a shell does, but expands nothing: blanks and newlines between, '...',
 * "...", backslashes, # to the end of the line. Returns how many, in an array that lives on (so do
 * the words), its first word being "crew run"; -1: a quote is not closed.
 */
int run_config_words(const char *text, char ***words);

/*
 * Takes the options of $XDG_CONFIG_HOME/crew/run (or ~/.config/crew/run), then those of
 * CREW_RUN_OPTIONS. CLI_RUN, or what cli_parse() says.
 */
int run_config(const struct cli_command *command);

#endif
