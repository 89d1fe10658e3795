/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <liburing.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* What io_uring does to the threads around it. Numbers as in docs/KERNEL.md. */

#define OWN_RING (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

enum { FUTEX = 1, CHILD, OTHER_CHILD, PIPE };

static void ring_open(struct io_uring *ring, unsigned flags)
{
        int r = io_uring_queue_init(8, ring, flags);

        if (r < 0)
                SKIP("no io_uring of this kind: %s", strerror(-r));
}

static void arm_futex(struct io_uring *ring, _Atomic uint32_t *word)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

        io_uring_prep_rw(
                CREW__IORING_OP_FUTEX_WAIT, sqe, FUTEX2_SIZE_U32, word, 0, atomic_load(word));
        sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
        sqe->user_data = FUTEX;
        REQUIRE(io_uring_submit(ring) == 1);
}

static void arm_child(struct io_uring *ring, int pidfd, int options, siginfo_t *info, uint64_t id)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

        io_uring_prep_rw(CREW__IORING_OP_WAITID, sqe, pidfd, NULL, CREW__P_PIDFD, 0);
        sqe->file_index = (uint32_t)(WEXITED | __WALL | options);
        sqe->addr2 = (uint64_t)(uintptr_t)info;
        sqe->user_data = id;
        REQUIRE(io_uring_submit(ring) == 1);
}

static void arm_poll(struct io_uring *ring, int fd)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

        io_uring_prep_poll_add(sqe, fd, POLLIN);
        sqe->user_data = PIPE;
        REQUIRE(io_uring_submit(ring) == 1);
}

/* The next completion within the time; -ETIME when there is none. */
static int next(struct io_uring *ring, int64_t ns, uint64_t *id)
{
        int64_t until = peer_now() + test_slow(ns), left;
        struct __kernel_timespec patience;
        struct io_uring_cqe *cqe;
        int r;

        do {
                left = until - peer_now();
                left = left > 0 ? left : 0;
                patience.tv_sec = left / 1000000000;
                patience.tv_nsec = left % 1000000000;
                r = io_uring_wait_cqe_timeout(ring, &cqe, &patience);
        } while (r == -EINTR);
        if (r < 0)
                return r;
        *id = cqe->user_data;
        r = cqe->res;
        io_uring_cqe_seen(ring, cqe);
        return r;
}

/* Rings know the operation since Linux 6.7; before, it completes at once with EINVAL. */
static void need_armed(struct io_uring *ring)
{
        uint64_t id;
        int r = next(ring, 0, &id);

        if (r == -EINVAL)
                SKIP("rings know neither futexes nor children (Linux 6.7)");
        CHECK_INT(r, ==, -ETIME);
}

static void *submit_from_elsewhere(void *arg)
{
        static int answer;
        struct io_uring *ring = arg;

        io_uring_prep_nop(io_uring_get_sqe(ring));
        answer = io_uring_submit(ring);
        return &answer;
}

TEST(one_thread, "fact 12: a second thread may not enter a ring", "[live][facts]")
{
        struct io_uring ring;
        pthread_t thread;
        void *answer;

        ring_open(&ring, OWN_RING);
        REQUIRE(pthread_create(&thread, NULL, submit_from_elsewhere, &ring) == 0);
        REQUIRE(pthread_join(thread, &answer) == 0);
        CHECK_INT(*(int *)answer, ==, -EEXIST);
        io_uring_queue_exit(&ring);
}

struct armed {
        struct io_uring *ring;
        _Atomic uint32_t word;
};

static void *arm_and_leave(void *arg)
{
        struct armed *a = arg;

        arm_futex(a->ring, &a->word);
        return NULL;
}

