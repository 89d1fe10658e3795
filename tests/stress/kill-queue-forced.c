/* SPDX-License-Identifier: MIT */

/*
 * SIGKILL at the instructions that matter: while a lock is held, between commit and notify, and of
 * a sleeper that was just woken. No message is lost, torn or doubled. What the twins take away:
 *
 *   robust lock    the victim forgets its robust list, and the mark that says so is wiped, so that
 *                  nobody looks for its owner either
 *   20 ms slice    the sleeper goes to sleep while the queue's state says that nobody shares it
 *   wake for all   a message is committed untold, then one sleeper is woken
 *
 * (The fence between commit and look at the sleeper bit has its twin in test-events.)
 */

#include "kill-forced.h"
#include "queue/queue.h"

#include <crew/queue.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

enum { EXTRA = 97 };

enum side { PUT, GET };

struct shared {
        crew_queue *q;
        enum side side;
        bool listed;
        uint32_t seen;  /* what the sleepers' word was */
        uint64_t index; /* and the index, before the first step */
        pid_t victim;
        _Atomic uint32_t go, done;
        _Atomic int64_t when;
        int value;
};

static struct shared *share(void)
{
        struct shared *s = peer_memory(sizeof *s);

        REQUIRE_OK(crew_queue_new(&s->q, 0, CREW_OPT(queue, .bytes = 4000)));
        s->listed = true;
        return s;
}

static void unshare_it(struct shared *s)
{
        (void)crew_queue_free(s->q);
        peer_memory_free(s, sizeof *s);
}

static crew__lock *lock_of(struct shared *s)
{
        return s->side == PUT ? &s->q->ring->producers.lock : &s->q->ring->consumers.lock;
}

static _Atomic uint64_t *index_of(struct shared *s)
{
        return s->side == PUT ? &s->q->ring->tail : &s->q->ring->head;
}

static struct kills begin(void)
{
        return kills_begin(test_scale(200, 20));
}

/* Puts or takes one value; known to the queue before, so that no sleeper is disturbed by that. */
static void victim(void *arg)
{
        struct shared *s = arg;
        int value;

        REQUIRE_OK(crew__queue_enter(s->q));
        settle(s->listed);
        victim_ready();
        if (s->side == PUT)
                (void)CREW_PUT(s->q, &s->value, CREW_S(5));
        else
                (void)CREW_GET(s->q, &value, CREW_S(5));
}

/* The same from the side of those who are left; its end is noted. */
static void survivor(void *arg)
{
        struct shared *s = arg;
        int value = s->value + 1;

        if (s->side == PUT)
                REQUIRE_OK(CREW_PUT(s->q, &value, CREW_S(10)));
        else
                REQUIRE_OK(CREW_GET(s->q, &value, CREW_S(10)));
        atomic_store(&s->when, peer_now());
        atomic_store(&s->done, 1);
}

static bool holding(void *arg)
{
        struct shared *s = arg;

        return holds(lock_of(s), s->victim);
}

/* What is queued: values from first to last. Leaves the queue empty. */
static void drain(struct shared *s, int first, int last)
{
        int value;

        for (; CREW_GET(s->q, &value, CREW_NOW) == 0; first++)
                CHECK_INT(value, ==, first);
        CHECK_INT(first, ==, last + 1);
}

/* Steps a victim into the lock and `extra` instructions on, but not out of it again. */
static bool step_inside(struct shared *s, long extra)
{
        s->victim = victim_start(victim, s);
        return victim_step_inside(s->victim, holding, s, MOST_STEPS, extra);
}

/* One kill inside the lock. How long the survivor took from the kill on, or INT64_MAX. */
static int64_t kill_holder(struct shared *s, bool already_waiting)
{
        pid_t pid = 0;
        int64_t began;

        atomic_store(&s->done, 0);
        if (already_waiting) {
                pid = peer_start(survivor, s);
                (void)peer_await_sleep(pid, CREW_S(1));
        }
        began = peer_now();
        peer_kill(s->victim);
        /* Before anybody can look. */
        if (!s->listed)
                atomic_store(&lock_of(s)->watched, 0);
        if (!pid)
                pid = peer_start(survivor, s);
        if (!s->listed)
                keep_unwatched(lock_of(s), began);
        if (!peer_await(&s->done, 1, s->listed ? CREW_S(5) : 0)) {
                peer_kill(pid);
                return INT64_MAX;
        }
        CHECK_INT(peer_join(pid), ==, 0);
        return atomic_load(&s->when) - began;
}

static void killed_holders(enum side side)
{
        struct shared *s = share();
        struct kills kills = begin();

        s->side = side;
        for (long long i = 0; kills_more(&kills, i, 3); i++) {
                uint64_t before;
                bool committed;

                s->value = 10;
                for (int v = 1; side == GET && v <= 3; v++)
                        REQUIRE_OK(CREW_PUT(s->q, &v, CREW_NOW));
                before = atomic_load(index_of(s));
                if (!step_inside(s, (long)(i % EXTRA))) {
                        /* Stepped out again: this one goes on to its end. */
                        peer_kill(s->victim);
                        while (CREW_GET(s->q, &s->value, CREW_NOW) == 0)
                                ;
                        continue;
                }
                committed = atomic_load(index_of(s)) != before;
                kills_add(&kills, true, kill_holder(s, i & 1));
                if (side == PUT)
                        drain(s, committed ? 10 : 11, 11);
                else
                        drain(s, committed ? 3 : 2, 3);
        }
        kills_end(&kills);
        unshare_it(s);
}

