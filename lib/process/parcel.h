/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_PARCEL_H
#define CREW_PROCESS_PARCEL_H

/*
 * A parcel: what crosses to another process of this program that is no fork of the sender. A sealed
 * memfd with everything that is bytes, and a list of descriptors. It crosses an exec under the
 * sender's own descriptor numbers, or a socket, where they get new ones.
 */

#include "kernel/segment.h"
#include "process/site.h"

#include <stdint.h>
#include <sys/types.h>

/* Descriptors by their index in a parcel's list. Behind them: those to keep, in the order of
 * `keep`, then three for each object, of which those that it lacks are -1. */
enum {
        CREW__PARCEL_ITSELF,
        CREW__PARCEL_APPLICATION, /* pidfd of the sender */
        CREW__PARCEL_PAGE,        /* status page of a child; the socket of a server */
        CREW__PARCEL_DIRECTORY,   /* to work in, or -1 */
        CREW__PARCEL_STDIN,       /* and the other two: what they become, or -1 */
        CREW__PARCEL_EXTRA = CREW__PARCEL_STDIN + 3, /* two: a Landlock ruleset or -1, a server's */
        CREW__PARCEL_FIXED = CREW__PARCEL_EXTRA + 2,
};

enum crew__parcel_kind {
        CREW__PARCEL_CHILD,  /* target is a crew_target_fn */
        CREW__PARCEL_SERVER, /* target is a crew__entry, a function of libcrew's */
};

/* A part of the parcel, by its offset. */
typedef struct crew__part {
        uint32_t at, size;
} crew__part;

typedef struct crew__parcel_keep {
        int32_t number;
        int32_t cloexec;
} crew__parcel_keep;

typedef struct crew__parcel_object {
        crew_ref ref;
        uint64_t head, ring;
} crew__parcel_object;

typedef struct crew__parcel {
        uint64_t magic;
        uint32_t version;
        uint32_t header; /* bytes of this struct */
        uint64_t size;   /* of all */
        uint64_t cookie;
        uint32_t kind;
        int32_t application; /* pid of the sender */
        int32_t group;       /* the sender's process group */
        uint32_t tied;       /* a daemon that PDEATHSIG ends */
        uint64_t flags;      /* CREW_PROCESS_... */
        uint64_t sender_flags;
        uint64_t mask; /* of signals */
        crew__site target;
        crew__part comm, name, identity, sender_name, sender_identity; /* end with a zero */
        uint64_t arg, arg_size;                                        /* 16-aligned */
        crew__part keep, objects, numbers;                             /* arrays */
        crew__part env;     /* strings, one behind the other; none: as the receiver has it */
        crew__part confine; /* of a child: limits and sandbox; none: nothing of that */
} crew__parcel;

/* To be packed: pointers are the caller's. */
typedef struct crew__packing {
        crew__parcel head; /* what is no part is filled in */
        const char *name, *identity;
        const void *arg;
        size_t arg_size;
        const int *keep;
        size_t n_keep;
        crew__segment *const *objects;
        size_t n_objects;
        int page;      /* or the socket */
        int directory; /* or -1 */
        int stdio[3];  /* or -1 */
        int extra[2];  /* or -1 */
        const char *const *env;
        const void *confine;
        size_t confine_size;
} crew__packing;

/* Descriptors of a parcel; `fd` is allocated. Those of the list but ITSELF are borrowed. */
typedef struct crew__packed {
        uint64_t cookie;
        int *fd;
        size_t n;
        int opened; /* for the parcel: closed with it; or -1 */
} crew__packed;

/* Without any descriptor. */
#define CREW__PACKING                                                                              \
        ((crew__packing){                                                                          \
                .page = -1, .directory = -1, .stdio = { -1, -1, -1 }, .extra = { -1, -1 } })

/* 0; -EMFILE, -ENOMEM, -EBADF (a descriptor to keep is not open). */
int crew__parcel_pack(crew__packed *packed, const crew__packing *what);
void crew__parcel_drop(crew__packed *packed);

/* The receiver's side. */
typedef struct crew__delivery {
        const crew__parcel *parcel; /* mapped for reading */
        int *fd;                    /* owned by the receiver */
        size_t n;
} crew__delivery;

/*
 * Looks into a memfd: 0; -EBADMSG: no parcel, or another libcrew's. `cookie` 0 is any. Everything
 * in it is within its bounds from then on. With `fd` NULL the descriptors are the sender's numbers.
 */
int crew__parcel_open(crew__delivery *d, int memfd, uint64_t cookie, const int *fd, size_t n);
void crew__parcel_close(crew__delivery *d);

const char *crew__parcel_text(const crew__delivery *d, crew__part part);
const void *crew__parcel_confine(const crew__delivery *d);
const crew__parcel_keep *crew__parcel_keeps(const crew__delivery *d, size_t *n);
const crew__parcel_object *crew__parcel_objects(const crew__delivery *d, size_t *n);

/* The descriptor behind CREW__PARCEL_FIXED that belongs to object `i`, its first of three. */
int *crew__parcel_object_fds(const crew__delivery *d, size_t i);

/*
 * In a new process: puts what is to be kept under its number, makes everything else close-on-exec
 * and closes what is not of the parcel, 0-2 apart. Then attaches the objects, so that their refs
 * can be opened. 0; -EMFILE, -ENOMEM, -EBADF.
 */
int crew__parcel_settle(crew__delivery *d);

/* The entry of a server: never returns. */
typedef void crew__entry(crew__delivery *d);

#endif
