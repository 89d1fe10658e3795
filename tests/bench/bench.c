/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <regex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
        "usage: %s [options]\n"
        "  --rounds N    stop after N rounds over everything (default %u)\n"
        "  --seconds S   stop after S seconds, whichever comes first (default: no limit)\n"
        "  --ms M        length of one run (default %.0f)\n"
        "  --only REGEX  only runs whose \"cell/row\" matches (see --list)\n"
        "  --cpus A,B    the two processors (default: the first two allowed)\n"
        "  --quick       3 rounds of 20 ms: shows that everything runs, measures nothing\n"
        "  --json        every run and every ratio as JSON\n"
        "  --list        what can be run here, and what is missing\n"
        "%s";

static void find_cpus(struct bench *b)
{
        cpu_set_t set;
        int found = 0;

        if (sched_getaffinity(0, sizeof set, &set) != 0)
                abort();
        for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
                if (CPU_ISSET(i, &set))
                        b->cpu[found++] = i;
        if (found < 2) {
                fprintf(stderr, "%s: needs two processors\n", b->name);
                exit(77);
        }
}

static void list(const struct bench *b)
{
        for (unsigned c = 0; c < b->n_cells; c++)
                for (unsigned r = 0; r < b->n_rows; r++)
                        if (b->offers(c, r) && !b->rows[r].missing)
                                printf("%s/%s\n", b->cells[c].name, b->rows[r].name);
        for (unsigned r = 0; r < b->n_rows; r++)
                if (b->rows[r].missing)
                        printf("missing: %s: %s\n", b->rows[r].name, b->rows[r].missing);
}

static double number(const struct bench *b, const char *name, const char *value)
{
        char *end;
        double n = value ? strtod(value, &end) : 0;

        if (!value || *end || end == value || n <= 0) {
                fprintf(stderr, "%s: %s needs a positive number\n", b->name, name);
                exit(2);
        }
        return n;
}

/* Returns whether the option took a value. */
static bool option(struct bench *b, const char *name, const char *value)
{
        if (strcmp(name, "--rounds") == 0)
                b->rounds = (unsigned)number(b, name, value);
        else if (strcmp(name, "--seconds") == 0)
                b->seconds = number(b, name, value);
        else if (strcmp(name, "--ms") == 0)
                b->ms = number(b, name, value);
        else if (strcmp(name, "--only") == 0 && value)
                b->only = value;
        else if (strcmp(name, "--cpus") == 0 && value &&
                 sscanf(value, "%d,%d", &b->cpu[0], &b->cpu[1]) == 2)
                return true;
        else if (b->option && b->option(name, value))
                return true;
        else {
                fprintf(stderr, usage, b->name, b->rounds, b->ms,
                        b->option_help ? b->option_help : "");
                exit(strcmp(name, "--help") == 0 ? 0 : 2);
        }
        return true;
}

static void options(struct bench *b, int argc, char **argv)
{
        bool listing = false;

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--quick") == 0) {
                        b->rounds = 3;
                        b->ms = 20;
                } else if (strcmp(argv[i], "--json") == 0) {
                        b->json = true;
                } else if (strcmp(argv[i], "--list") == 0) {
                        listing = true;
                } else if (option(b, argv[i], argv[i + 1])) {
                        i++;
                }
        }
        if (listing) {
                list(b);
                exit(0);
        }
}

/* The runs of one round, cell by cell, each cell's rows in an order of their own. */
struct plan {
        bool *wanted; /* [cell * n_rows + row] */
        unsigned *cells, *rows;
};

static void shuffle(unsigned *order, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                order[i] = i;
        for (unsigned i = n; i > 1; i--) {
                unsigned j = (unsigned)(bench_random() % i);
                unsigned swapped = order[i - 1];

                order[i - 1] = order[j];
                order[j] = swapped;
        }
}

