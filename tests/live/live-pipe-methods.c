/* SPDX-License-Identifier: MIT */

/* Ends of pipes and queues that end by themselves, granted to processes of every start method. */

#include "wait-help.h"

#include <crew/crew.h>
#include <signal.h>

WAIT_WARM_UP

#define A_WHILE CREW_S(15)

static const int methods[] = { CREW_METHOD_FORK, CREW_METHOD_SPAWN, CREW_METHOD_FORKSERVER };

/* Servers and the state of a method stay for the life of the process. */
static int nothing(void *arg)
{
        (void)arg;
        return 0;
}

static void warm_up(void)
{
        int unused = 0;

        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                crew_process *p;

                if (crew_process_launch(&p, nothing, &unused,
                            CREW_OPT(process, .method = methods[i], .arg_size = sizeof unused)) < 0)
                        continue;
                (void)crew_process_join(p, A_WHILE);
                p = crew_process_free(p);
        }
}

__attribute__((constructor)) static void register_methods(void)
{
        test_warm_up(warm_up);
}

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

static void with_method(int method, int mode)
{
        crew_connection *a, *b;
        crew_auto(queue) q = NULL;
        crew_auto(process) p = NULL;
        crew_ref grants[2];
        struct refs refs = { .mode = mode };
        static char out[70000], in[70000];
        int value = 0;

        INFO("method %d, mode %d", method, mode);
        REQUIRE_OK(crew_pipe(&a, &b, true));
        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .flags = CREW_QUEUE_EOF)));
        grants[0] = refs.pipe = crew_connection_ref(b);
        grants[1] = refs.queue = crew_queue_ref(q);
        REQUIRE_OK(crew_process_launch(&p, echo, &refs,
                CREW_OPT(process, .method = method, .arg_size = sizeof refs, .grants = grants,
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

TEST(granted, "ends and queues reach processes of every start method", "[live][pipe][spawn]")
{
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
                with_method(methods[i], 0);
}

TEST(killed, "a killed process of any start method ends what it held", "[live][pipe][spawn][kill]")
{
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
                with_method(methods[i], 1);
}
