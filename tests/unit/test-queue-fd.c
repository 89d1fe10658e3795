/* SPDX-License-Identifier: MIT */

/* A queue in somebody else's event loop. */

#include "check.h"
#include "peer.h"
#include "queue/queue.h"

#include <crew/queue.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

struct shared {
        crew_queue *q;
        _Atomic uint32_t ready, got;
        _Atomic int fd;
        uint32_t rounds;
};

static struct shared *share(size_t max)
{
        struct shared *s = peer_memory(sizeof *s);

        REQUIRE_OK(crew_queue_new(&s->q, max, NULL));
        return s;
}

static void unshare_it(struct shared *s)
{
        (void)crew_queue_free(s->q);
        peer_memory_free(s, sizeof *s);
}

static bool readable(int fd, int64_t ns)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, (int)(ns / 1000000)) == 1 && p.revents & POLLIN;
}

static void drain(crew_queue *q)
{
        int value;

        while (CREW_GET(q, &value, CREW_NOW) == 0)
                ;
}

TEST(borrowed, "the descriptor is made once and closed on exec", "[unit][queue]")
{
        struct shared *s = share(0);
        int fd = crew_queue_fd(s->q);

        CHECK_INT(fd, >=, 0);
        CHECK_INT(crew_queue_fd(s->q), ==, fd);
        unshare_it(s);
}

TEST(there_already, "a queue with messages is readable from the start", "[unit][queue]")
{
        struct shared *s = share(0);
        int value = 1;

        REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        CHECK(readable(crew_queue_fd(s->q), 0));
        unshare_it(s);
}

TEST(rearms, "each message after an EAGAIN makes it readable at once", "[unit][queue]")
{
        struct shared *s = share(0);
        int fd = crew_queue_fd(s->q), value = 1;

        drain(s->q);
        for (int i = 0; i < 200; i++) {
                REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
                REQUIRE(readable(fd, 0));
                REQUIRE(readable(fd, 0));
                drain(s->q);
        }
        /* Left alone it gets readable now and then, but not all the time. */
        drain(s->q);
        CHECK(readable(fd, test_slow(CREW_MS(1000))));
        unshare_it(s);
}

TEST(closed, "a close makes it readable", "[unit][queue]")
{
        struct shared *s = share(0);
        int fd = crew_queue_fd(s->q), value;

        drain(s->q);
        REQUIRE_OK(crew_queue_close(s->q));
        CHECK(readable(fd, 0));
        CHECK_INT(CREW_GET(s->q, &value, CREW_NOW), ==, -EPIPE);
        unshare_it(s);
}

TEST(recheck, "a message whose sender died before telling is seen by the timer", "[unit][queue]")
{
        struct shared *s = share(0);
        crew_queue *q = s->q;
        int fd = crew_queue_fd(q), value = 8;
        int64_t began, took, shortest = INT64_MAX;

        for (int i = 0; i < 5; i++) {
                drain(q);
                /* What a killed sender leaves: the message, and `armed` taken without a write. */
                atomic_store(&q->ring->readable.armed, 0);
                REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
                began = peer_now();
                CHECK(readable(fd, test_slow(CREW_S(2))));
                took = peer_now() - began;
                shortest = took < shortest ? took : shortest;
                REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        }
        CHECK_INT(shortest, <, test_slow(CREW_MS(500)));
        unshare_it(s);
}

TEST(held_lock, "a get that may not wait ends while somebody is stopped inside", "[unit][queue]")
{
        struct shared *s = share(0);
        crew_queue *q = s->q;
        int value = 8;
        int64_t began, took, shortest = INT64_MAX;

        (void)crew_queue_fd(q);
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        atomic_store(&q->ring->consumers.lock.word, (uint32_t)getppid());
        for (int i = 0; i < 3; i++) {
                began = peer_now();
                CHECK_INT(CREW_GET(q, &value, CREW_NOW), ==, -EAGAIN);
                took = peer_now() - began;
                shortest = took < shortest ? took : shortest;
        }
        CHECK_INT(shortest, <, test_slow(CREW_S(1)));
        atomic_store(&q->ring->consumers.lock.word, 0);
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        unshare_it(s);
}

TEST(two_handles, "a message is told to every handle", "[unit][queue]")
{
        struct shared *s = share(0);
        crew_queue *other = NULL;
        int value = 1;

        REQUIRE_OK(crew_queue_open(&other, crew_queue_ref(s->q)));
        CHECK(crew_queue_fd(other) != crew_queue_fd(s->q));
        for (int i = 0; i < 20; i++) {
                drain(s->q);
                drain(other);
                REQUIRE_OK(CREW_PUT(other, &value, CREW_NOW));
                REQUIRE(readable(crew_queue_fd(s->q), 0));
                REQUIRE(readable(crew_queue_fd(other), 0));
        }
        (void)crew_queue_free(other);
        unshare_it(s);
}

static void put_many_times(void *arg)
{
        struct shared *s = arg;
        uint64_t random = (uint64_t)getpid();

        for (uint32_t i = 0; i < s->rounds; i++) {
                REQUIRE_OK(CREW_PUT(s->q, &i, CREW_S(10)));
                if (peer_random(&random) % 4 == 0)
                        peer_pause((int64_t)(peer_random(&random) % 30000));
        }
}

