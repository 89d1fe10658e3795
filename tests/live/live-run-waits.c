/* SPDX-License-Identifier: MIT */
#include "run-help.h"

/* What a run waits for, and that nothing else waits meanwhile: input, readers, other runs. */

static struct shell s;

/* Preloads what stands between the run and the kernel: tests/guests/between.c. */
static void start_between(const char *what, const char *before, const char *run, const char *after)
{
        const char *between = getenv("CREW_BETWEEN_SO");
        char line[1024];

        if (!between)
                SKIP("CREW_BETWEEN_SO does not name what comes between");
        (void)snprintf(line, sizeof line,
                "%s env CREW_BETWEEN=%s LD_PRELOAD='%s' \"$CREW_RUN\" run %s %s", before, what,
                between, run, after);
        shell_start(&s, line);
}

/* Waits until something was said on stderr. */
static bool await_words(const char *words)
{
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * SHELL_PATIENCE_S);
        char text[4096] = "";

        while (!strstr(text, words) && peer_now() < until) {
                ssize_t n = pread(s.files[1], text, sizeof text - 1, 0);

                REQUIRE(n >= 0);
                text[n] = 0;
                peer_pause(PEER_MS(1));
        }
        INFO("said: %s", text);
        return CHECK(strstr(text, words) != NULL);
}

static void touch(const char *name)
{
        REQUIRE(close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
}

TEST(stolen, "values that another reader was faster to take hold up nothing", "[live][run]")
{
        const char *path = scratch_enter();
        pid_t pid;

        start_between("steal",
                "mkfifo in; { echo a; until [ -e end ]; do sleep 0.01; done; touch over; } >in & "
                "exec",
                "--sandbox none echo <in", "");
        if (await_file("stolen")) {
                pid = atoi(text_of("stolen"));
                REQUIRE(pid > 0);
                REQUIRE(kill(pid, SIGTERM) == 0);
        }
        shell_end(&s);
        touch("end");
        /* Who looks for it later than the directory is there would look for ever. */
        (void)await_file("over");
        CHECK_INT(s.status, ==, 1000 + SIGTERM);
        CHECK_STR(s.out, "");
        /* And what comes after it is taken. */
        REQUIRE(unlink("stolen") == 0);
        start_between("steal", "{ echo a; until [ -e stolen ]; do sleep 0.01; done; echo b; } |",
                "echo", "");
        shell_end(&s);
        CHECK_STR(s.out, "b\n");
        CHECK_INT(s.status, ==, 0);
        scratch_leave(path);
}

TEST(shared, "each line of a pipe goes to one of its two readers", "[live][run]")
{
        const char *path = scratch_enter();

        TEST_DEADLINE(60);
        /* Writes and reads of eight bytes: no line is torn. */
        shell_run(&s,
                "i=1000000; while [ $i -lt 1002000 ]; do echo $i; i=$((i + 1)); done | "
                "{ dd bs=8 >theirs 2>/dev/null & run -j2 --sandbox none echo >ours; echo $?; wait; "
                "}; cat ours theirs | sort | uniq | wc -l; cat ours theirs | wc -l");
        CHECK_STR(s.out, "0\n2000\n2000\n");
        CHECK_STR(s.err, "");
        scratch_leave(path);
}

static const struct {
        const char *line, *out;
} inputs[] = {
        { "mkfifo f; printf 'a\\nb\\n' >f & run -k echo <f", "a\nb\n" },
        { "mkfifo f; { sleep 0.05; printf 'a\\nb\\n'; } >f & run -k echo :::: f", "a\nb\n" },
        { "mkfifo f; printf 'a\\nb\\n' >f & run -k -a f echo", "a\nb\n" },
        { "mkfifo f; { sleep 0.05; printf 'a\\nb\\n'; } >f & run --dry-run echo :::: f",
                "echo a\necho b\n" },
        { "mkfifo f; printf 'a\\nb\\n' >f & run -k echo ::: 1 :::: f", "1 a\n1 b\n" },
        { "printf 'a\\nb\\n' | { sleep 0.05; run -k echo :::: /dev/stdin; }", "a\nb\n" },
        { "printf 'a\\nb\\n' >f; run -k echo <f", "a\nb\n" },
        { "printf 'a\\nb\\n' >f; { read x; run -k echo; } <f", "b\n" },
        { "run echo </dev/null", "" },
        { "run -k echo :::: - - 2>/dev/null; echo $?", "255\n" },
};

TEST(ends, "input is read to its end, whatever it is", "[live][run]")
{
        const char *path = scratch_enter();

        for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
                shell_run(&s, inputs[i].line);
                CHECK_STR(s.out, inputs[i].out);
                CHECK_STR(s.err, "");
                (void)unlink("f");
        }
        scratch_leave(path);
}

