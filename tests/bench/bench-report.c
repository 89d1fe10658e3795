/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

static const char *const distance_name[] = {"smt", "near", "far", "mixed", "all"};

static enum bench_distance class_of(double ns)
{
        return ns < BENCH_SMT_BELOW ? BENCH_SMT : ns < BENCH_NEAR_BELOW ? BENCH_NEAR : BENCH_FAR;
}

enum bench_distance bench_classify(double before, double after)
{
        if (before <= 0 || after <= 0 || class_of(before) != class_of(after))
                return BENCH_MIXED;
        return class_of(before);
}

static void print_cpu(void)
{
        FILE *f = fopen("/proc/cpuinfo", "re");
        char line[256];

        while (f && fgets(line, sizeof line, f)) {
                if (strncmp(line, "model name", 10) == 0 || strncmp(line, "Model", 5) == 0) {
                        line[strcspn(line, "\n")] = '\0';
                        printf("%s, ", strchr(line, ':') ? strchr(line, ':') + 2 : "");
                        break;
                }
        }
        if (f)
                fclose(f);
}

/* How often each distance was seen, and the median of its probes. */
static void print_distances(const struct bench *b)
{
        double *ns = malloc((b->n_samples + 1) * sizeof *ns);
        const char *comma = "";

        if (!ns)
                abort();
        printf("One cache line there and back: ");
        for (int d = BENCH_SMT; d <= BENCH_MIXED; d++) {
                size_t n = 0;

                for (size_t i = 0; i < b->n_samples; i++)
                        if (b->samples[i].distance == (enum bench_distance)d &&
                                b->samples[i].before > 0)
                                ns[n++] = b->samples[i].before;
                if (n == 0)
                        continue;
                if (d == BENCH_MIXED)
                        printf("%smoved during the run (%zu runs)", comma, n);
                else
                        printf("%s%s %.0f ns (%zu runs)", comma, distance_name[d],
                                bench_median(ns, n), n);
                comma = ", ";
        }
        printf("%s\n", *comma ? "" : "not probed");
        free(ns);
}

static void print_head(const struct bench *b)
{
        struct utsname u;
        time_t now = time(NULL);
        char date[32];

        uname(&u);
        strftime(date, sizeof date, "%Y-%m-%d %H:%M", gmtime(&now));
        printf("## %s\n\n%s UTC, ", b->name, date);
        print_cpu();
        printf("%s %s, gcc %s. Runs of %.0f ms on CPU %d and %d, %zu of them.\n", u.sysname,
                u.release, __VERSION__, b->ms, b->cpu[0], b->cpu[1], b->n_samples);
        print_distances(b);
}

/* Three significant digits, with a suffix for thousands and millions. */
static void print_value(double v)
{
        double shown = v >= 1e6 ? v / 1e6 : v >= 1e4 ? v / 1e3 : v;
        const char *suffix = v >= 1e6 ? "M" : v >= 1e4 ? "k" : "";

        printf("%.*f%s", shown >= 100 ? 0 : shown >= 10 ? 1 : 2, shown, suffix);
}

static void print_medians(const struct bench *b, unsigned cell, unsigned row, enum bench_distance d)
{
        double *v;
        size_t n;

        v = bench_values(b, cell, row, d, &n);
        if (n == 0) {
                printf(" |");
        } else {
                double median = bench_median(v, n);

                printf(" ");
                print_value(median);
                printf(" [");
                print_value(v[0]);
                printf("–");
                print_value(v[n - 1]);
                printf("] n=%zu", n);
                if (d != BENCH_ANY || !b->cells[cell].by_distance)
                        printf(" w=%.2f",
                                b->cells[cell].lower_is_better ? median / v[n - 1] : v[0] / median);
                printf(" |");
        }
        free(v);
}

static void print_cell(const struct bench *b, unsigned cell)
{
        const struct bench_cell *c = &b->cells[cell];
        bool headed = false;

        for (unsigned row = 0; row < b->n_rows; row++) {
                size_t n;

                free(bench_values(b, cell, row, BENCH_ANY, &n));
                if (n == 0)
                        continue;
                if (!headed && c->by_distance)
                        printf("\n### %s, %s\n\n| | smt | near | far | all runs |\n"
                               "|---|---|---|---|---|\n",
                                c->name, c->unit);
                else if (!headed)
                        printf("\n### %s, %s\n\n| | all runs |\n|---|---|\n", c->name, c->unit);
                headed = true;
                printf("| %-24s |", b->rows[row].name);
                for (int d = BENCH_SMT; c->by_distance && d <= BENCH_FAR; d++)
                        print_medians(b, cell, row, (enum bench_distance)d);
                print_medians(b, cell, row, BENCH_ANY);
                printf("\n");
        }
}

