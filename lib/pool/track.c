/* SPDX-License-Identifier: MIT */

/*
 * The worker's side of a lane. It takes no lock and repairs nothing: each step is one store, and
 * what its death leaves is told by lane.h. Its sleeps have no slices: when the pool dies between a
 * commit and the wake, the worker dies too.
 */

#include "base/clock.h"
#include "base/fail.h"
#include "kernel/relax.h"
#include "pool/lane-layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
        MAX_BUDGET = 50000, /* ns; about two wakes, as for queues */
        MIN_BUDGET = 500,
        PROBE_EVERY = 128,
        MAX_PAUSES = 64,
};

struct crew__track {
        crew__lane_words *words;
        char *tasks;   /* each mapped twice in a row */
        char *results;
        size_t mapped;
        uint64_t bytes;
        uint64_t task_ring;
        uint64_t result_ring;
        uint64_t next;        /* behind the tasks that were taken */
        uint64_t result_tail;
        uint64_t current;     /* id */
        int result_event;
        uint32_t budget;
        uint32_t waits;
};

static int map_at(char *at, size_t bytes, int fd, size_t offset)
{
        if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) ==
                MAP_FAILED)
                return crew__fail(errno, "mapping %zu bytes of a lane: %m", bytes);
        return 0;
}

/* The words come from the pool, which is trusted; a wrong descriptor is what this catches. */
static int read_geometry(crew__track *track, int fd, size_t *words)
{
        size_t page = crew__page_size();
        crew__lane_words *w;
        struct stat st;
        int r = 0;

        if (fstat(fd, &st) < 0)
                return crew__fail(errno, "a lane: %m");
        if ((uint64_t)st.st_size < page)
                return crew__fail(EINVAL, "not the segment of a lane");
        w = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
        if (w == MAP_FAILED)
                return crew__fail(errno, "mapping a lane: %m");
        *words = w->words;
        track->bytes = w->bytes;
        track->task_ring = w->tasks;
        track->result_ring = w->results;
        if (w->magic != CREW__LANE_MAGIC || w->version != CREW__LANE_VERSION ||
                *words + track->task_ring + track->result_ring != (uint64_t)st.st_size)
                r = crew__fail(EINVAL, "not the segment of a lane");
        (void)munmap(w, page);
        return r;
}

