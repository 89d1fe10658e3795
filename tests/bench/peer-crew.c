/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <crew/queue.h>
#include <errno.h>
#include <stdio.h>

static int failed(struct queue_run *r, const char *what, int err)
{
        snprintf(r->why, 160, "%s: %s: %s", what, crew_error_name(err), crew_error_detail());
        return -1;
}

/* Once around the ring, so that its pages are there, as those of the other rings are. */
static int warm_up(struct queue_run *r, crew_queue *q)
{
        static char message[16384];
        int err;

        while ((err = crew_queue_put(q, message, sizeof message, CREW_NOW)) == 0)
                ;
        if (err != -EAGAIN)
                return failed(r, "crew_queue_put", err);
        while ((err = crew_queue_get_exact(q, message, sizeof message, CREW_NOW)) == 0)
                ;
        return err == -EAGAIN ? 0 : failed(r, "crew_queue_get_exact", err);
}

static int setup_with(struct queue_run *r, const crew_queue_options *o)
{
        crew_queue *q;
        int err = crew_queue_new(&q, 0, o);

        if (err < 0)
                return failed(r, "crew_queue_new", err);
        if (warm_up(r, q) < 0) {
                crew_queue_free(q);
                return -1;
        }
        r->state = q;
        return 0;
}

static int setup(struct queue_run *r)
{
        return setup_with(r, NULL);
}

static int setup_single(struct queue_run *r)
{
        return setup_with(r,
                CREW_OPT(queue, .flags = CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER));
}

/* Just under 16 MiB: room for one message of 16 MiB and its header would be more than that. */
static int setup_big(struct queue_run *r)
{
        return setup_with(r, CREW_OPT(queue, .bytes = (16 << 20) - 4096));
}

static long produce(struct queue_run *r, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                int err;

                queue_stamp(r, r->out);
                err = crew_queue_put(r->state, r->out, r->size, CREW_FOREVER);
                if (err < 0)
                        return failed(r, "crew_queue_put", err);
        }
        return n;
}

static long consume(struct queue_run *r, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                ssize_t size = crew_queue_get(r->state, r->in, r->size, CREW_FOREVER);

                if (size == -EPIPE)
                        return -(long)i - 1;
                if (size < 0)
                        return failed(r, "crew_queue_get", (int)size);
                if ((size_t)size != r->size)
                        r->errors++;
                else
                        queue_check(r, r->in);
        }
        return n;
}

static long produce_batch(struct queue_run *r, unsigned n)
{
        struct iovec messages[QUEUE_BATCH];
        long sent = 0;

        for (unsigned i = 0; i < QUEUE_BATCH; i++)
                messages[i] = (struct iovec){r->out + i * r->size, r->size};
        while (sent < (long)n) {
                unsigned in = 0;

                for (unsigned i = 0; i < QUEUE_BATCH; i++)
                        queue_stamp(r, r->out + i * r->size);
                while (in < QUEUE_BATCH) {
                        int k = crew_queue_put_many(
                                r->state, messages + in, QUEUE_BATCH - in, CREW_FOREVER);

                        if (k < 0)
                                return failed(r, "crew_queue_put_many", k);
                        in += (unsigned)k;
                }
                sent += QUEUE_BATCH;
        }
        return sent;
}

static long consume_batch(struct queue_run *r, unsigned n)
{
        struct iovec messages[QUEUE_BATCH];
        long got = 0;

        while (got < (long)n) {
                int k = crew_queue_get_many(r->state, r->in, QUEUE_BATCH * r->size, messages,
                        QUEUE_BATCH, CREW_FOREVER);

                if (k == -EPIPE)
                        return -got - 1;
                if (k < 0)
                        return failed(r, "crew_queue_get_many", k);
                for (int i = 0; i < k; i++) {
                        if (messages[i].iov_len != r->size)
                                r->errors++;
                        else
                                queue_check(r, messages[i].iov_base);
                }
                got += k;
        }
        return got;
}

/* One copy into the ring, standing for making the message there; it is checked in the ring. */
static long produce_in_place(struct queue_run *r, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                void *at;
                int err = crew_queue_reserve(r->state, &at, r->size, CREW_FOREVER);

                if (err < 0)
                        return failed(r, "crew_queue_reserve", err);
                queue_stamp(r, r->out);
                memcpy(at, r->out, r->size);
                err = crew_queue_commit(r->state, r->size);
                if (err < 0)
                        return failed(r, "crew_queue_commit", err);
        }
        return n;
}

static long consume_in_place(struct queue_run *r, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                const void *at;
                ssize_t size = crew_queue_peek(r->state, &at, CREW_FOREVER);

                if (size == -EPIPE)
                        return -(long)i - 1;
                if (size < 0)
                        return failed(r, "crew_queue_peek", (int)size);
                if ((size_t)size != r->size)
                        r->errors++;
                else
                        queue_check(r, at);
                crew_queue_release(r->state, true);
        }
        return n;
}

static void finish(struct queue_run *r)
{
        crew_queue_close(r->state);
}

static void teardown(struct queue_run *r)
{
        crew_queue_free(r->state);
}

extern const struct queue_peer peer_crew, peer_crew_batch, peer_crew_single, peer_crew_in_place,
        peer_crew_big;

const struct queue_peer peer_crew = {
        .name = "crew",
        .setup = setup,
        .produce = produce,
        .consume = consume,
        .finish = finish,
        .teardown = teardown,
};

const struct queue_peer peer_crew_batch = {
        .name = "crew-batch32",
        .max_size = 1024,
        .setup = setup,
        .produce = produce_batch,
        .consume = consume_batch,
        .finish = finish,
        .teardown = teardown,
};

const struct queue_peer peer_crew_single = {
        .name = "crew-single",
        .single = true,
        .setup = setup_single,
        .produce = produce,
        .consume = consume,
        .finish = finish,
        .teardown = teardown,
};

const struct queue_peer peer_crew_in_place = {
        .name = "crew-in-place",
        .single = true,
        .setup = setup_single,
        .produce = produce_in_place,
        .consume = consume_in_place,
        .finish = finish,
        .teardown = teardown,
};

const struct queue_peer peer_crew_big = {
        .name = "crew-16MiB",
        .setup = setup_big,
        .produce = produce,
        .consume = consume,
        .finish = finish,
        .teardown = teardown,
};
