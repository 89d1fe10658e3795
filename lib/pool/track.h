/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_TRACK_H
#define CREW_POOL_TRACK_H

/* The worker's side of a lane, as its two files see it: track.c takes, answer.c answers. */

#include "pool/lane-layout.h"

#include <string.h>

struct crew__track {
        crew__lane_words *words;
        char *tasks; /* each mapped twice in a row */
        char *results;
        size_t mapped;
        uint64_t bytes;
        uint64_t task_ring;
        uint64_t result_ring;
        uint64_t next;        /* behind the batches that are done */
        uint64_t tail;        /* of the tasks, as it was last read; `next`: read it again */
        uint64_t result_head; /* as it was last read */
        uint64_t result_tail;
        uint32_t hold; /* what it was before `tail` and the batch were read */
        int result_event;
        uint32_t budget;
        uint32_t waits;
        uint64_t ended;

        /* The batch that is worked on, from its record. */
        const crew__task_header *batch; /* NULL: none */
        uint64_t id, function, size, stride;
        uint32_t attempt, count, at;
        bool single; /* it had one item from the beginning */

        /* Results of it that are in the ring and not published: how many, of which size, how many
         * of them there is room for, where the next one goes, and since when it works on them. */
        uint32_t done, most;
        uint64_t done_size;
        char *place;
        int64_t since;

        /* Where small arguments and results of a batch, which are packed, get their alignment. */
        _Alignas(64) char argument[CREW__LANE_SMALL];
        char result[CREW__LANE_SMALL];
};

/* track.c: sleeps until there is room for a result of so many bytes (0: until there is a task, or
 * the hold is over), or spins. 0: look again; -ETIMEDOUT, -EAGAIN. */
int crew__track_wait(crew__track *track, uint64_t need, int64_t deadline);

/* track.c: nothing is left of the batch. */
void crew__track_close(crew__track *track);

/* answer.c: is there room for a record of so many bytes? */
bool crew__track_roomy(crew__track *track, uint64_t need);

/* answer.c: shows the results that are there; true if there were any: then notify. */
bool crew__track_publish(crew__track *track);

static inline void crew__track_notify(crew__track *track)
{
        crew__events_notify(&track->words->result_events, track->result_event);
}

/* Of integers mostly. */
static inline void crew__track_copy(char *to, const char *from, uint64_t size)
{
        if (size == 8)
                memcpy(to, from, 8);
        else if (size == 4)
                memcpy(to, from, 4);
        else
                memcpy(to, from, size);
}

#endif
