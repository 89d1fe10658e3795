/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <crew/pipe.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A one-way pipe: what python-SimpleQueue is made of there, and seqpacket here. */
struct ends {
        crew_connection *receiver, *sender;
};

static int failed(struct queue_run *r, const char *what)
{
        (void)snprintf(r->why, 160, "%s: %.120s", what, crew_error_detail());
        return -1;
}

static int setup(struct queue_run *r)
{
        struct ends *e = calloc(1, sizeof *e);

        if (!e)
                return queue_fail(r, "calloc", ENOMEM);
        r->state = e;
        return crew_pipe(&e->receiver, &e->sender, false) < 0 ? failed(r, "crew_pipe") : 0;
}

/* Nobody keeps the other side's end, so that the consumers see the end. */
static void attach(struct queue_run *r)
{
        struct ends *e = r->state;

        if (r->producing)
                e->receiver = crew_connection_free(e->receiver);
        else
                e->sender = crew_connection_free(e->sender);
}

static void leave(struct queue_run *r)
{
        struct ends *e = r->state;

        e->sender = crew_connection_free(e->sender);
}

static void release(struct queue_run *r)
{
        struct ends *e = r->state;

        e->receiver = crew_connection_free(e->receiver);
        e->sender = crew_connection_free(e->sender);
}

static void teardown(struct queue_run *r)
{
        free(r->state);
}

static long produce(struct queue_run *r, unsigned n)
{
        struct ends *e = r->state;

        for (unsigned i = 0; i < n; i++) {
                queue_stamp(r, r->out);
                if (crew_connection_send(e->sender, r->out, r->size, CREW_FOREVER) < 0)
                        return failed(r, "send");
        }
        return n;
}

static long consume(struct queue_run *r, unsigned n)
{
        struct ends *e = r->state;

        for (unsigned i = 0; i < n; i++) {
                int got = crew_connection_recv_exact(e->receiver, r->in, r->size, CREW_FOREVER);

                if (got == -EPIPE)
                        return -(long)i - 1;
                if (got < 0)
                        return failed(r, "recv");
                queue_check(r, r->in);
        }
        return n;
}

extern const struct queue_peer peer_crew_pipe;

const struct queue_peer peer_crew_pipe = {
        .name = "crew-pipe",
        .setup = setup,
        .attach = attach,
        .release = release,
        .produce = produce,
        .consume = consume,
        .leave = leave,
        .teardown = teardown,
};
