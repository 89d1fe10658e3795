/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_LOCK_H
#define CREW_KERNEL_LOCK_H

/*
 * A lock in shared memory that survives the death of its owner, without pthread.
 *
 * The word holds 0 or the owner's TID, with FUTEX_WAITERS when somebody may sleep on it and
 * FUTEX_OWNER_DIED after the kernel found it in the hands of a dead thread. The kernel finds it
 * because its address stands in `list_op_pending` of the thread's robust list while the thread
 * tries for the lock or holds it: one slot, so one lock at a time; an outer value is saved and put
 * back. The slot is set only around the attempt and while held, never while sleeping: a sleeper
 * that is killed owns nothing, and its TID may mean another thread in another pid namespace.
 *
 * What a death leaves behind, instruction by instruction:
 *   slot set, word not yet ours           the kernel sees another TID (or 0) and leaves it alone;
 *                                         for 0 it wakes one sleeper, which is harmless
 *   word ours                             the kernel sets OWNER_DIED, keeps WAITERS, wakes one
 *   word released, wake not yet sent      slot still set and the word 0: the kernel wakes one. If
 *                                         a barger took it meanwhile, without WAITERS, the sleeper
 *                                         finds out at the end of its 20 ms slice
 *   slot cleared                          nothing to do
 * The list head itself is the C library's; its list is never touched.
 *
 * Where there is no robust list, the owner also writes a claim (TID and start time) beside the word,
 * and each sleeper checks at the end of its slice whether such a thread still exists.
 */

#include "base/clock.h"
#include "kernel/thread.h"

#include <stdbool.h>

/* No wait on anything shared is longer than this without a look at the thing itself. */
#define CREW__SLICE CREW_MS(20)

enum { CREW__OWNER_DIED = 1 };

typedef struct crew__lock {
        _Atomic uint32_t word;
        _Atomic uint32_t unlisted; /* sticky: somebody without a robust list uses this lock */
        _Atomic uint64_t claim;    /* of an owner without a robust list: {start time, TID} */
} crew__lock;

/* What an owner needs to release; lives on its stack. */
typedef struct crew__hold {
        crew__thread *self;
        struct robust_list *outer;
} crew__hold;

int crew__lock_slow(crew__lock *lock, crew__hold *hold, crew__patience *patience);
void crew__lock_wake(crew__lock *lock);
void crew__lock_claim(crew__lock *lock, const crew__thread *self);

static inline void crew__lock_cover(crew__lock *lock, crew__hold *hold)
{
        struct robust_list_head *head = hold->self->robust;

        if (__builtin_expect(head != NULL, 1)) {
                hold->outer = head->list_op_pending;
                head->list_op_pending = (struct robust_list *)((uintptr_t)&lock->word -
                                                               (uintptr_t)head->futex_offset);
        } else {
                hold->self->inside++;
        }
        /* The kernel reads the slot when this very thread dies: program order is all it takes. */
        atomic_signal_fence(memory_order_seq_cst);
}

static inline void crew__lock_uncover(crew__hold *hold)
{
        atomic_signal_fence(memory_order_seq_cst);
        if (__builtin_expect(hold->self->robust != NULL, 1))
                hold->self->robust->list_op_pending = hold->outer;
        else
                hold->self->inside--;
}

/* For a process in a sandbox: from here on it does not look into /proc, which would end it, and
 * whoever shares a lock could make it look. */
void crew__lock_blindfold(void);

/* Takes the lock if it is free and clean. */
static inline bool crew__lock_try(crew__lock *lock, crew__hold *hold)
{
        uint32_t free_word = 0;

        hold->self = crew__thread_self();
        crew__lock_cover(lock, hold);
        /* Acquire pairs with the release in crew__lock_release: what the last owner did inside is
         * seen inside. */
        if (__builtin_expect(hold->self->robust != NULL, 1) &&
                atomic_compare_exchange_strong_explicit(&lock->word, &free_word, hold->self->tid,
                        memory_order_acquire, memory_order_relaxed))
                return true;
        crew__lock_uncover(hold);
        return false;
}

/*
 * Takes the lock. Returns 0; CREW__OWNER_DIED: it is the caller's, but its last owner died inside;
 * -EDEADLK: this thread holds it; -EAGAIN or -ETIMEDOUT; -EINTR.
 */
static inline int crew__lock_acquire(crew__lock *lock, crew__hold *hold, crew__patience *patience)
{
        return crew__lock_try(lock, hold) ? 0 : crew__lock_slow(lock, hold, patience);
}

static inline void crew__lock_release(crew__lock *lock, crew__hold *hold)
{
        uint32_t word;

        if (__builtin_expect(hold->self->robust == NULL, 0))
                atomic_store_explicit(&lock->claim, 0, memory_order_release);
        word = atomic_exchange_explicit(&lock->word, 0, memory_order_release);
        if (__builtin_expect(word & FUTEX_WAITERS, 0))
                crew__lock_wake(lock);
        crew__lock_uncover(hold);
}

#endif
