/* SPDX-License-Identifier: MIT */
#include "status/proc.h"

#include "base/cleanup.h"
#include "kernel/segment.h"
#include "kernel/stat.h"
#include "kernel/syscall.h"
#include "status/decode.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

uint64_t crew__proc_tick(void)
{
        long ticks = sysconf(_SC_CLK_TCK);

        return UINT64_C(1000000000) / (uint64_t)(ticks > 0 ? ticks : 100);
}

/* The file as text; its length, or a negative errno. */
static ssize_t slurp(int proc, pid_t pid, const char *name, char *text, size_t size)
{
        char path[48];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof path, "%d/%s", (int)pid, name);
        fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, text, size - 1);
        if (n < 0)
                n = -errno;
        (void)close(fd);
        text[n > 0 ? n : 0] = '\0';
        return n;
}

bool crew__proc_parse_stat(char *text, crew__proc_stat *stat)
{
        char *open = strchr(text, '('), *close = strrchr(text, ')');
        crew__stat kernel;

        if (!open || close < open || !crew__stat_parse(text, &kernel) ||
                kernel.last < CREW__STAT_PAGES)
                return false;
        *close = '\0';
        crew__clean_text(stat->command, sizeof stat->command, open + 1, SIZE_MAX);
        stat->state = kernel.state;
        stat->parent = (pid_t)kernel.field[CREW__STAT_PARENT];
        stat->cpu_time =
                (kernel.field[CREW__STAT_USER_TIME] + kernel.field[CREW__STAT_SYSTEM_TIME]) *
                crew__proc_tick();
        stat->start = kernel.field[CREW__STAT_START] * crew__proc_tick();
        stat->memory = kernel.field[CREW__STAT_PAGES] * crew__page_size();
        return true;
}

static const char *field(const char *text, const char *name)
{
        size_t length = strlen(name);

        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, name, length) == 0 && line[length] == ':')
                        return line + length + 1;
        }
        return NULL;
}

static long number(const char *text, const char *name, long missing)
{
        const char *at = field(text, name);

        return at ? strtol(at, NULL, 10) : missing;
}

/* "NSpid:\t4711\t12\t1": the last one is the innermost. */
static pid_t innermost(const char *text)
{
        const char *at = field(text, "NSpid");
        long last = 0;
        char *end;

        while (at && *at && *at != '\n') {
                long value = strtol(at, &end, 10);

                if (end == at)
                        break;
                last = value;
                at = end;
        }
        return (pid_t)last;
}

bool crew__proc_parse_status(const char *text, crew__proc_status *status)
{
        const char *state = field(text, "State"), *uid = field(text, "Uid");

        if (!state || !uid)
                return false;
        *status = (crew__proc_status){
                .uid = (uint32_t)strtoul(uid, NULL, 10),
                .process = (pid_t)number(text, "Tgid", 0),
                .inner = innermost(text),
                .seccomp = (int)number(text, "Seccomp", -1),
                .no_new_privs = (int)number(text, "NoNewPrivs", -1),
                .filters = (unsigned)number(text, "Seccomp_filters", 0),
                .state = state[strspn(state, "\t ")],
        };
        return true;
}

bool crew__proc_read_stat(int proc, pid_t pid, crew__proc_stat *stat)
{
        char text[1024];

        return slurp(proc, pid, "stat", text, sizeof text) > 0 && crew__proc_parse_stat(text, stat);
}

int crew__proc_read_status(int proc, pid_t pid, crew__proc_status *status)
{
        char text[4096];
        ssize_t n = slurp(proc, pid, "status", text, sizeof text);

        if (n < 0)
                return (int)n;
        return crew__proc_parse_status(text, status) ? 0 : -EIO;
}

uint64_t crew__memory_device(void)
{
        static _Atomic uint64_t known;
        uint64_t device = atomic_load(&known);
        struct stat st;
        int fd;

        if (device)
                return device;
        fd = memfd_create("crew", MFD_CLOEXEC);
        if (fd < 0)
                return 0;
        /* Never 0: that is no device of a file system. */
        if (fstat(fd, &st) == 0)
                atomic_store(&known, (uint64_t)st.st_dev);
        (void)close(fd);
        return atomic_load(&known);
}

/* statx without synchronisation asks no file system. */
static int describe(int at, const char *path, int flags, crew__memory *memory)
{
        uint64_t device = crew__memory_device();
        struct statx st;

        if (statx(at, path, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
                    STATX_TYPE | STATX_INO | STATX_SIZE | STATX_UID, &st) < 0)
                return -errno;
        if (!device || !S_ISREG(st.stx_mode) ||
                makedev(st.stx_dev_major, st.stx_dev_minor) != device)
                return -ENOENT;
        *memory = (crew__memory){
                .fd = -1,
                .inode = st.stx_ino,
                .size = st.stx_size,
                .uid = st.stx_uid,
        };
        return 0;
}

int crew__memory_look(int fds, int number, crew__memory *memory)
{
        char path[32];

        (void)snprintf(path, sizeof path, "%d", number);
        return describe(fds, path, 0, memory);
}

/*
 * O_PATH first: it opens nothing. What then is not a regular file on the memfds' own device is left
 * alone.
 */
int crew__memory_open(int fds, int number, crew__memory *memory)
{
        CREW__AUTO_CLOSE int handle = -1;
        char path[32];
        int r;

        (void)snprintf(path, sizeof path, "%d", number);
        handle = openat(fds, path, O_PATH | O_CLOEXEC);
        if (handle < 0)
                return -errno;
        r = describe(handle, "", AT_EMPTY_PATH, memory);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", handle);
        memory->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        return memory->fd < 0 ? -errno : 0;
}

size_t crew__memory_read(const crew__memory *memory, void *into, size_t n, uint64_t at)
{
        ssize_t got;

        if (at > INT64_MAX)
                return 0;
        do
                got = pread(memory->fd, into, n, (off_t)at);
        while (got < 0 && errno == EINTR);
        return got > 0 ? (size_t)got : 0;
}
