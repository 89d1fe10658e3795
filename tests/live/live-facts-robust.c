/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

/*
 * What the kernel does with a lock word that the robust list's pending slot names when its thread
 * ends. Numbers as in docs/KERNEL.md.
 */

struct shared {
        _Atomic uint32_t word, ready, go;
        _Atomic int32_t slept; /* what a sleeper's call answered, plus one; 0 = it sleeps */
        pthread_mutex_t mutex;
};

static struct shared *share(void)
{
        return peer_memory(sizeof(struct shared));
}

static void unshare_it(struct shared *s)
{
        peer_memory_free(s, sizeof *s);
}

static void take(struct shared *s)
{
        fact_cover(&s->word);
        atomic_store(&s->word, (uint32_t)crew__sys_gettid());
}

TEST_NORETURN static void stay(struct shared *s)
{
        atomic_store(&s->ready, 1);
        for (;;)
                (void)pause();
}

static void hold(void *arg)
{
        take(arg);
        stay(arg);
}

static pid_t start(void (*fn)(void *), struct shared *s)
{
        pid_t pid = peer_start(fn, s);

        REQUIRE(peer_await(&s->ready, 1, FACT_SOON));
        return pid;
}

/* Sleeps on the word until it is woken. */
struct sleep {
        struct shared *s;
        _Atomic uint32_t tid;
        pthread_t thread;
};

static void *sleeper(void *arg)
{
        struct sleep *z = arg;
        uint32_t word = atomic_fetch_or(&z->s->word, FUTEX_WAITERS) | FUTEX_WAITERS;
        int r;

        atomic_store(&z->tid, (uint32_t)crew__sys_gettid());
        r = crew__sys_futex_wait(&z->s->word, word, peer_now() + test_slow(FACT_SOON));
        atomic_store(&z->s->slept, r + 1);
        return NULL;
}

static void start_sleeper(struct sleep *z)
{
        REQUIRE(pthread_create(&z->thread, NULL, sleeper, z) == 0);
        while (atomic_load(&z->tid) == 0)
                peer_pause(PEER_MS(1));
        REQUIRE(peer_await_sleep((pid_t)atomic_load(&z->tid), FACT_SOON));
}

static int join_sleeper(struct sleep *z)
{
        REQUIRE(pthread_join(z->thread, NULL) == 0);
        return atomic_load(&z->s->slept) - 1;
}

TEST(marked, "fact 20: a killed owner's word is marked and one sleeper is woken", "[live][facts]")
{
        struct shared *s = share();
        struct sleep z = { .s = s };
        pid_t pid = start(hold, s);

        CHECK_INT(atomic_load(&s->word), ==, pid);
        start_sleeper(&z);
        peer_kill(pid);
        CHECK_INT(join_sleeper(&z), ==, 0);
        CHECK_INT(atomic_load(&s->word), ==, FUTEX_OWNER_DIED | FUTEX_WAITERS);
        unshare_it(s);
}

static void claim_only(void *arg)
{
        struct shared *s = arg;

        fact_cover(&s->word);
        stay(s);
}

TEST(claimed, "fact 20: a pending slot for another's word changes nothing", "[live][facts]")
{
        struct shared *s = share();
        uint32_t mine = (uint32_t)crew__sys_gettid();
        pid_t pid = start(claim_only, s);

        atomic_store(&s->word, mine);
        peer_kill(pid);
        CHECK_INT(atomic_load(&s->word), ==, mine);
        unshare_it(s);
}

/* lock, work, unlock, as every instruction of it can be the last. */
__attribute__((no_sanitize("address", "undefined"))) static void one_turn(
        struct shared *s, struct robust_list_head *head, uint32_t tid)
{
        uint32_t expected = 0;

        atomic_store_explicit(&s->ready, 1, memory_order_relaxed);
        head->list_op_pending =
                (struct robust_list *)((uintptr_t)&s->word - (uintptr_t)head->futex_offset);
        atomic_signal_fence(memory_order_seq_cst);
        (void)atomic_compare_exchange_strong(&s->word, &expected, tid);
        atomic_signal_fence(memory_order_seq_cst);
        atomic_store_explicit(&s->go, 1, memory_order_relaxed);
        if (atomic_exchange(&s->word, 0) & FUTEX_WAITERS)
                (void)crew__sys_futex_wake(&s->word, 1);
        atomic_signal_fence(memory_order_seq_cst);
        head->list_op_pending = NULL;
        atomic_signal_fence(memory_order_seq_cst);
        atomic_store_explicit(&s->ready, 2, memory_order_relaxed);
}

