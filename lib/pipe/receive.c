/* SPDX-License-Identifier: MIT */

/*
 * Receiving: look at the header of the next packet where it is, in the kernel; take the packet only
 * if the caller can have it. So what is too large, or of the wrong kind, stays where every holder
 * of this end finds it. Under the lock of this end's receivers, which is never kept for a sleep.
 *
 * A message of several packets is collected in the handle until it is whole. Its packets are
 * numbered, so what remains of a message whose sender died, or whose first half another process
 * took, is known and dropped.
 */

#include "pipe/pipe.h"

#include "base/cleanup.h"
#include "kernel/pidfd.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Packets that are dropped in one go, whatever a sender that is not trusted does. */
enum { DROPS = 1024 };

/* Where a message goes. */
typedef struct taking {
        void *buf;
        size_t cap;
        bool exact, grows, descriptor;
        size_t size; /* of the message: received, or refused */
        int fd;      /* received */
} taking;

/* The next packet, seen but not taken. */
typedef struct sight {
        crew__packet head;
        size_t bytes; /* behind the header */
} sight;

bool crew__packet_valid(const crew__packet *p, size_t bytes)
{
        if (p->magic != CREW__PACKET_MAGIC)
                return false;
        if (p->kind == CREW__PACKET_FD)
                return p->total == 0 && p->offset == 0 && bytes == 0;
        if (p->kind != CREW__PACKET_MESSAGE || p->total > INT64_MAX)
                return false;
        /* Only a message without bytes has a packet without bytes. */
        if (bytes == 0)
                return p->total == 0 && p->offset == 0;
        return p->offset < p->total && bytes <= p->total - p->offset;
}

static int broken(crew_connection *c)
{
        atomic_store(&c->broken, true);
        return crew__fail(
                ENOTRECOVERABLE, "pipe: what came through it was not sent by crew; it is unusable");
}

static int ended(crew_connection *c)
{
        crew__partial *partial = atomic_exchange(&c->partial, NULL);
        uint64_t have = partial ? partial->have : 0, total = partial ? partial->total : 0;

        if (!partial)
                return crew__fail_quick(EPIPE, "pipe: nobody holds the other end");
        (void)crew__partial_free(partial);
        return crew__fail(ECONNRESET,
                "pipe: the other end went after %llu of the %llu bytes of a message, which is "
                "dropped",
                (unsigned long long)have, (unsigned long long)total);
}

