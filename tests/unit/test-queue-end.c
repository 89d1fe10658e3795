/* SPDX-License-Identifier: MIT */

/* Queues that end by themselves, when every process that could put has ended or said so. */

#include "check.h"
#include "peer.h"

#include "kernel/owner.h"
#include "queue/holders.h"

#include <crew/process.h>
#include <crew/queue.h>
#include <crew/wait.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define A_WHILE CREW_S(10)

static int nothing(void *arg)
{
        return arg != NULL;
}

static void warm_up(void)
{
        crew_waiter *w = NULL;
        crew_completion c;
        crew_process *p;

        if (crew_process_launch(&p, nothing, NULL, NULL) == 0) {
                (void)crew_process_join(p, A_WHILE);
                p = crew_process_free(p);
        }
        if (crew_waiter_new(&w, 0) == 0)
                (void)crew_waiter_wait(w, &c, 1, CREW_NOW);
        w = crew_waiter_free(w);
}

__attribute__((constructor)) static void register_warm_up(void)
{
        test_warm_up(warm_up);
}

static crew_queue *make(uint64_t flags)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .flags = CREW_QUEUE_EOF | flags)));
        return q;
}

struct stage {
        crew_queue *q;
        _Atomic uint32_t ready, go, put;
        _Atomic int32_t result;
        int first, n;
};

static struct stage *stage(uint64_t flags)
{
        struct stage *s = peer_memory(sizeof *s);

        s->q = make(flags);
        return s;
}

static void unstage(struct stage *s)
{
        (void)crew_queue_free(s->q);
        peer_memory_free(s, sizeof *s);
}

TEST(alone, "a maker that says that it puts no more ends its queue", "[unit][queue][end]")
{
        crew_auto(queue) q = make(0);
        int value = 1;

        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        CHECK_INT(CREW_GET(q, &value, CREW_NOW), ==, 0);
        CHECK_INT(CREW_GET(q, &value, CREW_NOW), ==, -EAGAIN);
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        REQUIRE_OK(crew_queue_put_done(q));
        REQUIRE_OK(crew_queue_put_done(q));
        CHECK_INT(CREW_PUT(q, &value, CREW_NOW), ==, -EPIPE);
        CHECK_INT(CREW_GET(q, &value, CREW_FOREVER), ==, 0);
        CHECK_INT(CREW_GET(q, &value, CREW_FOREVER), ==, -EPIPE);
        CHECK(strstr(crew_error_detail(), "said so") != NULL);
}

TEST(not_made_so, "other queues do not end", "[unit][queue][end]")
{
        crew_auto(queue) q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        CHECK_INT(crew_queue_put_done(q), ==, -EOPNOTSUPP);
}

/* Puts its numbers and returns, saying nothing. */
static int produce(void *arg)
{
        struct stage *s = arg;

        for (int i = 0; i < s->n; i++) {
                int value = s->first + i;

                if (CREW_PUT(s->q, &value, A_WHILE) < 0)
                        return 1;
        }
        return 0;
}

TEST(children, "it ends when all children have ended, after their last message",
        "[unit][queue][end]")
{
        for (int round = 0; round < 10; round++) {
                struct stage *s = stage(0);
                crew_process *p[3];
                int n = 0, value, r;

                s->n = 50;
                for (int i = 0; i < 3; i++)
                        REQUIRE_OK(crew_process_launch(&p[i], produce, s, NULL));
                REQUIRE_OK(crew_queue_put_done(s->q));
                while ((r = CREW_GET(s->q, &value, A_WHILE)) == 0)
                        n++;
                CHECK_INT(r, ==, -EPIPE);
                CHECK_INT(n, ==, 150);
                for (int i = 0; i < 3; i++) {
                        REQUIRE_OK(crew_process_join(p[i], A_WHILE));
                        p[i] = crew_process_free(p[i]);
                }
                unstage(s);
        }
}

