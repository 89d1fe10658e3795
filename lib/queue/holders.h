/* SPDX-License-Identifier: MIT */
#ifndef CREW_QUEUE_HOLDERS_H
#define CREW_QUEUE_HOLDERS_H

/*
 * Who holds a queue: a table of rows in its memory, one for each process, where the queue was made
 * with CREW_QUEUE_EOF or CREW_QUEUE_JOINABLE. A row is one word, who has it and what he may do, and
 * each change is one compare-and-swap, so a death in the middle of anything leaves a whole row.
 * Whoever waits for the queue looks every 20 ms whether the processes in the table still live.
 *
 *      FREE -> EXPECTED -> PUTS -> TAKES    said that it puts no more; it still takes messages
 *                 |          |        |
 *                 |          +--------+---> FREE  freed the queue, or is dead
 *                 +-> ORPHAN -> FREE       its parent died between the fork and writing its number
 *
 * EXPECTED and ORPHAN carry the claim of the parent: crew_process_start makes such a row before it
 * forks, so that no child is ever without one. A pool that was granted the queue has a row beside
 * that of its program (POOL), for the workers that have not opened the queue yet.
 *
 * With CREW_QUEUE_EOF, the queue is closed by who finds no row that may put (PUTS, EXPECTED,
 * ORPHAN, POOL), under the lock of the producers as every close.
 */

#include "queue/queue.h"

enum {
        CREW__ROWS = 256,
        CREW__ROW_FREE = 0,
        CREW__ROW_PUTS,
        CREW__ROW_TAKES,
        CREW__ROW_EXPECTED,
        CREW__ROW_ORPHAN,
        CREW__ROW_POOL,
        CREW__ROW_STATE_SHIFT = 61, /* below it, the claim of kernel/owner.h */
};

/*
 * The counters are the holder's own and only go up. `taken` goes before the index of the consumers
 * and `done` behind that of the queue, so that a count which somebody else reads in between makes
 * too little look lost, never too much.
 */
typedef struct crew__row {
        _Alignas(64) _Atomic uint64_t word;
        _Atomic uint32_t taken, done;
} crew__row;

/* Where the rows begin, behind the header, and how long both are. */
#define CREW__ROWS_AT (((sizeof(crew__ring) + 127) / 128) * 128)
#define CREW__ROWS_END (CREW__ROWS_AT + CREW__ROWS * sizeof(crew__row))

static inline bool crew__has_rows(uint64_t flags)
{
        return flags & (CREW_QUEUE_EOF | CREW_QUEUE_JOINABLE);
}

/* A handle more, or less, in this process; the last one gives up the row. */
void crew__holders_handle(crew_queue *q);
void crew__holders_free(crew_queue *q);

/* This process uses the queue: it gets a row if it has none. 0; -ENOSPC. */
int crew__holders_adopt(crew_queue *q);

/* Has this process said that it puts no more? Then a put is refused: -EPIPE. */
bool crew__holders_silent(const crew_queue *q);
int crew__holders_broke_word(void);

/* This process is about to commit that it takes so many messages. */
static inline void crew__holders_took(crew_queue *q, uint32_t messages)
{
        uint32_t row = atomic_load_explicit(&q->segment->row, memory_order_relaxed);

        if (row)
                (void)atomic_fetch_add(&q->rows[row - 1].taken, messages);
}

#endif
