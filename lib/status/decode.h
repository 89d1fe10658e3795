/* SPDX-License-Identifier: MIT */
#ifndef CREW_STATUS_DECODE_H
#define CREW_STATUS_DECODE_H

/*
 * From the bytes of a page to what they say. The bytes are a private copy, so nothing changes while
 * it is looked at; they come from anybody, so every size, count and offset in them is checked
 * against how many bytes there are. No system calls, no memory: tests/fuzz/fuzz-inspect.c.
 *
 * A writer of another version knew fewer fields (they read as 0) or more (they are not looked at).
 */

#include "status/page.h"
#include "status/pool-page.h"
#include "status/queue-page.h"

#include <crew/inspect.h>

enum {
        CREW__MOST_ROWS = 65536, /* that are looked at in one page */
        CREW__MOST_SEATS = 65536,
};

/* Copies at most `most` bytes up to a zero into to[size], as UTF-8 without what steers a terminal.
 */
void crew__clean_text(char *to, size_t size, const char *from, size_t most);

/* A page of crew:status; rows lie at rows_at + i * row_size, all inside the bytes. */
typedef struct crew__seen_page {
        uint32_t pid;
        uint64_t since;
        uint32_t rows_at, row_size, n_rows;
} crew__seen_page;

typedef struct crew__seen_row {
        uint32_t pid; /* 0: the row is free */
        unsigned role, method;
        uint32_t own; /* 0 or a descriptor + 1 */
        int landlock;
        uint64_t after, before;
        char name[64], sandbox[64];
} crew__seen_row;

bool crew__decode_page(const void *bytes, size_t n, crew__seen_page *page);
void crew__decode_row(
        const void *bytes, size_t n, const crew__seen_page *page, uint32_t i, crew__seen_row *row);

/* The head of crew:pool; seats lie inside `total`, the size of the file, and so do perches. */
typedef struct crew__seen_pool {
        uint32_t pid, zygote;
        uint64_t since;
        uint32_t seats_at, seat_size, n_seats;
        uint32_t perches_at, perch_step;
        uint16_t perch_stage, perch_text, perch_gauge, perch_refused;
        uint16_t lane_current, lane_since, lane_ended;
        unsigned method, workers, busy;
        int landlock, state; /* CREW_STATE_... */
        uint64_t submitted, done, failed, replaced, violations, queued;
        char name[64], sandbox[128], violation[256];
} crew__seen_pool;

typedef struct crew__seen_seat {
        uint32_t pid;
        uint32_t lane; /* 0 or a descriptor + 1 */
        uint64_t after, before, named;
        char name[32];
} crew__seen_seat;

typedef struct crew__seen_perch {
        bool ready; /* it takes tasks */
        uint64_t refused;
        char status[80];
        uint32_t times[CREW_TASK_TIMES];
} crew__seen_perch;

typedef struct crew__seen_lane {
        uint64_t current, since, done;
} crew__seen_lane;

bool crew__decode_pool(const void *bytes, size_t n, uint64_t total, crew__seen_pool *pool);
/* `bytes` begins where the seats do. */
void crew__decode_seat(const void *bytes, size_t n, const crew__seen_pool *pool, uint32_t i,
        crew__seen_seat *seat);
void crew__decode_perch(
        const void *bytes, size_t n, const crew__seen_pool *pool, crew__seen_perch *perch);
void crew__decode_lane(
        const void *bytes, size_t n, const crew__seen_pool *pool, crew__seen_lane *lane);

typedef struct crew__seen_queue {
        uint32_t creator;
        uint64_t pid_namespace;
        char name[80];
} crew__seen_queue;

/*
 * A queue whose file has `total` bytes: everything of `info` that its memory tells; of the locks
 * the thread and the marks, of strings none. False if it is none.
 */
bool crew__decode_queue(const void *bytes, size_t n, uint64_t total, crew__seen_queue *queue,
        crew_queue_info *info);

#endif
