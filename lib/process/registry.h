/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_REGISTRY_H
#define CREW_PROCESS_REGISTRY_H

/*
 * The children of this process: all that were started and not yet seen dead, also those whose
 * handle was freed. A forked child starts with none.
 */

#include "process/process.h"

/* Arranges for forked children to start with nothing of this, and resets this one if it is one. */
void crew__registry_prepare(void);

/* Takes a reference to a process about to start; collects a few of the dead on the way. */
void crew__registry_add(crew_process *p);

/* Takes it back after a failed start, or early because it has ended. */
void crew__registry_remove(crew_process *p);

/* The handle was freed: nobody may get it from crew_active_children. Once it has ended it goes. */
void crew__registry_orphan(crew_process *p);

/* Calls `visit` for each running child under the registry's lock, until it returns non-zero. */
int crew__registry_each(int (*visit)(crew_process *p, void *data), void *data);

/*
 * A running child with (p->flags & mask) == flags, with a reference, for the exit hook; NULL: none,
 * or the lock is held by a thread that exit interrupted.
 */
crew_process *crew__registry_running(uint64_t mask, uint64_t flags);

/* Sends a signal to all with one of these flags; also for the exit hook. */
void crew__registry_signal(uint64_t flags, int sig);

/* hook.c */

/* Sees to it that the hook runs at exit. */
void crew__hook_install(void);

/* What the hook does; in a child of crew's it is called by the child side. */
void crew__hook_run(void);

void crew__hook_reset(void);

/* Is nobody registered? Takes no lock. */
bool crew__registry_empty(void);

#endif
