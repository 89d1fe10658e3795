/* SPDX-License-Identifier: MIT */

/*
 * The pool's side of a lane. It keeps its own indices and geometry and only ever writes the copies
 * that the worker sees; what the worker writes is read once, bounded, then used. Each call does a
 * bounded amount of work whatever lies in the segment, and makes no system call that the worker
 * could make wait: the worker holds the same eventfds and could fill one and make it blocking, so
 * the pool writes to none.
 */

#include "pool/lane.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "pool/lane-layout.h"

#include <stdlib.h>
#include <string.h>

struct crew__lane {
        crew__segment *segment;
        crew__lane_words *words;
        char *tasks;
        char *results;
        size_t bytes;
        uint64_t task_ring;
        uint64_t result_ring;
        uint64_t owed; /* items without a result */
        uint64_t task_tail;
        uint32_t hold;
        uint64_t freed; /* the last valid one that was read */
        _Atomic uint64_t
                result_head; /* written under the caller's lock, read by crew__lane_ready */
        _Atomic bool broken;

        /* What was looked at. */
        uint64_t at;   /* offset of the payloads */
        uint64_t size; /* of each */
        uint64_t count;
        uint64_t behind; /* the head once it is dropped */
        char text[CREW__LANE_TEXT];
};

static int lies(crew__lane *lane, const char *how)
{
        atomic_store_explicit(&lane->broken, true, memory_order_relaxed);
        return crew__fail(ENOTRECOVERABLE, "the lane of a worker was overwritten: %s", how);
}

static int check(const crew__lane *lane)
{
        if (__builtin_expect(atomic_load_explicit(&lane->broken, memory_order_relaxed), 0))
                return crew__fail_quick(ENOTRECOVERABLE, "the lane of a worker was overwritten");
        return 0;
}

static uint64_t ring_bytes(uint64_t largest, uint64_t small)
{
        uint64_t few = CREW__LANE_RECORDS * largest, many = CREW__LANE_SMALL * small;

        return crew__page_round(few > many ? few : many);
}

static int map(crew__lane *lane)
{
        size_t words = crew__page_round(sizeof *lane->words);
        int r;

        lane->task_ring =
                ring_bytes(crew__task_bytes(lane->bytes, 1), crew__task_bytes(CREW__LANE_SMALL, 1));
        lane->result_ring = ring_bytes(crew__result_bytes(lane->bytes, 1, CREW__LANE_TEXT),
                crew__result_bytes(CREW__LANE_SMALL, 1, 0));
        r = crew__segment_new(&lane->segment, "lane", NULL,
                words + lane->task_ring + lane->result_ring, 0, CREW__SEGMENT_EVENTS);
        if (r < 0)
                return r;
        lane->words = lane->segment->address;
        lane->tasks = (char *)lane->segment->address + words;
        lane->results = lane->tasks + lane->task_ring;
        lane->words->magic = CREW__LANE_MAGIC;
        lane->words->version = CREW__LANE_VERSION;
        lane->words->words = (uint32_t)words;
        lane->words->bytes = lane->bytes;
        lane->words->tasks = lane->task_ring;
        lane->words->results = lane->result_ring;
        return 0;
}

int crew__lane_new(crew__lane **made, size_t bytes)
{
        crew__lane *lane;
        int r;

        if (bytes > CREW__LANE_MOST)
                return crew__fail(EINVAL, "a lane for %zu bytes, and at most %llu are possible",
                        bytes, (unsigned long long)CREW__LANE_MOST);
        lane = calloc(1, sizeof *lane);
        if (!lane)
                return crew__fail(ENOMEM, "no memory for a lane");
        lane->bytes = bytes;
        r = map(lane);
        if (r < 0) {
                (void)crew__lane_free(lane);
                return r;
        }
        *made = lane;
        return 0;
}

crew__lane *crew__lane_free(crew__lane *lane)
{
        if (!lane)
                return NULL;
        (void)crew__segment_unref(lane->segment);
        free(lane);
        return NULL;
}

crew__segment *crew__lane_segment(crew__lane *lane)
{
        return lane->segment;
}

