/* SPDX-License-Identifier: MIT */

/* The application's side of a server. */

#include "process/server.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/pidfd.h"
#include "kernel/syscall.h"
#include "process/post.h"
#include "process/process.h"
#include "process/serve.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

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

/* The answer to the last question; those to earlier ones, which nobody waited for, are dropped. */
static int await_answer(const crew__server *server, crew__reply *answer, int *fd, int64_t deadline)
{
        ssize_t n;
        int r;

        for (;;) {
                n = crew__post_receive(server->socket, answer, sizeof *answer, fd, 1);
                if ((n == sizeof *answer || n == -EMFILE) && answer->number == server->asked)
                        return n < 0 ? -EMFILE : 0;
                if (n > 0 || n == -EMFILE) {
                        *fd = crew__close(*fd);
                        continue;
                }
                if (n == 0)
                        return -EPIPE;
                if (n != -EAGAIN)
                        return (int)n;
                r = crew__readable(server->socket, deadline);
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

int crew__server_ask(crew__server *server, const void *request, size_t size, const int *fds,
        size_t n, int *with, int64_t patience)
{
        int64_t deadline = crew_clock() + patience;
        crew__question question = { .number = ++server->asked };
        crew__reply answer = { .result = 0 };
        int fd = -1, r;

        /* A fork of the host may keep the server's end of the socket open: ask the pidfd. */
        if (crew__readable(server->pidfd, 0) == 0)
                return -EPIPE;
        memcpy(question.request, request, size);
        r = crew__post_send(
                server->socket, &question, offsetof(crew__question, request) + size, fds, n);
        if (r == 0)
                r = await_answer(server, &answer, &fd, deadline);
        if (r == 0 && with)
                *with = fd;
        else
                (void)crew__close(fd);
        if (r == -ECONNRESET)
                return -EPIPE;
        return r == -EAGAIN ? -ETIMEDOUT : r < 0 ? r : answer.result;
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
                (void)crew__readable(server->pidfd, crew_clock() + CREW_S(1));
        }
        (void)crew__pidfd_collect(server->pidfd, &ending);
        (void)crew__close(server->socket);
        (void)crew__close(server->pidfd);
        *server = CREW__NO_SERVER;
}
