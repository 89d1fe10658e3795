/* SPDX-License-Identifier: MIT */

/* Connections between processes, in the waiter, and granted to the workers of a pool. */

#include "peer.h"
#include "pipe-ten.h"
#include "pool-help.h"

#include <crew/crew.h>

POOL_WARM_UP

#define A_WHILE CREW_S(10)

/* A message that says whose it is, all through; sizes around and far above a packet. */
struct piece {
        uint32_t sender, number, size;
        unsigned char fill;
};

static size_t piece_size(uint32_t number)
{
        static const size_t sizes[] = { 16, 65504, 65505, 200000, 17, 700000, 4000 };

        return sizes[number % (sizeof sizes / sizeof *sizes)];
}

static int send_piece(crew_connection *c, uint32_t sender, uint32_t number, int64_t timeout)
{
        size_t size = piece_size(number);
        struct piece *p = malloc(size);
        int r;

        if (!p)
                return -ENOMEM;
        memset(p, (int)(sender * 16 + number % 16), size);
        p->sender = sender;
        p->number = number;
        p->size = (uint32_t)size;
        r = crew_connection_send(c, p, size, timeout);
        free(p);
        return r;
}

static bool piece_is_whole(const void *data, size_t size)
{
        const struct piece *p = data;
        const unsigned char *bytes = data;

        if (size < sizeof *p || p->size != size || size != piece_size(p->number))
                return false;
        for (size_t i = offsetof(struct piece, fill); i < size; i++) {
                if (bytes[i] != (unsigned char)(p->sender * 16 + p->number % 16))
                        return false;
        }
        return true;
}

struct side {
        crew_connection *c;
        crew_connection *other; /* freed by the child */
        uint32_t sender, n;
        _Atomic uint32_t *stop;
};

static int send_pieces(void *arg)
{
        struct side *s = arg;

        (void)crew_connection_free(s->other);
        for (uint32_t i = 0; i < s->n; i++) {
                if (send_piece(s->c, s->sender, i, A_WHILE) < 0)
                        return 1;
        }
        return 0;
}

TEST(many_senders, "messages of processes that share an end are not mixed", "[live][pipe]")
{
        enum { SENDERS = 3, EACH = 21 };
        crew_auto(connection) a = NULL;
        crew_connection *b = NULL;
        crew_process *p[SENDERS];
        uint32_t next[SENDERS] = { 0 };
        void *buf = NULL;
        size_t cap = 0;
        ssize_t n;

        REQUIRE_OK(crew_pipe(&a, &b, false));
        for (uint32_t i = 0; i < SENDERS; i++) {
                struct side s = { .c = b, .other = a, .sender = i, .n = EACH };

                REQUIRE_OK(crew_process_launch(
                        &p[i], send_pieces, &s, CREW_OPT(process, .arg_size = sizeof s)));
        }
        b = crew_connection_free(b);
        while ((n = crew_connection_recv_alloc(a, &buf, &cap, A_WHILE)) >= 0) {
                const struct piece *piece = buf;

                REQUIRE(piece_is_whole(buf, (size_t)n) && piece->sender < SENDERS);
                CHECK_INT(piece->number, ==, next[piece->sender]++);
        }
        CHECK_INT(n, ==, -EPIPE);
        for (uint32_t i = 0; i < SENDERS; i++) {
                CHECK_INT(next[i], ==, EACH);
                REQUIRE_OK(crew_process_join(p[i], A_WHILE));
                p[i] = crew_process_free(p[i]);
        }
        free(buf);
}

/* CPython: test_spawn_close, and EOF when the child is killed. */
static int send_for_ever(void *arg)
{
        struct side *s = arg;

        (void)crew_connection_free(s->other);
        for (uint32_t i = 0;; i++) {
                if (send_piece(s->c, s->sender, i, A_WHILE) < 0)
                        return 1;
        }
}

