/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_SEGMENT_H
#define CREW_KERNEL_SEGMENT_H

/*
 * Shared memory without a name: a memfd sealed against shrinking, growing and further sealing,
 * mapped, and listed in the registry of this process. A forked child inherits mapping, descriptors
 * and registry; a worker uses the registry to unmap what it was not granted.
 *
 * Layout: `head` bytes, then optionally `ring` bytes that are mapped twice in a row, so that
 * whatever starts in the ring is contiguous. Both are multiples of the page size.
 */

#include <crew/error.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { CREW__SEGMENT_EVENTS = 2 };

typedef struct crew__segment {
        struct crew__segment *_Atomic next; /* in the registry; changed under its lock */
        _Atomic unsigned references;
        crew_ref ref;     /* random, but for its kind */
        void *address;    /* of the head */
        size_t head;      /* bytes */
        size_t used;      /* of these, what was asked for */
        size_t ring;      /* bytes in the file; twice as many are mapped behind the head */
        int fd;           /* the memfd */
        int events[CREW__SEGMENT_EVENTS]; /* descriptors that travel with it, or -1 */
        _Atomic int bells[CREW__SEGMENT_EVENTS]; /* what is written to: events, or -1 */

        /* What this process knows, whatever the shared memory says by now. */
        _Atomic bool granted, broken;  /* sticky; granted: to somebody who is not trusted */
        _Atomic uint32_t blamed;       /* the thread that kept a lock, as the lock said */
        _Atomic unsigned holders;      /* pools that it is granted to */
        _Atomic uint64_t granter;      /* the generation that granted it */
        _Atomic unsigned handles;      /* of a queue whose holders are counted: in this process, */
        _Atomic uint32_t row;          /* its row, from 1, or 0; */
        _Atomic uint64_t row_of;       /* the generation that has it, */
        _Atomic uint64_t silent;       /* and the one that said it puts no more */
        _Atomic int notice;            /* the memfd by which it is published, or -1, */
        _Atomic uint64_t notice_of;    /* and the generation that published it */
} crew__segment;

/*
 * A ref says what it names: the first two letters of the kind are part of it. So nobody who can
 * write to a segment can make it look like another kind to who trusts the ref.
 */
static inline uint16_t crew__ref_kind(const char *kind)
{
        return (uint16_t)((unsigned char)kind[0] << 8 | (unsigned char)kind[1]);
}

static inline bool crew__ref_is(crew_ref ref, const char *kind)
{
        return (ref.word[0] & 0xffff) == crew__ref_kind(kind);
}

size_t crew__page_size(void);
size_t crew__page_round(size_t bytes);

/*
 * Makes a zeroed segment of crew__page_round(head) + crew__page_round(ring) bytes with `n_events`
 * eventfds. Inspectors see the memfd as "crew:KIND:NAME" (name may be NULL).
 * One reference, owned by the caller. -EMFILE, -ENFILE, -ENOMEM, -EINVAL (too large).
 */
int crew__segment_new(crew__segment **segment, const char *kind, const char *name, size_t head,
        size_t ring, unsigned n_events);

/* The segment of that name in this process's registry, with a reference of the caller's; -ENOENT. */
int crew__segment_find(crew__segment **segment, crew_ref ref);

crew__segment *crew__segment_ref(crew__segment *segment);

/* Drops a reference; the last one unmaps and closes. NULL is fine; always returns NULL. */
crew__segment *crew__segment_unref(crew__segment *segment);

/* Calls `visit` for each registered segment under the registry's lock, until it returns non-zero. */
int crew__segment_each(int (*visit)(crew__segment *segment, void *data), void *data);

/*
 * For a process that was forked and may not have all that it inherited: what `granted` does not
 * name leaves the registry and memory. Its descriptors are forgotten, not closed; a handle to it
 * that lies in the host's data ends the process when it is used.
 */
void crew__segment_shed(bool (*granted)(const crew__segment *segment, void *data), void *data);

/*
 * A segment of another process from what it sent: its `used` and `ring` (the sender is trusted), its
 * memfd and its eventfds (or -1), which the segment then owns. One reference.
 * -ENOMEM, -EINVAL: the descriptors are still the caller's.
 */
int crew__segment_attach(crew__segment **segment, crew_ref ref, size_t used, size_t ring, int fd,
        const int events[CREW__SEGMENT_EVENTS]);

#endif
