/* SPDX-License-Identifier: MIT */
#include "process/cpu.h"

#include <crew/process.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A hierarchy as it is mounted: the directory `inside` of the hierarchy appears at `mount`. */
struct hierarchy {
        bool found;
        char inside[PATH_MAX];
        char mount[PATH_MAX];
};

static FILE *open_below(const char *root, const char *path)
{
        char full[2 * PATH_MAX];

        if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full)
                return NULL;
        return fopen(full, "re");
}

static bool has_word(const char *list, const char *word)
{
        size_t n = strlen(word);

        for (; list; list = strchr(list, ',')) {
                list += *list == ',';
                if (strncmp(list, word, n) == 0 && (list[n] == ',' || !list[n] || list[n] == '\n'))
                        return true;
        }
        return false;
}

/* A line is "ID PARENT DEV INSIDE MOUNT OPTIONS ... - TYPE SOURCE SUPEROPTIONS". */
static void find_mounts(const char *root, struct hierarchy *v2, struct hierarchy *v1)
{
        FILE *f = open_below(root, "/proc/self/mountinfo");
        char *line = NULL;
        size_t size = 0;

        while (f && getline(&line, &size, f) > 0) {
                char inside[PATH_MAX], mount[PATH_MAX], type[64], super[1024] = "";
                const char *tail = strstr(line, " - ");
                struct hierarchy *h = NULL;

                if (!tail || sscanf(line, "%*s %*s %*s %4095s %4095s", inside, mount) != 2 ||
                        sscanf(tail, " - %63s %*s %1023s", type, super) < 1)
                        continue;
                if (strcmp(type, "cgroup2") == 0)
                        h = v2;
                else if (strcmp(type, "cgroup") == 0 && has_word(super, "cpu"))
                        h = v1;
                if (!h || h->found)
                        continue;
                h->found = true;
                (void)memcpy(h->inside, inside, sizeof inside);
                (void)memcpy(h->mount, mount, sizeof mount);
        }
        free(line);
        if (f)
                (void)fclose(f);
}

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
        f = open_below(root, path);
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
        f = open_below(root, path);
        if (!f)
                return INT_MAX;
        if (fscanf(f, "%lld %lld", &quota, &period) != 2)
                quota = -1;
        (void)fclose(f);
        return whole(quota, period);
}

/* The smallest quota from this process's group up to the root of what is mounted. */
static int walk(const char *root, const struct hierarchy *h, const char *group,
        int (*quota)(const char *root, const char *dir))
{
        size_t inside = strcmp(h->inside, "/") == 0 ? 0 : strlen(h->inside);
        size_t top = strlen(h->mount);
        char dir[2 * PATH_MAX];
        int least, q;

        /* In a container the group may be named from outside of what is mounted here. */
        if (strncmp(group, h->inside, inside) == 0 && (group[inside] == '/' || !group[inside]))
                group += inside;
        else
                group = "";
        if (snprintf(dir, sizeof dir, "%s%s", h->mount, group) >= (int)sizeof dir)
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
        struct hierarchy v2 = { .found = false }, v1 = { .found = false };
        FILE *f = open_below(root, "/proc/self/cgroup");
        int least = INT_MAX, q;
        char *line = NULL;
        size_t size = 0;

        if (f)
                find_mounts(root, &v2, &v1);
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
                else if (has_word(controllers, "cpu") && v1.found)
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
