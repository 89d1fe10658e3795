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
 * A watched lock may have an owner that the kernel does not mark: a thread without a robust list,
 * or one that keeps the lock in user code (crew_lock) and has used its one slot for something else
 * since. Such an owner writes its claim (kernel/owner.h) beside the word, and each sleeper asks at
 * the end of its slice whether that thread still lives. That a claim is its owner's is kept so:
 *
 *   release      clears the claim, then the word
 *
 *   found dead   who finds out clears the claim, then sets OWNER_DIED, both by compare-and-swap, so
 *                that one who was stopped between looking and acting changes nothing any more
 *
 *   taken over   a claim that was read before the word said OWNER_DIED is cleared before the word
 *                is taken: else the next owner could be a thread with the dead one's number, and be
 *                taken for the dead one until it has written its own claim
 *
 * A death between taking the word and writing the claim leaves a number without a time.
 */

#include "base/clock.h"
#include "kernel/thread.h"

#include <stdbool.h>

/* No wait on anything shared is longer than this without a look at the thing itself. */
#define CREW__SLICE CREW_MS(20)

enum { CREW__OWNER_DIED = 1 };

typedef struct crew__lock {
        _Atomic uint32_t word;
        _Atomic uint32_t watched; /* sticky */
        _Atomic uint64_t claim;   /* of an owner that the kernel may not mark, else 0 */
} crew__lock;

/* What an owner needs to release; lives on its stack. */
typedef struct crew__hold {
        crew__thread *self;
        struct robust_list *outer;
        bool kept; /* it goes on into user code, see sync/mutex.h */
} crew__hold;

int crew__lock_slow(crew__lock *lock, crew__hold *hold, crew__patience *patience);
void crew__lock_wake(crew__lock *lock);

/* What stands in the slot of a thread that has a list while the lock is covered. */
static inline struct robust_list *crew__lock_entry(
        const crew__lock *lock, const struct robust_list_head *head)
{
        return (struct robust_list *)((uintptr_t)&lock->word - (uintptr_t)head->futex_offset);
}

static inline void crew__lock_cover(crew__lock *lock, crew__hold *hold)
{
        struct robust_list_head *head = hold->self->robust;

        if (__builtin_expect(head != NULL, 1)) {
                hold->outer = head->list_op_pending;
                head->list_op_pending = crew__lock_entry(lock, head);
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

/*
 * Is this thread in the middle of taking, holding or releasing that lock? (Asked by a handler that
 * ran in between, or of a word that lies.) Without a list: in the middle of any.
 */
static inline bool crew__lock_covered(const crew__lock *lock, const crew__thread *self)
{
        return self->robust ? self->robust->list_op_pending == crew__lock_entry(lock, self->robust)
                            : self->inside != 0;
}

/* Takes the lock if it is free and clean. */
static inline bool crew__lock_try(crew__lock *lock, crew__hold *hold)
{
        uint32_t free_word = 0;

        hold->self = crew__thread_self();
        hold->kept = false;
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
