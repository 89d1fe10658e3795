/* SPDX-License-Identifier: MIT */

/*
 * The files that a snapshot has read, by their inodes: a thousand forks of one program hold the
 * same thousand queues.
 */

#include "status/snapshot.h"

#include <errno.h>
#include <stdlib.h>

/* Where it is, or the free slot for it. There is one: at most half of them are taken. */
static crew__known *slot(crew__known *table, size_t room, uint64_t inode)
{
        size_t i = (size_t)(inode * UINT64_C(0x9e3779b97f4a7c15) >> 32) % room;

        while (table[i].inode && table[i].inode != inode)
                i = (i + 1) % room;
        return &table[i];
}

static int grow(crew_snapshot *s)
{
        size_t room = s->room_known ? 2 * s->room_known : 256;
        crew__known *table = calloc(room, sizeof *table);

        if (!table)
                return -ENOMEM;
        for (size_t i = 0; i < s->room_known; i++) {
                if (s->known[i].inode)
                        *slot(table, room, s->known[i].inode) = s->known[i];
        }
        free(s->known);
        s->known = table;
        s->room_known = room;
        return 0;
}

const crew__known *crew__recall(const crew_snapshot *s, uint64_t inode)
{
        const crew__known *at = s->n_known ? slot(s->known, s->room_known, inode) : NULL;

        return at && at->inode ? at : NULL;
}

int crew__remember(crew_snapshot *s, uint64_t inode, crew__seen_thing *queue)
{
        crew__known *at;

        if (2 * (s->n_known + 1) > s->room_known && grow(s) < 0)
                return -ENOMEM;
        at = slot(s->known, s->room_known, inode);
        s->n_known += !at->inode;
        *at = (crew__known){ .inode = inode, .queue = queue };
        return 0;
}
