/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_REPORT_H
#define CREW_TESTS_REPORT_H

/*
 * The memory that a case and its runner share: it is inherited by whatever the case forks, and
 * writing to it takes no descriptor and no system call. A process may be killed while it writes;
 * the runner prints what is there. The program itself, exec'd by the case, finds it by a name in
 * its environment and maps it at the same address.
 */

#include "check.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TEST_TEXT_SIZE 65536
#define TEST_INFO_LINES 24
#define TEST_LINE_SIZE 512
#define TEST_SHARED_SIZE (256 * 1024)

/* Where it is mapped, if that is free: between what sanitizers and the kernel use. */
#define TEST_REPORT_ADDRESS UINT64_C(0x7ea000000000)
#define TEST_REPORT_VARIABLE "CREW_TEST_REPORT"

struct test_report {
        pid_t leader;             /* the case's own process */
        bool in_place;            /* no process of its own: stop in the debugger */
        int64_t begun;            /* CLOCK_MONOTONIC, ns */
        _Atomic int64_t deadline; /* likewise */
        _Atomic int failures;
        _Atomic bool skipped;
        _Atomic bool finished; /* the body returned and the counts were compared */
        _Atomic int allowed[TEST_RESOURCES];
        char reason[TEST_LINE_SIZE]; /* of the skip */
        _Atomic unsigned infos;      /* ever written; the ring keeps the last ones */
        char info[TEST_INFO_LINES][TEST_LINE_SIZE];
        _Atomic size_t used;
        char text[TEST_TEXT_SIZE]; /* one failure after another, each ending in a newline */
        _Atomic size_t taken; /* of what follows */
        _Alignas(64) char shared[TEST_SHARED_SIZE];
};

/* The report of the case that this process belongs to; NULL outside of a case. */
extern struct test_report *test_report;

/* Counts a failure and appends its words. Usable in any thread or forked process of the case. */
void test_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Appends words without counting a failure. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* CREW_TEST_SLOW, at least 1. */
int64_t test_slowness(void);

#endif
