/* SPDX-License-Identifier: MIT */

/* What the public API does not show: which way is taken, and what the kernel may say late. */

#include "check.h"
#include "event/ring.h"
#include "event/waiter.h"
#include "kernel/features.h"
#include "kernel/syscall.h"

#include <crew/queue.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void warm_up(void)
{
        crew_waiter *w;
        crew_completion c;

        if (crew_waiter_new(&w, 0) < 0)
                return;
        (void)crew_waiter_wait(w, &c, 1, CREW_NOW);
        (void)crew_waiter_free(w);
}

__attribute__((constructor)) static void register_warm_up(void)
{
        test_warm_up(warm_up);
}

static crew_waiter *new_waiter(void)
{
        crew_waiter *w;

        REQUIRE_OK(crew_waiter_new(&w, 0));
        return w;
}

static crew__source *only_source(const crew_waiter *w)
{
        REQUIRE(!crew__link_alone(&w->sources));
        REQUIRE(w->sources.next == w->sources.prev);
        return CREW__OF(w->sources.next, crew__source, all);
}

static bool disabled(const char *feature)
{
        const char *list = getenv("CREW_DISABLE");

        return list && strstr(list, feature);
}

TEST(forced, "a feature that was forced off is not used", "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_completion c;

        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        if (disabled("io_uring") || !crew__has(CREW__IO_URING)) {
                CHECK_STR(crew__waiter_backend(w), "epoll");
                CHECK(w->ring == NULL);
        } else {
                CHECK_STR(crew__waiter_backend(w), "io_uring");
                CHECK(w->ring != NULL);
        }
}

TEST(forced_futex, "a queue sleeps in the ring, or by its eventfd when that is forced",
        "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = NULL;
        crew_completion c;
        int value;
        const crew__source *s;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, 1));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        s = only_source(w);
        CHECK(s->armed);
        if (crew__has(CREW__URING_FUTEX)) {
                CHECK(s->arming != CREW__NO_ARMING);
                CHECK_INT(s->set_fd, ==, -1);
                CHECK_INT(s->events->word & 1, ==, 1);
                CHECK_INT(s->events->armed, ==, 0);
        } else {
                CHECK(s->arming == CREW__NO_ARMING);
                CHECK_INT(s->set_fd, ==, s->fd);
                CHECK_INT(s->events->word & 1, ==, 0);
                CHECK_INT(s->events->armed, ==, 1);
        }
}

/* A process by its bare pidfd, told of by the kernel and collected by nobody. */
struct target {
        pid_t pid;
        int pidfd, go, tries, unrefs;
        bool believe;
};

static bool target_try(crew__op *op, int64_t *result)
{
        struct target *t = op->spec.object;
        siginfo_t info = { 0 };

        t->tries++;
        *result = 0;
        return t->believe &&
               crew__sys_waitid(t->pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL) == 0 &&
               info.si_pid == t->pid;
}

static void target_unref(void *object)
{
        ((struct target *)object)->unrefs++;
}

static const crew__op_class target_class = {
        .kind = CREW_JOINED,
        .try = target_try,
        .unref = target_unref,
};

/* It ends when `go` is closed. */
static void start(struct target *t)
{
        int ends[2];
        char byte;

        REQUIRE(pipe(ends) == 0);
        *t = (struct target){ .pid = fork(), .go = ends[1], .believe = true };
        REQUIRE(t->pid >= 0);
        if (t->pid == 0) {
                close(ends[1]);
                (void)!read(ends[0], &byte, 1);
                _exit(3);
        }
        close(ends[0]);
        t->pidfd = crew__sys_pidfd_open(t->pid, 0);
        if (t->pidfd == -ENOSYS) {
                close(t->go);
                REQUIRE(waitpid(t->pid, NULL, 0) == t->pid);
                SKIP("no pidfd_open");
        }
        REQUIRE(t->pidfd >= 0);
}

static void finish(struct target *t)
{
        REQUIRE(waitpid(t->pid, NULL, 0) == t->pid);
        close(t->pidfd);
}

static void arm_target(crew_waiter *w, struct target *t)
{
        crew__op_spec spec = {
                .class = &target_class,
                .object = t,
                .tag = 1,
                .source = CREW__SOURCE_PROCESS,
                .fd = t->pidfd,
        };

        REQUIRE_OK(crew__waiter_arm(w, &spec));
}

TEST(process_class, "a process is tried when the kernel says so, not before", "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        struct target t;
        crew_completion c;

        start(&t);
        arm_target(w, &t);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(t.tries, ==, 0);
        close(t.go);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_S(5)), ==, 1);
        CHECK_INT(t.tries, ==, 1);
        CHECK_INT(t.unrefs, ==, 1);
        CHECK(c.object == &t);
        CHECK_INT(w->armed, ==, 0);
        CHECK(crew__link_alone(&w->sources));
        finish(&t);
}