TEST(killed_sender, "a sender that is killed leaves whole messages and an end",
        "[live][pipe][kill]")
{
        uint64_t seed = peer_seed();
        int rounds = (int)test_scale(400, 12), cut_off = 0;

        for (int i = 0; i < rounds; i++) {
                crew_auto(connection) a = NULL;
                crew_auto(process) p = NULL;
                crew_connection *b = NULL;
                uint32_t expected = 0, most = (uint32_t)(peer_random(&seed) % 40);
                void *buf = NULL;
                size_t cap = 0;
                struct side s = { .sender = 5 };
                ssize_t n;

                REQUIRE_OK(crew_pipe(&a, &b, true));
                s.c = b;
                s.other = a;
                REQUIRE_OK(crew_process_launch(
                        &p, send_for_ever, &s, CREW_OPT(process, .arg_size = sizeof s)));
                b = crew_connection_free(b);
                while ((n = crew_connection_recv_alloc(a, &buf, &cap, A_WHILE)) >= 0) {
                        REQUIRE(piece_is_whole(buf, (size_t)n));
                        CHECK_INT(((struct piece *)buf)->number, ==, expected++);
                        if (expected == most + 1)
                                REQUIRE_OK(crew_process_kill(p));
                }
                CHECK(n == -EPIPE || n == -ECONNRESET);
                cut_off += n == -ECONNRESET;
                CHECK_INT(crew_connection_recv(a, NULL, 0, A_WHILE), ==, -EPIPE);
                REQUIRE_OK(crew_process_join(p, A_WHILE));
                free(buf);
        }
        INFO("%d of %d were killed in the middle of a message", cut_off, rounds);
}

TEST(killed_neighbour, "a sender that is killed holds up nobody who shares its end",
        "[live][pipe][kill]")
{
        uint64_t seed = peer_seed();
        int rounds = (int)test_scale(400, 8);
        crew_auto(connection) a = NULL;
        crew_auto(connection) b = NULL;
        void *buf = NULL;
        size_t cap = 0;

        REQUIRE_OK(crew_pipe(&a, &b, true));
        for (int i = 0; i < rounds; i++) {
                struct side s = { .c = b, .sender = 1 };
                uint32_t seen = 0, most = (uint32_t)(peer_random(&seed) % 10);
                crew_auto(process) p = NULL;
                crew_auto(process) sender = NULL;
                struct side last = { .c = b, .sender = 2, .n = 7 };
                uint32_t next = 0;

                REQUIRE_OK(crew_process_launch(
                        &p, send_for_ever, &s, CREW_OPT(process, .arg_size = sizeof s)));
                while (seen <= most) {
                        ssize_t n = crew_connection_recv_alloc(a, &buf, &cap, A_WHILE);

                        REQUIRE(n > 0 && piece_is_whole(buf, (size_t)n));
                        seen++;
                }
                REQUIRE_OK(crew_process_kill(p));
                REQUIRE_OK(crew_process_join(p, A_WHILE));
                REQUIRE_OK(crew_process_launch(
                        &sender, send_pieces, &last, CREW_OPT(process, .arg_size = sizeof last)));
                while (next < last.n) {
                        ssize_t n = crew_connection_recv_alloc(a, &buf, &cap, A_WHILE);

                        REQUIRE(n > 0 && piece_is_whole(buf, (size_t)n));
                        if (((struct piece *)buf)->sender == 2)
                                CHECK_INT(((struct piece *)buf)->number, ==, next++);
                }
                REQUIRE_OK(crew_process_join(sender, A_WHILE));
        }
        free(buf);
}

TEST(waited_for, "a waiter receives a message, whole, and the end", "[live][pipe][waiter]")
{
        crew_auto(connection) a = NULL;
        crew_connection *b = NULL;
        crew_auto(process) p = NULL;
        crew_auto(waiter) w = NULL;
        crew_completion c;
        char *buf = calloc(1, 700000);
        struct side s;

        REQUIRE_OK(crew_waiter_new(&w, 0));
        REQUIRE_OK(crew_pipe(&a, &b, false));
        CHECK_INT(crew_waiter_recv(w, b, buf, 8, 1), ==, -EOPNOTSUPP);
        CHECK_INT(crew_waiter_recv(w, NULL, buf, 8, 1), ==, -EINVAL);
        REQUIRE_OK(crew_waiter_recv(w, a, buf, 700000, 1));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(1)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_connection_send(b, "early", 5, CREW_NOW));
        CHECK_INT(crew_waiter_wait(w, &c, 1, A_WHILE), ==, 1);
        CHECK(c.kind == CREW_GOT && c.tag == 1 && c.object == a);
        CHECK_INT(c.result, ==, 5);
        /* Cancelled: the message stays. */
        REQUIRE_OK(crew_waiter_recv(w, a, buf, 700000, 2));
        REQUIRE_OK(crew_connection_send(b, "stays", 5, CREW_NOW));
        CHECK_INT(crew_waiter_cancel(w, 2), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        /* Too large: the operation ends, the message stays. */
        REQUIRE_OK(crew_waiter_recv(w, a, buf, 2, 3));
        CHECK_INT(wait_one(w, CREW_GOT, 3), ==, -EMSGSIZE);
        CHECK_INT(crew_connection_recv(a, buf, 700000, CREW_NOW), ==, 5);
        /* In many packets, from another process; then the end. The handle may go first. */
        s = (struct side){ .c = b, .n = 7, .sender = 3 };
        REQUIRE_OK(crew_process_launch(&p, send_pieces, &s, NULL));
        b = crew_connection_free(b);
        for (uint32_t n = 0; n < s.n; n++) {
                REQUIRE_OK(crew_waiter_recv(w, a, buf, 700000, 4));
                CHECK(piece_is_whole(buf, (size_t)wait_one(w, CREW_GOT, 4)));
        }
        REQUIRE_OK(crew_waiter_recv(w, a, buf, 700000, 5));
        a = crew_connection_free(a);
        CHECK_INT(wait_one(w, CREW_GOT, 5), ==, -EPIPE);
        REQUIRE_OK(crew_process_join(p, A_WHILE));
        free(buf);
}

