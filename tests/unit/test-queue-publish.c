/* SPDX-License-Identifier: MIT */

/* Queues with names: published by one process, connected to by others that share nothing with it.
 */

#include "publish-case.h"

#include "queue/queue.h"

#include <crew/wait.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>

TEST(connects, "an unrelated process connects by the name, and messages go both ways",
        "[unit][queue][publish]")
{
        struct stage *s = stage();
        crew_queue *q = NULL, *again = NULL;
        pid_t pid;
        char buf[32];

        s->children = 3;
        pid = start(s, 0);
        REQUIRE_OK(crew_queue_connect(&q, s->name));
        REQUIRE_OK(crew_queue_connect(&again, s->name));
        CHECK_INT(memcmp(&q->segment->ref, &again->segment->ref, sizeof(crew_ref)), ==, 0);
        CHECK(q->segment == again->segment);
        again = crew_queue_free(again);
        for (int i = 0; i < 3; i++) {
                REQUIRE_OK(crew_queue_put(q, "a message", 9, A_WHILE));
                REQUIRE(peer_await(&s->done, (uint32_t)i + 1, A_WHILE));
                atomic_store(&s->go, 1);
                CHECK_INT(crew_queue_get(q, buf, sizeof buf, A_WHILE), ==, 9);
                CHECK_INT(buf[0], ==, 'b');
                atomic_store(&s->go, 2);
                REQUIRE(peer_await(&s->go, 0, A_WHILE));
        }
        REQUIRE_OK(crew_queue_close(q));
        q = crew_queue_free(q);
        CHECK_INT(peer_join(pid), ==, 0);
        CHECK_INT(crew_queue_connect(&q, s->name), ==, -ENOENT);
        unstage(s);
}

TEST(one_process, "the publisher itself and its children connect too", "[unit][queue][publish]")
{
        struct stage *s = stage();
        crew_auto(queue) q = NULL;
        crew_auto(queue) again = NULL;
        int value = 5;

        REQUIRE_OK(crew_queue_new(&q, 8, NULL));
        REQUIRE_OK(crew_queue_publish(q, s->name));
        CHECK_INT(crew_queue_publish(q, s->name), ==, -EEXIST);
        CHECK_INT(crew_queue_publish(q, "other"), ==, -EEXIST);
        REQUIRE_OK(crew_queue_connect(&again, s->name));
        CHECK(again->segment == q->segment);
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        value = 0;
        REQUIRE_OK(CREW_GET(again, &value, CREW_NOW));
        CHECK_INT(value, ==, 5);
        unstage(s);
}

TEST(bad_names, "what cannot be a name is refused", "[unit][queue][publish]")
{
        static const char *const bad[] = { NULL, "", "a/b", "a\nb", "\x7f",
                "0123456789012345678901234567890123456789012345678901234567890123" };
        crew_auto(queue) q = NULL;
        crew_queue *other = NULL;

        REQUIRE_OK(crew_queue_new(&q, 8, NULL));
        for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
                CHECK_INT(crew_queue_publish(q, bad[i]), ==, -EINVAL);
                CHECK_INT(crew_queue_connect(&other, bad[i]), ==, -EINVAL);
        }
        CHECK_INT(crew_queue_connect(NULL, "name"), ==, -EINVAL);
        CHECK_INT(crew_queue_connect(&other, "a name that nobody has"), ==, -ENOENT);
        CHECK(other == NULL);
}

TEST(collision, "a name that another process has published is refused", "[unit][queue][publish]")
{
        struct stage *s = stage();
        pid_t pid = start(s, 0);
        crew_auto(queue) q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 8, NULL));
        CHECK_INT(crew_queue_publish(q, s->name), ==, -EEXIST);
        CHECK(strstr(crew_error_detail(), s->name) != NULL);
        peer_kill(pid);
        REQUIRE_OK(crew_queue_publish(q, s->name));
        unstage(s);
}

/* The publisher's children live and hold both the queue and the notice. */
TEST(stale, "the name ends with its publisher, whoever else has the queue",
        "[unit][queue][publish]")
{
        struct stage *s = stage();
        crew_auto(queue) mine = NULL;
        crew_queue *q = NULL;
        pid_t pid;

        s->children = 2;
        pid = start(s, 0);
        REQUIRE_OK(crew_queue_connect(&q, s->name));
        q = crew_queue_free(q);
        peer_kill(pid);
        CHECK_INT(crew_queue_connect(&q, s->name), ==, -ENOENT);
        REQUIRE_OK(crew_queue_new(&mine, 8, NULL));
        REQUIRE_OK(crew_queue_publish(mine, s->name));
        REQUIRE_OK(crew_queue_connect(&q, s->name));
        CHECK(q->segment == mine->segment);
        q = crew_queue_free(q);
        for (int i = 0; i < s->children; i++)
                (void)kill(s->child[i], SIGKILL);
        unstage(s);
}