TEST(producer_lock, "SIGKILL while holding the producers' lock", "[kill][queue]")
{
        TEST_DEADLINE(200);
        killed_holders(PUT);
}

TEST(consumer_lock, "SIGKILL while holding the consumers' lock", "[kill][queue]")
{
        TEST_DEADLINE(200);
        killed_holders(GET);
}

static void without_robust(enum side side)
{
        struct shared *s = share();
        int value = 1;

        s->side = side;
        s->listed = false;
        if (side == GET)
                REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        REQUIRE(step_inside(s, 5));
        CHECK(kill_holder(s, false) == INT64_MAX);
        unshare_it(s);
}

TEST(no_robust, "without the robust lock a killed holder stops everybody", "[kill][queue][twin]")
{
        without_robust(PUT);
        without_robust(GET);
}

/* Takes one message after another once it may go, before which it does not sleep; each is noted. */
static void sleeper(void *arg)
{
        struct shared *s = arg;
        int value;

        REQUIRE_OK(crew__queue_enter(s->q));
        atomic_store(&s->done, 1);
        while (atomic_load(&s->go) == 0)
                (void)sched_yield();
        for (;;) {
                int r = CREW_GET(s->q, &value, CREW_S(20));

                if (r == -EPIPE)
                        return;
                REQUIRE(r == 0);
                atomic_store(&s->when, peer_now());
                atomic_fetch_add(&s->done, 1);
        }
}

static pid_t start_sleeper(struct shared *s)
{
        pid_t pid;

        atomic_store(&s->done, 0);
        pid = peer_start(sleeper, s);
        REQUIRE(peer_await(&s->done, 1, CREW_S(5)));
        return pid;
}

/* Somebody has announced that it sleeps. */
static bool asleep(struct shared *s)
{
        for (int i = 0; i < 100000 && !(atomic_load(&s->q->ring->readable.word) & 1); i++)
                peer_pause(50000);
        return atomic_load(&s->q->ring->readable.word) & 1;
}

/* Committed and out of the lock. */
static bool committed(void *arg)
{
        struct shared *s = arg;

        return atomic_load(index_of(s)) != s->index && atomic_load(&lock_of(s)->word) == 0;
}

static bool told(struct shared *s)
{
        return atomic_load(&s->q->ring->readable.word) != s->seen;
}

/* Kills the waiting victim some instructions behind its commit; true if nobody was told before. */
static bool kill_untold(struct shared *s, long extra, int64_t *began)
{
        bool forced = false;

        REQUIRE(asleep(s));
        s->index = atomic_load(index_of(s));
        s->seen = atomic_load(&s->q->ring->readable.word);
        if (victim_step_until(s->victim, committed, s, MOST_STEPS) >= 0) {
                for (long k = 0; k < extra && !told(s); k++)
                        (void)victim_step(s->victim);
                forced = !told(s) && !crew_queue_empty(s->q);
        }
        *began = peer_now();
        peer_kill(s->victim);
        return forced;
}