static unsigned find_row(const struct bench *b, const char *name)
{
        for (unsigned i = 0; i < b->n_rows; i++)
                if (strcmp(b->rows[i].name, name) == 0)
                        return i;
        fprintf(stderr, "%s: no row %s\n", b->name, name);
        abort();
}

static unsigned find_cell(const struct bench *b, const char *name)
{
        for (unsigned i = 0; i < b->n_cells; i++)
                if (strcmp(b->cells[i].name, name) == 0)
                        return i;
        fprintf(stderr, "%s: no cell %s\n", b->name, name);
        abort();
}

static const char *peer_cell(const struct bench_target *t)
{
        return t->peer_cell ? t->peer_cell : t->cell;
}

/* The peer with the best median at this distance, or -1. */
static int best_peer(const struct bench *b, const struct bench_target *t, enum bench_distance d)
{
        unsigned cell = find_cell(b, peer_cell(t));
        double best_median = 0;
        int best = -1;

        for (unsigned i = 0; i < 5 && t->peers[i]; i++) {
                unsigned row = find_row(b, t->peers[i]);
                size_t n;
                double *v = bench_values(b, cell, row, d, &n);
                double median = bench_median(v, n);

                free(v);
                if (n == 0)
                        continue;
                if (best < 0 || (b->cells[cell].lower_is_better ? median < best_median
                                                                : median > best_median)) {
                        best = (int)row;
                        best_median = median;
                }
        }
        return best;
}

/* One line of the table of ratios. */
struct verdict {
        struct bench_ratio ratio;
        const char *peer;
        const char *word;
        enum bench_distance distance;
};

static const char *judge(const struct bench_target *t, const struct bench_ratio *r)
{
        switch (t->kind) {
        case BENCH_AT_LEAST:
        case BENCH_WORST:
                if (!(r->median >= t->bound))
                        return "not met";
                return r->low >= t->bound ? "met" : "met by the median only";
        case BENCH_AT_MOST:
                if (!(r->median <= t->bound))
                        return "not met";
                return r->high <= t->bound ? "met" : "met by the median only";
        case BENCH_SHOWN:
                break;
        }
        return "";
}

static bool compare_at(const struct bench *b, const struct bench_target *t, enum bench_distance d,
        struct verdict *v)
{
        unsigned cell = find_cell(b, t->cell);
        unsigned row = find_row(b, t->row);

        v->distance = d;
        if (t->kind == BENCH_WORST) {
                double *values = bench_values(b, cell, row, d, &v->ratio.pairs);

                if (v->ratio.pairs > 0) {
                        double median = bench_median(values, v->ratio.pairs);

                        v->ratio.median = v->ratio.low = v->ratio.high = values[0] / median;
                }
                free(values);
                v->peer = "its own median (worst run)";
        } else {
                int peer = best_peer(b, t, d);

                if (peer < 0)
                        return false;
                v->ratio = bench_ratio(b, (struct bench_place){cell, row},
                        (struct bench_place){find_cell(b, peer_cell(t)), (unsigned)peer}, d);
                v->peer = b->rows[peer].name;
        }
        if (v->ratio.pairs == 0)
                return false;
        if (t->not_far && d == BENCH_FAR)
                v->word = "(not asked)";
        else if (v->ratio.pairs < BENCH_MIN_PAIRS)
                v->word = t->kind == BENCH_SHOWN ? "(few pairs)" : "too few pairs";
        else
                v->word = judge(t, &v->ratio);
        return true;
}

static void print_bound(const struct bench_target *t)
{
        switch (t->kind) {
        case BENCH_AT_LEAST:
        case BENCH_WORST:
                printf("≥ %.2f", t->bound);
                break;
        case BENCH_AT_MOST:
                printf("≤ %.2f", t->bound);
                break;
        case BENCH_SHOWN:
                printf("–");
                break;
        }
}

static void print_ratio(const struct bench *b, const struct bench_target *t)
{
        bool by_distance = b->cells[find_cell(b, t->cell)].by_distance;
        bool any = false;

        for (int d = by_distance ? BENCH_SMT : BENCH_ANY; d <= BENCH_ANY; d++) {
                struct verdict v = {0};

                if (d == BENCH_MIXED || (by_distance && d == BENCH_ANY) ||
                        !compare_at(b, t, (enum bench_distance)d, &v))
                        continue;
                any = true;
                printf("| %s | %s | %s%s%s | %s | %.2f [%.2f–%.2f] | %zu | ", t->cell, t->row,
                        v.peer, t->peer_cell ? ": " : "", t->peer_cell ? t->peer_cell : "",
                        distance_name[v.distance], v.ratio.median, v.ratio.low, v.ratio.high,
                        v.ratio.pairs);
                print_bound(t);
                printf(" | %s |\n", v.word);
        }
        if (any || b->only)
                return;
        printf("| %s | %s | %s%s | – | – | 0 | ", t->cell, t->row,
                t->peers[0] ? t->peers[0] : "itself", t->peers[0] && t->peers[1] ? ", …" : "");
        print_bound(t);
        printf(" | too few pairs |\n");
}

