/* SPDX-License-Identifier: MIT */

/* Connections: messages whole and in order, in both directions or one; ends, sizes, descriptors. */

#include "check.h"
#include "peer.h"

#include "pipe/pipe.h"

#include <crew/pipe.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define A_WHILE CREW_S(10)

struct pair {
        crew_connection *a, *b;
};

static struct pair *make(bool duplex)
{
        struct pair *p = calloc(1, sizeof *p);

        REQUIRE(p != NULL);
        REQUIRE_OK(crew_pipe(&p->a, &p->b, duplex));
        return p;
}

static void unmake(struct pair *p)
{
        (void)crew_connection_free(p->a);
        (void)crew_connection_free(p->b);
        free(p);
}

/* Bytes that tell their place and their message. */
static char *pattern(size_t size, unsigned seed)
{
        char *bytes = malloc(size + 1);

        REQUIRE(bytes != NULL);
        for (size_t i = 0; i < size; i++)
                bytes[i] = (char)(i * 31 + i / 251 + seed);
        return bytes;
}

TEST(there_and_back, "a message comes out of the other end as it went in", "[unit][pipe]")
{
        struct pair *p = make(true);
        char buf[32] = "untouched";

        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, -EAGAIN);
        CHECK_STR(buf, "untouched");
        REQUIRE_OK(crew_connection_send(p->a, "there", 5, CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->b, "back", 4, CREW_NOW));
        CHECK_INT(crew_connection_recv(p->b, buf, sizeof buf, CREW_NOW), ==, 5);
        CHECK(memcmp(buf, "there", 5) == 0);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, 4);
        CHECK(memcmp(buf, "back", 4) == 0);
        unmake(p);
}

/* CPython: test_duplex_false. */
TEST(one_way, "a one-way pipe refuses the wrong direction", "[unit][pipe][cpython]")
{
        struct pair *p = make(false);
        char buf[8];

        CHECK_INT(crew_connection_send(p->a, "x", 1, CREW_NOW), ==, -EOPNOTSUPP);
        CHECK_INT(crew_connection_recv(p->b, buf, sizeof buf, CREW_NOW), ==, -EOPNOTSUPP);
        CHECK_INT(crew_connection_poll(p->b, CREW_NOW), ==, -EOPNOTSUPP);
        CHECK_INT(crew_connection_send_fd(p->a, 0, CREW_NOW), ==, -EOPNOTSUPP);
        CHECK_INT(crew_connection_recv_fd(p->b, CREW_NOW), ==, -EOPNOTSUPP);
        REQUIRE_OK(crew_connection_send(p->b, "x", 1, CREW_NOW));
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, 1);
        unmake(p);
}

/* CPython: test_empty_string, test_boundaries, test_dont_merge. */
TEST(boundaries, "empty messages are messages, and none are merged", "[unit][pipe][cpython]")
{
        struct pair *p = make(false);
        char buf[16];

        CHECK_INT(crew_connection_poll(p->a, CREW_NOW), ==, -EAGAIN);
        REQUIRE_OK(crew_connection_send(p->b, "", 0, CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->b, NULL, 0, CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->b, "a", 1, CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->b, "b", 1, CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->b, "cd", 2, CREW_NOW));
        for (int i = 0; i < 3; i++)
                CHECK_INT(crew_connection_poll(p->a, CREW_NOW), ==, 0);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, 0);
        CHECK_INT(crew_connection_recv(p->a, NULL, 0, CREW_NOW), ==, 0);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, 1);
        CHECK_INT(buf[0], ==, 'a');
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, 1);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, 2);
        CHECK_INT(crew_connection_poll(p->a, CREW_MS(1)), ==, -ETIMEDOUT);
        unmake(p);
}

