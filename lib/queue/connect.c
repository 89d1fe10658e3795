/* SPDX-License-Identifier: MIT */

/* The other side of publish.c: from a notice to a handle. */

#include "queue/notice.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "queue/queue.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static int no_queue(const char *name, const crew__found *found, const char *what)
{
        return crew__fail(ENOENT, "queue %s: what process %u has published is no queue: %s", name,
                found->pid, what);
}

static int open_memory(const char *name, const crew__found *found, struct stat *st)
{
        CREW__AUTO_CLOSE int fds = -1;
        char path[40];
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%u/fd", found->pid);
        fds = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fd = fds >= 0 ? crew__notice_open(fds, (long)found->notice.fd, O_RDWR, st) : -errno;
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
                return crew__fail(
                        -fd, "queue %s: connecting takes 1 descriptor, and 3 for a moment", name);
        if (fd < 0)
                return crew__fail(
                        ENOENT, "queue %s: process %u has gone, or closed it", name, found->pid);
        return fd;
}

/* Could this library have made that? Sizes come from the kernel and cannot change any more. */
static int check(
        const char *name, const crew__found *found, int fd, const struct stat *st, crew__ring *ring)
{
        uint64_t size = (uint64_t)st->st_size, page = crew__page_size();

        if (st->st_ino != found->notice.inode)
                return no_queue(name, found, "the descriptor is another's by now");
        if ((fcntl(fd, F_GET_SEALS) & SEALS) != SEALS)
                return no_queue(name, found, "its size is not sealed");
        if (pread(fd, ring, sizeof *ring, 0) != sizeof *ring || ring->magic != CREW__RING_MAGIC ||
                ring->version != CREW__RING_VERSION)
                return no_queue(name, found, "it does not begin like one of this libcrew");
        if (ring->ring_bytes < page || ring->ring_bytes & (ring->ring_bytes - 1) ||
                ring->ring_bytes >= size || (size - ring->ring_bytes) % page ||
                size - ring->ring_bytes < sizeof *ring || ring->message_size > ring->ring_bytes ||
                ring->max_messages > INT32_MAX)
                return no_queue(name, found, "its sizes contradict each other");
        return 0;
}

static int attach(crew_queue **q, const char *name, const crew__found *found)
{
        static const int no_events[CREW__SEGMENT_EVENTS] = { -1, -1 };
        CREW__AUTO_CLOSE int fd = -1;
        crew__segment *segment;
        struct stat st;
        crew__ring ring;
        int r;

        fd = open_memory(name, found, &st);
        r = fd < 0 ? fd : check(name, found, fd, &st, &ring);
        if (r == 0)
                r = crew__segment_attach(&segment, found->notice.ref,
                        (size_t)st.st_size - (size_t)ring.ring_bytes, (size_t)ring.ring_bytes, fd,
                        no_events);
        if (r < 0)
                return r;
        fd = -1;
        r = crew_queue_open(q, found->notice.ref);
        (void)crew__segment_unref(segment);
        return r;
}

int crew_queue_connect(crew_queue **q, const char *name)
{
        crew__found found;
        int r = crew__notice_name(name);

        if (r == 0 && !q)
                return crew__fail(EINVAL, "queue %s: nowhere to store the handle", name);
        if (r == 0)
                r = crew__notice_find(name, &found);
        if (r < 0)
                return r;
        if (r == 0)
                return crew__fail(
                        ENOENT, "queue %s: no process has published one of that name", name);
        /* Held already, by another handle or through a fork. */
        r = crew_queue_open(q, found.notice.ref);
        return r == -ENOENT ? attach(q, name, &found) : r;
}
