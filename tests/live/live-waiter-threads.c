/* SPDX-License-Identifier: MIT */
#include "wait-help.h"

#include <semaphore.h>
#include <stdatomic.h>

WAIT_WARM_UP

enum { TAG = 7 };

/* Runs one thing at a time in a thread that lives on. */
struct hand {
        pthread_t thread;
        sem_t go, done;
        void (*act)(void *arg);
        void *arg;
};

static void *hand_main(void *data)
{
        struct hand *hand = data;

        for (;;) {
                while (sem_wait(&hand->go) != 0)
                        continue;
                if (!hand->act)
                        return NULL;
                hand->act(hand->arg);
                REQUIRE(sem_post(&hand->done) == 0);
        }
}

static void hand_start(struct hand *hand)
{
        REQUIRE(sem_init(&hand->go, 0, 0) == 0 && sem_init(&hand->done, 0, 0) == 0);
        REQUIRE(pthread_create(&hand->thread, NULL, hand_main, hand) == 0);
}

static void hand_do(struct hand *hand, void (*act)(void *), void *arg)
{
        hand->act = act;
        hand->arg = arg;
        REQUIRE(sem_post(&hand->go) == 0);
        while (act && sem_wait(&hand->done) != 0)
                continue;
}

static void hand_end(struct hand *hand)
{
        hand_do(hand, NULL, NULL);
        REQUIRE(pthread_join(hand->thread, NULL) == 0);
}

struct scene {
        crew_waiter *w;
        crew_queue *q;
        int value, fds[2];
};

static void scene_open(struct scene *s)
{
        *s = (struct scene){ .w = new_waiter(), .q = new_queue(0) };
        REQUIRE(pipe(s->fds) == 0);
}

static void scene_close(struct scene *s)
{
        crew_waiter_free(s->w);
        crew_queue_free(s->q);
        close(s->fds[0]);
        close(s->fds[1]);
}

static void arm_get(void *data)
{
        struct scene *s = data;

        REQUIRE_OK(crew_waiter_get(s->w, s->q, &s->value, sizeof s->value, TAG));
        REQUIRE_OK(crew_waiter_fd(s->w, s->fds[0], EPOLLIN, 8));
        REQUIRE_OK(crew_waiter_timer(s->w, CREW_FOREVER, 0, 9));
}

static void wait_in_vain(void *data)
{
        struct scene *s = data;

        CHECK_INT(crew_waiter_wait(s->w, &(crew_completion){ 0 }, 1, CREW_MS(5)), ==, -ETIMEDOUT);
}

static void arm_and_wait_in_vain(void *data)
{
        arm_get(data);
        wait_in_vain(data);
}

static void wait_for_get(void *data)
{
        struct scene *s = data;

        CHECK_INT(wait_one(s->w, CREW_GOT, TAG), ==, sizeof s->value);
}

static void cancel_all(void *data)
{
        struct scene *s = data;

        CHECK_INT(crew_waiter_cancel(s->w, TAG), ==, 1);
        CHECK_INT(crew_waiter_cancel(s->w, 8), ==, 1);
        CHECK_INT(crew_waiter_cancel(s->w, 9), ==, 1);
}

static void free_waiter(void *data)
{
        struct scene *s = data;

        s->w = crew_waiter_free(s->w);
}

TEST(moves, "a waiter goes from thread to thread and back", "[live][wait][threads]")
{
        struct hand a, b;
        struct scene s;
        struct later l;

        scene_open(&s);
        hand_start(&a);
        hand_start(&b);
        hand_do(&a, arm_and_wait_in_vain, &s);
        for (int i = 0; i < 6; i++) {
                later(&l, CREW_MS(10), put_seven, s.q);
                hand_do(i % 2 ? &a : &b, wait_for_get, &s);
                later_end(&l);
                CHECK_INT(s.value, ==, 7);
                s.value = 0;
                REQUIRE_OK(crew_waiter_get(s.w, s.q, &s.value, sizeof s.value, TAG));
        }
        hand_do(&b, cancel_all, &s);
        put_seven(s.q);
        hand_do(&a, wait_in_vain, &s);
        CHECK_INT(crew_queue_count(s.q), ==, 1);
        scene_close(&s);
        hand_end(&a);
        hand_end(&b);
}

TEST(missed_between, "what happens between the waits of two threads is not lost",
        "[live][wait][threads]")
{
        struct hand a;
        struct scene s;

        scene_open(&s);
        hand_start(&a);
        hand_do(&a, arm_and_wait_in_vain, &s);
        put_seven(s.q);
        CHECK_INT(wait_one(s.w, CREW_GOT, TAG), ==, sizeof s.value);
        write_byte(&s.fds[1]);
        CHECK_INT(wait_one(s.w, CREW_FD, 8), ==, 0);
        scene_close(&s);
        hand_end(&a);
}

