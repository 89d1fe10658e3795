/* SPDX-License-Identifier: MIT */
#ifndef CREW_SYNC_H
#define CREW_SYNC_H

/*
 * Locks, conditions, events, semaphores and barriers as plain structs, to be put into a struct of
 * your own that lies in shared memory: a crew_shm, or any MAP_SHARED mapping.
 *
 *      struct account { crew_lock lock; int64_t balance; } *a = crew_shm_data(shm);
 *      crew_lock_init(&a->lock);
 *
 * There is no handle, no descriptor, nothing to grant and nothing to free: whoever has the memory
 * may use them, any thread of any process in one pid namespace. Initialize each once, before
 * anybody else uses it; never copy or move one that is in use. Don't reach into the words.
 *
 * Nobody hangs because somebody died: each call looks up every 20 ms. Whoever shares the memory can
 * keep a lock for ever, though, or write rubbish into the words: give calls a timeout where you don't
 * trust them.
 *
 * Timeouts are nanoseconds from now: CREW_NOW answers -EAGAIN, more than that -ETIMEDOUT; -EINTR:
 * a signal handler ran. None of these functions is async-signal-safe unless it says so. All are
 * thread-safe, usable in a forked child, and work in every sandbox.
 */

#include <crew/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CREW_SYNC_ __attribute__((aligned(8)))

typedef struct crew_lock {
        uint32_t word[8];
} CREW_SYNC_ crew_lock;

typedef struct crew_rlock {
        uint32_t word[8];
} CREW_SYNC_ crew_rlock;

typedef struct crew_condition {
        uint32_t word[8];
} CREW_SYNC_ crew_condition;

typedef struct crew_event {
        uint32_t word[4];
} CREW_SYNC_ crew_event;

typedef struct crew_semaphore {
        uint32_t word[4];
} CREW_SYNC_ crew_semaphore;

typedef struct crew_barrier {
        uint32_t word[16];
} CREW_SYNC_ crew_barrier;

/* What acquire answers besides 0: the lock is yours, but its owner died inside. What it guards may be
 * half changed, and who waits for that on a condition may not have been notified. Mend it and
 * notify; the next acquire answers 0. */
enum { CREW_OWNER_DIED = 1 };

/*
 * A lock, owned by a thread. All inits return 0; -EINVAL: no memory, or not 8-aligned.
 *
 * acquire: 0 or CREW_OWNER_DIED: this thread owns it. -EAGAIN, -ETIMEDOUT; -EINTR; -EDEADLK: this
 * thread owns it already; -EXDEV: initialized in another pid or time namespace; -EINVAL: never
 * initialized.
 * release: 0; -EPERM: this thread does not own it.
 *
 * An owner's death is seen within 100 ms: the kernel marks the lock that a thread took last, and of
 * others who waits for them finds out. (In a worker's sandbox, where /proc must not be looked at, a
 * thread that took another lock after this one counts as dead only once its process was collected.)
 * An owner that runs another program by exec may stay the owner until that ends.
 */
CREW_PUBLIC int crew_lock_init(crew_lock *l);
CREW_PUBLIC int crew_lock_acquire(crew_lock *l, int64_t timeout);
CREW_PUBLIC int crew_lock_release(crew_lock *l);

/*
 * The same for a lock that its owner may take again; it is free after as many releases. Acquiring
 * it again answers 0; -EOVERFLOW: 2^32 - 1 times already.
 */
CREW_PUBLIC int crew_rlock_init(crew_rlock *l);
CREW_PUBLIC int crew_rlock_acquire(crew_rlock *l, int64_t timeout);
CREW_PUBLIC int crew_rlock_release(crew_rlock *l);

