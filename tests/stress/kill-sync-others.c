/* SPDX-License-Identifier: MIT */

/*
 * SIGKILL at the instructions that matter in events, semaphores and barriers. What the twins take
 * away:
 *
 *      20 ms slice   a sleeper as the library's would be without
 *      the chain     nobody is named as the newest party
 */

#include "kill-sync.h"

/* Events. */

static void set_stepped(void *arg)
{
        struct shared *s = arg;

        victim_ready();
        (void)crew_event_set(&s->event);
}

static void await_event(void *arg)
{
        struct shared *s = arg;

        note(s, crew_event_wait(&s->event, CREW_S(20)));
}

static void await_event_unsliced(void *arg)
{
        struct shared *s = arg;
        crew__events *events = &((crew__event *)&s->event)->events;
        uint32_t value = crew__events_prepare(events);

        if (!crew_event_is_set(&s->event))
                (void)crew__sys_futex_wait(&events->word, value, crew_clock() + CREW_S(20));
        note(s, 0);
}

static bool is_set(void *arg)
{
        return crew_event_is_set(&((struct shared *)arg)->event);
}

/* Kills who sets it before it tells; how long the waiter took. */
static int64_t kill_setter(struct shared *s, void (*waiter)(void *), long extra, int64_t patience)
{
        pid_t left;

        REQUIRE_OK(crew_event_init(&s->event));
        left = start(s, waiter);
        (void)peer_await_sleep(left, CREW_S(10));
        s->victim = victim_start(set_stepped, s);
        return finish(s, left, kill_behind(s, is_set, extra), patience);
}

TEST(setter, "SIGKILL of who sets an event before it tells", "[kill][sync][event]")
{
        struct shared *s = share();
        struct kills kills = begin();

        TEST_DEADLINE(200);
        for (long long i = 0; kills_more(&kills, i, 1); i++)
                kills_add(&kills, true, kill_setter(s, await_event, (long)(i % 6), CREW_S(5)));
        kills_end(&kills);
        unshare_it(s);
}

TEST(setter_unsliced, "without the slice nobody learns of an event whose setter died",
        "[kill][sync][event][twin]")
{
        struct shared *s = share();

        CHECK(kill_setter(s, await_event_unsliced, 0, HANG) == INT64_MAX);
        unshare_it(s);
}

/* Semaphores. */

static void acquire_stepped(void *arg)
{
        struct shared *s = arg;

        settle(s->listed);
        victim_ready();
        (void)crew_semaphore_acquire(&s->semaphore, CREW_S(20));
}

static void acquire(void *arg)
{
        struct shared *s = arg;

        note(s, crew_semaphore_acquire(&s->semaphore, CREW_S(20)));
}

static void acquire_unsliced(void *arg)
{
        struct shared *s = arg;
        _Atomic uint32_t *value = &((crew__semaphore *)&s->semaphore)->value;

        (void)crew__sys_futex_wait(value, CREW__SEMAPHORE_SLEEPERS, crew_clock() + CREW_S(20));
        note(s, 0);
}

/* The wake for a unit goes to the victim, which is killed: the unit stays for the other. */
static bool kill_woken(struct shared *s, void (*waiter)(void *), int64_t patience, int64_t *took)
{
        int64_t began;
        bool woken;
        pid_t left;

        REQUIRE_OK(crew_semaphore_init(&s->semaphore, 0, 0));
        s->victim = victim_start(acquire_stepped, s);
        REQUIRE(to_sleep(s));
        left = start(s, waiter);
        (void)peer_await_sleep(left, CREW_S(1));
        began = peer_now();
        REQUIRE_OK(crew_semaphore_release(&s->semaphore));
        woken = victim_woken(s->victim);
        peer_kill(s->victim);
        *took = finish(s, left, began, patience);
        return woken;
}

TEST(woken, "SIGKILL of a thread that was woken for a unit", "[kill][sync][semaphore]")
{
        struct shared *s = share();
        struct kills kills = begin();

        TEST_DEADLINE(200);
        for (long long i = 0; kills_more(&kills, i, 50); i++) {
                int64_t took;
                bool forced = kill_woken(s, acquire, CREW_S(5), &took);

                kills_add(&kills, forced, took);
                CHECK_INT(crew_semaphore_value(&s->semaphore), ==, 0);
        }
        kills_end(&kills);
        unshare_it(s);
}

