/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* Sleeping and waking without a lost wakeup. Numbers as in docs/KERNEL.md. */

enum { SLEEPERS = 3 };

struct bed {
        _Atomic uint32_t *word;
        _Atomic uint32_t tid;
        pthread_t thread;
        int answer;
};

static void *sleep_on(void *arg)
{
        struct bed *b = arg;

        atomic_store(&b->tid, (uint32_t)crew__sys_gettid());
        b->answer = crew__sys_futex_wait(b->word, 1, peer_now() + test_slow(FACT_SOON));
        return NULL;
}

static void lie_down(struct bed *b, _Atomic uint32_t *word)
{
        *b = (struct bed){ .word = word };
        REQUIRE(pthread_create(&b->thread, NULL, sleep_on, b) == 0);
        while (atomic_load(&b->tid) == 0)
                peer_pause(PEER_MS(1));
        REQUIRE(peer_await_sleep((pid_t)atomic_load(&b->tid), FACT_SOON));
}

static int got_up(struct bed *b)
{
        REQUIRE(pthread_join(b->thread, NULL) == 0);
        return b->answer;
}

TEST(wake_op, "fact 16: one FUTEX_WAKE_OP clears the bit, counts on and wakes everybody",
        "[live][facts]")
{
        _Atomic uint32_t word = 1;
        struct bed beds[SLEEPERS];

        for (int i = 0; i < SLEEPERS; i++)
                lie_down(&beds[i], &word);
        CHECK_INT(crew__sys_futex_wake_add(&word), ==, SLEEPERS);
        CHECK_INT(atomic_load(&word), ==, 2);
        for (int i = 0; i < SLEEPERS; i++)
                CHECK_INT(got_up(&beds[i]), ==, 0);
        /* Too late to sleep on the old value. */
        CHECK_INT(crew__sys_futex_wait(&word, 1, peer_now() + FACT_SOON), ==, -EAGAIN);
}

static void store_and_die(void *arg)
{
        atomic_store((_Atomic uint32_t *)arg, 2);
        (void)kill(getpid(), SIGKILL);
}

static void wake_and_die(void *arg)
{
        (void)crew__sys_futex_wake_add(arg);
        (void)kill(getpid(), SIGKILL);
}

TEST(split_wake, "fact 16: a notifier killed between store and wake leaves sleepers behind",
        "[live][facts]")
{
        _Atomic uint32_t *word = peer_memory(sizeof *word);
        struct bed bed;

        atomic_store(word, 1);
        lie_down(&bed, word);
        CHECK_INT(peer_join(peer_start(store_and_die, word)), ==, PEER_KILLED + SIGKILL);
        /* Later notifiers see no bit and wake nobody. */
        CHECK_INT(atomic_load(word) & 1, ==, 0);
        peer_pause(FACT_NEVER);
        CHECK_INT(crew__sys_futex_wake(word, 1), ==, 1);
        CHECK_INT(got_up(&bed), ==, 0);

        atomic_store(word, 1);
        lie_down(&bed, word);
        CHECK_INT(peer_join(peer_start(wake_and_die, word)), ==, PEER_KILLED + SIGKILL);
        CHECK_INT(got_up(&bed), ==, 0);
        peer_memory_free(word, sizeof *word);
}

/*
 * Two threads on two CPUs: each stores into its own line, then reads the other's. Both reading 0
 * means that both reads went before the stores.
 */
struct litmus {
        _Alignas(128) _Atomic uint32_t x;
        _Alignas(128) _Atomic uint32_t y;
        _Alignas(128) _Atomic uint32_t turn[2];
        _Alignas(128) uint32_t saw_x;
        _Alignas(128) bool fenced;
        uint32_t rounds;
        _Atomic int64_t until;
        _Atomic uint32_t stop;
};

/* Both sides arrive at `turn`; false when the time is over. */
static bool meet(struct litmus *l, int side, uint32_t turn)
{
        atomic_store_explicit(&l->turn[side], turn, memory_order_release);
        for (uint32_t spins = 1; atomic_load_explicit(&l->turn[!side], memory_order_acquire) < turn;
                spins++) {
                if (spins % 256 != 0)
                        continue;
                if (peer_now() > atomic_load(&l->until) || atomic_load(&l->stop)) {
                        atomic_store(&l->stop, 1);
                        return false;
                }
                (void)sched_yield();
        }
        return true;
}

static uint32_t store_then_load(_Atomic uint32_t *mine, const _Atomic uint32_t *other, bool fenced)
{
        atomic_store_explicit(mine, 1, memory_order_release);
        if (fenced)
                atomic_thread_fence(memory_order_seq_cst);
        return atomic_load_explicit(other, memory_order_acquire);
}

