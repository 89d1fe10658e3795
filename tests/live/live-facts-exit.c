/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* What the C library carries over into a child. Numbers as in docs/KERNEL.md. */

struct notes {
        _Atomic uint32_t inherited, first, status, forked, before;
        _Atomic uint32_t tid, ready, done;
        pthread_mutex_t mutex;
};

static struct notes *notes;
static pid_t creator;

__attribute__((noreturn)) static void leave(int status, void *arg)
{
        (void)arg;
        atomic_store(&notes->first, 1);
        atomic_store(&notes->before, atomic_load(&notes->inherited));
        atomic_store(&notes->status, (uint32_t)status);
        _exit(status);
}

/* Of the parent; does nothing there, as a hook that must not work in a foreign child would. */
static void inherited(void)
{
        if (getpid() != creator)
                atomic_fetch_add(&notes->inherited, 1);
}

static void prepare(void)
{
        notes = peer_memory(sizeof *notes);
        creator = getpid();
        /* The hook outlives the body, so its notes do. */
        TEST_ALLOW_MAPPINGS(1);
        REQUIRE(atexit(inherited) == 0);
}

static void exit_with_5(void *arg)
{
        (void)arg;
        exit(5);
}

TEST(hooks, "fact 10: a child that calls exit() runs its parent's handlers", "[live][facts]")
{
        prepare();
        CHECK_INT(peer_join(peer_start(exit_with_5, NULL)), ==, 5);
        CHECK_INT(atomic_load(&notes->inherited), ==, 1);
}

static void exit_by_own_hook(void *arg)
{
        (void)arg;
        if (on_exit(leave, NULL) != 0)
                _exit(1);
        exit(5);
}

TEST(own_hook, "fact 10: a handler of the child's own runs first, knows the status and may end it",
        "[live][facts]")
{
        prepare();
        CHECK_INT(peer_join(peer_start(exit_by_own_hook, NULL)), ==, 5);
        CHECK_INT(atomic_load(&notes->first), ==, 1);
        CHECK_INT(atomic_load(&notes->status), ==, 5);
        CHECK_INT(atomic_load(&notes->before), ==, 0);
        CHECK_INT(atomic_load(&notes->inherited), ==, 0);
}

static void count_fork(void)
{
        atomic_fetch_add(&notes->forked, 1);
}

TEST(no_handlers, "fact 9: clone3 runs no pthread_atfork handler", "[live][facts]")
{
        int pidfd;
        pid_t pid;

        notes = peer_memory(sizeof *notes);
        /* The handlers outlive the body, so their notes do. */
        TEST_ALLOW_MAPPINGS(1);
        REQUIRE(pthread_atfork(count_fork, count_fork, count_fork) == 0);
        if (fact_clone(0, 0, &pidfd) == 0)
                _exit(0);
        CHECK_INT(fact_reap(pidfd, __WALL), ==, 0);
        CHECK_INT(atomic_load(&notes->forked), ==, 0);
        close(pidfd);
        pid = fork();
        if (pid == 0)
                _exit(0);
        CHECK_INT(peer_join(pid), ==, 0);
        CHECK_INT(atomic_load(&notes->forked), ==, 3);
}

static int typed;

static void *read_stdin(void *arg)
{
        atomic_store(&notes->tid, (uint32_t)crew__sys_gettid());
        (void)arg;
        (void)fgetc(stdin);
        return NULL;
}

static void *flush_all(void *arg)
{
        (void)arg;
        atomic_store(&notes->ready, 1);
        (void)fflush(NULL);
        atomic_store(&notes->done, 1);
        return NULL;
}

static void flush_beside_reader(void *arg)
{
        pthread_t reader, flusher;

        (void)arg;
        if (dup2(typed, STDIN_FILENO) < 0 || pthread_create(&reader, NULL, read_stdin, NULL) != 0)
                _exit(1);
        while (atomic_load(&notes->tid) == 0)
                peer_pause(PEER_MS(1));
        if (!peer_await_sleep((pid_t)atomic_load(&notes->tid), FACT_SOON))
                _exit(2);
        /* What crew does: each of the two that matter, if nobody holds it. */
        if (ftrylockfile(stdin) == 0)
                _exit(3);
        if (ftrylockfile(stdout) != 0)
                _exit(4);
        (void)fflush_unlocked(stdout);
        funlockfile(stdout);
        if (pthread_create(&flusher, NULL, flush_all, NULL) != 0)
                _exit(5);
        for (;;)
                (void)pause();
}

