/* SPDX-License-Identifier: MIT */
#include "inventory.h"
#include "run-help.h"

#include <dirent.h>
#include <stdarg.h>

static struct shell s;

/* The pids of the processes that have `mark` as an argument; returns how many. */
static int marked(const char *mark, pid_t *pids, int max)
{
        DIR *proc = opendir("/proc");
        char needle[64] = "";
        size_t length = strlen(mark);
        struct dirent *entry;
        int n = 0;

        REQUIRE(proc && length + 2 < sizeof needle);
        (void)memcpy(needle + 1, mark, length);
        while (n < max && (entry = readdir(proc))) {
                pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
                char path[64], text[4096];
                ssize_t size;
                int fd;

                (void)snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
                fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
                if (fd < 0)
                        continue;
                size = read(fd, text, sizeof text);
                (void)close(fd);
                if (size > 0 && memmem(text, (size_t)size, needle, length + 2))
                        pids[n++] = pid;
        }
        (void)closedir(proc);
        return n;
}

static bool await_marked(const char *mark, int wanted)
{
        int64_t until = peer_now() + test_slow(PEER_MS(10000));
        pid_t pids[64];
        int n;

        while ((n = marked(mark, pids, 64)) != wanted && peer_now() < until)
                peer_pause(PEER_MS(1));
        return CHECK_INT(n, ==, wanted);
}

static bool none_left(const char *mark)
{
        return await_marked(mark, 0);
}

/* A mark that no other run on this machine has. */
static const char *mark(void)
{
        static char text[32];

        (void)snprintf(text, sizeof text, "6%06d.%d", getpid(), 25);
        return text;
}