/* Is `index` what a worker may have come to between `from` and `to`, which are the pool's own? */
static bool between(const crew__lane *lane, uint64_t index, uint64_t from, uint64_t to)
{
        uint64_t ring = lane->task_ring, bytes;
        uint32_t records;

        if (index >> 32 >= crew__lane_places(ring))
                return false;
        bytes = crew__lane_distance(to, index, ring);
        records = crew__lane_records(to, index);
        return bytes <= crew__lane_distance(to, from, ring) &&
               records <= crew__lane_records(to, from) &&
               (uint64_t)records * CREW__LANE_HEADER <= bytes && (records == 0) == (bytes == 0);
}

/* Acquire pairs with the release in the worker's close: the arguments before it have been used. */
static int reread_freed(crew__lane *lane)
{
        uint64_t freed = atomic_load_explicit(&lane->words->freed, memory_order_acquire);

        if (!between(lane, freed, lane->freed, lane->task_tail))
                return lies(lane, "it finished tasks that it never had");
        lane->freed = freed;
        return 0;
}

/* In two pieces where the ring ends. */
static void copy_in(crew__lane *lane, uint64_t at, const char *data, uint64_t size)
{
        uint64_t offset = at >= lane->task_ring ? at - lane->task_ring : at;
        uint64_t first = lane->task_ring - offset;

        if (first > size)
                first = size;
        if (first)
                memcpy(lane->tasks + offset, data, first);
        if (first < size)
                memcpy(lane->tasks, data + first, size - first);
}

static uint64_t room(const crew__lane *lane)
{
        return lane->task_ring - crew__lane_distance(lane->task_tail, lane->freed, lane->task_ring);
}

/* How many of the items one record takes now. Half of the ring is for the next batch. */
static uint32_t fitting(const crew__lane *lane, const crew__lane_task *task)
{
        uint64_t bytes = room(lane), stride = crew__lane_stride(task->size);

        if (bytes < crew__task_bytes(task->size, 1))
                return 0;
        if (bytes > lane->task_ring / 2)
                bytes = lane->task_ring / 2;
        bytes = (bytes - CREW__LANE_HEADER) & ~(uint64_t)(CREW__LANE_UNIT - 1);
        if (bytes < stride)
                return 1;
        return !stride || bytes / stride > task->count ? task->count : (uint32_t)(bytes / stride);
}

static void write_record(crew__lane *lane, const crew__lane_task *task, uint32_t count)
{
        uint64_t offset = crew__lane_offset(lane->task_tail, lane->task_ring);
        crew__task_header *header = (void *)(lane->tasks + offset);
        uint64_t stride = crew__lane_stride(task->size);
        const char *data = task->data;

        header->id = task->id;
        header->function = task->function;
        header->size = (uint32_t)task->size;
        header->bytes = (uint32_t)crew__task_bytes(task->size, count);
        header->attempt = task->attempt;
        atomic_store_explicit(&header->count, count, memory_order_relaxed);
        offset += CREW__LANE_HEADER;
        if (stride == task->size) {
                copy_in(lane, offset, data, count * stride);
                return;
        }
        for (uint32_t i = 0; i < count; i++)
                copy_in(lane, offset + i * stride, data + i * task->size, task->size);
}

int crew__lane_push(crew__lane *lane, const crew__lane_task *task)
{
        uint32_t count;
        int r = check(lane);

        if (__builtin_expect(r < 0, 0))
                return r;
        if (task->size > lane->bytes)
                return crew__fail(EMSGSIZE,
                        "an argument of %zu bytes, and the lanes of the pool take at most %zu; "
                        "make "
                        "the pool with more lane_bytes",
                        task->size, lane->bytes);
        count = fitting(lane, task);
        if (count < task->count) {
                r = reread_freed(lane);
                if (r < 0)
                        return r;
                count = fitting(lane, task);
        }
        if (!count)
                return crew__fail_quick(EAGAIN, "the lane is full");
        write_record(lane, task, count);
        lane->task_tail = crew__lane_behind(
                lane->task_tail, crew__task_bytes(task->size, count), lane->task_ring);
        lane->owed += count;
        /* Release: a worker that sees this tail sees the record. */
        atomic_store_explicit(&lane->words->task_tail, lane->task_tail, memory_order_release);
        return (int)count;
}

