/* SPDX-License-Identifier: MIT */
#include "inventory.h"

#include "report.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[TEST_RESOURCES] = {
        [TEST_FDS] = "descriptor",
        [TEST_CHILDREN] = "child process",
        [TEST_MAPPINGS] = "shared mapping",
        [TEST_THREADS] = "thread",
};

__attribute__((format(printf, 3, 4))) static void add(
        struct inventory *to, enum test_resource what, const char *format, ...)
{
        size_t n = to->count[what];
        char **grown = realloc(to->entry[what], (n + 1) * sizeof *grown);
        va_list args;

        if (!grown)
                abort();
        to->entry[what] = grown;
        va_start(args, format);
        if (vasprintf(&grown[n], format, args) < 0)
                abort();
        va_end(args);
        to->count[what] = n + 1;
}

/* Reads a small file of /proc into @buffer, without the newline at its end; "" if it cannot. */
static const char *slurp(char *buffer, size_t size, const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);

        if (fd >= 0)
                (void)close(fd);
        while (n > 0 && isspace((unsigned char)buffer[n - 1]))
                n--;
        buffer[n > 0 ? n : 0] = '\0';
        return buffer;
}

static void list_descriptors(struct inventory *into)
{
        DIR *dir = opendir("/proc/self/fd");
        struct dirent *e;

        if (!dir)
                abort();
        while ((e = readdir(dir))) {
                char path[300], target[256];
                ssize_t n;

                if (!isdigit((unsigned char)e->d_name[0]) || atoi(e->d_name) == dirfd(dir))
                        continue;
                (void)snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
                n = readlink(path, target, sizeof target - 1);
                target[n > 0 ? n : 0] = '\0';
                add(into, TEST_FDS, "%s -> %s", e->d_name, target);
        }
        (void)closedir(dir);
}

static void list_mappings(struct inventory *into)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        char *line = NULL;
        size_t cap = 0;

        if (!maps)
                abort();
        while (getline(&line, &cap, maps) > 0) {
                char range[64], mode[8], inode[32];
                int path = 0;

                if (sscanf(line, "%63s %7s %*s %*s %31s %n", range, mode, inode, &path) < 3)
                        continue;
                line[strcspn(line, "\n")] = '\0';
                if (mode[3] == 's' || strstr(line + path, "memfd:"))
                        add(into, TEST_MAPPINGS, "%s %s inode %s", range, line + path, inode);
        }
        free(line);
        (void)fclose(maps);
}

#if defined(__SANITIZE_THREAD__)
#define OTHERS_START_THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OTHERS_START_THREADS 1
#endif
#endif
#ifndef OTHERS_START_THREADS
#define OTHERS_START_THREADS 0
#endif

bool inventory_has_threads(void)
{
        return !OTHERS_START_THREADS;
}

/* From linux/sched.h: one that is on its way out, which may have been joined already, and a helper
 * of io_uring, which has the name of its maker until it first runs. */
#define PF_EXITING 0x4UL
#define PF_IO_WORKER 0x10UL

static bool thread_counts(const char *tid)
{
        char path[300], stat[512], *after;
        unsigned long flags = 0;

        (void)snprintf(path, sizeof path, "/proc/self/task/%s/stat", tid);
        after = strrchr(slurp(stat, sizeof stat, path), ')');
        return after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %lu", &flags) == 1 &&
               !(flags & (PF_EXITING | PF_IO_WORKER));
}

static void list_threads(struct inventory *into)
{
        DIR *dir = opendir("/proc/self/task");
        struct dirent *e;

        if (!dir)
                abort();
        while ((e = readdir(dir))) {
                char path[300], name[64];

                if (!isdigit((unsigned char)e->d_name[0]) || !thread_counts(e->d_name))
                        continue;
                (void)snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
                /* The kernel's io_uring helpers look like threads and linger for seconds. */
                if (*slurp(name, sizeof name, path) && strncmp(name, "iou-", 4) != 0)
                        add(into, TEST_THREADS, "%s %s", e->d_name, name);
        }
        (void)closedir(dir);
}

