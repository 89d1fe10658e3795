/* SPDX-License-Identifier: MIT */

/*
 * A connection whose peer sends what it likes, past the library: packets without a header or with
 * one that lies, pieces of messages in any order, descriptors where there should be none. The input
 * is a program of such packets and of calls on this end. Calls may answer what they like, but
 * neither crash nor hang, and what they hand out lies in the caller's buffer.
 *
 *      CC=clang CXX=clang++ meson setup build-fuzz && ninja -C build-fuzz tests/fuzz-pipe
 *      build-fuzz/tests/fuzz-pipe -max_len=2048 -timeout=10 CORPUS
 *
 * test-pipe-hostile runs the same function over random programs.
 */

#include "fuzz.h"
#include "pipe/pipe.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_STEPS = 64, MOST_BYTES = 512 };

/* Sizes and places that fit each other more often than chance would have it. */
static uint64_t number(struct program *p)
{
        switch (take(p, 1) % 4) {
        case 0:
                return take(p, 1) % 8 * 64;
        case 1:
                return take(p, 2);
        case 2:
                return UINT64_MAX - take(p, 1);
        default:
                return take(p, 8);
        }
}

static void send_raw(struct program *p, int socket)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
        struct {
                crew__packet head;
                char bytes[MOST_BYTES];
        } packet = { .head = { .magic = CREW__PACKET_MAGIC } };
        struct iovec part = { .iov_base = &packet };
        struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
        unsigned how = (unsigned)take(p, 1);
        const int fds[2] = { socket, socket };

        packet.head.kind = how & 1 ? CREW__PACKET_FD : CREW__PACKET_MESSAGE;
        packet.head.message = take(p, 1) % 4;
        packet.head.total = number(p);
        packet.head.offset = how & 2 ? 0 : number(p);
        if ((how & 60) == 4)
                packet.head.magic = (uint32_t)take(p, 4);
        if ((how & 60) == 8)
                packet.head.kind = (uint32_t)take(p, 4);
        part.iov_len = sizeof packet.head + (how & 1 && how & 64 ? 0 : take(p, 1) % 8 * 64);
        if ((how & 60) == 12)
                part.iov_len = take(p, 1) % sizeof packet.head;
        if (how & 128) {
                size_t n = 1 + take(p, 1) % 2;

                control.header.cmsg_len = CMSG_LEN(n * sizeof *fds);
                memcpy(CMSG_DATA(&control.header), fds, n * sizeof *fds);
                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(n * sizeof *fds);
        }
        (void)sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void call(struct program *p, crew_connection *c)
{
        size_t cap = take(p, 1) % 12 * 64;
        char *buf = malloc(cap ? cap : 1);
        void *grown = NULL;
        size_t room = 0;
        ssize_t r;

        demand(buf != NULL);
        switch (take(p, 1) % 5) {
        case 0:
                r = crew_connection_recv_exact(c, buf, cap, CREW_NOW);
                demand(r <= 0);
                break;
        case 1:
                r = crew_connection_recv_alloc(c, &grown, &room, CREW_NOW);
                demand(r < 0 || (size_t)r <= room);
                for (ssize_t i = 0; i < r; i++)
                        (void)*((volatile char *)grown + i);
                free(grown);
                break;
        case 2:
                r = crew_connection_recv_fd(c, CREW_NOW);
                if (r >= 0)
                        (void)close((int)r);
                break;
        case 3:
                r = crew_connection_poll(c, CREW_NOW);
                demand(r <= 0);
                break;
        default:
                r = crew_connection_recv(c, buf, cap, CREW_NOW);
                demand(r <= (ssize_t)cap);
        }
        demand(strlen(crew_error_detail()) < 512);
        free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct program p = { data, size };
        crew_connection *mine, *theirs;

        if (crew_pipe(&mine, &theirs, true) < 0)
                return 0;
        for (int step = 0; step < MOST_STEPS && p.left; step++) {
                if (take(&p, 1) & 1)
                        send_raw(&p, crew_connection_fd(theirs));
                else
                        call(&p, mine);
        }
        theirs = crew_connection_free(theirs);
        for (int i = 0; i < 3; i++)
                call(&p, mine);
        (void)crew_connection_free(mine);
        return 0;
}
