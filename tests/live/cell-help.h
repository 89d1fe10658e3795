/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_CELL_HELP_H
#define CREW_TESTS_CELL_HELP_H

/* Limits of memory by control groups: are there any, which are left, and using memory up. */

#include "host.h"
#include "pool-help.h"

#include <dirent.h>

enum { MIB = 1 << 20, LIMIT = 32 * MIB };

UNUSED static const crew_limits cell_limits = { .size = sizeof(crew_limits), .memory_max = LIMIT };

UNUSED static crew_feature feature(void)
{
        crew_feature f = { .size = sizeof f };
        int index = crew_feature_find("cgroup_memory");

        REQUIRE(index >= 0);
        REQUIRE_OK(crew_feature_get((unsigned)index, &f));
        return f;
}

UNUSED static void need_cells(void)
{
        crew_feature f = feature();

        if (f.state != CREW_FEATURE_YES)
                SKIP("no memory limit by control groups here: %s", f.why);
}

/* The group of a process of version 2, below its mount, which is where all systems have it. */
UNUSED static void group_of(const char *pid, char *path, size_t size)
{
        char file[64], line[4000] = "";
        FILE *f;

        (void)snprintf(file, sizeof file, "/proc/%s/cgroup", pid);
        f = fopen(file, "re");
        REQUIRE(f);
        while (fgets(line, sizeof line, f) && strncmp(line, "0::", 3) != 0)
                ;
        (void)fclose(f);
        REQUIRE(strncmp(line, "0::/", 4) == 0);
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(path, size, "/sys/fs/cgroup%s", line + 3);
}

UNUSED static int count_in(const char *path, const char *prefix)
{
        DIR *all = opendir(path);
        const struct dirent *d;
        int n = 0;

        while (all && (d = readdir(all)))
                n += strncmp(d->d_name, prefix, strlen(prefix)) == 0;
        if (all)
                (void)closedir(all);
        return n;
}

/* How many cells that process has made and left: beside its group, or in it. */
UNUSED static int cells_of(pid_t pid)
{
        char path[4096], prefix[32];
        int n;

        (void)snprintf(prefix, sizeof prefix, "crew-%d-", (int)pid);
        group_of("self", path, sizeof path);
        n = count_in(path, prefix);
        if (strcmp(path, "/sys/fs/cgroup/") != 0) {
                *strrchr(path, '/') = '\0';
                n += count_in(path, prefix);
        }
        return n;
}

/* `meanwhile` (or NULL) is called for each MiB. */
UNUSED static void eat(size_t bytes, void (*meanwhile)(void))
{
        char *food = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (food == MAP_FAILED)
                exit(12);
        /* By pages, and never the same, so that none can be merged. */
        for (size_t i = 0; i < bytes; i += 4096) {
                food[i] = (char)(i >> 12 | 1);
                if (meanwhile && i % MIB == 0)
                        meanwhile();
        }
        (void)munmap(food, bytes);
}

#endif
