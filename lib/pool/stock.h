/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_STOCK_H
#define CREW_POOL_STOCK_H

/*
 * Memory for jobs, kept by the pool from one to the next. A program submits thousands at once and
 * frees them together; the allocator then gives their pages back, and each batch costs the page
 * faults anew, which take several times as long as all that the pool does for a task.
 *
 * What a stock keeps goes with its pool, and the stock itself with the last block that is out. In a
 * forked child all of it works as before: nobody holds anything that another would wait for.
 */

#include "base/sanitized.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum {
        CREW__STOCK_BLOCK = 432, /* bytes: a job with an argument of a cache line */
        /* Blocks at most: 7 MiB. None where a sanitizer is to see who uses what was freed. */
        CREW__STOCK_KEEPS = CREW__ASAN ? 0 : 16384,
};

typedef struct crew__stock_block {
        struct crew__stock_block *next;
} crew__stock_block;

typedef struct crew__stock {
        _Atomic(crew__stock_block *) returned; /* pushed by anybody */
        crew__stock_block *ready;              /* of whoever has set `taking` */
        atomic_flag taking;
        _Atomic bool closed;
        _Atomic size_t made; /* blocks that there are */
        _Atomic size_t out;  /* and that are in use; the pool counts as one */
} crew__stock;

/* NULL: no memory. */
crew__stock *crew__stock_new(void);

/* By the pool, at its end. */
void crew__stock_close(crew__stock *s);

/* A block of CREW__STOCK_BLOCK bytes, with anything in it; NULL: no memory. Any thread. */
void *crew__stock_take(crew__stock *s);

/* Any thread, also after the pool's end. */
void crew__stock_give(crew__stock *s, void *block);

#endif
