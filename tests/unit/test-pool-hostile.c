/* SPDX-License-Identifier: MIT */

/* Workers that turn against the pool and the queues they were granted. */

#include "check.h"
#include "peer.h"
#include "pool/task.h"
#include "queue/queue.h"

#include <crew/crew.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void warm_up(void)
{
        crew_pool *p = NULL;

        if (crew_pool_new(&p, 1, NULL) == 0)
                (void)crew_pool_free(p);
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

enum { MAPS = 32, WORDS = 600 };

/* All that the worker shares and can write; found before it enters its sandbox. */
static struct {
        volatile uint64_t *at;
        size_t words;
} maps[MAPS];
static size_t n_maps;

static int find_maps(crew_task *t, const void *arg, size_t size)
{
        FILE *f = fopen("/proc/self/maps", "re");
        char line[512], perms[8];
        unsigned long from, to;

        (void)t;
        (void)arg;
        (void)size;
        while (f && n_maps < MAPS && fgets(line, sizeof line, f)) {
                /* Not the test's own page of checks, which an application would not share. */
                if (sscanf(line, "%lx-%lx %7s", &from, &to, perms) == 3 &&
                        strncmp(perms, "rw-s", 4) == 0 && strstr(line, "memfd:crew")) {
                        memcpy(&maps[n_maps].at, &from, sizeof from);
                        maps[n_maps++].words = (to - from) / 8;
                }
        }
        if (f)
                (void)fclose(f);
        return n_maps ? 0 : -ENOENT;
}

static int task_twice(crew_task *t, const void *arg, size_t size)
{
        long value = 0;

        memcpy(&value, arg, size < sizeof value ? size : sizeof value);
        value *= 2;
        return crew_task_return(t, &value, sizeof value);
}

static int task_idle(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        for (;;)
                (void)usleep(1000);
        return 0;
}

/* Every eventfd full and blocking, for all that hold it. */
static void fill_events(void)
{
        const uint64_t full = UINT64_MAX - 1;

        for (int fd = 3; fd < 128; fd++) {
                ssize_t n = write(fd, &full, sizeof full);

                (void)n;
                (void)fcntl(fd, F_SETFL, 0);
        }
}

/* `how`: 0 random values, 1 chosen ones, 2 the same after the other, word by word. */
static int task_scribble(crew_task *t, const void *arg, size_t size)
{
        static const uint64_t values[] = { 0, 1, 2, 3, 8, 31, 32, 255, 4096, UINT32_MAX, 1ULL << 31,
                1ULL << 32, (1ULL << 32) + 1, INT64_MAX, UINT64_MAX, UINT64_MAX - 31,
                0xffffffff00000000, 0x0000000100000001, 0x0000000300000003 };
        int how = *(const int *)arg;
        uint64_t random = (uint64_t)getpid() * 77 + (uint64_t)how;

        (void)t;
        (void)size;
        fill_events();
        for (uint64_t i = 0;; i++) {
                uint64_t r = peer_random(&random), value = peer_random(&random);
                size_t map = (r >> 40) % n_maps;
                /* The words of a lane or queue more often than what is in it. */
                size_t limit = r & 1 && maps[map].words > WORDS ? WORDS : maps[map].words;
                size_t at = how == 2 ? i / 19 % limit : (r >> 1) % limit;

                value >>= r >> 58;
                if (how)
                        value = values[(how == 2 ? i : value) % (sizeof values / sizeof *values)];
                maps[map].at[at] = value;
                if (i % 4096 == 0)
                        (void)usleep(100);
        }
        return 0;
}

/* Sends its result many times over. */
static int task_replay(crew_task *t, const void *arg, size_t size)
{
        (void)arg;
        (void)size;
        for (int i = 0; i < 3; i++) {
                void *at = crew__track_reserve(t->track, 8);

                if (at)
                        memset(at, 0x55, 8);
                crew__track_done(t->track, 0, 8, "");
        }
        return task_idle(t, NULL, 0);
}

static struct {
        _Atomic int count;
        int worker_pid;
        char text[512];
} heard;

static void hear(const crew_pool_event *e, void *user)
{
        (void)user;
        if (e->kind != CREW_EVENT_QUEUE)
                return;
        (void)snprintf(heard.text, sizeof heard.text, "%s", e->failure ? e->failure->message : "?");
        heard.worker_pid = e->pid;
        (void)atomic_fetch_add(&heard.count, 1);
}

static bool await_event(int64_t ns)
{
        int64_t until = peer_now() + test_slow(ns);

        while (!atomic_load(&heard.count) && peer_now() < until)
                peer_pause(CREW_MS(1));
        return atomic_load(&heard.count) > 0;
}

static crew_queue *new_queue(void)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .name = "shared", .bytes = 8184)));
        return q;
}

