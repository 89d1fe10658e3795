/* SPDX-License-Identifier: MIT */
#include "run-help.h"

static struct shell s;

/* Needs a kernel with seccomp and Landlock, which every case here is about. */
static void need_sandbox(void)
{
        shell_run(&s, "run --sandbox-required true ::: a");
        if (s.status != 0)
                SKIP("this kernel cannot do all of the sandbox: %s", s.err);
}

#define STANDARD "in the standard sandbox: writable . and /tmp, no network"

/* A name for what lies outside of the scratch directory: other runs of this program look there,
 * too, and a job's own pid is that of a namespace. */
#define UNIQUE "export N=$(basename \"$PWD\"); "

static const struct {
        const char *line, *out, *err; /* err: what is somewhere in it; NULL = nothing is said */
        int status;
} table[] = {
        /* Files. */
        { UNIQUE "run --shell 'echo x >here && echo x >/tmp/$N.x && rm /tmp/$N.x; : {}' ::: a", "",
                NULL, 0 },
        { "run --shell 'cd / && echo x >/var/tmp/crew-run-no; {}' ::: false", "", STANDARD, 1 },
        { UNIQUE "D=/var/tmp/$N; mkdir $D; run --rw $D touch $D/{} ::: a && rm -r $D", "", NULL,
                0 },
        { "mkdir -p sub other t; TMPDIR=$PWD/t run --wd sub --shell 'touch here && ! touch "
          "../other/{}' ::: a "
          "2>/dev/null",
                "", NULL, 0 },
        { "run --rw /nowhere true ::: a", "", "--rw: '/nowhere': No such file", 255 },
        { UNIQUE "F=/var/tmp/$N; echo k >$F-key; run cat $F-{} ::: key; run --sandbox strict cat "
                 "$F-{} ::: key 2>/dev/null; run --sandbox strict --ro /var/tmp cat $F-{} ::: key; "
                 "rm $F-key",
                "k\nk\n", NULL, 0 },

        /* Network, privileges. */
        { "run perl -e 'socket(S, 2, 1, 0) or die $!' ::: a 2>&1 | grep -o 'no network'",
                "no "
                "network\n",
                NULL, 0 },
        { "run --net perl -e 'socket(S, 2, 1, 0) or die $!' ::: a", "", NULL, 0 },
        { "run grep NoNewPrivs: /proc/self/{} ::: status", "NoNewPrivs:\t1\n", NULL, 0 },
        { "[ \"$(run --sandbox none grep NoNewPrivs: ::: /proc/self/status)\" = \"$(grep "
          "NoNewPrivs: "
          "/proc/self/status)\" ]",
                "", NULL, 0 },
        { UNIQUE "run --sandbox none --shell 'echo x >/var/tmp/$N; rm /var/tmp/$N; : {}' ::: a", "",
                NULL, 0 },

        /* Limits. */
        { "run --limit files=20,fsize=1M,mem=1G,cpu=5s --shell 'ulimit -n -f -v; ulimit -t; : {}' "
          "::: a "
          "| tail -n 1",
                "5\n", NULL, 0 },
        { "run --limit files=20 --shell 'ulimit -n; : {}' ::: a", "20\n", NULL, 0 },
        { "run --limit fsize=1k --shell 'head -c 5000 /dev/zero >big; ls -l big | cut -d\" \" -f5; "
          ": {}' "
          "::: a 2>/dev/null",
                "1024\n", NULL, 0 },

        /* Mistakes. */
        { "run --sandbox strct true ::: a", "", "did you mean 'strict'?", 255 },
        { "run --allow unx true ::: a", "", "--allow", 255 },
        { "run --limit mem true ::: a", "", "--limit: 'mem' makes no sense", 255 },
        { "run --limit mem=0 true ::: a", "", "--limit", 255 },
        { "run --limit ram=1G true ::: a", "", "--limit", 255 },
        { "run --on-violation shout true ::: a", "", "report and kill, not 'shout'", 255 },
};

TEST(lines, "what the sandbox allows is what its table says", "[live][run]")
{
        const char *path;

        TEST_DEADLINE(60);
        need_sandbox();
        path = scratch_enter();
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                shell_run(&s, table[i].line);
                CHECK_STR(s.out, table[i].out);
                CHECK_INT(s.status, ==, table[i].status);
                if (!CHECK(table[i].err ? strstr(s.err, table[i].err) != NULL : !*s.err))
                        INFO("said: %s", s.err);
        }
        scratch_leave(path);
}

