/* SPDX-License-Identifier: MIT */

/* Programs in a sandbox that a thread starts which is under their filter already. */

#include "exec-help.h"
#include "peer.h"

#include <errno.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* What a starter needs, and /bin/sh; no network. */
#define ORDINARY "stdio rpath wpath cpath thread proc exec"

static bool notifies(void)
{
        crew_feature f = { .size = sizeof f };

        REQUIRE_OK(crew_feature_get((unsigned)crew_feature_find("seccomp_notify"), &f));
        if (f.state != CREW_FEATURE_YES)
                return false;
        REQUIRE_OK(crew_feature_get((unsigned)crew_feature_find("close_range"), &f));
        return f.state == CREW_FEATURE_YES;
}

/* A container's filter that refuses the call comes first, and ours hears nothing of it. No such
 * flag: EINVAL. */
static bool hears_unshare(void)
{
        return notifies() && unshare(1) < 0 && errno == EINVAL;
}

static bool has_landlock(void)
{
        crew_feature f = { .size = sizeof f };

        REQUIRE_OK(crew_feature_get((unsigned)crew_feature_find("landlock"), &f));
        return f.state == CREW_FEATURE_YES;
}

/* Refused calls fail. Without `writable` paths are not limited. */
static crew_starter *new_starter(const char *writable)
{
        crew_auto(sandbox) policy = NULL;
        crew_starter *s = NULL;

        REQUIRE_OK(crew_sandbox_new(&policy, ORDINARY, CREW_BEST_EFFORT));
        if (writable)
                REQUIRE_OK(crew_sandbox_path(policy, CREW_PATH_WRITE | CREW_PATH_CREATE, writable));
        REQUIRE_OK(crew_starter_new(&s, policy, CREW_VIOLATION_DENY, CREW_PROCESS_REPORT));
        return s;
}

static crew_process *start(crew_starter *s, const char *const argv[])
{
        crew_process *p = NULL;

        REQUIRE_OK(crew_process_new_exec(&p, argv, CREW_OPT(process, .starter = s)));
        REQUIRE_OK(crew_process_start(p));
        return p;
}

static int run_with(crew_starter *s, const char *const argv[], crew_violation *v)
{
        crew_auto(process) p = start(s, argv);
        int code = join_code(p);

        *v = (crew_violation){ .size = sizeof *v };
        if (crew_process_violation(p, v) < 0)
                v->count = 0;
        return code;
}

TEST_HOSTS(
        confined, "one program after the other is in the sandbox, the host is not", "[live][exec]")
{
        crew_auto(starter) s = new_starter(NULL);
        char text[256];
        crew_violation v;
        int fd;

        for (int i = 0; i < 3; i++) {
                CHECK_INT(run_with(s, SHELL("exit 7"), &v), ==, 7);
                CHECK_INT(v.count, ==, 0);
                CHECK_STR(output_of(SHELL("grep -h -e NoNewPrivs: /proc/self/status"),
                                  (crew_process_options){ .starter = s }, text, sizeof text),
                        "NoNewPrivs:\t1\n");
                CHECK_INT(run_with(s, SHELL("unshare -U true 2>/dev/null && exit 9; exit 8"), &v),
                        ==, 8);
                if (!hears_unshare())
                        continue;
                CHECK_INT(v.count, ==, 1);
                CHECK_STR(v.name, "unshare");
        }
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        (void)close(fd);
}

TEST(paths, "each program is in a Landlock domain of its own", "[live][exec]")
{
        char place[] = "/tmp/crew-starter-XXXXXX", script[512];
        crew_auto(starter) s = NULL;
        crew_violation v;
        FILE *own;

        if (!has_landlock())
                SKIP("no Landlock");
        REQUIRE(mkdtemp(place));
        s = new_starter(place);
        (void)snprintf(script, sizeof script,
                "cd %s && echo x >a && ! { echo x >/var/tmp/${PWD##*/}; } 2>/dev/null", place);
        for (int i = 0; i < 2; i++)
                CHECK_INT(run_with(s, SHELL(script), &v), ==, 0);
        /* The host may write where it could before. */
        (void)snprintf(script, sizeof script, "/var/tmp/%s", place + 5);
        own = fopen(script, "we");
        CHECK(own != NULL);
        if (own)
                (void)fclose(own);
        (void)unlink(script);
        (void)snprintf(script, sizeof script, "%s/a", place);
        CHECK(unlink(script) == 0);
        CHECK(rmdir(place) == 0);
}

