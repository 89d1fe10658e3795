/* SPDX-License-Identifier: MIT */
#ifndef CREW_PIPE_PIPE_H
#define CREW_PIPE_PIPE_H

/*
 * The handle behind crew_connection.
 *
 * The two ends are a pair of SOCK_SEQPACKET sockets. The kernel delivers a packet whole or not at
 * all, so whatever dies or gives up in the middle of a message, the next packet begins where a
 * packet begins. A message is one packet, or several with the same number; one that begins anew
 * says that the last will not be finished.
 *
 * An end is a segment: a page with a lock for each direction, and the socket in the place of its
 * first eventfd, so that an end is inherited, granted and given up like everything that is shared.
 * The page is this end's alone: who was granted it cannot reach the other end's.
 *
 * Data goes by sendto(), recvfrom() and readv(), which the sandbox's word stdio allows; descriptors
 * go by sendmsg() and recvmsg().
 */

#include "base/fail.h"
#include "kernel/generation.h"
#include "kernel/lock.h"
#include "kernel/segment.h"

#include <crew/pipe.h>

#define CREW__PIPE_MAGIC UINT64_C(0x65706970776572) /* "rewpipe" */
#define CREW__PACKET_MAGIC UINT32_C(0x6b637043)     /* "Cpck" */

enum {
        CREW__PIPE_VERSION = 1,
        CREW__PIPE_SENDS = 1,
        CREW__PIPE_RECEIVES = 2,
        CREW__PACKET_LEAST = 512, /* bytes of a message in a packet */
};

/* What the processes that hold an end share. */
typedef struct crew__pipe_end {
        uint64_t magic;
        uint32_t version;
        uint32_t flags;
        uint32_t packet; /* the most bytes of a message in one packet */
        uint64_t pid_namespace;
        _Alignas(128) crew__lock sending;
        _Atomic uint64_t messages; /* numbers them; under `sending` */
        _Alignas(128) crew__lock receiving;
} crew__pipe_end;

enum crew__packet_kind { CREW__PACKET_MESSAGE, CREW__PACKET_FD };

/* Stands before the bytes of each packet. */
typedef struct crew__packet {
        uint32_t magic;
        uint32_t kind;
        uint64_t message; /* its number */
        uint64_t total;   /* bytes of it */
        uint64_t offset;  /* of those in this packet */
} crew__packet;

/* A message of several packets, as far as it was received. */
typedef struct crew__partial {
        uint64_t message, total, have;
        size_t room;
        char *bytes;
} crew__partial;

struct crew_connection {
        _Atomic unsigned references;
        crew__segment *segment;
        crew__pipe_end *end;
        uint32_t flags, packet;      /* copies: what is shared is not trusted */
        _Atomic uint64_t generation; /* the process that uses the handle; 1: being taken over */
        _Atomic bool broken;
        crew__partial *_Atomic partial;
};

int crew__connection_adopt(crew_connection *c);

/* First thing in every operation; `direction` is SENDS or RECEIVES. -EXDEV, -EOPNOTSUPP,
 * -ENOTRECOVERABLE. */
int crew__connection_enter(crew_connection *c, uint32_t direction);

static inline int crew__connection_socket(const crew_connection *c)
{
        return c->segment->events[0];
}

crew_connection *crew__connection_ref(crew_connection *c);
crew__partial *crew__partial_free(crew__partial *partial);

/*
 * Could a correct peer have sent this packet, with `bytes` behind its header? Everything else in
 * the library relies on what this checked.
 */
bool crew__packet_valid(const crew__packet *packet, size_t bytes);

#endif
