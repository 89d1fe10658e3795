/* SPDX-License-Identifier: MIT */

/* Entering, step by step: descriptors, limits, order, failures. */

#include "kernel/syscall.h"
#include "sandbox-case.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void do_nothing(void *arg)
{
        (void)arg;
}

TEST(enters, "a child enters every word and leaves well", "[unit][sandbox]")
{
        static const char *const words[] = { "compute", "stdio", "stdio rpath", "stdio inet",
                "thread", "proc", "exec", "none", "rwcpath exec inet unix thread proc fattr" };

        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                struct confined c = { .words = words[i], .body = do_nothing };

                confine(&c);
                CHECK_INT(c.code, ==, 0);
        }
}

static void open_a_file(void *arg)
{
        (void)arg;
        (void)!open("/etc/passwd", O_RDONLY);
}

TEST(report_open, "a file opened under stdio ends the child, and the report says what helps",
        "[unit][sandbox]")
{
        struct confined c = { .words = "stdio", .body = open_a_file };

        if (crew__words_of_host())
                return; /* a sanitizer may read files, and so may everybody in its build */
        confine(&c);
        CHECK_INT(c.code, ==, CONFINED_DIED);
        CHECK_STR(c.violation.name, "openat");
        CHECK_INT(c.violation.words, ==, CREW__RPATH);
        CHECK_INT(c.violation.tid, ==, c.pid);
        CHECK(c.violation.ip != 0);
        CHECK(strstr(c.violation.text, "fopen") != NULL);
        CHECK(strstr(c.violation.text, "rpath") != NULL);
        INFO("%s", c.violation.text);
}

enum { FAR = 900 };

/* Which descriptors below FAR + 100 are open must be exactly those kept. */
static void look_at_descriptors(void *arg)
{
        const struct crew__application *a = arg;

        for (int fd = 0; fd < FAR + 100; fd++) {
                bool kept = false;

                for (size_t i = 0; i < a->n_keep; i++)
                        kept |= a->keep[i] == fd;
                if (kept != (fcntl(fd, F_GETFD) >= 0)) {
                        INFO("descriptor %d", fd);
                        CHECK(!"open as it should be");
                }
        }
}

static void close_some(bool has_close_range)
{
        static const int keep[] = { 1, 2, 10, 11, FAR };
        struct crew__application a = { .keep = keep, .n_keep = 5 };
        struct crew__plan_options o = { .strictness = CREW__SOFT, .control = -1, .reports = true };
        crew__report *page = peer_memory(sizeof *page);
        crew_sandbox *s = NULL;
        crew__plan plan;
        pid_t pid;

        peer_needs_seccomp();
        REQUIRE_OK(crew_sandbox_new(&s, "stdio", CREW_BEST_EFFORT));
        REQUIRE_OK(crew__plan_new(&plan, s, &o));
        plan.close_range &= has_close_range;
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                struct rlimit limit = { .rlim_cur = 1024, .rlim_max = 1024 };
                int step, r;

                (void)setrlimit(RLIMIT_NOFILE, &limit);
                for (int fd = 3; fd < 40; fd++)
                        (void)dup2(1, fd == plan.ruleset.fd ? 41 : fd);
                REQUIRE(dup2(1, FAR) == FAR && dup2(1, FAR + 50) == FAR + 50);
                a.report = page;
                r = crew__plan_apply(&plan, &a, &step);
                INFO("%s", crew__step_name(step));
                REQUIRE(r == 0);
                look_at_descriptors(&a);
                _exit(0);
        }
        CHECK_INT(peer_join(pid), ==, 0);
        crew__plan_free(&plan);
        (void)crew_sandbox_free(s);
        peer_memory_free(page, sizeof *page);
}

TEST(descriptors, "only the kept descriptors stay open", "[unit][sandbox]")
{
        close_some(true);
}

TEST(descriptors_listed, "the same without close_range", "[unit][sandbox]")
{
        close_some(false);
}

static void close_everything(void *arg)
{
        (void)arg;
        for (int fd = 0; fd < 64; fd++)
                CHECK_INT(fcntl(fd, F_GETFD), ==, -1);
}

