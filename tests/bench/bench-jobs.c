/* SPDX-License-Identifier: MIT */

/* Many short programs, two at a time: crew run with its sandbox against what people use for that. */

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct bench_cell cells[] = {
        {"/bin/true, 2 slots", "jobs/s"},
};

static struct bench_row rows[] = {
        {.name = "crew"},
        {.name = "crew, no sandbox"},
        {.name = "xargs -P2 -n1"},
        {.name = "make -j2"},
        {.name = "parallel -j2", .every = 4},
        {.name = "xargs -P2 bwrap", .every = 2},
};

/* Shell scripts: $1 is crew, $2 how many jobs. */
static const char *const scripts[] = {
        "seq \"$2\" | \"$1\" run -j2 -n1 /bin/true",
        "seq \"$2\" | \"$1\" run --sandbox none -j2 -n1 /bin/true",
        "seq \"$2\" | xargs -P2 -n1 /bin/true",
        "{ printf 'all:'; seq -f ' j%g' \"$2\" | tr -d '\\n'; "
        "printf '\\nj%%: ; @/bin/true $*\\n'; } | make -s -j2 -f -",
        "seq \"$2\" | parallel -j2 /bin/true",
        "seq \"$2\" | xargs -P2 -n1 bwrap --ro-bind / / --dev /dev --proc /proc --unshare-all "
        "--die-with-parent /bin/true",
};

static const char *const programs[] = {NULL, NULL, "xargs", "make", "parallel", "bwrap"};

static const struct bench_target targets[] = {
        {"/bin/true, 2 slots", "crew", {"xargs -P2 -n1"}, BENCH_AT_LEAST, 1.0},
        {"/bin/true, 2 slots", "crew", {"make -j2"}, BENCH_AT_LEAST, 1.0},
        {"/bin/true, 2 slots", "crew", {"parallel -j2"}, BENCH_AT_LEAST, 5.0},
        {"/bin/true, 2 slots", "crew", {"xargs -P2 bwrap"}, BENCH_AT_LEAST, 3.0},
        {"/bin/true, 2 slots", "crew, no sandbox", {"xargs -P2 -n1"}, BENCH_SHOWN},
};

static const char *crew = "crew";
static unsigned jobs = 2000;

static bool offers(unsigned cell, unsigned row)
{
        (void)cell;
        (void)row;
        return true;
}

static int measure(struct bench *b, unsigned cell, unsigned row, struct bench_result *r)
{
        char number[16], out[4096];
        const char *const words[] = {"/bin/sh", "-c", scripts[row], "sh", crew, number};
        char *argv[sizeof words / sizeof *words + 1] = {NULL};
        int64_t start;

        (void)b;
        (void)cell;
        (void)snprintf(number, sizeof number, "%u", jobs);
        memcpy(argv, words, sizeof words);
        start = bench_now();
        if (bench_spawn(argv, out, sizeof out, 120, r->why) != 0)
                return -1;
        r->value = jobs / ((double)(bench_now() - start) / 1e9);
        return 0;
}

static bool option(const char *name, const char *value)
{
        if (!value)
                return false;
        if (strcmp(name, "--crew") == 0)
                crew = value;
        else if (strcmp(name, "--jobs") == 0)
                jobs = (unsigned)atoi(value);
        else
                return false;
        return jobs > 0;
}

static bool in_path(const char *program)
{
        char script[64];

        (void)snprintf(script, sizeof script, "command -v %s >/dev/null", program);
        return system(script) == 0;
}

/* They are needed before the options are read: a program that is not there is a missing row. */
static void find_programs(int argc, char **argv)
{
        for (int i = 1; i + 1 < argc; i++)
                (void)option(argv[i], argv[i + 1]);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                if (programs[i] && !in_path(programs[i]))
                        rows[i].missing = "not installed";
                else if (!programs[i] && access(crew, X_OK) != 0)
                        rows[i].missing = "no such program (--crew PATH)";
        }
}

int main(int argc, char **argv)
{
        struct bench b = {
                .name = "bench-jobs",
                .cells = cells,
                .n_cells = 1,
                .rows = rows,
                .n_rows = sizeof rows / sizeof *rows,
                .targets = targets,
                .n_targets = sizeof targets / sizeof *targets,
                .offers = offers,
                .measure = measure,
                .option = option,
                .option_help = "  --crew PATH, --jobs N   the command; jobs of one run (2000)\n",
        };

        find_programs(argc, argv);
        return bench_main(&b, argc, argv);
}
