/* SPDX-License-Identifier: MIT */

/* Making, opening and freeing the ends of a pipe. */

#include "pipe/pipe.h"

#include "base/cleanup.h"
#include "kernel/namespace.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static crew_connection *handle(crew__segment *segment)
{
        crew__pipe_end *end = segment->address;
        crew_connection *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        atomic_init(&c->references, 1);
        c->segment = segment;
        c->end = end;
        c->flags = end->flags;
        c->packet = end->packet;
        if (c->packet > CREW_PIPE_PACKET)
                c->packet = CREW_PIPE_PACKET;
        if (c->packet < CREW__PACKET_LEAST)
                c->packet = CREW__PACKET_LEAST;
        return c;
}

/* The socket passes to the end. */
static int make_end(crew_connection **c, int *socket, uint32_t flags, uint32_t packet)
{
        crew__segment *segment;
        crew__pipe_end *end;
        int r = crew__segment_new(&segment, "pipe", NULL, sizeof *end, 0, 0);

        if (r < 0)
                return r;
        end = segment->address;
        end->magic = CREW__PIPE_MAGIC;
        end->version = CREW__PIPE_VERSION;
        end->flags = flags;
        end->packet = packet;
        end->pid_namespace = crew__pid_namespace();
        *c = handle(segment);
        if (!*c) {
                (void)crew__segment_unref(segment);
                return crew__fail(ENOMEM, "pipe: no memory for a handle");
        }
        segment->events[0] = crew__take_fd(socket);
        atomic_store(&segment->bells[0], segment->events[0]);
        atomic_store(&(*c)->generation, crew__generation());
        return 0;
}

/* The most bytes of a message that fit into a packet: the kernel takes none that is larger than the
 * socket's buffer. */
static uint32_t packet_of(int socket)
{
        int room = 0;
        socklen_t size = sizeof room;

        if (getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &room, &size) < 0 ||
                room / 2 - (int)sizeof(crew__packet) > CREW_PIPE_PACKET)
                return CREW_PIPE_PACKET;
        return (uint32_t)room / 2 - (uint32_t)sizeof(crew__packet);
}

int crew_pipe(crew_connection **a, crew_connection **b, bool duplex)
{
        CREW__AUTO_CLOSE int left = -1;
        CREW__AUTO_CLOSE int right = -1;
        crew_connection *one, *other;
        int both[2], r;

        if (!a || !b)
                return crew__fail(EINVAL, "pipe: nowhere to store the two ends");
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both) < 0)
                return crew__fail(errno, "pipe: needs 4 descriptors: %s", crew_error_text(-errno));
        left = crew__above_stdio(both[0]);
        right = crew__above_stdio(both[1]);
        r = make_end(&one, &left,
                duplex ? CREW__PIPE_SENDS | CREW__PIPE_RECEIVES : CREW__PIPE_RECEIVES,
                packet_of(both[0]));
        if (r < 0)
                return r;
        r = make_end(&other, &right,
                duplex ? CREW__PIPE_SENDS | CREW__PIPE_RECEIVES : CREW__PIPE_SENDS, one->packet);
        if (r < 0) {
                (void)crew_connection_free(one);
                return r;
        }
        *a = one;
        *b = other;
        return 0;
}

int crew_connection_open(crew_connection **c, crew_ref ref)
{
        crew__segment *segment;
        crew__pipe_end *end;
        crew_connection *made;
        int r;

        if (!c)
                return crew__fail(EINVAL, "pipe: nowhere to store the handle");
        r = crew__segment_find(&segment, ref);
        if (r < 0)
                return r;
        end = segment->address;
        if (!crew__ref_is(ref, "pipe") || segment->head < sizeof *end || segment->ring || end->magic != CREW__PIPE_MAGIC ||
                end->version != CREW__PIPE_VERSION || segment->events[0] < 0) {
                (void)crew__segment_unref(segment);
                return crew__fail(
                        ENOENT, "the object with this ref is not an end of a pipe of this libcrew");
        }
        made = handle(segment);
        if (!made) {
                (void)crew__segment_unref(segment);
                return crew__fail(ENOMEM, "pipe: no memory for a handle");
        }
        r = crew__connection_adopt(made);
        if (r < 0) {
                (void)crew_connection_free(made);
                return r;
        }
        *c = made;
        return 0;
}

crew_connection *crew__connection_ref(crew_connection *c)
{
        (void)atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
        return c;
}

crew__partial *crew__partial_free(crew__partial *partial)
{
        if (partial)
                free(partial->bytes);
        free(partial);
        return NULL;
}

crew_connection *crew_connection_free(crew_connection *c)
{
        if (!c || atomic_fetch_sub(&c->references, 1) > 1)
                return NULL;
        (void)crew__partial_free(atomic_load(&c->partial));
        (void)crew__segment_unref(c->segment);
        free(c);
        return NULL;
}

crew_ref crew_connection_ref(const crew_connection *c)
{
        return c->segment->ref;
}

/*
 * A forked child has a copy of what its parent had received of a message; the rest of it goes to
 * the parent.
 */
int crew__connection_adopt(crew_connection *c)
{
        uint64_t mine = crew__generation(), seen = atomic_load(&c->generation);

        while (seen != mine) {
                if (seen != 1 && !crew__pid_namespace_is(c->end->pid_namespace))
                        return crew__fail(EXDEV,
                                "pipe: made in another pid namespace; its locks name owners by "
                                "numbers that mean other threads here");
                if (seen == 1 || !atomic_compare_exchange_strong(&c->generation, &seen, 1)) {
                        (void)sched_yield();
                        seen = atomic_load(&c->generation);
                        continue;
                }
                (void)crew__partial_free(atomic_exchange(&c->partial, NULL));
                atomic_store(&c->generation, mine);
                seen = mine;
        }
        return 0;
}

static const char *other_direction(uint32_t direction)
{
        return direction == CREW__PIPE_SENDS ? "pipe: this end receives only; send with the other"
                                             : "pipe: this end sends only; receive with the other";
}

int crew__connection_enter(crew_connection *c, uint32_t direction)
{
        int r = 0;

        if (!c)
                return crew__fail_quick(EINVAL, "pipe: no connection (NULL)");
        if (atomic_load_explicit(&c->generation, memory_order_relaxed) != crew__generation())
                r = crew__connection_adopt(c);
        if (r < 0)
                return r;
        if (!(c->flags & direction))
                return crew__fail_quick(EOPNOTSUPP, other_direction(direction));
        if (atomic_load_explicit(&c->segment->granted, memory_order_relaxed) &&
                atomic_load(&c->segment->granter) == crew__generation())
                return crew__fail_quick(EOPNOTSUPP, "pipe: this end was granted to a pool, whose "
                                                    "workers could keep it; use the "
                                                    "other end");
        if (atomic_load_explicit(&c->broken, memory_order_relaxed))
                return crew__fail_quick(ENOTRECOVERABLE,
                        "pipe: what came through it was not sent by crew; it is unusable");
        return 0;
}

int crew_connection_fd(crew_connection *c)
{
        if (!c)
                return crew__fail(EINVAL, "pipe: no connection (NULL)");
        return crew__connection_socket(c);
}
