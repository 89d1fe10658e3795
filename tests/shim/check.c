/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Weak: a test of the shim or of a tool links no libcrew. */
extern const char *crew_error_detail(void) __attribute__((weak));

struct test_report *test_report;

__attribute__((format(printf, 1, 0))) static void append(const char *format, va_list args)
{
        struct test_report *r = test_report;
        char line[2048];
        size_t size, at;
        int n;

        n = vsnprintf(line, sizeof line - 1, format, args);
        if (n < 0)
                return;
        size = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
        line[size++] = '\n';
        if (!r) {
                (void)!write(STDERR_FILENO, line, size);
                return;
        }
        if (r->in_place)
                (void)!write(STDERR_FILENO, line, size);
        /* A loop of failing checks stops here, before `used` could wrap. */
        if (atomic_load(&r->used) > sizeof r->text)
                return;
        at = atomic_fetch_add(&r->used, size);
        if (at + size <= sizeof r->text)
                memcpy(r->text + at, line, size);
}

void test_note(const char *format, ...)
{
        va_list args;

        va_start(args, format);
        append(format, args);
        va_end(args);
}

void test_fail(const char *format, ...)
{
        va_list args;

        va_start(args, format);
        append(format, args);
        va_end(args);
        if (test_report)
                atomic_fetch_add(&test_report->failures, 1);
}

/* Where a failure happened, when that is not the case's own process. */
static const char *whereabouts(char *buffer, size_t size)
{
        buffer[0] = '\0';
        if (test_report && getpid() != test_report->leader)
                (void)snprintf(buffer, size, " [in process %d]", (int)getpid());
        return buffer;
}

bool test_check(bool held, const char *file, int line, const char *kind, const char *text)
{
        char where[32];

        if (!held)
                test_fail("%s:%d: %s(%s)%s", file, line, kind, text,
                        whereabouts(where, sizeof where));
        return held;
}

/* An integer, with its errno name when it can be one. */
static const char *show(char *buffer, size_t size, long long value)
{
        const char *name = value < 0 && value > -4096 ? strerrorname_np((int)-value) : NULL;

        if (name)
                (void)snprintf(buffer, size, "%lld (-%s)", value, name);
        else
                (void)snprintf(buffer, size, "%lld", value);
        return buffer;
}

bool test_check_int(
        bool held, long long a, long long b, const char *file, int line, const char *text)
{
        char left[64], right[64], where[32];

        if (!held)
                test_fail("%s:%d: CHECK_INT(%s): %s against %s%s", file, line, text,
                        show(left, sizeof left, a), show(right, sizeof right, b),
                        whereabouts(where, sizeof where));
        return held;
}

bool test_check_str(const char *a, const char *b, const char *file, int line, const char *text)
{
        bool held = a == b || (a && b && strcmp(a, b) == 0);
        char where[32];

        if (!held)
                test_fail("%s:%d: CHECK_STR(%s): \"%s\" against \"%s\"%s", file, line, text,
                        a ? a : "(null)", b ? b : "(null)", whereabouts(where, sizeof where));
        return held;
}

/*
 * No unwinding: a thread or a forked child cannot jump into the case's frame, and what a jump
 * would leave half done would only show up as more failures. The runner cleans up.
 */
TEST_NORETURN static void leave(int status)
{
        if (test_report && test_report->in_place)
                abort();
        _exit(status);
}

void test_require_failed(const char *file, int line, const char *text)
{
        (void)test_check(false, file, line, "REQUIRE", text);
        leave(1);
}

long long test_require_ok(long long value, const char *file, int line, const char *text)
{
        char shown[64], where[32];
        const char *detail;

        if (value >= 0)
                return value;
        detail = crew_error_detail ? crew_error_detail() : "";
        test_fail("%s:%d: REQUIRE_OK(%s): %s%s%s%s", file, line, text,
                show(shown, sizeof shown, value), *detail ? ": " : "", detail,
                whereabouts(where, sizeof where));
        leave(1);
}

void test_skip(const char *format, ...)
{
        struct test_report *r = test_report;
        va_list args;

        va_start(args, format);
        (void)vsnprintf(r->reason, sizeof r->reason, format, args);
        va_end(args);
        atomic_store(&r->skipped, true);
        if (r->in_place)
                (void)dprintf(STDERR_FILENO, "skipped: %s\n", r->reason);
        _exit(0);
}

void test_info(const char *format, ...)
{
        struct test_report *r = test_report;
        va_list args;
        char *line;

        if (!r)
                return;
        line = r->info[atomic_fetch_add(&r->infos, 1) % TEST_INFO_LINES];
        va_start(args, format);
        (void)vsnprintf(line, TEST_LINE_SIZE, format, args);
        va_end(args);
}

static long long from_environment(const char *name, long long otherwise)
{
        const char *text = getenv(name);
        char *end = NULL;
        long long value;

        if (!text || !*text)
                return otherwise;
        errno = 0;
        value = strtoll(text, &end, 10);
        if (errno || *end || value < 1) {
                (void)fprintf(stderr, "%s=%s: not a positive number\n", name, text);
                _exit(2);
        }
        return value;
}

int64_t test_slowness(void)
{
        return from_environment("CREW_TEST_SLOW", 1);
}

long long test_slow(long long ns)
{
        return ns * test_slowness();
}

void test_deadline(double seconds)
{
        struct test_report *r = test_report;

        atomic_store(&r->deadline, r->begun + (int64_t)(seconds * 1e9) * test_slowness());
}

void *test_shared(unsigned long size)
{
        struct test_report *r = test_report;
        size_t rounded = (size + 63) & ~63UL, at = atomic_fetch_add(&r->taken, rounded);

        return rounded < size || at > sizeof r->shared || rounded > sizeof r->shared - at
                       ? NULL
                       : r->shared + at;
}

bool test_reaches_exec(void)
{
        return (uintptr_t)test_report == TEST_REPORT_ADDRESS;
}

void test_allow(enum test_resource what, int n)
{
        atomic_store(&test_report->allowed[what], n);
}

long long test_scale(long long full, long long minimum)
{
        long long percent = from_environment("CREW_TEST_SCALE", 1);
        long long n = full / 100 * percent + full % 100 * percent / 100;

        if (minimum < 1)
                minimum = 1;
        return n < minimum ? minimum : n;
}