TEST(explained, "what a job needs is told in options, and its status is the run's", "[live][run]")
{
        const char *path;

        need_sandbox();
        /* In containers nobody may look at the paths that another process names. */
        if (!s.isolated)
                SKIP("calls of other processes cannot be looked at");
        path = scratch_enter();
        shell_run(&s, UNIQUE "run --explain --shell 'echo x >/var/tmp/$N; rm /var/tmp/$N; exit 3; "
                             "{}' ::: a b");
        CHECK_INT(s.status, ==, 3);
        CHECK(strstr(s.err, "--rw /var/tmp"));
        shell_run(&s, "run --explain true :::");
        CHECK_INT(s.status, ==, 0);
        CHECK_STR(s.err, "");
        scratch_leave(path);
}

/* System calls by number, for the job below; what each is refused with. */
static const char caller[] =
        "import ctypes, os, sys, fcntl\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "numbers = {'io_uring_setup': 425, 'bpf': 321, 'ptrace': 101, 'mount': 165, 'unshare': "
        "272}\n"
        "if os.uname().machine != 'x86_64':\n"
        "    numbers = {'io_uring_setup': 425, 'bpf': 280, 'ptrace': 117, 'mount': 40, 'unshare': "
        "97}\n"
        "what = sys.argv[1]\n"
        "if what == 'TIOCSTI':\n"
        "    try:\n"
        "        fcntl.ioctl(0, 0x5412, b'x')\n"
        "        r = 0\n"
        "    except OSError as e:\n"
        "        r = e.errno\n"
        "else:\n"
        "    r = ctypes.get_errno() if libc.syscall(numbers[what], 0, 0, 0, 0, 0) < 0 else 0\n"
        "print(what, r)\n"
        "sys.exit(r != 0)\n";

static const struct {
        const char *what, *out, *said;
} calls[] = {
        { "io_uring_setup", "io_uring_setup 1\n",
                "job 1: the system call io_uring_setup is refused" },
        { "bpf", "bpf 1\n", "the system call bpf is refused" },
        { "ptrace", "ptrace 1\n", "the system call ptrace is refused" },
        { "mount", "mount 1\n", "the system call mount is refused" },
        { "unshare", "unshare 1\n", "the system call unshare is refused" },
        { "TIOCSTI", "TIOCSTI 1\n", "the system call ioctl is refused" },
};

TEST(refused, "a refused call is named with its job, and with kill it ends it", "[live][run]")
{
        const char *path;
        FILE *f;
        char line[256];

        TEST_DEADLINE(60);
        need_sandbox();
        if (system("python3 -c '' 2>/dev/null") != 0)
                SKIP("there is no python3 to make the calls with");
        path = scratch_enter();
        f = fopen("caller.py", "we");
        REQUIRE(f && fputs(caller, f) >= 0 && fclose(f) == 0);
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
                /* Refused by somebody around us, who is asked first. */
                (void)snprintf(line, sizeof line, "run --sandbox none python3 caller.py {} ::: %s",
                        calls[i].what);
                shell_run(&s, line);
                if (strcmp(s.out, calls[i].out) == 0)
                        continue;
                (void)snprintf(line, sizeof line,
                        "run --joblog log --joblog-format json python3 caller.py {} ::: %s",
                        calls[i].what);
                shell_run(&s, line);
                CHECK_STR(s.out, calls[i].out);
                CHECK_INT(s.status, ==, 1);
                /* Somebody else listens to this process, or nobody can. */
                if (strstr(s.err, "cannot be told here"))
                        continue;
                if (!CHECK(strstr(s.err, calls[i].said)))
                        INFO("said: %s", s.err);
                CHECK(strstr(text_of("log"), "\"violation\":\"the system call"));
                (void)snprintf(line, sizeof line,
                        "run --on-violation kill python3 caller.py {} ::: %s", calls[i].what);
                shell_run(&s, line);
                CHECK_STR(s.out, "");
                CHECK(strstr(s.err, "SIGSYS") || strstr(s.err, "SIGKILL"));
        }
        scratch_leave(path);
}

TEST(big, "a job that prints very much is written to a file, not into memory", "[live][run]")
{
        long long bytes = test_scale(1 << 30, 20 << 20);
        const char *path = scratch_enter();
        char line[256];

        TEST_DEADLINE(300);
        /* The address space of the run is limited to less than it prints. */
        (void)snprintf(line, sizeof line,
                "run --sandbox none --shell 'head -c %lld /dev/zero; grep VmHWM /proc/$PPID/status "
                ">&2; : {}' "
                "::: a | wc -c",
                bytes);
        shell_run(&s, line);
        CHECK_INT(atoll(s.out), ==, bytes);
        if (!TEST_SANITIZED && strstr(s.err, "VmHWM:"))
                CHECK_INT(atoll(strstr(s.err, "VmHWM:") + 6), <, 12 << 10);
        scratch_leave(path);
}
