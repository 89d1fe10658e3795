/* SPDX-License-Identifier: MIT */

/*
 * The epoll of a waiter. It has the wake eventfd and the caller's own descriptors under every
 * backend, and whatever the backend cannot watch otherwise.
 *
 * The caller's descriptors are here under io_uring too, and not in the ring: an epoll holds no
 * reference to a file, so a descriptor that was cancelled and closed is closed, whichever thread
 * did it; it refuses at once what cannot be polled; and it keeps saying that a descriptor is ready.
 * The ring then watches the epoll.
 */

#include "event/waiter.h"

#include "base/cleanup.h"
#include "base/fail.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

/* Events that are no source's. */
#define NAME_WAKE UINT64_MAX
#define NAME_TIMER (UINT64_MAX - 1)
#define NAME_LOOK (UINT64_MAX - 2)

enum { AT_ONCE = 64 };

static int control(const crew_waiter *w, int how, int fd, uint32_t events, uint64_t name)
{
        struct epoll_event event = { .events = events, .data.u64 = name };

        return epoll_ctl(w->epoll, how, fd, &event) < 0 ? -errno : 0;
}

int crew__set_open(crew_waiter *w)
{
        int r = 0;

        w->wake = w->timer = w->look = -1;
        w->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (w->epoll >= 0)
                w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->epoll < 0 || w->wake < 0)
                r = -errno;
        if (r == 0)
                r = control(w, EPOLL_CTL_ADD, w->wake, EPOLLIN, NAME_WAKE);
        if (r < 0)
                return crew__fail(-r,
                        "waiter: it takes 2 descriptors, and 1 more for the thread that waits: %s",
                        crew_error_text(r));
        return 0;
}

void crew__set_close(crew_waiter *w)
{
        (void)crew__close(w->timer);
        (void)crew__close(w->look);
        (void)crew__close(w->wake);
        (void)crew__close(w->epoll);
}

/* A descriptor can be in an epoll once; a duplicate can be there beside it. */
static int add_duplicate(crew_waiter *w, crew__source *s, uint32_t events)
{
        int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0), r;

        if (fd < 0)
                return -errno;
        r = control(w, EPOLL_CTL_ADD, fd, events, crew__source_name(w, s));
        if (r < 0)
                (void)crew__close(fd);
        return r < 0 ? r : fd;
}

static int set_failed(const crew__source *s, int r)
{
        switch (r) {
        case -EPERM:
                return crew__fail(EPERM,
                        "waiter: descriptor %d is a regular file (or the like), always ready",
                        s->fd);
        case -EBADF:
                return crew__fail(EINVAL, "waiter: descriptor %d is not open", s->fd);
        case -EMFILE:
                return crew__fail(EMFILE,
                        "waiter: to watch descriptor %d for two things takes 1 more descriptor",
                        s->fd);
        default:
                return crew__fail(
                        -r, "waiter: epoll refuses descriptor %d: %s", s->fd, crew_error_text(r));
        }
}

int crew__set_add(crew_waiter *w, crew__source *s, uint32_t events)
{
        uint64_t name = crew__source_name(w, s);
        int fd = s->fd, r;

        if (s->set_fd >= 0) {
                if (s->set_events == events)
                        return 0;
                r = control(w, EPOLL_CTL_MOD, s->set_fd, events, name);
                if (r == 0)
                        s->set_events = events;
                if (r != -ENOENT)
                        return r < 0 ? set_failed(s, r) : 0;
                /* Closed meanwhile against the rules, and the number names another file now. */
                crew__set_remove(w, s);
        }
        r = control(w, EPOLL_CTL_ADD, fd, events, name);
        if (r == -EEXIST) {
                fd = add_duplicate(w, s, events);
                r = fd < 0 ? fd : 0;
        }
        if (r < 0)
                return set_failed(s, r);
        s->set_fd = fd;
        s->set_events = events;
        w->in_set++;
        w->set_ready = true;
        return 0;
}

