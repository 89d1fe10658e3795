/* SPDX-License-Identifier: MIT */
#include "process/post.h"

#include "kernel/syscall.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

union control {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(CREW__POST_MOST * sizeof(int))];
};

int crew__post_send(int socket, const void *message, size_t size, const int *fds, size_t n)
{
        union control control;
        struct iovec part = { .iov_len = size };
        struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
        int *to = (int *)CMSG_DATA(&control.header);
        size_t sent = 0;
        int r;

        memcpy(&part.iov_base, &message, sizeof message);
        for (size_t i = 0; i < n; i++) {
                if (fds[i] < 0)
                        continue;
                if (sent == CREW__POST_MOST)
                        return -E2BIG;
                to[sent++] = fds[i];
        }
        if (sent) {
                control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                        .cmsg_len = CMSG_LEN(sent * sizeof *fds) };
                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(sent * sizeof *fds);
        }
        r = (int)crew__syscall(SYS_sendmsg, socket, (long)&m, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0, 0);
        return r < 0 ? r : 0;
}

/* Takes the descriptors that came; those that there is no room for are closed. Were there any? */
static bool take(struct msghdr *m, int *fds, size_t n)
{
        struct cmsghdr *c = CMSG_FIRSTHDR(m);
        const int *from;
        size_t came;

        for (size_t i = 0; i < n; i++)
                fds[i] = -1;
        if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                return false;
        from = (const int *)CMSG_DATA(c);
        came = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
        for (size_t i = 0; i < came; i++) {
                if (i < n)
                        fds[i] = from[i];
                else
                        (void)crew__sys_close(from[i]);
        }
        return came > n;
}

ssize_t crew__post_receive(int socket, void *message, size_t size, int *fds, size_t n)
{
        union control control;
        struct iovec part = { .iov_base = message, .iov_len = size };
        struct msghdr m = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = n ? sizeof control : 0 };
        bool surplus;
        long r;

        r = crew__syscall(SYS_recvmsg, socket, (long)&m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0, 0);
        if (r <= 0)
                return r;
        surplus = take(&m, fds, n) || (m.msg_flags & MSG_CTRUNC);
        if (!surplus && !(m.msg_flags & MSG_TRUNC))
                return r;
        for (size_t i = 0; i < n; i++) {
                if (fds[i] >= 0)
                        (void)crew__sys_close(fds[i]);
                fds[i] = -1;
        }
        return surplus ? -EMFILE : -EBADMSG;
}
