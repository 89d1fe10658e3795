/* SPDX-License-Identifier: MIT */
#ifndef CREW_STATUS_POOL_PAGE_H
#define CREW_STATUS_POOL_PAGE_H

/*
 * What a pool tells about itself: the head of the segment "crew:pool:NAME" that it shares with its
 * zygote, then a seat for each worker. The application writes both and its workers have neither
 * mapped. A seat leads to what the worker writes about itself: its own page in the same segment and
 * the words of its lane; where in them is told by offsets, so that a reader of another version
 * finds its way. Appended to only, as crew__page is.
 */

#include <stdatomic.h>
#include <stdint.h>

enum {
        CREW__POOL_MAGIC = 0x6c6f6f70, /* "pool" */
        CREW__POOL_VERSION = 1,
        CREW__POOL_CLOSED = 1,
        CREW__POOL_TERMINATED = 2,
        CREW__POOL_BROKEN = 4,
        CREW__STATUS_BYTES = 64,
        CREW__PERCH_READY = 3, /* in the stage of a worker: it takes tasks */
};

typedef struct crew__seat {
        _Atomic uint32_t pid;    /* 0: nobody; stored last */
        uint32_t lane;           /* the application's descriptor of the lane + 1 */
        uint64_t after;          /* CLOCK_BOOTTIME: the worker was made after this */
        _Atomic uint64_t before; /* and before this */
        _Atomic uint64_t named;  /* the first task for which `name` holds, as do all after it */
        char name[24];           /* of the tasks, "" = they have none */
        uint32_t makes;          /* how many workers sat here */
        uint32_t padding;
} crew__seat;

typedef struct crew__pool_page {
        uint32_t magic;
        uint32_t version;
        uint32_t size;
        uint32_t pid; /* of the application, in its pid namespace */
        uint64_t since;
        _Atomic uint32_t zygote;
        uint32_t seats_at, seat_size, n_seats;
        uint32_t perches_at, perch_step; /* the pages of the workers, one for each seat */
        uint16_t perch_stage, perch_text, perch_gauge, perch_refused; /* in them */
        uint16_t lane_current, lane_since, lane_unused, lane_ended;   /* in a lane */
        uint32_t method;
        uint32_t landlock; /* ABI, 0 = none */
        _Atomic uint32_t state;
        _Atomic uint32_t workers, busy, padding;
        _Atomic uint64_t submitted, done, failed, replaced, violations, queued;
        char name[48];
        char sandbox[96];    /* words; "" = none */
        char violation[192]; /* the last one, in words */
} crew__pool_page;

_Static_assert(sizeof(crew__seat) == 64, "seats of this version");

/*
 * How long the tasks of a worker took: a count for each bucket, two buckets to a doubling. Bucket 0
 * ends at 128 ns; bucket 2 n + 1 and 2 n + 2 halve what lies between 2^(7+n) and 2^(8+n) ns.
 */
enum { CREW__GAUGE_BUCKETS = 64 };

typedef struct crew__gauge {
        _Atomic uint32_t buckets[CREW__GAUGE_BUCKETS];
} crew__gauge;

static inline unsigned crew__gauge_bucket(uint64_t ns)
{
        unsigned top, bucket;

        if (ns < 128)
                return 0;
        top = 63 - (unsigned)__builtin_clzll(ns);
        bucket = 2 * (top - 7) + 1 + (unsigned)(ns >> (top - 1) & 1);
        return bucket < CREW__GAUGE_BUCKETS ? bucket : CREW__GAUGE_BUCKETS - 1;
}

/* The upper end of a bucket, in ns. */
static inline uint64_t crew__gauge_end(unsigned bucket)
{
        unsigned n = (bucket - 1) / 2;

        if (bucket == 0)
                return 128;
        return bucket & 1 ? (UINT64_C(192) << n) : (UINT64_C(256) << n);
}

#endif