TEST(armed_by_the_dead, "what a thread armed stays armed when it has ended",
        "[live][wait][threads]")
{
        struct hand a;
        struct scene s;
        struct later l;

        for (int waited = 0; waited < 2; waited++) {
                scene_open(&s);
                hand_start(&a);
                hand_do(&a, waited ? arm_and_wait_in_vain : arm_get, &s);
                hand_end(&a);
                later(&l, CREW_MS(20), put_seven, s.q);
                CHECK_INT(wait_one(s.w, CREW_GOT, TAG), ==, sizeof s.value);
                later_end(&l);
                scene_close(&s);
        }
}

TEST(freed_elsewhere, "a waiter may be freed by another thread", "[live][wait][threads]")
{
        struct hand a;
        struct scene s;

        /* The ring that goes back to the other thread is used there again. */
        hand_start(&a);
        for (int i = 0; i < 20; i++) {
                scene_open(&s);
                hand_do(&a, arm_and_wait_in_vain, &s);
                free_waiter(&s);
                close(s.fds[1]);
                CHECK_INT(read(s.fds[0], &(char){ 0 }, 1), ==, 0);
                s.fds[1] = -1;
                scene_close(&s);
        }
        CHECK_INT(fds_like("io_uring"), <=, 5);
        hand_end(&a);
        CHECK_INT(fds_like("io_uring"), <=, 4);
}

TEST(freed_after_the_end, "a waiter may outlive the thread that used it and be freed unused",
        "[live][wait][threads]")
{
        struct hand a;
        struct scene s;

        scene_open(&s);
        hand_start(&a);
        hand_do(&a, arm_and_wait_in_vain, &s);
        hand_end(&a);
        scene_close(&s);
}

static void *waits_long(void *data)
{
        wait_for_get(data);
        return NULL;
}

TEST(two_waiters, "two waiters on one queue share its messages", "[live][wait][threads]")
{
        enum { MESSAGES = 200 };
        crew_auto(waiter) a = new_waiter();
        crew_auto(waiter) b = new_waiter();
        crew_auto(queue) q = new_queue(0);
        int in_a, in_b, sum = 0, n = 0;
        crew_completion c;

        REQUIRE_OK(crew_waiter_get(a, q, &in_a, sizeof in_a, 1));
        REQUIRE_OK(crew_waiter_get(b, q, &in_b, sizeof in_b, 2));
        for (int i = 0; i < MESSAGES; i++) {
                crew_waiter *w = i % 3 ? a : b;
                int *in = w == a ? &in_a : &in_b;

                REQUIRE_OK(CREW_PUT(q, &i, CREW_NOW));
                REQUIRE(wait_some(w, &c, 1, CREW_S(5)) == 1);
                sum += *in;
                n++;
                REQUIRE_OK(crew_waiter_get(w, q, in, sizeof *in, c.tag));
                CHECK_INT(crew_waiter_wait(w == a ? b : a, &c, 1, CREW_NOW), ==, -EAGAIN);
        }
        CHECK_INT(n, ==, MESSAGES);
        CHECK_INT(sum, ==, MESSAGES * (MESSAGES - 1) / 2);
}

/* An armed operation of a thread that computes must not keep a message from others. */
TEST(no_swallowing, "an armed get on an idle thread does not swallow others' wakes",
        "[live][wait][threads]")
{
        struct scene idle, busy;
        int64_t quickest = INT64_MAX;
        pthread_t thread;
        int value;
        struct later l;

        scene_open(&idle);
        arm_and_wait_in_vain(&idle);
        /* A blocking get. */
        for (int i = 0; i < 10; i++) {
                int64_t start = crew_clock(), took;

                later(&l, CREW_MS(5), put_seven, idle.q);
                CHECK_INT(CREW_GET(idle.q, &value, CREW_S(5)), ==, 0);
                took = crew_clock() - start;
                quickest = took < quickest ? took : quickest;
                /* Without its wake it would sleep for all of the 5 s. */
                CHECK_INT(took, <, test_slow(CREW_MS(4500)));
                later_end(&l);
        }
        CHECK_INT(quickest, <, test_slow(CREW_MS(500)));
        /* Another waiter. */
        busy = idle;
        busy.w = new_waiter();
        REQUIRE_OK(crew_waiter_get(busy.w, busy.q, &busy.value, sizeof busy.value, TAG));
        REQUIRE(pthread_create(&thread, NULL, waits_long, &busy) == 0);
        usleep(20000);
        put_seven(idle.q);
        REQUIRE(pthread_join(thread, NULL) == 0);
        CHECK_INT(busy.value, ==, 7);
        wait_in_vain(&idle);
        crew_waiter_free(busy.w);
        scene_close(&idle);
}

