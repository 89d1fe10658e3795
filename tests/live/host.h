/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_HOST_H
#define CREW_TESTS_HOST_H

/* What the tests of processes play: host programs with one thread or two, and applications. */

#include "check.h"
#include "peer.h"

#include <crew/crew.h>
#include <dirent.h>
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
        TEST_HOSTS_OF(identifier, human_name, tag_list)                                            \
        static void identifier##_body(void)

#define TEST_HOSTS_OF(identifier, human_name, tag_list)                                            \
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
        }

/*
 * Start methods. A case that starts its processes with host_new and host_launch runs with each of
 * them; in processes that are no forks its functions and what shared_new made are at hand.
 */
static int host_method = CREW_METHOD_FORK;
static void *host_data; /* what shared_new made, for all of the case */

struct host_call {
        int method;
        void *data;
        ptrdiff_t function; /* from host_call on */
        void *arg;
};

__attribute__((unused)) static int host_call(void *arg)
{
        const struct host_call *call = arg;
        uintptr_t at = (uintptr_t)host_call + (uintptr_t)call->function;
        crew_target_fn *function;

        host_method = call->method;
        host_data = call->data;
        memcpy(&function, &at, sizeof function);
        return function(call->arg);
}

__attribute__((unused)) static int host_new(
        crew_process **p, crew_target_fn *target, void *arg, const crew_process_options *options)
{
        struct host_call call = { .method = host_method, .data = host_data, .arg = arg };
        crew_process_options o = { .size = sizeof o };

        if (options)
                memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
        if (host_method == CREW_METHOD_FORK || o.arg_size)
                return crew_process_new(p, target, arg, options);
        call.function = (ptrdiff_t)((uintptr_t)target - (uintptr_t)host_call);
        o.method = host_method;
        o.arg_size = sizeof call;
        return crew_process_new(p, host_call, &call, &o);
}

__attribute__((unused)) static int host_launch(
        crew_process **p, crew_target_fn *target, void *arg, const crew_process_options *options)
{
        crew_process *made;
        int r = host_new(&made, target, arg, options);

        if (r == 0)
                r = crew_process_start(made);
        if (r == 0)
                *p = made;
        else
                (void)crew_process_free(made);
        return r;
}

/* The first start makes the fork server, which lasts as long as the case. */
static int host_nobody(void *arg)
{
        (void)arg;
        return 0;
}

__attribute__((unused)) static void host_begin(int method)
{
        crew_process *p = NULL;

        if (!test_reaches_exec())
                SKIP("the memory of the case does not reach across exec here");
        host_method = method;
        REQUIRE_OK(host_launch(&p, host_nobody, NULL, NULL));
        REQUIRE_OK(crew_process_join(p, CREW_S(60)));
        (void)crew_process_free(p);
        if (method == CREW_METHOD_FORKSERVER) {
                TEST_ALLOW_CHILDREN(1); /* the server, */
                TEST_ALLOW_FDS(2);      /* its pidfd and its socket: until the exit */
        }
}

/* As TEST_HOSTS, and for the other start methods in a host with two threads. */
#define TEST_METHODS(identifier, human_name, tag_list)                                             \
        static void identifier##_body(void);                                                       \
        TEST_HOSTS_OF(identifier, human_name, tag_list)                                            \
        TEST(identifier##_forkserver, human_name " (fork server)", tag_list)                       \
        {                                                                                          \
                struct second_thread t;                                                            \
                second_thread_start(&t);                                                           \
                host_begin(CREW_METHOD_FORKSERVER);                                                \
                identifier##_body();                                                               \
                second_thread_end(&t);                                                             \
        }                                                                                          \
        TEST(identifier##_spawn, human_name " (spawn)", tag_list)                                  \
        {                                                                                          \
                struct second_thread t;                                                            \
                second_thread_start(&t);                                                           \
                host_begin(CREW_METHOD_SPAWN);                                                     \
                identifier##_body();                                                               \
                second_thread_end(&t);                                                             \
        }                                                                                          \
        static void identifier##_body(void)

/* Memory that the case, its children and its applications share, at one address in all. */
__attribute__((unused)) static void *shared_new(size_t size)
{
        void *at = test_shared(size);

        REQUIRE(at != NULL);
        return at;
}

__attribute__((unused)) static void shared_free(void *at, size_t size)
{
        (void)at;
        (void)size;
}

/* The child of that name, or 0. */
__attribute__((unused)) static pid_t child_called(pid_t parent, const char *name)
{
        DIR *proc = opendir("/proc");
        struct dirent *e;
        pid_t found = 0;

        REQUIRE(proc != NULL);
        while (!found && (e = readdir(proc))) {
                pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
                struct peer_look l;

                if (pid > 0 && peer_look(pid, &l) && l.parent == parent && !strcmp(l.name, name))
                        found = pid;
        }
        (void)closedir(proc);
        return found;
}

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