static int map(crew__track *track, int fd)
{
        size_t words = 0, tasks, results;
        char *base;
        int r = read_geometry(track, fd, &words);

        if (r < 0)
                return r;
        tasks = track->task_ring;
        results = track->result_ring;
        track->mapped = words + 2 * (tasks + results);
        base = mmap(NULL, track->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
        if (base == MAP_FAILED)
                return crew__fail(errno, "mapping %zu bytes: %m", track->mapped);
        track->words = (void *)base;
        track->tasks = base + words;
        track->results = track->tasks + 2 * tasks;
        r = map_at(base, words + tasks, fd, 0);
        if (r == 0)
                r = map_at(track->tasks + tasks, tasks, fd, words);
        if (r == 0)
                r = map_at(track->results, results, fd, words + tasks);
        if (r == 0)
                r = map_at(track->results + results, results, fd, words + tasks);
        return r;
}

int crew__track_open(crew__track **opened, int fd, int task_event, int result_event)
{
        crew__track *track = calloc(1, sizeof *track);
        int r;

        /* Tasks are waited for by futex only; see lane.c for why the pool writes to no eventfd. */
        (void)task_event;
        if (!track)
                return crew__fail(ENOMEM, "no memory for a lane");
        track->result_event = result_event;
        track->budget = MAX_BUDGET;
        r = map(track, fd);
        if (r < 0) {
                (void)crew__track_free(track);
                return r;
        }
        *opened = track;
        return 0;
}

crew__track *crew__track_free(crew__track *track)
{
        if (track && track->words)
                (void)munmap(track->words, track->mapped);
        free(track);
        return NULL;
}

enum look { NOTHING, TASK, CLOSED };

static enum look look_for_task(crew__track *track)
{
        crew__lane_words *w = track->words;
        /* Before the tail: what was pushed before the close is then seen. */
        bool closed = atomic_load_explicit(&w->closed, memory_order_acquire);

        /* Acquire pairs with the commit in crew__lane_push: the records before it are whole. */
        if (atomic_load_explicit(&w->task_tail, memory_order_acquire) == track->next)
                return closed ? CLOSED : NOTHING;
        return atomic_load_explicit(&w->hold, memory_order_relaxed) ? NOTHING : TASK;
}

static uint64_t room(crew__track *track)
{
        /* Acquire pairs with the release in crew__lane_pop: what lies before it was copied. */
        uint64_t head = atomic_load_explicit(&track->words->result_head, memory_order_acquire);

        return track->result_ring -
               crew__lane_distance(track->result_tail, head, track->result_ring);
}

/* `need` is what a result needs, or 0 to look for a task. */
static bool ready(crew__track *track, uint64_t need)
{
        return need ? room(track) >= need : look_for_task(track) != NOTHING;
}

static bool spin(crew__track *track, uint64_t need, int64_t end)
{
        unsigned pauses = 1;

        do {
                for (int looks = 0; looks < 8; looks++) {
                        crew__relax_for(pauses);
                        if (ready(track, need))
                                return true;
                        if (pauses < MAX_PAUSES)
                                pauses *= 2;
                }
        } while (crew_clock() < end);
        return false;
}

/* As queue/spin.c does for a side of a queue: a budget that follows what paid off, then sleep. */
static int wait_for(crew__track *track, uint64_t need, int64_t deadline)
{
        crew__events *events = need ? &track->words->room_events : &track->words->task_events;
        uint32_t budget = track->waits % PROBE_EVERY == PROBE_EVERY - 1 ? MAX_BUDGET
                                                                        : track->budget;
        uint32_t value;
        int r;

        /* The first task comes when the whole pool has been made: nothing to spin for. */
        if (track->waits++ == 0)
                budget = 0;

        if (budget >= MIN_BUDGET) {
                if (spin(track, need, crew__earlier(deadline, crew_clock() + budget))) {
                        budget = track->budget * 2 + MIN_BUDGET;
                        track->budget = budget < MAX_BUDGET ? budget : MAX_BUDGET;
                        return 0;
                }
                track->budget -= track->budget / 4;
        }
        value = crew__events_prepare(events);
        if (ready(track, need))
                return 0;
        r = crew__events_sleep(events, value, deadline, false);
        return r == -EINTR ? 0 : r;
}

/* Announce, full barrier, look at the hold, take. */
static bool take(crew__track *track, const crew__task_header *header)
{
        crew__lane_words *w = track->words;

        atomic_store_explicit(&w->current, header->id, memory_order_relaxed);
        /* Pairs with the fence in crew__lane_hold: either this load sees the hold, or the pool's
         * next look at `current` sees the id. */
        atomic_thread_fence(memory_order_seq_cst);
        if (__builtin_expect(atomic_load_explicit(&w->hold, memory_order_relaxed) != 0, 0)) {
                atomic_store_explicit(&w->current, 0, memory_order_relaxed);
                return false;
        }
        /* The line is written anyhow, and this clock is a look into memory. */
        atomic_store_explicit(&w->since, crew__clock_coarse(), memory_order_relaxed);
        track->next = crew__lane_behind(
                track->next, crew__task_bytes(header->size), track->task_ring);
        track->current = header->id;
        atomic_store_explicit(&w->taken, track->next, memory_order_release);
        return true;
}

int crew__track_take(crew__track *track, crew__lane_task *task, int64_t deadline)
{
        for (;;) {
                enum look look = look_for_task(track);
                const crew__task_header *header;
                int r;

                if (look == CLOSED)
                        return 0;
                header = (void *)(track->tasks + crew__lane_offset(track->next, track->task_ring));
                if (look == TASK && take(track, header)) {
                        *task = (crew__lane_task){ .id = header->id,
                                .function = header->function,
                                .attempt = header->attempt,
                                .flags = header->flags,
                                .data = (const char *)header + CREW__LANE_HEADER,
                                .size = header->size };
                        return 1;
                }
                r = wait_for(track, 0, deadline);
                if (r < 0)
                        return r;
        }
}

void *crew__track_reserve(crew__track *track, size_t size)
{
        uint64_t need;

        if (size > track->bytes) {
                (void)crew__fail(EMSGSIZE,
                        "a result of %zu bytes, and the lanes of the pool take at most %llu", size,
                        (unsigned long long)track->bytes);
                return NULL;
        }
        /* With the longest text: whether there will be one is not known yet. */
        need = crew__result_bytes(size, CREW__LANE_TEXT);
        while (__builtin_expect(room(track) < need, 0))
                (void)wait_for(track, need, CREW__NEVER);
        return track->results + crew__lane_offset(track->result_tail, track->result_ring) +
               CREW__LANE_HEADER;
}

void crew__track_done(crew__track *track, int32_t status, size_t size, const char *text)
{
        size_t length = text ? strnlen(text, CREW__LANE_TEXT - 1) : 0;
        crew__lane_words *w = track->words;
        char *data = crew__track_reserve(track, size);

        if (!data) {
                status = -EMSGSIZE;
                size = 0;
                data = crew__track_reserve(track, 0);
        }
        if (length)
                memcpy(data + crew__result_text_at(size), text, length);
        *(crew__result_header *)(void *)(data - CREW__LANE_HEADER) = (crew__result_header){
                .id = track->current, .size = size, .status = status, .text = (uint32_t)length
        };
        track->result_tail = crew__lane_behind(
                track->result_tail, crew__result_bytes(size, length), track->result_ring);
        track->current = 0;
        /* Release: a pop that sees this tail sees the record. The result counts from here on. */
        atomic_store_explicit(&w->result_tail, track->result_tail, memory_order_release);
        /* Release: a push that sees this overwrites arguments that were used. */
        atomic_store_explicit(&w->freed, track->next, memory_order_release);
        /* Release: who sees the 0 sees that the task was taken and finished. */
        atomic_store_explicit(&w->current, 0, memory_order_release);
        crew__events_notify(&w->result_events, track->result_event);
}

bool crew__track_cancelled(crew__track *track)
{
        return track->current &&
               atomic_load_explicit(&track->words->cancelled, memory_order_relaxed) ==
                       track->current;
}