CREW_TASK(send_task, crew_ref, crew_none)
(crew_task *t, const crew_ref *ref, crew_none *none)
{
        crew_connection *c;
        int r = crew_task_connection(t, *ref, &c);

        (void)none;
        for (uint32_t i = 0; r == 0 && i < 7; i++)
                r = send_piece(c, (uint32_t)crew_task_id(t), i, A_WHILE);
        return r;
}

/* Receives one message and says what it was. */
CREW_TASK(receive_task, crew_ref, int)
(crew_task *t, const crew_ref *ref, int *value)
{
        crew_connection *c;
        int r = crew_task_connection(t, *ref, &c);

        return r < 0 ? r : CREW_RECV(c, value, A_WHILE);
}

/* Puts three numbers into a queue that ends. */
CREW_TASK(put_task, crew_ref, crew_none)
(crew_task *t, const crew_ref *ref, crew_none *none)
{
        crew_queue *q;
        int r = crew_task_queue(t, *ref, &q);

        (void)none;
        for (int i = 1; r == 0 && i <= 3; i++)
                r = CREW_PUT(q, &i, A_WHILE);
        return r;
}

TEST_POOLS(queue_end, "a queue ends when the pool that it was granted to has finished",
        "[live][queue][pool]")
{
        enum { TASKS = 5 };
        crew_auto(queue) q = NULL;
        crew_auto(pool) pool = NULL;
        crew_ref ref;
        int sum = 0, value, r;

        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .flags = CREW_QUEUE_EOF)));
        ref = crew_queue_ref(q);
        pool = new_pool(2, CREW_OPT(pool, .grants = &ref, .n_grants = 1));
        REQUIRE_OK(crew_queue_put_done(q));
        CHECK_INT(CREW_GET(q, &value, CREW_NOW), ==, -EAGAIN);
        for (int i = 0; i < TASKS; i++)
                REQUIRE_OK(put_task_async(pool, &ref, NULL, NULL));
        for (int i = 0; i < TASKS * 3; i++) {
                REQUIRE_OK(CREW_GET(q, &value, A_WHILE));
                sum += value;
        }
        CHECK_INT(sum, ==, TASKS * 6);
        CHECK_INT(CREW_GET(q, &value, CREW_MS(45)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_pool_close(pool));
        while ((r = CREW_GET(q, &value, A_WHILE)) == 0)
                ;
        CHECK_INT(r, ==, -EPIPE);
        REQUIRE_OK(crew_pool_join(pool, A_WHILE));
}

static void through_a_pool(bool late)
{
        enum { TASKS = 6 };
        crew_auto(connection) a = NULL;
        crew_auto(connection) b = NULL;
        crew_pool *pool;
        crew_ref ref;
        crew_result *r[TASKS];
        void *buf = NULL;
        size_t cap = 0;
        int sum = 0, value;

        REQUIRE_OK(crew_pipe(&a, &b, true));
        ref = crew_connection_ref(b);
        pool = new_pool(2, late ? NULL : CREW_OPT(pool, .grants = &ref, .n_grants = 1));
        if (late) {
                crew_none none;

                CHECK_INT(send_task_apply(pool, &ref, &none, A_WHILE, NULL), ==, -ENOENT);
                REQUIRE_OK(crew_pool_grant(pool, ref));
        }
        CHECK_INT(crew_connection_send(b, "x", 1, CREW_NOW), ==, -EOPNOTSUPP);
        for (int i = 0; i < TASKS; i++)
                REQUIRE_OK(send_task_async(pool, &ref, &r[i], NULL));
        for (int i = 0; i < TASKS * 7; i++) {
                ssize_t n = crew_connection_recv_alloc(a, &buf, &cap, A_WHILE);

                REQUIRE(n > 0 && piece_is_whole(buf, (size_t)n));
        }
        for (int i = 0; i < TASKS; i++) {
                CHECK_INT(crew_result_wait(r[i], A_WHILE), ==, 0);
                CHECK(crew_result_successful(r[i]));
                r[i] = crew_result_free(r[i]);
        }
        for (int i = 0; i < TASKS; i++)
                REQUIRE_OK(receive_task_async(pool, &ref, &r[i], NULL));
        for (int i = 1; i <= TASKS; i++)
                REQUIRE_OK(CREW_SEND(a, &i, A_WHILE));
        for (int i = 0; i < TASKS; i++) {
                CHECK_INT(crew_result_get(r[i], &value, sizeof value, A_WHILE), ==, sizeof value);
                sum += value;
                r[i] = crew_result_free(r[i]);
        }
        CHECK_INT(sum, ==, TASKS * (TASKS + 1) / 2);
        pool = crew_pool_free(pool);
        free(buf);
}

