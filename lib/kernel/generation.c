/* SPDX-License-Identifier: MIT */
#include "kernel/generation.h"

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RESETTING = 1, FIRST = 2, MAX_RESETS = 8 };

_Atomic uint64_t *crew__generation_page;

/* Ordinary memory, so a child continues from its parent's number: no handle made before the fork
 * can carry the child's. */
static _Atomic uint64_t last = FIRST - 1;
static void (*_Atomic resets[MAX_RESETS])(void);

/* Without a page the kernel wipes, the pid tells: a fork is seen at the next slow call, and the page
 * is kept at 0 so that every call is slow. */
static bool wiping = true;
static _Atomic uint64_t counted;
static _Atomic pid_t counted_for;

static _Atomic uint64_t *make_page(void)
{
        size_t size = (size_t)sysconf(_SC_PAGESIZE);
        _Atomic uint64_t *expected = NULL, *page;

        page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED)
                return NULL;
        if (madvise(page, size, MADV_WIPEONFORK) < 0) {
                __atomic_store_n(&wiping, false, __ATOMIC_RELAXED);
        }
        if (!__atomic_compare_exchange_n(&crew__generation_page, &expected, page, false,
                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
                (void)munmap(page, size);
                return expected;
        }
        return page;
}

static void run_resets(void)
{
        for (size_t i = 0; i < MAX_RESETS; i++) {
                void (*reset)(void) = atomic_load(&resets[i]);

                if (reset)
                        reset();
        }
}

/*
 * The fallback: one getpid() a call. `counted_for` becomes this process's pid only after `counted` is
 * its generation; -1 means that another thread is at it. A fork in that moment leaves -1 to a child
 * without that thread, so waiting for it is bounded.
 */
static uint64_t by_pid(void)
{
        pid_t self = getpid(), seen = atomic_load(&counted_for);

        for (int patience = 1000; seen != self; patience--) {
                if (seen == -1 && patience > 0) {
                        sched_yield();
                        seen = atomic_load(&counted_for);
                        continue;
                }
                if (!atomic_compare_exchange_strong(&counted_for, &seen, -1))
                        continue;
                if (seen)
                        run_resets();
                atomic_store(&counted, atomic_fetch_add(&last, 1) + 1);
                atomic_store(&counted_for, self);
                break;
        }
        return atomic_load(&counted);
}

uint64_t crew__generation_slow(void)
{
        _Atomic uint64_t *page = __atomic_load_n(&crew__generation_page, __ATOMIC_ACQUIRE);
        uint64_t seen = 0;

        if (!page)
                page = make_page();
        if (!page || !__atomic_load_n(&wiping, __ATOMIC_RELAXED))
                return by_pid();
        while (!atomic_compare_exchange_strong(page, &seen, RESETTING)) {
                if (seen > RESETTING)
                        return seen;
                sched_yield();
                seen = 0;
        }
        if (atomic_load(&last) >= FIRST)
                run_resets();
        seen = atomic_fetch_add(&last, 1) + 1;
        atomic_store_explicit(page, seen, memory_order_release);
        return seen;
}

void crew__on_fork(void (*reset)(void))
{
        for (size_t i = 0; i < MAX_RESETS; i++) {
                void (*there)(void) = atomic_load_explicit(&resets[i], memory_order_acquire);

                /* Looks first: a write, even in vain, would copy the page again after each fork. */
                if (there == reset)
                        return;
                if (!there && (atomic_compare_exchange_strong(&resets[i], &there, reset) ||
                                      there == reset))
                        return;
        }
        __builtin_trap();
}
