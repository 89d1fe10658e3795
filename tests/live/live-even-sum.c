/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "peer.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A range that keeps workers busy for as long as a case wants them, and whose sum fits: 0. */
#define ENDLESS "--from=-4000000000000000000 --to=4000000000000000000"

static struct tool even_sum(void)
{
        return (struct tool){ .path = getenv("CREW_EVEN_SUM") };
}

static bool matches(const char *text, const char *pattern)
{
        regex_t compiled;
        bool yes;

        REQUIRE(regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) == 0);
        yes = regexec(&compiled, text, 0, NULL, 0) == 0;
        regfree(&compiled);
        if (!yes)
                INFO("said: %s", text);
        return yes;
}

/* The number behind "SECONDS: "; one line and no words on stderr. */
static int64_t sum_in(const struct tool *t)
{
        CHECK_INT(t->status, ==, 0);
        CHECK_STR(t->err, "");
        if (!CHECK(matches(t->out, "^[0-9]+\\.[0-9][0-9]s: -?[0-9]+\n$")))
                return -1;
        return strtoll(strchr(t->out, ':') + 1, NULL, 10);
}

/* Half of the sum is that of all numbers from the halved first even one to the halved last. */
static int64_t closed_form(int64_t from, int64_t to)
{
        __int128 first = ((__int128)from + (from & 1)) / 2, last = ((__int128)to - (to & 1)) / 2;

        return first > last ? 0 : (int64_t)((first + last) * (last - first + 1));
}

static void check_range(int64_t from, int64_t to, const char *options)
{
        struct tool t = even_sum();

        tool_run(&t, "--from=%" PRId64 " --to=%" PRId64 "%s%s", from, to, *options ? " " : "",
                options);
        CHECK_INT(sum_in(&t), ==, closed_form(from, to));
}

TEST(whole, "without arguments it sums to 1e9 and prints time and sum", "[live][even-sum]")
{
        struct tool t = even_sum();

        TEST_DEADLINE(60);
        tool_run(&t, "%s", "");
        CHECK_INT(t.status, ==, 0);
        CHECK_STR(t.err, "");
        CHECK(matches(t.out, "^[0-9]+\\.[0-9][0-9]s: 250000000500000000\n$"));
        tool_run(&t, "--from 1 --to 1000000000 -n 10 -w 10");
        CHECK_INT(sum_in(&t), ==, 250000000500000000);
}

TEST(tenth, "--to takes another end", "[live][even-sum]")
{
        struct tool t = even_sum();

        tool_run(&t, "--to 100000000");
        CHECK_INT(sum_in(&t), ==, 2500000050000000);
        tool_run(&t, "-t100000000");
        CHECK_INT(sum_in(&t), ==, 2500000050000000);
}

static const struct {
        int64_t from, to;
} edges[] = {
        { 0, 0 },
        { 1, 1 },
        { 2, 2 },
        { -1, -1 },
        { -2, -2 },
        { 1, 2 },
        { 2, 3 },
        { 1, 3 },
        { 2, 4 },
        { -3, 3 },
        { -4, 3 },
        { -4, -1 },
        { -5, -2 },
        { 0, 9 },
        { INT64_MAX, INT64_MAX },
        { INT64_MAX - 1, INT64_MAX - 1 },
        { INT64_MAX - 2, INT64_MAX },
        { INT64_MIN, INT64_MIN },
        { INT64_MIN, INT64_MIN + 1 },
        { INT64_MIN + 1, INT64_MIN + 1 },
        { INT64_MIN + 1, INT64_MIN + 3 },
};

TEST(at_edges, "odd, even, negative and the widest numbers", "[live][even-sum]")
{
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
                check_range(edges[i].from, edges[i].to, i % 3 ? "" : "--tasks=3 --workers=2");
}

TEST(at_random, "random ranges agree with the closed form", "[live][even-sum]")
{
        uint64_t seed = peer_seed();

        INFO("CREW_TEST_SEED=%" PRIu64, seed);
        for (long long i = test_scale(2000, 30); i > 0; i--) {
                int64_t middle = (int64_t)(peer_random(&seed) % 200000000000) - 100000000000;
                int64_t length = (int64_t)(peer_random(&seed) % 3000000);
                char options[64];

                if (i % 2)
                        middle %= 1000000;
                snprintf(options, sizeof options, "--tasks=%d --workers=%d",
                        (int)(peer_random(&seed) % 40) + 1, (int)(peer_random(&seed) % 12) + 1);
                check_range(middle - length / 2, middle + length / 2 + (length & 1), options);
        }
}

