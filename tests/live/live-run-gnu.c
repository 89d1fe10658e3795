/* SPDX-License-Identifier: MIT */
#include "run-help.h"

/*
 * The examples of GNU parallel's tutorial that need no option that crew run lacks, with what they
 * print. Where parallel is installed it is asked, too. Examples of which the tutorial says that the
 * order differs are made comparable by -k, or by -j1 where it decides how many run; --ungroup mixes
 * pieces of lines, and cannot be. Times are shorter than the tutorial's.
 */

static struct shell s;

static const char files[] =
        "printf 'A\\nB\\nC\\n' >abc-file; printf 'D\\nE\\nF\\n' >def-file; printf 'A_B_C_' "
        ">abc_-file; "
        "printf 'A\\0B\\0C\\0' >abc0-file; printf 'f1\\tf2\\nA\\tB\\nC\\tD\\n' >tsv-file.tsv; "
        "seq 8 >num8";

#define ALL_COMBINATIONS "A D\nA E\nA F\nB D\nB E\nB F\nC D\nC E\nC F\n"
#define SLEEPERS                                                                                   \
        "'printf \"%s-start\\n%s\" {} {}; sleep 0.{}; printf \"%s\\n\" -middle; echo {}-end'"

static const struct {
        const char *before;    /* in front of the command: a pipe into it */
        const char *arguments; /* and perhaps more commands; `again` is the same one */
        const char *output;
} examples[] = {
        { "", "echo ::: A B C", "A\nB\nC\n" },
        { "", "-a abc-file echo", "A\nB\nC\n" },
        { "cat abc-file |", "echo", "A\nB\nC\n" },
        { "", "echo ::: A B C ::: D E F", ALL_COMBINATIONS },
        { "", "-a abc-file -a def-file echo", ALL_COMBINATIONS },
        { "cat abc-file |", "-a - -a def-file echo", ALL_COMBINATIONS },
        { "cat abc-file |", "echo :::: - def-file", ALL_COMBINATIONS },
        { "", "echo ::: A B C :::: def-file", ALL_COMBINATIONS },
        { "", "--link echo ::: A B C ::: D E F", "A D\nB E\nC F\n" },
        { "", "--link echo ::: A B C D E ::: F G", "A F\nB G\nC F\nD G\nE F\n" },
        { "", "echo :::: abc-file :::+ G H I :::: def-file",
                "A G D\nA G E\nA G F\nB H D\nB H E\nB H F\nC I D\nC I E\nC I F\n" },
        { "", "echo :::: abc-file ::: G H I ::::+ def-file",
                "A G D\nA H E\nA I F\nB G D\nB H E\nB I F\nC G D\nC H E\nC I F\n" },
        { "", "echo ::: A B C D E :::+ F G", "A F\nB G\n" },
        { "", "-d _ echo :::: abc_-file", "A\nB\nC\n" },
        { "", "-d '\\0' echo :::: abc0-file", "A\nB\nC\n" },
        { "", "-0 echo :::: abc0-file", "A\nB\nC\n" },
        { "", "-E stop echo ::: A B stop C D", "A\nB\n" },
        { "(echo 1; echo; echo 2) |", "--no-run-if-empty echo", "1\n2\n" },
        { "", "::: 'true' 'echo foo' 'basename $PWD'", "foo\nwork\n" },
        { "", "echo ::: A/B.C", "A/B.C\n" },
        { "", "echo {} ::: A/B.C", "A/B.C\n" },
        { "", "echo {.} ::: A/B.C", "A/B\n" },
        { "", "echo {/} ::: A/B.C", "B.C\n" },
        { "", "echo {//} ::: A/B.C", "A\n" },
        { "", "echo {/.} ::: A/B.C", "B\n" },
        { "", "echo {#} ::: A B C", "1\n2\n3\n" },
        { "", "-j1 echo {%} ::: A B C", "1\n1\n1\n" },
        { "", "-I ,, echo ,, ::: A/B.C", "A/B.C\n" },
        { "", "echo {1} and {2} ::: A B ::: C D", "A and C\nA and D\nB and C\nB and D\n" },
        { "", "echo /={1/} //={1//} /.={1/.} .={1.} ::: A/B.C D/E.F",
                "/=B.C //=A /.=B .=A/B\n/=E.F //=D /.=E .=D/E\n" },
        { "", "echo 1={1} 2={2} 3={3} -1={-1} -2={-2} -3={-3} ::: A B ::: C D ::: E F",
                "1=A 2=C 3=E -1=E -2=C -3=A\n1=A 2=C 3=F -1=F -2=C -3=A\n"
                "1=A 2=D 3=E -1=E -2=D -3=A\n1=A 2=D 3=F -1=F -2=D -3=A\n"
                "1=B 2=C 3=E -1=E -2=C -3=B\n1=B 2=C 3=F -1=F -2=C -3=B\n"
                "1=B 2=D 3=E -1=E -2=D -3=B\n1=B 2=D 3=F -1=F -2=D -3=B\n" },
        { "", "--colsep '\\t' echo 1={1} 2={2} :::: tsv-file.tsv",
                "1=f1 2=f2\n1=A 2=B\n1=C 2=D\n" },
        { "", "-N3 echo ::: A B C D E F G H", "A B C\nD E F\nG H\n" },
        { "", "-N3 echo 1={1} 2={2} 3={3} ::: A B C D E F G H",
                "1=A 2=B 3=C\n1=D 2=E 3=F\n1=G 2=H 3=\n" },
        { "", "-N0 echo foo ::: 1 2 3", "foo\nfoo\nfoo\n" },
        { "", "perl -e \\''print \"@ARGV\\n\"'\\' ::: This works, too", "This\nworks,\ntoo\n" },
        { "", "perl\\ -e\\ \\'print\\ \\\"@ARGV\\\\n\\\"\\' ::: This also works",
                "This\nalso\nworks\n" },
        { "", "perl -e \'print \"@ARGV\\n\"\' ::: This wont work", "" },
        { "", "echo \\={} ::: zsh bash ls", "=zsh\n=bash\n=ls\n" },
        { "", "--tag echo foo-{} ::: A B C", "A\tfoo-A\nB\tfoo-B\nC\tfoo-C\n" },
        { "", "--tagstring {}-bar echo foo-{} ::: A B C",
                "A-bar\tfoo-A\nB-bar\tfoo-B\nC-bar\tfoo-C\n" },
        { "", "--dryrun echo {} ::: A B C", "echo A\necho B\necho C\n" },
        { "", "-j2 " SLEEPERS " ::: 4 2 1",
                "4-start\n4-middle\n4-end\n2-start\n2-middle\n2-end\n1-start\n1-middle\n1-end\n" },
        { "", "-j2 --linebuffer " SLEEPERS " ::: 4 2 1 | sort",
                "1-end\n1-middle\n1-start\n2-end\n2-middle\n2-start\n4-end\n4-middle\n4-start\n" },
        { "", "-N0 -j64 echo {#} :::: num8 | wc -l", "8\n" },
        { "", "-N0 --jobs 200% echo {#} :::: num8 | wc -l", "8\n" },
        { "", "-N0 --jobs 0 echo {#} :::: num8 | wc -l", "8\n" },
        { "", "--eta sleep ::: .1 .3 .2 .2 .1 .3 .3 .2 .1", "" },
        { "", "--bar sleep ::: .1 .3 .2 .2 .1 .3 .3 .2 .1", "" },
        { "", "--results outdir echo ::: A B C", "A\nB\nC\n" },
        { "", "--delay 0.01 echo Starting {}\\; ::: 1 2 3",
                "Starting 1\nStarting 2\nStarting 3\n" },
        { "", "-j4 --timeout 4.3 sleep {}\\; echo {} ::: 0.1 0.2 60 80", "0.1\n0.2\n" },
        { "", "-j1 --joblog log exit ::: 1 2 3 0; cut -f 1,2,5- log",
                "Seq\tHost\tSend\tReceive\tExitval\tSignal\tCommand\n"
                "1\t:\t0\t0\t1\t0\texit 1\n2\t:\t0\t0\t2\t0\texit 2\n"
                "3\t:\t0\t0\t3\t0\texit 3\n4\t:\t0\t0\t0\t0\texit 0\n" },
        { "",
                "-j1 --joblog log exit ::: 1 2 3 0; again -j1 --resume --joblog log exit ::: 1 2 3 "
                "0 0 0; "
                "cut -f 1,7 log | tail -n +2",
                "1\t1\n2\t2\n3\t3\n4\t0\n5\t0\n6\t0\n" },
        { "",
                "-j1 --joblog log exit ::: 1 2 3 0; again -j1 --resume-failed --joblog log exit "
                "::: 1 2 3 "
                "0 0 0; cut -f 1,7 log | tail -n +2",
                "1\t1\n2\t2\n3\t3\n4\t0\n1\t1\n2\t2\n3\t3\n5\t0\n6\t0\n" },
        { "", "-j1 --halt soon,fail=20% echo {}\\; exit {} ::: 0 1 2 3 4 5 6 7 8 9", "0\n1\n2\n" },
        { "", "-j1 --halt now,fail=1 echo {}\\; exit {} ::: 0 0 1 2 3", "0\n0\n1\n" },
        { "", "-j1 --halt soon,fail=1 echo {}\\; exit {} ::: 0 0 1 2 3", "0\n0\n1\n" },
        { "", "-j1 --halt now,success=1 echo {}\\; exit {} ::: 1 2 3 0 4 5 6", "1\n2\n3\n0\n" },
        { "",
                "-j1 --retries 3 'echo tried {} >>runs; echo completed {}; exit {}' ::: 1 2 0; "
                "sort runs | "
                "uniq -c | tr -s ' '",
                "completed 1\ncompleted 2\ncompleted 0\n 1 tried 0\n 3 tried 1\n 3 tried 2\n" },
        { "", "-j2 -N2 echo {1}-{2} :::: num8", "1-2\n3-4\n5-6\n7-8\n" },
        { "", "--nice 5 echo this is niceness ::: 5", "this is niceness 5\n" },
        { "", "--memfree 1k echo ::: A", "A\n" },
        { "", "--load 100000% echo load is less than {} job per cpu ::: 1",
                "load is less than 1 job per cpu\n" },
        { "", "'echo {} $PARALLEL_SEQ; true' ::: a b", "a 1\nb 2\n" },
};

