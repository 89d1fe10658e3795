/* SPDX-License-Identifier: MIT */

/* One-way throughput of a queue between processes, and of its peers in the same run. */

#include "bench.h"
#include "queue-bench.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const size_t sizes[] = {8, 64, 1024, 65536};
#define SIZES 4

static const struct bench_cell cells[] = {
        {"8 B, 1+1", "messages/s", .by_distance = true},
        {"64 B, 1+1", "messages/s", .by_distance = true},
        {"1 KiB, 1+1", "messages/s", .by_distance = true},
        {"64 KiB, 1+1", "messages/s", .by_distance = true},
        {"8 B, 2+2", "messages/s", .by_distance = true},
        {"64 B, 2+2", "messages/s", .by_distance = true},
        {"1 KiB, 2+2", "messages/s", .by_distance = true},
        {"64 KiB, 2+2", "messages/s", .by_distance = true},
};
#define CELLS (sizeof cells / sizeof *cells)

#define KERNEL                                                                                     \
        {                                                                                          \
                "pipe", "posix-mq", "seqpacket"                                                    \
        }

static const struct bench_target targets[] = {
        {"8 B, 1+1", "crew", KERNEL, BENCH_AT_LEAST, 5},
        {"64 B, 1+1", "crew", KERNEL, BENCH_AT_LEAST, 5},
        {"1 KiB, 1+1", "crew", KERNEL, BENCH_AT_LEAST, 2.5},
        {"64 KiB, 1+1", "crew", KERNEL, BENCH_AT_LEAST, 1, .not_far = true},
        {"64 KiB, 1+1", "crew-16MiB", KERNEL, BENCH_AT_LEAST, 1},
        {"8 B, 1+1", "crew", {"boost-mq"}, BENCH_AT_LEAST, 1.5},
        {"64 B, 1+1", "crew", {"boost-mq"}, BENCH_AT_LEAST, 1.5},
        {"1 KiB, 1+1", "crew", {"boost-mq"}, BENCH_AT_LEAST, 1.5},
        {"64 KiB, 1+1", "crew", {"boost-mq"}, BENCH_AT_LEAST, 1.5},
        {"64 B, 2+2", "crew", {"boost-mq"}, BENCH_AT_LEAST, 1.5},
        {"1 KiB, 2+2", "crew", {"boost-mq"}, BENCH_AT_LEAST, 1.5},
        {"64 B, 1+1", "crew", {"ck_ring"}, BENCH_AT_LEAST, 0.8},
        {"1 KiB, 1+1", "crew", {"ck_ring"}, BENCH_AT_LEAST, 0.8},
        {"64 B, 2+2", "crew", {"ck_ring"}, BENCH_AT_LEAST, 1},
        {"1 KiB, 2+2", "crew", {"ck_ring"}, BENCH_AT_LEAST, 1},
        {"64 B, 2+2", "crew", {"rte_ring-rts"}, BENCH_AT_LEAST, 1},
        {"1 KiB, 2+2", "crew", {"rte_ring-rts"}, BENCH_AT_LEAST, 1},
        {"64 B, 2+2", "crew", {NULL}, BENCH_WORST, 0.25},
        {"1 KiB, 2+2", "crew", {NULL}, BENCH_WORST, 0.25},
        {"64 B, 1+1", "crew-batch32", {"rte_ring-burst32"}, BENCH_AT_LEAST, 0.8},
        {"1 KiB, 1+1", "crew-batch32", {"rte_ring-burst32"}, BENCH_AT_LEAST, 0.8},
        {"64 B, 2+2", "crew-batch32", {"rte_ring-burst32"}, BENCH_SHOWN},
        {"8 B, 1+1", "crew", {"ck_ring"}, BENCH_SHOWN},
        {"8 B, 1+1", "crew-single", {"ck_ring"}, BENCH_SHOWN},
        {"64 B, 1+1", "crew-single", {"ck_ring"}, BENCH_SHOWN},
        {"1 KiB, 1+1", "crew-single", {"ck_ring"}, BENCH_SHOWN},
        {"64 KiB, 1+1", "crew-single", {"ck_ring"}, BENCH_SHOWN},
        {"64 B, 1+1", "crew-in-place", {"crew-single"}, BENCH_SHOWN},
        {"64 KiB, 1+1", "crew-in-place", {"crew-single"}, BENCH_SHOWN},
        {"64 B, 1+1", "crew", {"rte_ring"}, BENCH_SHOWN},
        {"64 B, 2+2", "crew", {"rte_ring"}, BENCH_SHOWN},
        {"64 B, 1+1", "crew", {"python-Queue", "python-SimpleQueue"}, BENCH_SHOWN},
        {"64 B, 2+2", "crew", {"python-Queue", "python-SimpleQueue"}, BENCH_SHOWN},
        {"64 B, 1+1", "crew-pipe", {"seqpacket", "python-SimpleQueue"}, BENCH_SHOWN},
        {"64 KiB, 1+1", "crew-pipe", {"seqpacket", "python-SimpleQueue"}, BENCH_SHOWN},
};

static unsigned sides(unsigned cell)
{
        return cell < SIZES ? 1 : 2;
}

static bool offers(unsigned cell, unsigned row)
{
        const struct queue_peer *p = queue_peers[row];
        size_t size = sizes[cell % SIZES];

        if (p->max_size && size > p->max_size)
                return false;
        if (sides(cell) > 1 && (p->single || (p->max_shared && size > p->max_shared)))
                return false;
        return true;
}

