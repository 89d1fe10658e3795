/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_COMMANDS_H
#define CREW_TOOLS_CREW_COMMANDS_H

/* The subcommands; argv[0] is the subcommand's name. Each returns the exit status. */
int crew_features_main(int argc, char **argv);
int crew_run_main(int argc, char **argv);
int crew_ps_main(int argc, char **argv);
int crew_top_main(int argc, char **argv); /* only where ncursesw is: CREW_TOP */

/* What looks at others gives up everything but reading. */
void crew_ps_confine(void);

#endif
