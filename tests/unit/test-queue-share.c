/* SPDX-License-Identifier: MIT */

/* A queue between processes: inheriting, opening, waking, closing; and CPython's own cases. */

#include "check.h"
#include "peer.h"

#include <crew/queue.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How soon "at once" is on a machine that does other things too. */
#define AT_ONCE CREW_S(5)

static crew_queue *make(size_t max, const crew_queue_options *o)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_new(&q, max, o));
        return q;
}

/* The queue and the words of a case, in memory of its own. */
struct shared {
        crew_queue *q, *again;
        crew_ref ref;
        _Atomic uint32_t ready, go, result;
        _Atomic int64_t when;
};

static struct shared *share(crew_queue *q)
{
        struct shared *s = peer_memory(sizeof *s);

        s->q = q;
        s->ref = crew_queue_ref(q);
        return s;
}

static void unshare_it(struct shared *s)
{
        (void)crew_queue_free(s->q);
        peer_memory_free(s, sizeof *s);
}

static void put_ten(void *arg)
{
        struct shared *s = arg;

        for (int i = 0; i < 10; i++)
                REQUIRE_OK(CREW_PUT(s->q, &i, CREW_S(10)));
        (void)crew_queue_free(s->q);
}

/* CPython: test_fork. What the parent put before and what the child put are all there, in order. */
TEST(py_fork, "items of parent and child arrive, 0 to 19", "[unit][queue][cpython]")
{
        struct shared *s = share(make(0, NULL));
        int got;

        for (int i = 0; i < 10; i++)
                REQUIRE_OK(CREW_PUT(s->q, &i, CREW_NOW));
        CHECK_INT(peer_join(peer_start(put_ten, s)), ==, 0);
        for (int i = 0; i < 20; i++) {
                REQUIRE_OK(CREW_GET(s->q, &got, CREW_S(5)));
                CHECK_INT(got, ==, i % 10);
        }
        CHECK_INT(CREW_GET(s->q, &got, CREW_NOW), ==, -EAGAIN);
        unshare_it(s);
}

static void expect_full(crew_queue *q, int64_t timeout)
{
        int64_t began = peer_now(), least = timeout > 0 ? timeout : 0;
        int value = 9;

        CHECK_INT(CREW_PUT(q, &value, timeout), ==, timeout > 0 ? -ETIMEDOUT : -EAGAIN);
        CHECK_INT(peer_now() - began, >=, least);
        CHECK_INT(peer_now() - began, <, least + test_slow(AT_ONCE));
}

static void take_six(void *arg)
{
        struct shared *s = arg;
        int got;

        REQUIRE(peer_await(&s->go, 1, CREW_S(10)));
        for (int i = 1; i <= 6; i++) {
                REQUIRE_OK(CREW_GET(s->q, &got, CREW_S(5)));
                CHECK_INT(got, ==, i);
        }
}

/* CPython: test_put. */
TEST(py_put, "a queue of six is full after six, in every way of asking", "[unit][queue][cpython]")
{
        struct shared *s = share(make(6, NULL));
        const int64_t how[6] = { CREW_FOREVER, CREW_S(1), CREW_NOW, -1, CREW_NOW, CREW_FOREVER };
        pid_t pid = peer_start(take_six, s);

        CHECK(crew_queue_empty(s->q));
        CHECK(!crew_queue_full(s->q));
        for (int i = 1; i <= 6; i++)
                REQUIRE_OK(CREW_PUT(s->q, &i, how[i - 1]));
        CHECK(!crew_queue_empty(s->q));
        CHECK(crew_queue_full(s->q));
        expect_full(s->q, CREW_NOW);
        expect_full(s->q, -CREW_S(1));
        expect_full(s->q, CREW_MS(82));
        expect_full(s->q, CREW_MS(35));
        atomic_store(&s->go, 1);
        CHECK_INT(peer_join(pid), ==, 0);
        CHECK(crew_queue_empty(s->q));
        CHECK(!crew_queue_full(s->q));
        unshare_it(s);
}

static void expect_empty(crew_queue *q, int64_t timeout)
{
        int64_t began = peer_now(), least = timeout > 0 ? timeout : 0;
        int value;

        CHECK_INT(CREW_GET(q, &value, timeout), ==, timeout > 0 ? -ETIMEDOUT : -EAGAIN);
        CHECK_INT(peer_now() - began, >=, least);
        CHECK_INT(peer_now() - began, <, least + test_slow(AT_ONCE));
}