void crew__lane_wake(crew__lane *lane)
{
        crew__events_notify(&lane->words->task_events, -1);
}

uint64_t crew__lane_tail(const crew__lane *lane)
{
        return lane->task_tail;
}

int crew__lane_recall(crew__lane *lane, uint64_t from, uint64_t to, uint32_t keep, uint64_t items)
{
        crew__task_header *header =
                (void *)(lane->tasks + crew__lane_offset(from, lane->task_ring));
        uint64_t ring = lane->task_ring, tail = keep ? to : from;

        if (crew__lane_distance(lane->task_tail, lane->freed, ring) <
                crew__lane_distance(lane->task_tail, tail, ring))
                return lies(lane, "it finished tasks that it never had");
        /* Both are seen by a worker that sees the hold cleared, which is a release. */
        if (keep)
                atomic_store_explicit(&header->count, keep, memory_order_relaxed);
        lane->task_tail = tail;
        lane->owed -= items;
        atomic_store_explicit(&lane->words->task_tail, tail, memory_order_relaxed);
        return 0;
}

static void copy_out(const crew__lane *lane, uint64_t at, char *to, uint64_t size)
{
        uint64_t offset = at >= lane->result_ring ? at - lane->result_ring : at;
        uint64_t first = lane->result_ring - offset;

        if (first > size)
                first = size;
        if (first)
                memcpy(to, lane->results + offset, first);
        if (first < size)
                memcpy(to + first, lane->results, size - first);
}

/* How many bytes are between the pool's head and the worker's tail: 0 or more, -ENOTRECOVERABLE. */
static int64_t published(crew__lane *lane, uint64_t head)
{
        /* Acquire pairs with the release in publish(): the records before it are whole. */
        uint64_t tail = atomic_load_explicit(&lane->words->result_tail, memory_order_acquire);
        uint32_t records = crew__lane_records(tail, head);
        uint64_t bytes;

        if (tail == head)
                return 0;
        if (tail >> 32 >= crew__lane_places(lane->result_ring))
                return lies(lane, "its results end outside of it");
        bytes = crew__lane_distance(tail, head, lane->result_ring);
        if (bytes > lane->result_ring || !records || (uint64_t)records * CREW__LANE_HEADER > bytes)
                return lies(lane, "its indices contradict each other");
        if (records > lane->owed)
                return lies(lane, "more results than tasks");
        return (int64_t)bytes;
}

/* Each field once. */
static crew__result_header read_header(const volatile crew__result_header *at)
{
        return (crew__result_header){ .id = at->id,
                .size = at->size,
                .count = at->count,
                .status = at->status,
                .text = at->text,
                .took = at->took };
}

/* A record with that header, of at most so many bytes, at `head`: what there is to know of it. */
static int describe(crew__lane *lane, uint64_t head, crew__result_header header, uint64_t bytes,
        crew__lane_result *result)
{
        uint64_t offset = crew__lane_offset(head, lane->result_ring), need;

        if (header.size > lane->bytes || header.text >= CREW__LANE_TEXT)
                return lies(lane, "a result larger than its lane");
        if (!header.count || header.count > lane->owed)
                return lies(lane, "more results than tasks");
        /* No overflow: a size is at most 2^30, a count less than 2^32. */
        need = crew__result_bytes(header.size, header.count, header.text);
        if (need > bytes)
                return lies(lane, "a result claims more bytes than were published");
        lane->at = offset + CREW__LANE_HEADER;
        lane->size = header.size;
        lane->count = header.count;
        lane->behind = crew__lane_behind(head, need, lane->result_ring);
        copy_out(lane, lane->at + crew__result_text_at(header.size, header.count), lane->text,
                header.text);
        /* From here on the compiler may not read the ring again in place of the copy. */
        atomic_signal_fence(memory_order_seq_cst);
        __asm__ __volatile__("" ::: "memory");
        lane->text[header.text] = '\0';
        *result = (crew__lane_result){ .id = header.id,
                .count = header.count,
                .status = header.status,
                .size = header.size,
                .took = header.took < UINT32_MAX ? (uint32_t)header.took : UINT32_MAX,
                .text = lane->text };
        return 1;
}