TEST(descriptors_none, "keeping nothing closes all", "[unit][sandbox]")
{
        struct crew__application nothing = { .keep = NULL };
        struct confined c = { .words = "stdio", .body = close_everything, .more = &nothing };

        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

static void look_at_limits(void *arg)
{
        struct rlimit limit;

        (void)arg;
        CHECK(getrlimit(RLIMIT_CORE, &limit) == 0);
        CHECK_INT(limit.rlim_max, <=, 1);
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK_INT(limit.rlim_cur, ==, 50);
        CHECK_INT(limit.rlim_max, ==, 50);
        CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
        CHECK(prctl(PR_SET_NAME, "limited") == 0);
}

TEST(limits, "limits hold, and no core is dumped", "[unit][sandbox]")
{
        static const struct crew__limit limits[] = { { RLIMIT_NOFILE, 50 },
                { RLIMIT_STACK, UINT64_MAX } };
        struct crew__application with_limits = { .keep_all = true, .limits = limits,
                .n_limits = 2 };
        struct confined c = { .words = "stdio", .body = look_at_limits, .more = &with_limits };
        struct rlimit dumps = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };

        /* Only root can, where the machine forbids dumps. */
        (void)setrlimit(RLIMIT_CORE, &dumps);
        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

static void look_at_privileges(void *arg)
{
        char text[4096] = "";
        int fd = open("/proc/self/status", O_RDONLY);

        (void)arg;
        REQUIRE(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
        CHECK(strstr(text, "NoNewPrivs:\t1") != NULL);
        CHECK(strstr(text, "Seccomp:\t2") != NULL);
}

TEST(in_force, "the kernel says that all is in force", "[unit][sandbox]")
{
        struct confined c = { .words = "rpath", .body = look_at_privileges };

        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

/* What of this process is restricted: lines of its status. */
static void restrictions(char said[64])
{
        char text[4096] = "";
        int fd = open("/proc/self/status", O_RDONLY);
        const char *privs, *filters;

        REQUIRE(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
        close(fd);
        privs = strstr(text, "NoNewPrivs:");
        filters = strstr(text, "Seccomp_filters:");
        REQUIRE(privs && filters);
        (void)snprintf(said, 64, "%.*s, %.*s", (int)strcspn(privs, "\n"), privs,
                (int)strcspn(filters, "\n"), filters);
}

static void nothing_in_force(void *before)
{
        char said[64];

        restrictions(said);
        CHECK_STR(said, before);
}

TEST(none, "none leaves a child free, but sees to its descriptors", "[unit][sandbox]")
{
        static const int keep[] = { 2 };
        struct crew__application a = { .keep = keep, .n_keep = 1 };
        char before[64];
        struct confined c = {
                .words = "none", .body = nothing_in_force, .arg = before, .more = &a
        };

        /* The tests may run under a filter themselves. */
        restrictions(before);
        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

TEST(failing_step, "the step that failed is told", "[unit][sandbox]")
{
        struct crew__plan_options o = { .control = -1 };
        crew_sandbox *s = NULL;
        crew__plan plan;
        pid_t pid;

        peer_needs_seccomp();
        REQUIRE_OK(crew_sandbox_new(&s, "stdio", CREW_LANDLOCK_OFF));
        REQUIRE_OK(crew__plan_new(&plan, s, &o));
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                struct crew__application a = { .keep_all = true };
                struct crew__limit bad = { .resource = 99 };
                int step = 0;

                plan.filter.length = 0;
                CHECK_INT(crew__plan_apply(&plan, &a, &step), ==, -EINVAL);
                CHECK_INT(step, ==, CREW__STEP_FILTER);
                CHECK_STR(crew__step_name(step), "loading the filter (seccomp)");
                a.limits = &bad;
                a.n_limits = 1;
                CHECK_INT(crew__plan_apply(&plan, &a, &step), ==, -EINVAL);
                CHECK_INT(step, ==, CREW__STEP_LIMITS);
                plan.ruleset.fd = 2;
                a.n_limits = 0;
                CHECK_INT(crew__plan_apply(&plan, &a, &step), <, 0);
                CHECK_INT(step, ==, CREW__STEP_LANDLOCK);
                _exit(0);
        }
        CHECK_INT(peer_join(pid), ==, 0);
        CHECK_STR(crew__step_name(0), "an unknown step");
        CHECK_STR(crew__step_name(99), "an unknown step");
        crew__plan_free(&plan);
        (void)crew_sandbox_free(s);
}

TEST(spoofed, "a report that does not fit the process is not believed", "[unit][sandbox]")
{
        struct crew__scope scope = { .words = crew__words_closed(CREW__STDIO), .control = -1 };
        crew__report page = { .state = 2, .nr = 257, .pid = 7, .tid = 7,
                .arch = crew__native_arch() };
        crew__violation v;

        crew__report_read(&page, 7, &scope, &v);
        CHECK_INT(v.nr, ==, 257);
        crew__report_read(&page, 8, &scope, &v);
        CHECK_INT(v.nr, ==, -1);
        page.arch ^= 1;
        crew__report_read(&page, 7, &scope, &v);
        CHECK_INT(v.nr, ==, -1);
        page.arch ^= 1;
        page.nr = INT32_MAX;
        crew__report_read(&page, 7, &scope, &v);
        CHECK_STR(v.name, "syscall 2147483647");
        page.nr = INT32_MIN;
        crew__report_read(&page, 7, &scope, &v);
        CHECK_INT(v.nr, ==, -1);
        crew__report_clear(&page);
        crew__report_read(&page, 7, &scope, &v);
        CHECK_INT(v.nr, ==, -1);
        crew__report_read(NULL, 7, &scope, &v);
        CHECK_INT(v.nr, ==, -1);
}

TEST(cost, "a filter is short and loads fast", "[unit][sandbox]")
{
        static const char *const words[] = { "compute", "stdio", "rwcpath", "stdio inet unix",
                "rwcpath fattr inet unix thread proc exec" };

        peer_needs_seccomp();
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                struct crew__plan_options o = { .control = -1, .reports = true };
                int64_t *entered = peer_memory(sizeof *entered);
                int64_t began, prepared;
                crew_sandbox *s = NULL;
                crew__plan plan;
                pid_t pid;

                REQUIRE_OK(crew_sandbox_new(&s, words[i], CREW_BEST_EFFORT));
                began = peer_now();
                REQUIRE_OK(crew__plan_new(&plan, s, &o));
                prepared = peer_now() - began;
                pid = fork();
                REQUIRE(pid >= 0);
                if (pid == 0) {
                        struct crew__application a = { .keep_all = true };
                        crew__report page = { 0 };
                        int step;

                        a.report = &page;
                        began = peer_now();
                        REQUIRE(crew__plan_apply(&plan, &a, &step) == 0);
                        *entered = peer_now() - began;
                        _exit(0);
                }
                CHECK_INT(peer_join(pid), ==, 0);
                printf("# %s: %u instructions, prepared in %lld us, entered in %lld us\n", words[i],
                        plan.filter.length, (long long)prepared / 1000, (long long)*entered / 1000);
                peer_memory_free(entered, sizeof *entered);
                CHECK_INT(plan.filter.length, <, 600);
                crew__plan_free(&plan);
                (void)crew_sandbox_free(s);
        }
}
