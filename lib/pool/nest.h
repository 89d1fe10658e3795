/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_NEST_H
#define CREW_POOL_NEST_H

/*
 * What the pool, its zygote and the zygote's workers share.
 *
 * One segment: what the pool tells about itself (status/pool-page.h), a table of endings, which the
 * zygote writes; workers have neither. Then a page for each row, which its worker has alone and may
 * fill with anything.
 *
 * Descriptors in a worker, whatever the host had open: 0-2 and keep_fds under their own numbers,
 * then in the lowest numbers that are left: the control socket, the two eventfds of the lane, and
 * the eventfds of grants. In the zygote everything else lies above these.
 */

#include "kernel/pulse.h"
#include "pool/tape.h"
#include "pool/zygote.h"
#include "process/post.h"
#include "status/pool-page.h"

#include <stdatomic.h>

_Static_assert((int)CREW__STAGE_READY == (int)CREW__PERCH_READY, "what inspectors look for");

/* A worker's own page; see above for who may write it. */
typedef struct crew__perch {
        _Atomic uint32_t gate; /* CREW__GATE_..., futex word; the pool writes it */
        _Atomic uint32_t stage;
        _Atomic int32_t code, step;
        char text[CREW__LANE_TEXT]; /* written before the stage */
        _Alignas(64) crew__pulse pulse; /* of its main thread */
        _Alignas(64) crew__report report;
        _Alignas(64) crew__gauge gauge; /* for inspectors, as the next */
        char status[CREW__STATUS_BYTES];
        crew__tape tape; /* where the program traces */
} crew__perch;

_Static_assert(sizeof(crew__perch) <= 4096, "a perch is a page");

/* How a row's worker ended: `pid` is written last, so it says whose ending this is. */
typedef struct crew__epitaph {
        _Atomic int32_t pid;
        crew__ending ending;
} crew__epitaph;

enum crew__errand { CREW__ERRAND_SPAWN, CREW__ERRAND_GRANT };

/* From the pool to the zygote (and grants from there to the workers) with the descriptors of a
 * segment: its memfd and its eventfds, and perhaps that of a cell. Spawns and grants come through a
 * socket each: the driver asks for workers and goes on, who grants waits for the answer. */
typedef struct crew__ask {
        uint64_t number; /* comes back in the answer: an answer that comes too late is dropped */
        uint32_t errand;
        uint32_t row;
        crew_ref ref;
        uint64_t head, ring; /* the former as it is used */
        uint32_t celled;     /* the first descriptor is that of the cell where it is to be born */
} crew__ask;

typedef struct crew__answer { /* to a spawn: with the pidfd */
        uint64_t number;
        int32_t result; /* pid, 0, or a negative errno */
        uint32_t row;
} crew__answer;

/* The zygote, seen from inside; its workers inherit it. */
typedef struct crew__nest {
        const crew__zygote_options *options;
        crew__segment *pages;
        unsigned rows;
        int socket;      /* for grants */
        int births;      /* for spawns */
        int application; /* its pidfd */
        pid_t application_pid;
        bool stale_out, stale_err;
        bool traced; /* the program traces: its workers note when their tasks run */

        crew__plan plan; /* a copy with its descriptor out of the way */
        int number[CREW__WORKER_NUMBERS];
        int floor;           /* descriptors of its own are from here on */
        struct rlimit files; /* as the host had it */
        void *init_arg;      /* a copy: the caller's may lie in memory that is dropped */
        pid_t pid;
        crew__segment **grant;
        size_t n_grants, room;

        /* Of a zygote that is no fork: where the program's functions are here. NULL: as there. */
        const struct crew__moved *modules;
        size_t n_modules;
} crew__nest;

/* Where in the segment the seats are, the endings, and the rows' pages. */
static inline size_t crew__seats_at(void)
{
        return (sizeof(crew__pool_page) + 63) & ~(size_t)63;
}

static inline size_t crew__epitaphs_at(unsigned rows)
{
        return crew__seats_at() + rows * sizeof(crew__seat);
}

static inline size_t crew__perches_at(unsigned rows)
{
        return crew__page_round(crew__epitaphs_at(rows) + rows * sizeof(crew__epitaph));
}

static inline crew__pool_page *crew__pool_page_of(const crew__segment *pages)
{
        return pages->address;
}

static inline crew__seat *crew__seat_of(const crew__segment *pages, unsigned row)
{
        return (crew__seat *)(void *)((char *)pages->address + crew__seats_at()) + row;
}

/* pages.c: the pool's page, once; and who sits in a row, or nobody. The pool's. */
void crew__pages_describe(
        const crew__segment *pages, unsigned rows, const crew__zygote_options *o);
void crew__seat_take(const crew__segment *pages, unsigned row, int lane, pid_t pid);
void crew__seat_leave(const crew__segment *pages, unsigned row);

static inline crew__epitaph *crew__epitaph_of(
        const crew__segment *pages, unsigned rows, unsigned row)
{
        return (crew__epitaph *)(void *)((char *)pages->address + crew__epitaphs_at(rows)) + row;
}

static inline crew__perch *crew__perch_of(const crew__segment *pages, unsigned rows, unsigned row)
{
        return (crew__perch *)((char *)pages->address + crew__perches_at(rows) +
                               row * crew__page_size());
}

/* nest.c: what becomes of the fork; descriptors that came, moved up; a grant of later. The last two
 * take the descriptors, also when they fail. */
int crew__nest_settle(crew__nest *nest);
int crew__nest_lift(const crew__nest *nest, int fds[CREW__POST_FDS]);
int crew__nest_grant(crew__nest *nest, const crew__ask *ask, int fds[CREW__POST_FDS]);

/* brood.c: the life of the zygote. */
void crew__brood(crew__nest *nest) __attribute__((noreturn));

/* worker.c: the life of a worker. `control` and the lane's descriptors are where they are. */
typedef struct crew__newborn {
        const crew__nest *nest;
        unsigned row;
        int control;
        int lane[CREW__POST_FDS];
        int cell; /* or -1: it limits its address space instead */
} crew__newborn;

void crew__worker_main(const crew__newborn *newborn) __attribute__((noreturn));

#endif
