/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "kernel/lock.h"
#include "kernel/syscall.h"
#include "peer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>

/* What the processes of a case share. */
struct shared {
        crew__lock lock, second;
        _Atomic uint32_t holding, go, done;
        pthread_mutex_t mutex;
        long counter;
};

static struct shared *share(void)
{
        return peer_memory(sizeof(struct shared));
}

static void unshare_it(struct shared *s)
{
        peer_memory_free(s, sizeof *s);
}

static int take(crew__lock *lock, crew__hold *hold, int64_t timeout)
{
        crew__patience patience = crew__patience_of(timeout);

        return crew__lock_acquire(lock, hold, &patience);
}

static void *pending(void)
{
        struct robust_list_head *head = crew__thread_self()->robust;

        return head ? head->list_op_pending : NULL;
}

static void need_robust(void)
{
        if (!crew__thread_self()->robust)
                SKIP("no robust list on this machine");
}

/* Holds the lock until it is killed. */
static void holder(void *arg)
{
        struct shared *s = arg;
        crew__hold hold;

        REQUIRE(take(&s->lock, &hold, CREW_S(5)) >= 0);
        atomic_store(&s->holding, 1);
        for (;;)
                peer_pause(CREW_S(1));
}

static pid_t start_holder(struct shared *s)
{
        pid_t pid;

        atomic_store(&s->holding, 0);
        pid = peer_start(holder, s);
        REQUIRE(peer_await(&s->holding, 1, CREW_S(5)));
        return pid;
}

TEST(free_lock, "a free lock is taken and released without a trace", "[unit][lock]")
{
        struct shared *s = share();
        void *before = pending();
        crew__hold hold;

        need_robust();
        CHECK_INT(take(&s->lock, &hold, CREW_NOW), ==, 0);
        CHECK_INT(atomic_load(&s->lock.word), ==, gettid());
        CHECK(pending() != before);
        crew__lock_release(&s->lock, &hold);
        CHECK_INT(atomic_load(&s->lock.word), ==, 0);
        CHECK(pending() == before);
        CHECK_INT(atomic_load(&s->lock.watched), ==, 0);
        unshare_it(s);
}

TEST(own, "a lock that this thread holds is a deadlock, at once", "[unit][lock]")
{
        struct shared *s = share();
        crew__hold hold, again;
        int64_t began, took, shortest = INT64_MAX;

        REQUIRE(take(&s->lock, &hold, CREW_NOW) == 0);
        for (int i = 0; i < 5; i++) {
                began = peer_now();
                CHECK_INT(take(&s->lock, &again, CREW_FOREVER), ==, -EDEADLK);
                CHECK_INT(take(&s->lock, &again, CREW_NOW), ==, -EDEADLK);
                took = peer_now() - began;
                shortest = took < shortest ? took : shortest;
        }
        CHECK_INT(shortest, <, test_slow(CREW_MS(500)));
        crew__lock_release(&s->lock, &hold);
        CHECK_INT(atomic_load(&s->lock.word), ==, 0);
        unshare_it(s);
}

TEST(deadline, "a lock in live hands is waited for until the deadline", "[unit][lock]")
{
        struct shared *s = share();
        pid_t pid = start_holder(s);
        void *before = pending();
        crew__hold hold;
        int64_t began, took, now;
        int rounds = 0;

        /* A busy machine may make some of them late. */
        do {
                began = peer_now();
                CHECK_INT(take(&s->lock, &hold, CREW_MS(130)), ==, -ETIMEDOUT);
                took = peer_now() - began;
                CHECK_INT(took, >=, CREW_MS(130));
                began = peer_now();
                CHECK_INT(take(&s->lock, &hold, CREW_NOW), ==, -EAGAIN);
                CHECK_INT(take(&s->lock, &hold, -5), ==, -EAGAIN);
                now = peer_now() - began;
        } while ((took >= test_slow(CREW_MS(1000)) || now >= test_slow(CREW_MS(500))) &&
                 ++rounds < 10);
        CHECK_INT(took, <, test_slow(CREW_MS(1000)));
        CHECK_INT(now, <, test_slow(CREW_MS(500)));
        CHECK_INT(atomic_load(&s->lock.word) & FUTEX_TID_MASK, ==, pid);
        CHECK(pending() == before);
        peer_kill(pid);
        unshare_it(s);
}

static void nothing(int sig)
{
        (void)sig;
}

