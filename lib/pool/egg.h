/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_EGG_H
#define CREW_POOL_EGG_H

/*
 * A zygote that is no fork of the program but the program started anew: what a nest has crosses in
 * a parcel. Addresses of functions mean something else in it, so the modules of the program go
 * along, with where they lie in both.
 */

#include "pool/nest.h"
#include "process/parcel.h"

enum { CREW__EGG_MODULES = 512 };

/* Code of a module: addresses in the program, and what is added to them. */
typedef struct crew__moved {
        uint64_t from, to;
        int64_t by;
        bool missing;
} crew__moved;

/*
 * Starts it and waits until it knows its modules: `list` (malloc, the caller's) tells which of the
 * program's functions it has. The descriptors in the nest stay the caller's.
 * Returns its pid and *pidfd, or a negative errno with words: -EOPNOTSUPP (crew_spawn_main()),
 * -ENOENT (the initializer is not there), ...
 */
int crew__egg_lay(
        const crew__nest *nest, int listen, int *pidfd, crew__moved **list, size_t *n_list);

/* The zygote's entry. */
void crew__egg_hatch(crew__delivery *d) __attribute__((noreturn));

/* The function of a zygote's that a program's address means; NULL: none. */
crew_task_fn *crew__egg_function(const crew__moved *list, size_t n, uint64_t address);

#endif
