/* SPDX-License-Identifier: MIT */
#include "explain.h"

#include "explain-needs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the rest of the job may go on once the command itself has ended. */
enum { AFTERMATH_MS = 100 };

static void context_freep(scmp_filter_ctx *context)
{
        if (*context)
                seccomp_release(*context);
}

/* Everything is allowed; what needs_calls names asks first. */
static int load_filter(int *listener)
{
        __attribute__((cleanup(context_freep))) scmp_filter_ctx context =
                seccomp_init(SCMP_ACT_ALLOW);
        int r = context ? 0 : -ENOMEM;

        for (size_t i = 0; needs_calls[i] && r == 0; i++) {
                int nr = seccomp_syscall_resolve_name(needs_calls[i]);

                if (nr >= 0)
                        r = seccomp_rule_add(context, SCMP_ACT_NOTIFY, nr, 0);
        }
        if (r == 0)
                r = seccomp_load(context);
        if (r == 0)
                *listener = dup(seccomp_notify_fd(context));
        return r;
}

union control {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
};

/* One byte, and the listener if there is one; else the byte is an errno. */
static void send_listener(int socket, int listener, int error)
{
        unsigned char byte = (unsigned char)error;
        union control control = { .header = { .cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS,
                                          .cmsg_len = CMSG_LEN(sizeof(int)) } };
        struct iovec part = { .iov_base = &byte, .iov_len = 1 };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

        if (listener >= 0) {
                memcpy(CMSG_DATA(&control.header), &listener, sizeof listener);
                message.msg_control = &control;
                message.msg_controllen = sizeof control;
        }
        (void)sendmsg(socket, &message, 0);
}

static int receive_listener(int socket)
{
        unsigned char byte = EPIPE;
        union control control;
        struct iovec part = { .iov_base = &byte, .iov_len = 1 };
        struct msghdr message = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control };
        int listener;

        if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
                return -byte;
        memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof listener);
        return listener;
}

/* The errno of its exec; 0: that went well, and closed the other end. */
static int never_ran(int socket)
{
        unsigned char byte;

        return recv(socket, &byte, 1, MSG_DONTWAIT) == 1 ? byte : 0;
}

static void tell_not_run(FILE *out, const char *name, int error)
{
        (void)fputs("cannot run '", out);
        for (; *name; name++)
                (void)fputc((unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name, out);
        (void)fprintf(out, "': %s\n", strerror(error));
}

/* execvp() says EACCES of a name that is nowhere, too, if it may not look into a directory of PATH.
 */
static bool is_somewhere(const char *name)
{
        const char *path = getenv("PATH");
        char candidate[PATH_MAX];

        if (strchr(name, '/'))
                return true;
        for (; path && *path; path += *path == ':') {
                int n = (int)strcspn(path, ":");

                (void)snprintf(candidate, sizeof candidate, "%.*s/%s", n, n ? path : ".", name);
                if (access(candidate, F_OK) == 0)
                        return true;
                path += n;
        }
        return false;
}

static void __attribute__((noreturn))
become(const struct profile *p, const char *const argv[], const char *const env[], int socket)
{
        char *const *arguments, *const *environment;
        sigset_t none;
        int listener = -1, r = 0;

        (void)setpgid(0, 0);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        if (p->wd && chdir(p->wd) < 0)
                r = -errno;
        if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                r = -errno;
        if (r == 0)
                r = load_filter(&listener);
        send_listener(socket, listener, -r);
        if (r < 0)
                _exit(126);
        (void)close(listener);
        memcpy(&arguments, &argv, sizeof arguments);
        memcpy(&environment, &env, sizeof environment);
        if (env)
                (void)execvpe(arguments[0], arguments, environment);
        else
                (void)execvp(arguments[0], arguments);
        r = errno == EACCES && !is_somewhere(argv[0]) ? ENOENT : errno;
        send_listener(socket, -1, r);
        _exit(r == ENOENT ? 127 : 126);
}

/* One call: looked at, and let go on. What it points to may change after the look: it is no guard.
 */
static void serve_one(int listener, const struct profile *p, struct needs *needs)
{
        struct seccomp_notif asked = { 0 };
        struct seccomp_notif_resp answer = { .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };

        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
                return;
        needs_look(needs, p, (pid_t)asked.pid, asked.data.nr, (const uint64_t *)asked.data.args);
        answer.id = asked.id;
        (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

static void serve(int listener, int pidfd, const struct profile *p, struct needs *needs)
{
        struct pollfd fds[2] = { { .fd = listener, .events = POLLIN },
                { .fd = pidfd, .events = POLLIN } };
        bool ended = false;

        for (;;) {
                int n = poll(fds, ended ? 1 : 2, ended ? AFTERMATH_MS : -1);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                if (fds[0].revents & POLLIN)
                        serve_one(listener, p, needs);
                else if (fds[0].revents)
                        return;
                ended |= fds[1].revents != 0;
        }
}

static int end_of(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0) {
                if (errno != EINTR)
                        return 126;
        }
        /* What it left behind would find nobody to answer it. */
        (void)kill(-pid, SIGKILL);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int explain_run(const struct profile *p, const char *const argv[], const char *const env[],
        FILE *out, char *words, size_t cap)
{
        struct needs needs = { 0 };
        int sockets[2], listener, pidfd, code, r;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
                (void)snprintf(words, cap, "a socket: %s", strerror(errno));
                return -errno;
        }
        (void)fflush(NULL);
        pid = fork();
        if (pid == 0)
                become(p, argv, env, sockets[1]);
        (void)close(sockets[1]);
        listener = pid < 0 ? -errno : receive_listener(sockets[0]);
        if (listener < 0) {
                (void)close(sockets[0]);
                if (pid > 0)
                        (void)end_of(pid);
                (void)snprintf(words, cap, "%s: %s", argv[0],
                        listener == -EBUSY ? "somebody else already listens to what is called here"
                                           : strerror(-listener));
                return listener == -EBUSY || listener == -EINVAL ? -EOPNOTSUPP : listener;
        }
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        serve(listener, pidfd, p, &needs);
        (void)close(pidfd);
        (void)close(listener);
        code = end_of(pid);
        r = never_ran(sockets[0]);
        (void)close(sockets[0]);
        if (r)
                tell_not_run(out, argv[0], r);
        else
                needs_print(&needs, p, out);
        if (needs.unseen && !r) {
                (void)snprintf(words, cap,
                        "could not look at %lu of the %lu calls that mattered: reading the memory "
                        "of what ran here is refused (%s); try where it may be traced, as outside "
                        "of a container",
                        needs.unseen, needs.calls, strerror(needs.error));
                code = -needs.error;
        }
        needs_free(&needs);
        return code;
}
