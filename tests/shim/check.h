/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_CHECK_H
#define CREW_TESTS_CHECK_H

/*
 * What a test is written with.
 *
 *      TEST(put_get, "a message comes out as it went in", "[unit][queue]")
 *      {
 *              REQUIRE_OK(crew_queue_new(&q, 0, NULL));
 *              CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, -EAGAIN);
 *      }
 *
 * The body runs in a process of its own, under a deadline. It fails when a check fails, in any
 * thread and in any process forked from it, when it crashes or exits, when it outlives its
 * deadline, and when it leaves descriptors, children, threads or shared mappings behind. Checks
 * use no system call, so they also work under seccomp and after every descriptor was closed. They
 * reach across an exec of this very program, as start methods make it, but of no other.
 */

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct test_case {
        void (*body)(void);
        const char *name;
        const char *tags;
        struct test_case *next;
};

/* Adds a case to the program. @c must live as long as the program; names must differ. */
void test_register(struct test_case *c);

#define TEST(identifier, human_name, tag_list)                                                     \
        static void identifier(void);                                                              \
        static struct test_case identifier##_case = { identifier, human_name, tag_list, 0 };       \
        __attribute__((constructor)) static void identifier##_register(void)                       \
        {                                                                                          \
                test_register(&identifier##_case);                                                 \
        }                                                                                          \
        static void identifier(void)

/* CHECK goes on after a failure and answers whether it held; REQUIRE ends the calling process. */
#define CHECK(...) test_check(!!(__VA_ARGS__), __FILE__, __LINE__, "CHECK", #__VA_ARGS__)
#define REQUIRE(...)                                                                               \
        ((__VA_ARGS__) ? (void)0 : test_require_failed(__FILE__, __LINE__, #__VA_ARGS__))

/* Compares two integers as long long, each evaluated once; a failure prints both values. */
#define CHECK_INT(a, op, b)                                                                        \
        (__extension__({                                                                           \
                long long a_ = (long long)(a), b_ = (long long)(b);                                \
                test_check_int(a_ op b_, a_, b_, __FILE__, __LINE__, #a " " #op " " #b);           \
        }))

/* Two strings, either of which may be NULL. */
#define CHECK_STR(a, b) test_check_str((a), (b), __FILE__, __LINE__, #a " is " #b)

/* A crew call that must succeed; yields its value. A failure prints the errno and crew's words. */
#define REQUIRE_OK(expr) test_require_ok((long long)(expr), __FILE__, __LINE__, #expr)

/* Ends the case as skipped: the machine lacks what it needs. The reason is counted and printed. */
#define SKIP(...) test_skip(__VA_ARGS__)

/* Context: the last few lines of the case are printed if it fails. */
#define INFO(...) test_info(__VA_ARGS__)

/* The case may take this long. Call it first; the default is 20 s. CREW_TEST_SLOW multiplies. */
#define TEST_DEADLINE(seconds) test_deadline(seconds)

/* How much the case may leave behind. Anything but 0 needs a comment that says why. */
#define TEST_ALLOW_FDS(n) test_allow(TEST_FDS, (n))
#define TEST_ALLOW_CHILDREN(n) test_allow(TEST_CHILDREN, (n))
#define TEST_ALLOW_MAPPINGS(n) test_allow(TEST_MAPPINGS, (n))
#define TEST_ALLOW_THREADS(n) test_allow(TEST_THREADS, (n))

enum test_resource {
        TEST_FDS,
        TEST_CHILDREN,
        TEST_MAPPINGS,
        TEST_THREADS,
        TEST_RESOURCES,
};

/* Built with a sanitizer that keeps freed memory and reserves address space? */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

/*
 * Zeroed memory that all processes of the case have at the same address, also those that exec'd
 * this program; it ends with the case. NULL: there is no more.
 */
void *test_shared(unsigned long size);

/* Is that so for exec'd processes here? Not under valgrind. */
bool test_reaches_exec(void);

/*
 * Registers what makes the library's lasting state (a probe, a cached page), so that it counts as
 * having been there before. Runs in the case's process ahead of the first count. Call it from a
 * constructor.
 */
void test_warm_up(void (*fn)(void));

/*
 * How often to do what a thorough run does `full` times: CREW_TEST_SCALE percent of it (default 1),
 * but at least `minimum` and at least 1.
 */
long long test_scale(long long full, long long minimum);

/* A time in nanoseconds stretched by CREW_TEST_SLOW, for bounds on a fast answer. */
long long test_slow(long long ns);

#ifdef __cplusplus
#define TEST_NORETURN [[noreturn]]
#else
#define TEST_NORETURN _Noreturn
#endif

bool test_check(bool held, const char *file, int line, const char *kind, const char *text);
bool test_check_int(
        bool held, long long a, long long b, const char *file, int line, const char *text);
bool test_check_str(const char *a, const char *b, const char *file, int line, const char *text);
long long test_require_ok(long long value, const char *file, int line, const char *text);
TEST_NORETURN void test_require_failed(const char *file, int line, const char *text);
TEST_NORETURN void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_deadline(double seconds);
void test_allow(enum test_resource what, int n);

#ifdef __cplusplus
}
#endif
#endif
