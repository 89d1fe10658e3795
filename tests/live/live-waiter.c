/* SPDX-License-Identifier: MIT */
#include "wait-help.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

WAIT_WARM_UP

enum { TAG = 7, OTHER = 8, THIRD = 9 };

TEST(get_there, "a get of a message that is there completes at once", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c;
        int value = 0;

        put_seven(q);
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        CHECK_INT(value, ==, 0);
        CHECK_INT(wait_some(w, &c, 1, CREW_NOW), ==, 1);
        CHECK_INT(c.kind, ==, CREW_GOT);
        CHECK_INT(c.tag, ==, TAG);
        CHECK_INT(c.result, ==, sizeof value);
        CHECK(c.object == q);
        CHECK_INT(c.revents, ==, 0);
        CHECK_INT(value, ==, 7);
        CHECK_INT(crew_queue_count(q), ==, 0);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
}

TEST(get_later, "a get completes when a message comes", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        struct later l;
        int value = 0;

        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        later(&l, CREW_MS(30), put_seven, q);
        CHECK_INT(wait_one(w, CREW_GOT, TAG), ==, sizeof value);
        CHECK_INT(value, ==, 7);
        later_end(&l);
}

TEST(get_many_times, "one get takes one message and no more", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c[4];
        int value;

        for (int i = 0; i < 3; i++)
                REQUIRE_OK(CREW_PUT(q, &i, CREW_NOW));
        for (int i = 0; i < 3; i++) {
                REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
                CHECK_INT(wait_some(w, c, 4, CREW_NOW), ==, 1);
                CHECK_INT(value, ==, i);
                CHECK_INT(crew_queue_count(q), ==, 2 - i);
        }
}

TEST(gets_in_order, "several gets on one queue are served in the order of arming", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        int value[5] = { 0 };
        struct later l[3];

        for (int i = 0; i < 5; i++)
                REQUIRE_OK(crew_waiter_get(w, q, &value[i], sizeof value[i], (uint64_t)i));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        for (int i = 0; i < 3; i++) {
                later(&l[i], CREW_MS(5), put_seven, q);
                CHECK_INT(wait_one(w, CREW_GOT, (uint64_t)i), ==, sizeof *value);
                CHECK_INT(value[i], ==, 7);
                later_end(&l[i]);
        }
        CHECK_INT(value[3], ==, 0);
        CHECK_INT(crew_waiter_cancel(w, 3), ==, 1);
        put_seven(q);
        CHECK_INT(wait_one(w, CREW_GOT, 4), ==, sizeof *value);
        CHECK_INT(value[3], ==, 0);
}

TEST(get_small, "a message that does not fit is an error and stays", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        char value;

        put_seven(q);
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        CHECK_INT(wait_one(w, CREW_GOT, TAG), ==, -EMSGSIZE);
        CHECK_INT(crew_queue_count(q), ==, 1);
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 0);
}

TEST(put_now_later, "a put completes at once, or when there is room", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(1);
        int one = 1, two = 2, value;
        struct later l;

        REQUIRE_OK(crew_waiter_put(w, q, &one, sizeof one, TAG));
        CHECK_INT(crew_queue_count(q), ==, 0);
        CHECK_INT(wait_one(w, CREW_PUT_IN, TAG), ==, 0);
        REQUIRE_OK(crew_waiter_put(w, q, &two, sizeof two, OTHER));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        later(&l, CREW_MS(30), take_one, q);
        CHECK_INT(wait_one(w, CREW_PUT_IN, OTHER), ==, 0);
        later_end(&l);
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        CHECK_INT(value, ==, 2);
}

TEST(put_refused, "a message that the queue can never take is refused even when it is full",
        "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_queue *q;
        char big[64 * 1024] = { 0 };

        REQUIRE_OK(crew_queue_new(&q, 1, CREW_OPT(queue, .bytes = 4000)));
        REQUIRE_OK(crew_queue_put(q, big, 1, CREW_NOW));
        REQUIRE_OK(crew_waiter_put(w, q, big, sizeof big, TAG));
        CHECK_INT(wait_one(w, CREW_PUT_IN, TAG), ==, -EMSGSIZE);
        crew_queue_free(q);
}

