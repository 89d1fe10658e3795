/* SPDX-License-Identifier: MIT */

/*
 * A descriptor for foreign event loops: an epoll of this handle's own with the queue's eventfd,
 * edge-triggered (so that nobody has to read the eventfd that all processes share), and a 20 ms
 * timer that bounds the effect of a peer's death between its commit and its write.
 */

#include "queue/queue.h"

#include "base/cleanup.h"
#include "base/fail.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

struct crew__descriptor {
        uint64_t generation; /* an inherited epoll would share its ready list with the parent */
        int epoll;
        int timer;
};

static void destroy(struct crew__descriptor *d)
{
        if (!d)
                return;
        (void)crew__close(d->epoll);
        (void)crew__close(d->timer);
        free(d);
}

static int add(int epoll, int fd)
{
        struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = fd };

        return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int fill(struct crew__descriptor *d, int eventfd)
{
        struct itimerspec every = { .it_interval = crew__timespec(CREW__SLICE),
                .it_value = crew__timespec(CREW__SLICE) };
        int r;

        d->epoll = epoll_create1(EPOLL_CLOEXEC);
        d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (d->epoll < 0 || d->timer < 0 || timerfd_settime(d->timer, 0, &every, NULL) < 0)
                return -errno;
        /* A queue reached by crew_queue_connect has none, and the timer alone wakes. */
        r = eventfd < 0 ? 0 : add(d->epoll, eventfd);
        return r < 0 ? r : add(d->epoll, d->timer);
}

int crew_queue_fd(crew_queue *q)
{
        struct crew__descriptor *made, *there = atomic_load(&q->descriptor);
        int r = crew__queue_enter(q);

        if (r < 0)
                return r;
        if (there && there->generation == crew__generation())
                return there->epoll;
        made = calloc(1, sizeof *made);
        if (!made)
                return crew__fail(ENOMEM, "queue %.63s: no memory to poll it", q->ring->name);
        made->generation = crew__generation();
        made->epoll = made->timer = -1;
        r = fill(made, crew__queue_eventfd(q, CREW__QUEUE_GET));
        if (r < 0) {
                destroy(made);
                return crew__fail(-r, "queue %.63s: a descriptor to poll takes 2 more: %s",
                        q->ring->name, crew_error_text(r));
        }
        if (!atomic_compare_exchange_strong(&q->descriptor, &there, made)) {
                destroy(made);
                return there->epoll;
        }
        destroy(there);
        /* What was put before had nobody to tell. */
        if (crew__queue_rearm(q))
                crew__events_wake(&q->ring->readable, crew__queue_bell(q, CREW__QUEUE_GET));
        return made->epoll;
}

bool crew__queue_rearm(crew_queue *q)
{
        struct crew__descriptor *d = atomic_load_explicit(&q->descriptor, memory_order_acquire);
        struct epoll_event events[2];
        uint64_t ticks;
        int n;

        if (!d || d->generation != crew__generation())
                return false;
        n = epoll_wait(d->epoll, events, 2, 0);
        for (int i = 0; i < n; i++) {
                /* A periodic timerfd goes on only once its ticks were read. */
                if (events[i].data.fd == d->timer && read(d->timer, &ticks, sizeof ticks) < 0)
                        continue;
        }
        crew__events_arm(&q->ring->readable);
        return crew__queue_ready(q, CREW__QUEUE_GET, 0);
}

void crew__queue_descriptor_free(crew_queue *q)
{
        destroy(atomic_load(&q->descriptor));
}
