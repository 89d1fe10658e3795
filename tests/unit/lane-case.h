/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_LANE_CASE_H
#define CREW_TESTS_LANE_CASE_H

/* Both ends of a lane. */

#include "check.h"
#include "peer.h"
#include "pool/lane-layout.h"

#include <crew/error.h>
#include <errno.h>
#include <string.h>

static inline crew__track *lane_open(crew__lane *lane)
{
        crew__segment *s = crew__lane_segment(lane);
        crew__track *track;

        REQUIRE_OK(crew__track_open(&track, s->fd, s->events[0], s->events[1]));
        return track;
}

/* The id of the first of so many; how many it took in. */
static inline int lane_push_batch(
        crew__lane *lane, uint64_t id, const void *data, size_t size, uint32_t count)
{
        crew__lane_task task = {
                .id = id, .function = 7, .attempt = 1, .count = count, .data = data, .size = size
        };
        int r = crew__lane_push(lane, &task);

        if (r > 0)
                crew__lane_wake(lane);
        return r;
}

static inline int lane_push(crew__lane *lane, uint64_t id, const void *data, size_t size)
{
        return lane_push_batch(lane, id, data, size, 1);
}

enum { LANE_MOST = 1 << 19 };

/* What came back, in memory of its own until the next. */
struct lane_result {
        uint64_t id;
        uint32_t count;
        int32_t status;
        size_t size;
        char *data;
        char text[CREW__LANE_TEXT];
};

static inline void lane_copy(
        crew__lane *lane, const crew__lane_result *from, struct lane_result *result)
{
        static char data[LANE_MOST];

        REQUIRE(from->count * from->size <= sizeof data);
        crew__lane_copy(lane, data);
        *result = (struct lane_result){ from->id, from->count, from->status, from->size, data, "" };
        memcpy(result->text, from->text, strlen(from->text) + 1);
}

static inline int lane_pop(crew__lane *lane, struct lane_result *result)
{
        crew__lane_result from;
        int r = crew__lane_look(lane, &from);

        if (r <= 0)
                return r;
        lane_copy(lane, &from, result);
        crew__lane_drop(lane);
        crew__lane_roomy(lane);
        return 1;
}

/* Looks until there is a result; false after 10 s (stretched). */
static inline bool lane_await(crew__lane *lane, struct lane_result *result)
{
        int64_t end = peer_now() + test_slow(CREW_S(10));

        do {
                crew__events *events = crew__lane_results(lane);
                uint32_t value;
                int r = lane_pop(lane, result);

                REQUIRE(r >= 0);
                if (r)
                        return true;
                value = crew__events_prepare(events);
                if (!crew__lane_ready(lane))
                        (void)crew__events_sleep(events, value, end, false);
        } while (peer_now() < end);
        return false;
}

#endif