TEST(puts_of_sizes, "a put that does not fit does not hold up one that does", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_queue *q;
        char big[3000] = { 0 }, out[3000];

        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .bytes = 4000)));
        REQUIRE_OK(crew_queue_put(q, big, sizeof big, CREW_NOW));
        REQUIRE_OK(crew_waiter_put(w, q, big, sizeof big, TAG));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        REQUIRE_OK(crew_waiter_put(w, q, big, 10, OTHER));
        CHECK_INT(wait_one(w, CREW_PUT_IN, OTHER), ==, 0);
        REQUIRE(crew_queue_get(q, out, sizeof out, CREW_NOW) == sizeof big);
        CHECK_INT(wait_one(w, CREW_PUT_IN, TAG), ==, 0);
        crew_queue_free(q);
}

TEST(readable_level, "readable is reported at every wait while there is a message", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        struct later l;

        REQUIRE_OK(crew_waiter_readable(w, q, TAG));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        later(&l, CREW_MS(20), put_seven, q);
        for (int i = 0; i < 5; i++)
                CHECK_INT(wait_one(w, CREW_READABLE, TAG), ==, 0);
        later_end(&l);
        CHECK_INT(crew_queue_count(q), ==, 1);
        take_one(q);
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(1)), ==, -ETIMEDOUT);
        later(&l, CREW_MS(20), put_seven, q);
        CHECK_INT(wait_one(w, CREW_READABLE, TAG), ==, 0);
        later_end(&l);
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
}

TEST(writable_level, "writable is reported at every wait while there is room", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(1);
        struct later l;

        REQUIRE_OK(crew_waiter_writable(w, q, TAG));
        for (int i = 0; i < 3; i++)
                CHECK_INT(wait_one(w, CREW_WRITABLE, TAG), ==, 0);
        put_seven(q);
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(30)), ==, -ETIMEDOUT);
        later(&l, CREW_MS(20), take_one, q);
        CHECK_INT(wait_one(w, CREW_WRITABLE, TAG), ==, 0);
        later_end(&l);
}

TEST(both_sides, "both sides of one queue, several times each, in one waiter", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(1);
        crew_completion c[8];
        int in = 5, out = 0, n;

        REQUIRE_OK(crew_waiter_get(w, q, &out, sizeof out, 1));
        REQUIRE_OK(crew_waiter_put(w, q, &in, sizeof in, 2));
        REQUIRE_OK(crew_waiter_readable(w, q, 3));
        REQUIRE_OK(crew_waiter_writable(w, q, 4));
        n = wait_some(w, c, 8, CREW_S(5));
        CHECK(wait_find(c, n, 2) != NULL);
        while (n > 0 && !wait_find(c, n, 1))
                n = wait_some(w, c, 8, CREW_S(5));
        CHECK(wait_find(c, n, 1) != NULL);
        CHECK_INT(out, ==, 5);
        CHECK_INT(crew_waiter_cancel(w, 3), ==, 1);
        CHECK_INT(wait_one(w, CREW_WRITABLE, 4), ==, 0);
}

