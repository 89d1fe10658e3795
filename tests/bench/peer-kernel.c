/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A pipe or a socket pair: fd[0] is the consumers' end, fd[1] the producers'. */
struct ends {
        int fd[2];
};

static int keep_ends(struct queue_run *r, const int fd[2])
{
        struct ends *e = malloc(sizeof *e);

        if (!e)
                return queue_fail(r, "malloc", ENOMEM);
        e->fd[0] = fd[0];
        e->fd[1] = fd[1];
        r->state = e;
        return 0;
}

/* Nobody keeps the other side's end, so that the consumers see the end of file. */
static void attach_ends(struct queue_run *r)
{
        struct ends *e = r->state;

        close(e->fd[r->producing ? 0 : 1]);
}

static void release_ends(struct queue_run *r)
{
        struct ends *e = r->state;

        close(e->fd[0]);
        close(e->fd[1]);
}

static void leave_ends(struct queue_run *r)
{
        struct ends *e = r->state;

        close(e->fd[1]);
}

static void teardown_ends(struct queue_run *r)
{
        free(r->state);
}

static int setup_pipe(struct queue_run *r)
{
        int fd[2];
        int size;

        if (pipe2(fd, O_CLOEXEC) != 0)
                return queue_fail(r, "pipe2", errno);
        size = fcntl(fd[1], F_SETPIPE_SZ, 1 << 20);
        if (size < 1 << 20)
                snprintf(r->note, 160, "a pipe of 1 MiB was refused, %d bytes instead",
                        fcntl(fd[1], F_GETPIPE_SZ));
        return keep_ends(r, fd);
}

static long produce_stream(struct queue_run *r, unsigned n)
{
        int fd = ((struct ends *)r->state)->fd[1];

        for (unsigned i = 0; i < n; i++) {
                size_t done = 0;

                queue_stamp(r, r->out);
                while (done < r->size) {
                        ssize_t k = write(fd, r->out + done, r->size - done);

                        if (k < 0)
                                return queue_fail(r, "write", errno);
                        done += (size_t)k;
                }
        }
        return n;
}

static long consume_stream(struct queue_run *r, unsigned n)
{
        int fd = ((struct ends *)r->state)->fd[0];

        for (unsigned i = 0; i < n; i++) {
                size_t done = 0;

                while (done < r->size) {
                        ssize_t k = read(fd, r->in + done, r->size - done);

                        if (k < 0)
                                return queue_fail(r, "read", errno);
                        if (k == 0)
                                return -(long)i - 1;
                        done += (size_t)k;
                }
                queue_check(r, r->in);
        }
        return n;
}

static int setup_seqpacket(struct queue_run *r)
{
        int size = 1 << 20;
        int fd[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0)
                return queue_fail(r, "socketpair", errno);
        if (setsockopt(fd[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
                setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        return keep_ends(r, fd);
}

extern const struct queue_peer peer_pipe, peer_seqpacket;

/* Several writers: only up to PIPE_BUF is a message written in one piece. */
const struct queue_peer peer_pipe = {
        .name = "pipe",
        .max_shared = PIPE_BUF,
        .setup = setup_pipe,
        .attach = attach_ends,
        .release = release_ends,
        .produce = produce_stream,
        .consume = consume_stream,
        .leave = leave_ends,
        .teardown = teardown_ends,
};

const struct queue_peer peer_seqpacket = {
        .name = "seqpacket",
        .setup = setup_seqpacket,
        .attach = attach_ends,
        .release = release_ends,
        .produce = produce_stream,
        .consume = consume_stream,
        .leave = leave_ends,
        .teardown = teardown_ends,
};