TEST(untold, "SIGKILL between commit and notify", "[kill][queue]")
{
        struct shared *s = share();
        struct kills kills = begin();
        pid_t pid = start_sleeper(s);

        TEST_DEADLINE(200);
        atomic_store(&s->go, 1);
        for (long long i = 0; kills_more(&kills, i, 5); i++) {
                uint32_t before = atomic_load(&s->done);
                int64_t began;
                bool forced;

                s->victim = victim_start(victim, s);
                forced = kill_untold(s, (long)(i % 12), &began);
                REQUIRE(peer_await(&s->done, before + 1, CREW_S(5)));
                kills_add(&kills, forced, atomic_load(&s->when) - began);
                CHECK(crew_queue_empty(s->q));
        }
        kills_end(&kills);
        REQUIRE_OK(crew_queue_close(s->q));
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

TEST(no_slice, "without the slice a sleeper that nobody told sleeps on", "[kill][queue][twin]")
{
        struct shared *s = share();
        pid_t pid = start_sleeper(s);
        int64_t began;

        s->victim = victim_start(victim, s);
        atomic_store(&s->q->ring->state, 0);
        atomic_store(&s->go, 1);
        /* Announced it looks once more. */
        REQUIRE(peer_await_sleep(pid, CREW_S(10)));
        CHECK(kill_untold(s, 2, &began));
        CHECK(!peer_await(&s->done, 2, HANG));
        CHECK_INT(crew_queue_count(s->q), ==, 1);
        peer_kill(pid);
        unshare_it(s);
}

static bool always(void *arg)
{
        (void)arg;
        return true;
}

/* Runs the victim until it sleeps on a futex. If its slice is over before that is seen, it has
 * stopped, and this round forces nothing. */
static bool to_sleep(struct shared *s)
{
        int64_t until = peer_now() + test_slow(CREW_S(10));
        struct peer_look l;

        if (!victim_to_call(s->victim, SYS_futex, always, s) || !victim_resume(s->victim))
                return false;
        while (peer_look(s->victim, &l) && peer_now() < until) {
                if (l.state == 'S' || l.state == 't')
                        return true;
                peer_pause(200000);
        }
        return false;
}

TEST(woken_get, "SIGKILL of a get that was just woken", "[kill][queue]")
{
        struct shared *s = share();
        struct kills kills = begin();
        pid_t pid = start_sleeper(s);

        TEST_DEADLINE(200);
        s->side = GET;
        atomic_store(&s->go, 1);
        for (long long i = 0; kills_more(&kills, i, 5); i++) {
                uint32_t before = atomic_load(&s->done);
                int64_t began;
                bool forced;

                s->victim = victim_start(victim, s);
                REQUIRE(to_sleep(s));
                began = peer_now();
                REQUIRE_OK(CREW_PUT(s->q, &s->value, CREW_NOW));
                forced = victim_woken(s->victim);
                peer_kill(s->victim);
                REQUIRE(peer_await(&s->done, before + 1, CREW_S(5)));
                kills_add(&kills, forced, atomic_load(&s->when) - began);
        }
        kills_end(&kills);
        REQUIRE_OK(crew_queue_close(s->q));
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

TEST(no_herd, "without a wake for all the others sleep beside the message", "[kill][queue][twin]")
{
        struct shared *s = share();
        crew__events *events = &s->q->ring->readable;
        pid_t pid = start_sleeper(s);

        s->side = GET;
        s->victim = victim_start(victim, s);
        atomic_store(&s->q->ring->state, 0);
        REQUIRE(to_sleep(s));
        atomic_store(&s->go, 1);
        REQUIRE(peer_await_sleep(pid, CREW_S(10)));
        /* A put that sees no sleeper, then a wake for the first of the two. */
        atomic_fetch_and(&events->word, ~1U);
        REQUIRE_OK(CREW_PUT(s->q, &s->value, CREW_NOW));
        (void)crew__sys_futex_wake(&events->word, 1);
        CHECK(victim_woken(s->victim));
        peer_kill(s->victim);
        CHECK(!peer_await(&s->done, 2, HANG));
        CHECK_INT(crew_queue_count(s->q), ==, 1);
        peer_kill(pid);
        unshare_it(s);
}

TEST(woken_put, "SIGKILL of a put that was just woken for its lock", "[kill][queue]")
{
        struct shared *s = share();
        struct kills kills = begin();
        int got;

        TEST_DEADLINE(200);
        for (long long i = 0; kills_more(&kills, i, 20); i++) {
                crew__patience patience = crew__patience_of(CREW_S(1));
                crew__hold hold;
                int64_t began;
                bool forced;
                pid_t pid;

                REQUIRE(crew__lock_acquire(lock_of(s), &hold, &patience) >= 0);
                atomic_store(&s->done, 0);
                s->victim = victim_start(victim, s);
                pid = peer_start(survivor, s);
                REQUIRE(peer_await_sleep(pid, CREW_S(5)));
                REQUIRE(to_sleep(s));
                began = peer_now();
                crew__lock_release(lock_of(s), &hold);
                forced = victim_woken(s->victim);
                peer_kill(s->victim);
                CHECK_INT(peer_join(pid), ==, 0);
                kills_add(&kills, forced, atomic_load(&s->when) - began);
                REQUIRE_OK(CREW_GET(s->q, &got, CREW_NOW));
                CHECK(crew_queue_empty(s->q));
        }
        kills_end(&kills);
        unshare_it(s);
}

/* A sleeper on the lock as the library's would be without its slice. */
static void sleep_unsliced(void *arg)
{
        struct shared *s = arg;
        _Atomic uint32_t *word = &lock_of(s)->word;

        atomic_store(&s->go, (uint32_t)-crew__sys_futex_wait(
                                     word, atomic_load(word), crew_clock() + test_slow(HANG)));
}

TEST(no_lock_slice, "without the slice a sleeper beside a killed one misses the lock",
        "[kill][queue][twin]")
{
        crew__patience patience = crew__patience_of(CREW_S(1));
        struct shared *s = share();
        crew__hold hold;
        bool forced = false;

        TEST_DEADLINE(60);
        for (int i = 0; !forced && i < 40; i++) {
                pid_t pid;

                REQUIRE(crew__lock_acquire(lock_of(s), &hold, &patience) >= 0);
                s->victim = victim_start(victim, s);
                REQUIRE(to_sleep(s));
                pid = peer_start(sleep_unsliced, s);
                REQUIRE(peer_await_sleep(pid, CREW_S(5)));
                crew__lock_release(lock_of(s), &hold);
                forced = victim_woken(s->victim);
                peer_kill(s->victim);
                CHECK_INT(peer_join(pid), ==, 0);
                if (forced)
                        CHECK_INT(atomic_load(&s->go), ==, ETIMEDOUT);
        }
        CHECK(forced);
        unshare_it(s);
}