TEST(apart, "no thread of the host can be signalled by what it starts", "[live][exec]")
{
        crew_auto(starter) s = NULL;
        crew_auto(sandbox) policy = NULL;
        char text[512];
        crew_violation v;

        REQUIRE_OK(crew_sandbox_new(&policy, ORDINARY, CREW_BEST_EFFORT));
        REQUIRE_OK(crew_sandbox_describe(policy, text, sizeof text) > 0 ? 0 : -1);
        if (!has_landlock() || strstr(text, "signals"))
                SKIP("Landlock does not restrict signals here");
        s = new_starter("/tmp");
        CHECK_INT(
                run_with(s,
                        SHELL("n=0; for t in /proc/$PPID/task/*; do n=$((n + 1)); kill -0 ${t##*/} "
                              "2>/dev/null && exit 9; done; [ $n -ge 2 ]"),
                        &v),
                ==, 0);
}

TEST(left_behind, "what a program left behind is not taken for the next one", "[live][exec]")
{
        char place[] = "/tmp/crew-starter-XXXXXX";
        crew_auto(starter) s = NULL;
        crew_violation v;

        if (!hears_unshare())
                SKIP("no seccomp notification here");
        REQUIRE(mkdtemp(place));
        REQUIRE(chdir(place) == 0);
        s = new_starter(NULL);
        REQUIRE(mkfifo("end", 0600) == 0);
        /* Its refused call comes while the next program runs, which waits for its end. */
        CHECK_INT(run_with(s,
                          SHELL("setsid sh -c 'while ! [ -e go ]; do sleep 0.01; done; exec 3>end; "
                                "exec unshare -U true' >/dev/null 2>&1 & exit 0"),
                          &v),
                ==, 0);
        /* Start times count in hundredths of a second. */
        peer_pause(PEER_MS(50));
        CHECK_INT(run_with(s, SHELL("echo >go; cat end; rm go end"), &v), ==, 0);
        CHECK_INT(v.count, ==, 0);
        CHECK_INT(run_with(s, SHELL("unshare -U true 2>/dev/null; exit 0"), &v), ==, 0);
        CHECK_INT(v.count, ==, 1);
        REQUIRE(chdir("/") == 0);
        CHECK(rmdir(place) == 0);
}

TEST(busy, "one process at a time, and what cannot be is refused in words", "[live][exec]")
{
        crew_auto(starter) s = new_starter(NULL);
        crew_auto(process) p = NULL;
        crew_auto(process) other = NULL;
        crew_auto(sandbox) policy = NULL;
        crew_starter *bad = NULL;

        /* From a pipe: what stands in for the terminal here is at its end at once. */
        REQUIRE_OK(crew_process_new_exec(&p, SHELL("read line; exit 0"),
                CREW_OPT(process, .starter = s, .in = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        REQUIRE_OK(crew_process_new_exec(&other, ARGV("true"), CREW_OPT(process, .starter = s)));
        CHECK_INT(crew_process_start(other), ==, -EBUSY);
        CHECK(strstr(crew_error_detail(), "starter") != NULL);
        REQUIRE_OK(crew_process_kill(p));
        REQUIRE_OK(crew_process_join(p, CREW_S(10)));
        p = crew_process_free(p);
        CHECK_INT(crew_process_start(other), ==, 0);
        CHECK_INT(join_code(other), ==, 0);

        REQUIRE_OK(crew_sandbox_new(&policy, "stdio rpath exec", CREW_BEST_EFFORT));
        CHECK_INT(crew_starter_new(&bad, policy, 0, 0), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "lacks the word thread") != NULL);
        CHECK_INT(crew_starter_new(&bad, NULL, 0, 0), ==, -EINVAL);
        CHECK_INT(crew_starter_new(&bad, policy, 7, 0), ==, -EINVAL);
        CHECK_INT(crew_process_new_exec(
                          &p, ARGV("true"), CREW_OPT(process, .starter = s, .sandbox = ORDINARY)),
                ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "starter") != NULL);
        CHECK(crew_starter_free(NULL) == NULL);
}

TEST(least, "the words that a starter needs are enough for what it starts", "[live][exec]")
{
        static const struct {
                const char *words, *path;
        } policies[] = {
                { "stdio rpath thread proc exec", NULL },
                { "stdio rpath thread proc exec", "/" },
                { "stdio rpath thread proc exec", "/usr" },
                { "stdio rpath wpath thread proc exec", "/" },
        };

        for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
                crew_auto(sandbox) policy = NULL;
                crew_auto(starter) s = NULL;
                crew_violation v;

                if (policies[i].path && !has_landlock())
                        continue;
                REQUIRE_OK(crew_sandbox_new(&policy, policies[i].words, CREW_BEST_EFFORT));
                if (policies[i].path)
                        REQUIRE_OK(crew_sandbox_path(policy, CREW_PATH_READ, policies[i].path));
                REQUIRE_OK(crew_starter_new(
                        &s, policy, CREW_VIOLATION_KILL, i & 1 ? CREW_PROCESS_REPORT : 0));
                CHECK_INT(run_with(s, SHELL("exit 6"), &v), ==, 6);
        }
}