void crew__set_remove(crew_waiter *w, crew__source *s)
{
        if (s->set_fd < 0)
                return;
        (void)control(w, EPOLL_CTL_DEL, s->set_fd, 0, 0);
        if (s->set_fd != s->fd)
                (void)crew__close(s->set_fd);
        s->set_fd = -1;
        w->in_set--;
}

int crew__set_arm_events(crew_waiter *w, crew__source *s)
{
        int r;

        /* A queue reached by crew_queue_connect has none, nor have events and semaphores: such a
         * source is looked at every 20 ms. */
        if (s->fd < 0)
                return -EAGAIN;
        /* Edges: the eventfd is shared by all processes and nobody reads it. */
        r = crew__set_add(w, s, EPOLLIN | EPOLLET);
        if (r < 0)
                return r;
        crew__events_arm(s->events);
        s->armed = true;
        return 0;
}

static void drain(int fd)
{
        uint64_t count;
        ssize_t n = read(fd, &count, sizeof count);

        (void)n;
}

int crew__set_collect(crew_waiter *w)
{
        struct epoll_event events[AT_ONCE];
        int n = epoll_wait(w->epoll, events, AT_ONCE, 0);

        for (int i = 0; i < n; i++) {
                uint64_t name = events[i].data.u64;
                crew__source *s;

                if (name == NAME_WAKE) {
                        /* A wake is seen by its flag; this is the write of one that was seen. */
                        if (!atomic_load(&w->woken))
                                drain(w->wake);
                } else if (name == NAME_TIMER) {
                        drain(w->timer);
                        w->timer_set = -1;
                } else if (name == NAME_LOOK) {
                        drain(w->look);
                        w->looking = false;
                } else {
                        s = crew__source_named(w, name);
                        if (s)
                                crew__hint(w, s, events[i].events);
                }
        }
        return n;
}

/*
 * With ppoll() and not epoll_wait(): the kernel restarts it if no handler ran (the process was
 * stopped and continued, say), and the caller wants to hear of handlers only.
 */
int crew__set_sleep(crew_waiter *w, int64_t until)
{
        struct pollfd fd = { .fd = w->epoll, .events = POLLIN };
        struct timespec left = crew__timespec(crew_until(crew__earlier(until, CREW__NEVER - 1)));
        int n = ppoll(&fd, 1, &left, NULL);

        if (n < 0)
                return -errno;
        if (fd.revents & POLLNVAL)
                return crew__fail(EBADF,
                        "waiter: its descriptors were closed by somebody else; make a new one");
        if (n > 0)
                w->set_ready = true;
        return 0;
}

int crew__set_poll(crew_waiter *w)
{
        int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), look, r = 0;

        look = timer < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (timer < 0 || look < 0)
                r = -errno;
        if (r == 0)
                r = control(w, EPOLL_CTL_ADD, timer, EPOLLIN, NAME_TIMER);
        if (r == 0)
                r = control(w, EPOLL_CTL_ADD, look, EPOLLIN, NAME_LOOK);
        if (r < 0) {
                (void)crew__close(timer);
                (void)crew__close(look);
                return crew__fail(
                        -r, "waiter: a descriptor to poll it takes 2 more: %s", crew_error_text(r));
        }
        w->timer = timer;
        w->look = look;
        w->timer_set = CREW__NEVER;
        w->polled = true;
        return 0;
}

/*
 * Something is to be tried or armed: the next crew_waiter_wait has to see to it. It is never taken
 * back, as that could take a word of the ring with it.
 */
static void announce_now(crew_waiter *w)
{
        static const uint64_t one = 1;

        if (w->looking || !(w->unsettled || w->n_hot || !crew__link_alone(&w->dirty)))
                return;
        w->looking = write(w->look, &one, sizeof one) == sizeof one;
}

void crew__set_announce(crew_waiter *w)
{
        struct itimerspec when = { 0 };
        int64_t at;

        if (!w->polled)
                return;
        announce_now(w);
        at = crew__next_time(w);
        if (at == w->timer_set)
                return;
        /* 0 would disarm; a time that is past makes it readable at once. */
        if (at != CREW__NEVER)
                when.it_value = crew__timespec(at > 0 ? at : 1);
        if (timerfd_settime(w->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0)
                w->timer_set = at;
}
