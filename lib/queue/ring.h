/* SPDX-License-Identifier: MIT */
#ifndef CREW_QUEUE_RING_H
#define CREW_QUEUE_RING_H

/*
 * The ring: what lies in shared memory, index arithmetic and barriers. No waiting, no locks taken.
 *
 * An index is one 64-bit word: the number of messages that ever passed (low 32 bits) and the offset
 * in units of 8 bytes (high 32 bits), both free-running. A put is committed by one store of the
 * tail, a get by one store of the head; whoever dies before that store has done nothing. Bytes and
 * messages in the ring are differences of the two words, so they cannot disagree after a death.
 *
 * A record is its size (8 bytes), then the message, padded to 8. The data area is mapped twice in a
 * row: a record is contiguous wherever it starts.
 *
 * Nothing read here is trusted: indices are read once and their difference bounded before use, a
 * size is checked against what lies between the indices, geometry comes from the handle.
 */

#include "kernel/events.h"
#include "kernel/lock.h"
#include "status/queue-page.h"

#include <stddef.h>
#include <string.h>

enum {
        CREW__RING_VERSION = 1,
        CREW__RECORD_HEADER = 8,
        CREW__NAME_MAX = 64,
};
#define CREW__RING_MAGIC UINT64_C(0x75717765726301) /* "\1crewqu" */

/* Two lines: the hardware prefetcher of x86 fetches them in pairs, which is sharing too. */
#define CREW__LINE _Alignas(128)

enum {
        CREW__STATE_CLOSED = CREW__QUEUE_STATE_CLOSED,
        CREW__STATE_BROKEN = CREW__QUEUE_STATE_BROKEN,
        CREW__STATE_SHARING = 4, /* a second process is about to use the queue */
        CREW__STATE_SHARED = CREW__QUEUE_STATE_SHARED,  /* and everybody who slept without slices has been woken */
        CREW__STATE_GRANTED = CREW__QUEUE_STATE_GRANTED, /* to a process that is not trusted; see granted.c */
        CREW__STATE_STUCK = CREW__QUEUE_STATE_STUCK,   /* with BROKEN: one of its locks was not let go */
        CREW__STATE_OVER = 64, /* with CLOSED: because nobody is left who could put */
};

/* What the processes on one side share among themselves. */
typedef struct crew__ring_side {
        crew__lock lock;
        /* A copy of the other side's index, reread only when the ring looks full or empty. */
        _Atomic uint64_t other;
        /* The most messages that were found in the ring at such a rereading: what inspectors call
         * high water. A look at each message would be a miss on the other side's line. */
        _Atomic uint32_t high;
} crew__ring_side;

typedef struct crew__ring {
        /* Written once, before anybody else can see it. */
        uint64_t magic;
        uint32_t version;
        uint32_t flags;
        uint64_t ring_bytes;
        uint64_t message_size;
        uint32_t max_messages;
        uint32_t creator;
        uint64_t pid_namespace; /* inode, 0 unknown: TIDs in locks mean something only inside it */
        char name[CREW__NAME_MAX];
        uint16_t at[CREW__QUEUE_PLACES]; /* for inspectors: status/queue-page.h */

        CREW__LINE _Atomic uint32_t state;
        CREW__LINE crew__ring_side producers;
        CREW__LINE crew__ring_side consumers;
        CREW__LINE _Atomic uint64_t tail;
        CREW__LINE _Atomic uint64_t head;
        CREW__LINE crew__events readable; /* consumers sleep here */
        CREW__LINE crew__events writable; /* producers sleep here */

        /* See tasks.c and holders.c. */
        CREW__LINE _Atomic uint32_t done; /* messages that were said to be done */
        crew__events finished;            /* who waits for all of them sleeps here */
        _Atomic uint32_t swept;           /* when the holders were looked at, in ms */
} crew__ring;

static inline uint32_t crew__index_count(uint64_t index)
{
        return (uint32_t)index;
}

static inline uint32_t crew__index_offset(uint64_t index)
{
        return (uint32_t)(index >> 32);
}

/* Messages between two indices. */
static inline uint32_t crew__index_messages(uint64_t tail, uint64_t head)
{
        return crew__index_count(tail) - crew__index_count(head);
}

/* Bytes between two indices; a pair that no correct peer writes may give more than the ring has. */
static inline uint64_t crew__index_bytes(uint64_t tail, uint64_t head)
{
        return (uint64_t)(crew__index_offset(tail) - crew__index_offset(head)) * 8;
}

/* The index `bytes` (a multiple of 8) and `messages` further on. */
static inline uint64_t crew__index_add(uint64_t index, uint64_t bytes, uint32_t messages)
{
        uint32_t count = crew__index_count(index) + messages;
        uint32_t offset = crew__index_offset(index) + (uint32_t)(bytes / 8);

        return (uint64_t)offset << 32 | count;
}

static inline uint64_t crew__record_bytes(uint64_t size)
{
        return (size + CREW__RECORD_HEADER + 7) & ~UINT64_C(7);
}

/* Could a correct peer have left these two? Each message takes at least its header. */
static inline bool crew__index_valid(uint64_t tail, uint64_t head, uint64_t ring_bytes)
{
        uint64_t bytes = crew__index_bytes(tail, head);

        return bytes <= ring_bytes &&
               (uint64_t)crew__index_messages(tail, head) * CREW__RECORD_HEADER <= bytes;
}

static inline char *crew__record_at(char *data, uint64_t index, uint64_t ring_bytes)
{
        return data + ((uint64_t)crew__index_offset(index) * 8 & (ring_bytes - 1));
}

#endif
