/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "kernel/generation.h"
#include "kernel/syscall.h"
#include "peer.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

struct shared {
        _Atomic uint64_t seen[16];
        _Atomic uint32_t ready, go;
};

static _Atomic int calls, other_calls;
static int order[4];

static void reset(void)
{
        int n = atomic_fetch_add(&calls, 1);

        if (n < 2)
                order[n] = 1;
}

static void other_reset(void)
{
        /* Slow, so that racing threads would get past it. */
        peer_pause(CREW_MS(5));
        atomic_fetch_add(&other_calls, 1);
}

TEST(constant, "a process keeps its generation", "[unit][generation]")
{
        uint64_t first = crew__generation();

        CHECK_INT(first, !=, 0);
        for (int i = 0; i < 100; i++)
                REQUIRE(crew__generation() == first);
        CHECK_INT(crew__generation_slow(), ==, first);
}

static void look(void *arg)
{
        struct shared *s = arg;

        atomic_store(&s->seen[1], crew__generation());
        if (crew__generation() != atomic_load(&s->seen[1]))
                _exit(1);
}

static void look_twice_removed(void *arg)
{
        struct shared *s = arg;
        pid_t pid;

        /* The one in between never asks. */
        pid = peer_start(look, s);
        CHECK_INT(peer_join(pid), ==, 0);
        atomic_store(&s->seen[2], crew__generation());
}

TEST(forked, "children and grandchildren have others", "[unit][generation]")
{
        struct shared *s = peer_memory(sizeof *s);
        uint64_t mine = crew__generation();

        CHECK_INT(peer_join(peer_start(look_twice_removed, s)), ==, 0);
        CHECK_INT(atomic_load(&s->seen[1]), !=, 0);
        CHECK_INT(atomic_load(&s->seen[1]), !=, mine);
        CHECK_INT(atomic_load(&s->seen[2]), !=, mine);
        CHECK_INT(crew__generation(), ==, mine);
        peer_memory_free(s, sizeof *s);
}

TEST(unasked, "a child whose parent never asked has one", "[unit][generation]")
{
        struct shared *s = peer_memory(sizeof *s);

        CHECK_INT(peer_join(peer_start(look, s)), ==, 0);
        CHECK_INT(atomic_load(&s->seen[1]), !=, 0);
        CHECK_INT(crew__generation(), !=, 0);
        peer_memory_free(s, sizeof *s);
}

TEST(raw, "a raw clone3 is a fork", "[unit][generation]")
{
        struct clone_args args = {.exit_signal = SIGCHLD};
        struct shared *s = peer_memory(sizeof *s);
        uint64_t mine = crew__generation();
        int pid;

        crew__on_fork(reset);
        pid = crew__sys_clone3(&args, sizeof args);
        if (pid == -ENOSYS)
                SKIP("no clone3 here");
        REQUIRE(pid >= 0);
        if (pid == 0) {
                atomic_store(&s->seen[1], crew__generation());
                crew__sys_exit(10 + atomic_load(&calls));
        }
        CHECK_INT(peer_join(pid), ==, 11);
        CHECK_INT(atomic_load(&s->seen[1]), !=, mine);
        CHECK_INT(atomic_load(&s->seen[1]), !=, 0);
        CHECK_INT(atomic_load(&calls), ==, 0);
        peer_memory_free(s, sizeof *s);
}

static int share_and_look(void *arg)
{
        *(uint64_t *)arg = crew__generation();
        return 0;
}

TEST(same_memory, "a child that shares the memory is not another process here",
        "[unit][generation]")
{
        uint64_t mine = crew__generation(), seen = 0;
        char *stack = malloc(65536);
        int pid;

        if (peer_on_valgrind())
                SKIP("valgrind makes such a child by fork");
        REQUIRE(stack);
        pid = clone(share_and_look, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, &seen);
        REQUIRE(pid > 0);
        CHECK_INT(peer_join(pid), ==, 0);
        CHECK_INT(seen, ==, mine);
        CHECK_INT(crew__generation(), ==, mine);
        free(stack);
}

static void count_resets(void *arg)
{
        (void)arg;
        CHECK_INT(atomic_load(&calls), ==, 0);
        for (int i = 0; i < 5; i++)
                (void)crew__generation();
        CHECK_INT(atomic_load(&calls), ==, 1);
        CHECK_INT(atomic_load(&other_calls), ==, 1);
}

TEST(resets, "what was asked for at a fork runs once in each child", "[unit][generation]")
{
        (void)crew__generation();
        for (int i = 0; i < 20; i++) {
                crew__on_fork(reset);
                crew__on_fork(other_reset);
        }
        (void)crew__generation();
        CHECK_INT(atomic_load(&calls), ==, 0);
        for (int i = 0; i < 3; i++)
                CHECK_INT(peer_join(peer_start(count_resets, NULL)), ==, 0);
        CHECK_INT(atomic_load(&calls), ==, 0);
}

static struct shared *racing;

static void *race(void *arg)
{
        uint64_t *mine = arg;

        atomic_fetch_add(&racing->ready, 1);
        while (!atomic_load(&racing->go))
                sched_yield();
        *mine = crew__generation();
        CHECK_INT(atomic_load(&other_calls), ==, 1);
        return NULL;
}

static void race_in_child(void *arg)
{
        pthread_t thread[8];
        uint64_t seen[8];

        (void)arg;
        for (int i = 0; i < 8; i++)
                REQUIRE(pthread_create(&thread[i], NULL, race, &seen[i]) == 0);
        while (atomic_load(&racing->ready) < 8)
                peer_pause(10000);
        atomic_store(&racing->go, 1);
        for (int i = 0; i < 8; i++)
                (void)pthread_join(thread[i], NULL);
        for (int i = 0; i < 8; i++)
                CHECK_INT(seen[i], ==, crew__generation());
        CHECK_INT(atomic_load(&calls), ==, 1);
}

TEST(races, "threads that ask first in a child all wait for the one that resets",
        "[unit][generation]")
{
        racing = peer_memory(sizeof *racing);
        crew__on_fork(reset);
        crew__on_fork(other_reset);
        (void)crew__generation();
        for (long long i = 0; i < test_scale(500, 10); i++) {
                atomic_store(&racing->ready, 0);
                atomic_store(&racing->go, 0);
                REQUIRE(peer_join(peer_start(race_in_child, NULL)) == 0);
        }
        peer_memory_free(racing, sizeof *racing);
}

TEST(unique, "no child carries a number of an ancestor", "[unit][generation]")
{
        struct shared *s = peer_memory(sizeof *s);
        uint64_t seen[8];

        seen[0] = crew__generation();
        for (int depth = 1; depth < 8; depth++) {
                pid_t pid = fork();

                REQUIRE(pid >= 0);
                if (pid) {
                        int code = peer_join(pid);

                        if (depth > 1)
                                _exit(code);
                        CHECK_INT(code, ==, 0);
                        break;
                }
                seen[depth] = crew__generation();
                for (int i = 0; i < depth; i++)
                        CHECK_INT(seen[i], !=, seen[depth]);
                if (depth == 7)
                        _exit(0);
        }
        peer_memory_free(s, sizeof *s);
}
