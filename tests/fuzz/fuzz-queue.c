/* SPDX-License-Identifier: MIT */

/*
 * A queue whose shared memory a hostile peer writes. The input is a program: scribble over header
 * and records, then call. Calls may answer what they like, but neither crash nor hang, and what
 * they hand out lies inside the ring or the caller's buffer.
 *
 *      CC=clang CXX=clang++ meson setup build-fuzz && ninja -C build-fuzz tests/fuzz-queue
 *      build-fuzz/tests/fuzz-queue -max_len=2048 -timeout=10 CORPUS
 *
 * test-queue-hostile runs the same function over random programs.
 */

#include "fuzz.h"
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>

enum { RING = 16384, MOST_STEPS = 64 };

/* Locks in the hands of somebody else cost a slice each time, so they are rare. */
static void free_locks(struct program *p, crew__ring *ring)
{
        if (take(p, 1) == 77)
                return;
        atomic_store(&ring->producers.lock.word, 0);
        atomic_store(&ring->consumers.lock.word, 0);
}

static void attack(struct program *p, crew_queue *q)
{
        crew__ring *ring = q->ring;
        uint64_t head = atomic_load(&ring->head);
        uint64_t size;

        switch (take(p, 1) % 8) {
        case 0:
                scribble(p, ring, sizeof *ring, 2, 64);
                free_locks(p, ring);
                break;
        case 1:
                scribble(p, q->data, q->ring_bytes, 2, 64);
                break;
        case 2:
                size = take(p, 2);
                atomic_store(&ring->tail, crew__index_add(head, size * 8, (uint32_t)take(p, 1)));
                break;
        case 3:
                atomic_store(&ring->tail, take(p, 8));
                break;
        case 4:
                atomic_store(&ring->head, take(p, 8));
                break;
        case 5:
                size = take(p, take(p, 1) % 9);
                memcpy(crew__record_at(q->data, head, q->ring_bytes), &size, sizeof size);
                break;
        case 6:
                atomic_store(&ring->producers.other, take(p, 8));
                atomic_store(&ring->consumers.other, take(p, 8));
                break;
        default:
                atomic_store(&ring->state, (uint32_t)take(p, 1));
                free_locks(p, ring);
                break;
        }
}

/* Heap memory of exactly that size: a sanitizer sees the first byte beyond. */
static char *exactly(size_t size)
{
        char *buf = malloc(size ? size : 1);

        demand(buf != NULL);
        memset(buf, 0x5a, size);
        return buf;
}

static void call_get(struct program *p, crew_queue *q)
{
        size_t cap = take(p, 2);
        char *buf = exactly(cap);
        void *grown = NULL;
        size_t grown_cap = 0;
        ssize_t r;

        switch (take(p, 1) % 3) {
        case 0:
                r = crew_queue_get(q, buf, cap, CREW_NOW);
                demand(r <= (ssize_t)cap);
                break;
        case 1:
                r = crew_queue_get_exact(q, buf, cap, CREW_NOW);
                demand(r <= 0);
                break;
        default:
                r = crew_queue_get_alloc(q, &grown, &grown_cap, CREW_NOW);
                demand(r <= (ssize_t)grown_cap);
                break;
        }
        free(grown);
        free(buf);
}

static void call_get_many(struct program *p, crew_queue *q)
{
        size_t cap = take(p, 2);
        unsigned max = (unsigned)take(p, 1) % 8;
        char *buf = exactly(cap);
        struct iovec in[8];
        int r = crew_queue_get_many(q, buf, cap, in, max, CREW_NOW);

        demand(r <= (int)max);
        for (int i = 0; i < r; i++) {
                size_t offset = (size_t)((char *)in[i].iov_base - buf);

                demand(offset % 8 == 0 && offset <= cap + 8);
                demand(in[i].iov_len == 0 || in[i].iov_len <= cap - offset);
        }
        free(buf);
}

static void call_put(struct program *p, crew_queue *q)
{
        size_t size = take(p, 2);
        char *buf = exactly(size);
        struct iovec out[3] = {{buf, size / 3}, {buf, size}, {buf, take(p, 1) % (size + 1)}};

        if (take(p, 1) & 1)
                (void)crew_queue_put(q, buf, size, CREW_NOW);
        else
                demand(crew_queue_put_many(q, out, 3, CREW_NOW) <= 3);
        free(buf);
}

static void call_in_place(struct program *p, crew_queue *q)
{
        size_t size = take(p, 2);
        const void *seen;
        void *at;

        if (take(p, 1) & 1) {
                if (crew_queue_reserve(q, &at, size, CREW_NOW) == 0) {
                        demand((char *)at >= q->data &&
                                (char *)at + size <= q->data + 2 * q->ring_bytes);
                        memset(at, 1, size);
                        if (take(p, 1) & 1)
                                attack(p, q);
                        (void)crew_queue_commit(q, take(p, 2));
                        (void)crew_queue_abort(q);
                }
        } else {
                ssize_t r = crew_queue_peek(q, &seen, CREW_NOW);

                if (r >= 0) {
                        demand((const char *)seen >= q->data &&
                                (const char *)seen + r <= q->data + 2 * q->ring_bytes);
                        for (ssize_t i = 0; i < r; i += 64)
                                (void)*((const volatile char *)seen + i);
                        if (take(p, 1) & 1)
                                attack(p, q);
                        (void)crew_queue_release(q, take(p, 1) & 1);
                }
        }
}

static void call_open(struct program *p, crew_queue *q)
{
        crew_queue *other = NULL;

        if (crew_queue_open(&other, crew_queue_ref(q)) == 0) {
                call_put(p, other);
                call_get(p, other);
                call_in_place(p, other);
                (void)crew_queue_full(other);
                other = crew_queue_free(other);
        }
        demand(other == NULL && strlen(crew_error_detail()) < 512);
}

static void call(struct program *p, crew_queue *q)
{
        switch (take(p, 1) % 8) {
        case 0:
                call_get(p, q);
                break;
        case 1:
                call_get_many(p, q);
                break;
        case 2:
                call_put(p, q);
                break;
        case 3:
                call_in_place(p, q);
                break;
        case 4:
                call_open(p, q);
                break;
        case 5:
                (void)crew_queue_fd(q);
                break;
        case 6:
                demand(crew_queue_bytes(q) <= q->ring_bytes);
                demand(crew_queue_empty(q) == (crew_queue_count(q) == 0));
                (void)crew_queue_full(q);
                break;
        default:
                (void)crew_queue_close(q);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct program p = {data, size};
        unsigned how = (unsigned)take(&p, 1);
        crew_queue *q = NULL;

        if (crew_queue_new(&q, how >> 4,
                    CREW_OPT(queue, .bytes = RING - 8, .name = "hostile",
                            .message_size = how & 8 ? 40 : 0, .flags = how & 6)) < 0)
                return 0;
        for (int step = 0; step < MOST_STEPS && p.left; step++) {
                if (take(&p, 1) & 1)
                        attack(&p, q);
                else
                        call(&p, q);
        }
        (void)crew_queue_free(q);
        return 0;
}