static void echo(void *arg)
{
        struct pair *p = arg;
        void *buf = NULL;
        size_t cap = 0;
        ssize_t n;

        p->a = crew_connection_free(p->a);
        while ((n = crew_connection_recv_alloc(p->b, &buf, &cap, A_WHILE)) >= 0)
                REQUIRE_OK(crew_connection_send(p->b, buf, (size_t)n, A_WHILE));
        CHECK_INT(n, ==, -EPIPE);
        free(buf);
        unmake(p);
}

/* CPython: test_connection, with the sizes around a packet, and 16 MiB. */
TEST(any_size, "messages of any size come back unharmed", "[unit][pipe][cpython]")
{
        static const size_t sizes[] = { 0, 1, 4000, 4064, 4065, 65503, 65504, 65505, 131008, 131009,
                1 << 20, 16 << 20 };
        struct pair *p = make(true);
        pid_t pid = peer_start(echo, p);

        p->b = crew_connection_free(p->b);
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                char *out = pattern(sizes[i], i), *in = malloc(sizes[i] + 1);

                INFO("%zu bytes", sizes[i]);
                REQUIRE_OK(crew_connection_send(p->a, out, sizes[i], A_WHILE));
                CHECK_INT(crew_connection_recv(p->a, in, sizes[i], A_WHILE), ==, sizes[i]);
                CHECK(memcmp(out, in, sizes[i]) == 0);
                free(out);
                free(in);
        }
        p->a = crew_connection_free(p->a);
        CHECK_INT(peer_join(pid), ==, 0);
        unmake(p);
}

/* CPython: BufferTooShort, which here leaves the message where it is. */
TEST(too_short, "a message that is too large for the buffer stays", "[unit][pipe][cpython]")
{
        static const size_t sizes[] = { 100, 65504, 65505, 150000 };
        struct pair *p = make(false);

        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                char *out = pattern(sizes[i], i), *in = calloc(1, sizes[i]);

                REQUIRE_OK(crew_connection_send(p->b, out, sizes[i], CREW_NOW));
                CHECK_INT(crew_connection_recv(p->a, in, sizes[i] - 1, CREW_NOW), ==, -EMSGSIZE);
                CHECK(strstr(crew_error_detail(), "stays") != NULL);
                CHECK_INT(in[1], ==, 0);
                CHECK_INT(crew_connection_recv_exact(p->a, in, 7, CREW_NOW), ==, -EBADMSG);
                CHECK_INT(crew_connection_recv_fd(p->a, CREW_NOW), ==, -EBADMSG);
                CHECK_INT(crew_connection_poll(p->a, CREW_NOW), ==, 0);
                CHECK_INT(crew_connection_recv(p->a, in, sizes[i], CREW_NOW), ==, sizes[i]);
                CHECK(memcmp(out, in, sizes[i]) == 0);
                CHECK_INT(crew_connection_poll(p->a, CREW_NOW), ==, -EAGAIN);
                free(out);
                free(in);
        }
        unmake(p);
}

TEST(typed, "objects are received by their size", "[unit][pipe]")
{
        struct pair *p = make(true);
        struct point {
                double x, y;
        } out = { 1, 2 }, in = { 0, 0 };
        int wrong = 5;

        REQUIRE_OK(CREW_SEND(p->a, &out, CREW_NOW));
        CHECK_INT(CREW_RECV(p->b, &wrong, CREW_NOW), ==, -EBADMSG);
        CHECK_INT(wrong, ==, 5);
        REQUIRE_OK(CREW_RECV(p->b, &in, CREW_NOW));
        CHECK(in.x == 1 && in.y == 2);
        unmake(p);
}

/* CPython: EOFError after the data, BrokenPipeError, poll() at the end. */
TEST(the_end, "what was sent is received before the end is told", "[unit][pipe][cpython]")
{
        struct pair *p = make(true);
        char buf[8];

        /* Unread data at the end that goes must not hide what it sent. */
        REQUIRE_OK(crew_connection_send(p->a, "unread", 6, CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->b, "one", 3, CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->b, "two", 3, CREW_NOW));
        p->b = crew_connection_free(p->b);
        CHECK_INT(crew_connection_poll(p->a, CREW_NOW), ==, 0);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, A_WHILE), ==, 3);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, A_WHILE), ==, 3);
        for (int i = 0; i < 2; i++) {
                CHECK_INT(crew_connection_poll(p->a, A_WHILE), ==, 0);
                CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, A_WHILE), ==, -EPIPE);
        }
        unmake(p);
}