TEST(flush_hangs, "fact 11: fflush(NULL) hangs while a thread reads from stdin", "[live][facts]")
{
        int ends[2];
        pid_t pid;

        notes = peer_memory(sizeof *notes);
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        typed = ends[0];
        pid = peer_start(flush_beside_reader, NULL);
        CHECK(peer_await(&notes->ready, 1, FACT_SOON));
        CHECK(!peer_await(&notes->done, 1, FACT_NEVER));
        /* The line arrives, and both go on. */
        CHECK_INT(write(ends[1], "\n", 1), ==, 1);
        CHECK(peer_await(&notes->done, 1, FACT_SOON));
        peer_kill(pid);
        close(ends[0]);
        close(ends[1]);
        peer_memory_free(notes, sizeof *notes);
}

static int lock_within(pthread_mutex_t *mutex, int64_t ns)
{
        struct timespec until;

        (void)clock_gettime(CLOCK_REALTIME, &until);
        ns += until.tv_nsec;
        until.tv_sec += ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        return pthread_mutex_timedlock(mutex, &until);
}

/* Starts a child that locks the mutex, and kills it then. The repair is what crew's children do. */
static pid_t kill_owner(bool repaired)
{
        struct robust_list_head *head = fact_robust();
        struct clone_args args = { .flags = CLONE_PIDFD };
        int *tid_at = NULL, pidfd;
        pid_t pid;

        args.pidfd = (uint64_t)(uintptr_t)&pidfd;
        if (repaired) {
                if (prctl(PR_GET_TID_ADDRESS, &tid_at) < 0 || !tid_at)
                        SKIP("no PR_GET_TID_ADDRESS (CONFIG_CHECKPOINT_RESTORE)");
                CHECK_INT(*tid_at, ==, crew__sys_gettid());
                args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
                args.child_tid = (uint64_t)(uintptr_t)tid_at;
        }
        atomic_store(&notes->ready, 0);
        pid = crew__sys_clone3(&args, sizeof args);
        if (pid == -ENOSYS || pid == -EPERM)
                SKIP("no clone3: %s", strerror(-pid));
        REQUIRE(pid >= 0);
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (repaired) {
                        head->list.next = &head->list;
                        head->list_op_pending = NULL;
                        (void)crew__sys_set_robust_list(head);
                }
                if (pthread_mutex_lock(&notes->mutex) != 0)
                        _exit(1);
                atomic_store(&notes->ready, 1);
                for (;;)
                        (void)pause();
        }
        REQUIRE(peer_await(&notes->ready, 1, FACT_SOON));
        REQUIRE(kill(pid, SIGKILL) == 0);
        CHECK_INT(fact_reap(pidfd, __WALL), ==, PEER_KILLED + SIGKILL);
        close(pidfd);
        return pid;
}

TEST(cached_tid, "fact 9: in a child of bare clone3 a robust mutex names the parent",
        "[live][facts]")
{
#ifdef __GLIBC__
        notes = peer_memory(sizeof *notes);
        fact_robust_mutex(&notes->mutex);
        (void)kill_owner(false);
        CHECK_INT(notes->mutex.__data.__lock & FUTEX_TID_MASK, ==, crew__sys_gettid());
        CHECK_INT(lock_within(&notes->mutex, PEER_MS(50)), ==, ETIMEDOUT);
        peer_memory_free(notes, sizeof *notes);
#else
        SKIP("known of glibc only");
#endif
}

TEST(repaired_tid, "fact 9: with its TID and list set right it names the child", "[live][facts]")
{
        int r;

        notes = peer_memory(sizeof *notes);
        fact_robust_mutex(&notes->mutex);
        (void)kill_owner(true);
        r = lock_within(&notes->mutex, FACT_SOON);
        CHECK_INT(r, ==, EOWNERDEAD);
        if (r == EOWNERDEAD) {
                CHECK_INT(pthread_mutex_consistent(&notes->mutex), ==, 0);
                CHECK_INT(pthread_mutex_unlock(&notes->mutex), ==, 0);
        }
        peer_memory_free(notes, sizeof *notes);
}