/* Has the queue, and lets nobody know. */
static int hold(void *arg)
{
        struct stage *s = arg;

        atomic_store(&s->ready, 1);
        if (!peer_await(&s->go, 1, A_WHILE))
                return 1;
        if (s->n)
                return produce(s);
        s->q = crew_queue_free(s->q);
        atomic_store(&s->ready, 2);
        return !peer_await(&s->go, 2, A_WHILE);
}

TEST(silent_child, "a child counts although it has never used the queue", "[unit][queue][end]")
{
        struct stage *s = stage(0);
        crew_auto(process) p = NULL;
        int value;

        s->n = 1;
        REQUIRE_OK(crew_process_launch(&p, hold, s, NULL));
        REQUIRE_OK(crew_queue_put_done(s->q));
        CHECK_INT(CREW_GET(s->q, &value, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(CREW_GET(s->q, &value, CREW_MS(60)), ==, -ETIMEDOUT);
        atomic_store(&s->go, 1);
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, 0);
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, -EPIPE);
        REQUIRE_OK(crew_process_join(p, A_WHILE));
        unstage(s);
}

static int hold_copy(void *arg)
{
        struct stage *s = arg, mine = { .q = s->q };

        atomic_store(&s->ready, 1);
        if (!peer_await(&s->go, 1, A_WHILE))
                return 1;
        (void)crew_queue_free(mine.q);
        return !peer_await(&s->go, 2, A_WHILE);
}

TEST(freed, "a child that frees the queue does not count any more", "[unit][queue][end]")
{
        struct stage *s = stage(0);
        crew_auto(process) p = NULL;
        int value;

        REQUIRE_OK(crew_process_launch(&p, hold_copy, s, NULL));
        REQUIRE_OK(crew_queue_put_done(s->q));
        CHECK_INT(CREW_GET(s->q, &value, CREW_MS(1)), ==, -ETIMEDOUT);
        atomic_store(&s->go, 1);
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, -EPIPE);
        CHECK_INT(crew_process_is_alive(p), ==, 1);
        atomic_store(&s->go, 2);
        REQUIRE_OK(crew_process_join(p, A_WHILE));
        unstage(s);
}

static int put_for_ever(void *arg)
{
        struct stage *s = arg;

        for (int i = 0;; i++) {
                if (CREW_PUT(s->q, &i, A_WHILE) < 0)
                        return 1;
                atomic_fetch_add(&s->put, 1);
        }
}

TEST(killed, "producers that are killed count as ended, and the survivor's messages all come",
        "[unit][queue][end][kill]")
{
        uint64_t seed = peer_seed();
        int rounds = (int)test_scale(300, 6);

        for (int round = 0; round < rounds; round++) {
                struct stage *s = stage(round % 2 ? CREW_QUEUE_JOINABLE : 0);
                enum { VICTIMS = 4 };
                crew_process *p[VICTIMS], *survivor;
                int killed = 0, mine = 0, value, r;

                for (int i = 0; i < VICTIMS; i++)
                        REQUIRE_OK(crew_process_launch(&p[i], put_for_ever, s, NULL));
                s->first = 1000000000;
                s->n = 100;
                REQUIRE_OK(crew_process_launch(&survivor, produce, s, NULL));
                REQUIRE_OK(crew_queue_put_done(s->q));
                while ((r = CREW_GET(s->q, &value, A_WHILE)) == 0) {
                        if (value >= s->first)
                                CHECK_INT(value, ==, s->first + mine++);
                        if (killed < VICTIMS && peer_random(&seed) % 64 == 0)
                                REQUIRE_OK(crew_process_kill(p[killed++]));
                }
                CHECK_INT(r, ==, -EPIPE);
                CHECK_INT(mine, ==, 100);
                REQUIRE_OK(crew_process_join(survivor, A_WHILE));
                survivor = crew_process_free(survivor);
                for (int i = 0; i < VICTIMS; i++) {
                        REQUIRE_OK(crew_process_join(p[i], A_WHILE));
                        p[i] = crew_process_free(p[i]);
                }
                unstage(s);
        }
}

