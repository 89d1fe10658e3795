/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* A peer that is not installed keeps its name, so that the report can say what was left out. */
#ifdef BENCH_CREW
extern const struct queue_peer peer_crew, peer_crew_batch, peer_crew_single, peer_crew_in_place,
        peer_crew_big, peer_crew_pipe;
#else
#        define ABSENT(ID, NAME)                                                                   \
                static const struct queue_peer ID = {                                              \
                        .name = NAME, .missing = "the queue is not built"}
ABSENT(peer_crew, "crew");
ABSENT(peer_crew_batch, "crew-batch32");
ABSENT(peer_crew_single, "crew-single");
ABSENT(peer_crew_in_place, "crew-in-place");
ABSENT(peer_crew_big, "crew-16MiB");
ABSENT(peer_crew_pipe, "crew-pipe");
#endif

extern const struct queue_peer peer_pipe, peer_seqpacket, peer_mq, peer_py_queue, peer_py_simple;

#ifdef BENCH_BOOST
extern const struct queue_peer peer_boost;
#else
static const struct queue_peer peer_boost = {
        .name = "boost-mq",
        .missing = "boost::interprocess was not found (Debian: libboost-dev)",
};
#endif

#ifdef BENCH_CK
extern const struct queue_peer peer_ck;
#else
static const struct queue_peer peer_ck = {
        .name = "ck_ring",
        .missing = "ck_ring.h was not found (Debian: libck-dev)",
};
#endif

#ifdef BENCH_RTE
extern const struct queue_peer peer_rte, peer_rte_rts, peer_rte_burst;
#else
#        define NO_DPDK "librte_ring was not found (Debian: libdpdk-dev)"
static const struct queue_peer peer_rte = {.name = "rte_ring", .missing = NO_DPDK};
static const struct queue_peer peer_rte_rts = {.name = "rte_ring-rts", .missing = NO_DPDK};
static const struct queue_peer peer_rte_burst = {.name = "rte_ring-burst32", .missing = NO_DPDK};
#endif

const struct queue_peer *const queue_peers[] = {
        &peer_crew,
        &peer_crew_batch,
        &peer_crew_single,
        &peer_crew_in_place,
        &peer_crew_big,
        &peer_crew_pipe,
        &peer_pipe,
        &peer_mq,
        &peer_seqpacket,
        &peer_boost,
        &peer_ck,
        &peer_rte,
        &peer_rte_rts,
        &peer_rte_burst,
        &peer_py_queue,
        &peer_py_simple,
};
const unsigned n_queue_peers = sizeof queue_peers / sizeof *queue_peers;

int queue_fail(struct queue_run *r, const char *what, int err)
{
        snprintf(r->why, 160, "%s: %s", what, strerror(err));
        return -1;
}

/* The size of the mapping stands in a page of its own before it. */
#define HEAD 65536

void *queue_map(struct queue_run *r, size_t size)
{
        int fd = memfd_create("bench", MFD_CLOEXEC);
        unsigned char *p;

        if (fd < 0 || ftruncate(fd, (off_t)(size + HEAD)) != 0) {
                queue_fail(r, "memfd", errno);
                if (fd >= 0)
                        close(fd);
                return NULL;
        }
        p = mmap(NULL, size + HEAD, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (p == MAP_FAILED) {
                queue_fail(r, "mmap", errno);
                close(fd);
                return NULL;
        }
        close(fd);
        memcpy(p, &(size_t){size + HEAD}, sizeof(size_t));
        return p + HEAD;
}

void queue_unmap(void *p)
{
        unsigned char *start = (unsigned char *)p - HEAD;
        size_t size;

        memcpy(&size, start, sizeof size);
        munmap(start, size);
}

void queue_yield(struct queue_run *r)
{
        r->idle = 0;
        sched_yield();
}