TEST(shares, "any number of tasks and workers gives the same sum", "[live][even-sum]")
{
        check_range(1, 10, "--tasks=1");
        check_range(1, 10, "--tasks=10 --workers=1");
        check_range(1, 10, "--tasks=11");
        check_range(1, 3, "--tasks=50");
        check_range(7, 7, "--tasks=64 --workers=64");
        check_range(-1000003, 1000000, "--tasks=100 --workers=3");
        check_range(-7, 1000000, "--tasks=7 --workers=100");
        check_range(1, 1000, "--tasks=200 --workers=200");
}

TEST(json, "--json prints one object", "[live][even-sum]")
{
        struct tool t = even_sum();

        tool_run(&t, "--json --from=-10 --to 21 --tasks 4 -w2");
        CHECK_INT(t.status, ==, 0);
        CHECK_STR(t.err, "");
        CHECK(matches(t.out, "^\\{\"from\": -10, \"to\": 21, \"tasks\": 4, \"workers\": 2, "
                             "\"seconds\": [0-9]+\\.[0-9]+, \"sum\": 80\\}\n$"));
}

TEST(no_bar, "--progress prints nothing where there is no terminal", "[live][even-sum]")
{
        struct tool t = even_sum();

        tool_run(&t, "--progress --to 1000000");
        CHECK_INT(sum_in(&t), ==, closed_form(1, 1000000));
}

TEST(bar, "--progress draws a bar on a terminal", "[live][even-sum]")
{
        struct tool t = even_sum();
        char text[8192];
        size_t filled = 0;
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        ssize_t n;

        REQUIRE(master >= 0);
        REQUIRE(grantpt(master) == 0 && unlockpt(master) == 0);
        t.err_fd = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(t.err_fd >= 0);
        tool_run(&t, "--progress --to 1000000 --tasks 8");
        CHECK_INT(sum_in(&t), ==, closed_form(1, 1000000));
        close(t.err_fd);
        while (filled < sizeof text - 1 &&
                (n = read(master, text + filled, sizeof text - 1 - filled)) > 0)
                filled += (size_t)n;
        text[filled] = 0;
        close(master);
        CHECK(strstr(text, "[########################################] 8/8\r\n"));
        CHECK(strchr(text, '\r') < strstr(text, "8/8"));
}

static const struct {
        const char *line, *words;
} misuse[] = {
        { "--to abc", "--to: 'abc' is not a whole number" },
        { "--to 12x", "'12x' is not a whole number" },
        { "--to 1e9", "'1e9' is not a whole number" },
        { "--to 1.5", "'1.5' is not a whole number" },
        { "--to 0x10", "'0x10' is not a whole number" },
        { "--to=", "'' is not a whole number" },
        { "--to ", "'' is not a whole number" },
        { "--from -", "'-' is not a whole number" },
        { "--to", "needs an argument" },
        { "-t", "needs an argument" },
        { "--from 10 --to 9", "--from 10 is greater than --to 9" },
        { "--from 2 --to -2", "--from 2 is greater than --to -2" },
        { "--to 9223372036854775807", "does not fit in 64 bits" },
        { "--from=-9223372036854775808 --to -1", "does not fit in 64 bits" },
        { "--from=-9223372036854775807 --to 9223372036854775807 --from 1",
                "does not fit in 64 bits" },
        { "--from 9223372036854775803 --to 9223372036854775807", "does not fit in 64 bits" },
        { "--from=-9223372036854775808 --to=-9223372036854775806", "does not fit in 64 bits" },
        { "--to 9223372036854775808", "is not between" },
        { "--from=-9223372036854775809", "is not between" },
        { "--to 99999999999999999999999999999999999999", "is not between" },
        { "--workers 0", "--workers: 0 is not between 1 and" },
        { "--workers -1", "--workers: -1 is not between 1 and" },
        { "--tasks 0", "--tasks: 0 is not between 1 and" },
        { "--tasks=-5", "--tasks: -5 is not between 1 and" },
        { "--tasks 100001", "is not between 1 and 100000" },
        { "-w 4294967297", "is not between 1 and 100000" },
        { "--taks 3", "did you mean '--tasks'?" },
        { "--quite-something-else", "there is no option '--quite-something-else'" },
        { "-x", "there is no option '-x'" },
        { "--json=yes", "takes no argument" },
        { "100", "unexpected argument '100'" },
        { "--to 10 --", NULL },
        { "-- --to", "unexpected argument '--to'" },
};