/* Starts a child, and is dead before it could say anything of it. */
static int start_and_die(void *arg)
{
        struct stage *s = arg;
        crew_process *p;

        s->first = 7;
        s->n = 1;
        if (crew_process_launch(&p, hold, s, NULL) < 0)
                return 1;
        return kill(getpid(), SIGKILL);
}

TEST(grandchild, "a child counts although its parent died right after its start",
        "[unit][queue][end][kill]")
{
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        for (int round = 0; round < 5; round++) {
                struct stage *s = stage(0);
                crew_auto(process) p = NULL;
                int value = 0;

                REQUIRE_OK(crew_process_launch(&p, start_and_die, s, NULL));
                REQUIRE_OK(crew_queue_put_done(s->q));
                REQUIRE_OK(crew_process_join(p, A_WHILE));
                CHECK_INT(CREW_GET(s->q, &value, CREW_MS(45)), ==, -ETIMEDOUT);
                atomic_store(&s->go, 1);
                CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, 0);
                CHECK_INT(value, ==, 7);
                CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, -EPIPE);
                unstage(s);
        }
        /* The grandchildren are this process's to collect. */
        TEST_ALLOW_CHILDREN(5);
}

static void announce_and_leave(void *arg)
{
        struct stage *s = arg;
        int value = 3;

        REQUIRE_OK(CREW_PUT(s->q, &value, A_WHILE));
        atomic_store(&s->ready, 1);
}

TEST(zombie, "one that nobody has collected yet has ended", "[unit][queue][end]")
{
        struct stage *s = stage(0);
        pid_t pid = peer_start(announce_and_leave, s);
        int value;

        REQUIRE(peer_await(&s->ready, 1, A_WHILE));
        REQUIRE_OK(crew_queue_put_done(s->q));
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, 0);
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, -EPIPE);
        CHECK_INT(peer_join(pid), ==, 0);
        unstage(s);
}

static void *second_thread(void *arg)
{
        struct stage *s = arg;

        REQUIRE(peer_await(&s->go, 1, A_WHILE));
        _exit(produce(s));
}

static void leave_a_thread(void *arg)
{
        struct stage *s = arg;
        pthread_t thread;
        int value = 1;

        REQUIRE_OK(CREW_PUT(s->q, &value, A_WHILE));
        REQUIRE(pthread_create(&thread, NULL, second_thread, s) == 0);
        atomic_store(&s->ready, 1);
        /* Not pthread_exit(), which unwinds the stack. */
        (void)syscall(SYS_exit, 0);
}

TEST(first_thread, "a process whose first thread has ended has not", "[unit][queue][end]")
{
        struct stage *s = stage(0);
        pid_t pid;
        int value;

        s->n = 1;
        s->first = 2;
        pid = peer_start(leave_a_thread, s);
        REQUIRE(peer_await(&s->ready, 1, A_WHILE));
        REQUIRE_OK(crew_queue_put_done(s->q));
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, 0);
        CHECK_INT(CREW_GET(s->q, &value, CREW_MS(60)), ==, -ETIMEDOUT);
        atomic_store(&s->go, 1);
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, 0);
        CHECK_INT(CREW_GET(s->q, &value, A_WHILE), ==, -EPIPE);
        CHECK_INT(peer_join(pid), ==, 0);
        unstage(s);
}

