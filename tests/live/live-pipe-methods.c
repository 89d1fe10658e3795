/* SPDX-License-Identifier: MIT */

/* Ends of pipes and queues that end by themselves, granted to processes of every start method. */

#include "host.h"
#include "pipe-ten.h"
#include "wait-help.h"

WAIT_WARM_UP

#define A_WHILE CREW_S(15)

struct refs {
        crew_ref pipe, queue;
        int mode;
};

/* Sends back what it is sent, until it is sent nothing; then dies if that is what it is for. */
static int echo(void *arg)
{
        const struct refs *refs = arg;
        crew_connection *c = NULL;
        crew_queue *q = NULL;
        char buf[70000];
        ssize_t n;
        int value = 7;

        if (crew_connection_open(&c, refs->pipe) < 0)
                return 1;
        while ((n = crew_connection_recv(c, buf, sizeof buf, A_WHILE)) > 0) {
                if (crew_connection_send(c, buf, (size_t)n, A_WHILE) < 0)
                        return 2;
        }
        if (n < 0 || crew_queue_open(&q, refs->queue) < 0)
                return 3;
        if (CREW_PUT(q, &value, A_WHILE) < 0)
                return 4;
        if (refs->mode)
                (void)kill(getpid(), SIGKILL);
        q = crew_queue_free(q);
        c = crew_connection_free(c);
        return 0;
}

static void echoed(int mode)
{
        crew_connection *a, *b;
        crew_auto(queue) q = NULL;
        crew_auto(process) p = NULL;
        crew_ref grants[2];
        struct refs refs = { .mode = mode };
        static char out[70000], in[70000];
        int value = 0;

        REQUIRE_OK(crew_pipe(&a, &b, true));
        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .flags = CREW_QUEUE_EOF)));
        grants[0] = refs.pipe = crew_connection_ref(b);
        grants[1] = refs.queue = crew_queue_ref(q);
        REQUIRE_OK(crew_process_launch(&p, echo, &refs,
                CREW_OPT(process, .method = host_method, .arg_size = sizeof refs, .grants = grants,
                        .n_grants = 2)));
        b = crew_connection_free(b);
        /* The child has not come to open the queue yet, and counts. */
        REQUIRE_OK(crew_queue_put_done(q));
        CHECK_INT(CREW_GET(q, &value, CREW_MS(30)), ==, -ETIMEDOUT);
        memset(out, 'x', sizeof out);
        REQUIRE_OK(crew_connection_send(a, "small", 5, A_WHILE));
        CHECK_INT(crew_connection_recv(a, in, sizeof in, A_WHILE), ==, 5);
        REQUIRE_OK(crew_connection_send(a, out, sizeof out, A_WHILE));
        CHECK_INT(crew_connection_recv(a, in, sizeof in, A_WHILE), ==, sizeof out);
        CHECK(memcmp(in, out, sizeof out) == 0);
        REQUIRE_OK(crew_connection_send(a, NULL, 0, A_WHILE));
        CHECK_INT(CREW_GET(q, &value, A_WHILE), ==, 0);
        CHECK_INT(value, ==, 7);
        CHECK_INT(CREW_GET(q, &value, A_WHILE), ==, -EPIPE);
        CHECK_INT(crew_connection_recv(a, in, sizeof in, A_WHILE), ==, -EPIPE);
        REQUIRE_OK(crew_process_join(p, A_WHILE));
        a = crew_connection_free(a);
}

TEST_METHODS(granted, "ends and queues reach processes they are granted to", "[live][pipe][spawn]")
{
        echoed(0);
}

TEST_METHODS(killed, "a killed process ends what it held", "[live][pipe][spawn][kill]")
{
        echoed(1);
}

struct sender {
        crew_ref pipe;
        int number;
};

static int send_ten_of(void *arg)
{
        const struct sender *s = arg;
        crew_auto(connection) c = NULL;

        if (crew_connection_open(&c, s->pipe) < 0)
                return 1;
        return send_ten(c, s->number) < 0 ? 2 : 0;
}

TEST(py_wait, "one wait sees messages and ends of processes of every start method",
        "[live][pipe][waiter][spawn]")
{
        static const int methods[] = { CREW_METHOD_FORK, CREW_METHOD_SPAWN,
                CREW_METHOD_FORKSERVER };
        crew_auto(waiter) w = new_waiter();
        struct tens tens = { .w = w };

        host_begin(CREW_METHOD_FORKSERVER);
        for (int i = 0; i < TEN_CHILDREN; i++) {
                struct sender s = { .number = i };
                crew_connection *ours, *theirs;
                crew_process *p;

                REQUIRE_OK(crew_pipe(&ours, &theirs, false));
                s.pipe = crew_connection_ref(theirs);
                REQUIRE_OK(crew_process_launch(&p, send_ten_of, &s,
                        CREW_OPT(process, .method = methods[i % 3], .arg_size = sizeof s,
                                .grants = &s.pipe, .n_grants = 1)));
                (void)crew_connection_free(theirs);
                tens_add(&tens, ours, p);
        }
        tens_end(&tens);
}

static int write_to_given(void *arg)
{
        crew_auto(connection) c = NULL;
        crew_ref ref;
        int fd, written;

        memcpy(&ref, arg, sizeof ref);
        if (crew_connection_open(&c, ref) < 0)
                return 1;
        fd = crew_connection_recv_fd(c, A_WHILE);
        if (fd < 0)
                return 2;
        written = (int)write(fd, "given", 5);
        (void)close(fd);
        return written == 5 ? 0 : 3;
}

/* CPython: test_fd_transfer. */
TEST_METHODS(py_fd_transfer, "a descriptor reaches a running process", "[live][pipe][spawn]")
{
        crew_connection *a, *b;
        crew_auto(process) p = NULL;
        crew_ref ref;
        int through[2];
        char text[8];

        REQUIRE_OK(crew_pipe(&a, &b, true));
        ref = crew_connection_ref(b);
        REQUIRE_OK(crew_process_launch(&p, write_to_given, &ref,
                CREW_OPT(process, .method = host_method, .arg_size = sizeof ref, .grants = &ref,
                        .n_grants = 1)));
        b = crew_connection_free(b);
        REQUIRE(pipe2(through, O_CLOEXEC) == 0);
        REQUIRE_OK(crew_connection_send_fd(a, through[1], A_WHILE));
        REQUIRE(close(through[1]) == 0);
        CHECK_INT(read(through[0], text, sizeof text), ==, 5);
        CHECK_INT(read(through[0], text, sizeof text), ==, 0);
        CHECK_INT(join_code(p), ==, 0);
        REQUIRE(close(through[0]) == 0);
        a = crew_connection_free(a);
}
