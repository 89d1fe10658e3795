/* SPDX-License-Identifier: MIT */

/* What CREW_TRACE and CREW_DEBUG make a program tell. */

#include "peer.h"
#include "pool-help.h"
#include "tool.h"

#include <crew/crew.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static char path[64];

/* Makes a new file's name and reads what is in it later. */
static void trace_to(const char *suffix)
{
        (void)snprintf(path, sizeof path, "/tmp/crew-trace-%d-%s", (int)getpid(), suffix);
        (void)unlink(path);
        (void)setenv("CREW_TRACE", path, 1);
}

static void read_trace(char *text, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

        REQUIRE(n >= 0);
        text[n] = '\0';
        (void)close(fd);
        (void)unlink(path);
}

static unsigned count(const char *text, const char *what)
{
        unsigned n = 0;

        for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
                n++;
        return n;
}

/* Each line is an object, ended by a comma: what viewers of the format take. */
static void check_lines(char *text)
{
        char *rest = text, *line = strsep(&rest, "\n");

        CHECK_STR(line, "[");
        while ((line = strsep(&rest, "\n")) && *line) {
                size_t n = strlen(line);

                INFO("%s", line);
                CHECK(line[0] == '{' && n > 2 && line[n - 1] == ',' && line[n - 2] == '}');
                CHECK(strstr(line, "\"ph\":\"") && strstr(line, "\"pid\":"));
                CHECK(count(line, "\"") % 2 == 0);
        }
}

TEST(even_sum, "a trace has each task of even-sum once, on its worker's track", "[live][trace]")
{
        static char text[1 << 16];
        struct tool sum = { .path = getenv("CREW_EVEN_SUM") };

        if (!sum.path)
                SKIP("CREW_EVEN_SUM does not name the demo");
        trace_to("sum");
        tool_run(&sum, "--workers=3 --tasks=7 --to=1000000");
        CHECK_INT(sum.status, ==, 0);
        CHECK_STR(sum.err, "");
        read_trace(text, sizeof text);
        CHECK_INT(count(text, "\"cat\":\"task\""), ==, 7);
        CHECK_INT(count(text, "\"name\":\"started\""), ==, 3);
        CHECK_INT(count(text, "\"name\":\"thread_name\""), ==, 3);
        CHECK_INT(count(text, "\"name\":\"process_name\""), ==, 1);
        CHECK(count(text, "\"name\":\"join pool even-sum\"") == 1);
        CHECK(count(text, "\"name\":\"7 #7\"") == 1);
        check_lines(text);
}

static int leave(void *arg)
{
        return *(int *)arg;
}

TEST(deaths, "a trace has starts, ends, waits and what the sandbox refused", "[live][trace]")
{
        static char text[1 << 16];
        crew_auto(process) child = NULL;
        crew_auto(pool) pool = NULL;
        crew_auto(queue) q = NULL;
        int n = 3, sig = SIGKILL;

        /* This process reads its environment at the first event. */
        TEST_ALLOW_FDS(5);
        TEST_ALLOW_MAPPINGS(1);
        trace_to("deaths");
        REQUIRE_OK(crew_process_launch(
                &child, leave, &n, CREW_OPT(process, .name = "a \"quoted\" name")));
        REQUIRE_OK(crew_process_join(child, CREW_S(10)));
        REQUIRE_OK(crew_queue_new(&q, 1, CREW_OPT(queue, .name = "empty")));
        CHECK_INT(CREW_GET(q, &n, CREW_MS(1)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_pool_new(&pool, 1, CREW_OPT(pool, .name = "deadly", .sandbox = "none")));
        CHECK(crew_pool_apply(pool, task_die, &sig, sizeof sig, NULL, 0, CREW_S(10), NULL) < 0);
        CHECK_INT(crew_pool_apply(pool, task_nothing, NULL, 0, NULL, 0, CREW_S(10), NULL), ==, 0);
        pool = crew_pool_free(pool);
        read_trace(text, sizeof text);
        INFO("%s", text);
        CHECK(count(text, "a ?quoted? name: exit 3") == 1);
        CHECK(count(text, "\"name\":\"join a ?quoted? name\"") == 1);
        CHECK(count(text, "\"name\":\"get empty\"") == 1);
        CHECK(count(text, "replaced one that ended") >= 1);
        check_lines(text);
}

TEST(debug, "CREW_DEBUG names the fallback; without it nothing is said", "[live][trace]")
{
        struct tool sum = { .path = getenv("CREW_EVEN_SUM") };

        if (!sum.path)
                SKIP("CREW_EVEN_SUM does not name the demo");
        (void)unsetenv("CREW_TRACE");
        (void)setenv("CREW_DISABLE", "io_uring", 1);
        tool_run(&sum, "--workers=1 --tasks=1 --to=1000");
        CHECK_STR(sum.err, "");
        (void)setenv("CREW_DEBUG", "1", 1);
        tool_run(&sum, "--workers=1 --tasks=1 --to=1000");
        CHECK(strstr(sum.err, ": io_uring is not there (CREW_DISABLE): "));
        (void)setenv("CREW_TRACE", "/nonexistent/trace", 1);
        tool_run(&sum, "--workers=1 --tasks=1 --to=1000");
        CHECK_INT(sum.status, ==, 0);
        CHECK(strstr(sum.err, "CREW_TRACE: /nonexistent/trace: "));
}