static void race(void *arg)
{
        struct stage *s = arg;
        crew_auto(queue) q = NULL;
        int r;

        REQUIRE_OK(crew_queue_new(&q, 8, NULL));
        atomic_fetch_add(&s->ready, 1);
        await_go(s);
        r = crew_queue_publish(q, s->name);
        CHECK(r == 0 || r == -EEXIST);
        if (r == 0)
                atomic_fetch_add(&s->result, 1);
        atomic_fetch_add(&s->done, 1);
        REQUIRE(peer_await(&s->go, 2, A_WHILE));
}

TEST(at_once, "of several that publish at once at most one succeeds", "[unit][queue][publish]")
{
        for (int round = 0; round < 5; round++) {
                struct stage *s = stage();
                pid_t pid[4];

                for (int i = 0; i < 4; i++)
                        pid[i] = peer_start(race, s);
                REQUIRE(peer_await(&s->ready, 4, A_WHILE));
                atomic_store(&s->go, 1);
                REQUIRE(peer_await(&s->done, 4, A_WHILE));
                CHECK_INT(atomic_load(&s->result), <=, 1);
                atomic_store(&s->go, 2);
                for (int i = 0; i < 4; i++)
                        CHECK_INT(peer_join(pid[i]), ==, 0);
                unstage(s);
        }
}

TEST(other_user, "another user's queue is refused", "[unit][queue][publish]")
{
        struct stage *s = stage();
        crew_queue *q = NULL;
        crew_auto(queue) mine = NULL;
        pid_t pid;

        if (getuid() != 0)
                SKIP("only root sees the descriptors of other users");
        s->user = 4321;
        pid = start(s, 0);
        CHECK_INT(crew_queue_connect(&q, s->name), ==, -EPERM);
        /* And does not take the name from this one. */
        REQUIRE_OK(crew_queue_new(&mine, 8, NULL));
        REQUIRE_OK(crew_queue_publish(mine, s->name));
        REQUIRE_OK(crew_queue_connect(&q, s->name));
        q = crew_queue_free(q);
        peer_kill(pid);
        unstage(s);
}

static void with_its_proc(void *arg)
{
        struct stage *s = arg;

        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("proc", "/proc", "proc", 0, NULL) < 0)
                _exit(99);
        publisher(s);
}

static void namespaced(void *arg)
{
        if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0 &&
                unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
                _exit(99);
        _exit(peer_join(peer_start(with_its_proc, arg)));
}

TEST(other_namespace, "a queue of another pid namespace is refused", "[unit][queue][publish]")
{
        struct stage *s = stage();
        crew_queue *q = NULL;
        pid_t pid = peer_start(namespaced, s);

        if (!peer_await(&s->ready, 1, CREW_S(5)) && peer_join(pid) == 99) {
                unstage(s);
                SKIP("no pid namespace to be had");
        }
        CHECK_INT(atomic_load(&s->result), ==, 0);
        CHECK_INT(crew_queue_connect(&q, s->name), ==, -EXDEV);
        peer_kill(pid);
        unstage(s);
}

/* A thread keeps its ring; here it counts as having been there before. */
static void warm_up(void)
{
        crew_waiter *w = NULL;
        crew_completion c;

        if (crew_waiter_new(&w, 0) == 0)
                (void)crew_waiter_wait(w, &c, 1, CREW_NOW);
        w = crew_waiter_free(w);
}

__attribute__((constructor)) static void register_warm_up(void)
{
        test_warm_up(warm_up);
}

/* One that connected has no eventfds: there is the 20 ms look. */
TEST(waited_for, "a waiter and a descriptor see messages of a queue that was connected to",
        "[unit][queue][publish][waiter]")
{
        struct stage *s = stage();
        pid_t pid = start(s, 0);
        crew_auto(queue) q = NULL;
        crew_auto(waiter) w = NULL;
        crew_completion c = { 0 };
        struct pollfd fd = { .events = POLLIN };
        char buf[32];

        REQUIRE_OK(crew_queue_connect(&q, s->name));
        REQUIRE_OK(crew_waiter_new(&w, 0));
        REQUIRE_OK(crew_queue_put(q, "a", 1, A_WHILE));
        REQUIRE(peer_await(&s->done, 1, A_WHILE));
        REQUIRE_OK(crew_waiter_get(w, q, buf, sizeof buf, 3));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(1)), ==, -ETIMEDOUT);
        atomic_store(&s->go, 1);
        CHECK_INT(crew_waiter_wait(w, &c, 1, A_WHILE), ==, 1);
        CHECK(c.kind == CREW_GOT && c.result == 1 && buf[0] == 'b');
        atomic_store(&s->go, 2);
        REQUIRE(peer_await(&s->go, 0, A_WHILE));
        fd.fd = REQUIRE_OK(crew_queue_fd(q));
        REQUIRE_OK(crew_queue_put(q, "a", 1, A_WHILE));
        REQUIRE(peer_await(&s->done, 2, A_WHILE));
        CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, -EAGAIN);
        atomic_store(&s->go, 1);
        for (int n = 0; n < 500 && crew_queue_get(q, buf, sizeof buf, CREW_NOW) < 0; n++)
                REQUIRE(poll(&fd, 1, 10000) == 1);
        CHECK_INT(buf[0], ==, 'b');
        peer_kill(pid);
        unstage(s);
}
