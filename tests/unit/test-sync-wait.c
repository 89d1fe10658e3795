/* SPDX-License-Identifier: MIT */

/* Conditions and barriers between threads. */

#include "check.h"
#include "peer.h"

#include <crew/error.h>
#include <crew/sync.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { MOST = 6 };

struct gate {
        crew_lock lock;
        crew_rlock rlock;
        crew_condition condition;
        crew_barrier barrier;
        int waiting; /* under the lock */
        int woken, late;
        bool go;
        int64_t timeout;
        _Atomic uint32_t entered;
        _Atomic int passed, broken, gone;
};

static void make(struct gate *g)
{
        *g = (struct gate){ .timeout = CREW_S(15) };
        REQUIRE_OK(crew_lock_init(&g->lock));
        REQUIRE_OK(crew_rlock_init(&g->rlock));
        REQUIRE_OK(crew_condition_init(&g->condition));
}

static void *wait_once(void *arg)
{
        struct gate *g = arg;
        int r;

        REQUIRE_OK(crew_lock_acquire(&g->lock, CREW_S(15)));
        g->waiting++;
        r = crew_condition_wait(&g->condition, &g->lock, g->timeout);
        if (r == 0)
                g->woken++;
        else if (r == -ETIMEDOUT)
                g->late++;
        REQUIRE_OK(crew_lock_release(&g->lock));
        return NULL;
}

/* With the lock held and `n` threads inside the wait: they let it go only there. */
static void lock_with_waiters(struct gate *g, int n)
{
        for (;;) {
                REQUIRE_OK(crew_lock_acquire(&g->lock, CREW_S(15)));
                if (g->waiting >= n)
                        return;
                REQUIRE_OK(crew_lock_release(&g->lock));
                peer_pause(100000);
        }
}

static void await_woken(struct gate *g, int n)
{
        int woken;

        do {
                peer_pause(100000);
                REQUIRE_OK(crew_lock_acquire(&g->lock, CREW_S(15)));
                woken = g->woken;
                REQUIRE_OK(crew_lock_release(&g->lock));
        } while (woken < n);
        CHECK_INT(woken, ==, n);
}

TEST(notify, "a notify wakes as many as it says and nobody else", "[unit][sync][condition]")
{
        pthread_t thread[MOST];
        struct gate g;

        make(&g);
        for (int i = 0; i < MOST; i++)
                REQUIRE(pthread_create(&thread[i], NULL, wait_once, &g) == 0);
        lock_with_waiters(&g, MOST);
        REQUIRE_OK(crew_condition_notify(&g.condition, 0));
        REQUIRE_OK(crew_condition_notify(&g.condition, 1));
        REQUIRE_OK(crew_lock_release(&g.lock));
        await_woken(&g, 1);
        lock_with_waiters(&g, MOST);
        REQUIRE_OK(crew_condition_notify(&g.condition, 2));
        REQUIRE_OK(crew_condition_notify(&g.condition, 1));
        REQUIRE_OK(crew_lock_release(&g.lock));
        await_woken(&g, 4);
        /* Two slices, in which nobody finds anything. */
        peer_pause(CREW_MS(45));
        lock_with_waiters(&g, MOST);
        CHECK_INT(g.woken, ==, 4);
        REQUIRE_OK(crew_condition_notify_all(&g.condition));
        REQUIRE_OK(crew_lock_release(&g.lock));
        for (int i = 0; i < MOST; i++)
                (void)pthread_join(thread[i], NULL);
        CHECK_INT(g.woken, ==, MOST);
}

