/* SPDX-License-Identifier: MIT */
#include "kernel/lock.h"

#include "base/fail.h"
#include "kernel/relax.h"
#include "kernel/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A holder does at most a copy inside: it is out again within this many looks, or it was preempted
 * and wants this CPU. */
enum { SPINS = 64 };

/* A word that changes all the time must not keep anybody beyond the deadline. */
enum { LOOKS = 4096 };

#define NO_SUCH_THREAD 0
#define UNKNOWN UINT32_MAX

/* Process-wide; a copy of the process that is made later is in the same sandbox. */
static bool blindfolded;

void crew__lock_blindfold(void)
{
        blindfolded = true;
}

/* Out of descriptors or forbidden to look says nothing about the thread. */
static uint32_t without_stat(int err)
{
        return err == ENOENT || err == ESRCH ? NO_SUCH_THREAD : UNKNOWN;
}

/* Field 22 of /proc/TID/stat, start time in clock ticks since boot, folded into the other values. */
static uint32_t start_time(uint32_t tid)
{
        char path[64], text[1024], *at;
        unsigned long long start = 0;
        ssize_t n;
        int fd, err;

        if (blindfolded)
                return UNKNOWN;
        (void)snprintf(path, sizeof path, "/proc/%u/stat", tid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return without_stat(errno);
        n = read(fd, text, sizeof text - 1);
        err = n < 0 ? errno : ESRCH;
        (void)close(fd);
        if (n <= 0)
                return without_stat(err);
        text[n] = '\0';
        /* The name in field 2 may hold blanks and brackets; the last bracket ends it. */
        at = strrchr(text, ')');
        if (!at || at[1] == '\0' || at[2] == 'Z' || at[2] == 'X')
                return NO_SUCH_THREAD;
        for (int field = 2; at && field < 22; field++)
                at = strchr(at + 1, ' ');
        if (at)
                start = strtoull(at, NULL, 10);
        return 1 + (uint32_t)(start % (UNKNOWN - 1));
}

void crew__lock_claim(crew__lock *lock, const crew__thread *self)
{
        static _Thread_local uint64_t cached, cached_for;

        if (cached_for != self->generation) {
                uint32_t start = start_time(self->tid);

                cached = (uint64_t)(start == UNKNOWN ? 0 : start) << 32 | self->tid;
                cached_for = self->generation;
        }
        atomic_store_explicit(&lock->claim, cached, memory_order_release);
}

/*
 * Does the owner of `word` live? A claim for another TID is of an owner before; then, and while the
 * new owner has not written its own, only existence counts. One wrong answer is possible, if a TID
 * was reused within those few instructions, so the caller asks twice, a slice apart.
 */
static bool owner_is_dead(crew__lock *lock, uint32_t word)
{
        uint32_t tid = word & FUTEX_TID_MASK, start;
        uint64_t claim;

        if (!atomic_load(&lock->unlisted) || tid == 0)
                return false;
        start = start_time(tid);
        if (start == UNKNOWN)
                return false;
        if (start == NO_SUCH_THREAD)
                return access("/proc/self/stat", R_OK) == 0;
        claim = atomic_load_explicit(&lock->claim, memory_order_acquire);
        return (uint32_t)claim == tid && claim >> 32 != 0 && claim >> 32 != start;
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
        if (!hold->self->robust)
                crew__lock_claim(lock, hold->self);
        return seen & FUTEX_OWNER_DIED ? CREW__OWNER_DIED : 0;
}

/*
 * The owner of `word` looked dead? Then it is the second time that counts. Kept over calls: callers
 * that wait for less than two slices, or not at all, must find out too.
 */
static void suspect_owner(crew__lock *lock, uint32_t word)
{
        static _Thread_local struct {
                const crew__lock *lock;
                uint32_t word;
                int64_t since;
        } suspect;
        int64_t now = crew_clock();

        if (!owner_is_dead(lock, word)) {
                suspect.lock = NULL;
        } else if (suspect.lock != lock || suspect.word != word) {
                suspect.lock = lock;
                suspect.word = word;
                suspect.since = now;
        } else if (now - suspect.since >= CREW__SLICE) {
                /* Do what the kernel would have done. */
                (void)atomic_compare_exchange_strong(
                        &lock->word, &word, FUTEX_OWNER_DIED | (word & FUTEX_WAITERS));
                suspect.lock = NULL;
        }
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

int crew__lock_slow(crew__lock *lock, crew__hold *hold, crew__patience *patience)
{
        uint32_t word, waiters = 0;
        int64_t deadline = crew__patience_end(patience);
        /* "Now" is about the queue's content; its lock is held for one copy at most, so not waiting
         * for it would call a busy queue empty or full. */
        int64_t until = deadline ? deadline : crew_clock() + CREW__SLICE;
        int r;

        if (!hold->self->robust && !atomic_load(&lock->unlisted))
                atomic_store(&lock->unlisted, 1);
        for (unsigned spins = 0, looks = 1;; looks++) {
                if (looks % LOOKS == 0 && crew_clock() >= until)
                        return crew__expired(deadline);
                word = atomic_load_explicit(&lock->word, memory_order_relaxed);
                if (!(word & FUTEX_TID_MASK)) {
                        r = try_take(lock, hold, word, waiters);
                        if (r >= 0)
                                return r;
                        crew__relax_for(spins++ & 7);
                        continue;
                }
                if ((word & FUTEX_TID_MASK) == hold->self->tid)
                        return crew__fail_quick(EDEADLK,
                                "this thread is inside a call on the same queue (a signal handler "
                                "may not use it)");
                if (spins++ < SPINS) {
                        crew__relax_for(spins);
                        continue;
                }
                if (!(word & FUTEX_WAITERS) &&
                        !atomic_compare_exchange_strong(
                                &lock->word, &word, word | FUTEX_WAITERS))
                        continue;
                r = sleep_on(lock, word | FUTEX_WAITERS, until);
                if (r < 0)
                        return r == -ETIMEDOUT ? crew__expired(deadline) : r;
                /* From now on others may sleep beside us and be known to nobody else. */
                waiters = FUTEX_WAITERS;
                spins = 0;
        }
}

void crew__lock_wake(crew__lock *lock)
{
        (void)crew__sys_futex_wake(&lock->word, 1);
}