size_t inventory_children(pid_t of, pid_t *children, size_t size)
{
        DIR *dir = opendir("/proc");
        struct dirent *e;
        size_t n = 0;

        if (!dir)
                abort();
        while ((e = readdir(dir))) {
                char path[300], stat[512], *after;
                int parent;

                if (!isdigit((unsigned char)e->d_name[0]))
                        continue;
                (void)snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
                after = strrchr(slurp(stat, sizeof stat, path), ')');
                if (!after || sscanf(after + 1, " %*c %d", &parent) != 1 || parent != of)
                        continue;
                if (n < size)
                        children[n] = (pid_t)atoi(e->d_name);
                n++;
        }
        (void)closedir(dir);
        return n;
}

static void list_children(struct inventory *into)
{
        pid_t children[256];
        size_t n = inventory_children(getpid(), children, 256);

        for (size_t i = 0; i < n && i < 256; i++) {
                char path[64], name[64];

                (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)children[i]);
                add(into, TEST_CHILDREN, "%d %s", (int)children[i], slurp(name, sizeof name, path));
        }
}

void inventory_take(struct inventory *into)
{
        *into = (struct inventory){ 0 };
        list_descriptors(into);
        list_mappings(into);
        if (inventory_has_threads())
                list_threads(into);
        list_children(into);
}

void inventory_free(struct inventory *of)
{
        for (int what = 0; what < TEST_RESOURCES; what++) {
                for (size_t i = 0; i < of->count[what]; i++)
                        free(of->entry[what][i]);
                free(of->entry[what]);
        }
        *of = (struct inventory){ 0 };
}

static bool has(const struct inventory *in, int what, const char *entry)
{
        for (size_t i = 0; i < in->count[what]; i++) {
                if (strcmp(in->entry[what][i], entry) == 0)
                        return true;
        }
        return false;
}

/* How many entries of @a are not in @b; each is noted in the report if @verdict is given. */
static int missing(
        const struct inventory *a, const struct inventory *b, int what, const char *verdict)
{
        int n = 0;

        for (size_t i = 0; i < a->count[what]; i++) {
                if (has(b, what, a->entry[what][i]))
                        continue;
                n++;
                if (verdict)
                        test_note("  %s %s: %s", names[what], verdict, a->entry[what][i]);
        }
        return n;
}

int inventory_compare(const struct inventory *before, const struct inventory *after, bool report)
{
        int exceeded = 0;

        for (int what = 0; what < TEST_RESOURCES; what++) {
                int allowed = atomic_load(&test_report->allowed[what]);
                int more = missing(after, before, what, NULL);
                /* Closing or unmapping what was the host's is a fault too. */
                int fewer = missing(before, after, what, NULL);

                if (more <= allowed && !fewer)
                        continue;
                exceeded++;
                if (!report)
                        continue;
                test_fail("leak: %s: %d left behind (%d allowed), %d gone", names[what], more,
                        allowed, fewer);
                (void)missing(after, before, what, "left behind");
                (void)missing(before, after, what, "gone");
        }
        return exceeded;
}

static void dump_thread(int pid, const char *tid)
{
        static const char *const files[] = { "comm", "wchan", "syscall", "stack" };
        char path[300], text[1024], *after;

        (void)snprintf(path, sizeof path, "/proc/%d/task/%s/stat", pid, tid);
        after = strrchr(slurp(text, sizeof text, path), ')');
        test_note("  process %d thread %s state %c", pid, tid, after ? after[2] : '?');
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                (void)snprintf(path, sizeof path, "/proc/%d/task/%s/%s", pid, tid, files[i]);
                if (*slurp(text, sizeof text, path))
                        test_note("    %s: %s", files[i], text);
        }
}

static void dump_process(pid_t pid)
{
        char path[64];
        struct dirent *e;
        DIR *dir;

        (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
        dir = opendir(path);
        while (dir && (e = readdir(dir))) {
                if (isdigit((unsigned char)e->d_name[0]))
                        dump_thread(pid, e->d_name);
        }
        if (dir)
                (void)closedir(dir);
}

void inventory_dump(pid_t root)
{
        pid_t children[64];
        size_t n = inventory_children(root, children, 64);

        for (size_t i = 0; i < n && i < 64; i++) {
                dump_process(children[i]);
                inventory_dump(children[i]);
        }
}
