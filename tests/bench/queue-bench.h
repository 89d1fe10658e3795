/* SPDX-License-Identifier: MIT */
#ifndef QUEUE_BENCH_H
#define QUEUE_BENCH_H

/* What a queue has to offer to be measured by bench-queue. Plain C that C++ can read. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUEUE_BATCH 32
#define QUEUE_MAX_SIZE 65536
#define QUEUE_STOP UINT64_MAX /* stamp of the message that ends a consumer, where one is needed */

/* One side of a run, as one process sees it. */
struct queue_run {
        size_t size;
        unsigned producers, consumers;
        unsigned who; /* among its own side */
        bool producing;
        void *state;                   /* the peer's own, made by setup */
        unsigned char *out, *in;       /* QUEUE_BATCH messages each, 8-aligned */
        uint64_t stamp;                /* of the last message put */
        uint64_t last[4];              /* stamp of the last message got, by producer */
        uint64_t errors;               /* messages torn, lost or out of order */
        unsigned idle;                 /* pauses since the last yield */
        const volatile uint32_t *stop; /* the time of the run is over */
        const volatile uint32_t *done; /* producers that have put their last message */
        char *why, *note;              /* 160 bytes each: failure, caveat */
};

struct queue_peer {
        const char *name;
        const char *missing; /* why it is not in this build; NULL: it is */
        size_t max_size;     /* largest message; 0 = any */
        size_t max_shared;   /* largest message with several on a side; 0 = any */
        bool single;         /* 1+1 only */
        /* In the parent, before the processes are made. 0, or -1 with r->why. */
        int (*setup)(struct queue_run *r);
        /* In each process, before the start of the run; may be NULL. */
        void (*attach)(struct queue_run *r);
        /* In the parent, once all processes are there; may be NULL. */
        void (*release)(struct queue_run *r);
        /* Puts about n messages. How many were put (fewer once *r->stop), or -1 with r->why. */
        long (*produce)(struct queue_run *r, unsigned n);
        /* Gets about n messages and checks them. How many; -1 - how many at the end, in which case
         * r->why says whether it was a failure. */
        long (*consume)(struct queue_run *r, unsigned n);
        /* In each producer, after its own last message; may be NULL. */
        void (*leave)(struct queue_run *r);
        /* In the last producer, after the last message of all; may be NULL. */
        void (*finish)(struct queue_run *r);
        /* In the parent, at the end; may be NULL. */
        void (*teardown)(struct queue_run *r);
        /* A run as a whole instead of all the above: messages/s, or -1 with r->why. */
        double (*whole)(struct queue_run *r, double ms, const int cpu[2]);
};

extern const struct queue_peer *const queue_peers[];
extern const unsigned n_queue_peers;

/* Slots of a ring that all peers get alike: 4096, or 1 MiB of messages, whichever is less. */
static inline unsigned queue_slots(size_t size)
{
        size_t fit = (size_t)1 << 20;

        fit /= size;
        return fit < 4096 ? (unsigned)fit : 4096;
}

/* Shared memory without a name, zeroed and touched; freed with queue_unmap. NULL with r->why. */
void *queue_map(struct queue_run *r, size_t size);
void queue_unmap(void *p);
/* Fills r->why from a format and errno; returns -1. */
int queue_fail(struct queue_run *r, const char *what, int err);

/* Makes the next message at `at`: the same stamp at both ends. The compiler must really write it.
 */
static inline void queue_stamp(struct queue_run *r, unsigned char *at)
{
        uint64_t stamp = ++r->stamp;

        memcpy(at, &stamp, sizeof stamp);
        memcpy(at + r->size - sizeof stamp, &stamp, sizeof stamp);
        __asm__ volatile("" : : "r"(at) : "memory");
}

static inline bool queue_is_stop(const unsigned char *at)
{
        uint64_t stamp;

        memcpy(&stamp, at, sizeof stamp);
        return stamp == QUEUE_STOP;
}

/* Checks a message that was copied to `at`: whole, and in the order of its producer. */
static inline void queue_check(struct queue_run *r, const unsigned char *at)
{
        uint64_t head, tail;
        unsigned from;

        __asm__ volatile("" : : "r"(at) : "memory");
        memcpy(&head, at, sizeof head);
        memcpy(&tail, at + r->size - sizeof tail, sizeof tail);
        from = (unsigned)(head >> 56);
        if (head != tail || from >= r->producers || head <= r->last[from] ||
                (r->consumers == 1 && head != r->last[from] + 1))
                r->errors++;
        if (from < r->producers)
                r->last[from] = head;
}

/* For rings without a way to sleep: nothing to do, let time pass. */
void queue_yield(struct queue_run *r);

static inline void queue_idle(struct queue_run *r)
{
        if (++r->idle >= 128)
                queue_yield(r);
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

static inline bool queue_over(const struct queue_run *r)
{
        bool over = *r->done == r->producers;

        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return over;
}

/*
 * The loops of a ring that is tried without sleeping. TRY_PUT(from) and TRY_GET(to) are expressions
 * of type bool; the size is a constant inside, so that copying 8 bytes is one instruction.
 */
#define QUEUE_RING_LOOPS(NAME, TRY_PUT, TRY_GET)                                                   \
        static inline __attribute__((always_inline)) long NAME##_produce_sized(                    \
                struct queue_run *r, unsigned n, const size_t size)                                \
        {                                                                                          \
                for (unsigned i = 0; i < n; i++) {                                                 \
                        queue_stamp(r, r->out);                                                    \
                        while (!(TRY_PUT(r, r->out, size))) {                                      \
                                if (*r->stop) {                                                    \
                                        r->stamp--;                                                \
                                        return i;                                                  \
                                }                                                                  \
                                queue_idle(r);                                                     \
                        }                                                                          \
                }                                                                                  \
                return n;                                                                          \
        }                                                                                          \
        static inline __attribute__((always_inline)) long NAME##_consume_sized(                    \
                struct queue_run *r, unsigned n, const size_t size)                                \
        {                                                                                          \
                for (unsigned i = 0; i < n; i++) {                                                 \
                        while (!(TRY_GET(r, r->in, size))) {                                       \
                                if (queue_over(r)) {                                               \
                                        if (TRY_GET(r, r->in, size))                               \
                                                break;                                             \
                                        return -(long)i - 1;                                       \
                                }                                                                  \
                                queue_idle(r);                                                     \
                        }                                                                          \
                        queue_check(r, r->in);                                                     \
                }                                                                                  \
                return n;                                                                          \
        }                                                                                          \
        QUEUE_SIZED(NAME, produce)                                                                 \
        QUEUE_SIZED(NAME, consume)

#define QUEUE_SIZED(NAME, WHAT)                                                                    \
        static long NAME##_##WHAT(struct queue_run *r, unsigned n)                                 \
        {                                                                                          \
                switch (r->size) {                                                                 \
                case 8:                                                                            \
                        return NAME##_##WHAT##_sized(r, n, 8);                                     \
                case 64:                                                                           \
                        return NAME##_##WHAT##_sized(r, n, 64);                                    \
                case 1024:                                                                         \
                        return NAME##_##WHAT##_sized(r, n, 1024);                                  \
                default:                                                                           \
                        return NAME##_##WHAT##_sized(r, n, r->size);                               \
                }                                                                                  \
        }

#ifdef __cplusplus
}
#endif
#endif