static void put_four(void *arg)
{
        struct shared *s = arg;

        for (int i = 2; i <= 5; i++)
                REQUIRE_OK(CREW_PUT(s->q, &i, CREW_NOW));
}

/* CPython: test_get and test_timeout. */
TEST(py_get, "what a child put is there when it has ended, and then nothing",
        "[unit][queue][cpython]")
{
        struct shared *s = share(make(0, NULL));
        const int64_t how[4] = { CREW_FOREVER, CREW_S(1), CREW_NOW, -1 };
        int got;

        expect_empty(s->q, CREW_NOW);
        CHECK_INT(peer_join(peer_start(put_four, s)), ==, 0);
        CHECK(!crew_queue_empty(s->q));
        for (int i = 2; i <= 5; i++) {
                REQUIRE_OK(CREW_GET(s->q, &got, how[i - 2]));
                CHECK_INT(got, ==, i);
        }
        CHECK(crew_queue_empty(s->q));
        expect_empty(s->q, CREW_NOW);
        expect_empty(s->q, -5);
        expect_empty(s->q, CREW_MS(200));
        expect_empty(s->q, CREW_MS(35));
        unshare_it(s);
}

/* CPython: test_qsize. */
TEST(py_qsize, "the count goes 0, 1, 2, 1, 0", "[unit][queue][cpython]")
{
        crew_auto(queue) q = make(0, NULL);
        const size_t counts[] = { 1, 2, 1, 0 };
        int value = 1;

        CHECK_INT(crew_queue_count(q), ==, 0);
        for (int i = 0; i < 4; i++) {
                REQUIRE_OK(i < 2 ? CREW_PUT(q, &value, CREW_NOW) : CREW_GET(q, &value, CREW_NOW));
                CHECK_INT(crew_queue_count(q), ==, counts[i]);
        }
}

/* CPython: test_queue_feeder_donot_stop_onexc. */
TEST(py_bad_message, "a message that is refused leaves the queue as it was",
        "[unit][queue][cpython]")
{
        crew_auto(queue) q = make(1, CREW_OPT(queue, .message_size = 4));
        int64_t wrong = 1;
        int value = 5;

        CHECK_INT(CREW_PUT(q, &wrong, CREW_S(1)), ==, -EBADMSG);
        CHECK_INT(crew_queue_count(q), ==, 0);
        REQUIRE_OK(CREW_PUT(q, &value, CREW_S(1)));
        REQUIRE_OK(CREW_GET(q, &value, CREW_S(1)));
        CHECK_INT(value, ==, 5);
}

static void blocked_get(void *arg)
{
        struct shared *s = arg;
        int value;

        atomic_fetch_add(&s->ready, 1);
        CHECK_INT(CREW_GET(s->q, &value, CREW_S(12)), ==, -EPIPE);
        atomic_fetch_add(&s->result, 1);
}

static void blocked_put(void *arg)
{
        struct shared *s = arg;
        int value = 1;

        atomic_fetch_add(&s->ready, 1);
        CHECK_INT(CREW_PUT(s->q, &value, CREW_S(12)), ==, -EPIPE);
        atomic_fetch_add(&s->result, 1);
}

static void closing(void *arg)
{
        struct shared *s = arg;

        REQUIRE_OK(crew_queue_close(s->q));
}

static void close_wakes(void (*blocked)(void *), bool fill, bool elsewhere)
{
        struct shared *s = share(make(1, NULL));
        pid_t pid[4];
        int value = 1;
        int64_t began;

        if (fill)
                REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        for (int i = 0; i < 4; i++)
                pid[i] = peer_start(blocked, s);
        REQUIRE(peer_await(&s->ready, 4, CREW_S(5)));
        for (int i = 0; i < 4; i++)
                REQUIRE(peer_await_sleep(pid[i], CREW_S(5)));
        began = peer_now();
        if (elsewhere)
                CHECK_INT(peer_join(peer_start(closing, s)), ==, 0);
        else
                closing(s);
        CHECK(peer_await(&s->result, 4, CREW_S(5)));
        CHECK_INT(peer_now() - began, <, test_slow(AT_ONCE));
        for (int i = 0; i < 4; i++)
                CHECK_INT(peer_join(pid[i]), ==, 0);
        if (fill)
                REQUIRE_OK(CREW_GET(s->q, &value, CREW_S(1)));
        CHECK_INT(CREW_GET(s->q, &value, CREW_S(1)), ==, -EPIPE);
        unshare_it(s);
}

