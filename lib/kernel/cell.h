/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_CELL_H
#define CREW_KERNEL_CELL_H

/*
 * A cell: a leaf of control groups (version 2) for one process and all that it starts, with a limit
 * for the memory that they use together. Who goes past it is ended by the kernel, all at once, and
 * the leaf tells that this was why.
 *
 * Leaves are made in the group of this process, or beside it in the group above, whichever may be
 * written to: processes that are there already are not moved. Where only root's own groups are,
 * there is none to be had.
 *
 * A cell is locked (flock) by who made it, for as long as it has it open. One that nobody has
 * locked is litter: its maker was killed, or could not wait until it was empty. Whoever makes cells
 * in the same place removes it, and ends nobody by doing so: one with processes in it stays. A
 * process looks for litter of others once a second at most, as it makes a cell.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct crew__cell crew__cell;

/*
 * The directory where cells can be made; the memory controller is switched on in it if need be.
 * `root` is "" but for tests. 0; -ENOENT: no control groups of version 2 here; -EOPNOTSUPP: without
 * the memory controller; -EACCES: not ours to write; -EBUSY: processes are in that group, or this
 * process is in a cell itself; -ENOMEM, -EMFILE.
 */
int crew__cell_place(const char *root, char *path, size_t size);

/* An empty cell, for `memory` bytes. Fails as above, and as mkdir() and write() do. */
int crew__cell_new(crew__cell **cell, uint64_t memory);

/* The same, if `memory` is not 0 and the feature is there; NULL: the limit has to be another one.
 */
crew__cell *crew__cell_for(uint64_t memory);

/* Its directory, for CLONE_INTO_CGROUP and crew__cell_enter(); of NULL -1. */
int crew__cell_fd(const crew__cell *cell);

/*
 * Moves the calling process there; raw system calls only. In two steps: a descriptor (which the
 * caller closes), and the move by it, for which a filter has to allow write() only. 0 or a negative
 * errno.
 */
int crew__cell_enter(int fd);
int crew__cell_door(int fd);
int crew__cell_pass(int door);

/* The same with another one, which has not done anything yet. */
int crew__cell_admit(const crew__cell *cell, pid_t pid);

/* Has the kernel ended somebody in it for want of memory? It says so before it does. */
bool crew__cell_starved(const crew__cell *cell);

/* Is it empty? */
bool crew__cell_empty(const crew__cell *cell);

/* Ends all in it, those that are just being born included. -ENOENT: the kernel cannot (before
 * 5.14). */
int crew__cell_kill(const crew__cell *cell);

/*
 * Ends who is left in it and removes it, trying until `deadline` (0: once). What cannot be removed
 * is litter. Frees; in a forked child only that. NULL is fine; returns NULL.
 */
crew__cell *crew__cell_free(crew__cell *cell, int64_t deadline);

/* Its process has ended: who is left in it is ended. NULL: it is gone; else it is to be freed
 * later, for this does not wait. NULL is fine. */
crew__cell *crew__cell_vacate(crew__cell *cell);

/* Frees and leaves everything as it is: its processes are to go on, then it is litter. */
crew__cell *crew__cell_abandon(crew__cell *cell);

/* Removes what this process has made litter, trying until `deadline`. */
void crew__cell_tidy(int64_t deadline);

#endif
