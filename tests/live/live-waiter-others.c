/* SPDX-License-Identifier: MIT */

/* Timers, descriptors, wakes and handlers; what the wait itself promises. */

#include "wait-help.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>

WAIT_WARM_UP

enum { TAG = 7, OTHER = 8, THIRD = 9 };

TEST(timers, "a timer fires once or periodically, never early", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        int64_t start, within;
        crew_completion c[4];
        int n;

        /* Where this thread did not run for its time, the timer has fired: then once more. */
        do {
                start = crew_clock();
                REQUIRE_OK(crew_waiter_timer(w, CREW_MS(30), 0, TAG));
                n = crew_waiter_wait(w, c, 4, CREW_NOW);
                within = crew_clock() - start;
        } while (n == 1 && within >= CREW_MS(30));
        CHECK_INT(n, ==, -EAGAIN);
        CHECK_INT(wait_one(w, CREW_TIMER, TAG), ==, 1);
        CHECK_INT(crew_clock() - start, >=, CREW_MS(30));
        CHECK_INT(crew_waiter_wait(w, c, 4, CREW_MS(40)), ==, -ETIMEDOUT);

        start = crew_clock();
        REQUIRE_OK(crew_waiter_timer(w, CREW_MS(5), CREW_MS(10), OTHER));
        for (int i = 0, total = 0; i < 4; i++) {
                total += (int)wait_one(w, CREW_TIMER, OTHER);
                CHECK_INT(crew_clock() - start, >=, CREW_MS(5 + 10 * (total - 1)));
        }
        CHECK_INT(crew_waiter_cancel(w, OTHER), ==, 1);
        CHECK_INT(crew_waiter_wait(w, c, 4, CREW_MS(20)), ==, -ETIMEDOUT);
}

TEST(timer_counts, "expirations that nobody saw are counted", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        int64_t start = crew_clock(), n;

        REQUIRE_OK(crew_waiter_timer(w, 0, CREW_MS(10), TAG));
        usleep(55000);
        n = wait_one(w, CREW_TIMER, TAG);
        CHECK_INT(n, >=, 6);
        CHECK_INT(n, <=, 1 + (crew_clock() - start) / CREW_MS(10));
}

TEST(timer_odd, "a timer for the past fires at once, one for never not", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();

        REQUIRE_OK(crew_waiter_timer(w, -5, 0, TAG));
        CHECK_INT(wait_one(w, CREW_TIMER, TAG), ==, 1);
        REQUIRE_OK(crew_waiter_timer(w, CREW_FOREVER, CREW_FOREVER, OTHER));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(5)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_waiter_timer(w, 0, CREW_FOREVER, THIRD));
        CHECK_INT(wait_one(w, CREW_TIMER, THIRD), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(5)), ==, -ETIMEDOUT);
        CHECK_INT(crew_waiter_timer(w, 1, -1, TAG), ==, -EINVAL);
}

/*
 * Arms n timers with times from one moment on, however long the arming takes. False: this thread
 * did not run for so long meanwhile that a timer's time is another than was meant.
 */
static bool arm_many(crew_waiter *w, int n)
{
        int64_t base = crew_clock() + test_slow(CREW_MS(50));

        for (int i = 0; i < n; i++) {
                int after = i * 7919 % n / 10;
                int64_t when = base + CREW_MS(after), now = crew_clock();

                REQUIRE_OK(crew_waiter_timer(w, when - now, 0, (uint64_t)after));
                if (crew_clock() - now >= CREW_MS(1) || crew_clock() >= base)
                        return false;
        }
        return true;
}

TEST(many_timers, "timers fire in the order of their times", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c[8];
        int64_t last = -1;
        int left = 300, n;

        while (!arm_many(w, left)) {
                for (uint64_t tag = 0; tag < 30; tag++)
                        (void)crew_waiter_cancel(w, tag);
        }
        for (uint64_t tag = 0; tag < 30; tag += 3)
                left -= crew_waiter_cancel(w, tag);
        CHECK_INT(left, ==, 200);
        while (left > 0) {
                n = wait_some(w, c, 8, CREW_S(5));
                REQUIRE(n > 0);
                for (int i = 0; i < n; i++) {
                        CHECK_INT(c[i].tag % 3, !=, 0);
                        CHECK_INT(c[i].tag, >=, last);
                        last = (int64_t)c[i].tag;
                }
                left -= n;
        }
}

