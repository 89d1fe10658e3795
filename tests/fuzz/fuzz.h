/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_FUZZ_H
#define CREW_TESTS_FUZZ_H

/* What fuzz targets share: the input as a program that is read to its end, and how they fail. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct program {
        const uint8_t *at;
        size_t left;
};

/* The next of the program as a number; what is beyond its end is 0. */
static inline uint64_t take(struct program *p, size_t bytes)
{
        uint64_t value = 0;

        if (bytes > p->left)
                bytes = p->left;
        memcpy(&value, p->at, bytes);
        p->at += bytes;
        p->left -= bytes;
        return value;
}

/* Less than `most` bytes of the program over the `size` at `where`; `wide`: of the offset. */
static inline void scribble(struct program *p, void *where, size_t size, size_t wide, size_t most)
{
        size_t offset = take(p, wide) % size, length = take(p, 1) % most;

        if (length > size - offset)
                length = size - offset;
        if (length > p->left)
                length = p->left;
        memcpy((char *)where + offset, p->at, length);
        p->at += length;
        p->left -= length;
}

static inline void demand(bool held)
{
        if (!held)
                __builtin_trap();
}

#endif
