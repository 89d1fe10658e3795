/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_GENERATION_H
#define CREW_KERNEL_GENERATION_H

/*
 * Which process is this? A number that changes in every forked child, read with one load.
 *
 * It lives in a page that the kernel wipes in a forked child (MADV_WIPEONFORK), however the child
 * was made: fork(), raw clone3(), vfork-like calls that share memory keep it. A handle stores the
 * generation of its maker; an unequal one means that the handle was inherited.
 */

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>

extern _Atomic uint64_t *crew__generation_page;

uint64_t crew__generation_slow(void);

/* The generation of this process: never 0, the same in all its threads. Async-signal-safe once it
 * was called in this process. */
static inline uint64_t crew__generation(void)
{
        _Atomic uint64_t *page = __atomic_load_n(&crew__generation_page, __ATOMIC_ACQUIRE);
        uint64_t generation = page ? atomic_load_explicit(page, memory_order_acquire) : 0;

        /* 1 means that another thread is resetting what was inherited. */
        return __builtin_expect(generation > 1, 1) ? generation : crew__generation_slow();
}

/*
 * Asks for `reset` to be called once in every forked child, before crew__generation() first returns
 * there, so before any lock is taken: what it resets may have been held by a thread that does not
 * exist in the child. Called in registration order; duplicates are ignored. Thread-safe.
 * A reset must not call crew__generation().
 */
void crew__on_fork(void (*reset)(void));

#endif
