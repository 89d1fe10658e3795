/* SPDX-License-Identifier: MIT */

/*
 * A chunk of an imap: one job whose items have sizes, results and failures of their own. Items of
 * one size that follow each other go through the lanes as those of a map do. An item that has ended
 * may be returned before its chunk has: `ended` is for the one who looks without the lock, the
 * order in which they ended is read under it.
 */

#include "base/clock.h"
#include "base/fail.h"
#include "pool/imap.h"

#include <stdlib.h>
#include <string.h>

/* What was gathered for so long is sent: workers are not kept waiting for a slow source. */
#define SLOW CREW_MS(10)

enum { FIRST_ITEMS = 16, FIRST_BYTES = 1024, LEAST_BYTES = 2048 };

/* Where small results begin, so that they may have any type. */
enum { ALIGN = 16 };

typedef struct block {
        struct block *next;
        char data[] __attribute__((aligned(ALIGN)));
} block;

static size_t stride_of(size_t size)
{
        return (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static int make_room(crew__gathered *g, size_t size)
{
        if (g->n == g->room) {
                size_t room = g->pieces               ? 2 * g->room
                              : g->last > FIRST_ITEMS ? g->last
                                                      : FIRST_ITEMS;
                crew__piece *pieces = realloc(g->pieces, room * sizeof *pieces);

                if (!pieces)
                        return -ENOMEM;
                g->pieces = pieces;
                g->room = room;
        }
        if (size > g->capacity - g->used) {
                size_t capacity = 2 * (g->capacity + size) + FIRST_BYTES;
                char *bytes = realloc(g->bytes, capacity);

                if (!bytes)
                        return -ENOMEM;
                g->bytes = bytes;
                g->capacity = capacity;
        }
        return 0;
}

int crew__chunk_add(crew_imap *it, const void *item, size_t size)
{
        crew__gathered *g = &it->gathered;

        if (make_room(g, size) < 0)
                return crew__fail(
                        ENOMEM, "pool %s: no memory for a chunk of an imap", it->pool->name);
        if (!g->n)
                g->since = crew__clock_coarse();
        g->pieces[g->n++] = (crew__piece){ .in_size = size };
        if (size && item)
                memcpy(g->bytes + g->used, item, size);
        else if (size)
                memset(g->bytes + g->used, 0, size);
        g->used += size;
        return 0;
}

/* No record takes more than half of a lane, which is two of the largest items. */
static size_t most_bytes(const crew_pool *p)
{
        return 2 * p->lane_bytes > LEAST_BYTES ? 2 * p->lane_bytes : LEAST_BYTES;
}

bool crew__chunk_full(const crew_imap *it)
{
        const crew__gathered *g = &it->gathered;

        return g->n == it->chunk || g->used >= most_bytes(it->pool);
}

bool crew__chunk_late(const crew_imap *it)
{
        return crew__clock_coarse() - it->gathered.since >= SLOW;
}

crew_result *crew__chunk_job(crew_imap *it)
{
        crew__gathered *g = &it->gathered;
        crew_result *job = crew__job_new(it->pool, it->function, &it->options, g->bytes, g->used);
        const char *in;

        if (!job)
                return NULL;
        in = job->arguments;
        for (size_t i = 0; i < g->n; i++) {
                g->pieces[i].in = in;
                in += g->pieces[i].in_size;
        }
        job->n = job->chunk = g->n;
        job->pieces = g->pieces;
        g->pieces = NULL;
        g->last = g->n;
        g->n = g->room = g->used = 0;
        return job;
}

size_t crew__chunk_alike(const crew_result *job, size_t item, size_t n)
{
        size_t alike = 1;

        while (alike < n && job->pieces[item + alike].in_size == job->pieces[item].in_size)
                alike++;
        return alike;
}

void *crew__chunk_place(crew_result *job, size_t item, size_t n, size_t size, int *error)
{
        block *made;

        if (!size)
                return NULL;
        made = malloc(sizeof *made + n * stride_of(size));
        if (!made) {
                *error = crew__fail(ENOMEM, "no memory for %zu results of %zu bytes", n, size);
                return NULL;
        }
        made->next = job->blocks;
        job->blocks = made;
        for (size_t i = 0; i < n; i++) {
                job->pieces[item + i].out = made->data + i * stride_of(size);
                job->pieces[item + i].out_size = size;
        }
        return made->data;
}

/* The results of these were copied as an array. */
static void spread(const crew__piece *pieces, size_t n)
{
        const char *array = pieces->out;
        size_t size = pieces->out_size;

        /* From the back: no place lies before that in the array. */
        while (size && --n)
                memmove(pieces[n].out, array + n * size, size);
}

void crew__chunk_ended(crew_result *job, size_t item, size_t n, int reason)
{
        crew__piece *pieces = job->pieces + item;

        if (!reason && stride_of(pieces->out_size) != pieces->out_size)
                spread(pieces, n);
        for (size_t i = 0; i < n; i++) {
                pieces[i].reason = reason;
                job->pieces[job->done + i].nth = (uint32_t)(item + i);
                atomic_store_explicit(&pieces[i].ended, true, memory_order_release);
        }
}

void crew__chunk_abort(crew_result *job, int reason, const char *why)
{
        for (size_t i = 0; i < job->n; i++) {
                crew__piece *piece = &job->pieces[i];

                if (atomic_load_explicit(&piece->ended, memory_order_relaxed))
                        continue;
                /* Where nobody will look no words are needed. */
                if (job->imap)
                        piece->failure = crew__failure_new(job, i, NULL, NULL, reason);
                if (why && *why)
                        crew__failure_say(piece->failure, "%s", why);
                crew__chunk_ended(job, i, 1, reason);
                __atomic_store_n(&job->done, job->done + 1, __ATOMIC_RELAXED);
        }
}

void crew__chunk_free(crew_result *job)
{
        block *next;

        if (!job->pieces)
                return;
        for (size_t i = 0; i < job->n; i++)
                free(job->pieces[i].failure);
        for (block *at = job->blocks; at; at = next) {
                next = at->next;
                free(at);
        }
        free(job->pieces);
}