TEST(misused, "a wrong command line is 2, with one line and the hint", "[live][even-sum]")
{
        for (size_t i = 0; i < sizeof misuse / sizeof *misuse; i++) {
                struct tool t = even_sum();

                tool_run(&t, "%s", misuse[i].line);
                if (!misuse[i].words) {
                        CHECK_INT(t.status, ==, 0);
                        continue;
                }
                CHECK_INT(t.status, ==, 2);
                CHECK_STR(t.out, "");
                CHECK(strncmp(t.err, "even-sum: ", 10) == 0);
                CHECK_INT(tool_lines(t.err), ==, 2);
                CHECK(strstr(t.err, "\nTry 'even-sum --help'.\n"));
                if (!CHECK(strstr(t.err, misuse[i].words)))
                        INFO("said: %s", t.err);
        }
}

TEST(help, "--help and --version print and succeed", "[live][even-sum]")
{
        struct tool t = even_sum();

        tool_run(&t, "--help");
        CHECK_INT(t.status, ==, 0);
        CHECK_STR(t.err, "");
        CHECK(strstr(t.out, "Usage: even-sum") && strstr(t.out, "--workers=N"));
        tool_run(&t, "--version");
        CHECK_INT(t.status, ==, 0);
        CHECK(matches(t.out, "^even-sum \\(crew\\) [0-9]+\\.[0-9]+\\.[0-9]+\n$"));
}

TEST(full_disk, "output that cannot be written is 1, with one line", "[live][even-sum]")
{
        static const char *const lines[] = { "--to 10", "--to 10 --json", "--help", "--version" };

        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                struct tool t = even_sum();

                t.to = "/dev/full";
                tool_run(&t, "%s", lines[i]);
                CHECK_INT(t.status, ==, 1);
                CHECK_INT(tool_lines(t.err), ==, 1);
                CHECK(strstr(t.err, "No space left"));
        }
}

/* Started with a range that does not end; returns when all `n` workers run, with their pids. */
static const char *const methods[] = { "pool", "process" };

static void start_endless(struct tool *t, const char *method, pid_t *workers, int tasks, int n)
{
        int64_t until = peer_now() + test_slow(PEER_MS(10000));

        tool_start(t, ENDLESS " --method %s --tasks %d --workers %d", method, tasks, n);
        while (tool_workers(t, workers, n) < n && peer_now() < until)
                peer_pause(PEER_MS(1));
        REQUIRE(tool_workers(t, workers, n) == n);
}

/*
 * They end; was it within a second? Where all wait for a processor it takes longer. Without their
 * parent they may be zombies: the runner collects them later.
 */
static bool check_gone(const pid_t *pids, int n)
{
        int64_t begun = peer_now(), until = begun + test_slow(PEER_MS(10000));

        for (int i = 0; i < n; i++) {
                while (peer_lives(pids[i]) && peer_now() < until)
                        peer_pause(PEER_MS(1));
                if (!CHECK(!peer_lives(pids[i])))
                        INFO("worker %d of %d runs", i + 1, n);
        }
        return peer_now() - begun < test_slow(PEER_MS(1000));
}

enum { TRIES = 6 };

/* A look through /proc takes a while, but those who are in two of them ran in between, together. */
static int at_once(const struct tool *t)
{
        pid_t first[16], second[16];
        int n = tool_workers(t, first, 16), m = tool_workers(t, second, 16), both = 0;

        for (int i = 0; i < n; i++) {
                for (int k = 0; k < m; k++)
                        both += first[i] == second[k];
        }
        return both;
}

static void no_more_than_three(const char *method)
{
        struct tool t = even_sum();
        pid_t workers[3];
        int64_t until;

        tool_start(&t, "--to 4000000000 --tasks 12 --workers 3 --method %s", method);
        while (!tool_ended(&t))
                CHECK_INT(at_once(&t), <=, 3);
        tool_end(&t);
        CHECK_INT(sum_in(&t), ==, closed_form(1, 4000000000));

        start_endless(&t, method, workers, 40, 3);
        until = peer_now() + PEER_MS(200);
        while (peer_now() < until)
                CHECK_INT(at_once(&t), ==, 3);
        REQUIRE(kill(t.pid, SIGTERM) == 0);
        tool_end(&t);
        (void)check_gone(workers, 3);
}

TEST(no_more, "no more than --workers run at a time", "[live][even-sum]")
{
        for (size_t m = 0; m < 2; m++)
                no_more_than_three(methods[m]);
}