static void make_plan(const struct bench *b, struct plan *p)
{
        regex_t only;

        p->wanted = calloc((size_t)b->n_cells * b->n_rows, sizeof *p->wanted);
        p->cells = calloc(b->n_cells, sizeof *p->cells);
        p->rows = calloc(b->n_rows, sizeof *p->rows);
        if (!p->wanted || !p->cells || !p->rows)
                abort();
        if (b->only && regcomp(&only, b->only, REG_EXTENDED | REG_NOSUB) != 0) {
                fprintf(stderr, "%s: bad regular expression: %s\n", b->name, b->only);
                exit(2);
        }
        for (unsigned c = 0; c < b->n_cells; c++)
                for (unsigned r = 0; r < b->n_rows; r++) {
                        char name[200];

                        snprintf(name, sizeof name, "%s/%s", b->cells[c].name, b->rows[r].name);
                        p->wanted[c * b->n_rows + r] =
                                b->offers(c, r) && !b->rows[r].missing &&
                                (!b->only || regexec(&only, name, 0, NULL, 0) == 0);
                }
        if (b->only)
                regfree(&only);
}

static void one_run(struct bench *b, unsigned cell, unsigned row, unsigned round)
{
        struct bench_sample s = {.cell = cell, .row = row, .round = round};
        struct bench_result r = {0};
        unsigned at = cell * b->n_rows + row;

        s.at = (double)bench_now() / 1e9;
        if (b->measure(b, cell, row, &r) != 0) {
                b->failures[at]++;
                memcpy(b->failure[at], r.why, sizeof r.why);
                return;
        }
        if (r.note[0])
                memcpy(b->notes[at], r.note, sizeof r.note);
        s.value = r.value;
        s.before = r.before;
        s.after = r.after;
        s.distance = bench_classify(r.before, r.after);
        bench_add_sample(b, &s);
}

static bool skipped(const struct bench *b, unsigned row, unsigned round)
{
        return b->rows[row].every > 1 && round % b->rows[row].every != 0;
}

static void run_all(struct bench *b)
{
        int64_t start = bench_now();
        struct plan p;

        make_plan(b, &p);
        for (unsigned round = 0; round < b->rounds; round++) {
                shuffle(p.cells, b->n_cells);
                for (unsigned i = 0; i < b->n_cells; i++) {
                        unsigned cell = p.cells[i];

                        shuffle(p.rows, b->n_rows);
                        for (unsigned j = 0; j < b->n_rows; j++) {
                                if (b->seconds > 0 &&
                                        (double)(bench_now() - start) > b->seconds * 1e9)
                                        goto out;
                                if (p.wanted[cell * b->n_rows + p.rows[j]] &&
                                        !skipped(b, p.rows[j], round))
                                        one_run(b, cell, p.rows[j], round);
                        }
                }
                if (isatty(2))
                        fprintf(stderr, "\r%s: round %u of %u ", b->name, round + 1, b->rounds);
        }
out:
        if (isatty(2))
                fputc('\n', stderr);
        free(p.rows);
        free(p.cells);
        free(p.wanted);
}

int bench_main(struct bench *b, int argc, char **argv)
{
        size_t pairs = (size_t)b->n_cells * b->n_rows;
        int failed = 0;

        find_cpus(b);
        if (b->ms <= 0)
                b->ms = 80;
        if (b->rounds == 0)
                b->rounds = 60;
        options(b, argc, argv);
        b->notes = calloc(pairs, sizeof *b->notes);
        b->failure = calloc(pairs, sizeof *b->failure);
        b->failures = calloc(pairs, sizeof *b->failures);
        if (!b->notes || !b->failure || !b->failures)
                abort();
        run_all(b);
        if (b->json)
                bench_report_json(b);
        else
                bench_report(b);
        for (size_t i = 0; i < pairs; i++)
                failed |= b->failures[i] > 0;
        free(b->failures);
        free(b->failure);
        free(b->notes);
        free(b->samples);
        return failed;
}
