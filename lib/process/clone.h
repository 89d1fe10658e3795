/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_CLONE_H
#define CREW_PROCESS_CLONE_H

/* Forks by clone3(): what they ask of the caller, and what they leave for the child to mend. */

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* What crew__clone_raw() answers where clone3() does not work; no errno. */
enum { CREW__USE_FORK = -4096 };

/* May the caller use it? Only if its one thread is the process. */
bool crew__alone(void);

/*
 * A child without an exit signal, in which the C library works. For a process with one thread and
 * signals blocked. `cgroup`: a directory of control groups (version 2) where it is born, or -1.
 * Returns its pid and *pidfd (close-on-exec); 0 in the child; a negative errno; CREW__USE_FORK,
 * also if it cannot be born there.
 */
int crew__clone_raw(int *pidfd, int cgroup);

/* Ends and collects a child that cannot be held. It has not come through its gate, so that this
 * takes no time. */
void crew__clone_abandon(pid_t pid);

/* Before a fork: whether the child has to drop its copy of what the stream holds. */
bool crew__flush(FILE *stream, bool alone);

#endif