TEST(fds, "a descriptor is reported at every wait while it is ready", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c;
        int p[2];
        char byte;
        struct later l;

        REQUIRE(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0);
        REQUIRE_OK(crew_waiter_fd(w, p[0], EPOLLIN, TAG));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        later(&l, CREW_MS(20), write_byte, &p[1]);
        for (int i = 0; i < 4; i++) {
                CHECK_INT(wait_some(w, &c, 1, CREW_S(5)), ==, 1);
                CHECK_INT(c.kind, ==, CREW_FD);
                CHECK_INT(c.tag, ==, TAG);
                CHECK_INT(c.result, ==, 0);
                CHECK_INT(c.revents, ==, EPOLLIN);
                CHECK(c.object == NULL);
        }
        later_end(&l);
        REQUIRE(read(p[0], &byte, 1) == 1);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(5)), ==, -ETIMEDOUT);
        close(p[1]);
        CHECK_INT(wait_some(w, &c, 1, CREW_S(5)), ==, 1);
        CHECK_INT(c.revents, ==, EPOLLHUP);
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        close(p[0]);
}

TEST(fd_twice, "one descriptor armed several times, for the same and for other events",
        "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c[8];
        char byte;
        int s[2], n;

        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
        REQUIRE_OK(crew_waiter_fd(w, s[0], EPOLLIN, 1));
        REQUIRE_OK(crew_waiter_fd(w, s[0], EPOLLOUT, 2));
        REQUIRE_OK(crew_waiter_fd(w, s[0], EPOLLIN | EPOLLOUT, 3));
        REQUIRE_OK(crew_waiter_fd(w, s[0], EPOLLIN, 1));
        n = wait_some(w, c, 8, CREW_S(5));
        CHECK_INT(n, ==, 2);
        CHECK(wait_find(c, n, 1) == NULL);
        CHECK_INT(crew_waiter_cancel(w, 2), ==, 1);
        CHECK_INT(crew_waiter_cancel(w, 3), ==, 1);
        CHECK_INT(crew_waiter_wait(w, c, 8, CREW_MS(5)), ==, -ETIMEDOUT);
        REQUIRE(write(s[1], "x", 1) == 1);
        n = wait_some(w, c, 8, CREW_S(5));
        CHECK_INT(n, ==, 2);
        CHECK_INT(c[0].tag, ==, 1);
        CHECK_INT(c[1].tag, ==, 1);
        REQUIRE_OK(crew_waiter_fd(w, s[0], EPOLLIN | EPOLLOUT, 3));
        n = wait_some(w, c, 8, CREW_S(5));
        CHECK_INT(n, ==, 3);
        REQUIRE(wait_find(c, n, 3) != NULL);
        CHECK_INT(wait_find(c, n, 3)->revents, ==, EPOLLIN | EPOLLOUT);
        CHECK_INT(wait_find(c, n, 1)->revents, ==, EPOLLIN);
        CHECK_INT(crew_waiter_cancel(w, 1), ==, 2);
        REQUIRE(read(s[0], &byte, 1) == 1);
        CHECK_INT(wait_some(w, c, 8, CREW_S(5)), ==, 1);
        CHECK_INT(c[0].revents, ==, EPOLLOUT);
        close(s[0]);
        close(s[1]);
}

TEST(fd_closed_after_cancel, "a cancelled descriptor is let go at once", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c;
        char byte;
        int p[2];

        REQUIRE(pipe2(p, O_CLOEXEC) == 0);
        REQUIRE_OK(crew_waiter_fd(w, p[1], 0, TAG));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 1);
        close(p[1]);
        CHECK_INT(read(p[0], &byte, 1), ==, 0);
        close(p[0]);
}

TEST(fd_stale, "a descriptor that is no longer ready is not reported late", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c[4];
        int p[2][2];
        char byte;

        for (int i = 0; i < 2; i++) {
                REQUIRE(pipe2(p[i], O_CLOEXEC) == 0);
                REQUIRE(write(p[i][1], "x", 1) == 1);
                REQUIRE_OK(crew_waiter_fd(w, p[i][0], EPOLLIN, (uint64_t)i));
        }
        CHECK_INT(wait_some(w, c, 1, CREW_S(5)), ==, 1);
        REQUIRE(read(p[!c->tag][0], &byte, 1) == 1);
        for (int i = 0; i < 3; i++) {
                uint64_t tag = c->tag;

                CHECK_INT(wait_some(w, c, 1, CREW_S(5)), ==, 1);
                CHECK_INT(c->tag, ==, tag);
        }
        for (int i = 0; i < 2; i++) {
                close(p[i][0]);
                close(p[i][1]);
        }
}

