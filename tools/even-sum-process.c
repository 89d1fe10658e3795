/* SPDX-License-Identifier: MIT */

/*
 * Each task is a process that puts its part of the sum into a queue; the parent waits for messages
 * and for the ends of the processes in one waiter.
 */

#include "cli.h"
#include "even-sum-loop.h"
#include "even-sum.h"

#include <crew/crew.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct task {
        struct share share;
        crew_queue *sums;
        uint32_t number;
};

struct run {
        crew_waiter *waiter;
        crew_queue *sums;
        crew_process **processes;
        struct total *total;
        int64_t started, ended;
};

/* The tag of the queue; those of the processes are their numbers. */
#define SUMS UINT64_MAX

static int sum_part(void *arg)
{
        struct task *task = arg;
        struct part part = { .sum = even_sum_loop(task->share.from, task->share.to),
                .number = task->number };

        return CREW_PUT(task->sums, &part, CREW_FOREVER) < 0;
}

static int start(struct run *run)
{
        struct task task = { .share = even_sum_share(run->started), .sums = run->sums,
                .number = (uint32_t)run->started };
        crew_process **p = &run->processes[run->started];
        int r;

        r = crew_process_launch(p, sum_part, &task,
                CREW_OPT(process, .flags = CREW_PROCESS_DAEMON, .arg_size = sizeof task));
        if (r >= 0)
                r = crew_waiter_join(run->waiter, *p, (uint64_t)run->started);
        if (r < 0)
                return even_sum_failed("starting a process", r);
        run->started++;
        return 0;
}

static int check_end(struct run *run, int64_t number)
{
        crew_process *p = run->processes[number];
        int code = 0, r;

        run->ended++;
        r = crew_process_exitcode(p, &code);
        if (r < 0)
                return even_sum_failed(crew_process_name(p), r);
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

/* Until every process has ended; a put returns when the message is in, so all parts are there. */
static int wait_for_all(struct run *run)
{
        crew_completion done[64];
        int n, r = 0;

        while (r == 0 && run->ended < even_sum_options.tasks) {
                while (r == 0 && run->started < even_sum_options.tasks &&
                        run->started - run->ended < even_sum_options.workers)
                        r = start(run);
                n = r ? 0 : crew_waiter_wait(run->waiter, done, 64, CREW_FOREVER);
                if (n < 0 && n != -EINTR)
                        return even_sum_failed("waiting", n);
                for (int i = 0; i < n && r == 0; i++)
                        r = done[i].tag == SUMS ? even_sum_take(run->sums, run->total)
                                                : check_end(run, (int64_t)done[i].tag);
                even_sum_show(run->total->parts);
        }
        return r ? r : even_sum_take(run->sums, run->total);
}

int even_sum_by_processes(struct total *total)
{
        struct run run = { .total = total };
        int r;

        run.processes = calloc((size_t)even_sum_options.tasks, sizeof *run.processes);
        if (!run.processes) {
                cli_complain("no memory for %" PRId64 " tasks", even_sum_options.tasks);
                return CLI_FAILED;
        }
        r = crew_queue_new(&run.sums, QUEUE_MESSAGES,
                CREW_OPT(queue, .name = "sums", .message_size = sizeof(struct part)));
        if (r >= 0)
                r = crew_waiter_new(&run.waiter, (unsigned)even_sum_options.workers + 1);
        if (r >= 0)
                r = crew_waiter_readable(run.waiter, run.sums, SUMS);
        r = r < 0 ? even_sum_failed("setting up", r) : wait_for_all(&run);
        /* Only after a failure is anybody left: nobody will read what they send. */
        for (int64_t i = 0; i < run.started; i++) {
                if (run.processes[i])
                        (void)crew_process_kill(run.processes[i]);
                run.processes[i] = crew_process_free(run.processes[i]);
        }
        crew_waiter_free(run.waiter);
        crew_queue_free(run.sums);
        free(run.processes);
        return r;
}
