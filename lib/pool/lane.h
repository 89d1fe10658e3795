/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_LANE_H
#define CREW_POOL_LANE_H

/*
 * A lane joins the pool and one worker: tasks go one way, results come the other, each through a
 * ring with one producer and one consumer. The pool's side never waits on a lane and believes
 * nothing that the worker can write; the worker's side trusts the pool.
 *
 * Life of a task in a lane, by who writes what:
 *
 *   pool    push: record, then the tail (release)                        the task is in the lane
 *   worker  current = id; full barrier; reads `hold`; if it is not set:
 *           taken = index behind the task (release)                      the task is the worker's
 *   worker  runs it, arguments in place
 *   worker  result record, then the result tail (release): published;
 *           freed = index behind the task; current = 0                   the task is done
 *
 * When the worker is dead the three words decide: not behind `taken`: it never had the task; its
 * result in the ring: done; else it died in it. Before the pool ends a worker for a task it sets
 * `hold`, full barrier, and reads `current` and `taken` again: either the worker sees the hold and
 * takes nothing more, or the pool sees what it took: no later task is ever the victim.
 */

#include "kernel/events.h"
#include "kernel/segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct crew__lane crew__lane;       /* the pool's side */
typedef struct crew__track crew__track;     /* the worker's side */

enum {
        CREW__LANE_ALIGN = 16, /* of arguments and results */
        CREW__LANE_TEXT = 256, /* the longest sentence of a task that failed, ended by a zero */
};

/* A task on its way. */
typedef struct crew__lane_task {
        uint64_t id;       /* never 0 */
        uint64_t function; /* address */
        uint32_t attempt;
        uint32_t flags;    /* CREW__LANE_... */
        const void *data;
        size_t size;
} crew__lane_task;

/* What came back, copied out and checked: `data` points into the lane's private buffer until the
 * next pop; ids and sizes are bounded, but what id it is the pool has to compare with what it sent. */
typedef struct crew__lane_result {
        uint64_t id;
        int32_t status; /* what the function returned; positive ones are made 0 */
        const void *data;
        size_t size;
        const char *text; /* of crew_task_fail, "" if none; zero-terminated */
} crew__lane_result;

/*
 * The pool's side. `bytes` is the largest argument and the largest result; at least 4 of that size
 * and at least 64 of up to 64 bytes fit in each direction. 0; -ENOMEM, -EMFILE; -EINVAL: over 1 GiB.
 */
int crew__lane_new(crew__lane **lane, size_t bytes);
crew__lane *crew__lane_free(crew__lane *lane);

/* What the worker attaches to: the segment travels to it by descriptor numbers. */
crew__segment *crew__lane_segment(crew__lane *lane);

/* 0; -EAGAIN: no room now; -EMSGSIZE: never. Wakes the worker if it sleeps. */
int crew__lane_push(crew__lane *lane, const crew__lane_task *task);

/* 1: *result; 0: none; -ENOTRECOVERABLE: the worker lies (crew_error_detail() says how), and so
 * from then on push and progress. */
int crew__lane_pop(crew__lane *lane, crew__lane_result *result);

/* What a sleeper on results waits for; its eventfd, which is written by the worker only. These and
 * crew__lane_ready may be called by any thread; everything else under a lock of the caller's. */
crew__events *crew__lane_results(crew__lane *lane);
int crew__lane_eventfd(const crew__lane *lane);
/* Is a pop worth it? Cheap. */
bool crew__lane_ready(crew__lane *lane);

/* Sets or clears the hold; includes the barrier of the pair above. Clearing wakes the worker. */
void crew__lane_hold(crew__lane *lane, bool hold);

/* The id that the worker says it is at (0: none). A hint, the worker writes it. */
uint64_t crew__lane_current(crew__lane *lane);

/* How many of the tasks that were pushed the worker has taken, and finished with (results popped
 * included or not); bounded by what was pushed. -ENOTRECOVERABLE. */
int crew__lane_progress(crew__lane *lane, uint64_t *taken, uint64_t *freed);

/* Tells the worker to end when it has nothing more to take (close) or to look at `cancelled`. */
void crew__lane_close(crew__lane *lane);
void crew__lane_cancel(crew__lane *lane, uint64_t id);

/*
 * The worker's side, in the zygote's newborn: maps the segment again from descriptors (0, -errno);
 * everything below is single-threaded.
 */
int crew__track_open(crew__track **track, int fd, int task_event, int result_event);

/* A worker just ends; for who uses both sides. NULL is fine; returns NULL. */
crew__track *crew__track_free(crew__track *track);

/* 1: *task, arguments in place until done; 0: the lane was closed and nothing is left in it;
 * -ETIMEDOUT: `deadline`, -EAGAIN if that is 0. */
int crew__track_take(crew__track *track, crew__lane_task *task, int64_t deadline);

/* Room for a result of `size` bytes, 16-aligned, written in place; waits for the pool to make room.
 * NULL: larger than the lane. May be called again with another size before the commit. */
void *crew__track_reserve(crew__track *track, size_t size);

/* Publishes the result of the task that was taken last and lets its arguments go. A result that is
 * larger than the lane becomes a status of -EMSGSIZE without data; a longer text is cut. */
void crew__track_done(crew__track *track, int32_t status, size_t size, const char *text);

/* Was the task that is running cancelled? */
bool crew__track_cancelled(crew__track *track);

#endif
