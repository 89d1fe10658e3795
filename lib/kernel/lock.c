/* SPDX-License-Identifier: MIT */
#include "kernel/lock.h"

#include "base/fail.h"
#include "kernel/owner.h"
#include "kernel/relax.h"
#include "kernel/syscall.h"

#include <errno.h>

/* A holder does at most a copy inside: it is out again within this many looks, or it was preempted
 * and wants this CPU. */
enum { SPINS = 64, SPINS_KEPT = 24 }; /* in user code it does who knows what */

/* A word that changes all the time must not keep anybody beyond the deadline. */
enum { LOOKS = 4096 };

/* Does what the kernel would have done for the owner of `word`, which is dead, unless somebody else
 * did; in this order, see lock.h. */
static void bury(crew__lock *lock, uint32_t word, uint64_t claim)
{
        if (claim && !atomic_compare_exchange_strong(&lock->claim, &claim, 0))
                return;
        (void)atomic_compare_exchange_strong(
                &lock->word, &word, FUTEX_OWNER_DIED | (word & FUTEX_WAITERS));
}

/* A claim for another number is of an owner before; then, and while the new owner has not written
 * its own, only the number's existence counts. */
static bool is_owners(uint64_t claim, uint32_t word)
{
        return claim && crew__claim_tid(claim) == (word & FUTEX_TID_MASK);
}

static bool owner_is_dead(crew__lock *lock, uint32_t word, uint64_t claim)
{
        uint32_t tid = word & FUTEX_TID_MASK;

        if (!atomic_load(&lock->watched) || tid == 0)
                return false;
        return crew__claim_is_dead(is_owners(claim, word) ? claim : tid);
}

static int try_take(crew__lock *lock, crew__hold *hold, uint32_t seen, uint32_t waiters)
{
        uint32_t mine = hold->self->tid | waiters | (seen & FUTEX_WAITERS);

        crew__lock_cover(lock, hold);
        if (!atomic_compare_exchange_strong_explicit(
                    &lock->word, &seen, mine, memory_order_acquire, memory_order_relaxed)) {
                crew__lock_uncover(hold);
                return -EAGAIN;
        }
        if (!hold->self->robust || hold->kept)
                atomic_store_explicit(&lock->claim, hold->self->claim, memory_order_release);
        return seen & FUTEX_OWNER_DIED ? CREW__OWNER_DIED : 0;
}

/* The word is free, or its owner died. */
static int take_free(crew__lock *lock, crew__hold *hold, uint32_t waiters)
{
        uint64_t claim = atomic_load_explicit(&lock->claim, memory_order_acquire);
        uint32_t word = atomic_load_explicit(&lock->word, memory_order_acquire);

        if (word & FUTEX_TID_MASK)
                return -EAGAIN;
        if (word & FUTEX_OWNER_DIED && claim)
                (void)atomic_compare_exchange_strong(&lock->claim, &claim, 0);
        return try_take(lock, hold, word, waiters);
}

/*
 * Is the owner of `word` dead? Its claim settles that. Of a number alone one wrong answer is
 * possible, if it was given to the next owner within those few instructions, so there the second
 * time counts, a slice later. Kept over calls: callers that wait for less than two slices, or not
 * at all, must find out too, without asking each time.
 */
static void suspect_owner(crew__lock *lock, uint32_t word)
{
        static _Thread_local struct {
                const crew__lock *lock;
                uint32_t word;
                bool dead;
                int64_t since;
        } suspect;
        uint64_t claim = atomic_load_explicit(&lock->claim, memory_order_acquire);
        int64_t now = crew_clock();
        bool same = suspect.lock == lock && suspect.word == word, was_dead = same && suspect.dead;

        if (same && now - suspect.since < CREW__SLICE)
                return;
        suspect.lock = lock;
        suspect.word = word;
        suspect.since = now;
        suspect.dead = owner_is_dead(lock, word, claim);
        if (suspect.dead && (was_dead || is_owners(claim, word)))
                bury(lock, word, claim);
}

/* One slice of sleep. */
static int sleep_on(crew__lock *lock, uint32_t word, int64_t deadline)
{
        int64_t now = crew_clock();
        int r;

        if (deadline <= now)
                return -ETIMEDOUT;
        r = crew__sys_futex_wait(&lock->word, word, crew__earlier(deadline, now + CREW__SLICE));
        if (r == -EINTR)
                return crew__fail_quick(EINTR, "a signal handler ran while waiting for a lock");
        if (r == -ETIMEDOUT)
                suspect_owner(lock, word);
        return 0;
}

/*
 * The word has this thread's number. It holds the lock, or is between taking it and writing its
 * claim (and this is a signal handler); else an owner before had the same number, or the word lies.
 */
static int own_number(crew__lock *lock, const crew__hold *hold, uint32_t word)
{
        uint64_t claim = atomic_load_explicit(&lock->claim, memory_order_acquire);

        if (!hold->kept)
                return crew__fail_quick(EDEADLK,
                        "this thread is inside a call on the same object (a signal handler may not "
                        "use it)");
        if (claim == hold->self->claim || crew__lock_covered(lock, hold->self))
                return crew__fail_quick(EDEADLK, "this thread holds the lock already");
        bury(lock, word, claim);
        return 0;
}

/* Sleeps on the word, announced; *waiters is what who slept takes it with. */
static int sleep_announced(crew__lock *lock, uint32_t word, int64_t until, uint32_t *waiters)
{
        int r;

        if (!(word & FUTEX_WAITERS) &&
                !atomic_compare_exchange_strong(&lock->word, &word, word | FUTEX_WAITERS))
                return 0;
        r = sleep_on(lock, word | FUTEX_WAITERS, until);
        /* From now on others may sleep beside us and be known to nobody else. */
        *waiters = FUTEX_WAITERS;
        return r;
}

int crew__lock_slow(crew__lock *lock, crew__hold *hold, crew__patience *patience)
{
        uint32_t word, waiters = 0;
        int64_t deadline = crew__patience_end(patience);
        /* "Now" is about the queue's content; its lock is held for one copy at most, so not waiting
         * for it would call a busy queue empty or full. What is kept may be kept for long. */
        int64_t until = deadline || hold->kept ? deadline : crew_clock() + CREW__SLICE;
        unsigned most = hold->kept ? SPINS_KEPT : SPINS;
        int r;

        if (!hold->self->robust && !atomic_load(&lock->watched))
                atomic_store(&lock->watched, 1);
        for (unsigned spins = 0, looks = 1;; looks++) {
                if (looks % LOOKS == 0 && crew_clock() >= until)
                        return crew__expired(deadline);
                word = atomic_load_explicit(&lock->word, memory_order_relaxed);
                if (!(word & FUTEX_TID_MASK)) {
                        r = take_free(lock, hold, waiters);
                        if (r >= 0)
                                return r;
                        crew__relax_for(spins++ & 7);
                        continue;
                }
                if ((word & FUTEX_TID_MASK) == hold->self->tid) {
                        r = own_number(lock, hold, word);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (until && spins++ < most) {
                        crew__relax_for(spins);
                        continue;
                }
                if (!until) {
                        suspect_owner(lock, word);
                        if (atomic_load(&lock->word) & FUTEX_TID_MASK)
                                return -EAGAIN;
                        continue;
                }
                r = sleep_announced(lock, word, until, &waiters);
                if (r < 0)
                        return r == -ETIMEDOUT ? crew__expired(deadline) : r;
                spins = 0;
        }
}

void crew__lock_wake(crew__lock *lock)
{
        (void)crew__sys_futex_wake(&lock->word, 1);
}
