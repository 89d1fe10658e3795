/* SPDX-License-Identifier: MIT */
#ifndef CREW_SYNC_MUTEX_H
#define CREW_SYNC_MUTEX_H

/*
 * What is behind crew_lock and crew_rlock: the robust lock of the kernel layer, kept in user code.
 *
 * User code may hold many locks at a time, and use the C library's robust mutexes, which take the
 * thread's only slot for themselves. So the slot is a help here and no more: it holds the lock that
 * was taken last, and the kernel marks that one at once, whatever became of the thread's number
 * since. For all others each owner leaves its claim, and who waits asks for the claimant (the lock
 * is watched from the start). A slot that is left behind after an odd order of releases is
 * harmless: the kernel touches only a word that has the dying thread's number.
 */

#include "kernel/lock.h"

#include <crew/sync.h>

typedef struct crew__mutex {
        crew__lock lock;
        uint32_t place; /* of who initialized it: what numbers mean */
        uint32_t count; /* rlock: the owner's alone */
        uint32_t unused[2];
} __attribute__((may_alias)) crew__mutex;

_Static_assert(sizeof(crew__mutex) == sizeof(crew_lock), "the public struct");
_Static_assert(sizeof(crew__mutex) == sizeof(crew_rlock), "the public struct");

/* 0, or -EINVAL with words: where a struct of this library cannot lie. */
int crew__sync_check(const void *at, const char *what);

int crew__mutex_init(crew__mutex *m, const char *what);
int crew__mutex_acquire(crew__mutex *m, int64_t timeout);
int crew__mutex_release(crew__mutex *m);

/* Does the calling thread own it? */
static inline bool crew__mutex_mine(const crew__mutex *m, const crew__thread *self)
{
        return (atomic_load_explicit(&m->lock.word, memory_order_relaxed) & FUTEX_TID_MASK) ==
                       self->tid &&
               atomic_load_explicit(&m->lock.claim, memory_order_relaxed) == self->claim;
}

#endif
