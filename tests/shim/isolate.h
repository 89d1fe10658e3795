/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_ISOLATE_H
#define CREW_TESTS_ISOLATE_H

/* Runs one case in a process of its own and finds out what became of it. */

#include "check.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum test_verdict {
        TEST_PASSED,
        TEST_FAILED,
        TEST_SKIPPED,
};

/* The registered cases, in the order of their registration. */
const struct test_case *test_cases(void);

/*
 * Remembers the signal dispositions that every case starts with. Call it before anything installs
 * a handler.
 */
void isolate_prepare(void);

/* In a process that the case made by running this program again: its report is the case's. */
void isolate_attach(void);

/*
 * What is being closed when the body returns gets so many ns (stretched) to go away, and what ends
 * because the case ended (a worker that watches its parent) as many more.
 */
extern int64_t isolate_patience;

/*
 * Runs a case until it ends or its deadline passes; then no process of it is left. *words is what
 * there is to say about it ("" for a case that passed), to be freed by the caller. The calling
 * process must have one thread and no children, and becomes a subreaper.
 */
enum test_verdict isolate_run(const struct test_case *c, char **words);

#ifdef __cplusplus
}
#endif
#endif
