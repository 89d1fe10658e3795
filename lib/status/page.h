/* SPDX-License-Identifier: MIT */
#ifndef CREW_STATUS_PAGE_H
#define CREW_STATUS_PAGE_H

/*
 * The status page: what a process tells about itself in shared memory, so that it can be read
 * without its help, also while it is stopped and after its death.
 *
 * There are two of them, both a memfd called "crew:status:NAME":
 *   - the page of a program that started something: its own row, then one for each child. The
 *     parent writes the rows; a child maps the page by inheritance and may write its own.
 *   - the page of one child that was forked where somebody else may collect its status: the gate at
 *     which it waits and the note of its exit code. It has no rows.
 *
 * Fields are only ever appended; `size` says how many of them the writer knew, `row_size` the same
 * of rows. Readers look at nothing beyond it, and believe nothing that they cannot check: any
 * holder can write anything.
 */

#include "kernel/pidfd.h"
#include "kernel/segment.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CREW__PAGE_MAGIC = 0x77657263 /* "crew" */, CREW__PAGE_VERSION = 1 };

/* The gate at which a child waits for its parent. */
enum { CREW__GATE_SHUT = 0, CREW__GATE_OPEN = 1, CREW__GATE_GONE = 2 };

enum { CREW__ROWS = 2048, CREW__ROW_TAKEN = UINT32_MAX };

/* The "method" of a child that became another program. */
enum { CREW__ROW_PROGRAM = 4 };

/* What a process is; numbers that were given once stay. */
enum crew__role {
        CREW__ROLE_APPLICATION = 1,
        CREW__ROLE_PROCESS = 2,
        CREW__ROLE_SERVER = 3,
};

/*
 * One process. A row is free while `pid` is 0, being written while it is CREW__ROW_TAKEN; the pid
 * is stored last. A copy taken while a row changes hands may mix two names; the pid, and the start
 * that has to lie between `after` and `before`, still say whose process it is.
 */
typedef struct crew__row {
        _Atomic uint32_t pid; /* in the pid namespace of the page's owner */
        uint16_t role;
        uint16_t method;           /* CREW_METHOD_..., CREW__ROW_PROGRAM */
        uint32_t flags;            /* CREW_PROCESS_... */
        _Atomic uint32_t own;      /* it has a page with rows of its own: its descriptor + 1 */
        uint64_t after;            /* CLOCK_BOOTTIME, ns: it was started after this */
        _Atomic uint64_t before;   /* and before this */
        _Atomic uint32_t landlock; /* the ABI that limits it, 0 = none */
        uint32_t padding;
        char name[48];
        char sandbox[40]; /* words, "" = none */
} crew__row;

typedef struct crew__page {
        uint32_t magic;
        uint32_t version;
        uint32_t size;
        _Atomic uint32_t pid;    /* of the process it is about, in its own pid namespace */
        _Atomic uint32_t gate;   /* futex word */
        _Atomic uint32_t ending; /* 0, or a bit that says so and the exit code below it */
        uint64_t since;          /* CLOCK_BOOTTIME when the page was made */
        uint32_t rows_at;
        uint32_t row_size;
        uint32_t n_rows;
        _Atomic uint32_t cursor; /* where the next free row is looked for; the owner's */
} crew__page;

/* The page of one child goes on with what only who shares it looks at. */
typedef struct crew__child_page {
        crew__page page;

        /* Of a process that is no fork of its parent: how far it came; a futex word. */
        _Atomic uint32_t arrival; /* enum crew__arrival */
        _Atomic int32_t arrival_error;

        /* Written by the fork server that collected it. `told` is written last; a futex word. */
        _Atomic uint32_t told; /* 1: nothing is known, 2: what follows */
        int32_t code, signal;
        uint32_t core;
        struct rusage usage;
} crew__child_page;

_Static_assert(sizeof(crew__row) == 128, "rows of this version");

/* The page of one child, without rows. One reference to the segment, owned by the caller. Errors as
 * crew__segment_new. */
int crew__page_new(crew__segment **segment, const char *name);

static inline crew__page *crew__page_of(const crew__segment *segment)
{
        return segment->address;
}

static inline crew__child_page *crew__child_page_of(const crew__segment *segment)
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
void crew__page_arrive(crew__child_page *page, enum crew__arrival how, int err);

/* How its process ended, by who collected it. The reader gets what can be an ending, or false:
 * nobody has written it yet. */
void crew__page_write_obituary(crew__child_page *page, const crew__ending *ending);
bool crew__page_obituary(const crew__child_page *page, crew__ending *ending);

/* The noted exit code; false if there is none or the page is not one. */
bool crew__page_exit(const crew__page *page, int *code);

/*
 * self.c: the page with rows of this process. All of it is best effort: who has no descriptor or
 * row left is seen without a name. The page is made by the first of these calls and takes one
 * descriptor and one mapping for the life of the process; a forked child makes its own.
 */

/* Makes the page if there is none. `name` is what this process is called. */
void crew__status_publish(const char *name);

/* A row for a child about to be started; NULL: none. */
crew__row *crew__status_reserve(const char *name, uint16_t role, uint16_t method, uint32_t flags);

/* It will run in a sandbox with these words. NULL is fine, as below. */
void crew__status_confined(crew__row *row, const char *words, int landlock);

/* The child runs. */
void crew__status_started(crew__row *row, pid_t pid);

/* It was not started, or has ended. */
void crew__status_drop(crew__row *row);

/* In a forked child: the row that its parent reserved for it. */
void crew__status_become(crew__row *row);

/* This process entered a sandbox. */
void crew__status_sandboxed(const char *words, int landlock);

/* Copies at most size - 1 bytes and a zero; never cuts a character of UTF-8 in two. */
void crew__status_text(char *to, size_t size, const char *text);

/* CLOCK_BOOTTIME in ns, in which /proc tells when a process was started. */
uint64_t crew__status_clock(void);

#endif
