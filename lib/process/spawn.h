/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_SPAWN_H
#define CREW_PROCESS_SPAWN_H

/*
 * Starting this program anew: exec of /proc/self/exe with a parcel, which crew_spawn_main() opens
 * in the new process before main() does anything of its own.
 *
 * The parcel is named in the environment, by descriptor number and a random number that it has
 * inside. Whoever inherits that by mistake finds no such parcel, and goes on as an ordinary program.
 */

#include "process/parcel.h"
#include "process/process.h"

/* Can this program be started anew? 0; -EOPNOTSUPP: main() has not called crew_spawn_main(), or
 * this is a set-user-ID program. `who` is for the words. */
int crew__spawn_possible(const char *who);

/* CREW_METHOD_SPAWN: starts l->p. As crew__program_start, and -ENOENT: its function is not there;
 * -EOPNOTSUPP: as above, or the new process never came to crew_spawn_main(). */
int crew__spawn_start(crew__launch *l);

/*
 * Starts a server of that name: `entry` runs in it with the parcel of `what`, whose `page` is the
 * server's end of a socket. Call with all signals blocked.
 * Returns its pid and *pidfd, or a negative errno with words.
 */
int crew__spawn_server(const char *name, crew__entry *entry, crew__packing *what, int *pidfd);

/*
 * In the new process: becomes the child that a parcel is about; never returns. `server`: it was
 * forked by one, which is its parent. `target` was found there.
 */
void crew__fresh_main(crew__delivery *d, crew_target_fn *target, bool server)
        __attribute__((noreturn));

/* How the child says how far it came, in its page; the parent waits for that. */
enum crew__arrival {
        CREW__ARRIVAL_NONE,
        CREW__ARRIVAL_READY,
        CREW__ARRIVAL_NO_TARGET, /* its function is not in the new image */
        CREW__ARRIVAL_FAILED,    /* page->arrival_error says why */
};

#endif
