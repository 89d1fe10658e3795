/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_HOST_H
#define CREW_TESTS_HOST_H

/* What the tests of processes play: host programs with one thread or two, and applications. */

#include "check.h"

#include <crew/crew.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A thread that does nothing, so that the host has two. */
struct second_thread {
        pthread_t thread;
        int pipe[2];
};

static void *second_thread_body(void *data)
{
        struct second_thread *t = data;
        char c;

        return read(t->pipe[0], &c, 1) == 0 ? NULL : data;
}

__attribute__((unused)) static void second_thread_start(struct second_thread *t)
{
        REQUIRE(pipe2(t->pipe, O_CLOEXEC) == 0);
        REQUIRE(pthread_create(&t->thread, NULL, second_thread_body, t) == 0);
}

__attribute__((unused)) static void second_thread_end(struct second_thread *t)
{
        REQUIRE(write(t->pipe[1], "", 1) == 1);
        (void)pthread_join(t->thread, NULL);
        (void)close(t->pipe[1]);
        (void)close(t->pipe[0]);
}

/* The same case for a host with one thread and for one with two. */
#define TEST_HOSTS(identifier, human_name, tag_list)                                               \
        static void identifier##_body(void);                                                       \
        TEST(identifier##_single, human_name " (one thread)", tag_list)                            \
        {                                                                                          \
                identifier##_body();                                                               \
        }                                                                                          \
        TEST(identifier##_threaded, human_name " (two threads)", tag_list)                         \
        {                                                                                          \
                struct second_thread t;                                                            \
                second_thread_start(&t);                                                           \
                identifier##_body();                                                               \
                second_thread_end(&t);                                                             \
        }                                                                                          \
        static void identifier##_body(void)

/* Memory that the case, its children and its applications share. */
__attribute__((unused)) static void *shared_new(size_t size)
{
        void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        REQUIRE(at != MAP_FAILED);
        return at;
}

__attribute__((unused)) static void shared_free(void *at, size_t size)
{
        (void)munmap(at, size);
}

/* Is there such a process, dead and uncollected ones apart? */
__attribute__((unused)) static bool process_lives(pid_t pid)
{
        char path[64], text[256] = "", *at;
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        f = fopen(path, "re");
        if (!f)
                return false;
        if (!fgets(text, sizeof text, f))
                text[0] = '\0';
        (void)fclose(f);
        at = strrchr(text, ')');
        return at && at[1] && at[2] != 'Z' && at[2] != 'X';
}

/* Waits until it holds, for at most `ns` (stretched on slow machines). */
#define EVENTUALLY(condition, ns)                                                                  \
        (__extension__({                                                                           \
                int64_t until_ = crew_clock() + test_slow(ns);                                     \
                while (!(condition) && crew_clock() < until_)                                      \
                        (void)usleep(1000);                                                        \
                (condition);                                                                       \
        }))

/* Joins and answers the exit code; a failed join is a failed check. */
__attribute__((unused)) static int join_code(crew_process *p)
{
        int code = -9999;

        CHECK_INT(crew_process_join(p, CREW_S(15)), ==, 0);
        CHECK_INT(crew_process_exitcode(p, &code), ==, 0);
        return code;
}

/* Library state that lasts: the feature probes and the descriptor of the process itself. */
static int host_nothing(void *arg)
{
        (void)arg;
        return 0;
}

static void host_warm_up(void)
{
        crew_process *p = NULL;

        if (crew_process_launch(&p, host_nothing, NULL, NULL) == 0)
                (void)crew_process_join(p, CREW_S(10));
        (void)crew_process_free(p);
        for (unsigned i = 0;; i++) {
                crew_feature f = { .size = sizeof f };

                if (crew_feature_get(i, &f) < 0)
                        break;
        }
}

__attribute__((constructor)) static void host_prepare(void)
{
        test_warm_up(host_warm_up);
}

#endif