TEST(not_ended_yet, "an end that cannot be collected yet is looked at every 20 ms, no oftener",
        "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        struct target t;
        crew_completion c;
        int rounds = 0;

        start(&t);
        close(t.go);
        t.believe = false;
        arm_target(w, &t);
        /* Where others keep the processor busy it gets to fewer, not to more. */
        do {
                int64_t began = crew_clock();

                t.tries = 0;
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(210)), ==, -ETIMEDOUT);
                INFO("%d tries", t.tries);
                CHECK_INT(t.tries, <=, (crew_clock() - began) / CREW_MS(20) + 3);
        } while (t.tries < 3 && ++rounds < 20);
        CHECK_INT(t.tries, >=, 3);
        t.believe = true;
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_S(5)), ==, 1);
        finish(&t);
}

TEST(not_a_child, "the end of a process that is no child is told of by its pidfd", "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        struct target t = { .believe = true };
        int pipes[2][2];
        crew_completion c;
        pid_t middle;

        REQUIRE(pipe(pipes[0]) == 0 && pipe(pipes[1]) == 0);
        middle = fork();
        REQUIRE(middle >= 0);
        if (middle == 0) {
                t.pid = fork();
                if (t.pid == 0) {
                        close(pipes[1][1]);
                        (void)!read(pipes[1][0], &t, 1);
                        _exit(0);
                }
                close(pipes[1][1]);
                (void)!write(pipes[0][1], &t.pid, sizeof t.pid);
                (void)waitpid(t.pid, NULL, 0);
                _exit(0);
        }
        close(pipes[1][0]);
        REQUIRE(read(pipes[0][0], &t.pid, sizeof t.pid) == sizeof t.pid);
        t.pidfd = crew__sys_pidfd_open(t.pid, 0);
        if (t.pidfd == -ENOSYS) {
                close(pipes[1][1]);
                REQUIRE(waitpid(middle, NULL, 0) == middle);
                SKIP("no pidfd_open");
        }
        REQUIRE(t.pidfd >= 0);
        t.believe = false;
        arm_target(w, &t);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(100)), ==, -ETIMEDOUT);
        CHECK_INT(t.tries, <=, 1);
        close(pipes[1][1]);
        while (t.tries < 2)
                CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(10)), ==, -ETIMEDOUT);
        CHECK_INT(crew_waiter_cancel(w, 1), ==, 1);
        REQUIRE(waitpid(middle, NULL, 0) == middle);
        close(t.pidfd);
        close(pipes[0][0]);
        close(pipes[0][1]);
}

TEST(names, "an event for a source that went is for nobody, also when its place is taken again",
        "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        uint64_t old, again;
        int fd = eventfd(0, EFD_CLOEXEC);

        REQUIRE(fd >= 0);
        REQUIRE_OK(crew_waiter_fd(w, fd, EPOLLIN, 1));
        old = crew__source_name(w, only_source(w));
        CHECK(crew__source_named(w, old) == only_source(w));
        CHECK_INT(crew_waiter_cancel(w, 1), ==, 1);
        CHECK(crew__source_named(w, old) == NULL);
        REQUIRE_OK(crew_waiter_fd(w, fd, EPOLLIN, 1));
        again = crew__source_name(w, only_source(w));
        CHECK(again != old);
        CHECK_INT((uint32_t)again, ==, (uint32_t)old);
        CHECK(crew__source_named(w, old) == NULL);
        CHECK(crew__source_named(w, UINT64_MAX) == NULL);
        CHECK(crew__source_named(w, 12345) == NULL);
        CHECK_INT(crew_waiter_cancel(w, 1), ==, 1);
        close(fd);
}

TEST(one_source, "operations on one thing share one source", "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = NULL;
        crew_auto(queue) same = NULL;
        int value;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        REQUIRE_OK(crew_queue_open(&same, crew_queue_ref(q)));
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, 1));
        REQUIRE_OK(crew_waiter_get(w, same, &value, sizeof value, 2));
        REQUIRE_OK(crew_waiter_readable(w, q, 3));
        (void)only_source(w);
        REQUIRE_OK(crew_waiter_writable(w, q, 4));
        CHECK(w->sources.next != w->sources.prev);
        CHECK_INT(w->armed, ==, 4);
}

/* The notifier died between clearing `armed` and its write to the eventfd. */
TEST(lost_edge, "a lost edge costs 20 ms once, not at every message", "[unit][wait]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = NULL;
        crew_completion c;
        int value = 1;
        pid_t pid;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0)
                _exit(CREW_PUT(q, &value, CREW_NOW) != 0);
        REQUIRE(waitpid(pid, NULL, 0) == pid);
        REQUIRE_OK(crew_waiter_readable(w, q, 1));
        only_source(w)->no_ring = true;
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_S(5)), ==, 1);
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(5)), ==, -ETIMEDOUT);
        atomic_store(&only_source(w)->events->armed, 0);
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(500)), ==, 1);
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(5)), ==, -ETIMEDOUT);
        CHECK_INT(only_source(w)->events->armed, ==, 1);
}

