/* SPDX-License-Identifier: MIT */

/* The application's side of a server. */

#include "process/server.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/pidfd.h"
#include "kernel/syscall.h"
#include "process/process.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* A server that does not answer within this is stopped or broken. */
#define PATIENCE CREW_S(1)

/* What it gets to end itself. */
#define FAREWELL CREW_MS(100)

static int make_process(const crew__service *service, int socket, int application, int *pidfd)
{
        struct clone_args args = {
                .flags = CLONE_PIDFD,
                .pidfd = (uint64_t)(uintptr_t)pidfd,
        };
        int pid = -ENOSYS;

        /* Without an exit signal, so that the host's waitpid(-1) does not see it. The server needs
         * nothing of what fork() would repair. */
        if (crew__has(CREW__CLONE3))
                pid = crew__sys_clone3(&args, CLONE_ARGS_SIZE_VER0);
        if (pid == -ENOSYS || pid == -EINVAL || pid == -EPERM) {
                pid = fork();
                if (pid < 0)
                        return -errno;
        }
        if (pid == 0)
                crew__serve(service, socket, application);
        return pid;
}

int crew__server_start(crew__server *server, const crew__service *service)
{
        int application = crew__self_pidfd(), pair[2], pidfd = -1, pid;

        if (application < 0)
                return application;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return crew__fail(errno, "%s: socketpair: %m", service->name);
        pid = make_process(service, pair[1], application, &pidfd);
        (void)close(pair[1]);
        if (pid >= 0 && pidfd < 0)
                pidfd = crew__sys_pidfd_open(pid, 0);
        if (pid < 0 || pidfd < 0) {
                int err = pid < 0 ? -pid : -pidfd;

                /* End of file: a server that lives goes home. */
                (void)close(pair[0]);
                return crew__fail(
                        err, "%s: starting this helper process: %s", service->name, strerror(err));
        }
        *server = (crew__server){
                .pid = pid,
                .pidfd = crew__above_stdio(pidfd),
                .socket = crew__above_stdio(pair[0]),
        };
        return 0;
}

static int send_request(const crew__server *server, const void *request, size_t size, int fd)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { .header = { .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS,
                              .cmsg_len = CMSG_LEN(sizeof(int)) } };
        struct iovec part = { .iov_len = size };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        int r;

        memcpy(&part.iov_base, &request, sizeof request);
        if (fd >= 0) {
                memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
                message.msg_control = &control;
                message.msg_controllen = sizeof control;
        }
        r = (int)crew__syscall(
                SYS_sendmsg, server->socket, (long)&message, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0, 0);
        return r == -EAGAIN ? -ETIMEDOUT : r == -ECONNRESET ? -EPIPE : r;
}

int crew__server_ask(const crew__server *server, const void *request, size_t size, int fd)
{
        int64_t deadline = crew_clock() + PATIENCE;
        int32_t answer;
        int r;

        /* A fork of the host may keep the server's end of the socket open: ask the pidfd. */
        if (crew__readable(server->pidfd, 0) == 0)
                return -EPIPE;
        r = send_request(server, request, size, fd);
        while (r >= 0) {
                r = (int)crew__syscall(SYS_recvfrom, server->socket, (long)&answer, sizeof answer,
                        MSG_DONTWAIT, 0, 0);
                if (r == (int)sizeof answer)
                        return answer;
                if (r >= 0)
                        return -EPIPE;
                if (r == -EAGAIN)
                        r = crew__readable(server->socket, deadline);
        }
        return r == -ECONNRESET ? -EPIPE : r;
}

void crew__server_end(crew__server *server)
{
        crew__ending ending;

        if (server->pidfd < 0)
                return;
        /* Not just closed: copies of the socket may live on in children that the host forked. */
        (void)shutdown(server->socket, SHUT_RDWR);
        if (crew__readable(server->pidfd, crew_clock() + FAREWELL) < 0) {
                (void)crew__sys_pidfd_send_signal(server->pidfd, SIGKILL);
                (void)crew__readable(server->pidfd, crew_clock() + FAREWELL);
        }
        (void)crew__pidfd_collect(server->pidfd, &ending);
        (void)crew__close(server->socket);
        (void)crew__close(server->pidfd);
        *server = CREW__NO_SERVER;
}
