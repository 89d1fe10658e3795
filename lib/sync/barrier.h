/* SPDX-License-Identifier: MIT */
#ifndef CREW_SYNC_BARRIER_H
#define CREW_SYNC_BARRIER_H

/* What is behind crew_barrier. */

#include "sync/mutex.h"

typedef struct crew__barrier {
        crew__lock lock;
        _Atomic uint64_t rounds; /* how many have ended; above, their history */
        _Atomic uint64_t last;   /* claim of the newest party of this round */
        uint32_t parties, place;
        _Atomic uint32_t come, broken;
        uint32_t identity; /* of what was initialized here */
        uint32_t unused[3];
} __attribute__((may_alias)) crew__barrier;

_Static_assert(sizeof(crew__barrier) == sizeof(crew_barrier), "the public struct");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the number comes first in memory");

#endif