static void print_notes(const struct bench *b)
{
        printf("\n### Notes\n\n");
        for (unsigned r = 0; r < b->n_rows; r++)
                if (b->rows[r].missing)
                        printf("- %s is missing: %s\n", b->rows[r].name, b->rows[r].missing);
        for (unsigned c = 0; c < b->n_cells; c++)
                for (unsigned r = 0; r < b->n_rows; r++) {
                        unsigned at = c * b->n_rows + r;

                        if (b->notes[at][0])
                                printf("- %s, %s: %s\n", b->cells[c].name, b->rows[r].name,
                                        b->notes[at]);
                        if (b->failures[at])
                                printf("- %s, %s: %u runs FAILED, last: %s\n", b->cells[c].name,
                                        b->rows[r].name, b->failures[at], b->failure[at]);
                }
}

void bench_report(const struct bench *b)
{
        print_head(b);
        for (unsigned c = 0; c < b->n_cells; c++)
                print_cell(b, c);
        printf("\n### Ratios\n\n"
               "| where | what | compared with | distance | ratio [95 %%] | pairs | asked | |\n"
               "|---|---|---|---|---|---|---|---|\n");
        for (unsigned t = 0; t < b->n_targets; t++)
                print_ratio(b, &b->targets[t]);
        print_notes(b);
}

static void json_ratio(const struct bench *b, const struct bench_target *t, const char **comma)
{
        bool by_distance = b->cells[find_cell(b, t->cell)].by_distance;

        for (int d = by_distance ? BENCH_SMT : BENCH_ANY; d <= BENCH_ANY; d++) {
                struct verdict v = {0};

                if (d == BENCH_MIXED || (by_distance && d == BENCH_ANY) ||
                        !compare_at(b, t, (enum bench_distance)d, &v))
                        continue;
                printf("%s\n    {\"cell\": \"%s\", \"row\": \"%s\", \"peer\": \"%s\", "
                       "\"peer_cell\": \"%s\", \"distance\": \"%s\", \"pairs\": %zu, \"ratio\": %.4g, \"low\": %.4g, "
                       "\"high\": %.4g, \"kind\": %d, \"bound\": %g, \"verdict\": \"%s\"}",
                        *comma, t->cell, t->row, v.peer, peer_cell(t), distance_name[d],
                        v.ratio.pairs, v.ratio.median, v.ratio.low, v.ratio.high, (int)t->kind, t->bound, v.word);
                *comma = ",";
        }
}

static void json_string(const char *text)
{
        putchar('"');
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        putchar('\\');
                putchar((unsigned char)*text < ' ' ? ' ' : *text);
        }
        putchar('"');
}

static void json_failures(const struct bench *b)
{
        const char *comma = "";

        for (unsigned c = 0; c < b->n_cells; c++)
                for (unsigned r = 0; r < b->n_rows; r++) {
                        unsigned at = c * b->n_rows + r;

                        if (!b->failures[at])
                                continue;
                        printf("%s\n    {\"cell\": \"%s\", \"row\": \"%s\", \"runs\": %u, "
                               "\"last\": ",
                                comma, b->cells[c].name, b->rows[r].name, b->failures[at]);
                        json_string(b->failure[at]);
                        printf("}");
                        comma = ",";
                }
}

void bench_report_json(const struct bench *b)
{
        const char *comma = "";

        printf("{\n  \"bench\": \"%s\", \"ms\": %g,\n  \"runs\": [", b->name, b->ms);
        for (size_t i = 0; i < b->n_samples; i++) {
                const struct bench_sample *s = &b->samples[i];

                printf("%s\n    {\"cell\": \"%s\", \"row\": \"%s\", \"round\": %u, "
                       "\"distance\": \"%s\", \"value\": %.6g, \"before_ns\": %.1f, "
                       "\"after_ns\": %.1f, \"at\": %.3f}",
                        comma, b->cells[s->cell].name, b->rows[s->row].name, s->round,
                        distance_name[s->distance], s->value, s->before, s->after, s->at);
                comma = ",";
        }
        printf("\n  ],\n  \"ratios\": [");
        comma = "";
        for (unsigned t = 0; t < b->n_targets; t++)
                json_ratio(b, &b->targets[t], &comma);
        printf("\n  ],\n  \"failures\": [");
        json_failures(b);
        printf("\n  ]\n}\n");
}