static int target(void *arg)
{
        (void)arg;
        return 0;
}

TEST(programs, "a starter starts programs, those that are not there too", "[live][exec]")
{
        crew_auto(starter) s = new_starter(NULL);
        crew_auto(process) p = NULL;
        crew_exit e = { .size = sizeof e };
        crew_violation v;

        CHECK_INT(crew_process_new(&p, target, NULL, CREW_OPT(process, .starter = s)), ==, -EINVAL);
        REQUIRE_OK(crew_process_new_exec(&p, ARGV("/etc/passwd"),
                CREW_OPT(process, .starter = s, .flags = CREW_PROCESS_WAIT_EXEC)));
        CHECK_INT(crew_process_start(p), ==, -EACCES);
        CHECK_INT(crew_process_start(p), ==, -EACCES);
        p = crew_process_free(p);
        REQUIRE_OK(crew_process_new_exec(&p, ARGV("/etc/passwd"), CREW_OPT(process, .starter = s)));
        REQUIRE_OK(crew_process_start(p));
        CHECK_INT(join_code(p), ==, 126);
        CHECK_INT(crew_process_exit(p, &e), ==, 0);
        CHECK_INT(e.exec_errno, ==, EACCES);
        p = crew_process_free(p);
        CHECK_INT(run_with(s, SHELL("exit 4"), &v), ==, 4);
}

TEST(outlived, "a starter that is freed lets its process go on", "[live][exec]")
{
        crew_starter *s = new_starter(NULL);
        crew_auto(process) p = NULL;
        int gate[2];

        REQUIRE(pipe2(gate, O_CLOEXEC) == 0);
        REQUIRE_OK(crew_process_new_exec(&p, SHELL("read line; exit 5"),
                CREW_OPT(process, .starter = s, .in = { CREW_STDIO_FD, gate[0] },
                        .flags = CREW_PROCESS_DAEMON)));
        REQUIRE_OK(crew_process_start(p));
        s = crew_starter_free(s);
        CHECK_INT(crew_process_join(p, CREW_MS(100)), ==, -ETIMEDOUT);
        (void)close(gate[0]);
        REQUIRE(write(gate[1], "\n", 1) == 1);
        CHECK_INT(join_code(p), ==, 5);
        (void)close(gate[1]);
}

TEST(forked, "a forked child of the host has no starter", "[live][exec]")
{
        crew_auto(starter) s = new_starter(NULL);
        pid_t pid = fork();
        int status;

        REQUIRE(pid >= 0);
        if (pid == 0) {
                crew_process *p = NULL;
                int r = crew_process_new_exec(&p, ARGV("true"), CREW_OPT(process, .starter = s));

                if (r == 0)
                        r = crew_process_start(p);
                p = crew_process_free(p);
                s = crew_starter_free(s);
                _exit(r == -ECHILD ? 0 : 1);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, ==, 0);
}
