/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_FORKSERVER_H
#define CREW_PROCESS_FORKSERVER_H

/*
 * The fork server of CREW_METHOD_FORKSERVER: one per application process, made with its first such
 * start and again if somebody ended it. It is this program started anew, stopped in
 * crew_spawn_main(): small whatever the application has grown to, and with one thread, so that its
 * forks are cheap and safe. Its children are its own: they never show up in the application's
 * waitpid(-1). It collects them and notes in their status page how they ended.
 *
 * It ends with the application. Daemons end with it; others go on, as children of a fork do.
 */

#include "process/parcel.h"
#include "process/process.h"

/*
 * Starts l->p as a child of the server. 0; -ENOENT: its function is not in the server's image;
 * -EOPNOTSUPP; -ETIMEDOUT: the server does not answer; -EAGAIN, -ENOMEM, -EMFILE; -E2BIG: too many
 * descriptors and grants.
 */
int crew__forkserver_start(crew__launch *l);

/* Is that the server, and alive (or busy)? Never waits. */
bool crew__forkserver_is(pid_t pid);

/* At exit, when the children have been dealt with. Bounded. */
void crew__forkserver_end(void);

/* In a new child, before any code of the host has run: closes what belongs to the parent's. */
void crew__forkserver_forget(void);

void crew__forkserver_reset(void);

/* Was one made, and not ended? Takes no lock. */
bool crew__forkserver_runs(void);

/* hatch.c: the server's side. */
void crew__hatch_main(crew__delivery *d) __attribute__((noreturn));

/* What it is asked: with a parcel and what belongs to it, for a start. */
enum { CREW__HATCH_START = 's', CREW__HATCH_QUIT = 'q' };

#endif