TEST(interrupted, "a signal handler ends the wait, also with SA_RESTART", "[unit][lock]")
{
        struct sigaction act = { .sa_handler = nothing, .sa_flags = SA_RESTART };
        struct itimerval every = { { 0, 7000 }, { 0, 7000 } }, never = { { 0, 0 }, { 0, 0 } };
        struct shared *s = share();
        pid_t pid = start_holder(s);
        crew__hold hold;

        (void)sigaction(SIGALRM, &act, NULL);
        (void)setitimer(ITIMER_REAL, &every, NULL);
        CHECK_INT(take(&s->lock, &hold, CREW_S(10)), ==, -EINTR);
        (void)setitimer(ITIMER_REAL, &never, NULL);
        CHECK(pending() == NULL);
        peer_kill(pid);
        CHECK_INT(take(&s->lock, &hold, CREW_S(10)), >=, 0);
        crew__lock_release(&s->lock, &hold);
        unshare_it(s);
}

TEST(owner_died, "the lock of a killed process is handed on", "[unit][lock]")
{
        struct shared *s = share();
        crew__hold hold;
        int64_t began, took;
        int rounds = 0;

        need_robust();
        do {
                peer_kill(start_holder(s));
                CHECK(atomic_load(&s->lock.word) & FUTEX_OWNER_DIED);
                began = peer_now();
                CHECK_INT(take(&s->lock, &hold, CREW_S(5)), ==, CREW__OWNER_DIED);
                took = peer_now() - began;
                CHECK_INT(atomic_load(&s->lock.word), ==, gettid());
                crew__lock_release(&s->lock, &hold);
                CHECK_INT(take(&s->lock, &hold, CREW_NOW), ==, 0);
                crew__lock_release(&s->lock, &hold);
        } while (took >= test_slow(CREW_MS(100)) && ++rounds < 10);
        CHECK_INT(took, <, test_slow(CREW_MS(100)));
        unshare_it(s);
}

static void waiter(void *arg)
{
        struct shared *s = arg;
        crew__hold hold;
        int r = take(&s->lock, &hold, CREW_S(10));

        atomic_store(&s->done, (uint32_t)(r >= 0 ? 10 + r : 1));
        if (r >= 0)
                crew__lock_release(&s->lock, &hold);
}

TEST(sleeper_woken, "the kernel wakes who sleeps on a dead owner's lock", "[unit][lock]")
{
        struct shared *s = share();
        int64_t began, took;
        pid_t dying, pid;
        int rounds = 0;

        need_robust();
        do {
                dying = start_holder(s);
                atomic_store(&s->done, 0);
                pid = peer_start(waiter, s);
                REQUIRE(peer_await_sleep(pid, CREW_S(5)));
                began = peer_now();
                (void)kill(dying, SIGKILL);
                CHECK(peer_await(&s->done, 10 + CREW__OWNER_DIED, CREW_S(5)));
                took = peer_now() - began;
                peer_kill(dying);
                CHECK_INT(peer_join(pid), ==, 0);
        } while (took >= test_slow(CREW_MS(500)) && ++rounds < 10);
        CHECK_INT(took, <, test_slow(CREW_MS(500)));
        unshare_it(s);
}

static void look_at_word(void *arg)
{
        struct shared *s = arg;
        crew__hold hold;

        REQUIRE(take(&s->lock, &hold, CREW_S(10)) == 0);
        atomic_store(&s->done, atomic_load(&s->lock.word));
        crew__lock_release(&s->lock, &hold);
}

/* Others may sleep beside it whom nobody else knows of. */
TEST(keeps_waiters, "who slept for the lock takes it with the waiters' bit", "[unit][lock]")
{
        struct shared *s = share();
        crew__hold hold;
        pid_t pid;

        REQUIRE(take(&s->lock, &hold, CREW_NOW) == 0);
        pid = peer_start(look_at_word, s);
        for (int i = 0; i < 50000 && !(atomic_load(&s->lock.word) & FUTEX_WAITERS); i++)
                peer_pause(100000);
        REQUIRE(peer_await_sleep(pid, CREW_S(5)));
        crew__lock_release(&s->lock, &hold);
        CHECK_INT(peer_join(pid), ==, 0);
        CHECK_INT(atomic_load(&s->done), ==, (uint32_t)pid | FUTEX_WAITERS);
        unshare_it(s);
}

TEST(sleeper_killed, "a killed sleeper leaves the lock to its owner", "[unit][lock]")
{
        struct shared *s = share();
        crew__hold hold;
        pid_t pid;

        REQUIRE(take(&s->lock, &hold, CREW_NOW) == 0);
        for (int i = 0; i < 20; i++) {
                pid = peer_start(waiter, s);
                REQUIRE(peer_await_sleep(pid, CREW_S(5)));
                peer_kill(pid);
                REQUIRE((atomic_load(&s->lock.word) & ~FUTEX_WAITERS) == (uint32_t)gettid());
        }
        crew__lock_release(&s->lock, &hold);
        CHECK_INT(atomic_load(&s->lock.word), ==, 0);
        unshare_it(s);
}

