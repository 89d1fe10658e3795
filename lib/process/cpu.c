/* SPDX-License-Identifier: MIT */
#include "process/cpu.h"

#include "kernel/cgroup.h"

#include <crew/process.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int whole(long long quota, long long period)
{
        long long n;

        if (quota <= 0 || period <= 0)
                return INT_MAX;
        n = (quota + period - 1) / period;
        return n > INT_MAX ? INT_MAX : (int)n;
}

static long long read_number(const char *root, const char *dir, const char *name)
{
        char path[PATH_MAX];
        long long n = -1;
        FILE *f;

        if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
                return -1;
        f = crew__open_below(root, path);
        if (!f)
                return -1;
        if (fscanf(f, "%lld", &n) != 1)
                n = -1;
        (void)fclose(f);
        return n;
}

static int quota_v1(const char *root, const char *dir)
{
        return whole(read_number(root, dir, "cpu.cfs_quota_us"),
                read_number(root, dir, "cpu.cfs_period_us"));
}

/* "max 100000" or "150000 100000". */
static int quota_v2(const char *root, const char *dir)
{
        char path[PATH_MAX];
        long long quota = -1, period = -1;
        FILE *f;

        if (snprintf(path, sizeof path, "%s/cpu.max", dir) >= (int)sizeof path)
                return INT_MAX;
        f = crew__open_below(root, path);
        if (!f)
                return INT_MAX;
        if (fscanf(f, "%lld %lld", &quota, &period) != 2)
                quota = -1;
        (void)fclose(f);
        return whole(quota, period);
}

/* The smallest quota from this process's group up to the root of what is mounted. */
static int walk(const char *root, const struct crew__hierarchy *h, const char *group,
        int (*quota)(const char *root, const char *dir))
{
        size_t top = strlen(h->mount);
        char dir[2 * PATH_MAX];
        int least, q;

        if (!crew__cgroup_path(h, group, dir, sizeof dir))
                return INT_MAX;
        for (least = INT_MAX;;) {
                char *slash;

                q = quota(root, dir);
                least = q < least ? q : least;
                slash = strrchr(dir, '/');
                if (!slash || (size_t)(slash - dir) < top)
                        return least;
                *slash = '\0';
        }
}

int crew__cpu_quota(const char *root)
{
        struct crew__hierarchy v2 = { .found = false }, v1 = { .found = false };
        FILE *f = crew__open_below(root, "/proc/self/cgroup");
        int least = INT_MAX, q;
        char *line = NULL;
        size_t size = 0;

        if (f)
                crew__cgroup_mounts(root, "cpu", &v2, &v1);
        /* "0::/path" for version 2, "4:cpu,cpuacct:/path" for version 1. */
        while (f && getline(&line, &size, f) > 0) {
                char *controllers = strchr(line, ':');
                char *group = controllers ? strchr(controllers + 1, ':') : NULL;

                if (!group)
                        continue;
                *controllers++ = *group++ = '\0';
                group[strcspn(group, "\n")] = '\0';
                q = INT_MAX;
                if (strcmp(line, "0") == 0 && *controllers == '\0' && v2.found)
                        q = walk(root, &v2, group, quota_v2);
                else if (crew__cgroup_word(controllers, "cpu") && v1.found)
                        q = walk(root, &v1, group, quota_v1);
                least = q < least ? q : least;
        }
        free(line);
        if (f)
                (void)fclose(f);
        return least;
}

/* The mask may be larger than cpu_set_t; the kernel says so with EINVAL. */
static int affinity(void)
{
        for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
                size_t size = CPU_ALLOC_SIZE(cpus);
                cpu_set_t *set = CPU_ALLOC(cpus);
                int n = 0;

                if (set && sched_getaffinity(0, size, set) == 0)
                        n = CPU_COUNT_S(size, set);
                CPU_FREE(set);
                if (n > 0)
                        return n;
        }
        return INT_MAX;
}

int crew_cpu_count(void)
{
        const char *text = secure_getenv("CREW_CPUS");
        int n, quota;

        if (text && *text >= '1' && *text <= '9') {
                char *end;
                long wanted = strtol(text, &end, 10);

                if (*end == '\0' && wanted <= 1 << 20)
                        return (int)wanted;
        }
        n = affinity();
        quota = crew__cpu_quota("");
        n = quota < n ? quota : n;
        return n == INT_MAX || n < 1 ? 1 : n;
}
