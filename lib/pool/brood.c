/* SPDX-License-Identifier: MIT */

/* The zygote's life: makes workers on request, notes how they end, and ends with the program. */

#include "base/cleanup.h"
#include "kernel/cell.h"
#include "kernel/features.h"
#include "kernel/syscall.h"
#include "pool/nest.h"
#include "process/clone.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* What an epoll event is about; rows follow. */
enum { GRANTS = 0, BIRTHS = 1, THE_APPLICATION = 2, FIRST_ROW = 3 };

/* What SIGKILL gets to end a worker that nobody has. */
#define FAREWELL CREW_S(1)

typedef struct child {
        pid_t pid; /* 0: the row has none */
        int pidfd;
        int control;    /* this end of its control socket */
        size_t granted; /* how many of the grants it has or was sent */
} child;

typedef struct brood {
        crew__nest *nest;
        child *child; /* by row */
        int epoll;
} brood;

static int watch(const brood *b, int fd, uint64_t what)
{
        struct epoll_event event = { .events = EPOLLIN, .data.u64 = what };

        return epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Notes the ending of a row's worker if it has ended; the row is free then. */
static bool reap(brood *b, unsigned row)
{
        crew__epitaph *epitaph = crew__epitaph_of(b->nest->pages, b->nest->rows, row);
        child *c = &b->child[row];
        crew__ending ending;
        int r;

        if (!c->pid)
                return true;
        r = crew__pidfd_collect(c->pidfd, &ending);
        if (r == 0)
                return false;
        if (r == 1) {
                epitaph->ending = ending;
                atomic_store_explicit(&epitaph->pid, c->pid, memory_order_release);
        }
        /* The pool has a copy: closing ours would leave it in the epoll, readable for ever. */
        (void)epoll_ctl(b->epoll, EPOLL_CTL_DEL, c->pidfd, NULL);
        (void)close(c->pidfd);
        (void)close(c->control);
        *c = (child){ .pid = 0 };
        return true;
}

/*
 * Whoever asks for a new worker has seen the last one dead, so that it can be collected now, or has
 * never had it: the answer came too late, or found no room for its pidfd. That one is at the gate,
 * and gone before anybody opens the gate for the next one.
 */
static bool evict(brood *b, unsigned row)
{
        const child *c = &b->child[row];

        if (reap(b, row))
                return true;
        (void)crew__sys_pidfd_send_signal(c->pidfd, SIGKILL);
        (void)crew__readable(c->pidfd, crew_clock() + FAREWELL);
        return reap(b, row);
}

static int lift(const brood *b, int fd)
{
        int fds[CREW__POST_FDS] = { fd, -1, -1 };
        int r = crew__nest_lift(b->nest, fds);

        return r < 0 ? r : fds[0];
}

static int fork_worker(const crew__newborn *newborn, int *pidfd)
{
        int pid = CREW__USE_FORK;
        bool enters = false;

        if (crew__has(CREW__CLONE3))
                pid = crew__clone_raw(pidfd, newborn->cell);
        if (pid == CREW__USE_FORK) {
                enters = newborn->cell >= 0;
                pid = fork();
                if (pid < 0)
                        return -errno;
                if (pid > 0) {
                        *pidfd = crew__sys_pidfd_open(pid, 0);
                        if (*pidfd < 0) {
                                crew__clone_abandon(pid);
                                return *pidfd;
                        }
                }
        }
        if (pid == 0) {
                if (enters && crew__cell_enter(newborn->cell) < 0)
                        crew__sys_exit(1);
                crew__worker_main(newborn);
        }
        return pid;
}

/* One end in c->control, the other in newborn->control, both out of the workers' numbers. */
static int make_control(const brood *b, child *c, crew__newborn *newborn)
{
        int pair[CREW__POST_FDS] = { -1, -1, -1 }, r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        r = crew__nest_lift(b->nest, pair);
        c->control = pair[0];
        newborn->control = pair[1];
        if (r < 0) {
                (void)crew__close(pair[0]);
                (void)crew__close(pair[1]);
        }
        return r;
}

static int spawn(brood *b, unsigned row, const int fds[CREW__POST_FDS], int cell)
{
        crew__newborn newborn = { .nest = b->nest, .row = row, .cell = cell };
        child c = { .pidfd = -1, .control = -1, .granted = b->nest->n_grants };
        int r;

        if (row >= b->nest->rows || fds[0] < 0)
                return -EINVAL;
        if (!evict(b, row))
                return -EBUSY;
        memcpy(newborn.lane, fds, sizeof newborn.lane);
        r = make_control(b, &c, &newborn);
        if (r < 0)
                return r;
        r = fork_worker(&newborn, &c.pidfd);
        (void)close(newborn.control);
        if (r > 0) {
                c.pid = r;
                r = c.pidfd = lift(b, c.pidfd);
        }
        if (r >= 0)
                r = watch(b, c.pidfd, FIRST_ROW + row);
        if (r < 0) {
                (void)crew__close(c.control);
                if (c.pid > 0)
                        crew__clone_abandon(c.pid);
                (void)crew__close(c.pidfd);
                return r;
        }
        b->child[row] = c;
        return c.pid;
}

/* Sends a worker the grants that it was not sent. What its socket has no room for waits for the
 * next occasion: whoever does not look at it gets no more. */
static void catch_up(const brood *b, child *c)
{
        while (c->pid && c->granted < b->nest->n_grants) {
                const crew__segment *s = b->nest->grant[c->granted];
                crew__ask ask = { .errand = CREW__ERRAND_GRANT,
                        .ref = s->ref,
                        .head = s->used,
                        .ring = s->ring };
                int fds[CREW__POST_FDS] = { s->fd, s->events[0], s->events[1] };

                if (crew__post_send(c->control, &ask, sizeof ask, fds, CREW__POST_FDS) < 0)
                        return;
                c->granted++;
        }
}

static int grant(brood *b, const crew__ask *ask, int fds[CREW__POST_FDS])
{
        crew__segment *known;
        int r;

        if (crew__segment_find(&known, ask->ref) == 0) {
                (void)crew__segment_unref(known);
                return 0;
        }
        r = crew__nest_grant(b->nest, ask, fds);
        for (size_t i = 0; r == 0 && i < CREW__POST_FDS; i++)
                fds[i] = -1;
        for (unsigned row = 0; r == 0 && row < b->nest->rows; row++)
                catch_up(b, &b->child[row]);
        return r;
}

/* `cell` may lie among the workers' numbers: it is needed until the fork only. */
static int perform(brood *b, const crew__ask *ask, int fds[CREW__POST_FDS], int cell)
{
        int r = crew__nest_lift(b->nest, fds);

        if (r < 0)
                return r;
        return ask->errand == CREW__ERRAND_SPAWN ? spawn(b, ask->row, fds, cell)
                                                 : grant(b, ask, fds);
}

/*
 * The pool is gone. Its workers are collected before we go: they would be left to whoever collects
 * orphans, and that may be the program itself.
 */
static _Noreturn void disband(brood *b)
{
        int64_t until = crew_clock() + FAREWELL;

        for (unsigned row = 0; row < b->nest->rows; row++) {
                if (b->child[row].pid)
                        (void)crew__sys_pidfd_send_signal(b->child[row].pidfd, SIGKILL);
        }
        for (unsigned row = 0; row < b->nest->rows; row++) {
                if (b->child[row].pid)
                        (void)crew__readable(b->child[row].pidfd, until);
                (void)reap(b, row);
        }
        crew__sys_exit(0);
}

/* One question from that socket. */
static void serve(brood *b, int socket)
{
        int came[1 + CREW__POST_FDS], with[CREW__POST_FDS] = { -1, -1, -1 }, r;
        int *fds = came, cell = -1;
        crew__ask ask;
        crew__answer answer;

        r = (int)crew__post_receive(socket, &ask, sizeof ask, came, 1 + CREW__POST_FDS);
        if (r == -EAGAIN || r == -EINTR)
                return;
        /* (A message that only lost its descriptors is answered.) */
        if (r == 0 || (r < 0 && r != -EMFILE))
                disband(b);
        if (r > 0 && ask.celled) {
                cell = came[0];
                fds = came + 1;
        }
        if (r > 0)
                r = perform(b, &ask, fds, cell);
        if (r > 0)
                with[0] = b->child[ask.row].pidfd;
        answer = (crew__answer){ .number = ask.number, .row = ask.row, .result = r };
        (void)crew__post_send(socket, &answer, sizeof answer, with, CREW__POST_FDS);
        for (size_t i = 0; i < 1 + CREW__POST_FDS; i++)
                (void)crew__close(came[i]);
}

/* Endings and grants are looked at in between: a pool may ask for many workers at once. */
static void hear(brood *b, uint64_t what)
{
        if (what == THE_APPLICATION)
                crew__sys_exit(0);
        else if (what == GRANTS)
                serve(b, b->nest->socket);
        else if (what == BIRTHS)
                serve(b, b->nest->births);
        else
                (void)reap(b, (unsigned)(what - FIRST_ROW));
}

void crew__brood(crew__nest *nest)
{
        brood b = { .nest = nest };
        struct epoll_event events[64];

        if (crew__nest_settle(nest) < 0)
                crew__sys_exit(1);
        b.child = calloc(nest->rows, sizeof *b.child);
        b.epoll = lift(&b, epoll_create1(EPOLL_CLOEXEC));
        if (!b.child || b.epoll < 0 || watch(&b, nest->socket, GRANTS) < 0 ||
                watch(&b, nest->births, BIRTHS) < 0 ||
                watch(&b, nest->application, THE_APPLICATION) < 0)
                crew__sys_exit(1);
        for (;;) {
                int n = epoll_wait(b.epoll, events, sizeof events / sizeof *events, -1);

                for (int i = 0; i < n; i++)
                        hear(&b, events[i].data.u64);
        }
}
