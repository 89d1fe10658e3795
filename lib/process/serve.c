/* SPDX-License-Identifier: MIT */

/*
 * Inside a server. System calls only, no memory but its own stack and its table.
 */

#include "kernel/features.h"
#include "kernel/syscall.h"
#include "process/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { FREE_ROW = -1, MORE_ROWS = 1024 };

/* What an epoll event is about; rows follow. */
enum { THE_SOCKET = 0, THE_APPLICATION = 1, FIRST_ROW = 2 };

struct crew__serving {
        const crew__service *service;
        int socket;      /* -1 after its end */
        int application; /* pidfd */
        int epoll;
        int *row; /* pidfds, or FREE_ROW */
        unsigned rows, used;
};

/* The kernel's record of a directory entry. */
struct entry {
        uint64_t inode;
        int64_t offset;
        unsigned short length;
        unsigned char type;
        char name[];
};

static int number(const char *digits)
{
        int n = 0;

        if (*digits == '\0')
                return -1;
        for (; *digits; digits++) {
                if (*digits < '0' || *digits > '9')
                        return -1;
                n = n * 10 + (*digits - '0');
        }
        return n;
}

/* The fallback for kernels and sandboxes without close_range(). */
static void close_listed(int keep, int keep_too)
{
        char bytes[2048] __attribute__((aligned(8)));
        long dir, n;

        dir = crew__syscall(
                SYS_openat, AT_FDCWD, (long)"/proc/self/fd", O_RDONLY | O_DIRECTORY, 0, 0, 0);
        if (dir < 0) {
                for (int fd = 0; fd < 65536; fd++) {
                        if (fd != keep && fd != keep_too)
                                (void)crew__sys_close(fd);
                }
                return;
        }
        while ((n = crew__syscall(SYS_getdents64, dir, (long)bytes, sizeof bytes, 0, 0, 0)) > 0) {
                for (long at = 0; at < n;) {
                        const struct entry *e = (const struct entry *)(bytes + at);
                        int fd = number(e->name);

                        if (fd >= 0 && fd != keep && fd != keep_too && fd != dir)
                                (void)crew__sys_close(fd);
                        at += e->length;
                }
        }
        (void)crew__sys_close((int)dir);
}

static void close_others(int keep, int keep_too)
{
        unsigned low = (unsigned)(keep < keep_too ? keep : keep_too);
        unsigned high = (unsigned)(keep < keep_too ? keep_too : keep);
        int r = -ENOSYS;

        /* Answered long ago if at all: finding out would start a process. */
        if ((atomic_load(&crew__feature_answers[CREW__CLOSE_RANGE]) & 0xff) == CREW_FEATURE_YES) {
                r = crew__sys_close_range(high + 1, ~0U, 0);
                if (r == 0 && high > low + 1)
                        r = crew__sys_close_range(low + 1, high - 1, 0);
                if (r == 0 && low > 0)
                        r = crew__sys_close_range(0, low - 1, 0);
        }
        if (r < 0)
                close_listed(keep, keep_too);
}

/* One line of /proc/self/maps: "7f0000000000-7f0000021000 rw-s 00000000 ...". */
static void drop_if_shared(const char *line)
{
        unsigned long part[2] = { 0, 0 };
        int which = 0;

        for (; *line && *line != ' '; line++) {
                if (*line == '-')
                        which = 1;
                else
                        part[which] =
                                part[which] << 4 |
                                (unsigned long)(*line <= '9' ? *line - '0' : *line - 'a' + 10);
        }
        if (strnlen(line, 5) == 5 && line[4] == 's')
                (void)crew__syscall(
                        SYS_munmap, (long)part[0], (long)(part[1] - part[0]), 0, 0, 0, 0);
}

/* Shared memory that the application gives up must go: it would live on in this copy of it. */
static void drop_shared(void)
{
        char text[4096];
        size_t held = 0;
        long fd, n;

        fd = crew__syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY, 0, 0, 0);
        if (fd < 0)
                return;
        while ((n = crew__syscall(SYS_read, fd, (long)(text + held), (long)(sizeof text - held), 0,
                        0, 0)) > 0) {
                char *line = text, *end = text + held + n, *stop;

                for (; (stop = memchr(line, '\n', (size_t)(end - line))); line = stop + 1) {
                        *stop = '\0';
                        drop_if_shared(line);
                }
                held = (size_t)(end - line);
                memmove(text, line, held);
                /* A path may be that long; what counts stands at its front, which was seen. */
                if (held == sizeof text)
                        held = 128;
        }
        (void)crew__sys_close((int)fd);
}

static void settle(crew__serving *s)
{
        static const uint64_t all = UINT64_MAX;
        struct rlimit limit;

        (void)crew__sys_sigmask(SIG_SETMASK, &all, NULL);
        (void)crew__sys_prctl(PR_SET_NAME, (unsigned long)s->service->name, 0);
        /* A signal to the application's group, even SIGKILL, is not for us: we come after. */
        (void)crew__syscall(SYS_setsid, 0, 0, 0, 0, 0, 0);
        (void)crew__syscall(SYS_chdir, (long)"/", 0, 0, 0, 0, 0);
        close_others(s->socket, s->application);
        drop_shared();
        if (crew__syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit, 0, 0) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)crew__syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)&limit, 0, 0, 0);
        }
}

