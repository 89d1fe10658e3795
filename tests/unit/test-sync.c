/* SPDX-License-Identifier: MIT */

/* Locks, events and semaphores as one process sees them. */

#include "check.h"
#include "kernel/namespace.h"
#include "kernel/owner.h"
#include "peer.h"
#include "sync/event.h"
#include "sync/mutex.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

TEST(lock, "a lock is taken once, refused to its owner, and free after its release",
        "[unit][sync][lock]")
{
        crew_lock l;

        REQUIRE_OK(crew_lock_init(&l));
        CHECK_INT(crew_lock_acquire(&l, CREW_NOW), ==, 0);
        CHECK_INT(crew_lock_acquire(&l, CREW_NOW), ==, -EDEADLK);
        CHECK_INT(crew_lock_acquire(&l, CREW_FOREVER), ==, -EDEADLK);
        CHECK_INT(crew_lock_release(&l), ==, 0);
        CHECK_INT(crew_lock_release(&l), ==, -EPERM);
        CHECK_INT(crew_lock_acquire(&l, CREW_S(1)), ==, 0);
        CHECK_INT(crew_lock_release(&l), ==, 0);
}

TEST(refused, "memory that is none, odd or was never initialized is refused", "[unit][sync][lock]")
{
        _Alignas(8) char memory[64] = "";
        crew_lock zero = { { 0 } };

        CHECK_INT(crew_lock_init(NULL), ==, -EINVAL);
        CHECK_INT(crew_lock_init((crew_lock *)(void *)(memory + 4)), ==, -EINVAL);
        CHECK_INT(crew_rlock_init(NULL), ==, -EINVAL);
        CHECK_INT(crew_event_init(NULL), ==, -EINVAL);
        CHECK_INT(crew_semaphore_init(NULL, 0, 0), ==, -EINVAL);
        CHECK_INT(crew_lock_acquire(&zero, CREW_NOW), ==, -EINVAL);
}

TEST(elsewhere, "a lock of another pid namespace is refused", "[unit][sync][lock]")
{
        crew_lock l;

        REQUIRE_OK(crew_lock_init(&l));
        if (!crew__place())
                SKIP("/proc does not tell namespaces here");
        ((crew__mutex *)&l)->place++;
        CHECK_INT(crew_lock_acquire(&l, CREW_NOW), ==, -EXDEV);
}

struct taking {
        crew_lock *lock;
        _Atomic uint32_t holding, go;
        int result;
};

static void *hold_it(void *arg)
{
        struct taking *t = arg;

        t->result = crew_lock_acquire(t->lock, CREW_S(5));
        atomic_store(&t->holding, 1);
        while (!atomic_load(&t->go))
                peer_pause(100000);
        if (crew_lock_release(t->lock) < 0)
                t->result = -1;
        return NULL;
}