static atomic_int wakers;

static void *wakes_often(void *w)
{
        for (int i = 0; i < 2000; i++)
                REQUIRE_OK(crew_waiter_wake(w));
        (void)atomic_fetch_sub(&wakers, 1);
        return NULL;
}

TEST(wake_storm, "no wake is lost among many", "[live][wait][threads]")
{
        crew_auto(waiter) w = new_waiter();
        pthread_t thread[2];
        crew_completion c;
        int n, woken = 0;
        bool over;

        REQUIRE_OK(crew_waiter_timer(w, CREW_FOREVER, 0, TAG));
        atomic_store(&wakers, 2);
        for (int i = 0; i < 2; i++)
                REQUIRE(pthread_create(&thread[i], NULL, wakes_often, w) == 0);
        do {
                /* They may rest, too: nothing comes any more only when they have ended. */
                over = atomic_load(&wakers) == 0;
                n = wait_some(w, &c, 1, CREW_MS(200));
                if (n > 0)
                        CHECK_INT(c.kind, ==, CREW_WOKEN);
                woken += n > 0;
        } while (n > 0 || !over);
        CHECK_INT(woken, >=, 1);
        CHECK_INT(woken, <=, 4000);
        for (int i = 0; i < 2; i++)
                REQUIRE(pthread_join(thread[i], NULL) == 0);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(20)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_waiter_wake(w));
        CHECK_INT(wait_one(w, CREW_WOKEN, 0), ==, 0);
}

struct pingpong {
        crew_queue *in, *out;
        int rounds;
};

static void *pong(void *data)
{
        const struct pingpong *p = data;
        crew_auto(waiter) w = new_waiter();
        int value;

        for (int i = 0; i < p->rounds; i++) {
                REQUIRE_OK(crew_waiter_get(w, p->in, &value, sizeof value, 1));
                CHECK_INT(wait_one(w, CREW_GOT, 1), ==, sizeof value);
                REQUIRE_OK(crew_waiter_put(w, p->out, &value, sizeof value, 2));
                CHECK_INT(wait_one(w, CREW_PUT_IN, 2), ==, 0);
        }
        return NULL;
}

TEST(ping_pong, "thousands of sleeps and wakes between two waiters", "[live][wait][threads]")
{
        crew_auto(queue) there = new_queue(1);
        crew_auto(queue) back = new_queue(1);
        struct pingpong p = { there, back, (int)test_scale(200000, 3000) };
        crew_auto(waiter) w = new_waiter();
        pthread_t thread;
        int value;

        TEST_DEADLINE(60);
        REQUIRE(pthread_create(&thread, NULL, pong, &p) == 0);
        REQUIRE_OK(crew_waiter_readable(w, back, 1));
        for (int i = 0; i < p.rounds; i++) {
                REQUIRE_OK(CREW_PUT(there, &i, CREW_S(5)));
                CHECK_INT(wait_one(w, CREW_READABLE, 1), ==, 0);
                REQUIRE_OK(CREW_GET(back, &value, CREW_NOW));
                CHECK_INT(value, ==, i);
        }
        REQUIRE(pthread_join(thread, NULL) == 0);
}

static void *foreign_sleep(void *counter)
{
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event;
        int64_t end = crew_clock() + CREW_MS(400);

        while (crew_clock() < end) {
                int n = epoll_wait(epoll, &event, 1, 50);

                *(int *)counter += n < 0 && errno == EINTR;
        }
        close(epoll);
        return NULL;
}

/* The armed thread itself sleeps elsewhere while its operations complete. */
TEST(host_sleeps, "operations that complete do not interrupt the host's own sleeps",
        "[live][wait][threads]")
{
        struct scene s;
        struct later l[3];
        int interrupted = 0;

        scene_open(&s);
        arm_and_wait_in_vain(&s);
        later(&l[0], CREW_MS(50), put_seven, s.q);
        later(&l[1], CREW_MS(100), write_byte, &s.fds[1]);
        later(&l[2], CREW_MS(150), wake, s.w);
        foreign_sleep(&interrupted);
        CHECK_INT(interrupted, ==, 0);
        for (int i = 0; i < 3; i++)
                later_end(&l[i]);
        scene_close(&s);
        foreign_sleep(&interrupted);
        CHECK_INT(interrupted, ==, 0);
}
