/* SPDX-License-Identifier: MIT */

/*
 * Owners of locks, waiters of conditions and parties of barriers, SIGKILLed at a random moment,
 * again and again: whoever is left goes on within 100 ms, less what the machine itself kept it
 * waiting, which canaries tell; and who gets a lock whose owner died inside is told.
 */

#include "check.h"
#include "kill.h"

#include <crew/error.h>
#include <crew/sync.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOUND CREW_MS(100)

struct shared {
        crew_lock outer, lock;
        crew_condition condition;
        crew_barrier barrier;
        volatile int one, other; /* equal outside of the lock */
        volatile int items;
        volatile uint64_t turns;
        bool nested;
        _Atomic uint32_t go, answered;
        _Atomic int result;
        _Atomic int64_t when, longest;
};

static struct shared *share(void)
{
        struct shared *s = peer_memory(sizeof *s);

        REQUIRE_OK(crew_lock_init(&s->outer));
        REQUIRE_OK(crew_lock_init(&s->lock));
        REQUIRE_OK(crew_condition_init(&s->condition));
        return s;
}

static long long rounds(void)
{
        return test_scale(2000, 40);
}

/* A moment from now, up to half a millisecond, or right away. */
static void linger(uint64_t *random)
{
        uint64_t r = peer_random(random);

        if (r & 7)
                peer_pause((int64_t)(r >> 8) % 500000);
}

static void sum_up(struct canary *canary, int late, long long bitten)
{
        INFO("%lld rounds, %lld deaths that left something, %d late", rounds(), bitten, late);
        /* One in a thousand may be the machine's fault. */
        CHECK_INT(late, <=, 1 + rounds() / 1000);
        canary_stop(canary);
}

/* Changes what the lock guards, with another lock around it in every other round. */
static void own_it(void *arg)
{
        struct shared *s = arg;

        for (;;) {
                int r;

                if (s->nested && crew_lock_acquire(&s->outer, CREW_FOREVER) < 0)
                        _exit(1);
                r = crew_lock_acquire(&s->lock, CREW_FOREVER);
                if (r < 0)
                        _exit(1);
                if (r == 0 && s->one != s->other)
                        _exit(2);
                s->other = s->one;
                s->one++;
                for (int i = 0; i < 50; i++)
                        atomic_signal_fence(memory_order_seq_cst);
                s->other++;
                s->turns++;
                if (crew_lock_release(&s->lock) < 0)
                        _exit(3);
                if (s->nested && crew_lock_release(&s->outer) < 0)
                        _exit(4);
        }
}

/* Takes one lock after the other as it is left; true if something was. */
static bool recover(crew_lock *l, const struct shared *guards)
{
        int r = crew_lock_acquire(l, CREW_S(10));

        REQUIRE_OK(r);
        if (guards && guards->one != guards->other)
                CHECK_INT(r, ==, CREW_OWNER_DIED);
        return r == CREW_OWNER_DIED;
}

TEST(locks, "owners of locks killed at random", "[kill][sync][lock]")
{
        struct shared *s = share();
        struct canary *canary = canary_start();
        uint64_t random = peer_seed();
        long long bitten = 0;
        int late = 0;
        pid_t stays;

        TEST_DEADLINE(600);
        stays = peer_start(own_it, s);
        for (long long i = 0; i < rounds(); i++) {
                pid_t victim;
                int64_t began;
                bool died;

                victim = peer_start(own_it, s);
                linger(&random);
                (void)kill(victim, SIGKILL);
                began = peer_now();
                died = recover(&s->lock, s);
                late += canary_late(canary, peer_now() - began, BOUND);
                s->other = s->one;
                REQUIRE_OK(crew_lock_release(&s->lock));
                began = peer_now();
                died |= recover(&s->outer, NULL);
                late += canary_late(canary, peer_now() - began, BOUND);
                /* With both free, and nobody in between, the way they are taken may change. */
                REQUIRE_OK(crew_lock_release(&s->outer));
                (void)waitpid(victim, NULL, 0);
                if (i % 100 == 99) {
                        peer_kill(stays);
                        (void)recover(&s->outer, NULL);
                        (void)recover(&s->lock, s);
                        s->other = s->one;
                        REQUIRE_OK(crew_lock_release(&s->lock));
                        REQUIRE_OK(crew_lock_release(&s->outer));
                        s->nested = !s->nested;
                        stays = peer_start(own_it, s);
                }
                bitten += died;
        }
        CHECK_INT(s->turns, >, 0);
        peer_kill(stays);
        sum_up(canary, late, bitten);
        peer_memory_free(s, sizeof *s);
}

/* Takes items as they come. */
static void consume(void *arg)
{
        struct shared *s = arg;

        if (crew_lock_acquire(&s->lock, CREW_FOREVER) < 0)
                _exit(1);
        for (;;) {
                while (s->items == 0) {
                        if (crew_condition_wait(&s->condition, &s->lock, CREW_FOREVER) < 0)
                                _exit(2);
                }
                s->items--;
                atomic_store(&s->when, peer_now());
        }
}

/* An owner that died may have changed what others wait for, or have been notified of it, and told
 * nobody: mending includes that. */
static void lock_and_mend(struct shared *s)
{
        int r = crew_lock_acquire(&s->lock, CREW_S(10));

        REQUIRE_OK(r);
        if (r == CREW_OWNER_DIED)
                REQUIRE_OK(crew_condition_notify_all(&s->condition));
}

