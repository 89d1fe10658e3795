/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_SIGNALS_H
#define CREW_TOOLS_CREW_SIGNALS_H

/*
 * The signals that steer a run, read from a descriptor. What was ignored when the run began (nohup,
 * a shell's background) stays so. SIGPIPE is ignored and SIGCHLD is not, whatever they were.
 */

/* The descriptor, or a negative errno. From here on the signals do nothing by themselves. */
int signals_open(void);

/* The next signal, or -EAGAIN. */
int signals_next(int fd);

/* Ends this process by the signal, as if it had never been held back. */
void signals_die(int signal);

#endif
