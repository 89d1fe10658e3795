/* SPDX-License-Identifier: MIT */
#include "kernel/pulse.h"

#include "kernel/features.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum { UNKNOWN = -2, NONE = -1 };

static int make(crew__pulse *pulse)
{
        pthread_mutexattr_t kind;
        int r = pthread_mutexattr_init(&kind);

        if (r == 0)
                r = pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
        if (r == 0)
                r = pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
        if (r == 0)
                r = pthread_mutex_init(&pulse->mutex, &kind);
        (void)pthread_mutexattr_destroy(&kind);
        return r;
}

/*
 * Where the word of a mutex is that the calling thread has just locked: the newest entry of its
 * list is that mutex, and the list's head says how far the word is from there. The lowest bit of a
 * pointer in the list marks another kind of mutex.
 */
static int find_word(const crew__pulse *pulse)
{
        const struct robust_list_head *head = crew__thread_self()->robust;
        uintptr_t at, from = (uintptr_t)pulse;

        if (!head)
                return NONE;
        at = ((uintptr_t)head->list.next & ~(uintptr_t)1) + (uintptr_t)head->futex_offset;
        return at >= from && at + sizeof(uint32_t) <= from + sizeof *pulse && at % 4 == 0
                       ? (int)(at - from)
                       : NONE;
}

/* The same in all processes that were forked from this one, so it is found once. */
static int word_at(void)
{
        static _Atomic int known = UNKNOWN;
        int at = atomic_load_explicit(&known, memory_order_relaxed);
        crew__pulse probe;

        if (at != UNKNOWN)
                return at;
        memset(&probe, 0, sizeof probe);
        at = NONE;
        if (crew__has(CREW__ROBUST_LIST) && make(&probe) == 0) {
                if (pthread_mutex_lock(&probe.mutex) == 0) {
                        at = find_word(&probe);
                        (void)pthread_mutex_unlock(&probe.mutex);
                }
                (void)pthread_mutex_destroy(&probe.mutex);
        }
        atomic_store_explicit(&known, at, memory_order_relaxed);
        return at;
}

_Atomic uint32_t *crew__pulse_word(crew__pulse *pulse)
{
        int at = word_at();

        return at < 0 ? NULL : (_Atomic uint32_t *)(void *)((char *)pulse + at);
}

int crew__pulse_take(crew__pulse *pulse)
{
        _Atomic uint32_t *word = crew__pulse_word(pulse);

        if (!word || make(pulse) != 0 || pthread_mutex_lock(&pulse->mutex) != 0)
                return -EOPNOTSUPP;
        /* There may be a sleeper at the end; and there may be one now, who saw 0. */
        (void)atomic_fetch_or(word, FUTEX_WAITERS);
        (void)crew__sys_futex_wake(word, INT_MAX);
        return 0;
}

bool crew__pulse_stopped(uint32_t word, uint32_t *known)
{
        if (!*known)
                *known = word & FUTEX_WAITERS ? word : 0;
        return word & FUTEX_OWNER_DIED || (*known && word != *known);
}
