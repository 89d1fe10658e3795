/* SPDX-License-Identifier: MIT */
#ifndef CREW_STATUS_QUEUE_PAGE_H
#define CREW_STATUS_QUEUE_PAGE_H

/*
 * How the memory of a queue, "crew:queue:NAME", begins, for readers that are no users: what does
 * not change, and where the words are that do. The queue's own header (queue/ring.h) is this and
 * more; queue.c asserts it. The words themselves:
 *
 *      state   bits, as below
 *      lock    TID of the owner with FUTEX_WAITERS and FUTEX_OWNER_DIED, 0 = free
 *      index   messages that ever passed (low 32 bits), place in units of 8 bytes (high 32)
 *      events  bit 0: somebody sleeps
 */

#include <stdint.h>

enum {
        CREW__QUEUE_AT_STATE,
        CREW__QUEUE_AT_PRODUCERS, /* lock word */
        CREW__QUEUE_AT_CONSUMERS,
        CREW__QUEUE_AT_TAIL,
        CREW__QUEUE_AT_HEAD,
        CREW__QUEUE_AT_READABLE, /* events of the consumers, then whether an eventfd is armed */
        CREW__QUEUE_AT_WRITABLE,
        CREW__QUEUE_AT_HIGH, /* behind a lock word: the most messages this side has seen */
        CREW__QUEUE_PLACES,

        CREW__QUEUE_STATE_CLOSED = 1,
        CREW__QUEUE_STATE_BROKEN = 2,
        CREW__QUEUE_STATE_SHARED = 8,
        CREW__QUEUE_STATE_GRANTED = 16,
        CREW__QUEUE_STATE_STUCK = 32,
};
#define CREW__QUEUE_MAGIC UINT64_C(0x75717765726301)

typedef struct crew__queue_page {
        uint64_t magic;
        uint32_t version;
        uint32_t flags;
        uint64_t ring_bytes;
        uint64_t message_size;
        uint32_t max_messages;
        uint32_t creator;
        uint64_t pid_namespace;
        char name[64];
        uint16_t at[CREW__QUEUE_PLACES];
} crew__queue_page;

_Static_assert(sizeof(crew__queue_page) == 128, "one pair of lines");

#endif
