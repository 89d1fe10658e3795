/* SPDX-License-Identifier: MIT */

/* The programs of docs/examples print what they promise, each on a terminal of its own. */

#include "check.h"
#include "tool.h"

#include <crew/crew.h>
#include <ctype.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define LINES 64

struct run {
        char text[8192];
        char raw[8192]; /* before the numbers are masked */
        size_t size;
        char *line[LINES];
        int lines;
        int status;
};

/* build/tests/live-examples -> build/docs/examples/NAME */
static void find(char *path, size_t size, const char *name)
{
        char place[64];

        (void)snprintf(place, sizeof place, "../docs/examples/%s", name);
        tool_beside(path, size, place);
}

/* Runs of digits become one '#': process numbers differ. */
static void mask_numbers(struct run *run)
{
        size_t to = 0;

        for (size_t from = 0; from < run->size; from++) {
                size_t digits = 0;

                while (isdigit((unsigned char)run->text[from + digits]))
                        digits++;
                if (digits > 1) {
                        run->text[to++] = '#';
                        from += digits - 1;
                } else {
                        run->text[to++] = run->text[from];
                }
        }
        run->text[to] = '\0';
        run->size = to;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has_all(const char *text, const char *const *words)
{
        while (*words && strstr(text, *words))
                words++;
        return !*words;
}

/*
 * Runs it to its end, or until its output contains all of `stop_at`, when it is interrupted as by
 * Ctrl-C.
 */
static void run_program(struct run *run, const char *name, const char *argument,
        const char *const *stop_at, bool in_order)
{
        char path[PATH_MAX];
        struct termios raw;
        bool stopped = false;
        int terminal;
        ssize_t n;
        pid_t pid;

        TEST_DEADLINE(60);
        memset(run, 0, sizeof *run);
        find(path, sizeof path, name);
        memset(&raw, 0, sizeof raw);
        cfmakeraw(&raw);
        pid = forkpty(&terminal, NULL, &raw, NULL);
        REQUIRE(pid >= 0);
        if (pid == 0) {
                (void)execl(path, name, argument, (char *)NULL);
                _exit(127);
        }
        while ((n = read(terminal, run->text + run->size, sizeof run->text - 1 - run->size)) > 0) {
                run->size += (size_t)n;
                if (stop_at && !stopped && has_all(run->text, stop_at)) {
                        stopped = true;
                        (void)usleep(100000);
                        (void)kill(pid, SIGINT);
                }
        }
        REQUIRE(waitpid(pid, &run->status, 0) == pid);
        (void)close(terminal);
        INFO("it printed: %s", run->text);
        memcpy(run->raw, run->text, sizeof run->raw);
        mask_numbers(run);
        for (char *at = strtok(run->text, "\n"); at && run->lines < LINES; at = strtok(NULL, "\n"))
                run->line[run->lines++] = at;
        if (!in_order)
                qsort(run->line, (size_t)run->lines, sizeof *run->line, by_text);
}

static void expect(struct run *run, const char *const *lines)
{
        int i;

        for (i = 0; lines[i]; i++)
                CHECK_STR(i < run->lines ? run->line[i] : "(nothing)", lines[i]);
        CHECK_INT(run->lines, ==, i);
}

TEST(basic, "process-basic", "[live][process][examples]")
{
        static const char *const lines[] = { "main process", "zhiliao process", NULL };
        struct run run;

        run_program(&run, "process-basic", NULL, lines, false);
        /* The main program says so every three seconds, and who knows when the other comes. */
        while (run.lines > 2 && strcmp(run.line[1], lines[0]) == 0)
                memmove(run.line, run.line + 1, (size_t)--run.lines * sizeof *run.line);
        expect(&run, lines);
        CHECK_INT(run.status, ==, SIGINT);
}

TEST(program, "process-program", "[live][process][examples]")
{
        static const char *const lines[] = { "hello from sh", "exit code 0", "exit code 3" };
        struct run run;

        run_program(&run, "process-program", NULL, NULL, true);
        REQUIRE(run.lines >= 3);
        for (int i = 0; i < 3; i++)
                CHECK_STR(run.line[i], lines[i]);
        /* Where the kernel or somebody else's listener lets nobody tell, it is denied all the same.
         */
        if (run.lines > 3)
                CHECK(strstr(run.line[3], "mkdir") && strstr(run.line[3], "cpath"));
        CHECK_INT(run.status, ==, 0);
}

TEST(ids, "process-ids", "[live][process][examples]")
{
        static const char *const lines[] = { "===子进程===", "===子进程===", "主进程id:#",
                "子进程id:#", "父进程id:#", NULL };
        struct run run;

        run_program(&run, "process-ids", NULL, NULL, false);
        expect(&run, lines);
        CHECK_INT(run.status, ==, 0);
}

TEST(join, "process-join", "[live][process][examples]")
{
        static const char *const lines[] = { "子进程中的代码0", "子进程中的代码1",
                "子进程中的代码2", "子进程中的代码3", "子进程中的代码4", "父进程中的代码", NULL };
        int64_t begun = crew_clock();
        struct run run;

        run_program(&run, "process-join", NULL, NULL, false);
        expect(&run, lines);
        CHECK_INT(run.status, ==, 0);
        CHECK_INT(crew_clock() - begun, >=, CREW_MS(4900));
}

TEST(class_of_its_own, "process-class", "[live][process][examples]")
{
        static const char *const lines[] = { "主进程id:#", "子进程：0", "子进程：1", "子进程：2",
                "子进程：3", "子进程：4", NULL };
        struct run run;

        run_program(&run, "process-class", NULL, NULL, false);
        expect(&run, lines);
        CHECK_INT(run.status, ==, 0);
}

TEST(memory, "process-memory", "[live][process][examples]")
{
        static const char *const lines[] = { "======== 子进程 ========", "AGE:2",
                "names: qiujie ketang", "pid:#",
                "======== 子进程 ========", "======== 父进程 ========", "AGE:1", "names: qiujie",
                "pid:#", "======== 父进程 ========", NULL };
        struct run run;

        run_program(&run, "process-memory", NULL, NULL, true);
        expect(&run, lines);
        CHECK_INT(run.status, ==, 0);
}

TEST(queue, "process-queue", "[live][process][examples]")
{
        static const char *const lines[] = { "read value m1", NULL };
        struct run run;

        run_program(&run, "process-queue", NULL, NULL, true);
        expect(&run, lines);
        CHECK_INT(run.status, ==, 0);
}

TEST(spawn, "process-spawn", "[live][process][examples]")
{
        struct run run;

        run_program(&run, "process-spawn", NULL, NULL, true);
        CHECK_STR(run.raw, "7998000\n7998000\n");
        CHECK_INT(run.status, ==, 0);
}

TEST(inspect, "inspect", "[live][inspect][examples]")
{
        static const char *const lines[] = { "process one", "process two",
                "queue end: 0 of 1 messages", "queue numbers: 3 of 3 messages", NULL };
        struct run run;

        run_program(&run, "inspect", NULL, NULL, true);
        expect(&run, lines);
        CHECK_INT(run.status, ==, 0);
}

TEST(pool_async, "pool-async", "[live][pool][examples]")
{
        char expected[32];
        struct run run;

        run_program(&run, "pool-async", NULL, NULL, false);
        CHECK_INT(run.status, ==, 0);
        CHECK_INT(run.lines, ==, 50);
        for (int i = 0; i < run.lines; i++) {
                (void)snprintf(expected, sizeof expected, "num:%d,pid:#", i / 5);
                CHECK_STR(run.line[i], expected);
        }
}

TEST(pool_queue, "pool-queue", "[live][pool][examples]")
{
        static const char *const lines[] = { "读到的值:m1", "读到的值:m2", "读到的值:m3", NULL };
        struct run run;

        run_program(&run, "pool-queue", NULL, NULL, true);
        expect(&run, lines);
        CHECK_INT(run.status, ==, 0);
}

TEST(pool_even_sum, "pool-even-sum", "[live][pool][examples]")
{
        struct run run;

        run_program(&run, "pool-even-sum", "1000003", NULL, true);
        CHECK_INT(run.lines, ==, 1);
        CHECK(strstr(run.raw, "s: 250001500002\n"));
        CHECK_INT(run.status, ==, 0);
}

TEST(pool_map, "pool-map", "[live][pool][examples]")
{
        struct run run;

        run_program(&run, "pool-map", NULL, NULL, true);
        CHECK_INT(run.lines, ==, 5);
        CHECK(strstr(run.raw, "norm, item 2: x is -1"));
        CHECK(strstr(run.raw, "(3, 4): 25\n(5, 12): 169\n(-1, 0): failed\n(8, 15): 289\n"));
        CHECK_INT(run.status, ==, 0);
}

TEST(pool_epoll, "pool-epoll", "[live][pool][examples]")
{
        struct run run;

        run_program(&run, "pool-epoll", NULL, NULL, true);
        CHECK_STR(run.raw, "5 tasks, sum of squares 55\n");
        CHECK_INT(run.status, ==, 0);
}

TEST(pool_libuv, "pool-libuv", "[live][pool][examples]")
{
        char path[PATH_MAX];
        struct run run;

        find(path, sizeof path, "pool-libuv");
        if (access(path, X_OK) < 0)
                SKIP("libuv was not installed when this was built");
        run_program(&run, "pool-libuv", NULL, NULL, true);
        CHECK_STR(run.raw, "5 tasks, sum of squares 55, the loop ran on\n");
        CHECK_INT(run.status, ==, 0);
}

TEST(sync_account, "sync-account", "[live][sync][examples]")
{
        struct run run;

        run_program(&run, "sync-account", NULL, NULL, true);
        CHECK_STR(run.raw, "余额:20000\nits owner died, 余额:20010\n");
        CHECK_INT(run.status, ==, 0);
}

TEST(sync_pool, "sync-pool", "[live][sync][pool][examples]")
{
        struct run run;

        run_program(&run, "sync-pool", NULL, NULL, true);
        CHECK_STR(run.raw, "332833500\n");
        CHECK_INT(run.status, ==, 0);
}

TEST(pipe_echo, "pipe-echo", "[live][pipe][examples]")
{
        struct run run;

        run_program(&run, "pipe-echo", NULL, NULL, true);
        CHECK_STR(run.raw, "1 squared is 1\n2 squared is 4\n3 squared is 9\n4 squared is 16\n"
                           "child: no more questions\n");
        CHECK_INT(run.status, ==, 0);
}

TEST(queue_tasks, "queue-tasks", "[live][queue][examples]")
{
        struct run run;

        run_program(&run, "queue-tasks", NULL, NULL, true);
        CHECK_STR(run.raw, "all 9 tasks are done\nthe workers did 9\n");
        CHECK_INT(run.status, ==, 0);
}

TEST(queue_named, "queue-named", "[live][queue][examples]")
{
        struct run run;

        run_program(&run, "queue-named", NULL, NULL, true);
        CHECK_STR(run.raw, "heard: hello\nheard: world\n");
        CHECK_INT(run.status, ==, 0);
}
