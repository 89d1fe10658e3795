/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_RUN_H
#define CREW_TOOLS_CREW_RUN_H

/* What `crew run` was asked for. */

#include "halt.h"
#include "input.h"
#include "run-sandbox.h"

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses of a run, beside the number of jobs that failed (at most 101). */
enum { RUN_NOT_EXECUTABLE = 126, RUN_NOT_FOUND = 127, RUN_TROUBLE = 255 };

enum run_output {
        RUN_GROUPED,   /* what a job printed is passed on when it has ended */
        RUN_LINES,     /* line by line */
        RUN_UNGROUPED, /* jobs write to stdout and stderr themselves */
};

enum run_log_format { RUN_LOG_GNU, RUN_LOG_JSON };

struct run_options {
        /* What to run. */
        char **command;
        size_t n_command;
        bool shell;
        const char *replace;
        bool dry_run, verbose;

        /* For which values. */
        struct input_options input;
        regex_t columns;
        bool delimiter_given;

        /* How. */
        uint32_t slots;
        int64_t delay, timeout, kill_after, retry_delay;
        double load; /* processes that may run or wait; < 0 = any number */
        uint64_t memory_free;
        int64_t nice, retries;
        struct halt halt;
        const char *directory;
        const char **set_env, **pass_env;
        size_t n_set_env, n_pass_env;
        bool clean_env, tty;

        /* In what. */
        struct run_sandbox sandbox;

        /* What comes of it. */
        enum run_output output;
        bool keep_order, tag, bar, eta;
        const char *tag_text;
        const char *log, *results, *trace;
        enum run_log_format log_format;
        bool resume, resume_failed;
};

/*
 * Fills in from the configuration file, CREW_RUN_OPTIONS and argv. CLI_RUN, or the exit status:
 * CLI_DONE after --help, CLI_USAGE after a complaint.
 */
int run_options(struct run_options *o, int argc, char **argv);
void run_options_free(struct run_options *o);

#endif