TEST(closed, "a closed queue ends its operations once, gets after the last message", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c[8];
        int out[2] = { 0 }, in = 3, n;

        put_seven(q);
        REQUIRE_OK(crew_queue_close(q));
        REQUIRE_OK(crew_waiter_readable(w, q, 1));
        n = wait_some(w, c, 8, CREW_NOW);
        CHECK_INT(n, ==, 1);
        CHECK_INT(c[0].result, ==, 0);
        REQUIRE_OK(crew_waiter_get(w, q, &out[0], sizeof *out, 2));
        REQUIRE_OK(crew_waiter_get(w, q, &out[1], sizeof *out, 3));
        REQUIRE_OK(crew_waiter_put(w, q, &in, sizeof in, 4));
        REQUIRE_OK(crew_waiter_writable(w, q, 5));
        n = wait_some(w, c, 8, CREW_NOW);
        CHECK_INT(n, ==, 5);
        CHECK_INT(out[0], ==, 7);
        for (int i = 0; i < n; i++) {
                if (c[i].tag == 2)
                        CHECK_INT(c[i].result, ==, sizeof *out);
                else if (c[i].tag != 1)
                        CHECK_INT(c[i].result, ==, -EPIPE);
        }
        /* readable came before the last message was taken, or ended with it. */
        if (wait_find(c, n, 1)->result == 0)
                CHECK_INT(wait_one(w, CREW_READABLE, 1), ==, -EPIPE);
        CHECK_INT(crew_waiter_wait(w, c, 8, CREW_NOW), ==, -EAGAIN);
        for (uint64_t tag = 1; tag <= 5; tag++)
                CHECK_INT(crew_waiter_cancel(w, tag), ==, 0);
}

TEST(closed_while_armed, "closing ends what is armed on an empty queue", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(1);
        crew_auto(queue) full = new_queue(1);
        crew_completion c[8];
        int out, in = 1, seen = 0, n;
        struct later l[2];

        put_seven(full);
        REQUIRE_OK(crew_waiter_get(w, q, &out, sizeof out, 1));
        REQUIRE_OK(crew_waiter_readable(w, q, 2));
        REQUIRE_OK(crew_waiter_put(w, full, &in, sizeof in, 3));
        REQUIRE_OK(crew_waiter_writable(w, full, 4));
        later(&l[0], CREW_MS(20), close_queue, q);
        later(&l[1], CREW_MS(20), close_queue, full);
        while (seen != 0x1e) {
                n = wait_some(w, c, 8, CREW_S(5));
                REQUIRE(n > 0);
                for (int i = 0; i < n; i++) {
                        CHECK_INT(c[i].result, ==, -EPIPE);
                        CHECK(!(seen & 1 << c[i].tag));
                        seen |= 1 << c[i].tag;
                }
        }
        later_end(&l[0]);
        later_end(&l[1]);
        CHECK_INT(crew_waiter_wait(w, c, 8, CREW_NOW), ==, -EAGAIN);
}

TEST(cancel_get, "a cancelled get takes nothing", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_completion c;
        int value = -1;

        for (int armed = 0; armed < 2; armed++) {
                REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
                if (armed)
                        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(5)), ==, -ETIMEDOUT);
                put_seven(q);
                CHECK_INT(crew_waiter_cancel(w, TAG), ==, 1);
                CHECK_INT(crew_waiter_cancel(w, TAG), ==, 0);
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(30)), ==, -ETIMEDOUT);
                CHECK_INT(crew_queue_count(q), ==, 1);
                CHECK_INT(value, ==, -1);
                take_one(q);
        }
}

TEST(cancel_tag, "cancel takes all operations of a tag and no other", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        int value = 0, in = 1;

        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        REQUIRE_OK(crew_waiter_readable(w, q, TAG));
        REQUIRE_OK(crew_waiter_timer(w, CREW_MS(1), 0, TAG));
        REQUIRE_OK(crew_waiter_put(w, q, &in, sizeof in, OTHER));
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 3);
        CHECK_INT(crew_waiter_cancel(w, THIRD), ==, 0);
        CHECK_INT(wait_one(w, CREW_PUT_IN, OTHER), ==, 0);
        CHECK_INT(crew_queue_count(q), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(10)), ==, -ETIMEDOUT);
}

TEST(freed_queue, "an armed operation keeps its queue", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_queue *q = new_queue(0), *again;
        crew_ref ref = crew_queue_ref(q);
        int value = 0;

        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        crew_queue_free(q);
        REQUIRE_OK(crew_queue_open(&again, ref));
        put_seven(again);
        CHECK_INT(wait_one(w, CREW_GOT, TAG), ==, sizeof value);
        CHECK_INT(value, ==, 7);
        crew_queue_free(again);
        CHECK_INT(crew_queue_open(&again, ref), ==, -ENOENT);
}