TEST(waited_for, "a waiter and a descriptor learn of the end", "[unit][queue][end][waiter]")
{
        for (int way = 0; way < 3; way++) {
                struct stage *s = stage(0);
                crew_auto(process) p = NULL;
                crew_auto(waiter) w = NULL;
                crew_completion c = { 0 };
                struct pollfd fd = { .events = POLLIN };
                int value, r = -EAGAIN;

                REQUIRE_OK(crew_waiter_new(&w, 0));
                REQUIRE_OK(crew_process_launch(&p, hold, s, NULL));
                REQUIRE_OK(crew_queue_put_done(s->q));
                REQUIRE(peer_await(&s->ready, 1, A_WHILE));
                if (way == 0)
                        REQUIRE_OK(crew_waiter_get(w, s->q, &value, sizeof value, 1));
                if (way == 1)
                        REQUIRE_OK(crew_waiter_readable(w, s->q, 1));
                if (way < 2)
                        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(1)), ==, -ETIMEDOUT);
                REQUIRE_OK(crew_process_kill(p));
                if (way < 2) {
                        do
                                CHECK_INT(crew_waiter_wait(w, &c, 1, A_WHILE), ==, 1);
                        while (c.kind == CREW_READABLE && c.result == 0);
                        CHECK_INT(c.result, ==, -EPIPE);
                } else {
                        fd.fd = REQUIRE_OK(crew_queue_fd(s->q));
                        for (int n = 0; n < 500 && r == -EAGAIN; n++) {
                                r = CREW_GET(s->q, &value, CREW_NOW);
                                if (r == -EAGAIN)
                                        REQUIRE(poll(&fd, 1, 10000) == 1);
                        }
                        CHECK_INT(r, ==, -EPIPE);
                }
                REQUIRE_OK(crew_process_join(p, A_WHILE));
                unstage(s);
        }
}

static uint64_t row(unsigned state, uint64_t claim)
{
        return (uint64_t)state << CREW__ROW_STATE_SHIFT | claim;
}

static void use_it(void *arg)
{
        struct stage *s = arg;
        int value = 1;

        atomic_store(&s->result, CREW_PUT(s->q, &value, CREW_NOW));
}

TEST(full_table, "a table that is full is said to be", "[unit][queue][end]")
{
        struct stage *s = stage(0);
        crew_auto(process) p = NULL;
        uint64_t parent = crew__claim_make((uint32_t)getppid());

        for (int i = 1; i < CREW__ROWS; i++)
                atomic_store(&s->q->rows[i].word, row(CREW__ROW_PUTS, parent));
        CHECK_INT(crew_process_launch(&p, produce, s, NULL), ==, -ENOSPC);
        CHECK(strstr(crew_error_detail(), "256") != NULL);
        CHECK_INT(peer_join(peer_start(use_it, s)), ==, 0);
        CHECK_INT(atomic_load(&s->result), ==, -ENOSPC);
        /* Of processes that are gone, which the next one in need of a row finds out: this number is
         * no process's. */
        for (int i = 1; i < CREW__ROWS; i++)
                atomic_store(&s->q->rows[i].word,
                        row(CREW__ROW_PUTS, (UINT64_C(1) << CREW__CLAIM_TID_BITS) - 3));
        CHECK_INT(peer_join(peer_start(use_it, s)), ==, 0);
        CHECK_INT(atomic_load(&s->result), ==, 0);
        unstage(s);
}

TEST(nonsense,
        "whatever is written into the table, nothing worse happens than that it does not end",
        "[unit][queue][end][hostile]")
{
        uint64_t seed = peer_seed();
        struct stage *s = stage(CREW_QUEUE_JOINABLE);
        int value = 1;

        for (int i = 0; i < 20; i++) {
                for (int k = 1; k < CREW__ROWS; k++) {
                        atomic_store(&s->q->rows[k].word, peer_random(&seed));
                        atomic_store(&s->q->rows[k].taken, (uint32_t)peer_random(&seed));
                }
                atomic_store(&s->q->ring->swept, (uint32_t)peer_random(&seed));
                REQUIRE_OK(CREW_PUT(s->q, &value, CREW_NOW));
                CHECK_INT(CREW_GET(s->q, &value, CREW_NOW), ==, 0);
                CHECK_INT(CREW_GET(s->q, &value, CREW_NOW), ==, -EAGAIN);
                (void)crew_queue_join(s->q, CREW_NOW);
        }
        unstage(s);
}