static crew_pool *new_pool(unsigned n, const char *sandbox, crew_queue *q)
{
        crew_ref ref = crew_queue_ref(q);
        crew_pool *p = NULL;

        REQUIRE_OK(crew_pool_new(&p, n,
                CREW_OPT(pool, .sandbox = sandbox, .restarts = UINT_MAX, .grants = &ref,
                        .n_grants = 1, .initializer = find_maps, .on_event = hear,
                        .lane_bytes = 4096)));
        return p;
}

static void expect_twice(crew_pool *p, long value)
{
        long out = -1;

        CHECK_INT(crew_pool_apply(
                          p, task_twice, &value, sizeof value, &out, sizeof out, CREW_S(20), NULL),
                ==, sizeof out);
        CHECK_INT(out, ==, 2 * value);
}

/* Whatever they answer, soon after their timeout. */
static void use_queue(crew_queue *q)
{
        int64_t began = peer_now();
        char buf[256] = "";

        (void)crew_queue_put(q, buf, 100, CREW_NOW);
        (void)crew_queue_get(q, buf, sizeof buf, CREW_NOW);
        (void)crew_queue_put(q, buf, 100, CREW_MS(5));
        (void)crew_queue_get(q, buf, sizeof buf, CREW_MS(5));
        CHECK_INT(peer_now() - began, <, test_slow(CREW_S(10)));
}

/* The task that came into the liar's lane may end with it: but it does not get a wrong answer. */
static int try_twice(crew_pool *p, long value)
{
        crew_failure failure = { .size = sizeof failure };
        long out = -1;
        ssize_t r = crew_pool_apply(p, task_twice, &value, sizeof value, &out, sizeof out,
                CREW_S(20), CREW_OPT(task, .failure = &failure));

        if (r == -EOWNERDEAD) {
                INFO("%s", failure.message);
                return 1;
        }
        CHECK_INT(r, ==, sizeof out);
        CHECK_INT(out, ==, 2 * value);
        return 0;
}

static void attack(const char *sandbox, crew_task_fn *f, int how)
{
        crew_auto(queue) q = new_queue();
        crew_auto(pool) p = new_pool(3, sandbox, q);
        crew_auto(result) r = NULL;
        crew_failure failure = { .size = sizeof failure };
        long value = 1;
        int lost = 0;

        REQUIRE_OK(crew_pool_apply_async(
                p, f, &how, sizeof how, &r, CREW_OPT(task, .deadline = CREW_MS(200))));
        while (!crew_result_ready(r) && value < 100000) {
                lost += try_twice(p, value++);
                use_queue(q);
        }
        REQUIRE_OK(crew_result_wait(r, CREW_S(20)));
        if (f == task_scribble) {
                REQUIRE_OK(crew_result_failure(r, &failure));
                CHECK(failure.reason == CREW_DIED || failure.reason == CREW_DEADLINE);
                CHECK(strlen(failure.message) > 20);
                INFO("%s %d: %s", sandbox, how, failure.message);
        }
        for (int i = 0; i < 20; i++)
                lost += try_twice(p, value++);
        CHECK_INT(lost, <=, 1);
}

static void attacks(const char *sandbox)
{
        TEST_DEADLINE(100);
        for (long long i = 0; i < test_scale(100, 1); i++) {
                for (int how = 0; how < 3; how++)
                        attack(sandbox, task_scribble, how);
        }
        attack(sandbox, task_replay, 0);
}

TEST(scribble, "a worker that scribbles over all it shares costs itself", "[unit][pool][hostile]")
{
        attacks("none");
}

TEST(scribble_stdio, "the same in a sandbox", "[unit][pool][hostile]")
{
        attacks("stdio");
}

/* Keeps the producers' lock of the queue. */
struct keep {
        crew_ref ref;
        uint32_t tid; /* that it writes there; 0: it takes it and stops itself */
        bool gets, unbreaks;
};

