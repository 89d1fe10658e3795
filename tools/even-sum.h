/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_EVEN_SUM_H
#define CREW_TOOLS_EVEN_SUM_H

/* The demo's parts: what the two ways to share out the work have in common. */

#include <crew/queue.h>
#include <inttypes.h>
#include <stdbool.h>

enum { QUEUE_MESSAGES = 10 };

extern struct even_sum_options {
        int64_t from, to, tasks, workers;
        const char *method, *sandbox;
        bool json, progress, version;
} even_sum_options;

/* Part of the range; from > to if it holds no number. */
struct share {
        int64_t from, to;
};

/* What a task puts into the queue. */
struct part {
        int64_t sum;
        uint32_t number; /* of the task */
        uint32_t unused;
};

/* What has come out of it; `summed` has a place for each task. */
struct total {
        bool *summed;
        int64_t sum, parts;
};

/* The share of task `number`: to the last number, whatever the division leaves over. */
struct share even_sum_share(int64_t number);

/* Takes what is in the queue. 0, or CLI_FAILED after saying why. */
int even_sum_take(crew_queue *sums, struct total *total);

/* 0 if every task sent its sum. */
int even_sum_complete(const struct total *total);

/* Says what failed, with crew's words; CLI_FAILED. */
int even_sum_failed(const char *what, int r);

/* Draws the bar, if there is one. */
void even_sum_show(int64_t parts);

/* Both sum the range into *total; 0, or CLI_FAILED after saying why. */
int even_sum_by_processes(struct total *total);
int even_sum_by_pool(struct total *total);

#endif
