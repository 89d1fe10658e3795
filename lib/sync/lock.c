/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "kernel/namespace.h"
#include "sync/mutex.h"

#include <string.h>

int crew__sync_check(const void *at, const char *what)
{
        if (!at)
                return crew__fail(EINVAL, "%s: no memory given for it", what);
        if ((uintptr_t)at % 8)
                return crew__fail(EINVAL, "%s: at %p, which is not a multiple of 8", what, at);
        return 0;
}

int crew__mutex_init(crew__mutex *m, const char *what)
{
        int r = crew__sync_check(m, what);

        if (r < 0)
                return r;
        memset(m, 0, sizeof *m);
        m->place = crew__place();
        atomic_store(&m->lock.watched, 1);
        return 0;
}

/* Not the usual place: somewhere else, or nobody could tell where. */
static int __attribute__((cold)) check_place(const crew__mutex *m)
{
        if (!atomic_load(&m->lock.watched))
                return crew__fail(EINVAL, "lock: it was never initialized");
        if (!crew__place_is(m->place))
                return crew__fail(EXDEV,
                        "lock: initialized in another pid or time namespace, where owners have "
                        "numbers that mean other threads here");
        return 0;
}

int crew__mutex_acquire(crew__mutex *m, int64_t timeout)
{
        crew__thread *self = crew__thread_self();
        crew__hold hold = { .self = self, .kept = true };
        crew__patience patience = crew__patience_of(timeout);
        uint32_t free_word = 0;
        int r;

        if (__builtin_expect(m->place != self->place || !self->place, 0)) {
                r = check_place(m);
                if (r < 0)
                        return r;
        }
        if (__builtin_expect(self->robust != NULL, 1)) {
                crew__lock_cover(&m->lock, &hold);
                if (atomic_compare_exchange_strong_explicit(&m->lock.word, &free_word, self->tid,
                            memory_order_acquire, memory_order_relaxed)) {
                        atomic_store_explicit(&m->lock.claim, self->claim, memory_order_relaxed);
                        return 0;
                }
                crew__lock_uncover(&hold);
        }
        r = crew__lock_slow(&m->lock, &hold, &patience);
        if (r >= 0 && !self->robust)
                self->inside--;
        if (r == -EAGAIN)
                return crew__fail_quick(EAGAIN, "somebody else holds the lock");
        if (r == -ETIMEDOUT)
                return crew__fail_quick(ETIMEDOUT, "somebody else held the lock until the timeout");
        return r;
}

int crew__mutex_release(crew__mutex *m)
{
        crew__thread *self = crew__thread_self();
        struct robust_list_head *head = self->robust;
        uint32_t word;

        if (__builtin_expect(!crew__mutex_mine(m, self), 0))
                return crew__fail_quick(EPERM, "this thread does not own the lock");
        atomic_store_explicit(&m->lock.claim, 0, memory_order_relaxed);
        word = atomic_exchange_explicit(&m->lock.word, 0, memory_order_release);
        if (__builtin_expect(word & FUTEX_WAITERS, 0))
                crew__lock_wake(&m->lock);
        /* After the wake, as in crew__lock_release. Another lock's entry stays. */
        atomic_signal_fence(memory_order_seq_cst);
        if (head && head->list_op_pending == crew__lock_entry(&m->lock, head))
                head->list_op_pending = NULL;
        return 0;
}

int crew_lock_init(crew_lock *l)
{
        return crew__mutex_init((crew__mutex *)l, "lock");
}

int crew_lock_acquire(crew_lock *l, int64_t timeout)
{
        return crew__mutex_acquire((crew__mutex *)l, timeout);
}

int crew_lock_release(crew_lock *l)
{
        return crew__mutex_release((crew__mutex *)l);
}

int crew_rlock_init(crew_rlock *l)
{
        return crew__mutex_init((crew__mutex *)l, "rlock");
}

int crew_rlock_acquire(crew_rlock *l, int64_t timeout)
{
        crew__mutex *m = (crew__mutex *)l;
        int r;

        if (crew__mutex_mine(m, crew__thread_self())) {
                if (m->count == UINT32_MAX)
                        return crew__fail(EOVERFLOW, "rlock: acquired 2^32 - 1 times");
                m->count++;
                return 0;
        }
        r = crew__mutex_acquire(m, timeout);
        if (r >= 0)
                m->count = 1;
        return r;
}

int crew_rlock_release(crew_rlock *l)
{
        crew__mutex *m = (crew__mutex *)l;

        if (m->count > 1 && crew__mutex_mine(m, crew__thread_self())) {
                m->count--;
                return 0;
        }
        return crew__mutex_release(m);
}
