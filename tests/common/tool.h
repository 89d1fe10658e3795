/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_TOOL_H
#define CREW_TESTS_TOOL_H

/* A command under test: run as a shell would run it, with what it prints kept. */

#include "peer.h"

#include <sys/resource.h>

struct tool {
        const char *path; /* what is run */
        const char *to;   /* a file for stdout, NULL = kept in .out */
        int err_fd;       /* for stderr, 0 = kept in .err */

        pid_t pid;
        int files[2];
        int status; /* exit status, or PEER_KILLED + the signal */
        struct rusage usage;
        char out[4096], err[4096]; /* cut at the size */
};

/* The words of the command line are split at blanks; quotes mean nothing. It leads a group. */
void tool_start(struct tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Awaits its end for at most 60 s (stretched by CREW_TEST_SLOW), then kills it and fails. */
void tool_end(struct tool *t);

/* Whether it has ended, without collecting it. */
bool tool_ended(const struct tool *t);

void tool_run(struct tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Up to `max` pids of the children and grandchildren it has now that have computed for 20 ms: those that try the
 * kernel out do not live that long. Returns how many.
 */
int tool_workers(const struct tool *t, pid_t *pids, int max);

/* The path of what lies so as seen from the directory of the running program. */
void tool_beside(char *path, size_t size, const char *name);

size_t tool_lines(const char *text);

#endif
