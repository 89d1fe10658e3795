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

static inline int lane_push(crew__lane *lane, uint64_t id, const void *data, size_t size)
{
        crew__lane_task task = {
                .id = id, .function = 7, .attempt = 1, .flags = 3, .data = data, .size = size};

        return crew__lane_push(lane, &task);
}

/* Looks until there is a result; false after 10 s (stretched). */
static inline bool lane_await(crew__lane *lane, crew__lane_result *result)
{
        int64_t end = peer_now() + test_slow(CREW_S(10));

        do {
                crew__events *events = crew__lane_results(lane);
                uint32_t value;
                int r = crew__lane_pop(lane, result);

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
