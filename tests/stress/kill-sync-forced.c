/* SPDX-License-Identifier: MIT */

/*
 * SIGKILL at the instructions that matter in locks and conditions. What the twins take away:
 *
 *      slot and claim   the victim forgets its robust list, its lock is not watched, or both
 *      tokens           what a killed waiter left
 */

#include "kill-sync.h"

enum { EXTRA = 61 };

/* Locks. */

static void own(void *arg)
{
        struct shared *s = arg;

        settle(s->listed);
        victim_ready();
        if (s->two)
                (void)crew_lock_acquire(&s->other, CREW_S(5));
        (void)crew_lock_acquire(&s->lock, CREW_S(5));
        if (!s->two)
                (void)crew_lock_release(&s->lock);
        /* Two: the outer one is not in the slot any more, in user code or not. */
        (void)crew_lock_acquire(&s->lock, CREW_NOW);
        (void)crew_lock_release(&s->lock);
}

static void take(void *arg)
{
        struct shared *s = arg;
        int r = crew_lock_acquire(s->two ? &s->other : &s->lock, CREW_S(10));

        if (r >= 0)
                REQUIRE_OK(crew_lock_release(s->two ? &s->other : &s->lock));
        note(s, r);
}

static bool step_inside(struct shared *s, long extra)
{
        s->victim = victim_start(own, s);
        return victim_step_inside(s->victim, inside, s, MOST_STEPS, extra);
}

static void killed_owners(bool two)
{
        struct shared *s = share();
        struct kills kills = begin();

        s->two = two;
        for (long long i = 0; kills_more(&kills, i, 4); i++) {
                int64_t began;
                pid_t pid;

                if (!step_inside(s, (long)(i % EXTRA))) {
                        peer_kill(s->victim);
                        (void)crew_lock_acquire(&s->lock, CREW_S(1));
                        (void)crew_lock_release(&s->lock);
                        continue;
                }
                pid = start(s, take);
                if (i & 1)
                        (void)peer_await_sleep(pid, CREW_S(1));
                began = peer_now();
                peer_kill(s->victim);
                kills_add(&kills, true, finish(s, pid, began, CREW_S(5)));
                CHECK_INT(atomic_load(&s->result), ==, CREW_OWNER_DIED);
                REQUIRE_OK(crew_lock_init(&s->lock));
        }
        kills_end(&kills);
        unshare_it(s);
}

TEST(lock_owner, "SIGKILL of who has a lock", "[kill][sync][lock]")
{
        TEST_DEADLINE(200);
        killed_owners(false);
}

TEST(two_locks, "SIGKILL of who has a lock and another one inside", "[kill][sync][lock]")
{
        TEST_DEADLINE(200);
        killed_owners(true);
}

/* Kills one in the lock; what the next one gets, with one of the two mechanisms or none. */
static bool found(bool slot, bool claim)
{
        struct shared *s = share();
        int64_t took;
        pid_t pid;

        s->listed = slot;
        REQUIRE(step_inside(s, 9));
        if (!claim)
                atomic_store(&inner(&s->lock)->watched, 0);
        peer_kill(s->victim);
        pid = peer_start(take, s);
        if (!claim)
                keep_unwatched(inner(&s->lock), peer_now());
        took = finish(s, pid, peer_now(), slot || claim ? CREW_S(5) : 0);
        unshare_it(s);
        return took != INT64_MAX;
}

TEST(either, "the slot alone and the claim alone find a dead owner, without both nobody does",
        "[kill][sync][lock][twin]")
{
        if (crew__thread_self()->robust)
                CHECK(found(true, false));
        CHECK(found(false, true));
        CHECK(!found(false, false));
}

/* Conditions. */

static _Atomic uint64_t *state_of(struct shared *s)
{
        return (_Atomic uint64_t *)(void *)&s->condition;
}

static void await_notify(void *arg)
{
        struct shared *s = arg;

        settle(s->listed);
        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(5)));
        note(s, crew_condition_wait(&s->condition, &s->lock, CREW_S(20)));
        REQUIRE_OK(crew_lock_release(&s->lock));
}

