/* SPDX-License-Identifier: MIT */

/* The quota of a cgroup, from made-up /proc and /sys trees. */

#include "check.h"
#include "process/cpu.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

/* Writes a file below the root, with its directories. */
static void put(const char *path, const char *text)
{
        char full[512];
        FILE *f;

        (void)snprintf(full, sizeof full, "%s%s", root, path);
        for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
                *at = '\0';
                (void)mkdir(full, 0700);
                *at = '/';
        }
        f = fopen(full, "w");
        REQUIRE(f != NULL);
        REQUIRE(fputs(text, f) >= 0 && fclose(f) == 0);
}

static void begin(void)
{
        (void)strcpy(root, "/tmp/crew-test-XXXXXX");
        REQUIRE(mkdtemp(root) != NULL);
}

static void end(void)
{
        char command[128];

        (void)snprintf(command, sizeof command, "rm -r %s", root);
        REQUIRE(system(command) == 0);
}

#define V2 "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"

TEST(version_2, "the least cpu.max from the group to the root, rounded up", "[unit][process]")
{
        begin();
        put("/proc/self/cgroup", "0::/a/b/c\n");
        put("/proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/x rw\n" V2);
        CHECK_INT(crew__cpu_quota(root), ==, INT_MAX);
        put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
        put("/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n");
        CHECK_INT(crew__cpu_quota(root), ==, 3);
        put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        CHECK_INT(crew__cpu_quota(root), ==, 2);
        put("/sys/fs/cgroup/cpu.max", "1000 100000\n");
        CHECK_INT(crew__cpu_quota(root), ==, 1);
        put("/sys/fs/cgroup/cpu.max", "rubbish\n");
        CHECK_INT(crew__cpu_quota(root), ==, 2);
        end();
}

TEST(container, "a group named from outside of what is mounted", "[unit][process]")
{
        begin();
        put("/proc/self/cgroup", "0::/docker/abc/inner\n");
        put("/proc/self/mountinfo",
                "30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
        put("/sys/fs/cgroup/inner/cpu.max", "300000 100000\n");
        CHECK_INT(crew__cpu_quota(root), ==, 3);
        put("/proc/self/cgroup", "0::/elsewhere\n");
        CHECK_INT(crew__cpu_quota(root), ==, 4);
        end();
}

TEST(version_1, "cpu.cfs_quota_us of the hierarchy that has the cpu controller", "[unit][process]")
{
        begin();
        put("/proc/self/cgroup", "5:cpuset:/\n4:cpu,cpuacct:/job\n1:name=systemd:/x\n");
        put("/proc/self/mountinfo",
                "31 25 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
                "32 25 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
        put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
        put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        CHECK_INT(crew__cpu_quota(root), ==, INT_MAX);
        put("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "100001\n");
        put("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
        CHECK_INT(crew__cpu_quota(root), ==, 2);
        end();
}

TEST(nothing, "no /proc, no quota", "[unit][process]")
{
        begin();
        CHECK_INT(crew__cpu_quota(root), ==, INT_MAX);
        end();
}