TEST(close_gets, "a close wakes every blocked get", "[unit][queue]")
{
        close_wakes(blocked_get, false, false);
        close_wakes(blocked_get, false, true);
}

TEST(close_puts, "a close wakes every blocked put, which puts nothing", "[unit][queue]")
{
        close_wakes(blocked_put, true, false);
        close_wakes(blocked_put, true, true);
}

/* CPython: test_closed_queue_put_get_exceptions, between processes and while messages flow. */
static void put_until_closed(void *arg)
{
        struct shared *s = arg;
        uint32_t n = 0;
        int r;

        while ((r = CREW_PUT(s->q, &n, CREW_S(5))) == 0)
                n++;
        CHECK_INT(r, ==, -EPIPE);
        atomic_fetch_add(&s->result, n);
}

TEST(py_closed, "what was put before the close is drained to the last", "[unit][queue][cpython]")
{
        for (int round = 0; round < 20; round++) {
                struct shared *s = share(make(0, CREW_OPT(queue, .bytes = 65536)));
                pid_t pid[3];
                uint32_t value, n = 0;
                int r;

                for (int i = 0; i < 3; i++)
                        pid[i] = peer_start(put_until_closed, s);
                for (; n < 1000; n++)
                        REQUIRE_OK(CREW_GET(s->q, &value, CREW_S(5)));
                REQUIRE_OK(crew_queue_close(s->q));
                while ((r = CREW_GET(s->q, &value, CREW_S(5))) == 0)
                        n++;
                CHECK_INT(r, ==, -EPIPE);
                for (int i = 0; i < 3; i++)
                        CHECK_INT(peer_join(pid[i]), ==, 0);
                CHECK_INT(atomic_load(&s->result), ==, n);
                CHECK(crew_queue_empty(s->q));
                unshare_it(s);
        }
}

static void wake_me(void *arg)
{
        struct shared *s = arg;
        int64_t sent;

        atomic_store(&s->ready, 1);
        for (int i = 0; i < 20; i++) {
                REQUIRE_OK(CREW_GET(s->q, &sent, CREW_S(5)));
                CHECK_INT(peer_now() - sent, <, test_slow(AT_ONCE));
                atomic_fetch_add(&s->result, 1);
        }
}

