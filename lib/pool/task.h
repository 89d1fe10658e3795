/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_TASK_H
#define CREW_POOL_TASK_H

/* A task as its worker sees it. */

#include "pool/lane.h"

#include <crew/pool.h>

struct crew_task {
        crew__track *track;
        unsigned worker, attempt;
        uint64_t id;
        int control;  /* the worker's socket for grants */
        char *status; /* CREW__STATUS_BYTES that inspectors see, or NULL */

        size_t result; /* bytes of it that are set */
        int code;      /* of crew_task_fail */
        char text[CREW__LANE_TEXT];
};

/* Calls the function and makes its return value the task's: 0 or a negative errno. */
int crew__task_run(crew_task *t, crew_task_fn *function, const void *arg, size_t size);

#endif
