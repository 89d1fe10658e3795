/* SPDX-License-Identifier: MIT */
#ifndef BENCH_H
#define BENCH_H

/*
 * What the benchmarks share: short runs in shuffled order, the distance between the two processors
 * probed before and after each, and ratios of pairs of runs that were made at one distance.
 * docs/BENCHMARKS.md says why.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* How far apart the two processors were; BENCH_MIXED when the two probes of a run disagree. */
enum bench_distance {
        BENCH_SMT,
        BENCH_NEAR,
        BENCH_FAR,
        BENCH_MIXED,
        BENCH_ANY, /* for tables: every run, wherever it was made */
};

/* Bounds between the classes, in ns for one cache line there and back. */
#define BENCH_SMT_BELOW 110.0
#define BENCH_NEAR_BELOW 260.0

#define BENCH_MAX_MEMBERS 8
#define BENCH_WHY 160

/* One column of comparable figures, such as "64 B, 1+1". */
struct bench_cell {
        const char *name;
        const char *unit;
        bool lower_is_better;
        bool by_distance; /* false where the distance cannot matter or cannot be probed */
};

/* One contestant. */
struct bench_row {
        const char *name;
        const char *missing; /* why it is not in this build; NULL: it is */
        unsigned every;      /* takes part in one round of so many; 0 = in all */
};

enum bench_kind {
        BENCH_AT_LEAST, /* row / best peer >= bound */
        BENCH_AT_MOST,
        BENCH_WORST, /* worst run of the row / its median >= bound; no peer */
        BENCH_SHOWN, /* no bound, only shown */
};

/* A comparison; of several peers the best at that distance counts. NULL ends the list of peers. */
struct bench_target {
        const char *cell;
        const char *row;
        const char *peers[5];
        enum bench_kind kind;
        double bound;
        bool not_far;          /* asked for at short distances only */
        const char *peer_cell; /* where the peers are; NULL: in the same cell */
};

struct bench_result {
        double value;
        double before, after; /* probes in ns; 0 = not probed */
        char why[BENCH_WHY];  /* of a run that failed or is not possible */
        char note[BENCH_WHY]; /* a caveat to print once, such as a limit that was met */
};

struct bench_sample {
        unsigned cell, row, round;
        enum bench_distance distance;
        double value, before, after, at;
};

struct bench {
        const char *name;
        const struct bench_cell *cells;
        unsigned n_cells;
        const struct bench_row *rows;
        unsigned n_rows;
        const struct bench_target *targets;
        unsigned n_targets;

        /* Whether the row can take part in the cell at all. */
        bool (*offers)(unsigned cell, unsigned row);
        /* One run. Returns 0, or -1 with the reason in r->why. */
        int (*measure)(struct bench *b, unsigned cell, unsigned row, struct bench_result *r);
        /* A further option of this benchmark; NULL: it has none. Returns whether it took it. */
        bool (*option)(const char *name, const char *value);
        const char *option_help;

        double ms; /* length of a run */
        unsigned rounds;
        double seconds;
        const char *only;
        bool json;
        int cpu[2];

        struct bench_sample *samples;
        size_t n_samples, cap_samples;
        char (*notes)[BENCH_WHY]; /* [cell * n_rows + row] */
        char (*failure)[BENCH_WHY];
        unsigned *failures;
};

int bench_main(struct bench *b, int argc, char **argv);

/* bench-stats.c */
double bench_median(double *values, size_t n); /* sorts */
uint64_t bench_random(void);
void bench_add_sample(struct bench *b, const struct bench_sample *s);
/* Values of one cell and row at one distance, oldest first; the caller frees. */
double *bench_values(
        const struct bench *b, unsigned cell, unsigned row, enum bench_distance d, size_t *n);

struct bench_ratio {
        size_t pairs;
        double median, low, high; /* low to high: 95 % bootstrap interval of the median */
};

/* A contestant where it is measured. */
struct bench_place {
        unsigned cell, row;
};
struct bench_ratio bench_ratio(const struct bench *b, struct bench_place what,
        struct bench_place peer, enum bench_distance d);

/* bench-report.c */
#define BENCH_MIN_PAIRS 20
void bench_report(const struct bench *b);
void bench_report_json(const struct bench *b);
enum bench_distance bench_classify(double before, double after);

/*
 * A run of several processes. The first two members are the ones between which the distance is
 * probed; everything here lives in memory that all of them share.
 */
struct bench_shared {
        _Alignas(128) _Atomic uint32_t ping;
        _Alignas(128) _Atomic uint32_t pong;
        _Alignas(128) _Atomic uint32_t arrived;
        _Atomic uint32_t generation;
        _Alignas(128) _Atomic uint32_t started;
        _Alignas(128) _Atomic uint32_t stop; /* set when the time of the run is over */
        _Alignas(128) _Atomic uint32_t done; /* members that will produce no more */
        double before, after;
        struct bench_member {
                _Alignas(128) uint64_t count;
                uint64_t errors;
                int64_t start, end;
                double value;
                char why[BENCH_WHY];
        } member[BENCH_MAX_MEMBERS];
};

struct bench_group {
        unsigned members;
        bool pin;   /* even members to cpu[0], odd ones to cpu[1]; else both for all */
        bool same;  /* all on cpu[0] */
        bool probe; /* needs two processors */
        /* In each member, before its time begins; false fails the run. May be NULL. */
        bool (*prepare)(struct bench_shared *s, unsigned who, void *arg);
        size_t memory; /* bytes that they touch and give back: they get time for these as well */
        void (*run)(struct bench_shared *s, unsigned who, void *arg);
        void (*release)(void *arg); /* in the parent, once the members are started; may be NULL */
        void *arg;
};

/* Returns 0, or -1 with r->why: a member failed or got stuck (and was killed). */
int bench_group_run(struct bench *b, struct bench_shared *s, const struct bench_group *g,
        struct bench_result *r);

/* The same in memory of its own; the value of the run is its first member's. */
int bench_group_value(struct bench *b, const struct bench_group *g, struct bench_result *r);

/* Only the probe, for runs whose processes are not ours. */
double bench_probe(struct bench *b);

struct bench_shared *bench_shared_new(void);
void bench_shared_free(struct bench_shared *s);
int64_t bench_now(void);
void bench_pin(int cpu);
void bench_unpin(const struct bench *b);
/* Runs a program and keeps up to `cap` - 1 bytes of its output. Returns 0, or -1 with `why`. */
int bench_spawn(char *const argv[], char *out, size_t cap, double seconds, char why[BENCH_WHY]);
void bench_why(char why[BENCH_WHY], const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void bench_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

#endif
