/* SPDX-License-Identifier: MIT */

/*
 * The cases of CPython's multiprocessing for Lock, RLock, Semaphore, Condition, Event, Barrier,
 * Value and Array, with processes. Each is named after the one that it is a counterpart of; where
 * crew differs on purpose the name says so.
 */

#include "host.h"
#include "peer.h"

enum { PARTIES = 5 };

struct shared {
        crew_lock lock;
        crew_rlock rlock;
        crew_semaphore semaphore, sleeping, woken;
        crew_condition condition;
        crew_event event;
        crew_barrier barrier;
        int state;
        int64_t value;
        double array[10];
        _Atomic int results[3], sum, broken, others;
        _Atomic uint32_t done;
};

static crew_shm *share(struct shared **s)
{
        crew_shm *shm;

        REQUIRE_OK(crew_shm_new(&shm, sizeof **s, "cpython"));
        *s = crew_shm_data(shm);
        REQUIRE_OK(crew_lock_init(&(*s)->lock));
        REQUIRE_OK(crew_rlock_init(&(*s)->rlock));
        REQUIRE_OK(crew_condition_init(&(*s)->condition));
        REQUIRE_OK(crew_event_init(&(*s)->event));
        REQUIRE_OK(crew_semaphore_init(&(*s)->sleeping, 0, 0));
        REQUIRE_OK(crew_semaphore_init(&(*s)->woken, 0, 0));
        REQUIRE_OK(crew_barrier_init(&(*s)->barrier, PARTIES));
        return shm;
}

/* How a process of any start method comes to the memory, and what it does there. */
struct job {
        crew_ref memory;
        ptrdiff_t target; /* from enter on */
};

static int enter(void *arg)
{
        const struct job *job = arg;
        uintptr_t at = (uintptr_t)enter + (uintptr_t)job->target;
        crew_auto(shm) shm = NULL;
        crew_target_fn *target;

        memcpy(&target, &at, sizeof target);
        REQUIRE_OK(crew_shm_open(&shm, job->memory));
        return target(crew_shm_data(shm));
}

static void start(crew_process *p[], int n, crew_target_fn *target, crew_shm *shm)
{
        struct job job = { .memory = crew_shm_ref(shm) };

        job.target = (ptrdiff_t)((uintptr_t)target - (uintptr_t)enter);
        for (int i = 0; i < n; i++)
                REQUIRE_OK(crew_process_launch(&p[i], enter, &job,
                        CREW_OPT(process, .method = host_method, .arg_size = sizeof job,
                                .grants = &job.memory, .n_grants = 1)));
}

static void finish(crew_process *p[], int n)
{
        for (int i = 0; i < n; i++) {
                int code = -1;

                REQUIRE_OK(crew_process_join(p[i], CREW_S(15)));
                REQUIRE_OK(crew_process_exitcode(p[i], &code));
                CHECK_INT(code, ==, 0);
                (void)crew_process_free(p[i]);
        }
}

TEST(lock, "test_lock", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);

        CHECK_INT(crew_lock_acquire(&s->lock, CREW_FOREVER), ==, 0);
        /* There: False. Here the owner is told that it would wait for itself. */
        CHECK_INT(crew_lock_acquire(&s->lock, CREW_NOW), ==, -EDEADLK);
        CHECK_INT(crew_lock_release(&s->lock), ==, 0);
        CHECK_INT(crew_lock_release(&s->lock), ==, -EPERM);
}

TEST(rlock, "test_rlock", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);

        for (int i = 0; i < 3; i++)
                CHECK_INT(crew_rlock_acquire(&s->rlock, CREW_FOREVER), ==, 0);
        for (int i = 0; i < 3; i++)
                CHECK_INT(crew_rlock_release(&s->rlock), ==, 0);
        CHECK_INT(crew_rlock_release(&s->rlock), ==, -EPERM);
}

static int release_it(void *arg)
{
        struct shared *s = arg;

        return crew_lock_release(&s->lock) != -EPERM || crew_rlock_release(&s->rlock) != -EPERM ||
               crew_lock_acquire(&s->lock, CREW_NOW) != -EAGAIN ||
               crew_rlock_acquire(&s->rlock, CREW_MS(1)) != -ETIMEDOUT;
}

