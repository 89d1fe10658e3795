/* SPDX-License-Identifier: MIT */

/* The command crew ps, as a user runs it. */

#include "peer.h"
#include "tool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct tool crew(void)
{
        struct tool t = { .path = getenv("CREW_TOOL") };

        if (!t.path)
                SKIP("CREW_TOOL does not name the command");
        return t;
}

static unsigned count(const char *text, const char *what)
{
        unsigned n = 0;

        for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
                n++;
        return n;
}

TEST(even_sum, "ten workers of even-sum, their tasks and their queue are shown", "[live][ps]")
{
        struct tool sum = { .path = getenv("CREW_EVEN_SUM") }, ps = crew();
        unsigned workers = 0, tasks = 0;

        if (!sum.path)
                SKIP("CREW_EVEN_SUM does not name the demo");
        /* More than it can sum up while it is looked at, of a sum that fits in 64 bits. */
        tool_start(&sum, "--workers=10 --tasks=60 --from=-3000000000000 --to=3000000000000");
        for (int i = 0; i < 2000 && (workers != 10 || tasks != 10) && !tool_ended(&sum); i++) {
                tool_run(&ps, "ps --json -o pid,role,task_id %d", sum.pid);
                workers = count(ps.out, "\"role\": \"worker\"");
                tasks = workers - count(ps.out, "\"role\": \"worker\", \"task_id\": null");
        }
        CHECK_INT(workers, ==, 10);
        CHECK_INT(tasks, ==, 10);
        CHECK_INT(ps.status, ==, 0);
        CHECK_STR(ps.err, "");
        CHECK_INT(count(ps.out, "\"role\": \"application\""), ==, 1);
        CHECK_INT(count(ps.out, "\"role\": \"pool\""), ==, 1);
        CHECK(strstr(ps.out, "\"schema\": \"crew-ps/1\""));
        tool_run(&ps, "ps --queues --json -o name,capacity,depth %d", sum.pid);
        CHECK(strstr(ps.out, "\"name\": \"sums\", \"capacity\": 60, \"depth\": "));
        CHECK(!strstr(ps.out, "\"depth\": null"));
        tool_run(&ps, "ps -n -o role,name,state --sort=-role %d", sum.pid);
        CHECK(strncmp(ps.out, "worker", 6) == 0);
        CHECK(!strstr(ps.out, "ROLE") && !strstr(ps.out, "\033"));
        (void)kill(-sum.pid, SIGKILL);
        tool_end(&sum);
}

TEST(mistakes, "what makes no sense is named", "[live][ps]")
{
        struct tool ps = crew();

        tool_run(&ps, "ps -o pid,nmae");
        CHECK_INT(ps.status, ==, 2);
        CHECK(strstr(ps.err, "'nmae'; did you mean 'name'?"));
        tool_run(&ps, "ps --queues --sort=-dept");
        CHECK_INT(ps.status, ==, 2);
        CHECK(strstr(ps.err, "did you mean 'depth'?"));
        tool_run(&ps, "ps -o ,");
        CHECK_INT(ps.status, ==, 2);
        tool_run(&ps, "ps 12x");
        CHECK_INT(ps.status, ==, 2);
        tool_run(&ps, "ps --watch=0");
        CHECK_INT(ps.status, ==, 2);
        /* A process that has nothing to do with crew. */
        tool_run(&ps, "ps -n %d", getpid());
        CHECK_INT(ps.status, ==, 1);
        CHECK_STR(ps.out, "");
        CHECK_STR(ps.err, "");
}

TEST(help, "all columns are explained", "[live][ps]")
{
        struct tool ps = crew();

        tool_run(&ps, "ps --help");
        CHECK_INT(ps.status, ==, 0);
        CHECK(strstr(ps.out, "Columns of processes"));
        CHECK(strstr(ps.out, "* task_age"));
}
