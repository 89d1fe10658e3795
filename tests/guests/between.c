/* SPDX-License-Identifier: MIT */

/*
 * Stands between crew run and what it calls, when it is preloaded, and makes happen what others do
 * only by chance. CREW_BETWEEN says what:
 *
 *      steal   another reader of stdin is faster: what the first poll() sees is gone before it
 *              returns. A file "stolen" then has the number of the process.
 *      out     nobody can wait for a reader of the output
 *      again   nobody can wait a second time for what a job prints. A file "paused" tells that it
 *              is not waited for any more.
 */

#include <crew/crew.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int asked_for(const char *what)
{
        const char *wanted = getenv("CREW_BETWEEN");

        return wanted && strcmp(wanted, what) == 0;
}

static void note(const char *name)
{
        FILE *f = fopen("noting", "we");

        if (!f)
                abort();
        (void)fprintf(f, "%d\n", (int)getpid());
        if (fclose(f) != 0 || rename("noting", name) != 0)
                abort();
}

static void *next(const char *name)
{
        void *found = dlsym(RTLD_NEXT, name);

        if (!found)
                abort();
        return found;
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
        static int (*real)(struct pollfd *, nfds_t, int);
        static int stolen;
        char taken[4096];
        int r;

        if (!real)
                *(void **)&real = next("poll");
        r = real(fds, n, timeout);
        if (r > 0 && n == 1 && fds->fd == STDIN_FILENO && !stolen && asked_for("steal")) {
                stolen = 1;
                if (read(STDIN_FILENO, taken, sizeof taken) <= 0)
                        abort();
                note("stolen");
        }
        return r;
}

int crew_waiter_fd(crew_waiter *w, int fd, uint32_t events, uint64_t tag)
{
        static int (*real)(crew_waiter *, int, uint32_t, uint64_t);
        static uint64_t armed[64];
        static int n;

        if (!real)
                *(void **)&real = next("crew_waiter_fd");
        if (events == EPOLLOUT && asked_for("out"))
                return -ENOMEM;
        for (int i = 0; i < n && events == EPOLLIN && asked_for("again"); i++) {
                if (armed[i] == tag)
                        return -ENOMEM;
        }
        if (n < 64)
                armed[n++] = tag;
        return real(w, fd, events, tag);
}

int crew_waiter_cancel(crew_waiter *w, uint64_t tag)
{
        static int (*real)(crew_waiter *, uint64_t);

        if (!real)
                *(void **)&real = next("crew_waiter_cancel");
        if (asked_for("again"))
                note("paused");
        return real(w, tag);
}
