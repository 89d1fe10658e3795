/* SPDX-License-Identifier: MIT */
#include "run-help.h"

static struct shell s;

static const struct {
        const char *line, *out, *err; /* err: what is somewhere in it; NULL = nothing is said */
        int status;
} table[] = {
        /* Values, placeholders, forms. */
        { "run -k echo ::: a b c", "a\nb\nc\n", NULL, 0 },
        { "printf 'a\\nb' | run -k echo", "a\nb\n", NULL, 0 },
        { "printf '' | run echo", "", NULL, 0 },
        { "run echo :::", "", NULL, 0 },
        { "run -k -j1 echo {#} {%} {} ::: a b", "1 1 a\n2 1 b\n", NULL, 0 },
        { "run -k printf '[%s]' ::: '$HOME' '`id`' \"it's\" ''", "[$HOME][`id`][it's][]", NULL, 0 },
        { "run -k --shell 'printf \"[%s]\" {} \"{}\"' ::: 'a  b' '$HOME'",
                "[a  b][a  b][$HOME][$HOME]", NULL, 0 },
        { "run -k --shell ::: 'echo a' 'echo b; exit 0'", "a\nb\n", NULL, 0 },
        { "CREW_SHELL=/bin/echo run --shell x ::: a", "-c x a\n", NULL, 0 },
        { "run -k ::: true", "", "there is no command", 255 },
        { "run {} ::: true", "", NULL, 0 },
        { "run --dry-run -k rm -rf {} ::: 'a b' c", "rm -rf 'a b'\nrm -rf c\n", NULL, 0 },
        { "run -t echo ::: 'a b'", "a b\n", "echo 'a b'\n", 0 },
        { "run -t echo ::: \"$(printf '\\033[31m\\n')\"", "\033[31m\n", "echo $'\\033[31m'\n", 0 },

        /* What jobs find. */
        { "run -k --shell 'echo $CREW_SEQ $CREW_SLOT $PARALLEL_SEQ $PARALLEL_JOBSLOT' -j1 ::: ", "",
                NULL, 0 },
        { "run -k -j1 --shell 'echo $CREW_SEQ $CREW_SLOT $PARALLEL_SEQ $PARALLEL_JOBSLOT; : {}' "
          "::: a b",
                "1 1 1 1\n2 1 2 1\n", NULL, 0 },
        { "CREW_SEQ=7 run --shell 'env | grep -c CREW_SEQ; : {}' ::: a", "1\n", NULL, 0 },
        { "run --env A=1 --env A2=x=y --shell 'echo $A $A2; : {}' ::: a", "1 x=y\n", NULL, 0 },
        { "A=1 B=2 run --clean-env --env B --shell 'echo $A-$B-${PATH:+path}; : {}' ::: a",
                "-2-path\n", NULL, 0 },
        { "mkdir -p d && run --wd d --shell 'basename $PWD; : {}' ::: a", "d\n", NULL, 0 },
        { "run --wd nowhere echo ::: a", "", "cannot work in 'nowhere'", 255 },
        { "echo secret | run --shell 'cat; : {}' ::: a", "", NULL, 0 },
        { "run readlink ::: /proc/self/fd/0", "/dev/null\n", NULL, 0 },
        { "run --shell 'ls /proc/self/fd | wc -l; : {}' ::: a 7</dev/null", "4\n", NULL, 0 },
        { "run grep Sig{} /proc/self/status ::: Blk", "SigBlk:\t0000000000000000\n", NULL, 0 },
        { "run grep Sig{} /proc/self/status ::: Ign", "SigIgn:\t0000000000000000\n", NULL, 0 },

        /* How runs end. */
        { "run --shell 'exit {}' ::: 0 0", "", NULL, 0 },
        { "run --shell 'exit {}' ::: 0 3 4", "", "2 of 3 jobs failed (1 × exit 3, 1 × exit 4)", 2 },
        { "seq 100 | run -j8 --shell 'exit 1;'", "", "100 of 100 jobs failed (100 × exit 1)", 100 },
        { "seq 102 | run -j8 --shell 'exit 1;'", "", "102 of 102", 101 },
        { "run --shell 'kill -9 $$; : {}' ::: a", "", "(1 × SIGKILL)", 1 },
        { "run nosuchprogram ::: a b c", "", "job 1: cannot run 'nosuchprogram': No such file or directory\n", 127 },
        { "run 'echo a' ::: b", "", "cannot run 'echo a': No such file or directory; a line for the shell needs --shell\n", 127 },
        { "run -j1 /etc/passwd ::: a b c", "", "1 of 1 job failed (1 × exit 126)", 126 },
        { "run -j1 {} ::: nosuchprogram true", "", "1 of 2 jobs failed", 1 },
        { "run --nonsense", "", "there is no option '--nonsense'", 255 },
        { "run echo :::: nowhere", "", "cannot read 'nowhere'", 255 },
        { "run --help | head -1", "Usage: crew run [OPTION]... COMMAND... [::: VALUE...]...\n",
                NULL, 0 },

        /* Halting, in one slot so that the order is known. */
        { "run -j1 --halt now,fail=1 --shell 'echo {}; exit {}' ::: 0 3 4", "0\n3\n", "1 of 2", 3 },
        { "run -j1 --halt soon,fail=2 --shell 'echo {}; exit {}' ::: 0 3 4 5", "0\n3\n4\n",
                "2 of 3", 2 },
        { "run -j1 --halt now,success=1 --shell 'echo {}; exit {}' ::: 3 0 4", "3\n0\n", "1 of 2",
                0 },
        { "run -j1 --halt soon,done=2 echo ::: a b c", "a\nb\n", NULL, 0 },
        { "run -j1 --halt soon,fail=50% --shell 'exit {}' ::: 1 2 3 4", "", "2 of 2", 50 },
        { "run -j2 --halt now,done=1 --shell '[ {} = 1 ] && echo {} || sleep 60' ::: 1 2", "1\n",
                NULL, 0 },

        /* Trying again. */
        { "run --retries 3 --retry-delay 1ms --shell 'echo x >>n; [ $(wc -l <n) = 3 ] && echo {}' "
          "::: a; wc -l <n; rm n",
                "a\n3\n", NULL, 0 },
        { "run --retries 2 --retry-delay 0 --shell 'echo out; exit 5; : {}' ::: a", "out\n",
                "1 of 1 job failed", 1 },

        /* Deadlines. */
        { "run --timeout 50ms sleep ::: 60", "", "(1 × timed out)", 1 },
        { "run --timeout 50ms --kill-after 50ms --shell 'trap \"\" TERM; sleep 60 & wait; wait; : "
          "{}' ::: a",
                "", "(1 × timed out)", 1 },

        /* Output. */
        { "run -k --tag --shell 'echo x; printf y; echo z >&2; : {}' ::: a b",
                "a\tx\na\tyb\tx\nb\ty", "a\tz\nb\tz\n", 0 },
        { "run -k --tagstring '{#}:{}' echo ::: a b", "1:a\ta\n2:b\tb\n", NULL, 0 },
        { "run --tag printf 'x\\n%.0s' ::: \"$(printf 'a\\033[31mb\\tc')\"", "a\\x1b[31mb\\tc\tx\n",
                NULL, 0 },
        { "run --lb --shell 'echo a; printf b; : {}' ::: 1", "a\nb", NULL, 0 },
        { "run -u --shell 'echo a; echo b >&2; : {}' ::: 1", "a\n", "b\n", 0 },
        { "run -u -k echo ::: 1", "", "--ungroup", 255 },
        { "run -k -j4 --shell 'sleep 0.0{}; echo {}' ::: 9 5 1 3", "9\n5\n1\n3\n", NULL, 0 },
        { "run -k head -c {} /dev/zero ::: 70000 3 | wc -c", "70003\n", NULL, 0 },
        { "run -k --tag --shell 'yes | head -n {}' ::: 100000 | sort | uniq -c | tr -s ' '",
                " 100000 100000\ty\n", NULL, 0 },
        { "yes | run -j2 echo | head -n 2", "y\ny\n", NULL, 0 },
        { "run --bar --eta echo ::: a", "a\n", NULL, 0 },
        { "run echo ::: a >/dev/full", "", "cannot write the output", 255 },
        { "run echo ::: a >&-", "", NULL, 0 },
        { "run --dry-run echo ::: a >/dev/full", "", "cannot write the output: No space", 255 },
        { "run --trace /dev/full echo ::: a", "a\n", "--trace: not all of it", 255 },
        { "mkfifo p; run --trace p echo ::: a; rm p", "", "--trace: 'p': ", 0 },

        /* Mistakes, and names that are orders to a terminal. */
        { "run echo ::::", "", "'::::' names no file", 255 },
        { "run echo :::+ a", "", "':::+': there is no source before it", 255 },
        { "run --ro '' echo ::: a", "", "--ro: '': No such file", 255 },
        { "run -a /tmp echo", "", "cannot read '/tmp': Is a directory", 255 },
        { "run echo </tmp", "", "Is a directory", 255 },
        { "run --results '' echo ::: a", "", "--results: cannot make ''", 255 },
        { "run --wd \"$(printf '\\033[31m')\" echo ::: a", "", "cannot work in '\\x1b[31m'", 255 },
        { "run -a \"$(printf 'x\\033]0;y\\007')\" echo", "", "'x\\x1b]0;y\\x07'", 255 },
        { "run --explain \"$(printf 'no\\033')\" ::: a", "", "cannot run 'no?': No such file", 127 },

        /* Configuration. */
        { "CREW_RUN_OPTIONS='-k --tag' run echo ::: a b", "a\ta\nb\tb\n", NULL, 0 },
        { "CREW_RUN_OPTIONS='--tga' run echo ::: a", "",
                "CREW_RUN_OPTIONS: there is no option '--tga'; did you mean '--tag'?", 255 },
        { "CREW_RUN_OPTIONS='echo' run echo ::: a", "", "unexpected argument 'echo'", 255 },
        { "mkdir -p c/crew && echo '--tag # comment' >c/crew/run && "
          "XDG_CONFIG_HOME=$PWD/c run echo ::: a",
                "a\ta\n", NULL, 0 },
};