TEST(gone_thread, "fact 12: what a thread armed in a plain ring may be cancelled when it ends",
        "[live][facts]")
{
        struct io_uring ring;
        struct armed a = { .ring = &ring };
        pthread_t thread;
        uint64_t id = 0;
        int r;

        ring_open(&ring, 0);
        REQUIRE(pthread_create(&thread, NULL, arm_and_leave, &a) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        r = next(&ring, FACT_SOON, &id);
        if (r == -EINVAL)
                SKIP("rings do not know futexes (Linux 6.7)");
        /* Debian's 6.12.117 leaves it armed. */
        INFO("it ended with %d", r);
        CHECK((r == -ECANCELED && id == FUTEX) || r == -ETIME);
        io_uring_queue_exit(&ring);
}

/* One thing of each kind that a ring waits for, and a thread that makes all of them happen. */
struct things {
        struct io_uring ring;
        _Atomic uint32_t *gate; /* the child's */
        _Atomic uint32_t word, done;
        int pipe[2], pidfd;
        pid_t sleeper;
        pthread_t thread;
};

static void *happen(void *arg)
{
        struct things *t = arg;

        CHECK(peer_await_sleep(t->sleeper, FACT_SOON));
        CHECK_INT(write(t->pipe[1], "x", 1), ==, 1);
        atomic_store(&t->word, 1);
        (void)crew__sys_futex_wake(&t->word, 1);
        atomic_store(t->gate, 1);
        (void)crew__sys_futex_wake(t->gate, 1);
        CHECK(fact_ended(t->pidfd));
        atomic_store(&t->done, 1);
        return NULL;
}

static void things_start(struct things *t, unsigned flags)
{
        uint64_t id;
        int r;

        ring_open(&t->ring, flags);
        REQUIRE(pipe(t->pipe) == 0);
        t->gate = peer_memory(sizeof *t->gate);
        if (fact_clone(0, 0, &t->pidfd) == 0) {
                while (atomic_load(t->gate) == 0)
                        (void)crew__sys_futex_wait(t->gate, 0, peer_now() + PEER_MS(100));
                _exit(7);
        }
        arm_poll(&t->ring, t->pipe[0]);
        arm_futex(&t->ring, &t->word);
        arm_child(&t->ring, t->pidfd, WNOWAIT, NULL, CHILD);
        /* Without the newer operations (Linux 6.7) a pipe is what there is to try. */
        while ((r = next(&t->ring, 0, &id)) != -ETIME)
                CHECK_INT(r, ==, -EINVAL);
}

static void things_happen(struct things *t)
{
        t->sleeper = crew__sys_gettid();
        REQUIRE(pthread_create(&t->thread, NULL, happen, t) == 0);
}

static void things_end(struct things *t)
{
        REQUIRE(pthread_join(t->thread, NULL) == 0);
        io_uring_queue_exit(&t->ring);
        CHECK_INT(fact_reap(t->pidfd, __WALL), ==, 7);
        close(t->pidfd);
        close(t->pipe[0]);
        close(t->pipe[1]);
        peer_memory_free(t->gate, sizeof *t->gate);
}

static int epoll_on(int fd)
{
        struct epoll_event event = { .events = EPOLLIN };
        int epoll = epoll_create1(EPOLL_CLOEXEC);

        REQUIRE(epoll >= 0);
        REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
        return epoll;
}

/* How often the thread of the ring is interrupted in a sleep of its own while things complete. */
static int interruptions(unsigned flags)
{
        struct epoll_event event;
        int unrelated, epoll, r, n = 0;
        struct things t = { 0 };

        unrelated = eventfd(0, EFD_CLOEXEC);
        epoll = epoll_on(unrelated);
        things_start(&t, flags);
        things_happen(&t);
        do {
                r = epoll_wait(epoll, &event, 1, (int)(FACT_NEVER / PEER_MS(1)));
                CHECK(r == 0 || (r < 0 && errno == EINTR));
                n += r < 0;
        } while (atomic_load(&t.done) == 0);
        things_end(&t);
        close(epoll);
        close(unrelated);
        return n;
}

TEST(quiet, "fact 13: a DEFER_TASKRUN ring does not interrupt its thread", "[live][facts]")
{
        CHECK_INT(interruptions(OWN_RING), ==, 0);
}

TEST(loud, "fact 13: any other ring may", "[live][facts]")
{
        /* Known for plain and COOP_TASKRUN rings up to 6.18. A kernel that no longer does it is
         * only more polite. */
        INFO("plain: %d", interruptions(0));
        INFO("COOP_TASKRUN: %d", interruptions(IORING_SETUP_COOP_TASKRUN));
}

TEST(mute, "fact 14: the descriptor of such a ring may stay silent, a registered eventfd does not",
        "[live][facts]")
{
        struct epoll_event event;
        struct things t = { 0 };
        int on_ring, on_bell, bell, told = 0, left = 0;
        unsigned expected;
        uint64_t id;

        bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        things_start(&t, OWN_RING);
        on_bell = epoll_on(bell);
        on_ring = epoll_on(t.ring.ring_fd);
        REQUIRE(io_uring_register_eventfd(&t.ring, bell) == 0);
        /* Adding a ring to an epoll wakes it once; let that pass. */
        CHECK_INT(epoll_wait(on_ring, &event, 1, 0), ==, 0);
        things_happen(&t);
        do
                told += epoll_wait(on_ring, &event, 1, (int)(FACT_NEVER / PEER_MS(1)));
        while (atomic_load(&t.done) == 0);
        told += epoll_wait(on_ring, &event, 1, 0);
        /* Never on 6.18; 6.1 and Debian's 6.12.117 do tell, which harms nobody. */
        INFO("epoll on the ring: %d", told);
        CHECK_INT(epoll_wait(on_bell, &event, 1, (int)(FACT_SOON / PEER_MS(1))), ==, 1);
        /* A fresh look, which no loop has a reason to take, may see that there is work. */
        INFO("poll() on the ring: %d", fact_readable(t.ring.ring_fd, 0));
        /* Nothing is in the ring until its thread enters it. */
        CHECK_INT(io_uring_cq_ready(&t.ring), ==, 0);
        REQUIRE(io_uring_get_events(&t.ring) >= 0);
        expected = io_uring_cq_ready(&t.ring);
        CHECK(expected >= 1);
        CHECK_INT(epoll_wait(on_ring, &event, 1, 0), ==, 1);
        while (next(&t.ring, 0, &id) >= 0)
                left++;
        CHECK_INT(left, >=, (int)expected);
        things_end(&t);
        close(on_ring);
        close(on_bell);
        close(bell);
}

TEST(ring_looks, "fact 15: WAITID with WNOWAIT in a ring is a notification only", "[live][facts]")
{
        siginfo_t one = { 0 }, two = { 0 }, last = { 0 };
        struct rusage usage;
        struct io_uring ring;
        uint64_t id, seen = 0;
        int pidfd;

        ring_open(&ring, OWN_RING);
        if (fact_clone(0, 0, &pidfd) == 0) {
                peer_pause(PEER_MS(30));
                _exit(7);
        }
        arm_child(&ring, pidfd, WNOWAIT, &one, CHILD);
        arm_child(&ring, pidfd, WNOWAIT, &two, OTHER_CHILD);
        for (int i = 0; i < 2; i++) {
                int r = next(&ring, FACT_SOON, &id);

                if (r == -EINVAL)
                        SKIP("rings do not know children (Linux 6.7)");
                CHECK_INT(r, ==, 0);
                seen |= id;
        }
        CHECK_INT(seen, ==, CHILD | OTHER_CHILD);
        CHECK_INT(one.si_status, ==, 7);
        CHECK_INT(two.si_status, ==, 7);
        CHECK_INT(crew__sys_waitid(pidfd, &last, WEXITED | __WALL | WNOHANG, &usage), ==, 0);
        CHECK_INT(last.si_status, ==, 7);
        io_uring_queue_exit(&ring);
        close(pidfd);
}

TEST(ring_takes, "fact 15: without WNOWAIT it takes the status from everybody else",
        "[live][facts]")
{
        siginfo_t one = { 0 }, two = { 0 };
        struct io_uring ring;
        uint64_t id;
        int pidfd, a, b;

        ring_open(&ring, OWN_RING);
        if (fact_clone(0, 0, &pidfd) == 0) {
                peer_pause(PEER_MS(30));
                _exit(7);
        }
        arm_child(&ring, pidfd, 0, &one, CHILD);
        arm_child(&ring, pidfd, 0, &two, OTHER_CHILD);
        a = next(&ring, FACT_SOON, &id);
        if (a == -EINVAL)
                SKIP("rings do not know children (Linux 6.7)");
        b = next(&ring, FACT_SOON, &id);
        CHECK_INT(a + b, ==, -ECHILD);
        CHECK(a == 0 || b == 0);
        CHECK_INT(fact_reap(pidfd, __WALL | WNOHANG), ==, -ECHILD);
        io_uring_queue_exit(&ring);
        close(pidfd);
}

/* Does the kernel write what it knows of a dead child after its ring was closed? */
static bool written_late(siginfo_t *info)
{
        const int poison = 0x5a5a5a5a;
        struct io_uring ring;
        int pidfd;

        ring_open(&ring, OWN_RING);
        if (fact_clone(0, 0, &pidfd) == 0)
                _exit(7);
        arm_child(&ring, pidfd, WNOWAIT, info, CHILD);
        REQUIRE(fact_ended(pidfd));
        io_uring_queue_exit(&ring);
        *(volatile int *)&info->si_signo = poison;
        for (int i = 0; i < 20 && *(volatile int *)&info->si_signo == poison; i++)
                peer_pause(PEER_MS(1));
        CHECK_INT(fact_reap(pidfd, __WALL), ==, 7);
        close(pidfd);
        return *(volatile int *)&info->si_signo != poison;
}

TEST(ring_writes, "fact 15: a closed ring may still write; WAITID takes no address for that",
        "[live][facts]")
{
        siginfo_t *info = peer_memory(sizeof *info);
        struct io_uring ring;
        int pidfd, late = 0, r;
        uint64_t id;

        /* The memory stays for as long as the process: the last write may come at any time. */
        TEST_ALLOW_MAPPINGS(1);
        ring_open(&ring, OWN_RING);
        if (fact_clone(0, 0, &pidfd) == 0)
                _exit(7);
        arm_child(&ring, pidfd, WNOWAIT, NULL, CHILD);
        r = next(&ring, FACT_SOON, &id);
        if (r == -EINVAL)
                SKIP("rings do not know children (Linux 6.7)");
        CHECK_INT(r, ==, 0);
        CHECK_INT(fact_reap(pidfd, __WALL), ==, 7);
        io_uring_queue_exit(&ring);
        close(pidfd);
        for (int i = 0; i < 10; i++)
                late += written_late(info);
        INFO("%d of 10 wrote after io_uring_queue_exit", late);
}

TEST(ring_wakes, "fact 16: one FUTEX_WAKE_OP changes the word and wakes a ring", "[live][facts]")
{
        _Atomic uint32_t word = 1;
        struct io_uring ring;
        uint64_t id = 0;

        ring_open(&ring, OWN_RING);
        arm_futex(&ring, &word);
        need_armed(&ring);
        CHECK_INT(crew__sys_futex_wake_add(&word), ==, 1);
        CHECK_INT(atomic_load(&word), ==, 2);
        CHECK_INT(next(&ring, FACT_SOON, &id), ==, 0);
        CHECK_INT(id, ==, FUTEX);
        io_uring_queue_exit(&ring);
}

struct sleeper {
        _Atomic uint32_t *word;
        _Atomic uint32_t tid, up;
        int answer;
};

static void *sleep_on(void *arg)
{
        struct sleeper *s = arg;

        atomic_store(&s->tid, (uint32_t)crew__sys_gettid());
        s->answer = crew__sys_futex_wait(s->word, 1, peer_now() + test_slow(FACT_SOON));
        atomic_store(&s->up, 1);
        return NULL;
}

TEST(swallowed, "fact 17: a ring that nobody drives swallows a single wake", "[live][facts]")
{
        _Atomic uint32_t word = 1;
        struct sleeper s = { .word = &word };
        struct io_uring ring;
        pthread_t thread;
        uint64_t id;

        ring_open(&ring, OWN_RING);
        arm_futex(&ring, &word);
        need_armed(&ring);
        REQUIRE(pthread_create(&thread, NULL, sleep_on, &s) == 0);
        while (atomic_load(&s.tid) == 0)
                peer_pause(PEER_MS(1));
        REQUIRE(peer_await_sleep((pid_t)atomic_load(&s.tid), FACT_SOON));
        CHECK_INT(crew__sys_futex_wake(&word, 1), ==, 1);
        /* It is the next one that reaches the sleeper. */
        CHECK(!peer_await(&s.up, 1, FACT_NEVER));
        CHECK_INT(crew__sys_futex_wake(&word, 1), ==, 1);
        REQUIRE(pthread_join(thread, NULL) == 0);
        CHECK_INT(s.answer, ==, 0);
        CHECK_INT(next(&ring, FACT_SOON, &id), ==, 0);
        io_uring_queue_exit(&ring);
}
