/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_LANE_LAYOUT_H
#define CREW_POOL_LANE_LAYOUT_H

/*
 * What lies in a lane's segment: a page of words, the ring of tasks, the ring of results.
 *
 * An index is one 64-bit word: the number of records that ever passed (low 32 bits) and the place
 * in units of 32 bytes, counted modulo twice the ring (high 32 bits), so that full and empty differ
 * and a ring may have any number of pages. One store moves both.
 *
 * A record holds one item, or the items of one batch: a header, their payloads, padding to 16, for
 * results a text, padding to 32. All payloads of a record have one size; small ones are packed, so
 * that a batch of integers is an array of them, larger ones begin at multiples of 16. Headers never
 * wrap. The pool copies in and out and does that in two pieces where payloads wrap; the worker maps
 * each ring twice in a row and sees every payload whole.
 */

#include "kernel/events.h"
#include "pool/lane.h"

#include <stdbool.h>
#include <stdint.h>

enum {
        CREW__LANE_VERSION = 2,
        CREW__LANE_UNIT = 32,
        CREW__LANE_HEADER = 32,
        CREW__LANE_RECORDS = 4, /* of the largest size that each direction takes */
        CREW__LANE_SMALL = 64,  /* and that many that are no larger than this; those are packed */
};
#define CREW__LANE_MAGIC UINT64_C(0x656e616c776572) /* "rewlane" */
#define CREW__LANE_MOST (UINT64_C(1) << 30)

/* As the queue's: pairs of lines, which the prefetcher of x86 fetches together. */
#define CREW__LANE_LINE _Alignas(128)

typedef struct crew__lane_words {
        /* Written once, for the worker; the pool goes by its own copy. */
        uint64_t magic;
        uint32_t version;
        uint32_t words; /* bytes before the ring of tasks */
        uint64_t bytes; /* the largest payload */
        uint64_t tasks; /* bytes of each ring */
        uint64_t results;

        /* The pool's to write. */
        CREW__LANE_LINE _Atomic uint64_t task_tail;
        CREW__LANE_LINE _Atomic uint64_t result_head;
        CREW__LANE_LINE _Atomic uint32_t hold; /* counts its changes: odd while it is set */
        _Atomic uint32_t closed;
        _Atomic uint64_t cancelled;

        /* The worker's to write. */
        CREW__LANE_LINE _Atomic uint64_t current; /* ids */
        _Atomic uint64_t begun;
        _Atomic uint64_t since; /* CLOCK_MONOTONIC_COARSE at the last batch, for inspectors */
        _Atomic uint64_t ended; /* items, ever; as far as it has told of them; for inspectors */
        CREW__LANE_LINE _Atomic uint64_t freed;
        CREW__LANE_LINE _Atomic uint64_t result_tail;

        /* Two for the worker's sleep: a result that is popped must not wake it for a task. */
        CREW__LANE_LINE crew__events task_events;
        CREW__LANE_LINE crew__events room_events;
        CREW__LANE_LINE crew__events result_events; /* the pool sleeps here */
} crew__lane_words;

typedef struct crew__task_header {
        uint64_t id; /* of the first item; the others have those that follow */
        uint64_t function;
        uint32_t size;          /* of each item */
        _Atomic uint32_t count; /* items that are to be run: a recall lowers it */
        uint32_t bytes;         /* of the record, which a recall leaves */
        uint32_t attempt;
} crew__task_header;

typedef struct crew__result_header {
        uint64_t id;   /* of the first item */
        uint32_t size; /* of each item */
        uint32_t count;
        int32_t status; /* of each item */
        uint32_t text;  /* bytes, without a zero */
        uint64_t took;  /* ns, of a batch; 0: not measured */
} crew__result_header;

_Static_assert(sizeof(crew__task_header) == CREW__LANE_HEADER, "headers do not wrap");
_Static_assert(sizeof(crew__result_header) == CREW__LANE_HEADER, "headers do not wrap");

static inline uint64_t crew__lane_round(uint64_t bytes, uint64_t to)
{
        return (bytes + to - 1) & ~(to - 1);
}

/* From one payload of a record to the next. */
static inline uint64_t crew__lane_stride(uint64_t size)
{
        return size <= CREW__LANE_SMALL ? size : crew__lane_round(size, CREW__LANE_ALIGN);
}

static inline uint64_t crew__task_bytes(uint64_t size, uint64_t count)
{
        return CREW__LANE_HEADER +
               crew__lane_round(count * crew__lane_stride(size), CREW__LANE_UNIT);
}

/* Where the text begins, behind the header. */
static inline uint64_t crew__result_text_at(uint64_t size, uint64_t count)
{
        return crew__lane_round(count * crew__lane_stride(size), CREW__LANE_ALIGN);
}

static inline uint64_t crew__result_bytes(uint64_t size, uint64_t count, uint64_t text)
{
        return CREW__LANE_HEADER +
               crew__lane_round(crew__result_text_at(size, count) + text, CREW__LANE_UNIT);
}

static inline uint64_t crew__lane_places(uint64_t ring)
{
        return 2 * ring / CREW__LANE_UNIT;
}

static inline uint32_t crew__lane_records(uint64_t to, uint64_t from)
{
        return (uint32_t)to - (uint32_t)from;
}

/* Of two indices whose places are in range. More than `ring` is what no correct peer leaves. */
static inline uint64_t crew__lane_distance(uint64_t to, uint64_t from, uint64_t ring)
{
        uint64_t a = to >> 32, b = from >> 32;

        return (a >= b ? a - b : a + crew__lane_places(ring) - b) * CREW__LANE_UNIT;
}

/* The index behind a record of `bytes`. */
static inline uint64_t crew__lane_behind(uint64_t index, uint64_t bytes, uint64_t ring)
{
        uint64_t place = (index >> 32) + bytes / CREW__LANE_UNIT;

        if (place >= crew__lane_places(ring))
                place -= crew__lane_places(ring);
        return place << 32 | (uint32_t)(index + 1);
}

static inline uint64_t crew__lane_offset(uint64_t index, uint64_t ring)
{
        uint64_t offset = (index >> 32) * CREW__LANE_UNIT;

        return offset >= ring ? offset - ring : offset;
}

#endif