struct lender {
        pthread_barrier_t step;
        crew__uring *ring;
        int eventfd;
};

static void *lend(void *data)
{
        struct lender *l = data;
        crew__uring *again;

        REQUIRE_OK(crew__uring_lend(&l->ring));
        CHECK(crew__uring_mine(l->ring));
        (void)pthread_barrier_wait(&l->step);
        (void)pthread_barrier_wait(&l->step);
        REQUIRE_OK(crew__uring_lend(&again));
        CHECK(again == l->ring);
        CHECK_INT(again->flying, ==, 0);
        crew__uring_return(again);
        return NULL;
}

TEST(given_back, "a ring that another thread gives back is drained by its own", "[unit][wait]")
{
        struct lender l;
        crew__source source = { .fd = -1 };
        struct io_uring_sqe *sqe;
        pthread_t thread;
        uint32_t arming;
        uint64_t name;

        if (!crew__has(CREW__IO_URING))
                SKIP("no io_uring, or forced off");
        REQUIRE(pthread_barrier_init(&l.step, NULL, 2) == 0);
        l.eventfd = eventfd(0, EFD_CLOEXEC);
        REQUIRE(pthread_create(&thread, NULL, lend, &l) == 0);
        (void)pthread_barrier_wait(&l.step);
        CHECK(!crew__uring_mine(l.ring));
        /* Written into the submission queue, not entered. */
        sqe = crew__uring_prepare(l.ring, &source, &arming, &name);
        REQUIRE(sqe != NULL);
        io_uring_prep_poll_add(sqe, l.eventfd, EPOLLIN);
        sqe->user_data = name;
        CHECK_INT(l.ring->flying, ==, 1);
        crew__uring_return(l.ring);
        (void)pthread_barrier_wait(&l.step);
        REQUIRE(pthread_join(thread, NULL) == 0);
        close(l.eventfd);
        (void)pthread_barrier_destroy(&l.step);
}

static int told;

static void count(void *data, crew__source *source, int result)
{
        (void)result;
        CHECK(data == source);
        told++;
}

TEST(late, "a completion for an orphan tells nobody", "[unit][wait]")
{
        crew__uring *ring;
        crew__source source = { .fd = -1 };
        struct io_uring_sqe *sqe;
        uint32_t arming;
        uint64_t name;

        if (!crew__has(CREW__IO_URING))
                SKIP("no io_uring, or forced off");
        REQUIRE_OK(crew__uring_lend(&ring));
        for (int orphan = 0; orphan < 3; orphan++) {
                told = 0;
                sqe = crew__uring_prepare(ring, &source, &arming, &name);
                REQUIRE(sqe != NULL);
                io_uring_prep_nop(sqe);
                sqe->user_data = name;
                if (orphan == 1)
                        crew__uring_orphan(ring, arming);
                REQUIRE(io_uring_submit_and_get_events(&ring->io) >= 0);
                if (orphan == 2)
                        crew__uring_orphan(ring, arming);
                crew__uring_collect(ring, count, &source);
                CHECK_INT(told, ==, orphan == 0);
                CHECK_INT(ring->flying, ==, 0);
                crew__uring_cancel_orphans(ring);
                CHECK_INT(io_uring_sq_ready(&ring->io), ==, 0);
                CHECK_INT(ring->armings[arming].state, ==, CREW__ARMING_FREE);
                CHECK(ring->armings[arming].sequence != (uint32_t)(name >> 32));
        }
        crew__uring_return(ring);
}

/* In a thread of its own, whose rings go with it. */
static void *refuse(void *unused)
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = NULL;
        crew_completion c;
        int value = 0, one = 1, fd;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, 1));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        /* The host closes a descriptor that is not its own, and uses the number. */
        fd = w->ring->io.ring_fd;
        REQUIRE(dup2(0, fd) == fd);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(30)), ==, -ETIMEDOUT);
        CHECK_STR(crew__waiter_backend(w), "epoll");
        REQUIRE_OK(CREW_PUT(q, &one, CREW_NOW));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_S(5)), ==, 1);
        CHECK_INT(value, ==, 1);
        CHECK_INT(fcntl(fd, F_GETFD), >=, 0);
        close(fd);
        return unused;
}

TEST(refused, "a ring that the kernel refuses is left for epoll", "[unit][wait]")
{
        pthread_t thread;

        if (!crew__has(CREW__IO_URING))
                SKIP("no io_uring, or forced off");
        REQUIRE(pthread_create(&thread, NULL, refuse, NULL) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
}