static void produce(struct shared *s)
{
        lock_and_mend(s);
        s->items++;
        REQUIRE_OK(crew_condition_notify(&s->condition, 1));
        REQUIRE_OK(crew_lock_release(&s->lock));
}

static bool all_taken(struct shared *s)
{
        int64_t until = peer_now() + test_slow(CREW_S(10));
        int items;

        do {
                lock_and_mend(s);
                items = s->items;
                REQUIRE_OK(crew_lock_release(&s->lock));
                if (items)
                        peer_pause(50000);
        } while (items && peer_now() < until);
        return items == 0;
}

/* One that does fn() is killed when `until` returns: one that consumes takes what there is. */
static void killed_beside(void (*fn)(void *), void (*until)(struct shared *s, uint64_t *random))
{
        struct shared *s = share();
        struct canary *canary = canary_start();
        uint64_t random = peer_seed();
        int late = 0;
        pid_t stays;

        TEST_DEADLINE(600);
        stays = peer_start(consume, s);
        for (long long i = 0; i < rounds(); i++) {
                pid_t victim = peer_start(fn, s);
                int64_t began;

                until(s, &random);
                (void)kill(victim, SIGKILL);
                began = peer_now();
                REQUIRE(all_taken(s));
                late += canary_late(canary, peer_now() - began, BOUND);
                (void)waitpid(victim, NULL, 0);
        }
        peer_kill(stays);
        sum_up(canary, late, 0);
        peer_memory_free(s, sizeof *s);
}

static void produce_some(struct shared *s, uint64_t *random)
{
        linger(random);
        for (uint64_t n = peer_random(random) % 3; n > 0; n--)
                produce(s);
        produce(s);
        if (peer_random(random) & 1)
                linger(random);
}

TEST(waiters, "waiters of a condition killed at random", "[kill][sync][condition]")
{
        killed_beside(consume, produce_some);
}

/* Notifies for ever what it itself waits for with somebody else. */
static void notify_it(void *arg)
{
        struct shared *s = arg;

        for (;;) {
                if (crew_lock_acquire(&s->lock, CREW_FOREVER) < 0)
                        _exit(1);
                if (s->items < 3) {
                        s->items++;
                        (void)crew_condition_notify(&s->condition, 1);
                }
                if (crew_lock_release(&s->lock) < 0)
                        _exit(2);
        }
}

static void produce_nothing(struct shared *s, uint64_t *random)
{
        (void)s;
        linger(random);
}

TEST(notifiers, "notifiers of a condition killed at random", "[kill][sync][condition]")
{
        killed_beside(notify_it, produce_nothing);
}

static void party(void *arg)
{
        struct shared *s = arg;

        (void)crew_barrier_wait(&s->barrier, CREW_S(20));
        for (;;)
                (void)pause();
}

/* Comes once each time it is told to, and notes how that ended. */
static void witness(void *arg)
{
        struct shared *s = arg;

        for (uint32_t turn = 1;; turn++) {
                while (atomic_load(&s->go) < turn)
                        peer_pause(20000);
                atomic_store(&s->result, crew_barrier_wait(&s->barrier, CREW_S(20)));
                atomic_store(&s->when, peer_now());
                atomic_store(&s->answered, turn);
        }
}

static bool await_come(struct shared *s, unsigned n)
{
        for (int i = 0; i < 400000 && crew_barrier_waiting(&s->barrier) != n; i++)
                peer_pause(25000);
        return crew_barrier_waiting(&s->barrier) == n;
}

TEST(parties, "parties of a barrier killed at random", "[kill][sync][barrier]")
{
        struct shared *s = share();
        struct canary *canary = canary_start();
        uint64_t random = peer_seed();
        long long bitten = 0;
        int late = 0;
        pid_t stays;

        TEST_DEADLINE(600);
        stays = peer_start(witness, s);
        REQUIRE_OK(crew_barrier_init(&s->barrier, 3));
        for (long long i = 0; i < rounds(); i++) {
                bool first = i & 1;
                int64_t began;
                pid_t victim;

                /* The victim is the newest party, or has one behind it. */
                if (first) {
                        atomic_fetch_add(&s->go, 1);
                        REQUIRE(await_come(s, 1));
                }
                victim = peer_start(party, s);
                if (first) {
                        linger(&random);
                } else {
                        REQUIRE(await_come(s, 1));
                        atomic_fetch_add(&s->go, 1);
                        linger(&random);
                }
                (void)kill(victim, SIGKILL);
                began = peer_now();
                (void)waitpid(victim, NULL, 0);
                if (crew_barrier_waiting(&s->barrier) == 1 && first) {
                        /* It had not come yet, or died on the way in. */
                        REQUIRE_OK(crew_barrier_abort(&s->barrier));
                } else {
                        bitten++;
                }
                REQUIRE(peer_await(&s->answered, atomic_load(&s->go), CREW_S(10)));
                CHECK_INT(atomic_load(&s->result), ==, -ECANCELED);
                late += canary_late(canary, atomic_load(&s->when) - began, BOUND);
                REQUIRE_OK(crew_barrier_reset(&s->barrier));
        }
        CHECK_INT(bitten, >, rounds() / 4);
        peer_kill(stays);
        sum_up(canary, late, bitten);
        peer_memory_free(s, sizeof *s);
}