static int task_keep(crew_task *t, const void *arg, size_t size)
{
        const struct keep *k = arg;
        crew__patience patience = crew__patience_of(CREW_S(1));
        crew_queue *q = NULL;
        crew__lock *lock;
        crew__hold hold;
        int r = crew_task_queue(t, k->ref, &q);

        (void)size;
        if (r < 0)
                return r;
        lock = k->gets ? &q->ring->consumers.lock : &q->ring->producers.lock;
        if (!k->tid) {
                (void)crew__lock_acquire(lock, &hold, &patience);
                (void)kill(getpid(), SIGSTOP);
        }
        for (;;) {
                uint32_t word = atomic_load(&lock->word);

                if ((word & FUTEX_TID_MASK) != k->tid)
                        atomic_store(&lock->word, k->tid);
                if (k->unbreaks)
                        atomic_store(&q->ring->state, 0);
                (void)usleep(200);
        }
        return 0;
}

/* How long it took until the queue was given up. */
static int64_t give_up(unsigned n, const char *sandbox, struct keep k, bool waits)
{
        crew_auto(queue) q = new_queue();
        crew_auto(pool) p = new_pool(n, sandbox, q);
        crew_auto(result) r = NULL;
        crew_failure failure = { .size = sizeof failure };
        char buf[8] = "", name[64];
        int64_t began, took;
        int ended;

        atomic_store(&heard.count, 0);
        k.ref = crew_queue_ref(q);
        expect_twice(p, 1);
        REQUIRE_OK(crew_pool_apply_async(p, task_keep, &k, sizeof k, &r, NULL));
        while (!(atomic_load(&q->ring->producers.lock.word) & FUTEX_TID_MASK) &&
                !(atomic_load(&q->ring->consumers.lock.word) & FUTEX_TID_MASK))
                peer_pause(CREW_MS(1) / 4);
        began = peer_now();
        if (waits && k.gets)
                CHECK_INT(crew_queue_get(q, buf, 8, CREW_FOREVER), ==, -ENOTRECOVERABLE);
        else if (waits)
                CHECK_INT(crew_queue_put(q, buf, 8, CREW_FOREVER), ==, -ENOTRECOVERABLE);
        else
                CHECK(await_event(CREW_S(10)));
        took = peer_now() - began;
        CHECK_INT(crew_queue_put(q, buf, 8, CREW_S(9)), ==, -ENOTRECOVERABLE);
        CHECK_INT(crew_queue_get(q, buf, 8, CREW_S(9)), ==, -ENOTRECOVERABLE);
        CHECK(await_event(CREW_S(10)));
        INFO("%s", heard.text);
        CHECK(strstr(heard.text, "queue shared is unusable"));
        CHECK(strstr(heard.text, "worker 0 (pid "));
        ended = heard.worker_pid;
        CHECK((ended != 0) == (n == 1));
        if (n == 1) {
                REQUIRE_OK(crew_result_wait(r, CREW_S(10)));
                REQUIRE_OK(crew_result_failure(r, &failure));
                CHECK_INT(failure.reason, ==, CREW_DIED);
                CHECK(strstr(failure.message, "could have broken the queue shared"));
                INFO("%s", failure.message);
        } else {
                (void)snprintf(name, sizeof name, "worker %u (pid ", n - 1);
                CHECK(strstr(heard.text, name));
                CHECK(!crew_result_ready(r));
        }
        for (int i = 0; i < 10; i++)
                expect_twice(p, i);
        CHECK_INT(atomic_load(&heard.count), ==, 1);
        return took;
}

/* Soon, unless others keep the machine busy. */
static void expect_stuck(unsigned n, const char *sandbox, struct keep k, bool waits)
{
        int64_t took = INT64_MAX;

        for (int i = 0; i < 5 && took >= test_slow(CREW_MS(400)); i++)
                took = give_up(n, sandbox, k, waits);
        CHECK_INT(took, <, test_slow(CREW_MS(400)));
}

TEST(stopped, "a worker that stops itself inside a put", "[unit][pool][hostile]")
{
        expect_stuck(1, "none", (struct keep){ .tid = 0 }, true);
        expect_stuck(2, "none", (struct keep){ .tid = 0 }, true);
        expect_stuck(2, "none", (struct keep){ .tid = 0 }, false);
}

TEST(live_tid, "a worker that writes a live thread's number into a lock", "[unit][pool][hostile]")
{
        TEST_DEADLINE(60);
        for (int i = 0; i < 4; i++) {
                struct keep k = { .tid = (uint32_t)getppid(), .gets = i & 1, .unbreaks = i & 2 };

                expect_stuck(1, "stdio", k, true);
                expect_stuck(3, "stdio", k, i & 1);
        }
}

TEST(own_tid, "a lock that names the caller itself", "[unit][pool][hostile]")
{
        expect_stuck(1, "stdio", (struct keep){ .tid = (uint32_t)gettid() }, true);
        expect_stuck(2, "stdio", (struct keep){ .tid = (uint32_t)gettid() }, false);
}

