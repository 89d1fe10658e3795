/* SPDX-License-Identifier: MIT */

/* What may come through a connection from somebody who is not trusted. */

#include "hostile-case.h"
#include "pipe/pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(random_packets, "random packets neither crash nor hang a receiver", "[unit][pipe][hostile]")
{
        hostile_programs(test_scale(200000, 2000), 2048);
}

struct pair {
        crew_connection *a, *b;
};

static struct pair make(void)
{
        struct pair p;

        REQUIRE_OK(crew_pipe(&p.a, &p.b, true));
        return p;
}

static void unmake(struct pair *p)
{
        (void)crew_connection_free(p->a);
        (void)crew_connection_free(p->b);
}

static void send_part(
        crew_connection *c, uint64_t message, uint64_t total, uint64_t offset, size_t bytes)
{
        struct {
                crew__packet head;
                char bytes[256];
        } packet = { .head = { .magic = CREW__PACKET_MAGIC,
                             .message = message,
                             .total = total,
                             .offset = offset } };

        memset(packet.bytes, (int)('a' + message), sizeof packet.bytes);
        REQUIRE(send(crew_connection_fd(c), &packet, sizeof packet.head + bytes, 0) > 0);
}

TEST(huge, "a claim of more than 4 GiB costs no memory and is told by its size",
        "[unit][pipe][hostile]")
{
        struct pair p = make();
        void *grown = NULL;
        size_t room = 0;
        char buf[64];

        send_part(p.a, 1, UINT64_C(5) << 30, 0, 100);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==, -EMSGSIZE);
        CHECK(strstr(crew_error_detail(), "5368709120") != NULL);
        CHECK_INT(crew_connection_recv_alloc(p.b, &grown, &room, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_connection_recv_alloc(p.b, &grown, &room, CREW_MS(1)), ==, -ETIMEDOUT);
        CHECK(atomic_load(&p.b->partial)->room < 4096);
        /* The sender goes on with something else. */
        REQUIRE_OK(crew_connection_send(p.a, "small", 5, CREW_NOW));
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==, 5);
        CHECK(atomic_load(&p.b->partial) == NULL);
        free(grown);
        unmake(&p);
}

TEST(cut_off, "the end in the middle of a message is told once, and then the end",
        "[unit][pipe][hostile]")
{
        struct pair p = make();
        char buf[512];

        send_part(p.a, 1, 300, 0, 100);
        send_part(p.a, 1, 300, 100, 100);
        p.a = crew_connection_free(p.a);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_S(5)), ==, -ECONNRESET);
        CHECK(strstr(crew_error_detail(), "200 of the 300") != NULL);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_S(5)), ==, -EPIPE);
        unmake(&p);
}

TEST(continued, "a message that comes in pieces is received over several calls, or dropped whole",
        "[unit][pipe][hostile]")
{
        struct pair p = make();
        char buf[512];

        send_part(p.a, 1, 300, 0, 100);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==, -EAGAIN);
        send_part(p.a, 1, 300, 100, 200);
        CHECK_INT(crew_connection_recv(p.b, buf, 299, CREW_NOW), ==, -EMSGSIZE);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==, 300);
        CHECK(buf[0] == 'b' && buf[299] == 'b');
        /* The rest of one that this end has not seen the beginning of; pieces out of order. */
        send_part(p.a, 2, 300, 100, 100);
        send_part(p.a, 3, 300, 0, 100);
        send_part(p.a, 3, 300, 200, 100);
        send_part(p.a, 4, 300, 0, 100);
        send_part(p.a, 5, 300, 100, 200);
        send_part(p.a, 6, 4, 0, 4);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==, 4);
        CHECK(memcmp(buf, "gggg", 4) == 0);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==, -EAGAIN);
        unmake(&p);
}

TEST(not_crew, "what no crew sends makes the connection unusable", "[unit][pipe][hostile]")
{
        for (int how = 0; how < 6; how++) {
                struct pair p = make();
                char buf[64] = "no header of crew's";

                INFO("way %d", how);
                if (how == 0)
                        REQUIRE(send(crew_connection_fd(p.a), "rubbish", 7, 0) == 7);
                else if (how == 1)
                        REQUIRE(send(crew_connection_fd(p.a), buf, sizeof buf, 0) == sizeof buf);
                else if (how == 2)
                        send_part(p.a, 1, 10, 0, 20);
                else if (how == 3)
                        send_part(p.a, 1, 10, 10, 1);
                else if (how == 4)
                        send_part(p.a, 1, UINT64_MAX, 0, 1);
                else
                        send_part(p.a, 1, 10, 5, 0);
                for (int i = 0; i < 2; i++)
                        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==,
                                -ENOTRECOVERABLE);
                CHECK_INT(crew_connection_send(p.b, "x", 1, CREW_NOW), ==, -ENOTRECOVERABLE);
                unmake(&p);
        }
}

/* Descriptors that come where none should, or too many, are not kept. */
TEST(smuggled, "descriptors that nobody asked for are not taken in", "[unit][pipe][hostile]")
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
        crew__packet head = { .magic = CREW__PACKET_MAGIC };
        struct iovec part = { .iov_base = &head, .iov_len = sizeof head };
        struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control };
        const int fds[2] = { 0, 0 };
        struct pair p = make();
        char buf[8];

        memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        m.msg_controllen = CMSG_SPACE(sizeof(int));
        REQUIRE(sendmsg(crew_connection_fd(p.a), &m, 0) == sizeof head);
        CHECK_INT(crew_connection_recv(p.b, buf, sizeof buf, CREW_NOW), ==, 0);
        /* Two in one, and none at all. */
        head.kind = CREW__PACKET_FD;
        control.header.cmsg_len = CMSG_LEN(sizeof fds);
        m.msg_controllen = CMSG_SPACE(sizeof fds);
        REQUIRE(sendmsg(crew_connection_fd(p.a), &m, 0) == sizeof head);
        CHECK_INT(crew_connection_recv_fd(p.b, CREW_NOW), ==, -ENOTRECOVERABLE);
        unmake(&p);
        p = make();
        REQUIRE(send(crew_connection_fd(p.a), &head, sizeof head, 0) == sizeof head);
        CHECK_INT(crew_connection_recv_fd(p.b, CREW_NOW), ==, -ENOTRECOVERABLE);
        unmake(&p);
}

TEST(checked, "the check of a packet holds at its borders", "[unit][pipe]")
{
        crew__packet p = { .magic = CREW__PACKET_MAGIC, .total = 10 };

        CHECK(crew__packet_valid(&p, 10) && crew__packet_valid(&p, 1));
        CHECK(!crew__packet_valid(&p, 11) && !crew__packet_valid(&p, 0));
        p.offset = 9;
        CHECK(crew__packet_valid(&p, 1) && !crew__packet_valid(&p, 2));
        p.offset = UINT64_MAX;
        CHECK(!crew__packet_valid(&p, 1));
        p = (crew__packet){ .magic = CREW__PACKET_MAGIC, .total = INT64_MAX };
        CHECK(crew__packet_valid(&p, 1));
        p.offset = INT64_MAX - 1;
        CHECK(crew__packet_valid(&p, 1) && !crew__packet_valid(&p, 2));
        p.total++;
        CHECK(!crew__packet_valid(&p, 1));
}