/* Through an epoll of the host, level and edge triggered: no message waits for the 20 ms timer more
 * than an edge is lost, and none is lost. */
static void stress(uint32_t flags)
{
        struct shared *s = share(0);
        struct epoll_event event = { .events = EPOLLIN | flags };
        int epoll = epoll_create1(EPOLL_CLOEXEC), value;
        uint32_t got = 0, want;
        pid_t pid[2];

        s->rounds = (uint32_t)test_scale(200000, 2000);
        want = 2 * s->rounds;
        REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, crew_queue_fd(s->q), &event) == 0);
        for (int i = 0; i < 2; i++)
                pid[i] = peer_start(put_many_times, s);
        while (got < want) {
                REQUIRE(epoll_wait(epoll, &event, 1, (int)(test_slow(CREW_S(5)) / 1000000)) == 1);
                while (CREW_GET(s->q, &value, CREW_NOW) == 0)
                        got++;
        }
        for (int i = 0; i < 2; i++)
                CHECK_INT(peer_join(pid[i]), ==, 0);
        CHECK(crew_queue_empty(s->q));
        (void)close(epoll);
        unshare_it(s);
}

TEST(stress_level, "an event loop gets every message", "[unit][queue]")
{
        TEST_DEADLINE(60);
        stress(0);
}

TEST(stress_edge, "an edge-triggered event loop gets every message", "[unit][queue]")
{
        TEST_DEADLINE(60);
        stress(EPOLLET);
}

/* No put after an EAGAIN may go untold, which the timer hides: but then nobody has rung the bell.
 */
TEST(no_lost_edge, "no edge is lost between the last look and the arming", "[unit][queue]")
{
        struct shared *s = share(0);
        int fd = crew_queue_fd(s->q), bell = crew__queue_eventfd(s->q, CREW__QUEUE_GET), value;
        uint32_t late = 0, untold = 0, waits = 0;
        uint64_t rung;
        pid_t pid;

        s->rounds = (uint32_t)test_scale(200000, 2000);
        pid = peer_start(put_many_times, s);
        for (uint32_t got = 0; got < s->rounds;) {
                int64_t before;

                (void)!read(bell, &rung, sizeof rung);
                while (CREW_GET(s->q, &value, CREW_NOW) == 0)
                        got++;
                if (got == s->rounds)
                        break;
                before = peer_now();
                REQUIRE(readable(fd, test_slow(CREW_S(5))));
                waits++;
                /* The sender pauses for 30 us at most: whoever slept a whole slice was not told. */
                late += peer_now() - before > CREW_MS(18) && !crew_queue_empty(s->q);
                /* Whoever has put it may be about to. */
                untold += !crew_queue_empty(s->q) && !readable(bell, test_slow(CREW_S(5)));
        }
        CHECK_INT(peer_join(pid), ==, 0);
        INFO("%u untold, %u late of %u", untold, late, waits);
        CHECK_INT(untold, ==, 0);
        /* Where others keep the processors busy, many may be. */
        if (test_slow(1) == 1)
                CHECK_INT(late, <=, waits / 2 + 5);
        unshare_it(s);
}

static void child_polls(void *arg)
{
        struct shared *s = arg;
        int fd = crew_queue_fd(s->q), value;

        CHECK_INT(fd, >=, 0);
        drain(s->q);
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        atomic_store(&s->ready, 1);
        CHECK(readable(fd, CREW_S(5)));
        while (CREW_GET(s->q, &value, CREW_NOW) != 0)
                (void)readable(fd, CREW_MS(100));
        CHECK_INT(value, ==, 55);
        (void)crew_queue_free(s->q);
}

TEST(forked, "a forked child asks for its own and leaves the parent's alone", "[unit][queue]")
{
        struct shared *s = share(0);
        int fd = crew_queue_fd(s->q), value = 55;
        pid_t pid;

        drain(s->q);
        pid = peer_start(child_polls, s);
        REQUIRE(peer_await(&s->ready, 1, CREW_S(5)));
        REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        CHECK_INT(peer_join(pid), ==, 0);
        /* The child has taken it; the parent's descriptor still works. */
        drain(s->q);
        REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
        CHECK(readable(fd, 0));
        CHECK_INT(crew_queue_fd(s->q), ==, fd);
        unshare_it(s);
}

TEST(no_descriptors, "a descriptor that cannot be made is EMFILE and leaves nothing",
        "[unit][queue]")
{
        struct shared *s = share(0);
        struct rlimit limit, low;
        int next = dup(0);

        (void)close(next);
        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        for (int more = 0; more < 2; more++) {
                low = (struct rlimit){ .rlim_cur = (rlim_t)(next + more),
                        .rlim_max = limit.rlim_max };
                REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
                CHECK_INT(crew_queue_fd(s->q), ==, -EMFILE);
        }
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        CHECK_INT(crew_queue_fd(s->q), >=, 0);
        unshare_it(s);
}
