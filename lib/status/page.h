/* SPDX-License-Identifier: MIT */
#ifndef CREW_STATUS_PAGE_H
#define CREW_STATUS_PAGE_H

/*
 * The status page: what a process tells about itself in shared memory, so that it can be read
 * without its help, also after its death. Its parent makes it, the process inherits and writes it.
 *
 * Fields are only ever appended; `size` says how many of them the writer knew. Readers look at
 * nothing beyond it, and believe nothing that they cannot check: any holder can write anything.
 */

#include "kernel/pidfd.h"
#include "kernel/segment.h"

#include <stdbool.h>

enum { CREW__PAGE_MAGIC = 0x77657263 /* "crew" */, CREW__PAGE_VERSION = 1 };

/* The gate at which a child waits for its parent. */
enum { CREW__GATE_SHUT = 0, CREW__GATE_OPEN = 1, CREW__GATE_GONE = 2 };

typedef struct crew__page {
        uint32_t magic;
        uint32_t version;
        uint32_t size;
        _Atomic uint32_t pid;    /* of the process it is about, in its own pid namespace */
        _Atomic uint32_t gate;   /* futex word */
        _Atomic uint32_t ending; /* 0, or a bit that says so and the exit code below it */

        /* Of a process that is no fork of its parent: how far it came; a futex word. */
        _Atomic uint32_t arrival; /* enum crew__arrival */
        _Atomic int32_t arrival_error;

        /* Written by the fork server that collected it. `told` is written last; a futex word. */
        _Atomic uint32_t told; /* 1: nothing is known, 2: what follows */
        int32_t code, signal;
        uint32_t core;
        struct rusage usage;
} crew__page;

/* One reference to the segment, owned by the caller. Errors as crew__segment_new. */
int crew__page_new(crew__segment **segment, const char *name);

static inline crew__page *crew__page_of(const crew__segment *segment)
{
        return segment->address;
}

/* Lets the child through, or sends it away; once. */
void crew__page_gate(crew__page *page, uint32_t verdict);

/* Notes the exit code (0..255) just before the end. */
void crew__page_note_exit(crew__page *page, int code);

enum crew__arrival {
        CREW__ARRIVAL_NONE,
        CREW__ARRIVAL_READY,
        CREW__ARRIVAL_NO_TARGET, /* its function is not in the new image */
        CREW__ARRIVAL_FAILED,    /* arrival_error says why, a positive errno */
};

/* Says how far this process came, and wakes its parent. */
void crew__page_arrive(crew__page *page, enum crew__arrival how, int err);

/* How its process ended, by who collected it. The reader gets what can be an ending, or false:
 * nobody has written it yet. */
void crew__page_write_obituary(crew__page *page, const crew__ending *ending);
bool crew__page_obituary(const crew__page *page, crew__ending *ending);

/* The noted exit code; false if there is none or the page is not one. */
bool crew__page_exit(const crew__page *page, int *code);

#endif
