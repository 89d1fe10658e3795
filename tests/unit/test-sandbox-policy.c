/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "fuzz.h"
#include "peer.h"
#include "sandbox/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void warm_up(void)
{
        crew_sandbox *s;
        char text[200];

        /* Describing asks the kernel for Landlock. */
        REQUIRE_OK(crew_sandbox_new(&s, "rpath", CREW_BEST_EFFORT));
        (void)crew_sandbox_describe(s, text, sizeof text);
        (void)crew_sandbox_free(s);
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

static const struct {
        const char *text;
        unsigned words;
        const char *again; /* what describe makes of it, without the parentheses */
} good[] = {
        { "compute", CREW__COMPUTE, "compute" },
        { "stdio", CREW__COMPUTE | CREW__STDIO, "stdio" },
        { "  stdio\t\nstdio ", CREW__COMPUTE | CREW__STDIO, "stdio" },
        { "compute stdio", CREW__COMPUTE | CREW__STDIO, "compute stdio" },
        { "thread", CREW__COMPUTE | CREW__THREAD, "thread" },
        { "rpath", CREW__COMPUTE | CREW__STDIO | CREW__RPATH, "rpath" },
        { "unix inet", CREW__COMPUTE | CREW__STDIO | CREW__INET | CREW__UNIX, "inet unix" },
        { "exec", CREW__COMPUTE | CREW__STDIO | CREW__EXEC, "exec" },
        { "fattr proc", CREW__COMPUTE | CREW__STDIO | CREW__FATTR | CREW__PROC, "fattr proc" },
        { "sanitizer", CREW__COMPUTE | CREW__STDIO | CREW__SANITIZER, "sanitizer" },
        { "none", CREW__NONE, "none" },
        { "rpath:/etc", CREW__COMPUTE | CREW__STDIO | CREW__RPATH, "rpath:/etc" },
        { "rpath:/etc:/usr rpath:/a", CREW__COMPUTE | CREW__STDIO | CREW__RPATH,
                "rpath:/etc:/usr:/a" },
        { "rwpath:/tmp", CREW__COMPUTE | CREW__STDIO | CREW__RPATH | CREW__WPATH,
                "rpath:/tmp wpath:/tmp" },
        { "rcpath", CREW__COMPUTE | CREW__STDIO | CREW__RPATH | CREW__CPATH, "rpath cpath" },
        { "wcpath:. rpath", CREW__COMPUTE | CREW__STDIO | CREW__RPATH | CREW__WPATH | CREW__CPATH,
                "rpath wpath:. cpath:." },
        { "rwcpath:/a stdio exec:/usr",
                CREW__COMPUTE | CREW__STDIO | CREW__RPATH | CREW__WPATH | CREW__CPATH | CREW__EXEC,
                "stdio rpath:/a wpath:/a cpath:/a exec:/usr" },
};

static void described(const char *text, const char *wanted)
{
        char buf[300], front[300];
        crew_sandbox *s = NULL;
        int length;

        REQUIRE_OK(crew_sandbox_new(&s, text, CREW_BEST_EFFORT));
        length = crew_sandbox_describe(s, buf, sizeof buf);
        CHECK_INT(length, ==, strlen(buf));
        snprintf(front, sizeof front, "%s", buf);
        if (strstr(front, " ("))
                *strstr(front, " (") = 0;
        CHECK_STR(front, wanted);
        (void)crew_sandbox_free(s);
}

TEST(good_texts, "words become a set, and the set the same words again", "[unit][sandbox]")
{
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
                crew_sandbox *s = NULL;

                INFO("'%s'", good[i].text);
                REQUIRE_OK(crew_sandbox_new(&s, good[i].text, CREW_BEST_EFFORT));
                CHECK_INT(s->words, ==, good[i].words);
                (void)crew_sandbox_free(s);
                described(good[i].text, good[i].again);
                described(good[i].again, good[i].again);
        }
}

static const struct {
        const char *text, *hint;
} bad[] = {
        { "", "no words" },
        { "  \n", "no words" },
        { "stdoi", "did you mean 'stdio'" },
        { "Stdio", "did you mean 'stdio'" },
        { "rpaths", "did you mean 'rpath'" },
        { "stdio rwapth:/tmp", "did you mean 'rwpath'" },
        { "threads", "did you mean 'thread'" },
        { "network", "the words are compute stdio" },
        { "stdio,rpath", "there is no word 'stdio,rpath'" },
        { ":/etc", "there is no word ''" },
        { "stdio:/etc", "'stdio' takes no path" },
        { "inet:80", "'inet' takes no path" },
        { "rpath:", "an empty path" },
        { "rpath:/etc:", "an empty path" },
        { "rpath::/etc", "an empty path" },
        { "none stdio", "'none' stands alone" },
        { "stdio none", "'none' stands alone" },
        { "none rpath:/etc", "'none' stands alone" },
        { "none:/etc", "'none' takes no path" },
        { "1", "there is no word '1'" },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                "there is no word 'aaa" },
};

