/* SPDX-License-Identifier: MIT */
#include "run-help.h"

enum { JOBS = 30 };

static struct shell s;

/* What must stand in a log of GNU's columns for a job, after its times. */
static const struct {
        const char *line, *end; /* of the log's last line, behind JobRuntime */
} columns[] = {
        { "run --joblog log echo ::: 'a b'", "\t0\t4\t0\t0\techo 'a b'\n" },
        { "run --joblog log --shell 'exit {}' ::: 3", "\t0\t0\t3\t0\texit 3\n" },
        { "run --joblog log --shell 'kill -9 $$; {}' ::: :", "\t0\t0\t0\t9\tkill -9 $$; :\n" },
        { "run --joblog log --timeout 20ms sleep ::: 60", "\t0\t0\t-1\t15\tsleep 60\n" },
        { "run --joblog log nosuchprogram ::: 1", "\t0\t0\t127\t0\tnosuchprogram 1\n" },
        { "run --joblog log echo ::: \"$(printf 'a\\tb\\nc\\033')\"",
                "\t0\t7\t0\t0\techo $'a\\tb\\nc\\033'\n" },
        { "run --joblog log --shell \"echo 'x\ny'; : {}\" ::: 1",
                "\t0\t4\t0\t0\techo 'x\\ny'; : 1\n" },
        { "run --joblog log echo ::: 1; run --joblog +log echo ::: 2", "\t0\t2\t0\t0\techo 2\n" },
};

TEST(gnu, "the log has GNU's columns, and a line for each job", "[live][run]")
{
        static const char titles[] =
                "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";
        const char *path = scratch_enter();

        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
                const char *text, *end;
                long long seq;
                double began, took;

                shell_run(&s, columns[i].line);
                text = text_of("log");
                CHECK(strncmp(text, titles, strlen(titles)) == 0);
                end = text + strlen(text) - strlen(columns[i].end);
                REQUIRE(end > text);
                CHECK_STR(end, columns[i].end);
                while (end > text && end[-1] != '\n')
                        end--;
                REQUIRE(sscanf(end, "%lld\t:\t%lf\t%lf", &seq, &began, &took) == 3);
                CHECK_INT(seq, ==, 1);
                CHECK(began > 1e9 && took >= 0 && took < 60);
        }
        scratch_leave(path);
}

TEST(json, "the log as JSON tells what a job used and how often it was tried", "[live][run]")
{
        const char *path = scratch_enter(), *text;

        shell_run(&s,
                "run --joblog log --joblog-format json --retries 2 --retry-delay 0 --shell 'echo "
                "\"x\"; exit {}' ::: 9");
        text = text_of("log");
        CHECK(strstr(text, "{\"seq\":1,\"exit\":9,\"signal\":0,\"hash\":\"") == text);
        CHECK(strstr(text, "\"attempts\":2"));
        CHECK(strstr(text, "\"stdout\":2"));
        CHECK(strstr(text, "\"user\":0."));
        CHECK(strstr(text, "\"maxrss\":"));
        CHECK(strstr(text, "\"violation\":null,\"command\":\"echo \\\"x\\\"; exit 9\"}\n"));
        scratch_leave(path);
}

/* Runs a second time over the log of the first; what runs then. */
static const struct {
        const char *first, *second, *out, *err;
        int status;
} resumes[] = {
        { "run --joblog log echo ::: a b", "run -k --resume --joblog log echo ::: a b c", "c\n",
                NULL, 0 },
        { "run --joblog log --shell 'exit {}' ::: 0 1",
                "run -k --resume --joblog log --shell 'exit {}' ::: 0 1", "", NULL, 0 },
        { "run --joblog log --shell '[ {} = a ]' ::: a b",
                "run -k --resume-failed --joblog log --shell '[ {} = a ]' ::: a b", "", "1 of 2",
                1 },
        { "run --joblog log echo ::: a b", "run -k --resume --joblog log echo ::: a x", "x\n",
                "another command for job 2", 0 },
        { "run --joblog log --joblog-format json echo ::: a b",
                "run -k --resume --joblog log --joblog-format json echo ::: a b c", "c\n", NULL,
                0 },
        { "run --joblog log --joblog-format json echo ::: '\",\"exit\":1,\"hash\":\"'",
                "run -k --resume-failed --joblog log --joblog-format json echo ::: "
                "'\",\"exit\":1,\"hash\":\"'",
                "", NULL, 0 },
        { ":", "run -k --resume --joblog log echo ::: a", "a\n", NULL, 0 },
        /* Cut short by a kill: the line counts for nothing and is overwritten. */
        { "run -j1 --joblog log echo ::: a b; truncate -s -3 log",
                "run -k --resume --joblog log echo ::: a "
                "b; grep -c . log",
                "b\n3\n", NULL, 0 },
        { "head -c 3000 /dev/zero >log", "run --resume --joblog log echo ::: a", "", "is not a log",
                255 },
        { ":", "run --resume echo ::: a", "", "--joblog", 255 },
        { ":", "run --joblog /nowhere/log echo ::: a", "", "'/nowhere/log': No such file", 255 },
};

