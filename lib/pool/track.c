/* SPDX-License-Identifier: MIT */

/*
 * The worker's side of a lane. It takes no lock and repairs nothing: each step is one store, and
 * what its death leaves is told by lane.h. Its sleeps have no slices: when the pool dies between a
 * commit and the wake, the worker dies too.
 */

#include "pool/track.h"

#include "base/clock.h"
#include "base/fail.h"
#include "kernel/relax.h"

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
        base = mmap(
                NULL, track->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
        crew__track *track = aligned_alloc(64, crew__lane_round(sizeof *track, 64));
        int r;

        /* Tasks are waited for by futex only; see lane.c for why the pool writes to no eventfd. */
        (void)task_event;
        if (!track)
                return crew__fail(ENOMEM, "no memory for a lane");
        memset(track, 0, sizeof *track);
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

        /* Before the tail, too: what is taken back after this is seen by announce(). */
        track->hold = atomic_load_explicit(&w->hold, memory_order_acquire);
        /* Acquire pairs with the commit in crew__lane_push: the records before it are whole. */
        track->tail = atomic_load_explicit(&w->task_tail, memory_order_acquire);
        if (track->tail == track->next)
                return closed ? CLOSED : NOTHING;
        if (!(track->hold & 1))
                return TASK;
        track->tail = track->next;
        return NOTHING;
}

static bool is_held(crew__track *track)
{
        return atomic_load_explicit(&track->words->hold, memory_order_acquire) & 1;
}

/* `need` is what a result needs, or 0 to look for a task. */
static bool ready(crew__track *track, uint64_t need)
{
        if (need)
                return crew__track_roomy(track, need);
        return track->batch ? !is_held(track) : look_for_task(track) != NOTHING;
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
int crew__track_wait(crew__track *track, uint64_t need, int64_t deadline)
{
        crew__events *events = need ? &track->words->room_events : &track->words->task_events;
        uint32_t budget =
                track->waits % PROBE_EVERY == PROBE_EVERY - 1 ? MAX_BUDGET : track->budget;
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

void crew__track_close(crew__track *track)
{
        (void)crew__track_publish(track);
        track->ended += track->at;
        atomic_store_explicit(&track->words->ended, track->ended, memory_order_relaxed);
        track->batch = NULL;
        /* Release: a push that sees this overwrites arguments that were used. */
        atomic_store_explicit(&track->words->freed, track->next, memory_order_release);
        /* Release: who sees the 0 sees all that was published. */
        atomic_store_explicit(&track->words->current, 0, memory_order_release);
        crew__track_notify(track);
}

/* The next record is the batch, unless announce() then sees that it was taken back. */
static void open_batch(crew__track *track)
{
        const crew__task_header *header =
                (void *)(track->tasks + crew__lane_offset(track->next, track->task_ring));

        track->batch = header;
        track->id = header->id;
        track->function = header->function;
        track->size = header->size;
        track->stride = crew__lane_stride(header->size);
        track->attempt = header->attempt;
        track->count = atomic_load_explicit(&header->count, memory_order_relaxed);
        track->single = track->count == 1;
        if (!track->single)
                track->since = crew_clock();
        track->at = 0;
}

/* It is about to begin the next item. False: not now, or not that one. */
static bool announce(crew__track *track)
{
        crew__lane_words *w = track->words;
        uint64_t id = track->id + track->at;

        /* Release: the results of the items before it, which are done by this. */
        atomic_store_explicit(&w->current, id, memory_order_release);
        /* Pairs with the fence in crew__lane_hold: either this load sees the change, or the pool's
         * next look at `current` sees the id. */
        atomic_thread_fence(memory_order_seq_cst);
        if (__builtin_expect(
                    atomic_load_explicit(&w->hold, memory_order_relaxed) != track->hold, 0))
                return false;
        atomic_store_explicit(&w->begun, id, memory_order_relaxed);
        if (track->at == 0) {
                track->next = crew__lane_behind(track->next, track->batch->bytes, track->task_ring);
                /* The line is written anyhow, and this clock is a look into memory. */
                atomic_store_explicit(&w->since, crew__clock_coarse(), memory_order_relaxed);
        }
        return true;
}

/* The pool has, or had, something in mind. Nothing that was read of the lane holds any more. */
static int retreat(crew__track *track, int64_t deadline)
{
        int r;

        if (crew__track_publish(track))
                crew__track_notify(track);
        atomic_store_explicit(&track->words->current, 0, memory_order_release);
        if (track->at == 0) {
                track->batch = NULL;
                track->tail = track->next;
                return 0;
        }
        for (;;) {
                track->hold = atomic_load_explicit(&track->words->hold, memory_order_acquire);
                if (!(track->hold & 1))
                        break;
                r = crew__track_wait(track, 0, deadline);
                if (r < 0)
                        return r;
        }
        track->tail = track->next;
        track->count = atomic_load_explicit(&track->batch->count, memory_order_relaxed);
        if (track->at >= track->count)
                crew__track_close(track);
        return 0;
}

static const void *argument(crew__track *track)
{
        const char *at = (const char *)track->batch + CREW__LANE_HEADER + track->at * track->stride;

        if (track->stride % CREW__LANE_ALIGN == 0 || track->at == 0)
                return at;
        crew__track_copy(track->argument, at, track->size);
        return track->argument;
}

int crew__track_take(crew__track *track, crew__lane_task *task, int64_t deadline)
{
        for (;;) {
                int r;

                if (!track->batch && track->tail == track->next) {
                        enum look look = look_for_task(track);

                        if (look == CLOSED)
                                return 0;
                        if (look == NOTHING) {
                                r = crew__track_wait(track, 0, deadline);
                                if (r < 0)
                                        return r;
                                continue;
                        }
                }
                if (!track->batch)
                        open_batch(track);
                if (__builtin_expect(announce(track), 1)) {
                        task->id = track->id + track->at;
                        task->function = track->function;
                        task->attempt = track->attempt;
                        task->count = track->count - track->at;
                        task->data = argument(track);
                        task->size = track->size;
                        return 1;
                }
                r = retreat(track, deadline);
                if (r < 0)
                        return r;
        }
}

bool crew__track_cancelled(crew__track *track)
{
        uint64_t id = atomic_load_explicit(&track->words->cancelled, memory_order_relaxed);

        return track->batch && id - track->id < track->count;
}