TEST_METHODS(foreign_release, "test_lock_locked_2processes: another process may not release",
        "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p;

        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_NOW));
        REQUIRE_OK(crew_rlock_acquire(&s->rlock, CREW_NOW));
        start(&p, 1, release_it, shm);
        finish(&p, 1);
        REQUIRE_OK(crew_rlock_release(&s->rlock));
        REQUIRE_OK(crew_lock_release(&s->lock));
}

static void check_semaphore(crew_semaphore *s)
{
        CHECK_INT(crew_semaphore_value(s), ==, 2);
        CHECK_INT(crew_semaphore_acquire(s, CREW_FOREVER), ==, 0);
        CHECK_INT(crew_semaphore_value(s), ==, 1);
        CHECK_INT(crew_semaphore_acquire(s, CREW_FOREVER), ==, 0);
        CHECK_INT(crew_semaphore_value(s), ==, 0);
        CHECK_INT(crew_semaphore_acquire(s, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_semaphore_value(s), ==, 0);
        CHECK_INT(crew_semaphore_release(s), ==, 0);
        CHECK_INT(crew_semaphore_value(s), ==, 1);
        CHECK_INT(crew_semaphore_release(s), ==, 0);
        CHECK_INT(crew_semaphore_value(s), ==, 2);
}

TEST(semaphore, "test_semaphore", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);

        REQUIRE_OK(crew_semaphore_init(&s->semaphore, 2, 0));
        check_semaphore(&s->semaphore);
        CHECK_INT(crew_semaphore_release(&s->semaphore), ==, 0);
        CHECK_INT(crew_semaphore_value(&s->semaphore), ==, 3);
}

TEST(bounded, "test_bounded_semaphore", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);

        REQUIRE_OK(crew_semaphore_init(&s->semaphore, 2, 2));
        check_semaphore(&s->semaphore);
        CHECK_INT(crew_semaphore_release(&s->semaphore), ==, -EOVERFLOW);
}

TEST(semaphore_timeout, "test_timeout", "[live][sync][cpython]")
{
        static const int64_t times[] = { CREW_NOW, -CREW_S(1), CREW_MS(20) };
        struct shared *s;
        crew_auto(shm) shm = share(&s);

        REQUIRE_OK(crew_semaphore_init(&s->semaphore, 0, 0));
        for (size_t i = 0; i < 3; i++) {
                int64_t began = crew_clock();

                CHECK_INT(crew_semaphore_acquire(&s->semaphore, times[i]), ==,
                        times[i] > 0 ? -ETIMEDOUT : -EAGAIN);
                CHECK_INT(crew_clock() - began, >=, times[i]);
        }
}

static int sleep_in(void *arg)
{
        struct shared *s = arg;
        int r = crew_lock_acquire(&s->lock, CREW_S(10));

        (void)crew_semaphore_release(&s->sleeping);
        if (r == 0)
                r = crew_condition_wait(&s->condition, &s->lock, CREW_S(10));
        (void)crew_semaphore_release(&s->woken);
        return r < 0 || crew_lock_release(&s->lock) < 0;
}

static void notify(struct shared *s, unsigned n)
{
        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(10)));
        REQUIRE_OK(crew_condition_notify(&s->condition, n));
        REQUIRE_OK(crew_lock_release(&s->lock));
}

static void await_units(crew_semaphore *s, int n)
{
        for (int i = 0; i < n; i++)
                REQUIRE_OK(crew_semaphore_acquire(s, CREW_S(10)));
}

