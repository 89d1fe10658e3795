/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_IMAP_H
#define CREW_POOL_IMAP_H

/* An iterator, and the chunks that its items go in. */

#include "pool/pool.h"

/* What will be the next chunk. */
typedef struct crew__gathered {
        crew__piece *pieces;
        char *bytes;
        size_t n, room, used, capacity;
        size_t last;    /* items of the chunk before */
        uint64_t since; /* of its first item */
} crew__gathered;

struct crew_imap {
        uint64_t generation;
        crew_pool *pool;
        crew_task_fn *function;
        crew_source_fn *source;
        void *user;
        bool unordered, over;
        bool slow;   /* the last chunk is smaller because the source took its time */
        int stopped; /* what the source answered */
        crew_task_options options;
        size_t chunk, window, begun, returned;
        size_t held;          /* items of `jobs` */
        crew__link jobs;      /* not returned as a whole, in the order of the input */
        crew__link ready;     /* unordered: with items that ended; under the pool's lock */
        crew_result *current; /* unordered: `known` of its items have ended, or NULL */
        size_t known;
        crew_result *last; /* what the caller looks at, if that is returned as a whole */
        crew__gathered gathered;
        crew_failure failure;
        _Atomic uint32_t word; /* counts completions; under the pool's lock */
        _Atomic uint32_t sleepers;
};

/* chunk.c */

/* Takes a copy of an item; -ENOMEM. */
int crew__chunk_add(crew_imap *it, const void *item, size_t size);
/* Is that enough? Has it taken long enough? */
bool crew__chunk_full(const crew_imap *it);
bool crew__chunk_late(const crew_imap *it);
/* A job of what was gathered, which is then nothing; NULL: no memory. */
crew_result *crew__chunk_job(crew_imap *it);
/* Of `n` items from `item` on, how many one record can take, as they are of one size. */
size_t crew__chunk_alike(const crew_result *job, size_t item, size_t n);
/* As crew__items_place, crew__items_done, crew__item_failed and crew__job_abort for its items. */
void *crew__chunk_place(crew_result *job, size_t item, size_t n, size_t size, int *error);
void crew__chunk_ended(crew_result *job, size_t item, size_t n, int reason);
void crew__chunk_abort(crew_result *job, int reason, const char *why);
void crew__chunk_free(crew_result *job);

#endif
