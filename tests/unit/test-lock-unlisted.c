/* SPDX-License-Identifier: MIT */

/* Locks where the kernel keeps no robust list: a dead owner is found by looking for it. */

#include "check.h"
#include "kernel/lock.h"
#include "kernel/owner.h"
#include "kernel/syscall.h"
#include "peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Two slices, each late by as much as a busy machine makes it. */
#define SOON (2 * CREW__SLICE + CREW_MS(400))

struct shared {
        crew__lock lock;
        _Atomic uint32_t holding, go;
};

static struct shared *share(void)
{
        (void)setenv("CREW_DISABLE", "robust_list", 1);
        REQUIRE(crew__thread_self()->robust == NULL);
        return peer_memory(sizeof(struct shared));
}

static void unshare_it(struct shared *s)
{
        peer_memory_free(s, sizeof *s);
}

static int take(struct shared *s, crew__hold *hold, int64_t timeout)
{
        crew__patience patience = crew__patience_of(timeout);

        return crew__lock_acquire(&s->lock, hold, &patience);
}

static void holder(void *arg)
{
        struct shared *s = arg;
        crew__hold hold;

        REQUIRE(take(s, &hold, CREW_S(5)) >= 0);
        atomic_store(&s->holding, 1);
        while (!atomic_load(&s->go))
                peer_pause(CREW_MS(1));
        crew__lock_release(&s->lock, &hold);
}

static pid_t start_holder(struct shared *s)
{
        pid_t pid;

        atomic_store(&s->holding, 0);
        pid = peer_start(holder, s);
        REQUIRE(peer_await(&s->holding, 1, CREW_S(5)));
        return pid;
}

/* Is its owner found dead, and how long did that take? */
static int64_t recover(struct shared *s)
{
        int64_t began = peer_now(), took;
        crew__hold hold;

        CHECK_INT(take(s, &hold, CREW_S(10)), ==, CREW__OWNER_DIED);
        took = peer_now() - began;
        crew__lock_release(&s->lock, &hold);
        CHECK_INT(take(s, &hold, CREW_NOW), ==, 0);
        crew__lock_release(&s->lock, &hold);
        return took;
}

/* Leaves the lock in dead hands, until that is found out soon: others keep the machine busy too. */
static void expect_recovery(struct shared *s, void (*die)(struct shared *s))
{
        int64_t took = INT64_MAX;

        for (int i = 0; i < 10 && took >= test_slow(SOON); i++) {
                die(s);
                took = recover(s);
        }
        CHECK_INT(took, <, test_slow(SOON));
}

static void die_reaped(struct shared *s)
{
        peer_kill(start_holder(s));
        CHECK_INT(atomic_load(&s->lock.watched), ==, 1);
        CHECK(!(atomic_load(&s->lock.word) & FUTEX_OWNER_DIED));
}

TEST(reaped, "an owner that is gone is found within two slices", "[unit][lock]")
{
        struct shared *s = share();

        expect_recovery(s, die_reaped);
        unshare_it(s);
}

/* Whom nobody has reaped yet. */
static pid_t zombies[10];
static int n_zombies;