TEST(nobody, "a notify that finds nobody is not kept for later", "[unit][sync][condition]")
{
        struct gate g;

        make(&g);
        REQUIRE_OK(crew_lock_acquire(&g.lock, CREW_NOW));
        REQUIRE_OK(crew_condition_notify_all(&g.condition));
        CHECK_INT(crew_condition_wait(&g.condition, &g.lock, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_condition_wait(&g.condition, &g.lock, CREW_MS(30)), ==, -ETIMEDOUT);
        /* The lock is held again. */
        CHECK_INT(crew_lock_release(&g.lock), ==, 0);
        CHECK_INT(crew_condition_wait(&g.condition, &g.lock, CREW_NOW), ==, -EPERM);
        CHECK_INT(crew_condition_wait(NULL, &g.lock, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_condition_init(NULL), ==, -EINVAL);
}

TEST(latecomers, "who comes after a notify takes nobody's away", "[unit][sync][condition]")
{
        pthread_t thread;
        struct gate g;

        make(&g);
        REQUIRE(pthread_create(&thread, NULL, wait_once, &g) == 0);
        lock_with_waiters(&g, 1);
        REQUIRE_OK(crew_condition_notify(&g.condition, 1));
        /* The other one is on its way and needs the lock, which this wait lets go. */
        CHECK_INT(crew_condition_wait(&g.condition, &g.lock, CREW_MS(60)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_lock_release(&g.lock));
        (void)pthread_join(thread, NULL);
        CHECK_INT(g.woken, ==, 1);
}

static void *wait_rlock(void *arg)
{
        struct gate *g = arg;

        for (int i = 0; i < 3; i++)
                REQUIRE_OK(crew_rlock_acquire(&g->rlock, CREW_S(15)));
        g->waiting = 1;
        while (!g->go)
                REQUIRE_OK(crew_condition_wait_rlock(&g->condition, &g->rlock, CREW_S(15)));
        for (int i = 0; i < 3; i++)
                REQUIRE_OK(crew_rlock_release(&g->rlock));
        CHECK_INT(crew_rlock_release(&g->rlock), ==, -EPERM);
        return NULL;
}

TEST(rlocks, "a wait lets an rlock go completely and restores how often it was had",
        "[unit][sync][condition]")
{
        pthread_t thread;
        struct gate g;
        bool there = false;

        make(&g);
        REQUIRE(pthread_create(&thread, NULL, wait_rlock, &g) == 0);
        while (!there) {
                REQUIRE_OK(crew_rlock_acquire(&g.rlock, CREW_S(15)));
                there = g.go = g.waiting == 1;
                REQUIRE_OK(crew_condition_notify_all(&g.condition));
                REQUIRE_OK(crew_rlock_release(&g.rlock));
        }
        (void)pthread_join(thread, NULL);
}

static void *hand_on(void *arg)
{
        struct gate *g = arg;

        REQUIRE_OK(crew_lock_acquire(&g->lock, CREW_S(15)));
        for (int i = 0; i < 300; i++) {
                g->woken++;
                REQUIRE_OK(crew_condition_notify(&g->condition, 1));
                if (i < 299) {
                        int turn = g->woken;

                        while (g->woken == turn)
                                REQUIRE_OK(
                                        crew_condition_wait(&g->condition, &g->lock, CREW_S(15)));
                }
        }
        REQUIRE_OK(crew_lock_release(&g->lock));
        return NULL;
}

TEST(ping_pong, "two threads hand the turn to each other, and no wake is lost",
        "[unit][sync][condition]")
{
        pthread_t thread[2];
        struct gate g;

        make(&g);
        for (int i = 0; i < 2; i++)
                REQUIRE(pthread_create(&thread[i], NULL, hand_on, &g) == 0);
        for (int i = 0; i < 2; i++)
                (void)pthread_join(thread[i], NULL);
        CHECK_INT(g.woken, ==, 600);
}

/* What each party wrote before the barrier is read by all behind it, without any other order. */
struct board {
        crew_barrier barrier;
        int wrote[MOST];
        _Atomic int next;
        int rounds;
};

static void *play(void *arg)
{
        struct board *b = arg;
        int me = atomic_fetch_add(&b->next, 1), sum;

        for (int round = 1; round <= b->rounds; round++) {
                b->wrote[me] = round;
                REQUIRE_OK(crew_barrier_wait(&b->barrier, CREW_S(15)));
                sum = 0;
                for (int i = 0; i < 3; i++)
                        sum += b->wrote[i];
                if (sum != 3 * round)
                        CHECK_INT(sum, ==, 3 * round);
                REQUIRE_OK(crew_barrier_wait(&b->barrier, CREW_S(15)));
        }
        return NULL;
}

TEST(litmus, "what was written before a barrier is read behind it", "[unit][sync][barrier]")
{
        struct board b = { .rounds = (int)test_scale(20000, 200) };
        pthread_t thread[3];

        TEST_DEADLINE(200);
        REQUIRE_OK(crew_barrier_init(&b.barrier, 3));
        for (int i = 0; i < 3; i++)
                REQUIRE(pthread_create(&thread[i], NULL, play, &b) == 0);
        for (int i = 0; i < 3; i++)
                (void)pthread_join(thread[i], NULL);
}

static void *pass(void *arg)
{
        struct gate *g = arg;
        int r;

        atomic_fetch_add(&g->entered, 1);
        r = crew_barrier_wait(&g->barrier, g->timeout);
        if (r >= 0)
                atomic_fetch_or(&g->passed, 1 << r);
        else if (r == -ECANCELED)
                atomic_fetch_add(&g->broken, 1);
        else
                CHECK_INT(r, ==, -ETIMEDOUT);
        return NULL;
}

static void start(struct gate *g, pthread_t thread[], int n)
{
        for (int i = 0; i < n; i++)
                REQUIRE(pthread_create(&thread[i], NULL, pass, g) == 0);
        for (int i = 0; i < 100000 && (int)crew_barrier_waiting(&g->barrier) < n; i++)
                peer_pause(100000);
        REQUIRE((int)crew_barrier_waiting(&g->barrier) == n);
}

static void finish(pthread_t thread[], int n)
{
        for (int i = 0; i < n; i++)
                (void)pthread_join(thread[i], NULL);
}

TEST(barrier, "all pass when the last has come, each with a number of its own",
        "[unit][sync][barrier]")
{
        pthread_t thread[MOST];
        struct gate g;

        make(&g);
        REQUIRE_OK(crew_barrier_init(&g.barrier, MOST + 1));
        CHECK_INT(crew_barrier_parties(&g.barrier), ==, MOST + 1);
        start(&g, thread, MOST);
        CHECK_INT(atomic_load(&g.passed), ==, 0);
        CHECK_INT(crew_barrier_wait(&g.barrier, CREW_S(15)), ==, MOST);
        finish(thread, MOST);
        CHECK_INT(atomic_load(&g.passed), ==, (1 << MOST) - 1);
        CHECK_INT(crew_barrier_waiting(&g.barrier), ==, 0);
        CHECK(!crew_barrier_broken(&g.barrier));
}

TEST(one_party, "a barrier of one lets it pass, a barrier of none is refused",
        "[unit][sync][barrier]")
{
        crew_barrier b = { { 0 } };

        CHECK_INT(crew_barrier_wait(&b, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_barrier_init(&b, 0), ==, -EINVAL);
        CHECK_INT(crew_barrier_init(NULL, 1), ==, -EINVAL);
        REQUIRE_OK(crew_barrier_init(&b, 1));
        CHECK_INT(crew_barrier_wait(&b, CREW_NOW), ==, 0);
        CHECK_INT(crew_barrier_wait(&b, CREW_FOREVER), ==, 0);
}

TEST(timeouts, "a party that runs out of time breaks the barrier for all", "[unit][sync][barrier]")
{
        pthread_t thread[2];
        struct gate g;

        make(&g);
        REQUIRE_OK(crew_barrier_init(&g.barrier, 4));
        start(&g, thread, 2);
        CHECK_INT(crew_barrier_wait(&g.barrier, CREW_MS(1)), ==, -ETIMEDOUT);
        finish(thread, 2);
        CHECK_INT(atomic_load(&g.broken), ==, 2);
        CHECK(crew_barrier_broken(&g.barrier));
        CHECK_INT(crew_barrier_wait(&g.barrier, CREW_S(1)), ==, -ECANCELED);
        REQUIRE_OK(crew_barrier_reset(&g.barrier));
        CHECK(!crew_barrier_broken(&g.barrier));
        CHECK_INT(crew_barrier_wait(&g.barrier, CREW_NOW), ==, -EAGAIN);
}

TEST(abort_reset, "abort and reset send away who waits, and reset starts afresh",
        "[unit][sync][barrier]")
{
        pthread_t thread[2];
        struct gate g;

        make(&g);
        REQUIRE_OK(crew_barrier_init(&g.barrier, 3));
        start(&g, thread, 2);
        REQUIRE_OK(crew_barrier_reset(&g.barrier));
        finish(thread, 2);
        CHECK_INT(atomic_load(&g.broken), ==, 2);
        start(&g, thread, 2);
        REQUIRE_OK(crew_barrier_abort(&g.barrier));
        finish(thread, 2);
        CHECK_INT(atomic_load(&g.broken), ==, 4);
        REQUIRE_OK(crew_barrier_reset(&g.barrier));
        start(&g, thread, 2);
        CHECK_INT(crew_barrier_wait(&g.barrier, CREW_S(15)), ==, 2);
        finish(thread, 2);
        CHECK_INT(atomic_load(&g.passed), ==, 3);
}

static void *end_at_once(void *arg)
{
        struct gate *g = arg;

        /* Its only call: it comes, and a handler keeps it from waiting on. */
        CHECK_INT(crew_barrier_wait(&g->barrier, CREW_S(15)), ==, -EINTR);
        atomic_store(&g->gone, 1);
        return NULL;
}

static void on_signal(int sig)
{
        (void)sig;
}

static void interrupt_until(pthread_t thread, const struct gate *g, int come)
{
        for (int i = 0; i < 100000 && (int)crew_barrier_waiting(&g->barrier) < come; i++)
                peer_pause(100000);
        peer_pause(CREW_MS(2));
        (void)pthread_kill(thread, SIGUSR1);
}

TEST(party_dies, "a party that ends while it waits breaks the barrier", "[unit][sync][barrier]")
{
        struct sigaction action = { .sa_handler = on_signal };
        pthread_t before[2], victim, after[2];
        struct gate g;

        REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
        make(&g);
        /* Once it is the newest, once another one came after it. */
        for (int later = 0; later <= 2; later += 2) {
                REQUIRE_OK(crew_barrier_init(&g.barrier, MOST));
                atomic_store(&g.broken, 0);
                atomic_store(&g.gone, 0);
                start(&g, before, 2);
                REQUIRE(pthread_create(&victim, NULL, end_at_once, &g) == 0);
                for (int i = 0; i < 100000 && crew_barrier_waiting(&g.barrier) < 3; i++)
                        peer_pause(100000);
                for (int i = 0; i < later; i++)
                        REQUIRE(pthread_create(&after[i], NULL, pass, &g) == 0);
                /* A signal that comes before it sleeps ends nothing. */
                do
                        interrupt_until(victim, &g, 3 + later);
                while (!atomic_load(&g.gone));
                (void)pthread_join(victim, NULL);
                finish(before, 2);
                finish(after, later);
                CHECK_INT(atomic_load(&g.broken), ==, 2 + later);
        }
}

static void *resume(void *arg)
{
        struct gate *g = arg;
        int r, interruptions = 0;

        while ((r = crew_barrier_wait(&g->barrier, CREW_S(15))) == -EINTR) {
                interruptions++;
                atomic_fetch_add(&g->entered, 1);
        }
        CHECK_INT(interruptions, >=, 1);
        CHECK_INT(r, ==, 0);
        return NULL;
}

TEST(handlers, "a party whose wait a handler ended goes on with it", "[unit][sync][barrier]")
{
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
        pthread_t thread;
        struct gate g;

        REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
        make(&g);
        REQUIRE_OK(crew_barrier_init(&g.barrier, 2));
        REQUIRE(pthread_create(&thread, NULL, resume, &g) == 0);
        while (atomic_load(&g.entered) < 2)
                interrupt_until(thread, &g, 1);
        CHECK_INT(crew_barrier_waiting(&g.barrier), ==, 1);
        CHECK_INT(crew_barrier_wait(&g.barrier, CREW_S(15)), ==, 1);
        (void)pthread_join(thread, NULL);
}