TEST_POOLS(granted, "workers in a sandbox send and receive over an end that was granted",
        "[live][pipe][pool]")
{
        through_a_pool(false);
}

TEST_POOLS(granted_late, "an end can be granted to workers that run", "[live][pipe][pool]")
{
        through_a_pool(true);
}

static void interrupt(int sig)
{
        (void)sig;
}

static int interrupt_parent(void *arg)
{
        struct side *s = arg;
        struct timespec nap = { .tv_nsec = 1000000 };
        void *buf = NULL;
        size_t cap = 0;
        ssize_t n;

        (void)crew_connection_free(s->other);
        while (atomic_load(s->stop) == 0) {
                (void)kill(getppid(), SIGUSR1);
                (void)nanosleep(&nap, NULL);
        }
        /* Nothing of what was interrupted is a message. */
        n = crew_connection_recv_alloc(s->c, &buf, &cap, A_WHILE);
        free(buf);
        return n != 1 || crew_connection_send(s->c, "done", 4, A_WHILE) < 0;
}

/* CPython: TestIgnoreEINTR.test_ignore, where the wait goes on; here it is told (docs/TESTING.md).
 */
TEST(interrupted, "a handler interrupts a wait, which has then done nothing",
        "[live][pipe][cpython]")
{
        _Atomic uint32_t *stop = peer_memory(sizeof *stop);
        crew_auto(connection) a = NULL;
        crew_connection *b = NULL;
        crew_auto(process) p = NULL;
        struct sigaction action = { .sa_handler = interrupt, .sa_flags = SA_RESTART };
        struct side s = { .stop = stop };
        char *large = calloc(1, 1 << 20), buf[8];
        int r;

        REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
        REQUIRE_OK(crew_pipe(&a, &b, true));
        s.c = b;
        s.other = a;
        REQUIRE_OK(crew_process_launch(
                &p, interrupt_parent, &s, CREW_OPT(process, .arg_size = sizeof s)));
        b = crew_connection_free(b);
        CHECK_INT(crew_connection_recv(a, buf, sizeof buf, A_WHILE), ==, -EINTR);
        CHECK_INT(crew_connection_send(a, large, 1 << 20, A_WHILE), ==, -EINTR);
        atomic_store(stop, 1);
        while ((r = crew_connection_send(a, "x", 1, A_WHILE)) == -EINTR)
                ;
        CHECK_INT(r, ==, 0);
        do
                r = (int)crew_connection_recv(a, buf, sizeof buf, A_WHILE);
        while (r == -EINTR);
        CHECK_INT(r, ==, 4);
        while ((r = crew_process_join(p, A_WHILE)) == -EINTR)
                ;
        CHECK_INT(r, ==, 0);
        free(large);
        peer_memory_free(stop, sizeof *stop);
}

static int send_ten_of(void *arg)
{
        struct side *s = arg;

        (void)crew_connection_free(s->other);
        return send_ten(s->c, (int)s->sender) < 0;
}

TEST(py_wait, "one wait sees messages, ends of connections and ends of processes",
        "[live][pipe][waiter][cpython]")
{
        crew_auto(waiter) w = NULL;
        struct tens tens = { 0 };
        crew_completion none;

        REQUIRE_OK(crew_waiter_new(&w, 0));
        CHECK_INT(crew_waiter_wait(w, &none, 1, -1), ==, -EAGAIN);
        tens.w = w;
        for (uint32_t i = 0; i < 4; i++) {
                struct side s = { .sender = i };
                crew_process *p;

                REQUIRE_OK(crew_pipe(&s.other, &s.c, false));
                REQUIRE_OK(crew_process_launch(
                        &p, send_ten_of, &s, CREW_OPT(process, .arg_size = sizeof s)));
                (void)crew_connection_free(s.c);
                tens_add(&tens, s.other, p);
        }
        tens_end(&tens);
}
