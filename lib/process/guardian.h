/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_GUARDIAN_H
#define CREW_PROCESS_GUARDIAN_H

/*
 * The guardian: one small process beside an application that started daemons while it had several
 * threads. PDEATHSIG would follow the thread that started them, so the guardian holds their pidfds
 * and kills them when the application is gone, however it went.
 */

#include "process/process.h"

/*
 * Hands a daemon to the guardian, which is made on first need and again if somebody killed it (then
 * it gets all that live). On return the guardian has the daemon. Call it with signals blocked.
 * Returns 0, or why there is no guardian: -EMFILE, -EAGAIN, -ENOMEM, -ETIMEDOUT.
 */
int crew__guardian_add(crew_process *p);

/* At exit, when the daemons have been dealt with: sends it home and collects it. Bounded. */
void crew__guardian_end(void);

/* In a new child, before any code of the host has run: closes what belongs to the parent's. */
void crew__guardian_forget(void);

void crew__guardian_reset(void);

/* Was one made, and not ended? Takes no lock. */
bool crew__guardian_runs(void);

#endif
