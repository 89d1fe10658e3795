/* SPDX-License-Identifier: MIT */
#include "pool/post.h"

#include "kernel/syscall.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union control {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(CREW__POST_FDS * sizeof(int))];
};

int crew__post_send(int socket, const void *message, size_t size, const int fds[CREW__POST_FDS])
{
        union control control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
        struct iovec part = { .iov_len = size };
        struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
        size_t n = 0;
        int r;

        memcpy(&part.iov_base, &message, sizeof message);
        while (n < CREW__POST_FDS && fds[n] >= 0)
                n++;
        if (n) {
                memcpy(CMSG_DATA(&control.header), fds, n * sizeof *fds);
                control.header.cmsg_len = CMSG_LEN(n * sizeof *fds);
                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(n * sizeof *fds);
        }
        r = (int)crew__syscall(SYS_sendmsg, socket, (long)&m, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0, 0);
        return r < 0 ? r : 0;
}

static void take(struct msghdr *m, int fds[CREW__POST_FDS])
{
        struct cmsghdr *c = CMSG_FIRSTHDR(m);
        size_t n;

        for (size_t i = 0; i < CREW__POST_FDS; i++)
                fds[i] = -1;
        if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                return;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
        memcpy(fds, CMSG_DATA(c), (n < CREW__POST_FDS ? n : CREW__POST_FDS) * sizeof *fds);
}

int crew__post_receive(int socket, void *message, size_t size, int fds[CREW__POST_FDS])
{
        union control control;
        struct iovec part = { .iov_base = message, .iov_len = size };
        struct msghdr m = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control };
        int r;

        r = (int)crew__syscall(
                SYS_recvmsg, socket, (long)&m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0, 0);
        if (r <= 0)
                return r;
        take(&m, fds);
        if (!(m.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) && (size_t)r == size)
                return 1;
        for (size_t i = 0; i < CREW__POST_FDS; i++) {
                if (fds[i] >= 0)
                        (void)crew__sys_close(fds[i]);
                fds[i] = -1;
        }
        return m.msg_flags & MSG_CTRUNC ? -EMFILE : -EBADMSG;
}