TEST(timers, "a timer fires once or periodically, never early", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        int64_t start = crew_clock();
        crew_completion c[4];

        REQUIRE_OK(crew_waiter_timer(w, CREW_MS(30), 0, TAG));
        CHECK_INT(crew_waiter_wait(w, c, 4, CREW_NOW), ==, -EAGAIN);
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

TEST(many_timers, "timers fire in the order of their times", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c[8];
        int64_t last = -1;
        int left = 300, n;

        for (int i = 0; i < left; i++)
                REQUIRE_OK(crew_waiter_timer(w, CREW_MS(20 + i * 7919 % 300 / 10), 0,
                        (uint64_t)(i * 7919 % 300 / 10)));
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
                later(&l, CREW_MS(20), kill_thread, &self);
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_S(5)), ==, -EINTR);
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
        int64_t start = crew_clock(), took;
        int value;

        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(50)), ==, -ETIMEDOUT);
        took = crew_clock() - start;
        CHECK_INT(took, >=, CREW_MS(50));
        CHECK_INT(took, <, test_slow(CREW_MS(500)));
        start = crew_clock();
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_waiter_wait(w, &c, 1, -CREW_S(1)), ==, -EAGAIN);
        CHECK_INT(crew_waiter_wait(w, &c, 1, INT64_MIN), ==, -EAGAIN);
        CHECK_INT(crew_clock() - start, <, test_slow(CREW_MS(100)));
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

/* CPython: TestWait.test_wait. */
static void ten_messages(void *q)
{
        for (int i = 0; i < 10; i++) {
                usleep((unsigned)(rand() % 3000));
                put_seven(q);
        }
        close_queue(q);
}

TEST(python_wait, "four producers of ten messages each, until all are closed", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_queue *q[4];
        struct later l[4];
        crew_completion c[4];
        int open = 4, messages = 0, value, n;

        for (int i = 0; i < 4; i++) {
                q[i] = new_queue(0);
                REQUIRE_OK(crew_waiter_readable(w, q[i], (uint64_t)i));
                later(&l[i], 0, ten_messages, q[i]);
        }
        while (open > 0) {
                n = wait_some(w, c, 4, CREW_S(10));
                REQUIRE(n > 0);
                for (int i = 0; i < n; i++) {
                        if (c[i].result < 0) {
                                CHECK_INT(c[i].result, ==, -EPIPE);
                                open--;
                        } else {
                                REQUIRE_OK(CREW_GET(c[i].object, &value, CREW_NOW));
                                messages++;
                        }
                }
        }
        CHECK_INT(messages, ==, 40);
        for (int i = 0; i < 4; i++) {
                later_end(&l[i]);
                crew_queue_free(q[i]);
        }
}

/* CPython: TestWait.test_wait_integer, with a descriptor in the place of the sentinel. */
TEST(python_wait_integer, "all that is ready is returned together", "[live][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) a = new_queue(0);
        crew_auto(queue) b = new_queue(0);
        crew_completion c[4];
        int p[2];

        REQUIRE(pipe2(p, O_CLOEXEC) == 0);
        REQUIRE_OK(crew_waiter_readable(w, a, 1));
        REQUIRE_OK(crew_waiter_readable(w, b, 2));
        REQUIRE_OK(crew_waiter_fd(w, p[0], EPOLLIN, 3));
        CHECK_INT(wait_some(w, c, 4, CREW_MS(20)), ==, -ETIMEDOUT);
        put_seven(a);
        CHECK_INT(wait_some(w, c, 4, CREW_S(5)), ==, 1);
        CHECK(c[0].object == a);
        write_byte(&p[1]);
        put_seven(b);
        CHECK_INT(wait_some(w, c, 4, CREW_S(5)), ==, 3);
        take_one(a);
        CHECK_INT(wait_some(w, c, 4, CREW_S(5)), ==, 2);
        CHECK(wait_find(c, 2, 1) == NULL);
        close(p[0]);
        close(p[1]);
}