/* Starts the line as the command itself, so that a signal meets the run and not a shell. */
static void start(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void start(const char *format, ...)
{
        char line[1024] = "exec \"$CREW_RUN\" run ";
        va_list args;
        size_t n = strlen(line);

        va_start(args, format);
        (void)vsnprintf(line + n, sizeof line - n, format, args);
        va_end(args);
        shell_start(&s, line);
}

/* Sends it to the run once a job has made the file. */
static void signal_when(const char *file, int sig)
{
        if (await_file(file))
                (void)kill(s.pid, sig);
}

/* Waits until the run has taken what it was sent: both of its processes sleep again then. */
static void await_taken(void)
{
        pid_t children[16];
        size_t n;

        CHECK(peer_await_sleep(s.pid, PEER_MS(10000)));
        n = inventory_children(s.pid, children, 16);
        for (size_t i = 0; i < n && i < 16; i++) {
                struct peer_look l;

                if (peer_look(children[i], &l) && strcmp(l.name, "crew") == 0)
                        CHECK(peer_await_sleep(children[i], PEER_MS(10000)));
        }
}

/* The run ends by that signal, and all that it started with it. */
static void check_ended_by(int sig)
{
        shell_end(&s);
        CHECK_INT(s.status, ==, 1000 + sig);
        none_left(mark());
}

/* What jobs wait for. */
static void let_go(void)
{
        REQUIRE(close(open("go", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
}

/* Jobs that leave something behind, each in another way; all print x. */
static const char *const leavers[] = {
        "sleep $MARK & echo x",
        "(setsid sleep $MARK &); echo x",
        "(setsid sh -c \"trap '' TERM HUP INT; exec sleep $MARK\" >/dev/null 2>&1 &); echo x",
        "exec 2>&-; sleep $MARK & echo x; exec >&-",
};

TEST(left_behind, "nothing that jobs leave behind keeps or outlives the run", "[live][run]")
{
        const char *path;

        shell_run(&s, "run true ::: a");
        if (!s.isolated)
                SKIP("no pid namespace is to be had");
        path = scratch_enter();
        (void)setenv("MARK", mark(), 1);
        for (size_t i = 0; i < sizeof leavers / sizeof *leavers; i++) {
                (void)setenv("SCRIPT", leavers[i], 1);
                start("--shell 'eval \"$SCRIPT\"; : {}' ::: a");
                shell_end(&s);
                CHECK_INT(s.status, ==, 0);
                CHECK_STR(s.out, "x\n");
                none_left(mark());
                /* And of a run that is killed. */
                start("--shell 'eval \"$SCRIPT\"; touch {}; sleep %s' ::: a", mark());
                /* Both: one that is not yet what it is to be would be seen after the end. */
                if (await_file("a") && await_marked(mark(), 2))
                        (void)kill(s.pid, SIGKILL);
                check_ended_by(SIGKILL);
                (void)unlink("a");
        }
        scratch_leave(path);
}

TEST(nested, "a run is a job of another, and ends with it", "[live][run]")
{
        const char *path = scratch_enter();

        start("-k --shell '\"$CREW_RUN\" run -k echo {} ::: 1 2' ::: a b");
        shell_end(&s);
        CHECK_STR(s.out, "a 1\na 2\nb 1\nb 2\n");
        CHECK_STR(s.err, "");
        CHECK_INT(s.status, ==, 0);
        start("--shell '\"$CREW_RUN\" run --shell \"touch {}; exec sleep %s\" ::: 1' ::: a",
                mark());
        signal_when("a", SIGTERM);
        check_ended_by(SIGTERM);
        scratch_leave(path);
}

TEST(cron, "without a terminal, with SIGCHLD ignored and nothing open", "[live][run]")
{
        const char *path = scratch_enter();

        shell_start(&s,
                "trap '' CHLD; exec \"$CREW_RUN\" run -k --joblog log --shell 'echo {}; exit "
                "{}' ::: 0 3 <&-");
        shell_end(&s);
        CHECK_STR(s.out, "0\n3\n");
        CHECK_INT(s.status, ==, 1);
        shell_run(&s, "run -k --joblog log echo ::: a b <&- >&- 2>&-; cut -f7 log");
        CHECK_STR(s.out, "Exitval\n0\n0\n");
        scratch_leave(path);
}

static const struct {
        int signal;
        const char *options;
} ends[] = {
        { SIGINT, "" },
        { SIGTERM, "" },
        { SIGTERM, "-k" },
        { SIGINT, "--lb" },
        { SIGINT, "-u" },
};

TEST(ended, "SIGINT and SIGTERM end the jobs, pass on what they printed, and then the run",
        "[live][run]")
{
        const char *path = scratch_enter();

        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
                INFO("signal %d, options '%s'", ends[i].signal, ends[i].options);
                start("%s -j2 --joblog log --shell 'echo {}; touch {}; exec sleep %s' ::: a b c",
                        ends[i].options, mark());
                if (!await_file("a") || !await_file("b"))
                        break;
                (void)kill(s.pid, ends[i].signal);
                check_ended_by(ends[i].signal);
                CHECK(strstr(s.out, "a\n") && strstr(s.out, "b\n"));
                CHECK(access("c", F_OK) != 0);
                /* Interrupted jobs are in no log. */
                CHECK(!strchr(text_of("log"), 'a' + 0) || !strstr(text_of("log"), "echo a"));
                (void)unlink("a");
                (void)unlink("b");
        }
        scratch_leave(path);
}

TEST(killed, "a second SIGINT kills what ignores the first", "[live][run]")
{
        const char *path = scratch_enter();

        start("--shell 'trap \"touch termed\" TERM; touch {}; while :; do sleep %s & wait; done' "
              "::: "
              "a",
                mark());
        if (await_file("a")) {
                (void)kill(s.pid, SIGINT);
                (void)await_file("termed");
                (void)kill(s.pid, SIGINT);
        }
        check_ended_by(SIGINT);
        scratch_leave(path);
}

TEST(stubborn, "SIGTERM is followed by SIGKILL for jobs that ignore it", "[live][run]")
{
        const char *path = scratch_enter();

        start("--kill-after 100ms --shell 'trap \"\" TERM; touch {}; exec sleep %s' ::: a", mark());
        signal_when("a", SIGTERM);
        check_ended_by(SIGTERM);
        scratch_leave(path);
}

TEST(drained, "SIGHUP lets the jobs finish and starts no more", "[live][run]")
{
        const char *path = scratch_enter();

        start("-j1 --joblog log --shell 'touch {}; until [ -e go ]; do sleep 0.01; done; echo {}' "
              "::: "
              "a b");
        signal_when("a", SIGHUP);
        /* It must have been seen before the job ends; what ends it is its own. */
        peer_pause(PEER_MS(20));
        await_taken();
        let_go();
        shell_end(&s);
        CHECK_INT(s.status, ==, 1000 + SIGHUP);
        CHECK_STR(s.out, "a\n");
        CHECK(strstr(text_of("log"), "\t0\t0\t"));
        scratch_leave(path);
}

TEST(ignored, "what was ignored from the beginning stays so, as under nohup", "[live][run]")
{
        const char *path = scratch_enter();

        shell_start(&s,
                "trap '' HUP INT; exec \"$CREW_RUN\" run -j1 --shell 'touch {}; until [ -e go "
                "]; do sleep 0.01; done; echo {}' ::: a b");
        if (await_file("a")) {
                (void)kill(s.pid, SIGHUP);
                (void)kill(s.pid, SIGINT);
        }
        let_go();
        shell_end(&s);
        CHECK_INT(s.status, ==, 0);
        CHECK_STR(s.out, "a\nb\n");
        scratch_leave(path);
}

TEST(slots, "SIGUSR1 adds a slot and SIGUSR2 takes one away", "[live][run]")
{
        const char *path = scratch_enter();

        /* Job 1 waits for job 2, which needs a second slot. */
        start("-j1 --shell 'touch {}; until [ -e 2 ]; do sleep 0.01; done' ::: 1 2");
        signal_when("1", SIGUSR1);
        shell_end(&s);
        CHECK_INT(s.status, ==, 0);
        CHECK(access("2", F_OK) == 0);
        shell_run(&s, "rm 1 2");
        /* With one of two slots taken away, and never the last, one job runs at a time. */
        start("-j2 --shell 'if [ {} -le 2 ]; then touch {}; until [ -e go ]; do sleep 0.01; done; "
              "else "
              "mkdir d && sleep 0.02 && rmdir d; fi' ::: 1 2 3 4 5");
        if (await_file("1") && await_file("2")) {
                (void)kill(s.pid, SIGUSR2);
                (void)kill(s.pid, SIGUSR2);
        }
        peer_pause(PEER_MS(20));
        await_taken();
        let_go();
        shell_end(&s);
        CHECK_INT(s.status, ==, 0);
        scratch_leave(path);
}

static bool is_stopped(pid_t pid)
{
        struct peer_look l;

        return peer_look(pid, &l) && l.state == 'T';
}

static bool await_state(pid_t pid, bool stopped)
{
        int64_t until = peer_now() + test_slow(PEER_MS(10000));

        while (is_stopped(pid) != stopped && peer_lives(pid) && peer_now() < until)
                peer_pause(PEER_MS(1));
        return is_stopped(pid) == stopped;
}

/* The job, once it is there, or 0: it was, and the run has ended. */
static pid_t await_job(void)
{
        pid_t job[4];
        int n;

        while ((n = marked(mark(), job, 4)) == 0 && peer_lives(s.pid))
                peer_pause(PEER_MS(1));
        return n > 0 ? job[n - 1] : 0;
}

/* A run whose job has that time is stopped for longer; false: the time was over before it was. */
static bool stop_and_go_on(int time_ms)
{
        pid_t job;
        bool stopped;

        start("--timeout %dms --shell 'touch {}; exec sleep %s' ::: a", time_ms, mark());
        job = await_file("a") ? await_job() : 0;
        (void)kill(s.pid, SIGTSTP);
        stopped = job && await_state(s.pid, true) && await_state(job, true);
        if (stopped) {
                /* Longer than its time. */
                peer_pause(PEER_MS(time_ms + 100));
                CHECK(is_stopped(job));
        }
        (void)kill(s.pid, SIGCONT);
        CHECK(await_state(s.pid, false));
        shell_end(&s);
        CHECK_INT(s.status, ==, 1);
        CHECK(strstr(s.err, "timed out"));
        none_left(mark());
        (void)unlink("a");
        return stopped;
}

TEST(stopped, "Ctrl-Z stops the run and its jobs, whose time does not run on; fg resumes them",
        "[live][run]")
{
        const char *path = scratch_enter();
        bool stopped = false;

        TEST_DEADLINE(100);
        /* More time where this process or the run gets no processor for the first. */
        for (int time_ms = 300; time_ms <= 300 * 5 * 5 && !stopped; time_ms *= 5)
                stopped = stop_and_go_on(time_ms);
        CHECK(stopped);
        scratch_leave(path);
}

TEST(reader, "a reader that goes away ends a run whose jobs say nothing, too", "[live][run]")
{
        const char *path = scratch_enter();

        start("-j1 --shell 'touch {}; exec sleep %s' ::: a | { until [ -e a ]; do sleep 0.01; "
              "done; }",
                mark());
        (void)await_file("a");
        shell_end(&s);
        CHECK_STR(s.err, "");
        none_left(mark());
        scratch_leave(path);
}

TEST(slow_reader, "a reader that does not read keeps no job from its deadline", "[live][run]")
{
        const char *path = scratch_enter();
        char line[512];
        int64_t until;
        pid_t job;

        TEST_DEADLINE(60);
        /* The first job fills the pipe; the second must be ended all the same. */
        (void)snprintf(line, sizeof line,
                "mkfifo p; exec 8<>p; run --timeout 300ms -j2 --shell '[ {} = 1 ] && head -c "
                "200000 "
                "/dev/zero || exec sleep %s' ::: 1 2 >p & until [ -e go ]; do sleep 0.01; done; "
                "cat <p 8<&- "
                ">/dev/null & exec 8<&-; wait",
                mark());
        shell_start(&s, line);
        /* One that is not seen for so long has been ended before it could be. */
        until = peer_now() + test_slow(PEER_MS(10000));
        while (marked(mark(), &job, 1) == 0 && peer_now() < until)
                peer_pause(PEER_MS(1));
        none_left(mark());
        let_go();
        shell_end(&s);
        CHECK(strstr(s.err, "timed out"));
        scratch_leave(path);
}