TEST(lines, "what a command line does is what its table says", "[live][run]")
{
        enum { MOST_SHOWN = 8 };
        static char failed[MOST_SHOWN][600];
        const char *path = scratch_enter();
        int n_failed = 0;

        TEST_DEADLINE(100);
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                bool held;

                shell_run(&s, table[i].line);
                held = CHECK_STR(s.out, table[i].out);
                held &= CHECK_INT(s.status, ==, table[i].status);
                held &= CHECK(table[i].err ? strstr(s.err, table[i].err) != NULL : !*s.err);
                if (!held && n_failed < MOST_SHOWN)
                        (void)snprintf(failed[n_failed++], sizeof *failed, "%s\nsaid: %.200s",
                                table[i].line, s.err);
        }
        for (int i = 0; i < n_failed; i++)
                INFO("%s", failed[i]);
        scratch_leave(path);
}

TEST(slots, "as many jobs run at once as there are slots", "[live][run]")
{
        const char *path = scratch_enter();

        /* Each waits until all three are there: with fewer slots it would be for ever. */
        shell_run(&s, "run -j3 --shell 'touch {}; until [ -e 1 -a -e 2 -a -e 3 ]; do sleep 0.01; "
                      "done; echo $CREW_SLOT' ::: 1 2 3 | sort");
        CHECK_STR(s.out, "1\n2\n3\n");
        CHECK_INT(s.status, ==, 0);
        /* And no more: of two jobs in one slot the first leaves before the second comes. */
        shell_run(&s, "run -j1 --shell 'mkdir d && sleep 0.02 && rmdir d; : {}' ::: 1 2 3");
        CHECK_INT(s.status, ==, 0);
        scratch_leave(path);
}

