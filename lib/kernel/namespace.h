/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_NAMESPACE_H
#define CREW_KERNEL_NAMESPACE_H

#include <stdbool.h>
#include <stdint.h>

/* The inode of this process's pid namespace; 0 where /proc does not tell. Cached per process. */
uint64_t crew__pid_namespace(void);

/* In a fork that was not put into another one: what its parent knew holds. */
void crew__pid_namespace_inherit(void);

/*
 * Is `inode` this process's pid namespace? Where it cannot be read (no /proc in a sandbox) the
 * answer is yes unless the parent lies outside, which getppid() shows as 0.
 */
bool crew__pid_namespace_is(uint64_t inode);

/* Where thread numbers and times since boot mean the same: pid and time namespace in one word; 0
 * where /proc does not tell. */
uint32_t crew__place(void);

/* Is that this process's place? As above where it cannot be read. */
bool crew__place_is(uint32_t place);

#endif