static void *second_side(void *arg)
{
        struct litmus *l = arg;

        for (uint32_t i = 0; i < l->rounds; i++) {
                if (!meet(l, 1, 3 * i + 1))
                        break;
                l->saw_x = store_then_load(&l->y, &l->x, l->fenced);
                if (!meet(l, 1, 3 * i + 2) || !meet(l, 1, 3 * i + 3))
                        break;
        }
        return NULL;
}

/* How often both sides missed the other's store, out of *rounds. */
static uint32_t both_missed(bool fenced, uint32_t *rounds)
{
        struct litmus l = { .fenced = fenced, .rounds = *rounds };
        uint32_t missed = 0, i;
        pthread_t thread;

        /* The time begins behind the first round: so long the other may not run at all. */
        atomic_store(&l.until, peer_now() + test_slow(FACT_SOON));
        REQUIRE(pthread_create(&thread, NULL, second_side, &l) == 0);
        for (i = 0; i < l.rounds; i++) {
                uint32_t saw_y;

                if (!meet(&l, 0, 3 * i + 1))
                        break;
                saw_y = store_then_load(&l.x, &l.y, fenced);
                if (!meet(&l, 0, 3 * i + 2))
                        break;
                missed += !saw_y && !l.saw_x;
                atomic_store(&l.x, 0);
                atomic_store(&l.y, 0);
                if (!meet(&l, 0, 3 * i + 3))
                        break;
                if (i == 0)
                        atomic_store(&l.until, peer_now() + test_slow(PEER_MS(400)));
        }
        REQUIRE(pthread_join(thread, NULL) == 0);
        *rounds = i;
        return missed;
}

TEST(fence, "fact 18: with a fence between store and load one side sees the other", "[live][facts]")
{
        uint32_t bare = (uint32_t)test_scale(5000000, 50000), fenced = bare, missed;

        missed = both_missed(false, &bare);
        INFO("without a fence both missed %u of %u", missed, bare);
        CHECK_INT(both_missed(true, &fenced), ==, 0);
        CHECK(fenced > 0);
        INFO("with a fence none of %u", fenced);
}

static int edge_on(int fd)
{
        struct epoll_event event = { .events = EPOLLIN | EPOLLET };
        int epoll = epoll_create1(EPOLL_CLOEXEC);

        REQUIRE(epoll >= 0);
        REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
        return epoll;
}

static int edges(int epoll)
{
        struct epoll_event event;

        return epoll_wait(epoll, &event, 1, 0);
}

static ssize_t add(int fd, uint64_t n)
{
        return write(fd, &n, sizeof n) < 0 ? -errno : 0;
}

TEST(unread, "fact 19: an eventfd that nobody reads gives every epoll an edge for each write",
        "[live][facts]")
{
        int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int a = edge_on(bell), b = edge_on(bell), late;

        CHECK_INT(edges(a), ==, 0);
        for (int i = 0; i < 3; i++) {
                CHECK_INT(add(bell, 1), ==, 0);
                CHECK_INT(edges(a), ==, 1);
                CHECK_INT(edges(a), ==, 0);
                CHECK_INT(edges(b), ==, 1);
                CHECK_INT(edges(b), ==, 0);
        }
        /* Who comes later begins with an edge. */
        late = edge_on(bell);
        CHECK_INT(edges(late), ==, 1);
        CHECK_INT(edges(late), ==, 0);
        close(late);
        close(a);
        close(b);
        close(bell);
}

static void take_edge(void *arg)
{
        int epoll = edge_on(*(int *)arg);

        if (edges(epoll) != 1 || edges(epoll) != 0)
                _exit(1);
        (void)kill(getpid(), SIGKILL);
}

TEST(dead_reader, "fact 19: a process that dies with its edge takes nobody else's", "[live][facts]")
{
        int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int mine = edge_on(bell);

        CHECK_INT(add(bell, 1), ==, 0);
        CHECK_INT(peer_join(peer_start(take_edge, &bell)), ==, PEER_KILLED + SIGKILL);
        CHECK_INT(edges(mine), ==, 1);
        close(mine);
        close(bell);
}

TEST(saturated, "fact 19: a full eventfd answers EAGAIN and rings no more", "[live][facts]")
{
        int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int a = edge_on(bell);

        CHECK_INT(add(bell, UINT64_MAX - 1), ==, 0);
        CHECK_INT(edges(a), ==, 1);
        CHECK_INT(add(bell, 1), ==, -EAGAIN);
        CHECK_INT(edges(a), ==, 0);
        close(a);
        close(bell);
}

TEST(no_reopen, "fact 19: an eventfd cannot be opened again through /proc", "[live][facts]")
{
        int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        char path[64];

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", bell);
        CHECK_INT(open(path, O_RDWR | O_CLOEXEC), ==, -1);
        /* Its inode belongs to root and has no file behind it: one of the two is in the way. */
        CHECK(errno == ENXIO || errno == EACCES);
        close(bell);
}