TEST(resumed, "a run resumes where its log ends, as the table says", "[live][run]")
{
        const char *path = scratch_enter();

        for (size_t i = 0; i < sizeof resumes / sizeof *resumes; i++) {
                shell_run(&s, resumes[i].first);
                shell_run(&s, resumes[i].second);
                CHECK_STR(s.out, resumes[i].out);
                CHECK_INT(s.status, ==, resumes[i].status);
                CHECK(resumes[i].err ? strstr(s.err, resumes[i].err) != NULL : !*s.err);
                (void)unlink("log");
        }
        scratch_leave(path);
}

TEST(locked, "two runs cannot write one log", "[live][run]")
{
        const char *path = scratch_enter();

        shell_run(&s, "run --joblog log --shell '\"$CREW_RUN\" run --joblog log echo ::: inner; : "
                      "{}' ::: "
                      "1");
        CHECK_STR(s.out, "");
        CHECK(strstr(s.err, "'log': another run"));
        scratch_leave(path);
}

TEST(full, "a log that cannot be written stops the run", "[live][run]")
{
        const char *path = scratch_enter();

        shell_run(&s, "run -j1 --joblog /dev/full echo ::: a b c");
        CHECK_INT(s.status, ==, 255);
        scratch_leave(path);
}

TEST(ordered, "with -k a line waits for the output of the jobs before it", "[live][run]")
{
        const char *path = scratch_enter(), *text;

        shell_start(&s,
                "exec \"$CREW_RUN\" run -k -j2 --joblog log --shell 'touch {}; if [ {} = 1 ]; then "
                "until [ -e go ]; do sleep 0.01; done; fi; echo {}' ::: 1 2 3");
        /* The third runs where the second did, which has ended then. */
        if (await_file("1") && await_file("3"))
                CHECK(!strstr(text_of("log"), "\n2\t"));
        REQUIRE(close(open("go", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
        shell_end(&s);
        CHECK_STR(s.out, "1\n2\n3\n");
        text = text_of("log");
        REQUIRE(strstr(text, "\n1\t") && strstr(text, "\n2\t") && strstr(text, "\n3\t"));
        CHECK(strstr(text, "\n1\t") < strstr(text, "\n2\t"));
        CHECK(strstr(text, "\n2\t") < strstr(text, "\n3\t"));
        scratch_leave(path);
}

/* How often each job ran, by what they wrote down themselves. */
static void count_runs(int runs[JOBS + 1])
{
        const char *text = text_of("ran");

        memset(runs, 0, (JOBS + 1) * sizeof *runs);
        for (; *text; text = strchr(text, '\n') + 1) {
                int number = atoi(text);

                REQUIRE(number >= 1 && number <= JOBS);
                runs[number]++;
        }
}

/* Which jobs the log has, each at most once; how many. */
static int read_log(bool logged[JOBS + 1], bool json)
{
        const char *text = text_of("log");
        size_t before = strlen(json ? "{\"seq\":" : "");
        int n = 0;

        memset(logged, 0, (JOBS + 1) * sizeof *logged);
        if (!json && strchr(text, '\n'))
                text = strchr(text, '\n') + 1; /* the titles */
        for (; strchr(text, '\n'); text = strchr(text, '\n') + 1) {
                int number = atoi(text + before);

                REQUIRE(number >= 1 && number <= JOBS);
                CHECK(!logged[number]);
                logged[number] = true;
                n++;
        }
        return n;
}

/* How the log is written, which decides about when its lines are. */
static const struct {
        const char *options;
        bool json;
} logs[] = {
        { "", false },
        { "-k", false },
        { "--joblog-format json", true },
        { "-k --joblog-format json", true },
};

TEST(killed, "killed at any moment and resumed, every job runs, and none again that was logged",
        "[live][run]")
{
        long long rounds = test_scale(100, 4), half_done = 0;
        uint64_t seed = peer_seed();
        int before[JOBS + 1], after[JOBS + 1];
        bool logged[JOBS + 1];
        char first[256], second[256];
        const char *path = scratch_enter();

        TEST_DEADLINE(60 + 5 * (double)rounds);
        for (long long round = 0; round < rounds; round++) {
                static const char rest[] =
                        "--shell 'echo {} >>ran; sleep 0.00{}; echo {}' ::: $(seq 30)";
                const char *options = logs[round % 4].options;
                bool json = logs[round % 4].json;
                int n;

                (void)snprintf(first, sizeof first, "exec \"$CREW_RUN\" run -j3 --joblog log %s %s",
                        options, rest);
                (void)snprintf(second, sizeof second, "run -j3 --joblog log --resume %s %s",
                        options, rest);
                shell_start(&s, first);
                peer_pause((int64_t)(peer_random(&seed) % PEER_MS(100)));
                (void)kill(s.pid, SIGKILL);
                shell_end(&s);
                /* Jobs end with their run, but not before it. */
                peer_pause(PEER_MS(20));
                count_runs(before);
                n = read_log(logged, json);
                half_done += n > 0 && n < JOBS;
                shell_run(&s, second);
                CHECK_INT(s.status, ==, 0);
                count_runs(after);
                for (int i = 1; i <= JOBS; i++) {
                        INFO("round %lld: job %d ran %d times, then %d", round, i, before[i],
                                after[i]);
                        CHECK(after[i] >= 1);
                        if (logged[i])
                                CHECK(before[i] >= 1 && after[i] == before[i]);
                }
                CHECK_INT(read_log(logged, json), ==, JOBS);
                shell_run(&s, "rm -f log ran");
        }
        printf("# %lld of %lld runs were killed with some of their jobs in the log\n", half_done,
                rounds);
        scratch_leave(path);
}
