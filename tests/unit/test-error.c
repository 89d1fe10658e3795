/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fail.h"
#include "check.h"

#include <crew/error.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Every errno that the header gives a meaning. */
static const struct {
        int err;
        const char *name;
} documented[] = {
        { EAGAIN, "EAGAIN" },
        { ETIMEDOUT, "ETIMEDOUT" },
        { EINTR, "EINTR" },
        { EPIPE, "EPIPE" },
        { ECONNRESET, "ECONNRESET" },
        { EMSGSIZE, "EMSGSIZE" },
        { EBADMSG, "EBADMSG" },
        { EBUSY, "EBUSY" },
        { ESRCH, "ESRCH" },
        { EALREADY, "EALREADY" },
        { ECHILD, "ECHILD" },
        { ENOENT, "ENOENT" },
        { ENODATA, "ENODATA" },
        { EDEADLK, "EDEADLK" },
        { EXDEV, "EXDEV" },
        { EMFILE, "EMFILE" },
        { EEXIST, "EEXIST" },
        { ENOTRECOVERABLE, "ENOTRECOVERABLE" },
        { EOPNOTSUPP, "EOPNOTSUPP" },
        { EINVAL, "EINVAL" },
};

TEST(names, "an errno has its name in either sign", "[unit][error]")
{
        for (size_t i = 0; i < sizeof documented / sizeof *documented; i++) {
                CHECK_STR(crew_error_name(documented[i].err), documented[i].name);
                CHECK_STR(crew_error_name(-documented[i].err), documented[i].name);
        }
        CHECK_STR(crew_error_name(-ENOMEM), "ENOMEM");
        CHECK_STR(crew_error_name(0), "0");
        CHECK_STR(crew_error_name(99999), "unknown");
        CHECK_STR(crew_error_name(INT32_MIN), "unknown");
        CHECK_STR(crew_error_name(INT32_MAX), "unknown");
}

TEST(texts, "a documented errno has crew's own words, another one the C library's", "[unit][error]")
{
        for (size_t i = 0; i < sizeof documented / sizeof *documented; i++) {
                const char *text = crew_error_text(-documented[i].err);

                INFO("%s: %s", documented[i].name, text);
                CHECK(text == crew_error_text(documented[i].err));
                CHECK(strcmp(text, strerrordesc_np(documented[i].err)) != 0);
        }
        CHECK_STR(crew_error_text(-EALREADY), "it was started already");
        CHECK_STR(crew_error_text(-ENOSPC), strerrordesc_np(ENOSPC));
        CHECK_STR(crew_error_text(0), "success");
        CHECK_STR(crew_error_text(99999), "unknown error");
        CHECK_STR(crew_error_text(INT32_MIN), "unknown error");
}

TEST(detail, "the last failure in words replaces the one before", "[unit][error]")
{
        CHECK_STR(crew_error_detail(), "");
        CHECK_INT(crew__fail(EINVAL, "queue \"%s\" has %d ears", "jobs", 3), ==, -EINVAL);
        CHECK_STR(crew_error_detail(), "queue \"jobs\" has 3 ears");
        CHECK_INT(crew__fail_quick(EAGAIN, "empty"), ==, -EAGAIN);
        CHECK_STR(crew_error_detail(), "empty");
        CHECK_INT(crew__fail(EPIPE, "%s", "closed"), ==, -EPIPE);
        CHECK_STR(crew_error_detail(), "closed");
}

TEST(detail_long, "a long detail is cut, not overrun", "[unit][error]")
{
        char words[2000];

        memset(words, 'w', sizeof words - 1);
        words[sizeof words - 1] = '\0';
        CHECK_INT(crew__fail(EINVAL, "%s", words), ==, -EINVAL);
        CHECK(strlen(crew_error_detail()) >= 100);
        CHECK(strlen(crew_error_detail()) < sizeof words - 1);
        CHECK(strspn(crew_error_detail(), "w") == strlen(crew_error_detail()));
}

static void *other_thread(void *unused)
{
        (void)unused;
        CHECK_STR(crew_error_detail(), "");
        (void)crew__fail(EBUSY, "the other thread's");
        return NULL;
}