static void *die_with_it(void *arg)
{
        struct shared *s = arg;
        crew__hold *hold = malloc(sizeof *hold);

        CHECK_INT(take(&s->lock, hold, CREW_NOW), ==, 0);
        free(hold);
        return NULL;
}

TEST(thread_died, "a thread that ends inside is a dead owner too", "[unit][lock]")
{
        struct shared *s = share();
        crew__hold hold;
        pthread_t thread;

        need_robust();
        REQUIRE(pthread_create(&thread, NULL, die_with_it, s) == 0);
        (void)pthread_join(thread, NULL);
        CHECK_INT(take(&s->lock, &hold, CREW_S(5)), ==, CREW__OWNER_DIED);
        crew__lock_release(&s->lock, &hold);
        unshare_it(s);
}

TEST(nested, "an inner lock gives the slot back to the outer one", "[unit][lock]")
{
        struct shared *s = share();
        crew__hold outer, inner;
        void *before = pending(), *first;

        need_robust();
        REQUIRE(take(&s->lock, &outer, CREW_NOW) == 0);
        first = pending();
        REQUIRE(take(&s->second, &inner, CREW_NOW) == 0);
        CHECK_INT((uintptr_t)pending() - (uintptr_t)first, ==,
                (uintptr_t)&s->second.word - (uintptr_t)&s->lock.word);
        CHECK_INT(take(&s->second, &(crew__hold){ 0 }, CREW_NOW), ==, -EDEADLK);
        crew__lock_release(&s->second, &inner);
        CHECK(pending() == first);
        crew__lock_release(&s->lock, &outer);
        CHECK(pending() == before);
        unshare_it(s);
}

static void make_mutex(struct shared *s)
{
        pthread_mutexattr_t attr;

        (void)pthread_mutexattr_init(&attr);
        (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        REQUIRE(pthread_mutex_init(&s->mutex, &attr) == 0);
        (void)pthread_mutexattr_destroy(&attr);
}

/* go 1: the mutex alone, after a use of the lock; 2: the mutex, then the lock inside. */
static void mutex_holder(void *arg)
{
        struct shared *s = arg;
        crew__hold hold;

        REQUIRE(take(&s->lock, &hold, CREW_S(1)) == 0);
        crew__lock_release(&s->lock, &hold);
        REQUIRE(pthread_mutex_lock(&s->mutex) == 0);
        if (atomic_load(&s->go) == 2)
                REQUIRE(take(&s->lock, &hold, CREW_S(1)) == 0);
        atomic_store(&s->holding, 1);
        for (;;)
                peer_pause(CREW_S(1));
}

TEST(beside_mutexes, "robust mutexes of the host keep working beside the lock", "[unit][lock]")
{
        struct shared *s = share();
        crew__hold hold;
        pid_t pid;

        need_robust();
        make_mutex(s);
        for (uint32_t way = 1; way <= 2; way++) {
                atomic_store(&s->holding, 0);
                atomic_store(&s->go, way);
                pid = peer_start(mutex_holder, s);
                REQUIRE(peer_await(&s->holding, 1, CREW_S(5)));
                peer_kill(pid);
                CHECK_INT(pthread_mutex_lock(&s->mutex), ==, EOWNERDEAD);
                (void)pthread_mutex_consistent(&s->mutex);
                (void)pthread_mutex_unlock(&s->mutex);
                CHECK_INT(take(&s->lock, &hold, CREW_S(1)), ==, way == 2 ? CREW__OWNER_DIED : 0);
                crew__lock_release(&s->lock, &hold);
        }
        unshare_it(s);
}

static void count(void *arg)
{
        struct shared *s = arg;
        long rounds = test_scale(200000, 2000);

        for (long i = 0; i < rounds; i++) {
                crew__hold hold;

                REQUIRE(take(&s->lock, &hold, CREW_S(10)) == 0);
                *(volatile long *)&s->counter += 1;
                crew__lock_release(&s->lock, &hold);
        }
}

static void exclude(void)
{
        struct shared *s = share();
        pid_t pid[4];

        for (int i = 0; i < 4; i++)
                pid[i] = peer_start(count, s);
        for (int i = 0; i < 4; i++)
                CHECK_INT(peer_join(pid[i]), ==, 0);
        CHECK_INT(s->counter, ==, 4 * test_scale(200000, 2000));
        CHECK_INT(atomic_load(&s->lock.word), ==, 0);
        unshare_it(s);
}

TEST(excludes, "one of four processes at a time is inside", "[unit][lock]")
{
        exclude();
}

TEST(excludes_unlisted, "one at a time without robust lists too", "[unit][lock]")
{
        (void)setenv("CREW_DISABLE", "robust_list", 1);
        exclude();
}