static void check(size_t i, const char *how)
{
        char line[2048];

        REQUIRE((size_t)snprintf(line, sizeof line,
                        "again() { %s \"$@\"; }; mkdir work && cd work && { %s; } && %s again %s "
                        "%s "
                        "2>/dev/null; cd .. && rm -r work",
                        how, files, examples[i].before,
                        strstr(examples[i].arguments, "--linebuffer") ? "" : "-k",
                        examples[i].arguments) < sizeof line);
        shell_run(&s, line);
        CHECK_STR(s.out, examples[i].output);
}

TEST(tutorial, "the examples of GNU parallel's tutorial print what it says", "[live][run]")
{
        const char *path = scratch_enter();

        TEST_DEADLINE(100);
        for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
                check(i, "run --shell");
        scratch_leave(path);
}

TEST(parallel, "and so does parallel itself", "[live][run]")
{
        const char *path = scratch_enter();

        if (system("parallel --version 2>/dev/null | grep -q GNU") != 0) {
                scratch_leave(path);
                SKIP("GNU parallel is not installed");
        }
        TEST_DEADLINE(400);
        /* It keeps there how long a command line may be, which takes it a second to find out. */
        shell_run(&s, "mkdir home");
        for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
                /* Some versions (20221122) print nothing then, against their own tutorial. */
                if (strstr(examples[i].arguments, "--results"))
                        continue;
                check(i, "PARALLEL_HOME=$PWD/../home SHELL=/bin/sh parallel --will-cite");
        }
        scratch_leave(path);
}