static void die_unreaped(struct shared *s)
{
        pid_t pid = start_holder(s);
        siginfo_t info;

        (void)kill(pid, SIGKILL);
        REQUIRE(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
        zombies[n_zombies++] = pid;
}

TEST(zombie, "an owner that nobody reaped is found too", "[unit][lock]")
{
        struct shared *s = share();

        expect_recovery(s, die_unreaped);
        while (n_zombies > 0)
                (void)waitpid(zombies[--n_zombies], NULL, 0);
        unshare_it(s);
}

TEST(alive, "an owner that lives keeps its lock", "[unit][lock]")
{
        struct shared *s = share();
        pid_t pid = start_holder(s);
        crew__hold hold;

        CHECK_INT(take(s, &hold, CREW_MS(300)), ==, -ETIMEDOUT);
        (void)kill(pid, SIGSTOP);
        CHECK_INT(take(s, &hold, CREW_MS(100)), ==, -ETIMEDOUT);
        (void)kill(pid, SIGCONT);
        atomic_store(&s->go, 1);
        CHECK_INT(take(s, &hold, CREW_S(5)), ==, 0);
        crew__lock_release(&s->lock, &hold);
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

/* Takes it again and again with so much patience, while that ends so. */
static void retake(int64_t patience, int in_vain)
{
        struct shared *s = share();
        int64_t until;
        crew__hold hold;
        int r;

        peer_kill(start_holder(s));
        until = peer_now() + test_slow(CREW_S(10));
        do {
                r = take(s, &hold, patience);
        } while (r == in_vain && peer_now() < until);
        CHECK_INT(r, ==, CREW__OWNER_DIED);
        if (r >= 0)
                crew__lock_release(&s->lock, &hold);
        unshare_it(s);
}

TEST(polled, "callers that never wait find a dead owner too", "[unit][lock]")
{
        retake(CREW_NOW, -EAGAIN);
}

TEST(short_waits, "waits shorter than two slices find a dead owner too", "[unit][lock]")
{
        retake(CREW_MS(5), -ETIMEDOUT);
}

/* Looking for the owner takes a descriptor: having none left says nothing about the owner. */
TEST(no_descriptors, "a live owner keeps its lock while no descriptor is left", "[unit][lock]")
{
        struct shared *s = share();
        pid_t pid = start_holder(s);
        int opened[1024], n = 0;
        struct rlimit limit, low;
        crew__hold hold;

        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        low = (struct rlimit){ .rlim_cur = 64, .rlim_max = limit.rlim_max };
        REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
        while (n < 1024 && (opened[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
                n++;
        CHECK_INT(take(s, &hold, CREW_MS(200)), ==, -ETIMEDOUT);
        CHECK_INT(atomic_load(&s->lock.word) & FUTEX_TID_MASK, ==, pid);
        while (n > 0)
                (void)close(opened[--n]);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        atomic_store(&s->go, 1);
        CHECK_INT(peer_join(pid), ==, 0);
        unshare_it(s);
}

static uint32_t number;

/* The owner had it before the thread with its number began. */
static void die_long_ago(struct shared *s)
{
        atomic_store(&s->lock.claim, (uint64_t)1 << CREW__CLAIM_TID_BITS | number);
        atomic_store(&s->lock.word, number);
}

/* A claim says which of several threads that had the number one after another holds the lock. */
TEST(reused_number, "a thread that only has the dead owner's number is not the owner",
        "[unit][lock]")
{
        struct shared *s = share();
        pid_t pid = start_holder(s);
        uint64_t claim = atomic_load(&s->lock.claim);
        crew__hold hold;

        CHECK_INT(crew__claim_tid(claim), ==, pid);
        CHECK_INT(claim >> CREW__CLAIM_TID_BITS, !=, 0);
        /* The claim of somebody before says nothing. */
        atomic_store(&s->lock.claim, claim + 1);
        CHECK_INT(take(s, &hold, CREW_MS(120)), ==, -ETIMEDOUT);
        number = (uint32_t)pid;
        expect_recovery(s, die_long_ago);
        peer_kill(pid);
        unshare_it(s);
}

/* clone3 without the C library: the kernel clears the child's robust list. */
static void raw_child(struct shared *s)
{
        struct clone_args args = { .exit_signal = SIGCHLD };
        int pid = crew__sys_clone3(&args, sizeof args);
        crew__hold hold;

        if (pid == -ENOSYS)
                SKIP("no clone3 here");
        REQUIRE(pid >= 0);
        if (pid == 0) {
                if (take(s, &hold, CREW_S(1)) != 0)
                        crew__sys_exit(1);
                crew__sys_exit(crew__thread_self()->robust ? 2 : 7);
        }
        CHECK_INT(peer_join(pid), ==, 7);
        CHECK_INT(atomic_load(&s->lock.watched), ==, 1);
}

TEST(raw_clone, "a child of a raw clone3 has no list and is found all the same", "[unit][lock]")
{
        struct shared *s = peer_memory(sizeof *s);
        crew__hold hold;

        /* The parent has one, as usual: the two kinds share the lock. */
        REQUIRE(take(s, &hold, CREW_NOW) == 0);
        crew__lock_release(&s->lock, &hold);
        expect_recovery(s, raw_child);
        unshare_it(s);
}

TEST(late_arrival, "a process without a list joins those that have one", "[unit][lock]")
{
        struct shared *s = peer_memory(sizeof *s);
        crew__hold hold;

        if (!crew__thread_self()->robust)
                SKIP("no robust list on this machine");
        for (int i = 0; i < 3; i++) {
                expect_recovery(s, raw_child);
                REQUIRE(take(s, &hold, CREW_NOW) == 0);
                CHECK(crew__thread_self()->robust->list_op_pending != NULL);
                crew__lock_release(&s->lock, &hold);
        }
        unshare_it(s);
}
