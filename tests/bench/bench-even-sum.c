/* SPDX-License-Identifier: MIT */

/* The demo as a whole process, from its start to its end, against the same loop under OpenMP. */

#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESULT "250000000500000000" /* of the even numbers up to 1e9 */

static const struct bench_cell cells[] = {
        {"even numbers up to 1e9", "ms from start to end", true},
};

static struct bench_row rows[] = {
        {.name = "even-sum"},
        {.name = "openmp-10"},
};
enum { TOOL, OPENMP };

static const struct bench_target targets[] = {
        {"even numbers up to 1e9", "even-sum", {"openmp-10"}, BENCH_AT_MOST, 1.15},
};

static const char *path[2];

static bool offers(unsigned cell, unsigned row)
{
        (void)cell;
        (void)row;
        return true;
}

static int measure(struct bench *b, unsigned cell, unsigned row, struct bench_result *r)
{
        char *argv[] = {(char *)(uintptr_t)path[row], NULL};
        char out[4096];
        int64_t start = bench_now();

        (void)b;
        (void)cell;
        if (bench_spawn(argv, out, sizeof out, 60, r->why) != 0)
                return -1;
        r->value = (double)(bench_now() - start) / 1e6;
        if (!strstr(out, RESULT)) {
                bench_why(r->why, "%s does not print " RESULT, path[row]);
                return -1;
        }
        return 0;
}

static bool option(const char *name, const char *value)
{
        if (strcmp(name, "--even-sum") == 0)
                path[TOOL] = value;
        else if (strcmp(name, "--openmp") == 0)
                path[OPENMP] = value;
        else
                return false;
        return value != NULL;
}

/* The paths are needed before the options are read: a program that is not there is a missing row.
 */
static void find_programs(int argc, char **argv)
{
        for (int i = 1; i + 1 < argc; i++)
                option(argv[i], argv[i + 1]);
        for (int i = 0; i < 2; i++)
                if (!path[i] || access(path[i], X_OK) != 0)
                        rows[i].missing = i == TOOL ? "no such program (--even-sum PATH)"
                                                    : "built without OpenMP (--openmp PATH)";
}

int main(int argc, char **argv)
{
        struct bench b = {
                .name = "bench-even-sum",
                .cells = cells,
                .n_cells = 1,
                .rows = rows,
                .n_rows = 2,
                .targets = targets,
                .n_targets = 1,
                .offers = offers,
                .measure = measure,
                .option = option,
                .option_help = "  --even-sum PATH, --openmp PATH   the two programs\n",
        };

        find_programs(argc, argv);
        return bench_main(&b, argc, argv);
}
