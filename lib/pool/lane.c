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
        char *private;          /* a result, copied out */
        size_t bytes;
        uint64_t task_ring;
        uint64_t result_ring;
        uint64_t pushed;        /* tasks, ever */
        uint64_t popped;        /* results, ever */
        uint64_t task_tail;
        uint64_t freed;         /* the last valid one that was read */
        _Atomic uint64_t result_head; /* written under the caller's lock, read by crew__lane_ready */
        _Atomic bool broken;
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
                ring_bytes(crew__task_bytes(lane->bytes), crew__task_bytes(CREW__LANE_SMALL));
        lane->result_ring = ring_bytes(crew__result_bytes(lane->bytes, CREW__LANE_TEXT),
                crew__result_bytes(CREW__LANE_SMALL, 0));
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
        /* What malloc returns is 16-aligned on every 64-bit machine. */
        lane->private = malloc(crew__result_text_at(bytes) + CREW__LANE_TEXT);
        r = lane->private ? map(lane)
                          : crew__fail(ENOMEM, "no memory for results of %zu bytes", bytes);
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
        free(lane->private);
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

/* Acquire pairs with the release in crew__track_done: the arguments before it have been used. */
static int reread_freed(crew__lane *lane)
{
        uint64_t freed = atomic_load_explicit(&lane->words->freed, memory_order_acquire);

        if (!between(lane, freed, lane->freed, lane->task_tail))
                return lies(lane, "it finished tasks that it never had");
        lane->freed = freed;
        return 0;
}

static void copy_in(crew__lane *lane, uint64_t at, const void *data, size_t size)
{
        uint64_t offset, first;

        if (!size)
                return;
        offset = at >= lane->task_ring ? at - lane->task_ring : at;
        first = lane->task_ring - offset;
        if (first > size)
                first = size;
        memcpy(lane->tasks + offset, data, first);
        if (first < size)
                memcpy(lane->tasks, (const char *)data + first, size - first);
}

int crew__lane_push(crew__lane *lane, const crew__lane_task *task)
{
        uint64_t need, offset;
        int r = check(lane);

        if (__builtin_expect(r < 0, 0))
                return r;
        if (task->size > lane->bytes)
                return crew__fail(EMSGSIZE,
                        "an argument of %zu bytes, and the lanes of the pool take at most %zu; make "
                        "the pool with more lane_bytes",
                        task->size, lane->bytes);
        need = crew__task_bytes(task->size);
        if (lane->task_ring - crew__lane_distance(lane->task_tail, lane->freed, lane->task_ring) <
                need) {
                r = reread_freed(lane);
                if (r < 0)
                        return r;
                if (lane->task_ring - crew__lane_distance(lane->task_tail, lane->freed,
                                              lane->task_ring) <
                        need)
                        return crew__fail_quick(EAGAIN, "the lane is full");
        }
        offset = crew__lane_offset(lane->task_tail, lane->task_ring);
        *(crew__task_header *)(void *)(lane->tasks + offset) = (crew__task_header){ .id = task->id,
                .function = task->function,
                .attempt = task->attempt,
                .flags = task->flags,
                .size = task->size };
        copy_in(lane, offset + CREW__LANE_HEADER, task->data, task->size);
        lane->task_tail = crew__lane_behind(lane->task_tail, need, lane->task_ring);
        lane->pushed++;
        /* Release: a worker that sees this tail sees the record. */
        atomic_store_explicit(&lane->words->task_tail, lane->task_tail, memory_order_release);
        crew__events_notify(&lane->words->task_events, -1);
        return 0;
}

/* Payload and text, without the header. */
static void copy_out(crew__lane *lane, uint64_t at, size_t size)
{
        uint64_t offset = at >= lane->result_ring ? at - lane->result_ring : at;
        uint64_t first = lane->result_ring - offset;

        if (first > size)
                first = size;
        memcpy(lane->private, lane->results + offset, first);
        memcpy(lane->private + first, lane->results, size - first);
        /* From here on the compiler may not read the ring again in place of the copy. */
        atomic_signal_fence(memory_order_seq_cst);
        __asm__ __volatile__("" ::: "memory");
}

