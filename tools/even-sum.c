/* SPDX-License-Identifier: MIT */

/*
 * The sum of the even numbers of a range, by processes: the range is cut into tasks, each task is a
 * process that puts its part of the sum into a queue, and the parent waits for messages and for the
 * ends of the processes in one waiter.
 */

#include "cli.h"
#include "even-sum-loop.h"

#include <crew/crew.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_TASKS = 100000, QUEUE_MESSAGES = 10, BAR = 40 };

static struct {
        int64_t from, to, tasks, workers;
        bool json, progress, version;
} options = { .from = 1, .to = 1000000000, .tasks = 10, .workers = 10 };

/* What a task gets, and what it sends back. */
struct task {
        int64_t from, to;
        crew_queue *sums;
        uint32_t number;
};

struct part {
        int64_t sum;
        uint32_t number;
        uint32_t unused;
};

struct run {
        crew_waiter *waiter;
        crew_queue *sums;
        crew_process **processes;
        bool *summed;
        int64_t sum;
        int64_t started, ended, parts;
};

/* The tag of the queue; those of the processes are their numbers. */
#define SUMS UINT64_MAX

static int sum_part(void *arg)
{
        struct task *task = arg;
        struct part part = { .sum = even_sum_loop(task->from, task->to), .number = task->number };

        return CREW_PUT(task->sums, &part, CREW_FOREVER) < 0;
}

static int failed(const char *what, int r)
{
        cli_complain("%s: %s (%s)", what, crew_error_detail(), crew_error_name(r));
        return CLI_FAILED;
}

/* Task `number` of the range: its share to the last number, whatever the division leaves over. */
static struct task task_of(const struct run *run, int64_t number)
{
        unsigned __int128 count = (unsigned __int128)((__int128)options.to - options.from + 1);
        uint64_t first = (uint64_t)(count * (uint64_t)number / (uint64_t)options.tasks);
        uint64_t next = (uint64_t)(count * (uint64_t)(number + 1) / (uint64_t)options.tasks);

        return (struct task){
                .from = (int64_t)((uint64_t)options.from + first),
                .to = (int64_t)((uint64_t)options.from + next - 1),
                .sums = run->sums,
                .number = (uint32_t)number,
        };
}

static int start(struct run *run)
{
        struct task task = task_of(run, run->started);
        crew_process **p = &run->processes[run->started];
        int r;

        /* A share of no numbers would read as the whole 64-bit range turned round. */
        if (task.to == (int64_t)((uint64_t)task.from - 1)) {
                task.from = 1;
                task.to = 0;
        }
        r = crew_process_launch(p, sum_part, &task,
                CREW_OPT(process, .flags = CREW_PROCESS_DAEMON, .arg_size = sizeof task));
        if (r >= 0)
                r = crew_waiter_join(run->waiter, *p, (uint64_t)run->started);
        if (r < 0)
                return failed("starting a process", r);
        run->started++;
        return 0;
}

static int take_parts(struct run *run)
{
        struct part part;
        int r;

        while ((r = CREW_GET(run->sums, &part, CREW_NOW)) == 0) {
                /* Parts may go past 64 bits on the way to a sum that does not. */
                run->sum = (int64_t)((uint64_t)run->sum + (uint64_t)part.sum);
                run->summed[part.number] = true;
                run->parts++;
        }
        return r == -EAGAIN ? 0 : failed("getting a partial sum", r);
}

static int check_end(struct run *run, int64_t number)
{
        crew_process *p = run->processes[number];
        int code = 0, r;

        run->ended++;
        r = crew_process_exitcode(p, &code);
        if (r < 0)
                return failed(crew_process_name(p), r);
        if (code < 0)
                cli_complain("%s (pid %d), task %" PRId64 ": ended by signal %d (SIG%s)",
                        crew_process_name(p), (int)crew_process_pid(p), number + 1, -code,
                        sigabbrev_np(-code) ? sigabbrev_np(-code) : "?");
        else if (code > 0)
                cli_complain("%s (pid %d), task %" PRId64 ": ended with status %d",
                        crew_process_name(p), (int)crew_process_pid(p), number + 1, code);
        run->processes[number] = crew_process_free(p);
        return code ? CLI_FAILED : 0;
}

static void show_progress(const struct run *run)
{
        int full = (int)(run->parts * BAR / options.tasks);

        if (!options.progress)
                return;
        fprintf(stderr, "\r[%.*s%*s] %" PRId64 "/%" PRId64, full,
                "########################################", BAR - full, "", run->parts,
                options.tasks);
        fflush(stderr);
}