int crew__lane_look(crew__lane *lane, crew__lane_result *result)
{
        uint64_t head = atomic_load_explicit(&lane->result_head, memory_order_relaxed);
        int64_t bytes;
        int r = check(lane);

        if (__builtin_expect(r < 0, 0))
                return r;
        bytes = published(lane, head);
        if (bytes <= 0)
                return (int)bytes;
        return describe(lane, head,
                read_header((void *)(lane->results + crew__lane_offset(head, lane->result_ring))),
                (uint64_t)bytes, result);
}

void crew__lane_copy(crew__lane *lane, void *to)
{
        uint64_t stride = crew__lane_stride(lane->size);

        if (stride == lane->size) {
                copy_out(lane, lane->at, to, lane->count * stride);
                return;
        }
        for (uint64_t i = 0; i < lane->count; i++)
                copy_out(lane, lane->at + i * stride, (char *)to + i * lane->size, lane->size);
}

void crew__lane_drop(crew__lane *lane)
{
        lane->owed -= lane->count;
        atomic_store_explicit(&lane->result_head, lane->behind, memory_order_relaxed);
        /* Release: the worker overwrites what lies before this head; it was copied. */
        atomic_store_explicit(&lane->words->result_head, lane->behind, memory_order_release);
}

void crew__lane_roomy(crew__lane *lane)
{
        crew__events_notify(&lane->words->room_events, -1);
}

int crew__lane_salvage(crew__lane *lane, uint64_t id, uint32_t most, crew__lane_result *result)
{
        uint64_t head = atomic_load_explicit(&lane->result_head, memory_order_relaxed);
        uint64_t done = crew__lane_current(lane) - id;
        crew__result_header header;
        int r = check(lane);

        if (r < 0 || !done || done > most)
                return r;
        header = read_header((void *)(lane->results + crew__lane_offset(head, lane->result_ring)));
        if (header.id != id || header.status || header.text)
                return lies(lane, "results that are not there");
        header.count = (uint32_t)done;
        return describe(lane, head, header, lane->result_ring, result);
}

crew__events *crew__lane_results(crew__lane *lane)
{
        return &lane->words->result_events;
}

int crew__lane_eventfd(const crew__lane *lane)
{
        return lane->segment->events[1];
}

bool crew__lane_ready(crew__lane *lane)
{
        return atomic_load_explicit(&lane->words->result_tail, memory_order_acquire) !=
                       atomic_load_explicit(&lane->result_head, memory_order_relaxed) ||
               atomic_load_explicit(&lane->broken, memory_order_relaxed);
}

void crew__lane_hold(crew__lane *lane, bool hold)
{
        if (hold == (lane->hold & 1))
                return;
        lane->hold++;
        /* Release: who sees it cleared sees what was taken back meanwhile. */
        atomic_store_explicit(&lane->words->hold, lane->hold, memory_order_release);
        /* Pairs with the fence in the worker's announce(). */
        atomic_thread_fence(memory_order_seq_cst);
        if (!hold)
                crew__events_look(&lane->words->task_events, -1);
}

uint64_t crew__lane_current(crew__lane *lane)
{
        /* Acquire: the results of the items before it are whole. */
        return atomic_load_explicit(&lane->words->current, memory_order_acquire);
}

uint64_t crew__lane_begun(crew__lane *lane)
{
        return atomic_load_explicit(&lane->words->begun, memory_order_acquire);
}

void crew__lane_close(crew__lane *lane)
{
        /* Release: who sees it sees every task before it. */
        atomic_store_explicit(&lane->words->closed, 1, memory_order_release);
        crew__events_notify(&lane->words->task_events, -1);
}

void crew__lane_cancel(crew__lane *lane, uint64_t id)
{
        atomic_store_explicit(&lane->words->cancelled, id, memory_order_relaxed);
}
