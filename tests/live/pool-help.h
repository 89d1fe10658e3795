/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_POOL_HELP_H
#define CREW_TESTS_POOL_HELP_H

/* What the pool's tests share: warm-up, pools, and tasks. */

#include "peer.h"
#include "wait-help.h"

#include <crew/pool.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define UNUSED __attribute__((unused))

/* Waits until it holds, for at most 10 s. */
#define SOON(condition) EVENTUALLY(condition, CREW_S(10))

static inline int task_nothing(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        return 0;
}

/* The probes, and what the pool's thread and zygote leave once per process. */
static inline void pool_warm_up(void)
{
        crew_pool *p;

        wait_warm_up();
        if (crew_pool_new(&p, 1, NULL) < 0)
                return;
        (void)crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(5), NULL);
        (void)crew_pool_free(p);
}

#define POOL_WARM_UP                                                                               \
        __attribute__((constructor)) static void register_pool_warm_up(void)                       \
        {                                                                                          \
                test_warm_up(pool_warm_up);                                                        \
        }

/* How new_pool's pools make their workers. */
static int pool_method = CREW_METHOD_FORK;

static inline crew_pool *new_pool(unsigned workers, const crew_pool_options *o)
{
        crew_pool_options all = { .size = sizeof all };
        crew_pool *p = NULL;

        if (o)
                all = *o;
        all.method = pool_method;
        REQUIRE_OK(crew_pool_new(&p, workers, &all));
        return p;
}

/* The same case for each start method. Its workers share nothing with it, globals neither. */
#define TEST_POOLS(identifier, human_name, tag_list)                                               \
        static void identifier##_body(void);                                                       \
        TEST(identifier##_fork, human_name " (fork)", tag_list)                                    \
        {                                                                                          \
                identifier##_body();                                                               \
        }                                                                                          \
        TEST(identifier##_forkserver, human_name " (fork server)", tag_list)                       \
        {                                                                                          \
                pool_method = CREW_METHOD_FORKSERVER;                                              \
                identifier##_body();                                                               \
        }                                                                                          \
        TEST(identifier##_spawn, human_name " (spawn)", tag_list)                                  \
        {                                                                                          \
                pool_method = CREW_METHOD_SPAWN;                                                   \
                identifier##_body();                                                               \
        }                                                                                          \
        static void identifier##_body(void)

UNUSED static int task_twice(crew_task *t, const void *arg, size_t size)
{
        int value;

        if (size != sizeof value)
                return crew_task_fail(t, -EINVAL, "%zu bytes", size);
        memcpy(&value, arg, sizeof value);
        value *= 2;
        return crew_task_return(t, &value, sizeof value);
}

/* Sleeps for the milliseconds in its argument, and returns them. */
UNUSED static int task_sleep(crew_task *t, const void *arg, size_t size)
{
        const int *ms = arg;
        struct timespec left = { .tv_sec = *ms / 1000, .tv_nsec = *ms % 1000 * 1000000L };

        (void)size;
        while (nanosleep(&left, &left) < 0)
                ;
        return crew_task_return(t, ms, sizeof *ms);
}

UNUSED static int task_pid(crew_task *t, const void *arg, size_t size)
{
        pid_t pid = getpid();

        (void)arg;
        (void)size;
        return crew_task_return(t, &pid, sizeof pid);
}

/* Kills itself with the signal in its argument; 0: calls exit(7). */
UNUSED static int task_die(crew_task *t, const void *arg, size_t size)
{
        int sig = *(const int *)arg;

        (void)t;
        (void)size;
        if (sig == 0)
                exit(7);
        (void)kill(getpid(), sig);
        for (;;)
                (void)pause();
}

UNUSED static int twice(crew_pool *p, int value)
{
        int out = -1;
        ssize_t r = crew_pool_apply(
                p, task_twice, &value, sizeof value, &out, sizeof out, CREW_S(10), NULL);

        if (r < 0)
                INFO("apply: %s: %s", crew_error_name((int)r), crew_error_detail());
        return r < 0 ? (int)r : out;
}

UNUSED static crew_result *start_sleep(crew_pool *p, int ms, const crew_task_options *o)
{
        crew_result *r = NULL;

        REQUIRE_OK(crew_pool_apply_async(p, task_sleep, &ms, sizeof ms, &r, o));
        return r;
}

UNUSED static crew_pool_stats stats_of(crew_pool *p)
{
        crew_pool_stats s = { .size = sizeof s };

        CHECK_INT(crew_pool_read_stats(p, &s), ==, 0);
        return s;
}

UNUSED static crew_failure failure_of(crew_result *r)
{
        crew_failure f = { .size = sizeof f };

        CHECK_INT(crew_result_failure(r, &f), ==, 0);
        return f;
}

UNUSED static void pause_ms(int ms)
{
        struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

        while (nanosleep(&left, &left) < 0)
                ;
}

/* In that time, stretched. */
UNUSED static bool gone_within(pid_t pid, int ms)
{
        int64_t until = crew_clock() + test_slow(CREW_MS(ms));

        while (peer_lives(pid)) {
                if (crew_clock() > until)
                        return false;
                pause_ms(1);
        }
        return true;
}

#endif
