/* SPDX-License-Identifier: MIT */

/* Events and semaphores in a waiter. */

#include "peer.h"
#include "wait-help.h"

#include <poll.h>

WAIT_WARM_UP

enum { TAG = 7, OTHER = 8 };

struct shared {
        crew_event event;
        crew_semaphore semaphore;
};

static struct shared *share(void)
{
        struct shared *s = peer_memory(sizeof *s);

        REQUIRE_OK(crew_event_init(&s->event));
        REQUIRE_OK(crew_semaphore_init(&s->semaphore, 0, 0));
        return s;
}

static void unshare_it(struct shared *s)
{
        peer_memory_free(s, sizeof *s);
}

static void set_later(void *arg)
{
        struct shared *s = arg;

        peer_pause(CREW_MS(3));
        REQUIRE_OK(crew_event_set(&s->event));
}

static void pulse_later(void *arg)
{
        struct shared *s = arg;

        set_later(s);
        REQUIRE_OK(crew_event_clear(&s->event));
}

static void release_later(void *arg)
{
        struct shared *s = arg;

        peer_pause(CREW_MS(3));
        REQUIRE_OK(crew_semaphore_release(&s->semaphore));
}

TEST(event, "an event completes when another process sets it", "[live][wait][sync]")
{
        crew_auto(waiter) w = new_waiter();
        struct shared *s = share();
        crew_completion c;
        pid_t pid;

        REQUIRE_OK(crew_waiter_event(w, &s->event, TAG));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(30)), ==, -ETIMEDOUT);
        pid = peer_start(set_later, s);
        REQUIRE(crew_waiter_wait(w, &c, 1, CREW_S(10)) == 1);
        CHECK_INT(c.kind, ==, CREW_EVENT);
        CHECK_INT(c.tag, ==, TAG);
        CHECK_INT(c.result, ==, 0);
        CHECK(c.object == &s->event);
        CHECK_INT(peer_join(pid), ==, 0);
        /* Once only. */
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(1)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_waiter_event(w, &s->event, TAG));
        CHECK_INT(wait_one(w, CREW_EVENT, TAG), ==, 0);
        unshare_it(s);
}

TEST(pulse, "an event that was set and cleared meanwhile completes too", "[live][wait][sync]")
{
        crew_auto(waiter) w = new_waiter();
        struct shared *s = share();
        pid_t pid;

        REQUIRE_OK(crew_waiter_event(w, &s->event, TAG));
        pid = peer_start(pulse_later, s);
        CHECK_INT(wait_one(w, CREW_EVENT, TAG), ==, 0);
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

TEST(semaphore, "a unit is taken inside the wait, and by a cancelled operation never",
        "[live][wait][sync]")
{
        crew_auto(waiter) w = new_waiter();
        struct shared *s = share();
        crew_completion c[4];
        pid_t pid;

        REQUIRE_OK(crew_waiter_semaphore(w, &s->semaphore, TAG));
        REQUIRE_OK(crew_waiter_semaphore(w, &s->semaphore, TAG));
        REQUIRE_OK(crew_waiter_semaphore(w, &s->semaphore, OTHER));
        CHECK_INT(crew_waiter_wait(w, c, 4, CREW_MS(1)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_semaphore_release(&s->semaphore));
        CHECK_INT(crew_semaphore_value(&s->semaphore), ==, 1);
        CHECK_INT(crew_waiter_wait(w, c, 4, CREW_S(10)), ==, 1);
        CHECK_INT(c[0].kind, ==, CREW_ACQUIRED);
        CHECK(c[0].object == &s->semaphore);
        CHECK_INT(crew_semaphore_value(&s->semaphore), ==, 0);
        CHECK_INT(
                crew_waiter_cancel(w, c[0].tag == TAG ? OTHER : TAG), ==, c[0].tag == TAG ? 1 : 2);
        if (c[0].tag == TAG)
                CHECK_INT(crew_waiter_cancel(w, TAG), ==, 1);
        REQUIRE_OK(crew_semaphore_release(&s->semaphore));
        CHECK_INT(crew_waiter_wait(w, c, 4, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_semaphore_value(&s->semaphore), ==, 1);
        REQUIRE_OK(crew_waiter_semaphore(w, &s->semaphore, TAG));
        CHECK_INT(wait_one(w, CREW_ACQUIRED, TAG), ==, 0);
        REQUIRE_OK(crew_waiter_semaphore(w, &s->semaphore, TAG));
        pid = peer_start(release_later, s);
        CHECK_INT(wait_one(w, CREW_ACQUIRED, TAG), ==, 0);
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

static void *acquire(void *semaphore)
{
        return (void *)(intptr_t)crew_semaphore_acquire(semaphore, CREW_S(15));
}

TEST(both, "waiters and sleeping threads share a semaphore, each unit goes to one",
        "[live][wait][sync]")
{
        crew_auto(waiter) w = new_waiter();
        struct shared *s = share();
        crew_completion c;
        pthread_t thread;
        void *result;
        int taken;

        REQUIRE(pthread_create(&thread, NULL, acquire, &s->semaphore) == 0);
        REQUIRE_OK(crew_waiter_semaphore(w, &s->semaphore, TAG));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(2)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_semaphore_release(&s->semaphore));
        taken = crew_waiter_wait(w, &c, 1, CREW_MS(30));
        REQUIRE_OK(crew_semaphore_release(&s->semaphore));
        if (taken != 1)
                CHECK_INT(wait_one(w, CREW_ACQUIRED, TAG), ==, 0);
        (void)pthread_join(thread, &result);
        CHECK_INT((intptr_t)result, ==, 0);
        CHECK_INT(crew_semaphore_value(&s->semaphore), ==, 0);
        unshare_it(s);
}

TEST(polled, "a waiter that is polled from outside is told of events", "[live][wait][sync]")
{
        crew_auto(waiter) w = new_waiter();
        struct shared *s = share();
        int64_t begun = crew_clock(), until = begun + test_slow(CREW_S(10));
        struct pollfd fd = { .events = POLLIN };
        crew_completion c;
        int n = -EAGAIN, calls = 0;
        pid_t pid;

        REQUIRE_OK(crew_waiter_event(w, &s->event, TAG));
        fd.fd = crew_waiter_pollfd(w);
        REQUIRE(fd.fd >= 0);
        pid = peer_start(set_later, s);
        while (n != 1 && crew_clock() < until) {
                REQUIRE(poll(&fd, 1, 10000) >= 0);
                n = crew_waiter_wait(w, &c, 1, CREW_NOW);
                calls++;
        }
        CHECK_INT(n, ==, 1);
        CHECK_INT(c.kind, ==, CREW_EVENT);
        /* Not a busy loop: twice per look at most, however late the other process is. */
        CHECK_INT(calls, <, 100 + (crew_clock() - begun) / CREW_MS(10));
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

TEST(refused, "no event and no semaphore are refused", "[live][wait][sync]")
{
        crew_auto(waiter) w = new_waiter();

        CHECK_INT(crew_waiter_event(w, NULL, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_semaphore(w, NULL, TAG), ==, -EINVAL);
}
