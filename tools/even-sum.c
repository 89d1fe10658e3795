/* SPDX-License-Identifier: MIT */

/*
 * The sum of the even numbers of a range, by processes: the range is cut into tasks, and each puts
 * its part of the sum into a queue.
 */

#include "even-sum.h"

#include "cli.h"

#include <crew/crew.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_TASKS = 100000, BAR = 40 };

struct even_sum_options even_sum_options = {
        .from = 1, .to = 1000000000, .tasks = 10, .workers = 10, .method = "pool"
};

int even_sum_failed(const char *what, int r)
{
        cli_complain("%s: %s (%s)", what, crew_error_detail(), crew_error_name(r));
        return CLI_FAILED;
}

struct share even_sum_share(int64_t number)
{
        const struct even_sum_options *o = &even_sum_options;
        unsigned __int128 count = (unsigned __int128)((__int128)o->to - o->from + 1);
        unsigned __int128 first = count * (uint64_t)number / (uint64_t)o->tasks;
        unsigned __int128 next = count * (uint64_t)(number + 1) / (uint64_t)o->tasks;

        /* A share of no numbers would read as the whole 64-bit range turned round. */
        if (first == next)
                return (struct share){ .from = 1, .to = 0 };
        return (struct share){
                .from = (int64_t)((uint64_t)o->from + (uint64_t)first),
                .to = (int64_t)((uint64_t)o->from + (uint64_t)next - 1),
        };
}

int even_sum_take(crew_queue *sums, struct total *total)
{
        struct part part;
        int r;

        while ((r = CREW_GET(sums, &part, CREW_NOW)) == 0) {
                /* Parts may go past 64 bits on the way to a sum that does not. */
                total->sum = (int64_t)((uint64_t)total->sum + (uint64_t)part.sum);
                total->summed[part.number] = true;
                total->parts++;
        }
        return r == -EAGAIN ? 0 : even_sum_failed("getting a partial sum", r);
}

int even_sum_complete(const struct total *total)
{
        for (int64_t i = 0; i < even_sum_options.tasks; i++) {
                if (!total->summed[i]) {
                        cli_complain("task %" PRId64 " ended without its sum", i + 1);
                        return CLI_FAILED;
                }
        }
        return 0;
}

void even_sum_show(int64_t parts)
{
        int full = (int)(parts * BAR / even_sum_options.tasks);

        if (!even_sum_options.progress)
                return;
        fprintf(stderr, "\r[%.*s%*s] %" PRId64 "/%" PRId64, full,
                "########################################", BAR - full, "", parts,
                even_sum_options.tasks);
        fflush(stderr);
}

static int sum_range(int64_t *sum)
{
        struct total total = { 0 };
        int r;

        total.summed = calloc((size_t)even_sum_options.tasks, sizeof *total.summed);
        if (!total.summed) {
                cli_complain("no memory for %" PRId64 " tasks", even_sum_options.tasks);
                return CLI_FAILED;
        }
        if (strcmp(even_sum_options.method, "pool") == 0)
                r = even_sum_by_pool(&total);
        else
                r = even_sum_by_processes(&total);
        if (r == 0)
                r = even_sum_complete(&total);
        if (r == 0)
                even_sum_show(total.parts);
        if (even_sum_options.progress)
                fputc('\n', stderr);
        *sum = total.sum;
        free(total.summed);
        return r;
}

/* The closed form, only to tell whether the answer fits in 64 bits before anything is started. */
static bool sum_fits(int64_t from, int64_t to)
{
        __int128 first = (__int128)from + (from & 1), last = (__int128)to - (to & 1);
        __int128 sum = first > last ? 0 : (first + last) / 2 * ((last - first) / 2 + 1);

        return sum >= INT64_MIN && sum <= INT64_MAX;
}

static int print_result(int64_t sum, double seconds)
{
        if (even_sum_options.json)
                printf("{\"from\": %" PRId64 ", \"to\": %" PRId64 ", \"tasks\": %" PRId64
                       ", \"workers\": %" PRId64 ", \"seconds\": %.6f, \"sum\": %" PRId64 "}\n",
                        even_sum_options.from, even_sum_options.to, even_sum_options.tasks, even_sum_options.workers, seconds, sum);
        else
                printf("%.2fs: %" PRId64 "\n", seconds, sum);
        return 0;
}

int main(int argc, char **argv)
{
        static const struct cli_option table[] = {
                { 'f', "from", "N", "the first number (1)", CLI_INTEGER, &even_sum_options.from, NULL,
                        INT64_MIN, INT64_MAX },
                { 't', "to", "N", "the last number (1000000000)", CLI_INTEGER, &even_sum_options.to, NULL,
                        INT64_MIN, INT64_MAX },
                { 'n', "tasks", "N", "parts to cut the range into (10)", CLI_INTEGER,
                        &even_sum_options.tasks, NULL, 1, MOST_TASKS },
                { 'w', "workers", "N", "processes at a time (10)", CLI_INTEGER, &even_sum_options.workers,
                        NULL, 1, MOST_TASKS },
                { 'm', "method", "METHOD", "pool, or process: one for each task (pool)", CLI_TEXT,
                        &even_sum_options.method },
                { 's', "sandbox", "WORDS", "what the pool's workers may do (stdio)", CLI_TEXT,
                        &even_sum_options.sandbox },
                { 'j', "json", NULL, "print the result as a JSON object", CLI_FLAG, &even_sum_options.json },
                { 'p', "progress", NULL, "show a bar on stderr, if that is a terminal", CLI_FLAG,
                        &even_sum_options.progress },
                { 0, "version", NULL, "print the version", CLI_FLAG, &even_sum_options.version },
        };
        static const struct cli_command command = {
                .name = "even-sum",
                .operands = "",
                .summary = "Sums the even numbers of a range, each part in a process of its own, "
                           "and prints\nthe time it took and the sum.",
                .options = table,
                .n_options = sizeof table / sizeof *table,
        };
        int64_t began = crew_clock(), sum;
        int operands, r;

        r = cli_parse(&command, argc, argv, &operands);
        if (r != CLI_RUN)
                return cli_finish(r);
        if (even_sum_options.version) {
                printf("even-sum (crew) %s\n", crew_version());
                return cli_finish(0);
        }
        if (strcmp(even_sum_options.method, "pool") != 0 &&
                strcmp(even_sum_options.method, "process") != 0)
                return cli_misused("--method: there is no method '%s'; pool or process",
                        even_sum_options.method);
        if (even_sum_options.sandbox && strcmp(even_sum_options.method, "pool") != 0)
                return cli_misused("--sandbox goes with --method pool");
        if (even_sum_options.from > even_sum_options.to)
                return cli_misused("the range is empty: --from %" PRId64 " is greater than --to "
                                   "%" PRId64, even_sum_options.from, even_sum_options.to);
        if (!sum_fits(even_sum_options.from, even_sum_options.to))
                return cli_misused("the sum of the even numbers from %" PRId64 " to %" PRId64
                                   " does not fit in 64 bits", even_sum_options.from, even_sum_options.to);
        even_sum_options.progress = even_sum_options.progress && isatty(STDERR_FILENO);
        r = sum_range(&sum);
        if (r)
                return r;
        return cli_finish(print_result(sum, (double)(crew_clock() - began) / 1e9));
}
