/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_WAIT_HELP_H
#define CREW_TESTS_WAIT_HELP_H

/* What the waiter's tests share. */

#include "check.h"

#include <crew/process.h>
#include <crew/queue.h>
#include <crew/wait.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static inline int wait_warm_target(void *unused)
{
        (void)unused;
        return 0;
}

/* Each thread keeps up to four free rings and each process a pidfd of itself; here they count as
 * having been there before. */
static inline void wait_warm_up(void)
{
        crew_waiter *w[4] = { NULL };
        crew_process *p;
        crew_completion c;

        for (int i = 0; i < 4; i++) {
                if (crew_waiter_new(&w[i], 0) == 0)
                        (void)crew_waiter_wait(w[i], &c, 1, CREW_NOW);
        }
        for (int i = 0; i < 4; i++)
                w[i] = crew_waiter_free(w[i]);
        if (crew_process_launch(&p, wait_warm_target, NULL, NULL) == 0) {
                (void)crew_process_join(p, CREW_S(5));
                (void)crew_process_free(p);
        }
}

#define WAIT_WARM_UP                                                                               \
        __attribute__((constructor)) static void register_wait_warm_up(void)                       \
        {                                                                                          \
                test_warm_up(wait_warm_up);                                                        \
        }

/* Waits for exactly one completion of that kind and tag, for at most 5 s, and returns its result.
 */
static inline int64_t wait_one(crew_waiter *w, int kind, uint64_t tag)
{
        crew_completion c = { 0 };
        int n = crew_waiter_wait(w, &c, 1, CREW_S(5));

        CHECK_INT(n, ==, 1);
        if (n == 1) {
                CHECK_INT(c.kind, ==, kind);
                CHECK_INT(c.tag, ==, tag);
        }
        return n == 1 ? c.result : n;
}

/* Waits and says how many completed. */
static inline int wait_some(crew_waiter *w, crew_completion *c, int max, int64_t timeout)
{
        memset(c, 0, (size_t)max * sizeof *c);
        return crew_waiter_wait(w, c, max, timeout);
}

/* The completion with that tag, or NULL. */
static inline const crew_completion *wait_find(const crew_completion *c, int n, uint64_t tag)
{
        for (int i = 0; i < n; i++) {
                if (c[i].tag == tag && c[i].kind != CREW_WOKEN)
                        return &c[i];
        }
        return NULL;
}

static inline crew_waiter *new_waiter(void)
{
        crew_waiter *w;

        REQUIRE_OK(crew_waiter_new(&w, 0));
        return w;
}

static inline crew_queue *new_queue(size_t max)
{
        crew_queue *q;

        REQUIRE_OK(crew_queue_new(&q, max, NULL));
        return q;
}

struct later {
        pthread_t thread;
        int64_t after;
        void (*act)(void *arg);
        void *arg;
};

static inline void *later_main(void *data)
{
        struct later *l = data;
        struct timespec pause = { l->after / CREW_S(1), l->after % CREW_S(1) };

        nanosleep(&pause, NULL);
        l->act(l->arg);
        return NULL;
}

/* Runs act(arg) in a thread after a while. */
static inline void later(struct later *l, int64_t after, void (*act)(void *), void *arg)
{
        *l = (struct later){ .after = after, .act = act, .arg = arg };
        REQUIRE(pthread_create(&l->thread, NULL, later_main, l) == 0);
}

static inline void later_end(struct later *l)
{
        REQUIRE(pthread_join(l->thread, NULL) == 0);
}

static inline void put_seven(void *q)
{
        int seven = 7;

        REQUIRE_OK(CREW_PUT(q, &seven, CREW_S(5)));
}

static inline void take_one(void *q)
{
        int value;

        REQUIRE_OK(CREW_GET(q, &value, CREW_S(5)));
}

static inline void close_queue(void *q)
{
        REQUIRE_OK(crew_queue_close(q));
}

static inline void wake(void *w)
{
        REQUIRE_OK(crew_waiter_wake(w));
}

static inline void write_byte(void *fd)
{
        REQUIRE(write(*(int *)fd, "x", 1) == 1);
}

/* How many open descriptors /proc describes with that text; all of them for "". */
static inline int fds_like(const char *text)
{
        DIR *dir = opendir("/proc/self/fd");
        struct dirent *entry;
        int n = 0;

        REQUIRE(dir != NULL);
        while ((entry = readdir(dir))) {
                char path[64], target[256];
                ssize_t size;

                (void)snprintf(path, sizeof path, "/proc/self/fd/%.20s", entry->d_name);
                size = readlink(path, target, sizeof target - 1);
                if (size < 0 || atoi(entry->d_name) == dirfd(dir))
                        continue;
                target[size] = '\0';
                n += strstr(target, text) != NULL;
        }
        closedir(dir);
        return n;
}

/* How many mappings of this process are of a ring. */
static inline int ring_mappings(void)
{
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[512];
        int n = 0;

        REQUIRE(maps != NULL);
        while (fgets(line, sizeof line, maps))
                n += strstr(line, "[io_uring]") != NULL;
        (void)fclose(maps);
        return n;
}

/* Is the feature named in CREW_DISABLE? */
static inline bool disabled(const char *feature)
{
        const char *list = getenv("CREW_DISABLE");

        return list && strstr(list, feature);
}

#endif