struct whole_run {
        const struct queue_peer *peer;
        struct queue_run run; /* as set up in the parent */
};

/* Few enough that a slow peer sees the end of its time, many enough to cost nothing. */
static unsigned chunk(size_t size)
{
        return size <= 64 ? 64 : size <= 1024 ? 32 : 4;
}

static void produce(const struct queue_peer *p, struct queue_run *r, struct bench_member *m)
{
        while (!*r->stop) {
                long n = p->produce(r, chunk(r->size));

                if (n < 0)
                        return;
                m->count += (uint64_t)n;
        }
}

static void consume(const struct queue_peer *p, struct queue_run *r, struct bench_member *m)
{
        long n;

        while ((n = p->consume(r, chunk(r->size))) >= 0)
                m->count += (uint64_t)n;
        m->count += (uint64_t)(-n - 1);
}

/* Even members produce, odd ones consume: the probe is between the first of each. */
static void run_member(struct bench_shared *s, unsigned who, void *arg)
{
        struct whole_run *w = arg;
        struct queue_run r = w->run;
        struct bench_member *m = &s->member[who];
        size_t room = QUEUE_BATCH * (r.size < 2048 ? r.size : 2048) + QUEUE_MAX_SIZE;

        r.who = who / 2;
        r.producing = who % 2 == 0;
        r.stamp = (uint64_t)r.who << 56;
        for (unsigned i = 0; i < 4; i++)
                r.last[i] = (uint64_t)i << 56;
        r.why = m->why;
        r.out = aligned_alloc(4096, (room + 4095) & ~(size_t)4095);
        r.in = aligned_alloc(4096, (room + 4095) & ~(size_t)4095);
        if (!r.out || !r.in)
                _exit(3);
        memset(r.out, 0x5a, room);
        memset(r.in, 0, room);
        m->start = bench_now();
        if (r.producing) {
                produce(w->peer, &r, m);
                if (w->peer->leave)
                        w->peer->leave(&r);
                if (atomic_fetch_add(&s->done, 1) + 1 == r.producers && w->peer->finish)
                        w->peer->finish(&r);
        } else {
                consume(w->peer, &r, m);
        }
        m->end = bench_now();
        m->errors = r.errors;
}

static void attach_and_run(struct bench_shared *s, unsigned who, void *arg)
{
        struct whole_run *w = arg;

        w->run.producing = who % 2 == 0;
        if (w->peer->attach)
                w->peer->attach(&w->run);
        run_member(s, who, arg);
}

static void release(void *arg)
{
        struct whole_run *w = arg;

        if (w->peer->release)
                w->peer->release(&w->run);
}

/* Messages that arrived over the time from the first start to the last end. */
static int evaluate(const struct bench_shared *s, unsigned members, struct bench_result *r)
{
        int64_t start = INT64_MAX;
        int64_t end = 0;
        uint64_t put = 0, got = 0, errors = 0;

        for (unsigned i = 0; i < members; i++) {
                const struct bench_member *m = &s->member[i];

                start = m->start < start ? m->start : start;
                end = m->end > end ? m->end : end;
                errors += m->errors;
                *(i % 2 == 0 ? &put : &got) += m->count;
        }
        if (errors || put != got || got == 0) {
                bench_why(r->why, "%llu messages put, %llu got, %llu torn or out of order",
                        (unsigned long long)put, (unsigned long long)got,
                        (unsigned long long)errors);
                return -1;
        }
        r->value = (double)got * 1e9 / (double)(end - start);
        return 0;
}

static int measure_whole(struct bench *b, struct whole_run *w, struct bench_result *r)
{
        r->before = bench_probe(b);
        r->value = w->peer->whole(&w->run, b->ms, b->cpu);
        r->after = bench_probe(b);
        return r->value > 0 ? 0 : -1;
}

static int measure(struct bench *b, unsigned cell, unsigned row, struct bench_result *r)
{
        struct bench_shared *s = bench_shared_new();
        const void *stop = &s->stop;
        const void *done = &s->done;
        struct whole_run w = {
                .peer = queue_peers[row],
                .run = {.size = sizes[cell % SIZES],
                        .producers = sides(cell),
                        .consumers = sides(cell),
                        .stop = stop,
                        .done = done,
                        .why = r->why,
                        .note = r->note},
        };
        struct bench_group g = {.members = 2 * sides(cell),
                .pin = sides(cell) == 1,
                .probe = true,
                .run = attach_and_run,
                .release = release,
                .arg = &w};
        int err;

        if (w.peer->whole) {
                err = measure_whole(b, &w, r);
        } else {
                err = w.peer->setup(&w.run);
                if (err == 0) {
                        err = bench_group_run(b, s, &g, r);
                        if (err == 0)
                                err = evaluate(s, g.members, r);
                        if (w.peer->teardown)
                                w.peer->teardown(&w.run);
                }
        }
        bench_shared_free(s);
        return err;
}

int main(int argc, char **argv)
{
        static struct bench_row rows[32];
        struct bench b = {
                .name = "bench-queue",
                .cells = cells,
                .n_cells = CELLS,
                .rows = rows,
                .n_rows = n_queue_peers,
                .targets = targets,
                .n_targets = sizeof targets / sizeof *targets,
                .offers = offers,
                .measure = measure,
        };

        for (unsigned i = 0; i < n_queue_peers; i++) {
                rows[i].name = queue_peers[i]->name;
                rows[i].missing = queue_peers[i]->missing;
                rows[i].every = queue_peers[i]->whole ? 6 : 0;
        }
        return bench_main(&b, argc, argv);
}