/* 0; -EAGAIN: nothing there; -EPIPE, -ECONNRESET, -ENOTRECOVERABLE. */
static int look(crew_connection *c, sight *next)
{
        ssize_t n;

        do {
                n = recv(crew__connection_socket(c), &next->head, sizeof next->head,
                        MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
                /* The other end went without reading what we sent: said once, before what it sent
                 * itself, which is still there. */
        } while (n < 0 && errno == ECONNRESET);
        if (n == 0)
                return ended(c);
        if (n < 0)
                return errno == EAGAIN ? -EAGAIN
                                       : crew__fail(errno, "pipe: receiving: %s", strerror(errno));
        if ((size_t)n < sizeof next->head)
                return broken(c);
        next->bytes = (size_t)n - sizeof next->head;
        return crew__packet_valid(&next->head, next->bytes) ? 0 : broken(c);
}

/* Takes the packet that was seen; its bytes go to `to`. */
static int take(crew_connection *c, const sight *next, void *to, size_t bytes)
{
        crew__packet head;
        struct iovec parts[2] = { { .iov_base = &head, .iov_len = sizeof head },
                { .iov_base = to, .iov_len = bytes } };
        ssize_t n;

        do
                n = readv(crew__connection_socket(c), parts, bytes ? 2 : 1);
        while (n < 0 && errno == ECONNRESET);
        if (n < 0 && errno == EAGAIN)
                return -EAGAIN; /* taken by somebody who heeds no lock */
        if (n < 0)
                return crew__fail(errno, "pipe: receiving: %s", strerror(errno));
        if ((size_t)n != sizeof head + bytes || memcmp(&head, &next->head, sizeof head) != 0)
                return broken(c);
        return 0;
}

static int refuse(taking *t, const crew__packet *head)
{
        t->size = (size_t)head->total;
        if ((head->kind == CREW__PACKET_FD) != t->descriptor)
                return crew__fail_quick(EBADMSG,
                        t->descriptor ? "pipe: the next is a message, not a descriptor; it stays"
                                      : "pipe: the next is a descriptor, not a message; it stays");
        if (t->exact && head->total != t->cap)
                return crew__fail(EBADMSG,
                        "pipe: the next message has %zu bytes, not %zu; it stays", t->size, t->cap);
        if (!t->grows && head->total > t->cap)
                return crew__fail(EMSGSIZE,
                        "pipe: the next message has %zu bytes and the buffer %zu; it stays",
                        t->size, t->cap);
        return 0;
}

static int out_of_memory(uint64_t bytes)
{
        return crew__fail(
                ENOMEM, "pipe: no memory for a message of %llu bytes", (unsigned long long)bytes);
}

/* A message in one packet, straight to the caller. */
static int take_whole(crew_connection *c, const sight *next, taking *t)
{
        int r;

        if (t->grows && next->bytes > t->cap) {
                void *grown = realloc(t->buf, next->bytes);

                if (!grown)
                        return out_of_memory(next->bytes);
                t->buf = grown;
                t->cap = next->bytes;
        }
        r = take(c, next, t->buf, next->bytes);
        return r < 0 ? r : 1;
}

/* By doubling, for the size that a message claims to have may be a lie. */
static int make_room(crew__partial *p, size_t bytes)
{
        size_t room = p->room * 2 < p->total ? p->room * 2 : (size_t)p->total;
        char *grown;

        if (bytes <= p->room - p->have)
                return 0;
        if (room < p->have + bytes)
                room = (size_t)p->have + bytes;
        grown = realloc(p->bytes, room);
        if (!grown)
                return out_of_memory(p->total);
        p->bytes = grown;
        p->room = room;
        return 0;
}

static void hand_over(crew__partial *p, taking *t)
{
        t->size = (size_t)p->total;
        if (!t->grows) {
                memcpy(t->buf, p->bytes, t->size);
                return;
        }
        free(t->buf);
        t->buf = p->bytes;
        t->cap = p->room;
        p->bytes = NULL;
}

/* A packet of a message that has several. 1: it was the last; -EAGAIN: it was not. */
static int take_part(crew_connection *c, const sight *next, crew__partial *p, taking *t)
{
        int r = make_room(p, next->bytes);

        if (r == 0)
                r = take(c, next, p->bytes + p->have, next->bytes);
        if (r < 0)
                return r;
        p->have += next->bytes;
        if (p->have < p->total)
                return -EAGAIN;
        hand_over(p, t);
        return 1;
}

static int collect(crew_connection *c, const sight *next, taking *t)
{
        /* Taken out meanwhile: whoever shares this end without being trusted may let two threads in
         * at once. */
        crew__partial *p = atomic_exchange(&c->partial, NULL);
        int r;

        if (next->head.offset == 0) {
                /* What was begun before will not be finished. */
                (void)crew__partial_free(p);
                p = calloc(1, sizeof *p);
                if (!p)
                        return out_of_memory(next->head.total);
                p->message = next->head.message;
                p->total = next->head.total;
        }
        if (!p || p->message != next->head.message || p->have != next->head.offset ||
                p->total != next->head.total) {
                (void)crew__partial_free(p);
                r = take(c, next, NULL, 0);
                return r < 0 ? r : 0;
        }
        r = take_part(c, next, p, t);
        if (r == -EAGAIN)
                (void)crew__partial_free(atomic_exchange(&c->partial, p));
        else if (r == 1 || r == -ENOTRECOVERABLE)
                (void)crew__partial_free(p);
        else
                atomic_store(&c->partial, p);
        return r == -EAGAIN ? 0 : r;
}

/* Closes what came with a message that should have had one descriptor. */
static void discard(struct msghdr *m)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                        (void)crew__close(fd);
                }
        }
}

/*
 * The descriptor is installed by a second look, so that when there is no number left for it, it
 * stays where it is.
 */
