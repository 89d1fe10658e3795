/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_PUBLISH_CASE_H
#define CREW_TESTS_PUBLISH_CASE_H

/* A publisher: a fork that is made before there is any queue. */

#include "check.h"
#include "peer.h"

#include <crew/queue.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define A_WHILE CREW_S(10)

/* What a publisher, a fork that is made before there is any queue, is told and tells. */
struct stage {
        char name[64];
        _Atomic uint32_t ready, go, done;
        _Atomic int32_t result;
        int children; /* that it makes, which hold all that it has */
        pid_t child[3];
        int (*instead)(struct stage *); /* of publishing */
        uid_t user;
};

static inline struct stage *stage(void)
{
        struct stage *s = peer_memory(sizeof *s);

        /* Names are the user's: other programs of these tests run beside this one. */
        (void)snprintf(s->name, sizeof s->name, "test-%d", (int)getpid());
        return s;
}

static inline void unstage(struct stage *s)
{
        peer_memory_free(s, sizeof *s);
}

static inline void idle(void *arg)
{
        (void)arg;
        for (;;)
                (void)pause();
}

static inline void await_go(struct stage *s)
{
        REQUIRE(peer_await(&s->go, 1, A_WHILE));
}

/* Publishes a queue, sends back each message with its first byte changed, until it is closed. */
static inline void publisher(void *arg)
{
        struct stage *s = arg;
        crew_auto(queue) q = NULL;
        char buf[32];
        ssize_t n;

        if (s->user)
                REQUIRE(setgid(s->user) == 0 && setuid(s->user) == 0);
        if (s->instead) {
                atomic_store(&s->result, s->instead(s));
                atomic_store(&s->ready, 1);
                await_go(s);
                return;
        }
        REQUIRE_OK(crew_queue_new(&q, 8, CREW_OPT(queue, .name = "inner")));
        atomic_store(&s->result, crew_queue_publish(q, s->name));
        for (int i = 0; i < s->children; i++)
                s->child[i] = peer_start(idle, NULL);
        atomic_store(&s->ready, 1);
        while ((n = crew_queue_get(q, buf, sizeof buf, A_WHILE)) >= 0) {
                atomic_fetch_add(&s->done, 1);
                REQUIRE(n > 0 && buf[0] == 'a');
                REQUIRE(peer_await(&s->go, 1, A_WHILE));
                buf[0] = 'b';
                REQUIRE_OK(crew_queue_put(q, buf, (size_t)n, A_WHILE));
                /* Not to take it itself. */
                REQUIRE(peer_await(&s->go, 2, A_WHILE));
                atomic_store(&s->go, 0);
        }
        CHECK_INT(n, ==, -EPIPE);
        for (int i = 0; i < s->children; i++)
                peer_kill(s->child[i]);
}

static inline pid_t start(struct stage *s, int result)
{
        pid_t pid = peer_start(publisher, s);

        REQUIRE(peer_await(&s->ready, 1, A_WHILE));
        CHECK_INT(atomic_load(&s->result), ==, result);
        atomic_store(&s->ready, 0);
        return pid;
}

#endif
