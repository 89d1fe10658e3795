/* SPDX-License-Identifier: MIT */
#include "wait-help.h"

#include <crew/process.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

WAIT_WARM_UP

enum { TAG = 7 };

/* An event loop that is not crew's: an epoll with the waiter's descriptor in it. */
struct loop {
        crew_waiter *w;
        crew_queue *q;
        int epoll;
};

static void loop_open(struct loop *l)
{
        struct epoll_event event = { .events = EPOLLIN };
        int fd;

        *l = (struct loop){ .w = new_waiter(), .q = new_queue(1) };
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        REQUIRE(l->epoll >= 0);
        fd = crew_waiter_pollfd(l->w);
        REQUIRE(fd >= 0);
        CHECK_INT(crew_waiter_pollfd(l->w), ==, fd);
        REQUIRE(epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void loop_close(struct loop *l)
{
        close(l->epoll);
        crew_waiter_free(l->w);
        crew_queue_free(l->q);
}

static bool ready(const struct loop *l, int64_t timeout)
{
        struct epoll_event event;

        return epoll_wait(l->epoll, &event, 1, (int)(timeout / CREW_MS(1))) == 1;
}

/* Until the descriptor is quiet: what a loop does before it sleeps. */
static int turn_until_quiet(const struct loop *l, crew_completion *c)
{
        int found = 0, n;

        for (int i = 0; i < 100 && ready(l, CREW_NOW); i++) {
                n = wait_some(l->w, c, 1, CREW_NOW);
                CHECK(n == 1 || n == -EAGAIN);
                if (n == 1)
                        return 1;
                found += n == -EAGAIN;
        }
        CHECK_INT(found, <, 100);
        return 0;
}

/* Turns the loop until a completion, for at most 5 s. */
static crew_completion turn(const struct loop *l)
{
        int64_t end = crew_clock() + CREW_S(5);
        crew_completion c = { .kind = -1 };

        while (crew_clock() < end && ready(l, CREW_S(5))) {
                if (wait_some(l->w, &c, 1, CREW_NOW) == 1)
                        return c;
        }
        CHECK(!"nothing completed");
        c.kind = -1;
        return c;
}

TEST(poll_queue, "queue operations in a foreign loop", "[live][wait][pollfd]")
{
        struct loop l;
        crew_completion c;
        struct later later_put;
        int value = 0;

        loop_open(&l);
        REQUIRE_OK(crew_waiter_get(l.w, l.q, &value, sizeof value, TAG));
        CHECK(ready(&l, CREW_NOW));
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        CHECK(!ready(&l, CREW_MS(50)));
        for (int i = 0; i < 3; i++) {
                later(&later_put, CREW_MS(10), put_seven, l.q);
                CHECK_INT(turn(&l).kind, ==, CREW_GOT);
                later_end(&later_put);
                REQUIRE_OK(crew_waiter_get(l.w, l.q, &value, sizeof value, TAG));
                CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        }
        CHECK_INT(crew_waiter_cancel(l.w, TAG), ==, 1);

        REQUIRE_OK(crew_waiter_readable(l.w, l.q, TAG));
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        put_seven(l.q);
        for (int i = 0; i < 3; i++)
                CHECK_INT(turn(&l).kind, ==, CREW_READABLE);
        CHECK(ready(&l, CREW_NOW));
        REQUIRE_OK(crew_waiter_put(l.w, l.q, &value, sizeof value, 8));
        CHECK_INT(crew_waiter_cancel(l.w, TAG), ==, 1);
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        later(&later_put, CREW_MS(10), take_one, l.q);
        CHECK_INT(turn(&l).kind, ==, CREW_PUT_IN);
        later_end(&later_put);
        REQUIRE_OK(crew_waiter_writable(l.w, l.q, TAG));
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        later(&later_put, CREW_MS(10), close_queue, l.q);
        CHECK_INT(turn(&l).result, ==, -EPIPE);
        later_end(&later_put);
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        CHECK(!ready(&l, CREW_MS(50)));
        loop_close(&l);
}

static int nap(void *unused)
{
        (void)unused;
        usleep(20000);
        return 0;
}

/* Three expirations of a timer; were they seen soon enough for a thread that runs all the time? */
static bool timers_in_time(const struct loop *l)
{
        int64_t start = crew_clock(), took;
        crew_completion c;
        bool in_time = true;
        int found;

        REQUIRE_OK(crew_waiter_timer(l->w, CREW_MS(30), CREW_MS(30), 3));
        found = turn_until_quiet(l, &c);
        took = crew_clock() - start;
        CHECK(found == 0 || took >= CREW_MS(30));
        for (int i = 1; i <= 3; i++) {
                CHECK_INT(turn(l).kind, ==, CREW_TIMER);
                took = crew_clock() - start;
                CHECK_INT(took, >=, CREW_MS(30) * i);
                in_time &= took < test_slow(CREW_MS(30) * i + CREW_MS(500));
        }
        CHECK_INT(crew_waiter_cancel(l->w, 3), ==, 1);
        return in_time && found == 0;
}

TEST(poll_others, "joins, descriptors, timers and wakes in a foreign loop", "[live][wait][pollfd]")
{
        struct loop l;
        crew_completion c;
        crew_process *p;
        struct later later_wake;
        int fds[2];
        bool in_time = false;

        loop_open(&l);
        REQUIRE_OK(crew_process_launch(&p, nap, NULL, NULL));
        REQUIRE_OK(crew_waiter_join(l.w, p, 1));
        CHECK_INT(turn(&l).kind, ==, CREW_JOINED);
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        crew_process_free(p);

        REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
        REQUIRE_OK(crew_waiter_fd(l.w, fds[0], EPOLLIN, 2));
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);
        write_byte(&fds[1]);
        CHECK_INT(turn(&l).kind, ==, CREW_FD);
        CHECK_INT(turn(&l).kind, ==, CREW_FD);
        CHECK_INT(crew_waiter_cancel(l.w, 2), ==, 1);
        CHECK_INT(turn_until_quiet(&l, &c), ==, 0);

        for (int i = 0; i < 10 && !in_time; i++)
                in_time = timers_in_time(&l);
        CHECK(in_time);
        CHECK(!ready(&l, CREW_MS(60)));

        REQUIRE_OK(crew_waiter_wake(l.w));
        CHECK_INT(turn(&l).kind, ==, CREW_WOKEN);
        later(&later_wake, CREW_MS(20), wake, l.w);
        CHECK_INT(turn(&l).kind, ==, CREW_WOKEN);
        later_end(&later_wake);
        CHECK(!ready(&l, CREW_MS(20)));
        close(fds[0]);
        close(fds[1]);
        loop_close(&l);
}

TEST(poll_late, "asking for the descriptor after arming and waiting", "[live][wait][pollfd]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c;
        struct pollfd fd = { .events = POLLIN };
        struct later l;
        int value;

        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(5)), ==, -ETIMEDOUT);
        fd.fd = crew_waiter_pollfd(w);
        REQUIRE(fd.fd >= 0);
        while (poll(&fd, 1, 0) == 1)
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        later(&l, CREW_MS(10), put_seven, q);
        CHECK_INT(poll(&fd, 1, 5000), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, 1);
        later_end(&l);
        /* Blocking waits still work beside it, and nothing armed is no deadlock now. */
        later(&l, CREW_MS(10), put_seven, q);
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        CHECK_INT(wait_one(w, CREW_GOT, TAG), ==, sizeof value);
        later_end(&l);
        later(&l, CREW_MS(20), wake, w);
        CHECK_INT(wait_some(w, &c, 1, CREW_FOREVER), ==, 1);
        CHECK_INT(c.kind, ==, CREW_WOKEN);
        later_end(&l);
}