TEST(no_signal, "sending to nobody is an error and no signal", "[unit][pipe]")
{
        struct pair *p = make(true);

        REQUIRE(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
        REQUIRE_OK(crew_connection_send(p->a, "unread", 6, CREW_NOW));
        p->b = crew_connection_free(p->b);
        for (int i = 0; i < 2; i++) {
                CHECK_INT(crew_connection_send(p->a, "x", 1, A_WHILE), ==, -EPIPE);
                CHECK_INT(crew_connection_send_fd(p->a, 0, A_WHILE), ==, -EPIPE);
        }
        unmake(p);
}

TEST(full, "a send that runs out of room or time leaves nothing behind", "[unit][pipe]")
{
        struct pair *p = make(false);
        size_t long_size = 1 << 20;
        char *bytes = pattern(long_size, 0), *in = malloc(long_size);
        int n = 0, value = 0;

        /* In the middle of a long message. */
        CHECK_INT(crew_connection_send(p->b, bytes, long_size, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_connection_send(p->b, bytes, long_size, CREW_MS(30)), ==, -ETIMEDOUT);
        CHECK_INT(crew_connection_recv(p->a, in, long_size, CREW_NOW), ==, -EAGAIN);
        REQUIRE_OK(CREW_SEND(p->b, &value, CREW_S(1)));
        CHECK_INT(crew_connection_recv(p->a, in, long_size, CREW_NOW), ==, sizeof value);
        CHECK_INT(crew_connection_recv(p->a, in, long_size, CREW_NOW), ==, -EAGAIN);
        /* Before one. */
        while ((value = n, CREW_SEND(p->b, &value, CREW_NOW)) == 0)
                n++;
        CHECK(n > 10);
        CHECK_INT(CREW_SEND(p->b, &value, CREW_MS(30)), ==, -ETIMEDOUT);
        for (int i = 0; i < n; i++) {
                REQUIRE_OK(CREW_RECV(p->a, &value, CREW_NOW));
                CHECK_INT(value, ==, i);
        }
        CHECK_INT(CREW_RECV(p->a, &value, CREW_NOW), ==, -EAGAIN);
        free(bytes);
        free(in);
        unmake(p);
}

static size_t open_descriptors(void)
{
        size_t n = 0;

        for (int fd = 0; fd < 256; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

/* CPython: test_fd_transfer, test_missing_fd_transfer. */
TEST(descriptors, "descriptors travel in order among the messages", "[unit][pipe][cpython]")
{
        struct pair *p = make(true);
        int through[2], got;
        size_t before;
        char buf[8];

        REQUIRE(pipe(through) == 0);
        CHECK_INT(crew_connection_send_fd(p->a, 222, CREW_NOW), ==, -EINVAL);
        CHECK_INT(crew_connection_send_fd(p->a, -1, CREW_NOW), ==, -EINVAL);
        REQUIRE_OK(crew_connection_send(p->a, "first", 5, CREW_NOW));
        REQUIRE_OK(crew_connection_send_fd(p->a, through[1], CREW_NOW));
        REQUIRE_OK(crew_connection_send(p->a, "last", 4, CREW_NOW));
        REQUIRE(close(through[1]) == 0);
        before = open_descriptors();
        CHECK_INT(crew_connection_recv_fd(p->b, CREW_NOW), ==, -EBADMSG);
        CHECK_INT(crew_connection_recv(p->b, buf, sizeof buf, CREW_NOW), ==, 5);
        CHECK_INT(crew_connection_recv(p->b, buf, sizeof buf, CREW_NOW), ==, -EBADMSG);
        CHECK_INT(open_descriptors(), ==, before);
        got = REQUIRE_OK(crew_connection_recv_fd(p->b, CREW_NOW));
        CHECK(fcntl(got, F_GETFD) & FD_CLOEXEC);
        CHECK_INT(write(got, "hello", 5), ==, 5);
        REQUIRE(close(got) == 0);
        CHECK_INT(read(through[0], buf, sizeof buf), ==, 5);
        CHECK_INT(read(through[0], buf, sizeof buf), ==, 0);
        CHECK_INT(crew_connection_recv(p->b, buf, sizeof buf, CREW_NOW), ==, 4);
        CHECK_INT(crew_connection_recv_fd(p->b, CREW_MS(1)), ==, -ETIMEDOUT);
        REQUIRE(close(through[0]) == 0);
        unmake(p);
}

TEST(no_number, "a descriptor for which there is no number stays", "[unit][pipe]")
{
        struct pair *p = make(true);
        struct rlimit old, tight;
        int fd;

        if (peer_on_valgrind())
                SKIP("valgrind keeps descriptors of its own behind the limit");
        REQUIRE_OK(crew_connection_send_fd(p->a, 0, CREW_NOW));
        REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
        fd = dup(0);
        REQUIRE(close(fd) == 0);
        tight = (struct rlimit){ (rlim_t)fd, old.rlim_max };
        REQUIRE(setrlimit(RLIMIT_NOFILE, &tight) == 0);
        CHECK_INT(crew_connection_recv_fd(p->b, CREW_NOW), ==, -EMFILE);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
        fd = REQUIRE_OK(crew_connection_recv_fd(p->b, CREW_NOW));
        REQUIRE(close(fd) == 0);
        unmake(p);
}

TEST(handles, "a ref opens an end that this process holds", "[unit][pipe]")
{
        struct pair *p = make(true);
        crew_connection *again = NULL;
        crew_ref ref = crew_connection_ref(p->b);
        char buf[8];

        REQUIRE_OK(crew_connection_open(&again, ref));
        REQUIRE_OK(crew_connection_send(p->a, "x", 1, CREW_NOW));
        p->b = crew_connection_free(p->b);
        CHECK_INT(crew_connection_recv(again, buf, sizeof buf, CREW_NOW), ==, 1);
        again = crew_connection_free(again);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, -EPIPE);
        CHECK_INT(crew_connection_open(&again, ref), ==, -ENOENT);
        CHECK(again == NULL);
        CHECK_INT(crew_connection_open(NULL, ref), ==, -EINVAL);
        CHECK_INT(crew_pipe(NULL, &again, true), ==, -EINVAL);
        CHECK_INT(crew_connection_send(NULL, "", 0, CREW_NOW), ==, -EINVAL);
        unmake(p);
}

TEST(pollable, "its descriptor is readable while there is something to receive", "[unit][pipe]")
{
        struct pair *p = make(true);
        struct pollfd fd = { .fd = crew_connection_fd(p->a), .events = POLLIN };
        char buf[8];

        CHECK_INT(poll(&fd, 1, 0), ==, 0);
        REQUIRE_OK(crew_connection_send(p->b, "x", 1, CREW_NOW));
        CHECK_INT(poll(&fd, 1, 0), ==, 1);
        CHECK_INT(crew_connection_recv(p->a, NULL, 0, CREW_NOW), ==, -EMSGSIZE);
        CHECK_INT(poll(&fd, 1, 0), ==, 1);
        CHECK_INT(crew_connection_recv(p->a, buf, sizeof buf, CREW_NOW), ==, 1);
        CHECK_INT(poll(&fd, 1, 0), ==, 0);
        p->b = crew_connection_free(p->b);
        CHECK_INT(poll(&fd, 1, 0), ==, 1);
        unmake(p);
}
