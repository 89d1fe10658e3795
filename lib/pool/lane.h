/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_LANE_H
#define CREW_POOL_LANE_H

/*
 * A lane joins the pool and one worker: tasks go one way, results come the other, each through a
 * ring with one producer and one consumer. The pool's side never waits on a lane and believes
 * nothing that the worker can write; the worker's side trusts the pool.
 *
 * A record in the ring of tasks is a batch: some items of one function, with ids in a row. The item
 * is what is taken, done, failed and judged; the batch only saves the way.
 *
 * Life of a batch in a lane, by who writes what:
 *
 *   pool    push: record, then the tail (release)                    its items are in the lane
 *   worker  current = id of an item (release); full barrier; is `hold` what it was when the worker
 *           read the record? then begun = id                         the item is the worker's
 *           else it shows what it has, current = 0, and looks again
 *   worker  runs it, arguments in place; its result goes behind those of the items before it, into
 *           a record that is not published yet
 *   worker  current = id of the next item (release)                  the item is done
 *   worker  behind the last item, or where a result does not fit to those before it: the header of
 *           the results, then their tail (release): published
 *   worker  freed = index behind the batch; current = 0
 *
 * When the worker is dead the words decide. What is published is done; so is, of the batch that
 * comes next, what lies before `current`: crew__lane_salvage. The item at `current` died with it if
 * `begun` says so too; the items behind were never the worker's.
 *
 * Before the pool ends a worker for an item, or takes items back, it changes `hold`, full barrier,
 * and reads `current` again: either the worker sees the change and begins nothing, or the pool sees
 * what it may have begun. So no later item is ever the victim, and none that was taken back runs.
 */

#include "kernel/events.h"
#include "kernel/segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct crew__lane crew__lane;   /* the pool's side */
typedef struct crew__track crew__track; /* the worker's side */

enum {
        CREW__LANE_ALIGN = 16, /* of arguments and results */
        CREW__LANE_TEXT = 256, /* the longest sentence of a task that failed, ended by a zero */
};

/* Items on their way; for the worker: one of them. */
typedef struct crew__lane_task {
        uint64_t id;       /* never 0; ids grow from push to push */
        uint64_t function; /* address */
        uint32_t attempt;
        uint32_t count; /* `data` is an array of so many; the worker has how many are left */
        const void *data;
        size_t size; /* of each */
} crew__lane_task;

/* What came back, checked: all is bounded, but what ids they are the pool has to compare with what
 * it sent. */
typedef struct crew__lane_result {
        uint64_t id;
        uint32_t count;   /* of items that all ended so, at least 1 */
        int32_t status;   /* what the function returned; positive ones are the worker's lie */
        size_t size;      /* of each; see crew__lane_copy */
        uint32_t took;    /* ns for all of them, as the worker says; 0: it does not */
        const char *text; /* of crew_task_fail, "" if none; zero-terminated; until the next look */
} crew__lane_result;

/*
 * The pool's side. `bytes` is the largest argument and the largest result; at least 4 of that size
 * and at least 64 of up to 64 bytes fit in each direction. 0; -ENOMEM, -EMFILE; -EINVAL: over 1
 * GiB.
 */
int crew__lane_new(crew__lane **lane, size_t bytes);
crew__lane *crew__lane_free(crew__lane *lane);

/* What the worker attaches to: the segment travels to it by descriptor numbers. */
crew__segment *crew__lane_segment(crew__lane *lane);

/* How many items it took in, as one record: at least 1, more only up to half of the ring; -EAGAIN:
 * no room now; -EMSGSIZE: never. The worker is told by crew__lane_wake, once for many. */
int crew__lane_push(crew__lane *lane, const crew__lane_task *task);
void crew__lane_wake(crew__lane *lane);

/* The index behind what was pushed last: where the next record will be. */
uint64_t crew__lane_tail(const crew__lane *lane);

/* Under the hold: of the record at `from`, which ends at `to`, only the first `keep` items are
 * left; 0: nothing of it. All records behind it are taken back, which makes `items` in all. 0;
 * -ENOTRECOVERABLE: it says that it finished some of them. */
int crew__lane_recall(crew__lane *lane, uint64_t from, uint64_t to, uint32_t keep, uint64_t items);

/* 1: *result is the oldest that was published; 0: none; -ENOTRECOVERABLE: the worker lies
 * (crew_error_detail() says how), and so from then on push. */
int crew__lane_look(crew__lane *lane, crew__lane_result *result);
/* Its payloads, as an array of exactly `size` bytes each. What they are the worker may change until
 * they are copied. */
void crew__lane_copy(crew__lane *lane, void *to);
/* Done with it. After some of these the worker may be waiting for the room: crew__lane_roomy. */
void crew__lane_drop(crew__lane *lane);
void crew__lane_roomy(crew__lane *lane);

/* The worker is dead and nothing is published any more: the same for what it had done of the batch
 * whose first item is `id` and whose items are `most`. Nothing is to be dropped then. */
int crew__lane_salvage(crew__lane *lane, uint64_t id, uint32_t most, crew__lane_result *result);

/* What a sleeper on results waits for; its eventfd, which is written by the worker only. These and
 * crew__lane_ready may be called by any thread; everything else under a lock of the caller's. */
crew__events *crew__lane_results(crew__lane *lane);
int crew__lane_eventfd(const crew__lane *lane);
/* Is a look worth it? Cheap. */
bool crew__lane_ready(crew__lane *lane);

/* Sets or clears the hold; includes the barrier of the pair above. Clearing wakes the worker. */
void crew__lane_hold(crew__lane *lane, bool hold);

/* The ids of the item that the worker says it is at (0: none), and of the last that it has begun.
 * Hints, the worker writes them. */
uint64_t crew__lane_current(crew__lane *lane);
uint64_t crew__lane_begun(crew__lane *lane);

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

/* 1: *task is the next item, its argument valid until it is done; 0: the lane was closed and
 * nothing is left in it; -ETIMEDOUT: `deadline`, -EAGAIN if that is 0. */
int crew__track_take(crew__track *track, crew__lane_task *task, int64_t deadline);

/* Room for a result of `size` bytes, 16-aligned, written in place; waits for the pool to make room.
 * NULL: larger than the lane. May be called again with another size before the commit. */
void *crew__track_reserve(crew__track *track, size_t size);

/* The item that was taken last has ended. A result that is larger than the lane becomes a status of
 * -EMSGSIZE without data; so does any other with a negative status; a longer text is cut. */
void crew__track_done(crew__track *track, int32_t status, size_t size, const char *text);

/* Was the task that is running cancelled? */
bool crew__track_cancelled(crew__track *track);

#endif
