/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Runs further apart than this are not compared: the machine may have changed meanwhile. */
#define PAIR_SECONDS 60.0
#define RESAMPLES 2000

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a;
        double y = *(const double *)b;

        return (x > y) - (x < y);
}

double bench_median(double *values, size_t n)
{
        if (n == 0)
                return NAN;
        qsort(values, n, sizeof *values, compare);
        return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

uint64_t bench_random(void)
{
        static uint64_t state;

        if (state == 0)
                state = (uint64_t)bench_now() | 1;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}

void bench_add_sample(struct bench *b, const struct bench_sample *s)
{
        if (b->n_samples == b->cap_samples) {
                b->cap_samples = b->cap_samples ? b->cap_samples * 2 : 1024;
                b->samples = realloc(b->samples, b->cap_samples * sizeof *b->samples);
                if (!b->samples)
                        abort();
        }
        b->samples[b->n_samples++] = *s;
}

static bool selected(
        const struct bench_sample *s, unsigned cell, unsigned row, enum bench_distance d)
{
        return s->cell == cell && s->row == row && (d == BENCH_ANY || s->distance == d);
}

double *bench_values(
        const struct bench *b, unsigned cell, unsigned row, enum bench_distance d, size_t *n)
{
        double *values = malloc((b->n_samples + 1) * sizeof *values);

        if (!values)
                abort();
        *n = 0;
        for (size_t i = 0; i < b->n_samples; i++)
                if (selected(&b->samples[i], cell, row, d))
                        values[(*n)++] = b->samples[i].value;
        return values;
}

/* The sample of `peer` nearest in time to `s` that no other pair has taken. */
static size_t partner(const struct bench *b, const struct bench_sample *s, struct bench_place peer,
        enum bench_distance d, const bool *taken)
{
        size_t best = SIZE_MAX;
        double nearest = PAIR_SECONDS;

        for (size_t i = 0; i < b->n_samples; i++) {
                double apart = fabs(b->samples[i].at - s->at);

                if (!taken[i] && selected(&b->samples[i], peer.cell, peer.row, d) &&
                        apart < nearest) {
                        nearest = apart;
                        best = i;
                }
        }
        return best;
}

static void bootstrap(const double *values, size_t n, struct bench_ratio *r)
{
        double *medians = malloc(RESAMPLES * sizeof *medians);
        double *draw = malloc(n * sizeof *draw);

        if (!medians || !draw)
                abort();
        for (unsigned i = 0; i < RESAMPLES; i++) {
                for (size_t j = 0; j < n; j++)
                        draw[j] = values[bench_random() % n];
                medians[i] = bench_median(draw, n);
        }
        qsort(medians, RESAMPLES, sizeof *medians, compare);
        r->low = medians[RESAMPLES / 40];
        r->high = medians[RESAMPLES - 1 - RESAMPLES / 40];
        free(draw);
        free(medians);
}

struct bench_ratio bench_ratio(const struct bench *b, struct bench_place what,
        struct bench_place peer, enum bench_distance d)
{
        struct bench_ratio r = {.median = NAN, .low = NAN, .high = NAN};
        bool *taken = calloc(b->n_samples + 1, sizeof *taken);
        double *ratios = malloc((b->n_samples + 1) * sizeof *ratios);

        if (!taken || !ratios)
                abort();
        for (size_t i = 0; i < b->n_samples; i++) {
                size_t p;

                if (!selected(&b->samples[i], what.cell, what.row, d))
                        continue;
                p = partner(b, &b->samples[i], peer, d, taken);
                if (p == SIZE_MAX)
                        continue;
                taken[p] = true;
                ratios[r.pairs++] = b->samples[i].value / b->samples[p].value;
        }
        if (r.pairs > 0) {
                r.median = bench_median(ratios, r.pairs);
                bootstrap(ratios, r.pairs, &r);
        }
        free(ratios);
        free(taken);
        return r;
}