static int watch_descriptor(crew__serving *s, int fd, uint64_t what)
{
        struct epoll_event event = { .events = EPOLLIN, .data.u64 = what };

        return (int)crew__syscall(SYS_epoll_ctl, s->epoll, EPOLL_CTL_ADD, fd, (long)&event, 0, 0);
}

static int grow(crew__serving *s)
{
        size_t old = s->rows * sizeof *s->row, size = old + MORE_ROWS * sizeof *s->row;
        long at;

        if (s->row)
                at = crew__syscall(
                        SYS_mremap, (long)s->row, (long)old, (long)size, MREMAP_MAYMOVE, 0, 0);
        else
                at = crew__syscall(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at < 0 && at > -4096)
                return (int)at;
        s->row = (int *)at;
        for (unsigned i = 0; i < MORE_ROWS; i++)
                s->row[s->rows + i] = FREE_ROW;
        s->rows += MORE_ROWS;
        return 0;
}

int crew__serving_watch(crew__serving *s, int pidfd)
{
        unsigned i = 0;
        int r = 0;

        if (s->used == s->rows) {
                i = s->rows;
                r = grow(s);
        }
        while (r == 0 && s->row[i] != FREE_ROW)
                i++;
        if (r == 0)
                r = watch_descriptor(s, pidfd, FIRST_ROW + i);
        if (r < 0) {
                (void)crew__sys_close(pidfd);
                return r;
        }
        s->row[i] = pidfd;
        s->used++;
        return (int)i;
}

void crew__serving_signal(crew__serving *s, int sig)
{
        for (unsigned i = 0; i < s->rows; i++) {
                if (s->row[i] != FREE_ROW)
                        (void)crew__sys_pidfd_send_signal(s->row[i], sig);
        }
}

static void row_ended(crew__serving *s, unsigned row)
{
        if (row >= s->rows || s->row[row] == FREE_ROW)
                return;
        if (s->service->ended)
                s->service->ended(s, row);
        (void)crew__sys_close(s->row[row]);
        s->row[row] = FREE_ROW;
        s->used--;
}

/* The descriptor that came with a message, or -1: there was none, or none was left for it. */
static int descriptor_of(struct msghdr *message)
{
        struct cmsghdr *c = CMSG_FIRSTHDR(message);
        int fd;

        if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
                c->cmsg_len < CMSG_LEN(sizeof fd))
                return -1;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        return fd;
}

/* Serves one request. Returns false when there is none; drops the socket at its end. */
static bool serve_one(crew__serving *s)
{
        char request[CREW__REQUEST_MAX], control[CMSG_SPACE(sizeof(int))]
                __attribute__((aligned(__alignof__(struct cmsghdr))));
        struct iovec part = { .iov_base = request, .iov_len = sizeof request };
        struct msghdr message = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof control };
        int32_t answer;
        long n;

        if (s->socket < 0)
                return false;
        n = crew__syscall(
                SYS_recvmsg, s->socket, (long)&message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0, 0);
        if (n == -EAGAIN || n == -EINTR)
                return false;
        if (n <= 0) {
                s->socket = (crew__sys_close(s->socket), -1);
                return false;
        }
        if (message.msg_flags & MSG_CTRUNC)
                answer = -EMFILE;
        else
                answer = s->service->request(s, request, (size_t)n, descriptor_of(&message));
        (void)crew__syscall(SYS_sendto, s->socket, (long)&answer, sizeof answer,
                MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
        return true;
}

static void __attribute__((noreturn)) last_things(crew__serving *s)
{
        while (serve_one(s))
                ;
        if (s->service->bereaved)
                s->service->bereaved(s);
        crew__sys_exit(0);
}

void crew__serve(const crew__service *service, int socket, int application)
{
        crew__serving serving = {
                .service = service, .socket = socket, .application = application
        };
        crew__serving *s = &serving;
        struct epoll_event events[64];

        settle(s);
        s->epoll = (int)crew__syscall(SYS_epoll_create1, EPOLL_CLOEXEC, 0, 0, 0, 0, 0);
        if (s->epoll < 0 || watch_descriptor(s, socket, THE_SOCKET) < 0 ||
                watch_descriptor(s, application, THE_APPLICATION) < 0)
                crew__sys_exit(1);
        /* After the end of the socket (the application runs another program now, or its exit hook
         * said so) there is a reason to stay while somebody is watched. */
        while (s->socket >= 0 || s->used > 0) {
                bool gone = false;
                long n = crew__syscall(SYS_epoll_pwait, s->epoll, (long)events,
                        sizeof events / sizeof *events, -1, 0, 0);

                for (long i = 0; i < n; i++) {
                        uint64_t what = events[i].data.u64;

                        if (what == THE_APPLICATION)
                                gone = true;
                        else if (what == THE_SOCKET)
                                (void)serve_one(s);
                        else
                                row_ended(s, (unsigned)(what - FIRST_ROW));
                }
                if (gone)
                        last_things(s);
        }
        crew__sys_exit(0);
}
