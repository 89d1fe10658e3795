/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What a pair of SOCK_SEQPACKET sockets does. Numbers as in docs/KERNEL.md. */

static void pair(int fd[2])
{
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
}

static void unpair(const int fd[2])
{
        (void)close(fd[0]);
        (void)close(fd[1]);
}

static int outcome(ssize_t r)
{
        return r < 0 ? -errno : (int)r;
}

TEST(packets, "fact 31: a packet is sent whole or not at all, and its size can be seen first",
        "[live][facts]")
{
        static char packet[60000];
        char buf[16];
        int fd[2], n = 0, size = 0;
        socklen_t length = sizeof size;

        pair(fd);
        while (send(fd[0], packet, sizeof packet, MSG_NOSIGNAL) == sizeof packet)
                n++;
        CHECK_INT(errno, ==, EAGAIN);
        CHECK_INT(n, >=, 1);
        REQUIRE(getsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, &length) == 0);
        CHECK_INT(outcome(send(fd[0], packet, 1, MSG_NOSIGNAL)), ==, -EAGAIN);
        for (int i = 0; i < n; i++) {
                CHECK_INT(outcome(recv(fd[1], buf, sizeof buf, MSG_PEEK | MSG_TRUNC)), ==,
                        sizeof packet);
                /* By readv() as by recvmsg(); what does not fit is gone. */
                CHECK_INT(outcome(readv(fd[1], &(struct iovec){ buf, sizeof buf }, 1)), ==,
                        sizeof buf);
        }
        CHECK_INT(outcome(recv(fd[1], buf, sizeof buf, 0)), ==, -EAGAIN);
        unpair(fd);
}

TEST(reset, "fact 32: an end that went with something unread is told once, before what it sent",
        "[live][facts]")
{
        char buf[8];
        int fd[2];

        pair(fd);
        REQUIRE(send(fd[0], "unread", 6, 0) == 6);
        REQUIRE(send(fd[1], "sent", 4, 0) == 4);
        REQUIRE(close(fd[1]) == 0);
        CHECK_INT(outcome(recv(fd[0], buf, sizeof buf, MSG_PEEK)), ==, -ECONNRESET);
        CHECK_INT(outcome(recv(fd[0], buf, sizeof buf, MSG_PEEK)), ==, 4);
        CHECK_INT(outcome(recv(fd[0], buf, sizeof buf, 0)), ==, 4);
        CHECK_INT(outcome(recv(fd[0], buf, sizeof buf, 0)), ==, 0);
        (void)close(fd[0]);
}

TEST(signal_less, "fact 33: writing to an end that went raises no SIGPIPE", "[live][facts]")
{
        int fd[2];

        REQUIRE(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
        pair(fd);
        REQUIRE(close(fd[1]) == 0);
        /* Not even without MSG_NOSIGNAL: this is not a stream. */
        CHECK_INT(outcome(write(fd[0], "x", 1)), ==, -EPIPE);
        (void)close(fd[0]);
}

/* Sends so many copies of descriptor 0, with one byte. */
static void send_fds(int fd, size_t n)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(4 * sizeof(int))];
        } control = { .header = { .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS,
                              .cmsg_len = CMSG_LEN(n * sizeof(int)) } };
        struct iovec part = { (char[]){ 'x' }, 1 };
        struct msghdr m = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = CMSG_SPACE(n * sizeof(int)) };

        memset(CMSG_DATA(&control.header), 0, n * sizeof(int));
        REQUIRE(sendmsg(fd, &m, 0) == 1);
}

/* Receives with room for one; how many came, which are closed. */
static int receive_fds(int fd, int flags)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        char byte;
        struct iovec part = { &byte, 1 };
        struct msghdr m = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control };
        const struct cmsghdr *c;
        int n = 0, got;

        REQUIRE(recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC) == 1);
        c = CMSG_FIRSTHDR(&m);
        for (; c && CMSG_LEN((size_t)n * sizeof got) < c->cmsg_len; n++) {
                memcpy(&got, CMSG_DATA(c) + (size_t)n * sizeof got, sizeof got);
                (void)close(got);
        }
        return n;
}

TEST(passed, "fact 34: a look installs descriptors too, a read drops them, room for one is for two",
        "[live][facts]")
{
        char byte;
        int fd[2];

        pair(fd);
        send_fds(fd[0], 1);
        CHECK_INT(receive_fds(fd[1], MSG_PEEK), ==, 1);
        CHECK_INT(receive_fds(fd[1], MSG_PEEK), ==, 1);
        CHECK_INT(outcome(read(fd[1], &byte, 1)), ==, 1);
        CHECK_INT(outcome(read(fd[1], &byte, 1)), ==, -EAGAIN);
        send_fds(fd[0], 2);
        CHECK_INT(receive_fds(fd[1], 0), ==,
                (int)((CMSG_SPACE(sizeof(int)) - CMSG_LEN(0)) / sizeof(int)));
        unpair(fd);
}