TEST(interrupted, "Ctrl-C ends a run that waits for its values, wherever they come from",
        "[live][run]")
{
        static const char *const lines[] = { "echo :::: f", "echo ::: a :::: f",
                "--dry-run echo :::: f", "--sandbox none echo <f" };
        const char *path = scratch_enter();

        REQUIRE(mkfifo("f", 0600) == 0);
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                char line[128];
                int fd;

                (void)snprintf(line, sizeof line, "exec \"$CREW_RUN\" run %s", lines[i]);
                shell_start(&s, line);
                while ((fd = open("f", O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0)
                        peer_pause(PEER_MS(1));
                REQUIRE(kill(s.pid, SIGINT) == 0);
                shell_end(&s);
                (void)close(fd);
                CHECK(s.status == 1000 + SIGINT || s.status == 128 + SIGINT);
                CHECK_STR(s.out, "");
        }
        scratch_leave(path);
}

TEST(unwaitable, "a run that cannot wait says so and ends, with its jobs", "[live][run]")
{
        const char *path = scratch_enter();

        /* Its output fills the pipe: nobody reads before it has ended. */
        start_between("out", "mkfifo p; exec 8<>p;",
                "--shell 'head -c 200000 /dev/zero; : {}' ::: 1 >p;", "echo $?");
        shell_end(&s);
        CHECK_STR(s.out, "255\n");
        CHECK(strstr(s.err, "cannot wait"));
        /* Line by line the job itself is held up, and then read from again. */
        start_between("again",
                "rm p; mkfifo p; exec 8<>p; { until [ -e paused ]; do sleep 0.01; done; cat "
                ">/dev/null; } <p 8<&- &",
                "--sandbox none --lb --shell 'yes {}' ::: 1 >p 8<&-;", "echo $?");
        shell_end(&s);
        CHECK_STR(s.out, "255\n");
        CHECK(strstr(s.err, "cannot wait"));
        scratch_leave(path);
}

/* A run that has the log until a file "go" is there; its number is in "holder". */
#define HOLD                                                                                       \
        "\"$CREW_RUN\" run --joblog log --shell 'touch held; until [ -e go ]; do sleep 0.01; "     \
        "done; "                                                                                   \
        "echo {}' ::: 1 & echo $! >holder; until [ -e held ]; do sleep 0.01; done; "

static void check_holder(void)
{
        char words[64];

        (void)snprintf(words, sizeof words, "another run (process %d)", atoi(text_of("holder")));
        /* Where the kernel's list of locks is hidden, no process is named. */
        if (access("/proc/locks", R_OK) == 0)
                CHECK(strstr(s.err, words) != NULL);
}

TEST(waits, "who resumes waits for the run that has the log, and says so", "[live][run]")
{
        const char *path = scratch_enter();

        shell_start(&s, HOLD "run --resume --joblog log --shell 'touch held; until [ -e go ]; do "
                             "sleep 0.01; done; echo {}' ::: 1 2; echo $?; wait");
        if (await_words("to let go of the log 'log'"))
                touch("go");
        shell_end(&s);
        check_holder();
        CHECK_STR(s.out, "1\n2\n0\n");
        scratch_leave(path);
}

TEST(gives_up, "Ctrl-C ends that wait, and others do not wait but say who has it", "[live][run]")
{
        const char *path = scratch_enter();
        struct shell first;

        shell_start(&s, HOLD "wait");
        REQUIRE(await_file("held") && await_file("holder"));
        first = s;
        shell_start(&s, "exec \"$CREW_RUN\" run --resume --joblog log echo ::: 1");
        if (await_words("to let go of the log 'log'"))
                REQUIRE(kill(s.pid, SIGINT) == 0);
        shell_end(&s);
        CHECK_INT(s.status, ==, 1000 + SIGINT);
        shell_run(&s, "run --joblog log echo ::: 1");
        CHECK_INT(s.status, ==, 255);
        CHECK_STR(s.out, "");
        check_holder();
        touch("go");
        s = first;
        shell_end(&s);
        CHECK_STR(s.out, "1\n");
        scratch_leave(path);
}
