/* SPDX-License-Identifier: MIT */

/*
 * Inside a server: the loop. System calls only, no memory but its own stack and its table, for the
 * server may be a copy of a process that had threads.
 */

#include "process/serve.h"
#include "kernel/features.h"
#include "kernel/inherit.h"
#include "kernel/syscall.h"
#include "process/post.h"

#include <errno.h>
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

static void settle(const crew__service *service, int socket, int application)
{
        static const uint64_t all = UINT64_MAX;
        struct rlimit limit;
        int keep[2];

        (void)crew__sys_sigmask(SIG_SETMASK, &all, NULL);
        (void)crew__sys_prctl(PR_SET_NAME, (unsigned long)service->name, 0);
        /* A signal to the application's group, even SIGKILL, is not for us: we come after. */
        (void)crew__syscall(SYS_setsid, 0, 0, 0, 0, 0, 0);
        (void)crew__syscall(SYS_chdir, (long)"/", 0, 0, 0, 0, 0);
        keep[0] = socket < application ? socket : application;
        keep[1] = socket < application ? application : socket;
        /* Answered long ago if at all: finding out would start a process. */
        (void)crew__close_others(keep, 2, -1,
                (atomic_load(&crew__feature_answers[CREW__CLOSE_RANGE]) & 0xff) ==
                        CREW_FEATURE_YES);
        /* Shared memory that the application gives up would live on in this copy of it. */
        crew__drop_shared(CREW__SHARED_ALL, NULL, 0);
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

/* Closing is not enough: the application, or a child of ours, may have the same open file, and the
 * epoll would tell of it for as long. */
static int unwatch_descriptor(const crew__serving *s, int fd)
{
        (void)crew__syscall(SYS_epoll_ctl, s->epoll, EPOLL_CTL_DEL, fd, 0, 0, 0);
        (void)crew__sys_close(fd);
        return -1;
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

int crew__serving_pidfd(const crew__serving *s, unsigned row)
{
        return s->row[row];
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
        (void)unwatch_descriptor(s, s->row[row]);
        s->row[row] = FREE_ROW;
        s->used--;
}

/* Serves one request. Returns false when there is none; drops the socket at its end. */
static bool serve_one(crew__serving *s)
{
        int fds[CREW__POST_MOST], with = -1;
        crew__reply answer = { .result = 0 };
        crew__question question;
        ssize_t n;

        if (s->socket < 0)
                return false;
        n = crew__post_receive(s->socket, &question, sizeof question, fds, CREW__POST_MOST);
        if (n == -EAGAIN || n == -EINTR)
                return false;
        if (n == 0 || (n < 0 && n != -EMFILE) ||
                (n > 0 && n < (ssize_t)offsetof(crew__question, request))) {
                s->socket = unwatch_descriptor(s, s->socket);
                return false;
        }
        answer.number = question.number;
        if (n < 0)
                answer.result = -EMFILE;
        else
                answer.result = s->service->request(s, question.request,
                        (size_t)n - offsetof(crew__question, request), fds, &with);
        (void)crew__post_send(s->socket, &answer, sizeof answer, &with, 1);
        for (size_t i = 0; n > 0 && i < CREW__POST_MOST; i++) {
                if (fds[i] >= 0)
                        (void)crew__sys_close(fds[i]);
        }
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

void crew__serving_run(const crew__service *service, int socket, int application)
{
        crew__serving serving = {
                .service = service, .socket = socket, .application = application
        };
        crew__serving *s = &serving;
        struct epoll_event events[64];

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

void crew__serve(const crew__service *service, int socket, int application)
{
        settle(service, socket, application);
        crew__serving_run(service, socket, application);
}
