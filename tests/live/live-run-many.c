/* SPDX-License-Identifier: MIT */
#include "run-help.h"

/*
 * What a run keeps of jobs that are over: nothing. Two of its jobs look at how much memory the
 * process has that started them, one when the first thousands have ended and one at the end.
 *
 *      CREW_TEST_SCALE=100 build/tests/live-run-many           200,000 jobs for each row
 *      CREW_TEST_SCALE=500 build/tests/live-run-many           1,000,000
 */

static struct shell s;

/* A sanitizer keeps what is freed, to tell of its use: here no more than there is early on. */
#define SANITIZER "ASAN_OPTIONS=\"$ASAN_OPTIONS:quarantine_size_mb=1\" "

static const struct {
        const char *disabled, *options;
        bool near; /* jobs see the /proc where the run has the number that they know */
} runs[] = {
        { "", "--sandbox none", true },
        { "io_uring", "--sandbox none", true },
        { "", "--sandbox none -k --tag --joblog log", true },
        { "", "--line-buffer --retries 2 --timeout 1m", false },
};

enum {
        /* By then the rings of io_uring have been written once, all around. */
        EARLY = 2000,
        /* And so many more; where a job takes a tenth of a second of emulation, fewer. */
        MORE = 2000,
        MORE_EMULATED = 600,
        /* What the kernel's count may be off by, and an allocator's, which with a sanitizer deals
         * out memory from far apart. */
        SLACK_KIB = TEST_SANITIZED ? 1024 : 256,
};

/*
 * How much memory the i-th run took on from its first thousands of jobs to its last, in KiB; -1:
 * there is no telling.
 */
static long long growth(size_t i, long long n)
{
        char line[512], names[2][32];
        long long first, last, jobs = n;

        (void)snprintf(line, sizeof line,
                "awk 'BEGIN { for (i = 1; i <= %lld; i++) print (i == %d || i == %lld ? "
                "\"./look\" : \"true\"), i }' | CREW_DISABLE=$CREW_DISABLE,%s " SANITIZER
                "\"$CREW_RUN\" run -j2 %s --colsep ' ' {1} {2} | sed 's/.*\t//'; "
                "[ ! -e log ] || grep -c ^[0-9] log",
                n, EARLY, n, runs[i].disabled, runs[i].options);
        shell_start(&s, line);
        shell_end(&s);
        (void)unlink("log");
        INFO("%s %s: %s", runs[i].disabled, runs[i].options, s.out);
        CHECK_STR(s.err, "");
        REQUIRE(sscanf(s.out, "%31s %lld kB %31s %lld kB %lld", names[0], &first, names[1], &last,
                        &jobs) >= 4);
        CHECK_INT(jobs, ==, n);
        /* In a namespace without its own /proc that number is another process's. */
        if (!runs[i].near && strcmp(names[1], "crew") != 0)
                return -1;
        CHECK_STR(names[0], "crew");
        CHECK_STR(names[1], "crew");
        printf("# %-60s %-8s %lld KiB after %d jobs, %lld KiB after %lld\n", runs[i].options,
                *runs[i].disabled ? "no uring" : "", first, EARLY, last, n);
        return last > first ? last - first : 0;
}

TEST(memory, "the memory of a run does not grow with its jobs", "[live][run]")
{
        bool emulated = test_slow(1) >= 10;
        long long n = emulated ? EARLY + MORE_EMULATED : test_scale(200000, EARLY + MORE);
        const char *path = scratch_enter();

        s.patience_s = 60 + n / 100;
        TEST_DEADLINE(10 * (double)s.patience_s);
        shell_run(&s, "printf '#!/bin/sh\\nsed -n \"s/^Name:.//p; s/^VmRSS:[^0-9]*//p\" "
                      "/proc/$PPID/status\\n' >look && chmod +x look");
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
                long long grown = SLACK_KIB + 1;

                /* With -k one job that gets no processor for a second holds up hundreds of others,
                 * and what they take then is not given back. What is kept of each is seen always.
                 */
                for (int round = 0; round < 3 && grown > SLACK_KIB; round++)
                        grown = growth(i, n);
                CHECK_INT(grown, <=, SLACK_KIB);
        }
        scratch_leave(path);
}