/* Every lock's owner looks like one without a robust list, and dead. */
static int task_put(crew_task *t, const void *arg, size_t size)
{
        crew_queue *q = NULL;
        int r = crew_task_queue(t, *(const crew_ref *)arg, &q);

        (void)size;
        for (int i = 0; i < 3 && r == 0; i++)
                r = crew_queue_put(q, "x", 1, CREW_MS(60));
        return r;
}

TEST(lured, "a lock cannot make a worker do what its sandbox refuses", "[unit][pool][hostile]")
{
        crew_auto(queue) q = new_queue();
        crew_auto(pool) p = new_pool(2, "stdio", q);
        crew_ref ref = crew_queue_ref(q);
        crew_failure failure = { .size = sizeof failure };
        ssize_t r;

        atomic_store(&q->ring->producers.lock.watched, 1);
        atomic_store(&q->ring->producers.lock.word, (uint32_t)getppid());
        r = crew_pool_apply(p, task_put, &ref, sizeof ref, NULL, 0, CREW_S(10),
                CREW_OPT(task, .failure = &failure));
        INFO("%s", failure.message);
        CHECK(r == -ENOTRECOVERABLE || r == -ETIMEDOUT);
        CHECK_INT(failure.reason, ==, CREW_FAILED);
}

static int task_fill_events(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        fill_events();
        return 0;
}

TEST(full_events, "eventfds that are full and block hold nobody up", "[unit][pool][hostile]")
{
        crew_auto(queue) q = new_queue();
        crew_auto(pool) p = new_pool(1, "stdio", q);
        int64_t began;
        char buf[8];
        int lost = 0;
        ssize_t r;

        /* What the worker fills includes the eventfd of its own lane: a driver that sleeps on that
         * one hears no more of this worker, which costs its tasks their deadline and no more. */
        r = crew_pool_apply(p, task_fill_events, NULL, 0, NULL, 0, CREW_S(10),
                CREW_OPT(task, .deadline = CREW_MS(200)));
        CHECK(r == 0 || r == -ETIME);
        began = peer_now();
        for (int i = 0; i < 1000; i++) {
                atomic_store(&q->ring->readable.armed, 1);
                atomic_store(&q->ring->writable.armed, 1);
                REQUIRE_OK(crew_queue_put(q, buf, 8, CREW_NOW));
                REQUIRE_OK(crew_queue_get(q, buf, 8, CREW_NOW));
        }
        CHECK_INT(peer_now() - began, <, test_slow(CREW_S(10)));
        /* A worker that the machine does not let run for a while loses nothing. */
        for (long i = 0; i < 8; i++) {
                long out = -1;

                r = crew_pool_apply(p, task_twice, &i, sizeof i, &out, sizeof out, CREW_S(20),
                        CREW_OPT(task, .deadline = CREW_S(3)));
                lost += r == -ETIME;
                CHECK(r == -ETIME || (r == sizeof out && out == 2 * i));
        }
        /* Whoever comes after it is as good as new. */
        CHECK_INT(lost, <=, 1);
        atomic_store(&q->ring->readable.armed, 1);
        REQUIRE_OK(crew_queue_close(q));
}

static _Atomic bool over;

static void *poll_queue(void *data)
{
        crew_queue *q = data;
        char buf[64] = "";
        int r = 0;

        while (!atomic_load(&over) && (r >= 0 || r == -EAGAIN || r == -ETIMEDOUT))
                r = crew_queue_put(q, buf, sizeof buf, CREW_MS(10) * (r & 1));
        CHECK(r >= 0 || r == -EAGAIN || r == -ETIMEDOUT);
        return NULL;
}

TEST(honest, "a granted queue that is full and polled by many is not broken",
        "[unit][pool][hostile]")
{
        crew_auto(queue) q = new_queue();
        crew_auto(pool) p = new_pool(2, "stdio", q);
        pthread_t threads[4];

        for (int i = 0; i < 4; i++)
                REQUIRE(pthread_create(&threads[i], NULL, poll_queue, q) == 0);
        for (int64_t until = peer_now() + test_scale(CREW_S(60), CREW_S(1)); peer_now() < until;)
                peer_pause(CREW_MS(10));
        CHECK_INT(crew__queue_state(q) & CREW__STATE_BROKEN, ==, 0);
        atomic_store(&over, true);
        for (int i = 0; i < 4; i++)
                (void)pthread_join(threads[i], NULL);
        expect_twice(p, 8);
}