TEST(bad_texts, "a text that is wrong is refused, and the words say what was meant",
        "[unit][sandbox]")
{
        crew_sandbox *untouched = (crew_sandbox *)&untouched, *s = untouched;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                INFO("'%s'", bad[i].text);
                CHECK_INT(crew_sandbox_new(&s, bad[i].text, CREW_BEST_EFFORT), ==, -EINVAL);
                INFO("%s", crew_error_detail());
                CHECK(strstr(crew_error_detail(), bad[i].hint) != NULL);
        }
        CHECK_INT(crew_sandbox_new(&s, "stdio", 3), ==, -EINVAL);
        CHECK_INT(crew_sandbox_new(&s, "stdio", -1), ==, -EINVAL);
        CHECK_INT(crew_sandbox_new(&s, NULL, 0), ==, -EINVAL);
        CHECK_INT(crew_sandbox_new(NULL, "stdio", 0), ==, -EINVAL);
        CHECK(s == untouched);
}

TEST(paths, "a path brings its words along", "[unit][sandbox]")
{
        crew_auto(sandbox) s = NULL;

        REQUIRE_OK(crew_sandbox_new(&s, "compute", CREW_BEST_EFFORT));
        REQUIRE_OK(crew_sandbox_path(s, CREW_PATH_READ, "/a b"));
        CHECK(s->words & CREW__RPATH);
        CHECK(s->words & CREW__STDIO);
        CHECK(!(s->words & CREW__WPATH));
        REQUIRE_OK(crew_sandbox_path(s, CREW_PATH_WRITE | CREW_PATH_EXEC, "/c:d"));
        CHECK(s->words & CREW__WPATH);
        CHECK(s->words & CREW__EXEC);
        CHECK(!(s->words & CREW__CPATH));
        CHECK_INT(s->n_paths, ==, 2);
        CHECK_INT(s->limited, ==, CREW_PATH_READ | CREW_PATH_WRITE | CREW_PATH_EXEC);
        CHECK_INT(crew_sandbox_path(s, 0, "/a"), ==, -EINVAL);
        CHECK_INT(crew_sandbox_path(s, 16, "/a"), ==, -EINVAL);
        CHECK_INT(crew_sandbox_path(s, CREW_PATH_READ, ""), ==, -EINVAL);
        CHECK_INT(crew_sandbox_path(s, CREW_PATH_READ, NULL), ==, -EINVAL);
        CHECK_INT(crew_sandbox_path(NULL, CREW_PATH_READ, "/a"), ==, -EINVAL);
        CHECK_INT(s->n_paths, ==, 2);
}

TEST(no_path_for_none, "none takes no path", "[unit][sandbox]")
{
        crew_auto(sandbox) s = NULL;

        REQUIRE_OK(crew_sandbox_new(&s, "none", CREW_BEST_EFFORT));
        CHECK_INT(crew_sandbox_path(s, CREW_PATH_READ, "/a"), ==, -EINVAL);
        CHECK(crew_sandbox_free(NULL) == NULL);
}

TEST(cut, "a description is cut like snprintf's", "[unit][sandbox]")
{
        crew_auto(sandbox) s = NULL;
        char whole[300], buf[300];
        int length;

        REQUIRE_OK(crew_sandbox_new(&s, "stdio rpath:/etc:/usr", CREW_LANDLOCK_OFF));
        length = crew_sandbox_describe(s, NULL, 0);
        CHECK_INT(crew_sandbox_describe(s, whole, sizeof whole), ==, length);
        CHECK_STR(whole, "stdio rpath:/etc:/usr (Landlock off)");
        for (size_t cap = 1; cap <= (size_t)length + 1; cap++) {
                memset(buf, '#', sizeof buf);
                CHECK_INT(crew_sandbox_describe(s, buf, cap), ==, length);
                CHECK_INT(strlen(buf), ==, cap - 1);
                CHECK(memcmp(buf, whole, cap - 1) == 0);
                CHECK(buf[cap] == '#');
        }
        CHECK_INT(crew_sandbox_describe(s, NULL, 1), ==, -EINVAL);
        CHECK_INT(crew_sandbox_describe(NULL, buf, 1), ==, -EINVAL);
}

TEST(random_texts, "any text is refused or becomes a policy that describes itself",
        "[unit][sandbox]")
{
        static const char *const pieces[] = { "stdio", "compute", "rpath", "wpath", "rwcpath",
                "exec", "none", "inet", "unix", ":", ":/etc", ":/a(b", " ", "\t", " ", "(", "x" };
        uint64_t seed = peer_seed();

        for (long long i = test_scale(1000000, 20000); i > 0; i--) {
                char text[256] = "";
                size_t length = 0;

                for (uint64_t n = peer_random(&seed) % 12; n > 0; n--) {
                        const char *piece =
                                pieces[peer_random(&seed) % (sizeof pieces / sizeof *pieces)];

                        length += (size_t)snprintf(text + length, sizeof text - length, "%s", piece);
                }
                (void)LLVMFuzzerTestOneInput((const uint8_t *)text, length);
        }
}