TEST(unlimited, "with -j 0 as many run as there are values", "[live][run]")
{
        const char *path = scratch_enter();

        shell_run(&s,
                "run -j0 --shell 'touch {}; until [ $(ls | wc -l) = 40 ]; do sleep 0.05; done' "
                "::: $(seq 40)");
        CHECK_INT(s.status, ==, 0);
        CHECK_STR(s.err, "");
        scratch_leave(path);
}

TEST(descriptors, "fewer descriptors than slots need mean fewer jobs at a time, not failure",
        "[live][run]")
{
        const char *path = scratch_enter();

        shell_run(&s, "ulimit -n 80; seq 40 | run -j30 -k --sandbox none echo | tail -n 1");
        CHECK_STR(s.out, "40\n");
        CHECK(strstr(s.err, "only 5 jobs at a time"));
        CHECK_INT(s.status, ==, 0);
        /* What starts the jobs of a slot in their sandbox takes some, too. */
        shell_run(&s, "ulimit -n 80; seq 40 | run -j30 -k echo | tail -n 1");
        CHECK_STR(s.out, "40\n");
        CHECK(strstr(s.err, "only 2 jobs at a time"));
        CHECK_INT(s.status, ==, 0);
        scratch_leave(path);
}

TEST(results, "results are in files named after their values, whatever these are", "[live][run]")
{
        const char *path = scratch_enter();

        shell_run(&s, "run -k --results out --shell 'echo o{}; echo e >&2; exit 1' ::: a/b ../.. "
                      "::: +");
        CHECK_STR(s.out, "oa/b +\no../.. +\n");
        CHECK_STR(text_of("out/1/a+zb/2/++/stdout"), "oa/b +\n");
        CHECK_STR(text_of("out/1/a+zb/2/++/stderr"), "e\n");
        CHECK_STR(text_of("out/1/a+zb/2/++/seq"), "1");
        CHECK_STR(text_of("out/1/+..+z../2/++/seq"), "2");
        shell_run(&s, "run --results /dev/null/x echo ::: a");
        CHECK(strstr(s.err, "--results: cannot make '/dev/null/x'"));
        CHECK_INT(s.status, ==, 255);
        shell_run(&s,
                "x=$(printf %0400d 1); run --results long echo ::: $x >/dev/null && ls long/1 "
                "| wc -c");
        CHECK_STR(s.out, "218\n");
        scratch_leave(path);
}

TEST(trace, "a trace has a bar for each attempt and a lane for each slot", "[live][run]")
{
        const char *path = scratch_enter(), *text;

        shell_run(
                &s, "run -j1 --trace t.json --retries 2 --retry-delay 0 --shell 'exit {}' ::: 0 7");
        text = text_of("t.json");
        CHECK(text[0] == '[' && strstr(text, "\n]\n"));
        CHECK(strstr(text, "\"args\":{\"name\":\"slot 1\"}"));
        CHECK(strstr(text, "\"seq\":1,\"attempt\":1,\"exit\":0"));
        CHECK(strstr(text, "\"seq\":2,\"attempt\":1,\"exit\":7"));
        CHECK(strstr(text, "\"seq\":2,\"attempt\":2,\"exit\":7"));
        scratch_leave(path);
}

TEST(stream, "a job starts when its value comes, not when the input ends", "[live][run]")
{
        const char *path = scratch_enter();

        shell_run(&s,
                "{ echo a; until [ -e a ]; do sleep 0.01; done; echo b; } | run -k -j1 --shell "
                "'touch {}; echo {}'");
        CHECK_STR(s.out, "a\nb\n");
        CHECK_INT(s.status, ==, 0);
        scratch_leave(path);
}
