/* SPDX-License-Identifier: MIT */

/* What users of such pools complain about in the program around them: who waits for its children,
 * how its threads end, how many descriptors it may have, how much memory it gets back. */

#include "pool-port.h"

#include <limits.h>
#include <pthread.h>
#include <sys/resource.h>

POOL_WARM_UP

static int exitcode_of_death(crew_pool *p, int sig)
{
        crew_failure f = { .size = sizeof f };

        CHECK_INT(crew_pool_apply(p, task_die, &sig, sizeof sig, NULL, 0, CREW_S(10),
                          CREW_OPT(task, .failure = &f)),
                ==, -EOWNERDEAD);
        return f.exitcode;
}

TEST_POOLS(
        sigchld_ignored, "exit codes are right in a program that ignores SIGCHLD", "[live][pool]")
{
        crew_pool *p;

        REQUIRE(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
        p = new_pool(2, NULL);
        CHECK_INT(exitcode_of_death(p, 0), ==, 7);
        CHECK_INT(exitcode_of_death(p, SIGKILL), ==, -SIGKILL);
        CHECK_INT(twice(p, 1), ==, 2);
        CHECK(crew_pool_free(p) == NULL);
        REQUIRE(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}

static _Atomic int interrupts;

static void on_signal(int sig)
{
        if (sig == SIGINT)
                (void)atomic_fetch_add(&interrupts, 1);
}

/* How the worker takes signals that the program handles: 1 ignored, 0 by default. */
static int task_dispositions(crew_task *t, const void *arg, size_t size)
{
        static const int signals[3] = { SIGINT, SIGTERM, SIGUSR1 };
        struct sigaction action;
        int how[3];

        (void)arg;
        (void)size;
        for (int i = 0; i < 3; i++) {
                if (sigaction(signals[i], NULL, &action) < 0)
                        return -errno;
                how[i] = action.sa_handler == SIG_IGN ? 1 : action.sa_handler == SIG_DFL ? 0 : 2;
        }
        return crew_task_return(t, how, sizeof how);
}

TEST_POOLS(interrupt, "what is typed at the terminal reaches the program alone", "[live][pool]")
{
        struct sigaction action = { .sa_handler = on_signal };
        int how[3] = { 9, 9, 9 }, waited;
        crew_result *r;
        crew_pool *p;

        /* A group of its own, to which a terminal would send it. */
        REQUIRE(setpgid(0, 0) == 0 || getpgrp() == getpid());
        REQUIRE(sigaction(SIGINT, &action, NULL) == 0);
        REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
        p = new_pool(2, NULL);
        r = start_sleep(p, 50, NULL);
        CHECK_INT(crew_pool_apply(p, task_dispositions, NULL, 0, how, sizeof how, CREW_S(10), NULL),
                ==, sizeof how);
        CHECK_INT(how[0], ==, 1);
        CHECK_INT(how[1], ==, 0);
        CHECK_INT(how[2], ==, 0);
        REQUIRE(kill(0, SIGINT) == 0);
        while ((waited = crew_result_wait(r, CREW_S(10))) == -EINTR)
                ;
        CHECK_INT(waited, ==, 0);
        CHECK(crew_result_successful(r));
        CHECK_INT(interrupts, ==, 1);
        CHECK_INT(stats_of(p).restarts, ==, 0);
        (void)crew_result_free(r);
        CHECK(crew_pool_free(p) == NULL);
}

static void *wait_for_anybody(void *stop)
{
        while (!__atomic_load_n((bool *)stop, __ATOMIC_SEQ_CST)) {
                (void)waitpid(-1, NULL, WNOHANG | __WALL);
                pause_ms(1);
        }
        return NULL;
}

TEST_POOLS(foreign_wait, "exit codes are right beside a thread that waits for any child",
        "[live][pool]")
{
        bool stop = false;
        pthread_t thread;
        crew_pool *p;

        REQUIRE(pthread_create(&thread, NULL, wait_for_anybody, &stop) == 0);
        p = new_pool(2, NULL);
        for (int i = 0; i < 5; i++) {
                CHECK_INT(exitcode_of_death(p, 0), ==, 7);
                CHECK_INT(exitcode_of_death(p, SIGSEGV), ==, -SIGSEGV);
        }
        CHECK_INT(twice(p, 1), ==, 2);
        CHECK(crew_pool_free(p) == NULL);
        __atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
        (void)pthread_join(thread, NULL);
}

static void *make_pool(void *at)
{
        crew_pool *p = new_pool(2, NULL);

        CHECK_INT(twice(p, 1), ==, 2);
        memcpy(at, &p, sizeof p);
        return NULL;
}

TEST_POOLS(maker_gone, "the end of the thread that made a pool is not the end of its workers",
        "[live][pool]")
{
        crew_pool *p = NULL;
        pthread_t thread;
        pid_t before = 0, after = 0;

        REQUIRE(pthread_create(&thread, NULL, make_pool, &p) == 0);
        (void)pthread_join(thread, NULL);
        REQUIRE(p != NULL);
        for (int i = 0; i < 10; i++) {
                REQUIRE_OK(crew_pool_apply(
                        p, task_pid, NULL, 0, &after, sizeof after, CREW_S(5), NULL));
                CHECK(i == 0 || after > 0);
                before = i ? before : after;
                pause_ms(10);
        }
        CHECK_INT(stats_of(p).restarts, ==, 0);
        CHECK(crew_pool_free(p) == NULL);
}

TEST_POOLS(few_descriptors, "200 workers within 1024 descriptors", "[live][pool]")
{
        struct rlimit old, few;
        crew_pool *p;

        TEST_DEADLINE(60);
        REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
        few = (struct rlimit){ 1024, old.rlim_max };
        REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
        p = new_pool(200, CREW_OPT(pool, .lane_bytes = 4096));
        CHECK(SOON(stats_of(p).workers == 200));
        CHECK_INT(twice(p, 1), ==, 2);
        CHECK(crew_pool_free(p) == NULL);
}

/* Sanitizers keep what was freed: resident memory says nothing. */
#if !TEST_SANITIZED

static long resident(void)
{
        FILE *f = fopen("/proc/self/statm", "re");
        long size = 0, pages = 0;

        REQUIRE(f != NULL);
        CHECK_INT(fscanf(f, "%ld %ld", &size, &pages), ==, 2);
        (void)fclose(f);
        return pages * sysconf(_SC_PAGESIZE);
}

static int endless(void *user, const void **item, size_t *size)
{
        int64_t *n = user;

        ++*n;
        *item = n;
        *size = sizeof *n;
        return 1;
}

TEST(imap_memory, "an imap over very many items needs no more memory than over few", "[live][pool]")
{
        /* Lanes are small, so that all of their pages have been used soon. */
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .lane_bytes = 4096));
        crew_auto(imap) it = NULL;
        long long n = test_scale(1000000, 100000);
        long before = 0;
        crew_item item;
        int64_t at = 0;

        TEST_DEADLINE(120);
        REQUIRE_OK(
                crew_pool_imap(p, task_nothing, endless, &at, &it, CREW_OPT(task, .window = 16)));
        for (long long i = 0; i < n; i++) {
                REQUIRE(crew_imap_next(it, &item, CREW_S(10)) == 1);
                if (i == n / 10)
                        before = resident();
        }
        CHECK_INT(resident(), <, before + 1024 * 1024);
        REQUIRE_OK(crew_pool_close(p));
        CHECK_INT(crew_pool_join(p, CREW_S(10)), ==, 0);
}

TEST(task_memory, "tasks that were done give their memory back", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, NULL);
        static char large[100000];
        long before = 0;

        TEST_DEADLINE(60);
        for (int round = 0; round < 20; round++) {
                for (int i = 0; i < 200; i++)
                        REQUIRE_OK(crew_pool_apply_async(
                                p, task_nothing, large, sizeof large, NULL, NULL));
                CHECK(SOON(stats_of(p).done == (uint64_t)(round + 1) * 200));
                if (round == 4)
                        before = resident();
        }
        CHECK_INT(resident(), <, before + 8 * 1024 * 1024);
}

#endif