static void *arms_and_ends(void *data)
{
        const struct loop *l = data;
        static int value;
        crew_completion c;

        REQUIRE_OK(crew_waiter_get(l->w, l->q, &value, sizeof value, TAG));
        CHECK_INT(turn_until_quiet(l, &c), ==, 0);
        return NULL;
}

TEST(poll_thread_ended, "what a thread armed still makes the descriptor readable when it has ended",
        "[live][wait][pollfd]")
{
        struct loop l;
        pthread_t thread;
        struct later later_put;

        loop_open(&l);
        REQUIRE(pthread_create(&thread, NULL, arms_and_ends, &l) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        later(&later_put, CREW_MS(20), put_seven, l.q);
        CHECK_INT(turn(&l).kind, ==, CREW_GOT);
        later_end(&later_put);
        loop_close(&l);
}

/* How often it is readable within 400 ms, each time in vain. */
static int ticks_in_a_while(const struct loop *l)
{
        int64_t end = crew_clock() + CREW_MS(400);
        int ticks = 0;

        while (crew_clock() < end) {
                if (!ready(l, CREW_MS(50)))
                        continue;
                CHECK_INT(
                        crew_waiter_wait(l->w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
                ticks++;
        }
        return ticks;
}

TEST(poll_shared, "a queue that other processes share makes it readable now and then",
        "[live][wait][pollfd]")
{
        struct loop l;
        int value, ticks = 0;
        pid_t pid;

        loop_open(&l);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                put_seven(l.q);
                _exit(0);
        }
        REQUIRE(waitpid(pid, NULL, 0) == pid);
        REQUIRE_OK(crew_waiter_get(l.w, l.q, &value, sizeof value, TAG));
        CHECK_INT(turn(&l).kind, ==, CREW_GOT);
        REQUIRE_OK(crew_waiter_get(l.w, l.q, &value, sizeof value, TAG));
        /* In some of these times this thread may hardly run. */
        for (int i = 0; i < 10 && ticks < 5; i++) {
                ticks = ticks_in_a_while(&l);
                INFO("%d ticks in 400 ms", ticks);
                CHECK_INT(ticks, <=, 45);
        }
        CHECK_INT(ticks, >=, 5);
        loop_close(&l);
}

enum { STORM = 3000 };

static void *storm(void *q)
{
        unsigned seed = (unsigned)(uintptr_t)q;

        for (int i = 0; i < STORM; i++) {
                if (rand_r(&seed) % 4 == 0)
                        usleep(rand_r(&seed) % 100);
                REQUIRE_OK(CREW_PUT(q, &i, CREW_S(10)));
        }
        return NULL;
}

/* Nobody looks at these queues every 20 ms, so whatever is lost is lost. */
TEST(poll_storm, "no readiness is lost between arming, cancelling and what the kernel tells",
        "[live][wait][pollfd]")
{
        enum { QUEUES = 3 };
        struct loop l;
        crew_queue *q[QUEUES];
        pthread_t threads[QUEUES];
        int value[QUEUES], next[QUEUES] = { 0 }, left = QUEUES * STORM;
        crew_completion c[2];

        TEST_DEADLINE(60);
        loop_open(&l);
        for (int i = 0; i < QUEUES; i++) {
                q[i] = new_queue(2);
                REQUIRE_OK(crew_waiter_get(l.w, q[i], &value[i], sizeof value[i], (uint64_t)i));
                REQUIRE(pthread_create(&threads[i], NULL, storm, q[i]) == 0);
        }
        while (left > 0) {
                int n;

                if (left % 3 == 0) {
                        REQUIRE_OK(crew_waiter_readable(l.w, l.q, TAG));
                        CHECK_INT(crew_waiter_cancel(l.w, TAG), ==, 1);
                }
                REQUIRE(ready(&l, CREW_S(5)));
                n = wait_some(l.w, c, 2, CREW_NOW);
                for (int i = 0; i < n; i++) {
                        int at = (int)c[i].tag;

                        CHECK_INT(c[i].result, ==, sizeof *value);
                        CHECK_INT(value[at], ==, next[at]);
                        next[at]++;
                        left--;
                        REQUIRE_OK(
                                crew_waiter_get(l.w, q[at], &value[at], sizeof *value, c[i].tag));
                }
        }
        loop_close(&l);
        for (int i = 0; i < QUEUES; i++) {
                REQUIRE(pthread_join(threads[i], NULL) == 0);
                crew_queue_free(q[i]);
        }
}

TEST(poll_blocking, "blocking waits with timers sleep, after the descriptor was asked for",
        "[live][wait][pollfd]")
{
        struct loop l;
        crew_completion c;
        struct timespec before, after;
        int64_t busy;

        loop_open(&l);
        REQUIRE_OK(crew_waiter_timer(l.w, CREW_MS(20), CREW_MS(20), TAG));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        for (int i = 0; i < 10; i++)
                CHECK_INT(wait_one(l.w, CREW_TIMER, TAG), >=, 1);
        CHECK_INT(crew_waiter_cancel(l.w, TAG), ==, 1);
        CHECK_INT(crew_waiter_wait(l.w, &c, 1, CREW_MS(100)), ==, -ETIMEDOUT);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        busy = (after.tv_sec - before.tv_sec) * CREW_S(1) + after.tv_nsec - before.tv_nsec;
        CHECK_INT(busy, <, test_slow(CREW_MS(50)));
        loop_close(&l);
}