/*
 * A condition of what a lock guards. The caller owns the lock, and owns it again after the wait,
 * whatever that answers (but -EPERM, -EINVAL). Wait in a loop that looks at the condition itself.
 *
 * wait: 0: notified, and nobody else was by the same notify; CREW_OWNER_DIED: the lock is the
 * caller's but its last owner died inside, notified or not; -EAGAIN, -ETIMEDOUT: not notified;
 * -EINTR; -EPERM: the caller does not own the lock. The timeout bounds the wait for the notify; the
 * lock is taken back however long others keep it. wait_rlock lets an rlock go completely and
 * restores how often it was acquired.
 *
 * notify wakes up to `n` of those that wait, notify_all all; 0. Call them with the lock held. A
 * waiter that is killed before it owns the lock again leaves its notify to another one.
 */
CREW_PUBLIC int crew_condition_init(crew_condition *c);
CREW_PUBLIC int crew_condition_wait(crew_condition *c, crew_lock *l, int64_t timeout);
CREW_PUBLIC int crew_condition_wait_rlock(crew_condition *c, crew_rlock *l, int64_t timeout);
CREW_PUBLIC int crew_condition_notify(crew_condition *c, unsigned n);
CREW_PUBLIC int crew_condition_notify_all(crew_condition *c);

/*
 * A flag that is waited for. set and clear: 0. wait: 0 if it is set, or was for a moment during the
 * wait; -EAGAIN, -ETIMEDOUT; -EINTR. set is async-signal-safe.
 */
CREW_PUBLIC int crew_event_init(crew_event *e);
CREW_PUBLIC int crew_event_set(crew_event *e);
CREW_PUBLIC int crew_event_clear(crew_event *e);
CREW_PUBLIC bool crew_event_is_set(const crew_event *e);
CREW_PUBLIC int crew_event_wait(crew_event *e, int64_t timeout);

/*
 * A semaphore of `value` units, at most `bound` (0 = 2^31 - 1). Units have no owner: those that a
 * process had when it died are gone.
 *
 * init: 0; -EINVAL also for a value above the bound or a bound above 2^31 - 1.
 * acquire: 0; -EAGAIN, -ETIMEDOUT; -EINTR.
 * release: 0; -EOVERFLOW: there are `bound` units already. Async-signal-safe.
 * value: how many there were a moment ago.
 */
CREW_PUBLIC int crew_semaphore_init(crew_semaphore *s, unsigned value, unsigned bound);
CREW_PUBLIC int crew_semaphore_acquire(crew_semaphore *s, int64_t timeout);
CREW_PUBLIC int crew_semaphore_release(crew_semaphore *s);
CREW_PUBLIC unsigned crew_semaphore_value(const crew_semaphore *s);

/*
 * A barrier: nobody passes until `parties` threads have come; then all do, and it starts afresh.
 *
 * wait: 0 to parties - 1, for each party another number, in the order they came: all are there.
 * -ETIMEDOUT, -EAGAIN (CREW_NOW): they are not, and the barrier is broken now. -ECANCELED: it is or
 * was broken while this party waited: another one ran out of time, died while it waited (seen within
 * 100 ms, in a worker's sandbox once it was collected), or called abort or reset. -EINTR: a signal
 * handler ran; the party counts as come, and its next wait goes on where this one ended. -EXDEV and
 * -EINVAL as for locks. A party that dies before it comes is only missed: give waits a timeout.
 *
 * A broken barrier refuses everybody until reset, which also breaks the wait of those who are there.
 * abort breaks it. Both: 0. parties, waiting and broken: what was so a moment ago.
 */
CREW_PUBLIC int crew_barrier_init(crew_barrier *b, unsigned parties);
CREW_PUBLIC int crew_barrier_wait(crew_barrier *b, int64_t timeout);
CREW_PUBLIC int crew_barrier_reset(crew_barrier *b);
CREW_PUBLIC int crew_barrier_abort(crew_barrier *b);
CREW_PUBLIC unsigned crew_barrier_parties(const crew_barrier *b);
CREW_PUBLIC unsigned crew_barrier_waiting(const crew_barrier *b);
CREW_PUBLIC bool crew_barrier_broken(const crew_barrier *b);

#ifdef __cplusplus
}
#endif
#endif
