/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_SINK_H
#define CREW_TOOLS_CREW_SINK_H

/*
 * Standard output or error as a queue of what is still to be written. A slow reader must not keep a
 * run from its deadlines, and O_NONBLOCK on the descriptor itself would be everybody's who shares
 * it, so pipes and terminals are opened once more.
 */

#include "base/list.h"
#include "bytes.h"

#include <stdbool.h>

/* Told when the last of the items that carry it has been written, and then forgotten. */
struct receipt {
        unsigned pending;
        void (*done)(struct receipt *r);
};

static inline void receipt_drop(struct receipt *r)
{
        if (r && --r->pending == 0)
                r->done(r);
}

struct sink {
        int fd;
        int opened; /* by us, or -1 */
        bool waits; /* writing may block, and there is no help */
        bool is_socket;
        bool gone; /* its reader is: what comes is dropped */
        int error; /* what else made it unusable, or 0 */
        crew__link items;
        size_t bytes; /* waiting, in memory */
        unsigned files;
};

void sink_open(struct sink *s, int fd);
void sink_close(struct sink *s);

/* Queues bytes (copied) or a file's first `size` bytes, of which it takes the descriptor. */
void sink_put(struct sink *s, const char *from, size_t n, struct receipt *r);
void sink_put_file(struct sink *s, int file, uint64_t size, struct receipt *r);

/* Writes what can be written. Returns whether something is left, for which to poll. */
bool sink_flush(struct sink *s);

#endif
