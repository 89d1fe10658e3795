/* SPDX-License-Identifier: MIT */

/* Paths: what is allowed where, and what happens where Landlock is missing. */

#include "kernel/features.h"
#include "kernel/syscall.h"
#include "sandbox-case.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char top[] = "/tmp/crew-landlock-XXXXXX";
static char path[128];

static const char *below(const char *name)
{
        snprintf(path, sizeof path, "%s/%s", top, name);
        return path;
}

static void put_file(const char *name)
{
        int fd = open(below(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        REQUIRE(fd >= 0);
        REQUIRE(write(fd, "text", 4) == 4);
        close(fd);
}

/* top/{r,w,c}/file */
static void make_tree(void)
{
        REQUIRE(mkdtemp(top));
        REQUIRE(mkdir(below("r"), 0755) == 0);
        REQUIRE(mkdir(below("w"), 0755) == 0);
        REQUIRE(mkdir(below("c"), 0755) == 0);
        put_file("r/file");
        put_file("w/file");
        put_file("c/file");
}

static void remove_tree(void)
{
        static const char *const files[] = { "r/file", "w/file", "c/file", "c/new", "c/moved",
                "c/pipe" };
        static const char *const directories[] = { "c/dir", "r", "w", "c", "." };

        for (size_t i = 0; i < sizeof files / sizeof *files; i++)
                (void)unlink(below(files[i]));
        for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
                (void)rmdir(strcmp(directories[i], ".") == 0 ? top : below(directories[i]));
}

/* The errno of an open, 0 if it works. */
static int try_open(const char *name, int flags)
{
        int fd = open(below(name), flags | O_CLOEXEC, 0644);

        if (fd < 0)
                return errno;
        close(fd);
        return 0;
}

static bool missing(void)
{
        return !crew__has(CREW__LANDLOCK);
}

static void needs_landlock(void)
{
        peer_needs_seccomp();
        if (missing())
                SKIP("no Landlock here");
}

static void read_only(void *arg)
{
        (void)arg;
        CHECK_INT(try_open("r/file", O_RDONLY), ==, 0);
        CHECK_INT(try_open("r", O_RDONLY | O_DIRECTORY), ==, 0);
        CHECK_INT(try_open("w/file", O_RDONLY), ==, EACCES);
        CHECK_INT(try_open(".", O_RDONLY | O_DIRECTORY), ==, EACCES);
        CHECK_INT(open("/etc/passwd", O_RDONLY), ==, -1);
        CHECK_INT(errno, ==, EACCES);
}

static void three_places(void *arg)
{
        (void)arg;
        CHECK_INT(try_open("r/file", O_RDONLY), ==, 0);
        CHECK_INT(try_open("r/file", O_WRONLY), ==, EACCES);
        CHECK_INT(try_open("r/file", O_RDWR), ==, EACCES);
        CHECK_INT(try_open("r/new", O_WRONLY | O_CREAT), ==, EACCES);
        CHECK_INT(try_open("w/file", O_WRONLY), ==, 0);
        CHECK_INT(try_open("w/file", O_WRONLY | O_TRUNC), ==, 0);
        CHECK_INT(try_open("w/file", O_RDONLY), ==, EACCES);
        CHECK_INT(try_open("w/new", O_WRONLY | O_CREAT), ==, EACCES);
        CHECK_INT(unlink(below("w/file")), ==, -1);
        CHECK_INT(errno, ==, EACCES);
        CHECK_INT(try_open("c/new", O_WRONLY | O_CREAT | O_EXCL), ==, 0);
        CHECK_INT(mkdir(below("c/dir"), 0755), ==, 0);
        CHECK_INT(mkfifo(below("c/pipe"), 0600), ==, 0);
        CHECK_INT(rmdir(below("c/dir")), ==, 0);
        CHECK_INT(unlink(below("c/file")), ==, 0);
        CHECK_INT(mkdir(below("dir"), 0755), ==, -1);
        CHECK_INT(errno, ==, EACCES);
}

static void everywhere(void *arg)
{
        (void)arg;
        CHECK_INT(try_open("r/file", O_RDONLY), ==, 0);
        CHECK_INT(try_open("w/file", O_RDONLY), ==, 0);
        CHECK_INT(open("/etc/passwd", O_RDONLY) >= 0, ==, 1);
        CHECK_INT(try_open("w/file", O_WRONLY), ==, 0);
        CHECK_INT(try_open("r/file", O_WRONLY), ==, EACCES);
}

/* In `pattern` @ stands for the tree. */
static void with_tree(const char *pattern, void (*body)(void *), int mode)
{
        char words[512] = "";
        struct confined c = { .words = words, .body = body, .mode = mode };

        needs_landlock();
        make_tree();
        for (size_t n = 0; *pattern; pattern++, n = strlen(words))
                snprintf(words + n, sizeof words - n, "%.*s", *pattern == '@' ? 99 : 1,
                        *pattern == '@' ? top : pattern);
        confine(&c);
        INFO("%s", c.violation.text);
        CHECK_INT(c.code, ==, 0);
        remove_tree();
}

TEST(reading, "a path limits what may be read", "[unit][sandbox]")
{
        with_tree("stdio rpath:@/r", read_only, CREW_BEST_EFFORT);
}

TEST(three_rights, "each right holds for its own paths", "[unit][sandbox]")
{
        with_tree("rpath:@/r wpath:@/w rwcpath:@/c", three_places, CREW_REQUIRE);
}

TEST(bare_word, "a word without a path holds everywhere", "[unit][sandbox]")
{
        with_tree("rpath wpath:@/w", everywhere, CREW_BEST_EFFORT);
}

static void one_file(void *arg)
{
        (void)arg;
        CHECK_INT(try_open("r/file", O_RDONLY), ==, 0);
        CHECK_INT(try_open("r", O_RDONLY | O_DIRECTORY), ==, EACCES);
        CHECK_INT(try_open("w/file", O_RDONLY), ==, EACCES);
}

TEST(file_rule, "a path may be a file", "[unit][sandbox]")
{
        with_tree("rwcpath:@/r/file", one_file, CREW_BEST_EFFORT);
}

static void no_truncation(void *arg)
{
        (void)arg;
        /* Refused by the path where Landlock sees it, by the filter where it does not. */
        CHECK_INT(truncate(below("r/file"), 0), ==, -1);
        CHECK(errno == EACCES || errno == EPERM);
        CHECK_INT(try_open("r/file", O_RDONLY | O_TRUNC), ==, EPERM);
}

TEST(truncation, "what may only be read is not truncated, whatever Landlock's age",
        "[unit][sandbox]")
{
        char words[256];
        struct confined c = { .words = words, .body = no_truncation, .strictness = CREW__SOFT };
        struct stat st;

        needs_landlock();
        make_tree();
        snprintf(words, sizeof words, "rpath:%s rwpath:%s/w", top, top);
        confine(&c);
        CHECK_INT(c.code, ==, 0);
        CHECK(stat(below("r/file"), &st) == 0);
        CHECK_INT(st.st_size, ==, 4);
        remove_tree();
}

static void run_here_and_there(void *arg)
{
        (void)arg;
        CHECK_INT(access("/bin/true", X_OK), ==, 0);
        CHECK_INT(execl("/bin/true", "true", (char *)NULL), ==, -1);
        CHECK_INT(errno, ==, EACCES);
}

TEST(executing, "only what lies below an exec path is run", "[unit][sandbox]")
{
        with_tree("rpath exec:@/r", run_here_and_there, CREW_BEST_EFFORT);
}

static void kill_parent(void *arg)
{
        CHECK_INT(kill(getppid(), 0), ==, -1);
        CHECK_INT(errno, ==, EPERM);
        (void)arg;
}

TEST(signals, "proc does not reach processes outside, where Landlock can tell",
        "[unit][sandbox]")
{
        struct confined c = { .words = "proc", .body = kill_parent };

        needs_landlock();
        if (crew__sys_landlock_abi() < 6)
                SKIP("Landlock is older than ABI 6");
        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

static void defence_in_depth(void *arg)
{
        (void)arg;
        CHECK_INT(crew__syscall(SYS_openat, AT_FDCWD, (long)"/", O_RDONLY, 0, 0, 0), ==, -EACCES);
}

TEST(second_lock, "Landlock refuses paths also where the filter would not", "[unit][sandbox]")
{
        struct crew__plan_options o = { .control = -1 };
        crew_sandbox *s = NULL;
        crew__plan plan;
        pid_t pid;

        needs_landlock();
        REQUIRE_OK(crew_sandbox_new(&s, "stdio", CREW_BEST_EFFORT));
        REQUIRE_OK(crew__plan_new(&plan, s, &o));
        CHECK(plan.ruleset.fd >= 0);
        CHECK_STR(plan.ruleset.test_path, "/");
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                REQUIRE(crew__sys_prctl(38 /* PR_SET_NO_NEW_PRIVS */, 1, 0) == 0);
                REQUIRE_OK(crew__ruleset_restrict(&plan.ruleset));
                REQUIRE_OK(crew__ruleset_test(&plan.ruleset));
                defence_in_depth(NULL);
                _exit(0);
        }
        CHECK_INT(peer_join(pid), ==, 0);
        /* Not restricted: the test tells. */
        CHECK_INT(crew__ruleset_test(&plan.ruleset), ==, -ENOTRECOVERABLE);
        crew__plan_free(&plan);
        (void)crew_sandbox_free(s);
}

static int prepare(const char *words, int mode, crew__plan *plan)
{
        struct crew__plan_options o = { .control = -1 };
        crew_sandbox *s = NULL;
        int r;

        REQUIRE_OK(crew_sandbox_new(&s, words, mode));
        r = crew__plan_new(plan, s, &o);
        (void)crew_sandbox_free(s);
        return r;
}

TEST(trials, "the self-test picks something that must be refused", "[unit][sandbox]")
{
        static const struct {
                const char *words, *path;
        } cases[] = { { "stdio", "/" }, { "rpath:/etc", "/" }, { "rpath", "/dev/null" },
                { "rpath wpath:/tmp", "/dev/null" }, { "rwpath:/", NULL }, { "rwpath", NULL },
                { "rpath:/ wpath:/dev", NULL }, { "wpath", "/" }, { "rwpath:/dev", "/" } };

        needs_landlock();
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                crew__plan plan;

                INFO("%s", cases[i].words);
                REQUIRE_OK(prepare(cases[i].words, CREW_BEST_EFFORT, &plan));
                CHECK_STR(plan.ruleset.test_path, cases[i].path);
                crew__plan_free(&plan);
        }
}

TEST(no_such_path, "a path that is not there is refused by name", "[unit][sandbox]")
{
        crew__plan plan;

        needs_landlock();
        CHECK_INT(prepare("rpath:/nonexistent/x", CREW_BEST_EFFORT, &plan), ==, -ENOENT);
        CHECK(strstr(crew_error_detail(), "/nonexistent/x") != NULL);
        REQUIRE_OK(prepare("rpath:/nonexistent/x", CREW_LANDLOCK_OFF, &plan));
        CHECK_INT(plan.ruleset.fd, ==, -1);
        crew__plan_free(&plan);
}

static void without_landlock(void *arg)
{
        crew__plan plan;
        crew_sandbox *s;
        char text[200];

        (void)arg;
        atomic_store(&crew__feature_answers[CREW__LANDLOCK], 0);
        setenv("CREW_DISABLE", "landlock", 1);
        CHECK_INT(prepare("rpath:/etc", CREW_BEST_EFFORT, &plan), ==, -EOPNOTSUPP);
        CHECK(strstr(crew_error_detail(), "paths need Landlock") != NULL);
        CHECK_INT(prepare("stdio", CREW_REQUIRE, &plan), ==, -EOPNOTSUPP);
        REQUIRE_OK(prepare("rpath:/etc", CREW_LANDLOCK_OFF, &plan));
        crew__plan_free(&plan);
        REQUIRE_OK(prepare("stdio rpath", CREW_BEST_EFFORT, &plan));
        CHECK_INT(plan.ruleset.fd, ==, -1);
        CHECK_INT(plan.ruleset.gaps, ==, CREW__GAP_ALL);
        crew__plan_free(&plan);
        REQUIRE_OK(crew_sandbox_new(&s, "stdio", CREW_BEST_EFFORT));
        REQUIRE_OK(crew_sandbox_describe(s, text, sizeof text));
        CHECK_STR(text, "stdio (best effort: no Landlock)");
        (void)crew_sandbox_free(s);
}

TEST(forced_off, "without Landlock paths are refused, and only words go on", "[unit][sandbox]")
{
        peer_needs_seccomp();
        CHECK_INT(peer_join(peer_start(without_landlock, NULL)), ==, 0);
}
