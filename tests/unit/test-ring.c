/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "queue/queue.h"
#include "queue/ring.h"

#include <stddef.h>

static uint64_t index_of(uint32_t offset, uint32_t count)
{
        return (uint64_t)offset << 32 | count;
}

TEST(parts, "an index is an offset and a count", "[unit][ring]")
{
        uint64_t index = index_of(0xdeadbeef, 0x12345678);

        CHECK_INT(crew__index_offset(index), ==, 0xdeadbeef);
        CHECK_INT(crew__index_count(index), ==, 0x12345678);
        CHECK(crew__index_add(index_of(1, 1), 16, 1) == index_of(3, 2));
        CHECK(crew__index_add(index_of(1, 1), 0, 0) == index_of(1, 1));
}

TEST(count_wraps, "the count wraps at 2^32 without touching the offset", "[unit][ring]")
{
        uint64_t head = index_of(100, UINT32_MAX), tail = crew__index_add(head, 24, 1);

        CHECK_INT(crew__index_count(tail), ==, 0);
        CHECK_INT(crew__index_offset(tail), ==, 103);
        CHECK_INT(crew__index_messages(tail, head), ==, 1);
        CHECK_INT(crew__index_bytes(tail, head), ==, 24);
        CHECK(crew__index_valid(tail, head, 4096));
        tail = crew__index_add(tail, 8 * 5, 5);
        CHECK_INT(crew__index_messages(tail, head), ==, 6);
}

TEST(offset_wraps, "the offset wraps at 2^32 units without touching the count", "[unit][ring]")
{
        uint64_t head = index_of(UINT32_MAX - 1, 7), tail = crew__index_add(head, 32, 1);

        CHECK_INT(crew__index_offset(tail), ==, 2);
        CHECK_INT(crew__index_count(tail), ==, 8);
        CHECK_INT(crew__index_bytes(tail, head), ==, 32);
        CHECK_INT(crew__index_messages(tail, head), ==, 1);
        CHECK(crew__index_valid(tail, head, 4096));
}

TEST(both_wrap, "a walk over both wraps keeps the differences", "[unit][ring]")
{
        uint64_t head = index_of(UINT32_MAX - 50, UINT32_MAX - 20), tail = head;

        for (unsigned i = 1; i <= 100; i++) {
                tail = crew__index_add(tail, crew__record_bytes(i % 9), 1);
                CHECK_INT(crew__index_messages(tail, head), ==, i);
                CHECK(crew__index_valid(tail, head, 1 << 16));
        }
        for (unsigned i = 1; i <= 100; i++)
                head = crew__index_add(head, crew__record_bytes(i % 9), 1);
        CHECK(tail == head);
}

TEST(largest, "the largest ring of 16 GiB can be full", "[unit][ring]")
{
        uint64_t bytes = (uint64_t)16 << 30, head = index_of(0x90000000, 3);
        uint64_t tail = crew__index_add(head, bytes, 1);

        CHECK(crew__index_bytes(tail, head) == bytes);
        CHECK(crew__index_valid(tail, head, bytes));
        CHECK(!crew__index_valid(crew__index_add(tail, 8, 1), head, bytes));
}

TEST(records, "a record takes its size and 8, rounded up to 8", "[unit][ring]")
{
        CHECK_INT(crew__record_bytes(0), ==, 8);
        CHECK_INT(crew__record_bytes(1), ==, 16);
        CHECK_INT(crew__record_bytes(8), ==, 16);
        CHECK_INT(crew__record_bytes(9), ==, 24);
        CHECK_INT(crew__record_bytes(4088), ==, 4096);
        CHECK_INT(crew__record_bytes((uint64_t)8 << 30), ==, ((int64_t)8 << 30) + 8);
}