static void wait_stepped(void *arg)
{
        struct shared *s = arg;

        settle(s->listed);
        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(5)));
        victim_ready();
        (void)crew_condition_wait(&s->condition, &s->lock, CREW_S(20));
}

static uint32_t waiting(struct shared *s)
{
        return (uint32_t)(atomic_load(state_of(s)) >> 32) & 0xffff;
}

static void await_waiting(struct shared *s, uint32_t n)
{
        for (int i = 0; i < 100000 && waiting(s) < n; i++)
                peer_pause(100000);
        REQUIRE(waiting(s) == n);
}

static void notify_one(struct shared *s)
{
        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(5)));
        REQUIRE_OK(crew_condition_notify(&s->condition, 1));
        REQUIRE_OK(crew_lock_release(&s->lock));
}

/* The victim sleeps first, so that the wake is its. The other one, which comes after it. */
static pid_t start_two(struct shared *s)
{
        pid_t left;

        REQUIRE_OK(crew_condition_init(&s->condition));
        s->victim = victim_start(wait_stepped, s);
        REQUIRE(to_sleep(s));
        left = start(s, await_notify);
        await_waiting(s, 2);
        (void)peer_await_sleep(left, CREW_S(1));
        return left;
}

/* Woken or not, it is killed before it has the lock again. Whether the wake was the victim's. */
static bool kill_notified(struct shared *s)
{
        bool woken = victim_woken(s->victim);

        peer_kill(s->victim);
        return woken;
}

TEST(notified, "SIGKILL of a waiter that was just notified", "[kill][sync][condition]")
{
        struct shared *s = share();
        struct kills kills = begin();

        TEST_DEADLINE(200);
        for (long long i = 0; kills_more(&kills, i, 50); i++) {
                pid_t left = start_two(s);
                int64_t began = peer_now();
                bool forced;

                notify_one(s);
                forced = kill_notified(s);
                kills_add(&kills, forced, finish(s, left, began, CREW_S(5)));
                CHECK_INT(atomic_load(&s->result), ==, 0);
        }
        kills_end(&kills);
        unshare_it(s);
}

TEST(no_token, "without its token a notify dies with the waiter it woke",
        "[kill][sync][condition][twin]")
{
        struct shared *s = share();
        bool forced = false;

        TEST_DEADLINE(200);
        for (int i = 0; i < 200 && !forced; i++) {
                pid_t left = start_two(s);
                int64_t began = peer_now(), took;

                /* As if who is woken took it along: with the lock held, so that nobody is faster.
                 */
                REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(5)));
                REQUIRE_OK(crew_condition_notify(&s->condition, 1));
                (void)atomic_fetch_and(state_of(s), UINT64_MAX >> 16);
                REQUIRE_OK(crew_lock_release(&s->lock));
                forced = kill_notified(s);
                took = finish(s, left, began, HANG);
                if (forced)
                        CHECK(took == INT64_MAX);
                REQUIRE_OK(crew_lock_init(&s->lock));
        }
        CHECK(forced);
        unshare_it(s);
}

static void notify_stepped(void *arg)
{
        struct shared *s = arg;

        settle(s->listed);
        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(5)));
        victim_ready();
        (void)crew_condition_notify(&s->condition, 1);
        (void)crew_lock_release(&s->lock);
}

static bool has_notified(void *arg)
{
        struct shared *s = arg;

        return atomic_load(state_of(s)) != s->before;
}

TEST(notifier, "SIGKILL of a notifier between its token and its wake", "[kill][sync][condition]")
{
        struct shared *s = share();
        struct kills kills = begin();

        TEST_DEADLINE(200);
        for (long long i = 0; kills_more(&kills, i, 1); i++) {
                int64_t began;
                pid_t left;

                REQUIRE_OK(crew_condition_init(&s->condition));
                left = start(s, await_notify);
                await_waiting(s, 1);
                (void)peer_await_sleep(left, CREW_S(1));
                s->before = atomic_load(state_of(s));
                s->victim = victim_start(notify_stepped, s);
                began = kill_behind(s, has_notified, (long)(i % 8));
                kills_add(&kills, true, finish(s, left, began, CREW_S(5)));
                CHECK_INT(atomic_load(&s->result), >=, 0);
        }
        kills_end(&kills);
        unshare_it(s);
}