TEST(detail_thread, "each thread has a detail of its own", "[unit][error]")
{
        pthread_t thread;

        (void)crew__fail(EINVAL, "mine");
        REQUIRE(pthread_create(&thread, NULL, other_thread, NULL) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        CHECK_STR(crew_error_detail(), "mine");
}

struct small {
        size_t size;
        int a;
        int b;
};

struct grown {
        struct small known;
        long later;
};

TEST(options_none, "no options are all defaults", "[unit][error][options]")
{
        struct small into = { .size = 7, .a = 8, .b = 9 };

        REQUIRE_OK(crew__options(&into, sizeof into, NULL, "small options"));
        CHECK_INT(into.size, ==, 0);
        CHECK_INT(into.a, ==, 0);
        CHECK_INT(into.b, ==, 0);
}

TEST(options_older, "an older caller's options end early; the rest is default",
        "[unit][error][options]")
{
        struct small from = { .size = offsetof(struct small, b), .a = 5, .b = 6 };
        struct small into = { .b = 9 };

        REQUIRE_OK(crew__options(&into, sizeof into, &from, "small options"));
        CHECK_INT(into.a, ==, 5);
        CHECK_INT(into.b, ==, 0);
}

TEST(options_newer, "a newer caller's options pass while the unknown part is zero",
        "[unit][error][options]")
{
        struct grown from = { .known = { .size = sizeof from, .a = 1, .b = 2 } };
        struct small into;

        REQUIRE_OK(crew__options(&into, sizeof into, &from, "small options"));
        CHECK_INT(into.a, ==, 1);
        CHECK_INT(into.b, ==, 2);
        from.later = 1;
        CHECK_INT(crew__options(&into, sizeof into, &from, "small options"), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "small options") != NULL);
        CHECK(strstr(crew_error_detail(), crew_version()) != NULL);
}

TEST(options_sizeless, "options whose size was never set are refused", "[unit][error][options]")
{
        struct small from = { .size = 0, .a = 1 }, into;

        CHECK_INT(crew__options(&into, sizeof into, &from, "small options"), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "CREW_OPT") != NULL);
        from.size = sizeof(size_t) - 1;
        CHECK_INT(crew__options(&into, sizeof into, &from, "small options"), ==, -EINVAL);
        from.size = sizeof(size_t);
        CHECK_INT(crew__options(&into, sizeof into, &from, "small options"), ==, 0);
        CHECK_INT(into.a, ==, 0);
}

TEST(clock_forward, "the clock never goes back", "[unit][clock]")
{
        int64_t before = crew_clock();

        CHECK(before > 0);
        for (int i = 0; i < 1000; i++) {
                int64_t after = crew_clock();

                CHECK_INT(after, >=, before);
                before = after;
        }
}

TEST(until, "what is left until a time is never negative", "[unit][clock]")
{
        int64_t left;

        CHECK_INT(crew_until(0), ==, 0);
        CHECK_INT(crew_until(-1), ==, 0);
        CHECK_INT(crew_until(INT64_MIN), ==, 0);
        CHECK_INT(crew_until(crew_clock() - 1), ==, 0);
        CHECK(crew_until(CREW_FOREVER) == CREW_FOREVER);
        left = crew_until(crew_clock() + CREW_S(100));
        CHECK_INT(left, <=, CREW_S(100));
        CHECK_INT(left, >, CREW_S(50));
        CHECK_INT(crew_until(CREW_FOREVER - 1), <, CREW_FOREVER - 1);
}

TEST(deadlines, "a timeout becomes a deadline without overflow", "[unit][clock]")
{
        int64_t before = crew_clock();

        CHECK_INT(crew__deadline(CREW_NOW), ==, 0);
        CHECK_INT(crew__deadline(-1), ==, 0);
        CHECK_INT(crew__deadline(INT64_MIN), ==, 0);
        CHECK(crew__deadline(CREW_FOREVER) == CREW__NEVER);
        CHECK(crew__deadline(CREW_FOREVER - 1) == CREW__NEVER);
        CHECK_INT(crew__deadline(CREW_S(1)), >=, before + CREW_S(1));
        CHECK_INT(crew__deadline(CREW_S(1)), <=, crew_clock() + CREW_S(1));
        CHECK_INT(crew__deadline(1), >, before);
}

TEST(expiry, "a wait that was not wanted ends otherwise than one that took too long",
        "[unit][clock]")
{
        CHECK_INT(crew__expired(crew__deadline(CREW_NOW)), ==, -EAGAIN);
        CHECK_INT(crew__expired(crew__deadline(-5)), ==, -EAGAIN);
        CHECK_INT(crew__expired(crew__deadline(1)), ==, -ETIMEDOUT);
}

TEST(timespecs, "nanoseconds become a timespec", "[unit][clock]")
{
        struct timespec t = crew__timespec(CREW_S(3) + 999999999);

        CHECK_INT(t.tv_sec, ==, 3);
        CHECK_INT(t.tv_nsec, ==, 999999999);
        CHECK_INT(crew__earlier(4, CREW__NEVER), ==, 4);
}

TEST(version, "the running version is the header's", "[unit][error]")
{
        CHECK_STR(crew_version(), "0.1.0");
        CHECK_INT(CREW_VERSION_MAJOR, ==, 0);
        CHECK_INT(CREW_VERSION_MINOR, ==, 1);
        CHECK_INT(CREW_VERSION_PATCH, ==, 0);
}