static void stepped(void *arg)
{
        struct robust_list_head *head = fact_robust();
        uint32_t tid = (uint32_t)crew__sys_gettid();

        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(77);
        (void)raise(SIGSTOP);
        one_turn(arg, head, tid);
        for (;;)
                (void)pause();
}

static bool step(pid_t pid)
{
        int status = 0;

        REQUIRE(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        REQUIRE(waitpid(pid, &status, __WALL) == pid);
        return WIFSTOPPED(status);
}

/* Kills the turn after `steps` instructions; false when it was over before. */
static bool killed_after(struct shared *s, int steps, uint32_t *word)
{
        int status = 0, runway = 0;
        bool inside;
        pid_t pid;

        atomic_store(&s->word, 0);
        atomic_store(&s->ready, 0);
        pid = peer_start(stepped, s);
        REQUIRE(waitpid(pid, &status, __WALL) == pid);
        if (!WIFSTOPPED(status))
                SKIP("no process here may be traced");
        while (atomic_load(&s->ready) == 0 && runway++ < 5000)
                REQUIRE(step(pid));
        REQUIRE(atomic_load(&s->ready) == 1);
        for (int i = 0; i < steps && atomic_load(&s->ready) == 1; i++)
                REQUIRE(step(pid));
        inside = atomic_load(&s->ready) == 1;
        peer_kill(pid);
        *word = atomic_load(&s->word);
        return inside;
}

TEST(each_step, "fact 20: SIGKILL after any instruction of lock and unlock leaves no dead owner",
        "[live][facts]")
{
        struct shared *s = share();
        int steps = 0, marked = 0;
        uint32_t word;

        while (killed_after(s, steps, &word)) {
                CHECK(word == 0 || word == FUTEX_OWNER_DIED);
                marked += word == FUTEX_OWNER_DIED;
                /* A step breaks an exclusive access, which then never succeeds. */
                if (++steps == 200 && !marked)
                        SKIP("atomic operations cannot be stepped through on this CPU");
                REQUIRE(steps < 400);
        }
        CHECK_INT(word, ==, 0);
        CHECK_INT(marked, >=, 1);
        CHECK_INT(steps, >, marked);
        INFO("%d instructions, %d of them inside the lock", steps, marked);
        unshare_it(s);
}

static void hold_around_mutex(void *arg)
{
        struct shared *s = arg;

        take(s);
        if (pthread_mutex_lock(&s->mutex) != 0 || pthread_mutex_unlock(&s->mutex) != 0)
                _exit(1);
        stay(s);
}

TEST(one_slot, "fact 21: a robust mutex clears the slot, and a dead owner stays in the word",
        "[live][facts]")
{
        struct shared *s = share();
        pid_t pid;

        fact_robust_mutex(&s->mutex);
        pid = start(hold_around_mutex, s);
        peer_kill(pid);
        CHECK_INT(atomic_load(&s->word), ==, pid);
        unshare_it(s);
}

/* Ends in a new pid namespace with the slot set, its TID in there being 1. */
static void die_as_one(void *arg)
{
        struct shared *s = arg;
        int status = 0;
        pid_t pid;

        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
                _exit(77);
        pid = fork();
        if (pid == 0) {
                if (crew__sys_gettid() != 1)
                        _exit(2);
                fact_cover(&s->word);
                _exit(0);
        }
        if (pid < 0)
                _exit(77);
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
                _exit(3);
        _exit(WEXITSTATUS(status));
}

static void die_pending(void *arg)
{
        struct shared *s = arg;

        fact_cover(&s->word);
        (void)kill(getpid(), SIGKILL);
}

TEST(namespaces, "fact 22: from another pid namespace a live owner is declared dead",
        "[live][facts]")
{
        struct shared *s = share();
        int r;

        /* The owner is thread 1 of this namespace, which never dies: init, or a container's. */
        atomic_store(&s->word, 1);
        CHECK_INT(peer_join(peer_start(die_pending, s)), ==, PEER_KILLED + SIGKILL);
        CHECK_INT(atomic_load(&s->word), ==, 1);
        r = peer_join(peer_start(die_as_one, s));
        if (r == 77)
                SKIP("no pid namespace for this user");
        CHECK_INT(r, ==, 0);
        CHECK_INT(atomic_load(&s->word), ==, FUTEX_OWNER_DIED);
        unshare_it(s);
}

/* Releases the word on command and dies on command, without the wake between the two. */
static void release_and_die(void *arg)
{
        struct shared *s = arg;

        take(s);
        atomic_store(&s->ready, 1);
        while (atomic_load(&s->go) == 0)
                peer_pause(PEER_MS(1));
        atomic_store(&s->word, 0);
        atomic_store(&s->ready, 2);
        while (atomic_load(&s->go) == 1)
                peer_pause(PEER_MS(1));
        (void)kill(getpid(), SIGKILL);
}

/*
 * What the sleeper sees when somebody (or nobody: 0) took the word before its last owner died;
 * -ETIMEDOUT if that did not wake it. A patience of its own could be over before it is seen asleep.
 */
static int slept_with(struct shared *s, uint32_t barger)
{
        struct sleep z = { .s = s };
        bool asleep = false;
        pid_t pid;
        int r;

        atomic_store(&s->go, 0);
        atomic_store(&s->ready, 0);
        atomic_store(&s->word, 0);
        pid = start(release_and_die, s);
        start_sleeper(&z);
        atomic_store(&s->go, 1);
        REQUIRE(peer_await(&s->ready, 2, FACT_SOON));
        CHECK_INT(atomic_load(&s->word), ==, 0);
        atomic_store(&s->word, barger);
        atomic_store(&s->go, 2);
        CHECK_INT(peer_join(pid), ==, PEER_KILLED + SIGKILL);
        CHECK_INT(atomic_load(&s->word), ==, barger);
        if (barger) {
                peer_pause(FACT_NEVER);
                asleep = crew__sys_futex_wake(&s->word, 1) == 1;
        }
        r = join_sleeper(&z);
        return asleep ? -ETIMEDOUT : r;
}

TEST(passed_on, "fact 23: a death between release and wake wakes a sleeper", "[live][facts]")
{
        struct shared *s = share();

        CHECK_INT(slept_with(s, 0), ==, 0);
        unshare_it(s);
}

TEST(barger, "fact 23: but perhaps not if somebody took the word meanwhile", "[live][facts]")
{
        struct shared *s = share();

        int r = slept_with(s, (uint32_t)crew__sys_gettid());

        /* Debian's 6.1.0-56 and 6.12.117 wake it all the same, which harms nobody. */
        INFO("the sleeper's call: %d", r);
        CHECK(r == -ETIMEDOUT || r == 0);
        unshare_it(s);
}

static int ends[2];

static void exec_inside(void *arg)
{
        take(arg);
        if (dup2(ends[0], STDIN_FILENO) < 0)
                _exit(1);
        execl("/bin/sh", "sh", "-c", "read line", (char *)NULL);
        _exit(126);
}

TEST(exec_marks, "fact 24: exec with the lock held marks it, though the process lives on",
        "[live][facts]")
{
        struct shared *s = share();
        int pidfd;
        pid_t pid;

        REQUIRE(pipe(ends) == 0);
        pid = peer_start(exec_inside, s);
        pidfd = crew__sys_pidfd_open(pid, 0);
        REQUIRE(pidfd >= 0);
        CHECK(peer_await(&s->word, FUTEX_OWNER_DIED, FACT_SOON));
        CHECK(!fact_readable(pidfd, 0));
        peer_kill(pid);
        close(pidfd);
        close(ends[0]);
        close(ends[1]);
        unshare_it(s);
}

static int leave(void *arg)
{
        (void)arg;
        return 0;
}

TEST(descendants, "fact 24: the end of a child does not touch its parent's lock", "[live][facts]")
{
        enum { STACK = 64 * 1024 };
        struct shared *s = share();
        uint32_t tid = (uint32_t)crew__sys_gettid();
        char *stack = malloc(STACK);
        int pidfd;
        pid_t pid;

        REQUIRE(stack);
        take(s);
        /* Shares the memory, and so the list head. */
        pid = clone(leave, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
        REQUIRE(pid > 0);
        CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
        CHECK_INT(atomic_load(&s->word), ==, tid);
        /* Has a copy of the slot: bare, and registered again by the C library. */
        if (fact_clone(0, 0, &pidfd) == 0)
                _exit(0);
        CHECK_INT(fact_reap(pidfd, __WALL), ==, 0);
        close(pidfd);
        CHECK_INT(atomic_load(&s->word), ==, tid);
        pid = fork();
        if (pid == 0)
                _exit(0);
        CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
        CHECK_INT(atomic_load(&s->word), ==, tid);
        fact_uncover();
        free(stack);
        unshare_it(s);
}
