/* SPDX-License-Identifier: MIT */

/* Start methods in programs that are linked in different ways, or do not call crew_spawn_main(). */

#include "check.h"
#include "tool.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const linkings[] = { "guest", "guest-fixed", "guest-stripped",
        "guest-nameless" };

static void run(struct tool *t, const char *name, const char *mode)
{
        static char path[PATH_MAX], plugin[PATH_MAX];
        char place[64];

        (void)snprintf(place, sizeof place, "guests/%s", name);
        tool_beside(path, sizeof path, place);
        tool_beside(plugin, sizeof plugin, "guests/libguest-plugged.so");
        (void)setenv("GUEST_PLUGIN", plugin, 1);
        (void)setenv("GUEST_MODE", mode, 1);
        t->path = path;
        tool_run(t, "%s", "");
        INFO("%s, %s: %s%s", name, mode, t->out, t->err);
        CHECK_INT(t->status, ==, 0);
}

static void functions(const char *mode)
{
        for (size_t i = 0; i < sizeof linkings / sizeof *linkings; i++) {
                struct tool t = { .path = NULL };

                run(&t, linkings[i], mode);
                CHECK(strstr(t.out, "own: 5\n") != NULL);
                CHECK(strstr(t.out, "linked: 6\n") != NULL);
                CHECK(strstr(t.out, "plugged: ENOENT: ") != NULL);
                CHECK(strstr(t.out, "guest_plugged in libguest-plugged.so") != NULL);
                CHECK(strstr(t.out, "made: ENOENT: ") != NULL);
        }
}

TEST(spawn, "functions of program and libraries are found in a new image", "[live][spawn]")
{
        functions("spawn");
}

TEST(forkserver, "functions of program and libraries are found in the fork server", "[live][spawn]")
{
        functions("forkserver");
}

TEST(never, "without crew_spawn_main() nothing is started anew", "[live][spawn]")
{
        struct tool t = { .path = NULL };

        run(&t, "guest", "never");
        CHECK(strstr(t.out, "own: EOPNOTSUPP: ") != NULL);
        CHECK(strstr(t.out, "crew_spawn_main()") != NULL);
        CHECK_INT(tool_lines(t.out), ==, 1);
}

TEST(once, "a new image whose main() skips crew_spawn_main() is an error, not a fork bomb",
        "[live][spawn]")
{
        struct tool t = { .path = NULL };

        run(&t, "guest", "once");
        /* The program and the image that it was run in anew, and that one is refused its own. */
        CHECK_INT(tool_lines(t.out), ==, 4);
        CHECK(strstr(t.out, "main() has not called crew_spawn_main()") != NULL);
        CHECK(strstr(t.out, "ended before it called crew_spawn_main()") != NULL);
}
