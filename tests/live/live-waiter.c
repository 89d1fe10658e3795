/* SPDX-License-Identifier: MIT */
#include "wait-help.h"

#include <fcntl.h>

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
