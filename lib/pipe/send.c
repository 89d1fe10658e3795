/* SPDX-License-Identifier: MIT */

/*
 * Sending: packet after packet, under the lock of this end's senders, so that the packets of one
 * message are neighbours. Who waits for room lets go of the lock, unless it is in the middle of a
 * message; who dies or gives up there has sent a message that the next one cuts off.
 */

#include "pipe/pipe.h"

#include "base/cleanup.h"
#include "kernel/pidfd.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Room may come without a word of the kernel's: it tells only when a quarter of it is used. */
#define LOOK CREW__SLICE

/* A packet of this size is made on the stack. */
enum { SMALL = 4096 };

static int refused(int err)
{
        switch (err) {
        case EAGAIN:
                return -EAGAIN;
        /* The kernel's words for an end that has gone, with or without something unread. */
        case EPIPE:
        case ECONNRESET:
        case ECONNREFUSED:
        case ENOTCONN:
                return crew__fail_quick(EPIPE, "pipe: nobody holds the other end");
        default:
                return crew__fail(err, "pipe: sending: %s", strerror(err));
        }
}

/* One packet, whole or not at all. */
static int send_packet(const crew_connection *c, char *space, const crew__packet *head,
        const char *data, size_t bytes)
{
        memcpy(space, head, sizeof *head);
        if (bytes)
                memcpy(space + sizeof *head, data, bytes);
        if (sendto(crew__connection_socket(c), space, sizeof *head + bytes,
                    MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0) < 0)
                return refused(errno);
        return 0;
}

static int send_descriptor(const crew_connection *c, const crew__packet *head, int fd)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { .header = { .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS,
                              .cmsg_len = CMSG_LEN(sizeof(int)) } };
        crew__packet copy = *head;
        struct iovec part = { .iov_base = &copy, .iov_len = sizeof copy };
        struct msghdr m = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control };

        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        if (sendmsg(crew__connection_socket(c), &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                return 0;
        if (errno == EBADF)
                return crew__fail(EINVAL, "pipe: descriptor %d is not open", fd);
        if (errno == ETOOMANYREFS)
                return crew__fail(ETOOMANYREFS,
                        "pipe: too many descriptors are under way and not received yet "
                        "(RLIMIT_NOFILE)");
        return refused(errno);
}

/* What is to be sent. */
typedef struct sending {
        const char *data;
        size_t size;
        int fd; /* or -1 */
        char *space;
        crew__packet head;
} sending;

/* With the lock held: sends what there is room for. 0: all of it; -EAGAIN: head.offset bytes. */
static int advance(const crew_connection *c, sending *s)
{
        do {
                size_t left = s->size - (size_t)s->head.offset;
                size_t bytes = left < c->packet ? left : c->packet;
                int r = s->fd >= 0 ? send_descriptor(c, &s->head, s->fd)
                                   : send_packet(c, s->space, &s->head,
                                             s->size ? s->data + s->head.offset : NULL, bytes);

                if (r < 0)
                        return r;
                s->head.offset += bytes;
        } while (s->head.offset < s->size);
        return 0;
}

static int wait_for_room(const crew_connection *c, crew__patience *patience)
{
        int64_t end = crew__patience_end(patience), now;
        int r;

        if (end == 0)
                return crew__fail_quick(EAGAIN, "pipe: the other end has not received enough yet");
        now = crew_clock();
        if (now >= end)
                return crew__fail_quick(
                        ETIMEDOUT, "pipe: the other end did not receive until the timeout");
        r = crew__ready(crew__connection_socket(c), POLLOUT, crew__earlier(end, now + LOOK));
        return r == -ETIMEDOUT ? 0 : r;
}

static int lock(crew_connection *c, crew__hold *hold, crew__patience *patience)
{
        int r = crew__lock_acquire(&c->end->sending, hold, patience);

        if (r == -EAGAIN || r == -ETIMEDOUT)
                return crew__fail_quick(
                        -r, "pipe: another sender is in the middle of a long message");
        return r < 0 ? r : 0;
}

static int send_all(crew_connection *c, sending *s, int64_t timeout)
{
        crew__patience patience = crew__patience_of(timeout);
        crew__hold hold;
        int r;

        s->head.magic = CREW__PACKET_MAGIC;
        s->head.kind = s->fd >= 0 ? CREW__PACKET_FD : CREW__PACKET_MESSAGE;
        s->head.total = s->size;
        for (;;) {
                r = lock(c, &hold, &patience);
                if (r < 0)
                        return r;
                s->head.offset = 0;
                s->head.message = atomic_fetch_add(&c->end->messages, 1);
                r = advance(c, s);
                while (r == -EAGAIN && s->head.offset > 0) {
                        r = wait_for_room(c, &patience);
                        if (r == 0)
                                r = advance(c, s);
                        else
                                break;
                }
                crew__lock_release(&c->end->sending, &hold);
                if (r != -EAGAIN || s->head.offset > 0)
                        return r;
                r = wait_for_room(c, &patience);
                if (r < 0)
                        return r;
        }
}

int crew_connection_send(crew_connection *c, const void *data, size_t size, int64_t timeout)
{
        char small[SMALL];
        CREW__AUTO_FREE char *large = NULL;
        sending s = { .data = data, .size = size, .fd = -1, .space = small };
        size_t packet;
        int r = crew__connection_enter(c, CREW__PIPE_SENDS);

        if (r < 0)
                return r;
        if (!data && size)
                return crew__fail(EINVAL, "pipe: %zu bytes from nowhere", size);
        packet = sizeof(crew__packet) + (size < c->packet ? size : c->packet);
        if (packet > sizeof small) {
                large = malloc(packet);
                if (!large)
                        return crew__fail(ENOMEM, "pipe: no memory to send %zu bytes", size);
                s.space = large;
        }
        return send_all(c, &s, timeout);
}

int crew_connection_send_fd(crew_connection *c, int fd, int64_t timeout)
{
        sending s = { .fd = fd };
        int r = crew__connection_enter(c, CREW__PIPE_SENDS);

        if (r < 0)
                return r;
        if (fd < 0)
                return crew__fail(EINVAL, "pipe: %d is no descriptor", fd);
        return send_all(c, &s, timeout);
}