/* Until every process has ended; a put returns when the message is in, so all parts are there. */
static int wait_for_all(struct run *run)
{
        crew_completion done[64];
        int n, r = 0;

        while (r == 0 && run->ended < options.tasks) {
                while (r == 0 && run->started < options.tasks &&
                        run->started - run->ended < options.workers)
                        r = start(run);
                n = r ? 0 : crew_waiter_wait(run->waiter, done, 64, CREW_FOREVER);
                if (n < 0 && n != -EINTR)
                        return failed("waiting", n);
                for (int i = 0; i < n && r == 0; i++)
                        r = done[i].tag == SUMS ? take_parts(run)
                                                : check_end(run, (int64_t)done[i].tag);
                show_progress(run);
        }
        if (r == 0)
                r = take_parts(run);
        for (int64_t i = 0; i < options.tasks && r == 0; i++) {
                if (!run->summed[i]) {
                        cli_complain("task %" PRId64 " ended without its sum", i + 1);
                        r = CLI_FAILED;
                }
        }
        return r;
}

static int sum_range(int64_t *sum)
{
        struct run run = { 0 };
        int r;

        run.processes = calloc((size_t)options.tasks, sizeof *run.processes);
        run.summed = calloc((size_t)options.tasks, sizeof *run.summed);
        if (!run.processes || !run.summed) {
                cli_complain("no memory for %" PRId64 " tasks", options.tasks);
                r = CLI_FAILED;
                goto out;
        }
        r = crew_queue_new(&run.sums, QUEUE_MESSAGES,
                CREW_OPT(queue, .name = "sums", .message_size = sizeof(struct part)));
        if (r >= 0)
                r = crew_waiter_new(&run.waiter, (unsigned)options.workers + 1);
        if (r >= 0)
                r = crew_waiter_readable(run.waiter, run.sums, SUMS);
        if (r < 0) {
                r = failed("setting up", r);
                goto out;
        }
        r = wait_for_all(&run);
        show_progress(&run);
        if (options.progress)
                fputc('\n', stderr);
        *sum = run.sum;
out:
        /* Only after a failure is anybody left: nobody will read what they send. */
        for (int64_t i = 0; run.processes && i < run.started; i++) {
                if (run.processes[i])
                        (void)crew_process_kill(run.processes[i]);
                run.processes[i] = crew_process_free(run.processes[i]);
        }
        crew_waiter_free(run.waiter);
        crew_queue_free(run.sums);
        free(run.processes);
        free(run.summed);
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
        if (options.json)
                printf("{\"from\": %" PRId64 ", \"to\": %" PRId64 ", \"tasks\": %" PRId64
                       ", \"workers\": %" PRId64 ", \"seconds\": %.6f, \"sum\": %" PRId64 "}\n",
                        options.from, options.to, options.tasks, options.workers, seconds, sum);
        else
                printf("%.2fs: %" PRId64 "\n", seconds, sum);
        return 0;
}

int main(int argc, char **argv)
{
        static const struct cli_option table[] = {
                { 'f', "from", "N", "the first number (1)", CLI_INTEGER, &options.from, NULL,
                        INT64_MIN, INT64_MAX },
                { 't', "to", "N", "the last number (1000000000)", CLI_INTEGER, &options.to, NULL,
                        INT64_MIN, INT64_MAX },
                { 'n', "tasks", "N", "parts to cut the range into (10)", CLI_INTEGER,
                        &options.tasks, NULL, 1, MOST_TASKS },
                { 'w', "workers", "N", "processes at a time (10)", CLI_INTEGER, &options.workers,
                        NULL, 1, MOST_TASKS },
                { 'j', "json", NULL, "print the result as a JSON object", CLI_FLAG, &options.json },
                { 'p', "progress", NULL, "show a bar on stderr, if that is a terminal", CLI_FLAG,
                        &options.progress },
                { 0, "version", NULL, "print the version", CLI_FLAG, &options.version },
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
        if (options.version) {
                printf("even-sum (crew) %s\n", crew_version());
                return cli_finish(0);
        }
        if (options.from > options.to)
                return cli_misused("the range is empty: --from %" PRId64 " is greater than --to "
                                   "%" PRId64, options.from, options.to);
        if (!sum_fits(options.from, options.to))
                return cli_misused("the sum of the even numbers from %" PRId64 " to %" PRId64
                                   " does not fit in 64 bits", options.from, options.to);
        options.progress = options.progress && isatty(STDERR_FILENO);
        r = sum_range(&sum);
        if (r)
                return r;
        return cli_finish(print_result(sum, (double)(crew_clock() - began) / 1e9));
}