/* How many bytes are between the pool's head and the worker's tail: 0 or more, -ENOTRECOVERABLE. */
static int64_t published(crew__lane *lane, uint64_t head)
{
        /* Acquire pairs with the commit in crew__track_done: the records before it are whole. */
        uint64_t tail = atomic_load_explicit(&lane->words->result_tail, memory_order_acquire);
        uint32_t records = crew__lane_records(tail, head);
        uint64_t bytes;

        if (tail == head)
                return 0;
        if (tail >> 32 >= crew__lane_places(lane->result_ring))
                return lies(lane, "its results end outside of it");
        bytes = crew__lane_distance(tail, head, lane->result_ring);
        if (bytes > lane->result_ring || !records ||
                (uint64_t)records * CREW__LANE_HEADER > bytes)
                return lies(lane, "its indices contradict each other");
        if (records > lane->pushed - lane->popped)
                return lies(lane, "more results than tasks");
        return (int64_t)bytes;
}

/* Each field once. */
static crew__result_header read_header(const volatile crew__result_header *at)
{
        return (crew__result_header){ .id = at->id, .size = at->size, .status = at->status,
                .text = at->text };
}

int crew__lane_pop(crew__lane *lane, crew__lane_result *result)
{
        uint64_t head = atomic_load_explicit(&lane->result_head, memory_order_relaxed);
        uint64_t offset, text_at, need;
        crew__result_header header;
        int64_t bytes;
        int r = check(lane);

        if (__builtin_expect(r < 0, 0))
                return r;
        bytes = published(lane, head);
        if (bytes <= 0)
                return (int)bytes;
        offset = crew__lane_offset(head, lane->result_ring);
        header = read_header((void *)(lane->results + offset));
        if (header.size > lane->bytes || header.text >= CREW__LANE_TEXT)
                return lies(lane, "a result larger than its lane");
        need = crew__result_bytes(header.size, header.text);
        if (need > (uint64_t)bytes)
                return lies(lane, "a result claims more bytes than were published");
        text_at = crew__result_text_at(header.size);
        copy_out(lane, offset + CREW__LANE_HEADER, text_at + header.text);
        lane->private[text_at + header.text] = '\0';
        *result = (crew__lane_result){ .id = header.id,
                .status = header.status > 0 ? 0 : header.status,
                .data = lane->private,
                .size = header.size,
                .text = lane->private + text_at };
        head = crew__lane_behind(head, need, lane->result_ring);
        lane->popped++;
        atomic_store_explicit(&lane->result_head, head, memory_order_relaxed);
        /* Release: the worker overwrites what lies before this head; it was copied. */
        atomic_store_explicit(&lane->words->result_head, head, memory_order_release);
        crew__events_notify(&lane->words->room_events, -1);
        return 1;
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
        atomic_store_explicit(&lane->words->hold, hold, memory_order_relaxed);
        /* Pairs with the fence in crew__track_take. */
        atomic_thread_fence(memory_order_seq_cst);
        if (!hold)
                crew__events_look(&lane->words->task_events, -1);
}

uint64_t crew__lane_current(crew__lane *lane)
{
        /* Acquire: who reads the 0 after a task also reads that it was taken. */
        return atomic_load_explicit(&lane->words->current, memory_order_acquire);
}

int crew__lane_progress(crew__lane *lane, uint64_t *taken, uint64_t *freed)
{
        uint64_t index;
        int r = check(lane);

        if (r == 0)
                r = reread_freed(lane);
        if (r < 0)
                return r;
        /* After `freed`, which the worker moves later: never behind it. */
        index = atomic_load_explicit(&lane->words->taken, memory_order_acquire);
        if (!between(lane, index, lane->freed, lane->task_tail))
                return lies(lane, "it took tasks that it was never given");
        *taken = lane->pushed - crew__lane_records(lane->task_tail, index);
        *freed = lane->pushed - crew__lane_records(lane->task_tail, lane->freed);
        return 0;
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