TEST(fd_bad, "what cannot be polled is refused when it is armed", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

        REQUIRE(file >= 0);
        CHECK_INT(crew_waiter_fd(w, file, EPOLLIN, TAG), ==, -EPERM);
        CHECK_INT(crew_waiter_fd(w, -1, EPOLLIN, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_fd(w, file, EPOLLIN | EPOLLET, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_fd(w, file, EPOLLONESHOT, TAG), ==, -EINVAL);
        close(file);
        CHECK_INT(crew_waiter_fd(w, file, EPOLLIN, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 0);
}

TEST(wakes, "a wake ends the current or the next wait, once for many", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c;
        struct later l;

        REQUIRE_OK(crew_waiter_timer(w, CREW_FOREVER, 0, TAG));
        for (int i = 0; i < 3; i++)
                REQUIRE_OK(crew_waiter_wake(w));
        CHECK_INT(wait_some(w, &c, 1, CREW_FOREVER), ==, 1);
        CHECK_INT(c.kind, ==, CREW_WOKEN);
        CHECK_INT(c.tag, ==, 0);
        CHECK(c.object == NULL);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(10)), ==, -ETIMEDOUT);
        later(&l, CREW_MS(20), wake, w);
        CHECK_INT(wait_one(w, CREW_WOKEN, 0), ==, 0);
        later_end(&l);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(10)), ==, -ETIMEDOUT);
}

TEST(wake_hidden, "a caller who is woken all the time sees the others too", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c;
        int kinds = 0;

        put_seven(q);
        REQUIRE_OK(crew_waiter_readable(w, q, TAG));
        for (int i = 0; i < 4; i++) {
                REQUIRE_OK(crew_waiter_wake(w));
                CHECK_INT(wait_some(w, &c, 1, CREW_S(5)), ==, 1);
                kinds |= 1 << c.kind;
        }
        CHECK_INT(kinds, ==, 1 << CREW_WOKEN | 1 << CREW_READABLE);
}

static crew_waiter *handled;

static void wake_handler(int sig)
{
        int saved = errno;

        (void)sig;
        errno = EXDEV;
        (void)crew_waiter_wake(handled);
        errno = errno == EXDEV ? saved : EDOM;
}

static void kill_thread(void *thread)
{
        REQUIRE(pthread_kill(*(pthread_t *)thread, SIGUSR1) == 0);
}

static atomic_bool was_interrupted;

/* The first may come before the thread sleeps. */
static void kill_often(void *thread)
{
        while (!atomic_load(&was_interrupted)) {
                kill_thread(thread);
                usleep(20000);
        }
}

static void ignore_handler(int sig)
{
        (void)sig;
}

static void handle(void (*handler)(int), int flags)
{
        struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

        REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
}

TEST(wake_from_handler, "a signal handler may wake", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        pthread_t self = pthread_self();
        struct later l;

        handled = w;
        handle(wake_handler, SA_RESTART);
        REQUIRE_OK(crew_waiter_timer(w, CREW_FOREVER, 0, TAG));
        later(&l, CREW_MS(20), kill_thread, &self);
        CHECK_INT(wait_one(w, CREW_WOKEN, 0), ==, 0);
        later_end(&l);
}

TEST(interrupted, "a handler that runs during the sleep ends it with EINTR, restartable or not",
        "[live][wait]")
{
        for (int restart = 0; restart < 2; restart++) {
                crew_auto(waiter) w = new_waiter();
                crew_auto(queue) q = new_queue(0);
                pthread_t self = pthread_self();
                crew_completion c;
                struct later l;
                int value;

                handle(ignore_handler, restart ? SA_RESTART : 0);
                REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
                atomic_store(&was_interrupted, false);
                later(&l, CREW_MS(20), kill_often, &self);
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_S(5)), ==, -EINTR);
                atomic_store(&was_interrupted, true);
                later_end(&l);
                put_seven(q);
                REQUIRE(raise(SIGUSR1) == 0);
                CHECK_INT(wait_one(w, CREW_GOT, TAG), ==, sizeof value);
                REQUIRE_OK(crew_waiter_timer(w, CREW_FOREVER, 0, OTHER));
                REQUIRE(raise(SIGUSR1) == 0);
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        }
}

