/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_SPAWN_H
#define CREW_PROCESS_SPAWN_H

/*
 * Starting this program anew: exec of /proc/self/exe with a parcel, which crew_spawn_main() opens
 * in the new process before main() does anything of its own.
 *
 * The parcel is named in the environment, by descriptor number and a random number that it has
 * inside. Whoever inherits that by mistake finds no such parcel, and goes on as an ordinary
 * program.
 */

#include "process/parcel.h"
#include "process/process.h"

/* Can this program be started anew? 0; -EOPNOTSUPP: main() has not called crew_spawn_main(), or
 * this is a set-user-ID program. `who` is for the words. */
int crew__spawn_possible(const char *who);

/* In the environment: "12.1a2b3c", descriptor and random number. */
#define CREW__SPAWN_MARKER "CREW_SPAWN"

/*
 * What a child that is no fork is to have, in a parcel, and its status page; *target is for words.
 * -EOPNOTSUPP, -ENOENT (the function is in no module), -EMFILE, -ENOMEM; with words.
 */
int crew__spawn_pack(crew__launch *l, crew__site *target, crew__packed *packed);

/* Undoes it for a child that did not come to be. */
void crew__spawn_unpack(crew_process *p);

/* Where in a child's page its sandbox leaves what it has to say. */
struct crew__confine_note *crew__spawn_note(const crew__segment *page);

/* CREW_METHOD_SPAWN: starts l->p, then (no signals blocked) waits until its target is about to run.
 * As crew__program_start; -ENOENT: its function is not there; -EOPNOTSUPP: as above, or the new
 * process never came to crew_spawn_main(). */
int crew__spawn_start(crew__launch *l);
int crew__spawn_await(crew_process *p);

/*
 * Starts a server of that name: `entry` runs in it with the parcel of `what`, whose `page` is the
 * server's end of a socket. Call with all signals blocked.
 * Returns its pid and *pidfd, or a negative errno with words.
 */
int crew__spawn_server(const char *name, crew__entry *entry, crew__packing *what, int *pidfd);

/* Of a child that a server forked. */
typedef struct crew__hatchery {
        pid_t pid;           /* the server, known before the fork: it may die right after */
        struct rlimit files; /* as the application had it */
} crew__hatchery;

/* In the new process: becomes the child that a parcel is about; never returns. NULL: no server. */
void crew__fresh_main(crew__delivery *d, crew_target_fn *target, const crew__hatchery *server)
        __attribute__((noreturn));

#endif