TEST(hostile, "pairs that no correct peer leaves are not valid", "[unit][ring]")
{
        const uint64_t ring = 4096, head = index_of(1000, 50);

        CHECK(crew__index_valid(head, head, ring));
        /* Full of empty messages, and one more than can be. */
        CHECK(crew__index_valid(crew__index_add(head, ring, 512), head, ring));
        CHECK(!crew__index_valid(crew__index_add(head, ring, 513), head, ring));
        /* Messages without bytes. */
        CHECK(!crew__index_valid(crew__index_add(head, 0, 1), head, ring));
        /* More bytes than the ring has. */
        CHECK(!crew__index_valid(crew__index_add(head, ring + 8, 1), head, ring));
        /* The head ahead of the tail. */
        CHECK(!crew__index_valid(index_of(999, 50), head, ring));
        CHECK(!crew__index_valid(index_of(1010, 49), head, ring));
        CHECK(!crew__index_valid(0, index_of(1, 1), ring));
}

TEST(hostile_many, "validity of any pair bounds what is read", "[unit][ring]")
{
        uint64_t state = 88172645463325252ULL;

        for (int i = 0; i < 100000; i++) {
                uint64_t tail, head, ring = 4096ULL << (i % 20);

                state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                tail = state;
                state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                /* Half of them near each other: far ones are never valid. */
                head = i & 1 ? state
                             : crew__index_add(tail, -(state % 8192 & ~7ULL), -(state >> 60));
                if (!crew__index_valid(tail, head, ring))
                        continue;
                REQUIRE(crew__index_bytes(tail, head) <= ring);
                REQUIRE(crew__index_messages(tail, head) <= ring / 8);
        }
}

TEST(places, "a record lies in the first of the two mappings wherever its index is", "[unit][ring]")
{
        static char data[1];
        const uint64_t ring = 1 << 16, mask = ring - 1;
        const uint32_t offsets[] = {0, 1, 8191, 8192, 8193, UINT32_MAX, UINT32_MAX - 8191};

        for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
                uintptr_t at = (uintptr_t)crew__record_at(data, index_of(offsets[i], 9), ring);

                CHECK_INT(at - (uintptr_t)data, ==, (uint64_t)offsets[i] * 8 & mask);
                CHECK_INT(at - (uintptr_t)data, <, ring);
        }
}

TEST(room, "room ends at the last byte and at the last message", "[unit][ring]")
{
        crew_queue q = {.ring_bytes = 4096};
        uint64_t head = index_of(UINT32_MAX - 100, UINT32_MAX);

        CHECK(crew__queue_room(&q, head, head, 4096));
        CHECK(!crew__queue_room(&q, head, head, 4104));
        CHECK(crew__queue_room(&q, crew__index_add(head, 4088, 1), head, 8));
        CHECK(!crew__queue_room(&q, crew__index_add(head, 4088, 1), head, 16));
        CHECK(!crew__queue_room(&q, crew__index_add(head, 4096, 2), head, 8));
        q.max_messages = 2;
        CHECK(crew__queue_room(&q, crew__index_add(head, 16, 1), head, 8));
        CHECK(!crew__queue_room(&q, crew__index_add(head, 16, 2), head, 8));
        /* The head ahead of the tail is no room, and not a huge one either. */
        CHECK(!crew__queue_room(&q, head, crew__index_add(head, 8, 1), 8));
}

TEST(layout, "what both sides write lies on lines of its own", "[unit][ring]")
{
        CHECK_INT(offsetof(crew__ring, tail) / 128, !=, offsetof(crew__ring, head) / 128);
        CHECK_INT(offsetof(crew__ring, producers) / 128, !=, offsetof(crew__ring, consumers) / 128);
        CHECK_INT(offsetof(crew__ring, readable) / 128, !=, offsetof(crew__ring, writable) / 128);
        CHECK_INT(offsetof(crew__ring, state) / 128, !=, offsetof(crew__ring, name) / 128);
        CHECK_INT(_Alignof(crew__ring), ==, 128);
}
