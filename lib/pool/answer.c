/* SPDX-License-Identifier: MIT */

/*
 * The results of a worker's items: those of a batch, while they are of one size, in one record,
 * which is published when the batch ends or would keep the pool waiting for too much.
 */

#include "pool/track.h"

#include "base/fail.h"

#include <string.h>

bool crew__track_roomy(crew__track *track, uint64_t need)
{
        if (track->result_ring - crew__lane_distance(track->result_tail, track->result_head,
                                         track->result_ring) >=
                need)
                return true;
        /* Acquire pairs with the release in crew__lane_drop: what lies before it was copied. */
        track->result_head = atomic_load_explicit(&track->words->result_head, memory_order_acquire);
        return track->result_ring - crew__lane_distance(track->result_tail, track->result_head,
                                            track->result_ring) >=
               need;
}

/* A record of `bytes` at the tail is whole. */
static void commit(crew__track *track, uint64_t bytes)
{
        track->result_tail = crew__lane_behind(track->result_tail, bytes, track->result_ring);
        /* Release: a look that sees this tail sees the record. Its items count from here on. */
        atomic_store_explicit(&track->words->result_tail, track->result_tail, memory_order_release);
}

static crew__result_header *header_at_tail(crew__track *track)
{
        return (void *)(track->results + crew__lane_offset(track->result_tail, track->result_ring));
}

bool crew__track_publish(crew__track *track)
{
        crew__result_header *header = header_at_tail(track);
        int64_t now;

        if (!track->done)
                return false;
        now = crew_clock();
        header->count = track->done;
        header->took = (uint64_t)(now - track->since);
        track->since = now;
        commit(track, crew__result_bytes(track->done_size, track->done, 0));
        track->done = 0;
        return true;
}

/* What is not published needs no more than that: the pool would wait long for so much. */
static uint64_t most_of(const crew__track *track, uint64_t size)
{
        uint64_t stride = crew__lane_stride(size);

        return stride ? (track->result_ring / 4 - CREW__LANE_HEADER) / stride : UINT32_MAX;
}

/* Where the next result of that size goes: a record is begun there. What is not published is. */
static char *begin_record(crew__track *track, uint64_t size)
{
        /* With the longest text: whether there will be one is not known yet. */
        uint64_t need = crew__result_bytes(size, 1, CREW__LANE_TEXT);

        if (crew__track_publish(track))
                crew__track_notify(track);
        while (__builtin_expect(!crew__track_roomy(track, need), 0))
                (void)crew__track_wait(track, need, CREW__NEVER);
        track->done_size = size;
        track->most = 1;
        track->place = (char *)header_at_tail(track) + CREW__LANE_HEADER;
        return track->place;
}

/* There are results of that size, and perhaps room for more of them. */
static bool extend(crew__track *track, uint64_t size)
{
        uint64_t most = most_of(track, size), free;

        if (!track->done || track->done_size != size || track->done >= most)
                return false;
        /* How many there is room for now, but looked at again only as often as it doubles. */
        most = most < 2 * (uint64_t)track->done ? most : 2 * (uint64_t)track->done;
        free = crew__result_bytes(size, most, CREW__LANE_TEXT);
        if (!crew__track_roomy(track, free))
                return false;
        track->most = (uint32_t)most;
        return true;
}

/* The same behind those that are not published, if it fits to them. */
static inline char *place_for(crew__track *track, uint64_t size)
{
        if (__builtin_expect(
                    track->done && track->done < track->most && track->done_size == size, 1))
                return track->place;
        return extend(track, size) ? track->place : begin_record(track, size);
}

void *crew__track_reserve(crew__track *track, size_t size)
{
        if (size > track->bytes) {
                (void)crew__fail(EMSGSIZE,
                        "a result of %zu bytes, and the lanes of the pool take at most %llu", size,
                        (unsigned long long)track->bytes);
                return NULL;
        }
        return track->single || size > CREW__LANE_SMALL ? place_for(track, size) : track->result;
}

/* A record of its own. */
static void answer(crew__track *track, int32_t status, size_t size, const char *text)
{
        size_t length = text ? strnlen(text, CREW__LANE_TEXT - 1) : 0;
        crew__result_header *header;
        char *data;

        (void)crew__track_publish(track);
        data = place_for(track, size);
        if (length)
                memcpy(data + crew__result_text_at(size, 1), text, length);
        header = header_at_tail(track);
        *header = (crew__result_header){ .id = track->id + track->at,
                .size = (uint32_t)size,
                .count = 1,
                .status = status,
                .text = (uint32_t)length };
        commit(track, crew__result_bytes(size, 1, length));
}

/* One more of those that are to be published. */
static void append(crew__track *track, uint64_t size)
{
        char *data = place_for(track, size);

        if (size && size <= CREW__LANE_SMALL)
                crew__track_copy(data, track->result, size);
        if (!track->done)
                *header_at_tail(track) = (crew__result_header){ .id = track->id + track->at,
                        .size = (uint32_t)size };
        track->done++;
        track->place = data + crew__lane_stride(size);
}

void crew__track_done(crew__track *track, int32_t status, size_t size, const char *text)
{
        if (size > track->bytes)
                status = -EMSGSIZE;
        if (track->single)
                answer(track, status, status ? 0 : size, text);
        else if (status)
                answer(track, status, 0, text);
        else
                append(track, size);
        if (++track->at == track->count)
                crew__track_close(track);
        else if (status)
                crew__track_notify(track);
}