TEST(wakes, "a put wakes a get that sleeps in another process", "[unit][queue]")
{
        struct shared *s = share(make(0, NULL));
        pid_t pid = peer_start(wake_me, s);

        for (uint32_t i = 0; i < 20; i++) {
                int64_t now;

                REQUIRE(peer_await(&s->result, i, CREW_S(5)));
                REQUIRE(peer_await_sleep(pid, CREW_S(5)));
                now = peer_now();
                REQUIRE_OK(CREW_PUT(s->q, &now, CREW_NOW));
        }
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

static void open_by_ref(void *arg)
{
        struct shared *s = arg;
        crew_queue *mine = NULL, *freed = NULL;
        int value = 42;

        REQUIRE_OK(crew_queue_open(&mine, s->ref));
        CHECK(mine != s->q);
        (void)crew_queue_free(s->q);
        (void)crew_queue_free(s->again);
        REQUIRE_OK(CREW_PUT(mine, &value, CREW_NOW));
        (void)crew_queue_free(mine);
        CHECK_INT(crew_queue_open(&freed, s->ref), ==, -ENOENT);
        CHECK(freed == NULL);
}

TEST(opened, "a ref opens a queue that this process holds, and no other", "[unit][queue]")
{
        struct shared *s = share(make(7, CREW_OPT(queue, .message_size = 4)));
        crew_queue *again = NULL;
        int value = 1;

        REQUIRE_OK(crew_queue_open(&again, s->ref));
        s->again = again;
        REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        REQUIRE_OK(CREW_GET(again, &value, CREW_NOW));
        CHECK_INT(crew_queue_put(again, &value, 3, CREW_NOW), ==, -EBADMSG);
        CHECK_INT(peer_join(peer_start(open_by_ref, s)), ==, 0);
        REQUIRE_OK(CREW_GET(again, &value, CREW_NOW));
        CHECK_INT(value, ==, 42);
        CHECK_INT(memcmp(&s->ref, &(crew_ref){ { 0, 0 } }, sizeof s->ref) != 0, ==, 1);
        s->q = crew_queue_free(s->q);
        REQUIRE_OK(CREW_PUT(again, &value, CREW_NOW));
        again = crew_queue_free(again);
        CHECK_INT(crew_queue_open(&again, s->ref), ==, -ENOENT);
        CHECK_INT(crew_queue_open(NULL, s->ref), ==, -EINVAL);
        CHECK(again == NULL);
        unshare_it(s);
}

static void put_and_die(void *arg)
{
        struct shared *s = arg;
        int value = 77;

        REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        (void)kill(getpid(), SIGKILL);
}

TEST(outlives, "a message outlives the process that put it", "[unit][queue]")
{
        struct shared *s = share(make(0, NULL));
        int value;

        CHECK_INT(peer_join(peer_start(put_and_die, s)), ==, PEER_KILLED + SIGKILL);
        REQUIRE_OK(CREW_GET(s->q, &value, CREW_NOW));
        CHECK_INT(value, ==, 77);
        unshare_it(s);
}

/* The sleeper slept without slices, as nobody else was there; a new process makes it look up. */
TEST(late_process, "a process that comes later is noticed by a sleeper", "[unit][queue]")
{
        struct shared *s = share(make(0, NULL));
        pid_t pid = peer_start(put_ten, s);
        int value;

        for (int i = 0; i < 10; i++)
                REQUIRE_OK(CREW_GET(s->q, &value, CREW_S(10)));
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

static void in_its_namespace(void *arg)
{
        struct shared *s = arg;
        crew_queue *other = NULL;
        int value = 1;

        CHECK_INT(CREW_PUT(s->q, &value, CREW_NOW), ==, -EXDEV);
        CHECK_INT(CREW_GET(s->q, &value, CREW_NOW), ==, -EXDEV);
        CHECK_INT(crew_queue_close(s->q), ==, -EXDEV);
        CHECK_INT(crew_queue_fd(s->q), ==, -EXDEV);
        CHECK_INT(crew_queue_open(&other, s->ref), ==, -EXDEV);
        CHECK(other == NULL);
}

static void enter_namespace(void *arg)
{
        if (unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
                _exit(99);
        _exit(peer_join(peer_start(in_its_namespace, arg)));
}

TEST(namespaces, "a queue of another pid namespace is refused", "[unit][queue]")
{
        struct shared *s = share(make(0, NULL));
        int code = peer_join(peer_start(enter_namespace, s)), value = 1;

        if (code == 99)
                SKIP("no pid namespace to be had");
        CHECK_INT(code, ==, 0);
        REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        unshare_it(s);
}

static void abandon_reservation(void *arg)
{
        struct shared *s = arg;
        void *at;

        REQUIRE_OK(crew_queue_reserve(s->q, &at, 100, CREW_NOW));
        memset(at, 'x', 100);
        (void)kill(getpid(), SIGKILL);
}

static void abandon_peek(void *arg)
{
        struct shared *s = arg;
        const void *at;

        REQUIRE(crew_queue_peek(s->q, &at, CREW_NOW) == 4);
        (void)kill(getpid(), SIGKILL);
}

TEST(abandoned, "a death between reserve and commit, or peek and release, leaves nothing",
        "[unit][queue]")
{
        struct shared *s = share(make(0,
                CREW_OPT(queue, .flags = CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER)));
        int value = 3;

        CHECK_INT(peer_join(peer_start(abandon_reservation, s)), ==, PEER_KILLED + SIGKILL);
        CHECK(crew_queue_empty(s->q));
        REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        CHECK_INT(peer_join(peer_start(abandon_peek, s)), ==, PEER_KILLED + SIGKILL);
        CHECK_INT(crew_queue_count(s->q), ==, 1);
        value = 0;
        REQUIRE_OK(CREW_GET(s->q, &value, CREW_NOW));
        CHECK_INT(value, ==, 3);
        unshare_it(s);
}