TEST(threads, "one thread waits for another, and cannot release what that holds",
        "[unit][sync][lock]")
{
        crew_lock l;
        struct taking t = { .lock = &l };
        pthread_t thread;

        REQUIRE_OK(crew_lock_init(&l));
        REQUIRE(pthread_create(&thread, NULL, hold_it, &t) == 0);
        REQUIRE(peer_await(&t.holding, 1, CREW_S(5)));
        CHECK_INT(crew_lock_acquire(&l, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_lock_acquire(&l, -1), ==, -EAGAIN);
        CHECK_INT(crew_lock_acquire(&l, CREW_MS(5)), ==, -ETIMEDOUT);
        CHECK_INT(crew_lock_release(&l), ==, -EPERM);
        atomic_store(&t.go, 1);
        CHECK_INT(crew_lock_acquire(&l, CREW_S(10)), ==, 0);
        CHECK_INT(crew_lock_release(&l), ==, 0);
        (void)pthread_join(thread, NULL);
        CHECK_INT(t.result, ==, 0);
}

static void *leave_it_held(void *lock)
{
        return (void *)(intptr_t)crew_lock_acquire(lock, CREW_NOW);
}

TEST(thread_ends, "a thread that ends with a lock counts as dead, its process lives on",
        "[unit][sync][lock]")
{
        crew_lock l;
        pthread_t thread;

        REQUIRE_OK(crew_lock_init(&l));
        REQUIRE(pthread_create(&thread, NULL, leave_it_held, &l) == 0);
        (void)pthread_join(thread, NULL);
        CHECK_INT(crew_lock_acquire(&l, CREW_S(10)), ==, CREW_OWNER_DIED);
        CHECK_INT(crew_lock_release(&l), ==, 0);
        CHECK_INT(crew_lock_acquire(&l, CREW_NOW), ==, 0);
        CHECK_INT(crew_lock_release(&l), ==, 0);
}

static void *leave_two_held(void *locks)
{
        crew_lock *l = locks;

        (void)crew_lock_acquire(&l[0], CREW_NOW);
        (void)crew_lock_acquire(&l[1], CREW_NOW);
        return NULL;
}

TEST(nested, "of several locks of a dead thread each is found", "[unit][sync][lock]")
{
        crew_lock l[2];
        pthread_t thread;

        REQUIRE_OK(crew_lock_init(&l[0]));
        REQUIRE_OK(crew_lock_init(&l[1]));
        REQUIRE(pthread_create(&thread, NULL, leave_two_held, l) == 0);
        (void)pthread_join(thread, NULL);
        for (int i = 0; i < 2; i++) {
                CHECK_INT(crew_lock_acquire(&l[i], CREW_S(10)), ==, CREW_OWNER_DIED);
                CHECK_INT(crew_lock_release(&l[i]), ==, 0);
        }
}

static void *use_robust_mutex(void *arg)
{
        pthread_mutex_t *mutex = ((void **)arg)[0];
        crew_lock *l = ((void **)arg)[1];

        (void)crew_lock_acquire(l, CREW_NOW);
        (void)pthread_mutex_lock(mutex);
        (void)pthread_mutex_unlock(mutex);
        return NULL;
}

TEST(robust_mutex, "the C library's robust mutexes take nothing away from a lock",
        "[unit][sync][lock]")
{
        pthread_mutexattr_t robust;
        pthread_mutex_t mutex;
        crew_lock l;
        void *both[2] = { &mutex, &l };
        pthread_t thread;

        REQUIRE_OK(crew_lock_init(&l));
        (void)pthread_mutexattr_init(&robust);
        (void)pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
        (void)pthread_mutex_init(&mutex, &robust);
        REQUIRE(pthread_create(&thread, NULL, use_robust_mutex, both) == 0);
        (void)pthread_join(thread, NULL);
        CHECK_INT(crew_lock_acquire(&l, CREW_S(10)), ==, CREW_OWNER_DIED);
        CHECK_INT(crew_lock_release(&l), ==, 0);
        (void)pthread_mutex_destroy(&mutex);
        (void)pthread_mutexattr_destroy(&robust);
}

TEST(slot, "releases in any order leave no lock in the robust list", "[unit][sync][lock]")
{
        crew_lock l[3];
        const crew__thread *self = crew__thread_self();

        if (!self->robust)
                SKIP("no robust list on this machine");
        for (int i = 0; i < 3; i++)
                REQUIRE_OK(crew_lock_init(&l[i]));
        for (int i = 0; i < 3; i++)
                REQUIRE_OK(crew_lock_acquire(&l[i], CREW_NOW));
        CHECK(crew__lock_covered(&((crew__mutex *)&l[2])->lock, self));
        CHECK_INT(crew_lock_release(&l[0]), ==, 0);
        CHECK(crew__lock_covered(&((crew__mutex *)&l[2])->lock, self));
        CHECK_INT(crew_lock_release(&l[2]), ==, 0);
        CHECK_INT(crew_lock_release(&l[1]), ==, 0);
        CHECK(self->robust->list_op_pending == NULL);
}

/* The number of a dead owner is given to another thread some day, even to the one that waits. */
TEST(reused, "a dead owner is found though a thread that lives has its number",
        "[unit][sync][lock]")
{
        const crew__thread *self = crew__thread_self();
        crew_lock l;
        crew__mutex *m = (crew__mutex *)&l;
        pid_t other = getppid();
        int r;

        REQUIRE_OK(crew_lock_init(&l));
        atomic_store(&m->lock.word, self->tid);
        atomic_store(&m->lock.claim, (uint64_t)1 << CREW__CLAIM_TID_BITS | self->tid);
        CHECK_INT(crew_lock_release(&l), ==, -EPERM);
        CHECK_INT(crew_lock_acquire(&l, CREW_NOW), ==, CREW_OWNER_DIED);
        CHECK_INT(crew_lock_release(&l), ==, 0);

        /* It had the number before any process of today. */
        if (other <= 0)
                other = 1;
        atomic_store(&m->lock.word, (uint32_t)other);
        atomic_store(&m->lock.claim, (uint64_t)1 << CREW__CLAIM_TID_BITS | (uint32_t)other);
        r = crew_lock_acquire(&l, CREW_S(5));
        if (r == -ETIMEDOUT)
                SKIP("/proc does not tell when process %d began, or it began with the machine",
                        (int)other);
        CHECK_INT(r, ==, CREW_OWNER_DIED);
        CHECK_INT(crew_lock_release(&l), ==, 0);

        /* A word that names somebody who lives, without a claim, stays his. */
        atomic_store(&m->lock.word, (uint32_t)other);
        CHECK_INT(crew_lock_acquire(&l, CREW_MS(90)), ==, -ETIMEDOUT);
}

TEST(rlock, "an rlock is taken again by its owner, and free after as many releases",
        "[unit][sync][lock]")
{
        crew_rlock l;

        REQUIRE_OK(crew_rlock_init(&l));
        for (int i = 0; i < 3; i++)
                CHECK_INT(crew_rlock_acquire(&l, CREW_NOW), ==, 0);
        for (int i = 0; i < 3; i++)
                CHECK_INT(crew_rlock_release(&l), ==, 0);
        CHECK_INT(crew_rlock_release(&l), ==, -EPERM);
        CHECK_INT(crew_rlock_acquire(&l, CREW_NOW), ==, 0);
        CHECK_INT(crew_rlock_release(&l), ==, 0);
}

static void *take_twice(void *rlock)
{
        (void)crew_rlock_acquire(rlock, CREW_NOW);
        (void)crew_rlock_acquire(rlock, CREW_NOW);
        return NULL;
}

TEST(rlock_dies, "an rlock that its owner had twice is had once by the next", "[unit][sync][lock]")
{
        crew_rlock l;
        pthread_t thread;

        REQUIRE_OK(crew_rlock_init(&l));
        REQUIRE(pthread_create(&thread, NULL, take_twice, &l) == 0);
        (void)pthread_join(thread, NULL);
        CHECK_INT(crew_rlock_acquire(&l, CREW_S(10)), ==, CREW_OWNER_DIED);
        CHECK_INT(crew_rlock_release(&l), ==, 0);
        CHECK_INT(crew_rlock_release(&l), ==, -EPERM);
}

TEST(event, "an event is set until it is cleared", "[unit][sync][event]")
{
        crew_event e;

        REQUIRE_OK(crew_event_init(&e));
        CHECK(!crew_event_is_set(&e));
        CHECK_INT(crew_event_wait(&e, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_event_wait(&e, CREW_MS(2)), ==, -ETIMEDOUT);
        CHECK_INT(crew_event_set(&e), ==, 0);
        CHECK_INT(crew_event_set(&e), ==, 0);
        CHECK(crew_event_is_set(&e));
        CHECK_INT(crew_event_wait(&e, CREW_NOW), ==, 0);
        CHECK_INT(crew_event_wait(&e, CREW_FOREVER), ==, 0);
        CHECK_INT(crew_event_clear(&e), ==, 0);
        CHECK(!crew_event_is_set(&e));
        CHECK_INT(crew_event_wait(&e, CREW_NOW), ==, -EAGAIN);
}

static void *wait_for_event(void *event)
{
        return (void *)(intptr_t)crew_event_wait(event, CREW_S(15));
}

TEST(pulse, "an event that is set and cleared at once wakes who waited", "[unit][sync][event]")
{
        crew_event e;
        pthread_t thread;
        void *result;

        REQUIRE_OK(crew_event_init(&e));
        REQUIRE(pthread_create(&thread, NULL, wait_for_event, &e) == 0);
        for (int i = 0; i < 100000 && !(atomic_load(&((crew__event *)&e)->events.word) & 1); i++)
                peer_pause(100000);
        REQUIRE_OK(crew_event_set(&e));
        REQUIRE_OK(crew_event_clear(&e));
        (void)pthread_join(thread, &result);
        CHECK_INT((intptr_t)result, ==, 0);
}

TEST(semaphore, "a semaphore gives its units away and takes them back", "[unit][sync][semaphore]")
{
        crew_semaphore s;

        REQUIRE_OK(crew_semaphore_init(&s, 2, 0));
        CHECK_INT(crew_semaphore_value(&s), ==, 2);
        CHECK_INT(crew_semaphore_acquire(&s, CREW_NOW), ==, 0);
        CHECK_INT(crew_semaphore_acquire(&s, CREW_S(1)), ==, 0);
        CHECK_INT(crew_semaphore_acquire(&s, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_semaphore_acquire(&s, CREW_MS(2)), ==, -ETIMEDOUT);
        CHECK_INT(crew_semaphore_value(&s), ==, 0);
        for (int i = 1; i <= 3; i++) {
                CHECK_INT(crew_semaphore_release(&s), ==, 0);
                CHECK_INT(crew_semaphore_value(&s), ==, i);
        }
}

TEST(bound, "a semaphore refuses units beyond its bound", "[unit][sync][semaphore]")
{
        crew_semaphore s;

        CHECK_INT(crew_semaphore_init(&s, 3, 2), ==, -EINVAL);
        CHECK_INT(crew_semaphore_init(&s, 0x80000000U, 0), ==, -EINVAL);
        CHECK_INT(crew_semaphore_init(&s, 0, 0x80000000U), ==, -EINVAL);
        REQUIRE_OK(crew_semaphore_init(&s, 2, 2));
        CHECK_INT(crew_semaphore_release(&s), ==, -EOVERFLOW);
        CHECK_INT(crew_semaphore_value(&s), ==, 2);
        CHECK_INT(crew_semaphore_acquire(&s, CREW_NOW), ==, 0);
        CHECK_INT(crew_semaphore_release(&s), ==, 0);
        CHECK_INT(crew_semaphore_release(&s), ==, -EOVERFLOW);
        REQUIRE_OK(crew_semaphore_init(&s, 0x7fffffffU, 0));
        CHECK_INT(crew_semaphore_release(&s), ==, -EOVERFLOW);
}

static void *take_unit(void *semaphore)
{
        return (void *)(intptr_t)crew_semaphore_acquire(semaphore, CREW_S(15));
}

TEST(sleepers, "each unit that comes back wakes somebody who sleeps", "[unit][sync][semaphore]")
{
        enum { MANY = 4 };
        crew_semaphore s;
        pthread_t thread[MANY];
        void *result;

        REQUIRE_OK(crew_semaphore_init(&s, 0, 0));
        for (int i = 0; i < MANY; i++)
                REQUIRE(pthread_create(&thread[i], NULL, take_unit, &s) == 0);
        for (int i = 0; i < MANY; i++) {
                peer_pause(200000);
                REQUIRE_OK(crew_semaphore_release(&s));
        }
        for (int i = 0; i < MANY; i++) {
                (void)pthread_join(thread[i], &result);
                CHECK_INT((intptr_t)result, ==, 0);
        }
        CHECK_INT(crew_semaphore_value(&s), ==, 0);
}

struct interrupted {
        int (*wait)(void *object);
        void *object;
        _Atomic uint32_t tid;
        _Atomic int result;
};

static void *be_interrupted(void *arg)
{
        struct interrupted *i = arg;

        atomic_store(&i->tid, (uint32_t)syscall(SYS_gettid));
        atomic_store(&i->result, i->wait(i->object));
        return NULL;
}

static void on_signal(int sig)
{
        (void)sig;
}

static int wait_lock(void *object)
{
        return crew_lock_acquire(object, CREW_FOREVER);
}

static int wait_event(void *object)
{
        return crew_event_wait(object, CREW_FOREVER);
}

static int wait_semaphore(void *object)
{
        return crew_semaphore_acquire(object, CREW_FOREVER);
}

/* SA_RESTART too: the caller asked to hear of handlers. */
static void expect_interruption(int (*wait)(void *object), void *object)
{
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
        struct interrupted i = { .wait = wait, .object = object, .result = 1 };
        pthread_t thread;

        REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
        REQUIRE(pthread_create(&thread, NULL, be_interrupted, &i) == 0);
        for (int k = 0; k < 10000 && !atomic_load(&i.tid); k++)
                peer_pause(100000);
        while (atomic_load(&i.result) == 1) {
                if (peer_await_sleep((pid_t)atomic_load(&i.tid), CREW_MS(50)))
                        (void)pthread_kill(thread, SIGUSR1);
                peer_pause(1000000);
        }
        (void)pthread_join(thread, NULL);
        CHECK_INT(atomic_load(&i.result), ==, -EINTR);
}

TEST(handlers, "a signal handler ends a wait", "[unit][sync]")
{
        crew_lock l;
        crew_event e;
        crew_semaphore s;

        REQUIRE_OK(crew_lock_init(&l));
        REQUIRE_OK(crew_event_init(&e));
        REQUIRE_OK(crew_semaphore_init(&s, 0, 0));
        REQUIRE_OK(crew_lock_acquire(&l, CREW_NOW));
        expect_interruption(wait_lock, &l);
        REQUIRE_OK(crew_lock_release(&l));
        expect_interruption(wait_event, &e);
        expect_interruption(wait_semaphore, &s);
}