TEST_METHODS(notify_some, "test_notify, test_notify_n and test_notify_all", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p[6];

        start(p, 6, sleep_in, shm);
        await_units(&s->sleeping, 6);
        CHECK_INT(crew_semaphore_value(&s->woken), ==, 0);
        notify(s, 1);
        await_units(&s->woken, 1);
        notify(s, 2);
        await_units(&s->woken, 2);
        peer_pause(CREW_MS(25));
        CHECK_INT(crew_semaphore_value(&s->woken), ==, 0);
        /* More than there are. */
        notify(s, 12);
        await_units(&s->woken, 3);
        finish(p, 6);
        notify(s, 3);
        CHECK_INT(crew_semaphore_value(&s->woken), ==, 0);
}

static int wait_for_four(void *arg)
{
        struct shared *s = arg;
        int r = crew_lock_acquire(&s->lock, CREW_S(10));

        s->state = 0;
        (void)crew_condition_notify_all(&s->condition);
        while (r == 0 && s->state != 4)
                r = crew_condition_wait(&s->condition, &s->lock, CREW_S(10));
        return r < 0 || crew_lock_release(&s->lock) < 0;
}

TEST_METHODS(waitfor, "test_waitfor", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p;

        s->state = -1;
        start(&p, 1, wait_for_four, shm);
        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(10)));
        while (s->state != 0)
                REQUIRE_OK(crew_condition_wait(&s->condition, &s->lock, CREW_S(10)));
        REQUIRE_OK(crew_lock_release(&s->lock));
        for (int i = 0; i < 4; i++) {
                REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(10)));
                s->state++;
                REQUIRE_OK(crew_condition_notify(&s->condition, 1));
                REQUIRE_OK(crew_lock_release(&s->lock));
        }
        finish(&p, 1);
}

TEST(waitfor_timeout, "test_wait_result and test_waitfor_timeout", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        int64_t began = crew_clock(), until = began + CREW_MS(30);
        int r = 0;

        REQUIRE_OK(crew_lock_acquire(&s->lock, CREW_S(10)));
        CHECK_INT(crew_condition_wait(&s->condition, &s->lock, CREW_NOW), ==, -EAGAIN);
        while (r == 0 && s->state != 4)
                r = crew_condition_wait(&s->condition, &s->lock, crew_until(until));
        CHECK_INT(r, ==, -ETIMEDOUT);
        CHECK_INT(crew_clock(), >=, until);
        REQUIRE_OK(crew_lock_release(&s->lock));
}

static int set_it(void *arg)
{
        struct shared *s = arg;

        peer_pause(CREW_MS(5));
        return crew_event_set(&s->event);
}

