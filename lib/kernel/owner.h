/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_OWNER_H
#define CREW_KERNEL_OWNER_H

/*
 * Does a thread still live? For who waits for another thread that the kernel will not mark as dead:
 * a lock held in user code, a lock of a thread without a robust list, a party at a barrier.
 *
 * A number alone does not tell, for it is given to another thread some day. So a thread claims
 * things by {time, number}: the time, in clock ticks since boot, at which the thread first asked
 * for its claim. Whatever thread has that number now and started later is another one; one that
 * started before is the same, since it had the number then. Neither side needs /proc for its own
 * claim, and two claims are equal only if one thread made them.
 *
 * Numbers mean something in one pid namespace, times in one time namespace: see crew__place().
 */

#include <stdbool.h>
#include <stdint.h>

enum { CREW__CLAIM_TID_BITS = 24 }; /* the kernel's own limit for thread numbers is 2^22 */

static inline uint32_t crew__claim_tid(uint64_t claim)
{
        return (uint32_t)(claim & ((1U << CREW__CLAIM_TID_BITS) - 1));
}

/* The claim of the thread `tid`, which is the caller. Never 0; no system call on most machines. */
uint64_t crew__claim_make(uint32_t tid);

/*
 * Is the thread dead that has this claim? {0, number}: is there no such thread? Dead are also those
 * that nobody has collected yet (where /proc may be read). "No" if nobody tells.
 */
bool crew__claim_is_dead(uint64_t claim);

/* The same for a process, whose claim is that of its first thread: dead are all its threads. */
bool crew__process_is_dead(uint64_t claim);

/* Did the thread `tid` start before this claim was made, by a tick at least? "No" if nobody tells. */
bool crew__claim_is_newer(uint64_t claim, uint32_t tid);

/* Does that thread run, or wait for a processor? "No" if nobody tells. */
bool crew__thread_is_runnable(uint32_t tid);

/*
 * For a process in a sandbox: from here on it does not look into /proc, which would end it, and
 * whoever shares a lock could make it look.
 */
void crew__owner_blindfold(void);

#endif