static int take_descriptor(crew_connection *c, const sight *next, taking *t)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        crew__packet head;
        struct iovec part = { .iov_base = &head, .iov_len = sizeof head };
        struct msghdr m = { .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control };
        struct cmsghdr *found;
        int r;

        if (recvmsg(crew__connection_socket(c), &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
                return errno == EAGAIN || errno == ECONNRESET
                               ? -EAGAIN
                               : crew__fail(errno, "pipe: receiving: %s", strerror(errno));
        found = CMSG_FIRSTHDR(&m);
        if (!found && m.msg_flags & MSG_CTRUNC)
                return crew__fail(EMFILE, "pipe: no number is left for the descriptor that comes "
                                          "next (RLIMIT_NOFILE, "
                                          "ulimit -n); it stays");
        if (!found || found->cmsg_level != SOL_SOCKET || found->cmsg_type != SCM_RIGHTS ||
                found->cmsg_len != CMSG_LEN(sizeof(int))) {
                /* There is room for a second one, by the alignment. */
                discard(&m);
                return broken(c);
        }
        memcpy(&t->fd, CMSG_DATA(found), sizeof t->fd);
        t->fd = crew__above_stdio(t->fd);
        r = take(c, next, NULL, 0);
        if (r < 0) {
                t->fd = crew__close(t->fd);
                return r;
        }
        (void)crew__partial_free(atomic_exchange(&c->partial, NULL));
        return 1;
}

/* With the lock held. 1: received; -EAGAIN: no whole message is there. */
static int receive_inside(crew_connection *c, taking *t)
{
        sight next;
        int r;

        for (int packets = 0; packets < DROPS; packets++) {
                r = look(c, &next);
                if (r == 0)
                        r = refuse(t, &next.head);
                if (r < 0)
                        return r;
                if (t->descriptor)
                        return take_descriptor(c, &next, t);
                if (next.head.offset == 0 && next.bytes == next.head.total) {
                        r = take_whole(c, &next, t);
                        if (r == 1)
                                (void)crew__partial_free(atomic_exchange(&c->partial, NULL));
                } else {
                        r = collect(c, &next, t);
                }
                if (r != 0)
                        return r;
        }
        return -EAGAIN;
}

static int expired(const crew_connection *c, int64_t end)
{
        if (!atomic_load(&c->partial))
                return end == 0 ? crew__fail_quick(EAGAIN, "pipe: there is no message")
                                : crew__fail_quick(
                                          ETIMEDOUT, "pipe: no message came before the timeout");
        return end == 0 ? crew__fail_quick(EAGAIN, "pipe: only a part of the message is there")
                        : crew__fail_quick(ETIMEDOUT,
                                  "pipe: only a part of the message came before the timeout");
}

static int receive(crew_connection *c, taking *t, int64_t timeout)
{
        crew__patience patience = crew__patience_of(timeout);
        crew__hold hold;
        int r = crew__connection_enter(c, CREW__PIPE_RECEIVES);

        if (r < 0)
                return r;
        for (;;) {
                r = crew__lock_acquire(&c->end->receiving, &hold, &patience);
                if (r >= 0) {
                        r = receive_inside(c, t);
                        crew__lock_release(&c->end->receiving, &hold);
                        if (r != -EAGAIN)
                                return r;
                        r = crew__ready(
                                crew__connection_socket(c), POLLIN, crew__patience_end(&patience));
                        /* There is something after all? Then somebody else takes it all the time.
                         */
                        if (r == 0 && crew__patience_end(&patience) <= crew_clock())
                                r = -ETIMEDOUT;
                }
                if (r == -EAGAIN || r == -ETIMEDOUT)
                        return expired(c, crew__patience_end(&patience));
                if (r < 0)
                        return r;
        }
}

ssize_t crew_connection_recv(crew_connection *c, void *buf, size_t cap, int64_t timeout)
{
        taking t = { .buf = buf, .cap = buf ? cap : 0 };
        int r = receive(c, &t, timeout);

        return r < 0 ? r : (ssize_t)t.size;
}

int crew_connection_recv_exact(crew_connection *c, void *buf, size_t size, int64_t timeout)
{
        taking t = { .buf = buf, .cap = size, .exact = true };
        int r = receive(c, &t, timeout);

        return r < 0 ? r : 0;
}

ssize_t crew_connection_recv_alloc(crew_connection *c, void **buf, size_t *cap, int64_t timeout)
{
        taking t = { .grows = true };
        int r;

        if (!buf || !cap)
                return crew__fail(EINVAL, "pipe: recv_alloc needs buf and cap");
        t.buf = *buf;
        t.cap = *buf ? *cap : 0;
        r = receive(c, &t, timeout);
        *buf = t.buf;
        *cap = t.cap;
        return r < 0 ? r : (ssize_t)t.size;
}

int crew_connection_recv_fd(crew_connection *c, int64_t timeout)
{
        taking t = { .descriptor = true, .fd = -1 };
        int r = receive(c, &t, timeout);

        return r < 0 ? r : t.fd;
}

int crew_connection_poll(crew_connection *c, int64_t timeout)
{
        int r = crew__connection_enter(c, CREW__PIPE_RECEIVES);

        if (r == 0)
                r = crew__ready(crew__connection_socket(c), POLLIN, crew__deadline(timeout));
        if (r == -EAGAIN)
                return crew__fail_quick(EAGAIN, "pipe: there is no message");
        if (r == -ETIMEDOUT)
                return crew__fail_quick(ETIMEDOUT, "pipe: no message came before the timeout");
        return r;
}
