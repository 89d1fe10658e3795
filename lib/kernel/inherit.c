/* SPDX-License-Identifier: MIT */
#include "kernel/inherit.h"

#include "kernel/syscall.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* What stays open: the list and one more. */
static bool kept(const int *keep, size_t n_keep, int extra, unsigned fd)
{
        size_t low = 0, high = n_keep;

        if (extra >= 0 && fd == (unsigned)extra)
                return true;
        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if ((unsigned)keep[middle] == fd)
                        return true;
                if ((unsigned)keep[middle] < fd)
                        low = middle + 1;
                else
                        high = middle;
        }
        return false;
}

static int close_from_to(unsigned first, unsigned past, int extra)
{
        int r = 0;

        if (extra >= 0 && first <= (unsigned)extra && (unsigned)extra < past) {
                r = close_from_to(first, (unsigned)extra, -1);
                first = (unsigned)extra + 1;
        }
        if (r == 0 && first < past)
                r = crew__sys_close_range(first, past - 1, 0);
        return r;
}

static int close_by_range(const int *keep, size_t n_keep, int extra)
{
        unsigned first = 0;
        int r = 0;

        for (size_t i = 0; i < n_keep && r == 0; i++) {
                r = close_from_to(first, (unsigned)keep[i], extra);
                first = (unsigned)keep[i] + 1;
        }
        if (r == 0)
                r = close_from_to(first, ~0U, extra);
        return r;
}

/* As the kernel writes directory entries. */
struct entry {
        uint64_t inode;
        int64_t offset;
        unsigned short length;
        unsigned char type;
        char name[];
};

static int number(const char *name)
{
        int n = 0;

        if (*name < '0' || *name > '9')
                return -1;
        for (; *name >= '0' && *name <= '9'; name++)
                n = n * 10 + (*name - '0');
        return n;
}

/* Closing while reading is sound: /proc/self/fd is read by descriptor number. */
static int close_listed(const int *keep, size_t n_keep, int extra)
{
        _Alignas(struct entry) char buffer[2048];
        long n;
        int fd;

        fd = (int)crew__syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/fd",
                O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
        if (fd < 0)
                return fd;
        while ((n = crew__syscall(SYS_getdents64, fd, (long)buffer, sizeof buffer, 0, 0, 0)) > 0) {
                for (long at = 0; at < n;) {
                        const struct entry *e = (const struct entry *)(buffer + at);
                        int open_fd = number(e->name);

                        if (open_fd >= 0 && open_fd != fd &&
                                !kept(keep, n_keep, extra, (unsigned)open_fd))
                                (void)crew__sys_close(open_fd);
                        at += e->length;
                }
        }
        (void)crew__sys_close(fd);
        return (int)n;
}

int crew__close_others(const int *keep, size_t n_keep, int extra, bool close_range)
{
        int r = -ENOSYS;

        if (close_range)
                r = close_by_range(keep, n_keep, extra);
        return r < 0 ? close_listed(keep, n_keep, extra) : r;
}

/* Does the path of a mapping name memory? */
static bool is_memory(const char *path)
{
        static const char *const names[] = { "/memfd:", "/dev/zero", "/dev/shm/", "/SYSV",
                "anon_inode:" };

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                if (strncmp(path, names[i], strlen(names[i])) == 0)
                        return true;
        }
        return false;
}

struct drop {
        enum crew__shared which;
        const crew__range *keep;
        size_t n_keep;
};

/* One line of /proc/self/maps: "7f0000000000-7f0000021000 rw-s 00000000 00:01 12  /memfd:x". */
static void drop_if_shared(const struct drop *d, const char *line)
{
        uintptr_t part[2] = { 0, 0 };
        const char *path;
        int which = 0;

        for (; *line && *line != ' '; line++) {
                if (*line == '-')
                        which = 1;
                else
                        part[which] = part[which] << 4 |
                                      (uintptr_t)(*line <= '9' ? *line - '0' : *line - 'a' + 10);
        }
        if (strnlen(line, 5) < 5 || line[4] != 's')
                return;
        /* Behind the permissions, the offset, the device and the inode. */
        path = line + 1;
        for (int field = 0; field < 4; field++)
                path += strcspn(path, " ") + (path[strcspn(path, " ")] == ' ');
        path += strspn(path, " ");
        if (d->which == CREW__SHARED_MEMORY && line[2] != 'w' && !is_memory(path))
                return;
        for (size_t i = 0; i < d->n_keep; i++) {
                if (part[0] >= d->keep[i].from && part[1] <= d->keep[i].to)
                        return;
        }
        (void)crew__syscall(SYS_munmap, (long)part[0], (long)(part[1] - part[0]), 0, 0, 0, 0);
}

void crew__drop_shared(enum crew__shared which, const crew__range *keep, size_t n_keep)
{
        struct drop d = { .which = which, .keep = keep, .n_keep = n_keep };
        char text[4096];
        size_t held = 0;
        long fd, n;

        fd = crew__syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY, 0, 0, 0);
        if (fd < 0)
                return;
        while ((n = crew__syscall(SYS_read, fd, (long)(text + held), (long)(sizeof text - held), 0,
                        0, 0)) > 0) {
                char *line = text, *end = text + held + n, *stop;

                for (; (stop = memchr(line, '\n', (size_t)(end - line))); line = stop + 1) {
                        *stop = '\0';
                        drop_if_shared(&d, line);
                }
                held = (size_t)(end - line);
                memmove(text, line, held);
                /* A path may be that long; what counts stands at its front, which was seen. */
                if (held == sizeof text)
                        held = 128;
        }
        (void)crew__sys_close((int)fd);
}