TEST(bad_calls, "bad arguments are refused", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c;

        CHECK_INT(crew_waiter_new(NULL, 0), ==, -EINVAL);
        CHECK_INT(crew_waiter_wait(w, &c, 0, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_waiter_wait(w, &c, -1, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_waiter_wait(w, NULL, 1, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_waiter_get(w, NULL, &c, 1, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_get(w, q, NULL, 1, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_put(w, q, NULL, 1, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_readable(w, NULL, TAG), ==, -EINVAL);
        CHECK(crew_waiter_free(NULL) == NULL);
}

TEST(deadlock, "waiting for ever for nothing is refused", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c;

        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_FOREVER), ==, -EDEADLK);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(1)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_waiter_timer(w, 1, 0, TAG));
        CHECK_INT(wait_one(w, CREW_TIMER, TAG), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_FOREVER), ==, -EDEADLK);
        REQUIRE_OK(crew_waiter_wake(w));
        CHECK_INT(wait_some(w, &c, 1, CREW_FOREVER), ==, 1);
        CHECK_INT(c.kind, ==, CREW_WOKEN);
}

TEST(timeouts, "a wait ends at its timeout and not long after", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c;
        int64_t start, took, late = INT64_MAX;
        int value;

        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        /* The best of some: in the others this thread may not have run for a while. */
        for (int i = 0; i < 10 && late >= test_slow(CREW_MS(450)); i++) {
                start = crew_clock();
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(50)), ==, -ETIMEDOUT);
                took = crew_clock() - start;
                CHECK_INT(took, >=, CREW_MS(50));
                late = took - CREW_MS(50);
        }
        CHECK_INT(late, <, test_slow(CREW_MS(450)));
        took = INT64_MAX;
        for (int i = 0; i < 10 && took >= test_slow(CREW_MS(100)); i++) {
                start = crew_clock();
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
                CHECK_INT(crew_waiter_wait(w, &c, 1, -CREW_S(1)), ==, -EAGAIN);
                CHECK_INT(crew_waiter_wait(w, &c, 1, INT64_MIN), ==, -EAGAIN);
                took = crew_clock() - start;
        }
        CHECK_INT(took, <, test_slow(CREW_MS(100)));
}

/* 16 of them always ready and one completion at a time: each must get its turn. */
TEST(fairness, "with room for one completion, all that is ready takes turns", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(2);
        int p[2], seen[16] = { 0 }, out;
        crew_completion c;

        REQUIRE(pipe2(p, O_CLOEXEC) == 0);
        REQUIRE(write(p[1], "x", 1) == 1);
        put_seven(q);
        for (uint64_t i = 0; i < 16; i += 4) {
                REQUIRE_OK(crew_waiter_readable(w, q, i));
                REQUIRE_OK(crew_waiter_writable(w, q, i + 1));
                REQUIRE_OK(crew_waiter_fd(w, p[i > 8], i > 8 ? EPOLLOUT : EPOLLIN, i + 2));
                REQUIRE_OK(crew_waiter_timer(w, 0, 1, i + 3));
        }
        for (int i = 0; i < 160; i++) {
                REQUIRE(wait_some(w, &c, 1, CREW_S(5)) == 1);
                seen[c.tag]++;
        }
        for (int i = 0; i < 16; i++) {
                INFO("operation %d: %d times of 160", i, seen[i]);
                CHECK_INT(seen[i], >=, 5);
        }
        /* And a get among them. */
        REQUIRE_OK(crew_waiter_get(w, q, &out, sizeof out, 99));
        for (int i = 0; i < 40 && c.tag != 99; i++)
                REQUIRE(wait_some(w, &c, 1, CREW_S(5)) == 1);
        CHECK_INT(c.tag, ==, 99);
        close(p[0]);
        close(p[1]);
}

/* More than one look at the epoll can hold. */
TEST(many_ready, "200 ready descriptors take turns", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        int p[200][2], seen[200] = { 0 };
        crew_completion c;

        for (int i = 0; i < 200; i++) {
                REQUIRE(pipe2(p[i], O_CLOEXEC) == 0);
                REQUIRE_OK(crew_waiter_fd(w, p[i][1], EPOLLOUT, (uint64_t)i));
        }
        for (int i = 0; i < 1000; i++) {
                REQUIRE(wait_some(w, &c, 1, CREW_S(5)) == 1);
                seen[c.tag]++;
        }
        for (int i = 0; i < 200; i++) {
                CHECK_INT(seen[i], >=, 2);
                close(p[i][0]);
                close(p[i][1]);
        }
}