/* Were all others gone within a second? */
static bool kill_one(const char *method, int signal)
{
        struct tool t = even_sum();
        pid_t workers[5];
        char words[64];
        bool soon;

        start_endless(&t, method, workers, 5, 5);
        REQUIRE(kill(workers[2], signal) == 0);
        tool_end(&t);
        soon = check_gone(workers, 5);
        CHECK_INT(t.status, ==, 1);
        CHECK_STR(t.out, "");
        CHECK_INT(tool_lines(t.err), ==, 1);
        snprintf(words, sizeof words, "pid %d", workers[2]);
        if (!CHECK(strstr(t.err, words)))
                INFO("said: %s", t.err);
        snprintf(words, sizeof words, "SIG%s", sigabbrev_np(signal));
        if (!CHECK(strstr(t.err, words)))
                INFO("said: %s", t.err);
        return soon;
}

TEST(worker_killed, "a worker that is killed is named, and all others end", "[live][even-sum]")
{
        static const int signals[] = { SIGKILL, SIGUSR1, SIGTERM };

        TEST_DEADLINE(40);
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
                for (size_t m = 0; m < 2; m++) {
                        int tries = 0;

                        while (!kill_one(methods[m], signals[i]) && ++tries < TRIES)
                                ;
                        CHECK_INT(tries, <, TRIES);
                }
        }
}

/* Its worker, stopped at its work; false if that was over before. */
static bool stop_worker(struct tool *t, pid_t *worker)
{
        struct peer_look l;

        while (tool_workers(t, worker, 1) < 1) {
                if (tool_ended(t))
                        return false;
                peer_pause(PEER_MS(1));
        }
        if (kill(*worker, SIGSTOP) < 0)
                return false;
        while (peer_look(*worker, &l) && l.state != 'Z' && l.state != 'X') {
                if (l.state == 'T')
                        return true;
                peer_pause(PEER_MS(1));
        }
        return false;
}

TEST(worker_stopped, "a worker that is stopped is waited for", "[live][even-sum]")
{
        TEST_DEADLINE(60);
        for (size_t m = 0; m < 2; m++) {
                bool waited = false;

                /* It may be over at any time before the stop, and before it is seen. */
                for (int tries = 0; tries < TRIES && !waited; tries++) {
                        struct tool t = even_sum();
                        pid_t worker;

                        tool_start(&t, "--to 2000000000 --tasks 1 --method %s", methods[m]);
                        if (stop_worker(&t, &worker)) {
                                peer_pause(PEER_MS(100));
                                waited = !tool_ended(&t);
                                (void)kill(worker, SIGCONT);
                        }
                        tool_end(&t);
                        CHECK_INT(sum_in(&t), ==, closed_form(1, 2000000000));
                }
                CHECK(waited);
        }
}

static const struct way {
        int signal;
        bool group;
} ways[] = { { SIGINT, true }, { SIGTERM, true }, { SIGINT, false }, { SIGTERM, false },
        { SIGKILL, false }, { SIGHUP, true } };

/* Were all workers gone within a second? */
static bool end_by(const char *method, const struct way *way)
{
        struct tool t = even_sum();
        pid_t workers[4];

        start_endless(&t, method, workers, 4, 4);
        INFO("%s: signal %d to %s", method, way->signal, way->group ? "the group" : "the parent");
        REQUIRE(kill(way->group ? -t.pid : t.pid, way->signal) == 0);
        tool_end(&t);
        CHECK_INT(t.status, !=, 0);
        CHECK_STR(t.out, "");
        return check_gone(workers, 4);
}

TEST(interrupted, "however it is ended, no worker is left", "[live][even-sum]")
{
        TEST_DEADLINE(40);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                for (size_t m = 0; m < 2; m++) {
                        int tries = 0;

                        while (!end_by(methods[m], &ways[i]) && ++tries < TRIES)
                                ;
                        CHECK_INT(tries, <, TRIES);
                }
        }
}

static int64_t user_time(const char *to)
{
        struct tool t = even_sum();

        tool_run(&t, "--to %s", to);
        CHECK_INT(t.status, ==, 0);
        return t.usage.ru_utime.tv_sec * 1000000LL + t.usage.ru_utime.tv_usec;
}

TEST(works, "a range ten times as long takes its time: nobody uses a formula", "[live][even-sum]")
{
        int64_t small, large;
        int tries = 0;

        TEST_DEADLINE(60);
        /* What the machine takes from a process while it runs counts as its own. */
        do {
                small = user_time("200000000");
                large = user_time("2000000000");
                INFO("user time %" PRId64 " us, then %" PRId64 " us", small, large);
        } while (large < 3 * small && ++tries < TRIES);
        CHECK_INT(large, >=, 3 * small);
        CHECK_INT(large, >=, 50000);
}