TEST_METHODS(event, "test_event", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p;

        CHECK(!crew_event_is_set(&s->event));
        CHECK_INT(crew_event_wait(&s->event, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_event_wait(&s->event, CREW_MS(10)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_event_set(&s->event));
        CHECK(crew_event_is_set(&s->event));
        CHECK_INT(crew_event_wait(&s->event, CREW_FOREVER), ==, 0);
        REQUIRE_OK(crew_event_clear(&s->event));
        start(&p, 1, set_it, shm);
        CHECK_INT(crew_event_wait(&s->event, CREW_FOREVER), ==, 0);
        finish(&p, 1);
}

static int pass_many(void *arg)
{
        struct shared *s = arg;

        for (int i = 0; i < 3 * 20; i++) {
                int passed = atomic_fetch_add(&s->results[i % 3], 1);

                if (passed / PARTIES != i / 3 || crew_barrier_wait(&s->barrier, CREW_S(15)) < 0)
                        return 1;
                if (atomic_load(&s->results[i % 3]) != PARTIES * (i / 3 + 1))
                        return 2;
        }
        return 0;
}

TEST_METHODS(
        barrier_many, "test_barrier, test_barrier_10 and test_thousand", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p[PARTIES];

        start(p, PARTIES, pass_many, shm);
        finish(p, PARTIES);
        CHECK_INT(crew_barrier_waiting(&s->barrier), ==, 0);
}

static int add_index(void *arg)
{
        struct shared *s = arg;
        int r = crew_barrier_wait(&s->barrier, CREW_S(15));

        if (r == 0)
                atomic_fetch_add(&s->others, 1);
        if (r >= 0)
                atomic_fetch_add(&s->sum, r);
        return r < 0;
}

TEST_METHODS(barrier_result, "test_wait_return", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p[PARTIES];

        start(p, PARTIES, add_index, shm);
        finish(p, PARTIES);
        CHECK_INT(atomic_load(&s->sum), ==, 0 + 1 + 2 + 3 + 4);
        CHECK_INT(atomic_load(&s->others), ==, 1);
}

/* One of them gives up instead of coming a second time. */
static int give_up(void *arg)
{
        struct shared *s = arg;
        int i = crew_barrier_wait(&s->barrier, CREW_S(15)), r;

        if (i == PARTIES / 2)
                return crew_barrier_abort(&s->barrier);
        r = crew_barrier_wait(&s->barrier, CREW_S(15));
        if (r == -ECANCELED)
                atomic_fetch_add(&s->broken, 1);
        return i < 0 || r != -ECANCELED;
}

TEST_METHODS(barrier_abort, "test_abort", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p[PARTIES];

        start(p, PARTIES, give_up, shm);
        finish(p, PARTIES);
        CHECK_INT(atomic_load(&s->broken), ==, PARTIES - 1);
        CHECK(crew_barrier_broken(&s->barrier));
}

static int reset_it(void *arg)
{
        struct shared *s = arg;
        int i = crew_barrier_wait(&s->barrier, CREW_S(15)), r;

        if (i == PARTIES / 2) {
                while (crew_barrier_waiting(&s->barrier) < PARTIES - 1)
                        peer_pause(100000);
                r = crew_barrier_reset(&s->barrier);
        } else {
                r = crew_barrier_wait(&s->barrier, CREW_S(15)) == -ECANCELED ? 0 : -1;
                atomic_fetch_add(&s->broken, 1);
        }
        if (i < 0 || r < 0)
                return 1;
        return crew_barrier_wait(&s->barrier, CREW_S(15)) < 0;
}

TEST_METHODS(barrier_reset, "test_reset", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p[PARTIES];

        start(p, PARTIES, reset_it, shm);
        finish(p, PARTIES);
        CHECK_INT(atomic_load(&s->broken), ==, PARTIES - 1);
        CHECK(!crew_barrier_broken(&s->barrier));
}

static int come_late(void *arg)
{
        struct shared *s = arg;
        int i = crew_barrier_wait(&s->barrier, CREW_S(15)), r;

        if (i == PARTIES / 2)
                (void)crew_event_wait(&s->event, CREW_S(15));
        r = crew_barrier_wait(&s->barrier, CREW_MS(30));
        (void)crew_event_set(&s->event);
        return i < 0 || (r != -ECANCELED && r != -ETIMEDOUT);
}

TEST_METHODS(barrier_timeout, "test_timeout of Barrier", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p[PARTIES];

        start(p, PARTIES, come_late, shm);
        finish(p, PARTIES);
        CHECK(crew_barrier_broken(&s->barrier));
}

TEST(barrier_single, "test_single_thread", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);

        REQUIRE_OK(crew_barrier_init(&s->barrier, 1));
        CHECK_INT(crew_barrier_wait(&s->barrier, CREW_FOREVER), ==, 0);
        CHECK_INT(crew_barrier_wait(&s->barrier, CREW_FOREVER), ==, 0);
}

static int add_and_square(void *arg)
{
        struct shared *s = arg;

        for (int i = 0; i < 100; i++) {
                if (crew_lock_acquire(&s->lock, CREW_S(10)) < 0)
                        return 1;
                s->value++;
                if (crew_lock_release(&s->lock) < 0)
                        return 2;
        }
        for (int i = 0; i < 10; i++)
                s->array[i] = i * i;
        return 0;
}

TEST_METHODS(values, "test_value, test_array and test_synchronize", "[live][sync][cpython]")
{
        struct shared *s;
        crew_auto(shm) shm = share(&s);
        crew_process *p[4];

        s->value = 1000;
        start(p, 4, add_and_square, shm);
        finish(p, 4);
        CHECK_INT(s->value, ==, 1400);
        for (int i = 0; i < 10; i++)
                CHECK(s->array[i] == i * i);
}