TEST(woken_unsliced, "without the slice a unit lies there and everybody sleeps",
        "[kill][sync][semaphore][twin]")
{
        struct shared *s = share();
        bool forced = false;

        TEST_DEADLINE(200);
        for (int i = 0; i < 200 && !forced; i++) {
                int64_t took;

                forced = kill_woken(s, acquire_unsliced, HANG, &took);
                if (forced)
                        CHECK(took == INT64_MAX);
        }
        CHECK(forced);
        unshare_it(s);
}

/* Barriers. */

static void come_stepped(void *arg)
{
        struct shared *s = arg;

        settle(s->listed);
        victim_ready();
        (void)crew_barrier_wait(&s->barrier, CREW_S(20));
}

static void come(void *arg)
{
        struct shared *s = arg;

        note(s, crew_barrier_wait(&s->barrier, CREW_S(20)));
}

static crew__barrier *barrier_of(struct shared *s)
{
        return (crew__barrier *)&s->barrier;
}

static bool coming(void *arg)
{
        struct shared *s = arg;

        return holds(&barrier_of(s)->lock, s->victim);
}

static void await_come(struct shared *s, unsigned n)
{
        for (int i = 0; i < 100000 && crew_barrier_waiting(&s->barrier) < n; i++)
                peer_pause(100000);
        REQUIRE(crew_barrier_waiting(&s->barrier) == n);
}

TEST(on_the_way_in, "SIGKILL of a party inside the barrier's lock", "[kill][sync][barrier]")
{
        struct shared *s = share();
        struct kills kills = begin();

        TEST_DEADLINE(200);
        for (long long i = 0; kills_more(&kills, i, 4); i++) {
                int64_t began;
                bool forced;
                pid_t left;

                REQUIRE_OK(crew_barrier_init(&s->barrier, 3));
                s->victim = victim_start(come_stepped, s);
                REQUIRE(victim_step_until(s->victim, coming, s, MOST_STEPS) >= 0);
                for (long k = 0; k < i % 40 && coming(s); k++)
                        REQUIRE(victim_step(s->victim));
                left = start(s, come);
                forced = coming(s);
                began = peer_now();
                peer_kill(s->victim);
                kills_add(&kills, forced, finish(s, left, began, CREW_S(5)));
                CHECK_INT(atomic_load(&s->result), ==, -ECANCELED);
        }
        kills_end(&kills);
        unshare_it(s);
}

/* A party asleep, behind another one or before it; how long the other took. */
static int64_t kill_party(struct shared *s, bool newest, bool chained)
{
        int64_t began;
        pid_t left = 0;

        REQUIRE_OK(crew_barrier_init(&s->barrier, 3));
        if (newest) {
                left = start(s, come);
                await_come(s, 1);
        }
        s->victim = victim_start(come_stepped, s);
        REQUIRE(to_sleep(s));
        if (!newest) {
                if (!chained)
                        atomic_store(&barrier_of(s)->last, 0);
                left = start(s, come);
                await_come(s, 2);
        }
        if (!chained)
                atomic_store(&barrier_of(s)->last, 0);
        began = peer_now();
        peer_kill(s->victim);
        return finish(s, left, began, chained ? CREW_S(5) : HANG);
}

TEST(asleep, "SIGKILL of a party that waits, the newest or not", "[kill][sync][barrier]")
{
        struct shared *s = share();
        struct kills kills = begin();

        TEST_DEADLINE(200);
        for (long long i = 0; kills_more(&kills, i, 1); i++) {
                kills_add(&kills, true, kill_party(s, i & 1, true));
                CHECK_INT(atomic_load(&s->result), ==, -ECANCELED);
        }
        kills_end(&kills);
        unshare_it(s);
}

TEST(unwatched, "without the chain nobody misses a party that died", "[kill][sync][barrier][twin]")
{
        struct shared *s = share();

        CHECK(kill_party(s, true, false) == INT64_MAX);
        CHECK(kill_party(s, false, false) == INT64_MAX);
        unshare_it(s);
}
