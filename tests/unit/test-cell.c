/* SPDX-License-Identifier: MIT */

/* Where cells can be made, from made-up /proc and /sys trees; tests/live/live-cell.c makes some. */

#include "check.h"

#include "kernel/cell.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], path[2 * PATH_MAX];

static void put(const char *name, const char *text)
{
        char full[512];
        FILE *f;

        (void)snprintf(full, sizeof full, "%s%s", root, name);
        for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
                *at = '\0';
                REQUIRE(mkdir(full, 0755) == 0 || errno == EEXIST);
                *at = '/';
        }
        f = fopen(full, "we");
        REQUIRE(f);
        REQUIRE(fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char *get(const char *name)
{
        static char text[128];
        char full[512];
        FILE *f;

        (void)snprintf(full, sizeof full, "%s%s", root, name);
        f = fopen(full, "re");
        REQUIRE(f);
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        (void)fclose(f);
        return text;
}

static void begin(const char *group)
{
        (void)snprintf(root, sizeof root, "/tmp/crew-cell-XXXXXX");
        REQUIRE(mkdtemp(root));
        put("/proc/self/cgroup", group);
        put("/proc/self/mountinfo",
                "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
}

static void end(void)
{
        char command[128];

        (void)snprintf(command, sizeof command, "rm -r %s", root);
        REQUIRE(system(command) == 0);
}

static void group(const char *name, const char *controllers, const char *below)
{
        char file[256];

        (void)snprintf(file, sizeof file, "/sys/fs/cgroup%s/cgroup.controllers", name);
        put(file, controllers);
        (void)snprintf(file, sizeof file, "/sys/fs/cgroup%s/cgroup.subtree_control", name);
        put(file, below);
        (void)snprintf(file, sizeof file, "/sys/fs/cgroup%s/cgroup.procs", name);
        put(file, "");
}

static void is_at(const char *name)
{
        char full[256];

        (void)snprintf(full, sizeof full, "%s/sys/fs/cgroup%s", root, name);
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, 0);
        CHECK_STR(path, full);
}

TEST(own, "a group whose leaves have memory limits is used", "[unit][cell]")
{
        begin("4:memory:/old\n0::/\n");
        group("", "cpu memory pids\n", "memory pids\n");
        is_at("");
        CHECK_STR(get("/sys/fs/cgroup/cgroup.subtree_control"), "memory pids\n");
        end();
}

TEST(above, "the group above where one's own does not pass memory on", "[unit][cell]")
{
        begin("0::/user/app\n");
        group("", "cpu memory\n", "cpu memory\n");
        group("/user", "cpu memory\n", "memory\n");
        group("/user/app", "cpu\n", "");
        is_at("/user");
        end();
}

TEST(enabled, "memory is switched on where it is to be had", "[unit][cell]")
{
        begin("0::/user/app\n");
        group("/user", "cpu memory\n", "cpu\n");
        group("/user/app", "cpu\n", "");
        is_at("/user");
        CHECK(strstr(get("/sys/fs/cgroup/user/cgroup.subtree_control"), "+memory"));
        end();
}

TEST(none, "no group of version 2, no memory controller, and above all", "[unit][cell]")
{
        begin("4:memory:/\n");
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, -ENOENT);
        put("/proc/self/cgroup", "0::/\n");
        group("", "cpu memory_not pids\n", "");
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, -EOPNOTSUPP);
        /* The mount is the top: nothing is looked for above it. */
        put("/sys/fs/cgroup.controllers", "memory\n");
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, -EOPNOTSUPP);
        put("/proc/self/cgroup", "0::/../elsewhere\n");
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, -ENOENT);
        put("/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/x rw\n");
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, -ENOENT);
        end();
}

TEST(nested, "there is none beside a cell for who is in it", "[unit][cell]")
{
        begin("0::/user/crew-12-0\n");
        group("/user", "memory\n", "memory\n");
        group("/user/crew-12-0", "memory\n", "");
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, -EBUSY);
        end();
}

TEST(foreign, "what belongs to others is not used", "[unit][cell]")
{
        if (geteuid() != 0)
                SKIP("not root, which can make files that are not its own to write");
        begin("0::/user/app\n");
        group("/user", "memory\n", "memory\n");
        group("/user/app", "memory\n", "");
        REQUIRE(chmod(root, 0755) == 0 && seteuid(65534) == 0);
        CHECK_INT(crew__cell_place(root, path, sizeof path), ==, -EACCES);
        REQUIRE(seteuid(0) == 0);
        end();
}
