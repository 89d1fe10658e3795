/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_limit(const char *path, unsigned value)
{
        FILE *f = fopen(path, "we");

        if (f) {
                fprintf(f, "%u", value);
                fclose(f);
        }
}

/* An ipc namespace has limits of its own, which its owner may raise; those of the machine stay. */
static bool raise_limits(void)
{
        if (unshare(CLONE_NEWIPC) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWIPC) != 0)
                return false;
        write_limit("/proc/sys/fs/mqueue/msg_max", 4096);
        write_limit("/proc/sys/fs/mqueue/msgsize_max", QUEUE_MAX_SIZE);
        return true;
}

/* The deepest queue up to `slots` that is granted here. */
static mqd_t open_deepest(size_t size, unsigned slots, unsigned *depth)
{
        char name[64];

        snprintf(name, sizeof name, "/bench-%d", (int)getpid());
        for (*depth = slots; *depth > 0; *depth = *depth * 15 / 16) {
                struct mq_attr a = {.mq_maxmsg = *depth, .mq_msgsize = (long)size};
                mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &a);

                if (q != (mqd_t)-1) {
                        mq_unlink(name);
                        return q;
                }
        }
        return (mqd_t)-1;
}

static void send_fd(int to, int fd)
{
        char control[CMSG_SPACE(sizeof fd)] = {0};
        struct iovec byte = {&(char){0}, 1};
        struct msghdr m = {.msg_iov = &byte,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof control};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
        sendmsg(to, &m, 0);
}

static int receive_fd(int from)
{
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec byte = {&(char){0}, 1};
        struct msghdr m = {.msg_iov = &byte,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof control};
        struct cmsghdr *c;
        int fd = -1;

        if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) == 1 && (c = CMSG_FIRSTHDR(&m)))
                memcpy(&fd, CMSG_DATA(c), sizeof fd);
        return fd;
}

/* A queue descriptor is a file descriptor: made in the other namespace, used in this one. */
static mqd_t open_elsewhere(size_t size, unsigned slots)
{
        int pair[2];
        mqd_t q;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
                return (mqd_t)-1;
        pid = fork();
        if (pid == 0) {
                unsigned depth;

                q = raise_limits() ? open_deepest(size, slots, &depth) : (mqd_t)-1;
                if (q != (mqd_t)-1)
                        send_fd(pair[1], (int)q);
                _exit(0);
        }
        close(pair[1]);
        q = (mqd_t)receive_fd(pair[0]);
        close(pair[0]);
        if (pid > 0)
                waitpid(pid, NULL, 0);
        return q;
}

static void raise_rlimit(void)
{
        struct rlimit wide = {RLIM_INFINITY, RLIM_INFINITY};
        struct rlimit own;

        if (setrlimit(RLIMIT_MSGQUEUE, &wide) != 0 && getrlimit(RLIMIT_MSGQUEUE, &own) == 0) {
                own.rlim_cur = own.rlim_max;
                setrlimit(RLIMIT_MSGQUEUE, &own);
        }
}

static int setup(struct queue_run *r)
{
        unsigned slots = queue_slots(r->size);
        mqd_t *q = malloc(sizeof *q);
        unsigned depth = 0;
        struct mq_attr a;

        if (!q)
                return queue_fail(r, "malloc", ENOMEM);
        raise_rlimit();
        *q = open_elsewhere(r->size, slots);
        if (*q == (mqd_t)-1)
                *q = open_deepest(r->size, slots, &depth);
        if (*q == (mqd_t)-1) {
                free(q);
                return queue_fail(r, "mq_open", errno);
        }
        if (mq_getattr(*q, &a) == 0 && a.mq_maxmsg < (long)slots)
                snprintf(r->note, 160, "depth %ld instead of %u (system limits)", a.mq_maxmsg,
                        slots);
        r->state = q;
        return 0;
}

static long produce(struct queue_run *r, unsigned n)
{
        mqd_t q = *(mqd_t *)r->state;

        for (unsigned i = 0; i < n; i++) {
                queue_stamp(r, r->out);
                if (mq_send(q, (char *)r->out, r->size, 0) != 0)
                        return queue_fail(r, "mq_send", errno);
        }
        return n;
}

static long consume(struct queue_run *r, unsigned n)
{
        mqd_t q = *(mqd_t *)r->state;

        for (unsigned i = 0; i < n; i++) {
                if (mq_receive(q, (char *)r->in, r->size, NULL) < 0)
                        return queue_fail(r, "mq_receive", errno);
                if (queue_is_stop(r->in))
                        return -(long)i - 1;
                queue_check(r, r->in);
        }
        return n;
}

static void finish(struct queue_run *r)
{
        memset(r->out, 0xff, r->size);
        for (unsigned i = 0; i < r->consumers; i++)
                mq_send(*(mqd_t *)r->state, (char *)r->out, r->size, 0);
}

static void teardown(struct queue_run *r)
{
        mq_close(*(mqd_t *)r->state);
        free(r->state);
}

extern const struct queue_peer peer_mq;
const struct queue_peer peer_mq = {
        .name = "posix-mq",
        .setup = setup,
        .produce = produce,
        .consume = consume,
        .finish = finish,
        .teardown = teardown,
};
