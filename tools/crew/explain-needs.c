/* SPDX-License-Identifier: MIT */
#include "explain-needs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* What a call does to its path. */
enum { OPENS = 1, CHANGES, RUNS, OPENS_HOW, CONNECTS, MAKES_SOCKET, CLOSED };

/* Which argument has the path, and which the directory that it is relative to (-1: the working
 * one). */
static const struct call {
        const char *name;
        int does, path, directory;
        int also; /* the argument of a second path that it changes, + 1; its directory's is before
                     it */
} calls[] = {
        { "open", OPENS, 0, -1 },
        { "openat", OPENS, 1, 0 },
        { "openat2", OPENS_HOW, 1, 0 },
        { "creat", CHANGES, 0, -1 },
        { "truncate", CHANGES, 0, -1 },
        { "unlink", CHANGES, 0, -1 },
        { "unlinkat", CHANGES, 1, 0 },
        { "rmdir", CHANGES, 0, -1 },
        { "mkdir", CHANGES, 0, -1 },
        { "mkdirat", CHANGES, 1, 0 },
        { "rename", CHANGES, 1, -1, 1 },
        { "renameat", CHANGES, 3, 2, 2 },
        { "renameat2", CHANGES, 3, 2, 2 },
        { "link", CHANGES, 1, -1 },
        { "linkat", CHANGES, 3, 2 },
        { "symlink", CHANGES, 1, -1 },
        { "symlinkat", CHANGES, 2, 1 },
        { "mknod", CHANGES, 0, -1 },
        { "mknodat", CHANGES, 1, 0 },
        { "execve", RUNS, 0, -1 },
        { "connect", CONNECTS, 1, -1 },
        { "bind", CONNECTS, 1, -1 },
        { "socket", MAKES_SOCKET, 0, -1 },
        /* What it did there was not seen. */
        { "io_uring_setup", CLOSED, 0, -1 },
        { "ptrace", CLOSED, 0, -1 },
        { "mount", CLOSED, 0, -1 },
        { "unshare", CLOSED, 0, -1 },
        { "setns", CLOSED, 0, -1 },
        { "bpf", CLOSED, 0, -1 },
        { "keyctl", CLOSED, 0, -1 },
        { "perf_event_open", CLOSED, 0, -1 },
        { "userfaultfd", CLOSED, 0, -1 },
        { "process_vm_readv", CLOSED, 0, -1 },
        { "process_vm_writev", CLOSED, 0, -1 },
        { "chroot", CLOSED, 0, -1 },
        { "pivot_root", CLOSED, 0, -1 },
};

enum { CALLS = sizeof calls / sizeof *calls };

const char *const needs_calls[] = { "open", "openat", "openat2", "creat", "truncate", "unlink",
        "unlinkat", "rmdir", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link",
        "linkat", "symlink", "symlinkat", "mknod", "mknodat", "execve", "connect", "bind", "socket",
        "io_uring_setup", "ptrace", "mount", "unshare", "setns", "bpf", "keyctl", "perf_event_open",
        "userfaultfd", "process_vm_readv", "process_vm_writev", "chroot", "pivot_root", NULL };

/* A file's name shall not give orders to the terminal. */
static char *printable(const char *text)
{
        char *copy = strdup(text);

        for (char *at = copy; at && *at; at++) {
                if ((unsigned char)*at < ' ' || *at == 0x7f)
                        *at = '?';
        }
        return copy;
}

static void add(struct needs *needs, const char *option, const char *what)
{
        struct need *grown;

        for (size_t i = 0; i < needs->n; i++) {
                const struct need *n = &needs->list[i];

                /* The first of a kind is example enough. */
                if (strcmp(n->option, option) == 0 && (*option || strcmp(n->what, what) == 0))
                        return;
        }
        grown = reallocarray(needs->list, needs->n + 1, sizeof *grown);
        if (!grown)
                return;
        needs->list = grown;
        grown[needs->n] = (struct need){ .option = printable(option), .what = printable(what) };
        if (grown[needs->n].option && grown[needs->n].what) {
                needs->n++;
                return;
        }
        free(grown[needs->n].option);
        free(grown[needs->n].what);
}

/* One call is refused in containers, one file where /proc is another's. Both follow ptrace(2)'s
 * rules. */
static ssize_t read_part(pid_t pid, const struct iovec *to, uint64_t from)
{
        struct iovec remote = { .iov_len = to->iov_len };
        char name[32];
        ssize_t n;
        int fd, error;

        memcpy(&remote.iov_base, &from, sizeof remote.iov_base);
        n = process_vm_readv(pid, to, 1, &remote, 1, 0);
        if (n >= 0 || (errno != EPERM && errno != ENOSYS))
                return n;
        (void)snprintf(name, sizeof name, "/proc/%d/mem", (int)pid);
        fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
                /* No /proc, or none that shows it. */
                if (errno == ENOENT && kill(pid, 0) == 0)
                        errno = EPERM;
                return -1;
        }
        n = preadv(fd, to, 1, (off_t)from);
        error = errno;
        (void)close(fd);
        errno = error;
        return n;
}

/* What a call is about could not be seen, for a reason that is none of the call's own. */
static void not_seen(struct needs *needs, int error)
{
        needs->missed = true;
        if (!needs->error)
                needs->error = error;
}

/* The other process's memory, up to the end of a string or of a page that is there. */
static bool read_memory(struct needs *needs, pid_t pid, uint64_t from, void *to, size_t size)
{
        const size_t page = 4096;
        size_t held = 0;

        while (held < size) {
                size_t part = page - (from + held) % page;
                struct iovec local = { .iov_base = (char *)to + held,
                        .iov_len = part < size - held ? part : size - held };
                ssize_t n = read_part(pid, &local, from + held);

                /* No such memory: the call itself fails of that. No such process: killed. */
                if (n < 0 && errno != EFAULT && errno != EIO && errno != ESRCH && errno != ENOENT)
                        not_seen(needs, errno);
                if (n <= 0)
                        break;
                if (memchr(local.iov_base, 0, (size_t)n))
                        return true;
                held += (size_t)n;
        }
        return false;
}

/* The whole path; of a file that is not there yet its directory's, and its name. */
static bool whole_path(const char *path, char whole[PATH_MAX])
{
        char directory[PATH_MAX], *slash;

        if (realpath(path, whole))
                return true;
        (void)snprintf(directory, sizeof directory, "%s", path);
        slash = strrchr(directory, '/');
        if (!slash)
                return false;
        *slash = '\0';
        if (!realpath(*directory ? directory : "/", whole) ||
                strlen(whole) + strlen(slash + 1) + 2 > PATH_MAX)
                return false;
        (void)strcat(strcat(whole, "/"), slash + 1);
        return true;
}

/* As the call means it: relative to its directory. */
static bool path_of(struct needs *needs, pid_t pid, const struct call *call, const uint64_t args[6],
        char whole[PATH_MAX])
{
        char given[PATH_MAX] = "", base[64], joined[2 * PATH_MAX];
        int directory = call->directory < 0 ? AT_FDCWD : (int)args[call->directory];

        if (!read_memory(needs, pid, args[call->path], given, sizeof given) || !*given)
                return false;
        if (*given == '/')
                return whole_path(given, whole);
        if (directory == AT_FDCWD)
                (void)snprintf(base, sizeof base, "/proc/%d/cwd", (int)pid);
        else
                (void)snprintf(base, sizeof base, "/proc/%d/fd/%d", (int)pid, directory);
        if (readlink(base, joined, sizeof joined) < 0) {
                /* No such descriptor: the call fails of that. */
                if (errno != ENOENT || access("/proc/self", F_OK) != 0)
                        not_seen(needs, errno);
                return false;
        }
        (void)snprintf(joined, sizeof joined, "%s/%s", base, given);
        return whole_path(joined, whole);
}

static void parent_of(const char *path, char directory[PATH_MAX])
{
        char *slash;

        (void)snprintf(directory, PATH_MAX, "%s", path);
        slash = strrchr(directory, '/');
        if (slash)
                *(slash == directory ? slash + 1 : slash) = '\0';
}

/* A device has no directory that one would want to open for it. */
static void add_path(struct needs *needs, const char *option, const char *verb, const char *path)
{
        char directory[PATH_MAX], text[PATH_MAX + 32], what[PATH_MAX + 32];

        if (strncmp(path, "/dev/", 5) == 0)
                (void)snprintf(directory, sizeof directory, "%s", path);
        else
                parent_of(path, directory);
        (void)snprintf(text, sizeof text, "%s %s", option, directory);
        (void)snprintf(what, sizeof what, "%s %s", verb, path);
        add(needs, text, what);
}

static void look_at_change(struct needs *needs, const struct profile *p, const char *path)
{
        char directory[PATH_MAX];

        parent_of(path, directory);
        /* What the user may not do needs no option. */
        if (!profile_writes(p, path) &&
                (access(path, W_OK) == 0 || (errno == ENOENT && access(directory, W_OK) == 0)))
                add_path(needs, "--rw", "wrote", path);
}

static void look_at_open(
        struct needs *needs, const struct profile *p, const char *path, uint64_t flags)
{
        if ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC)) {
                look_at_change(needs, p, path);
                return;
        }
        if (!profile_reads(p, path) && access(path, R_OK) == 0)
                add_path(needs, "--ro", "read", path);
}

static void look_at_address(struct needs *needs, pid_t pid, const uint64_t args[6])
{
        struct sockaddr_un address = { 0 };
        char what[sizeof address + 32];

        (void)read_memory(needs, pid, args[1], &address, sizeof address);
        if (address.sun_family != AF_UNIX)
                return;
        /* Name services are asked for on the way, and mostly not there. */
        if (address.sun_path[0] && access(address.sun_path, F_OK) < 0)
                return;
        (void)snprintf(what, sizeof what, "used the socket %.*s", (int)sizeof address.sun_path - 1,
                address.sun_path + !address.sun_path[0]);
        add(needs, "--allow unix", what);
}

static void look(
        struct needs *needs, const struct profile *p, pid_t pid, int nr, const uint64_t args[6])
{
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr), path[PATH_MAX];
        const struct call *call = NULL;
        uint64_t flags = 0;

        for (size_t i = 0; name && i < CALLS; i++) {
                if (strcmp(calls[i].name, name) == 0)
                        call = &calls[i];
        }
        free(name);
        if (!call)
                return;
        switch (call->does) {
        case CONNECTS:
                look_at_address(needs, pid, args);
                return;
        case MAKES_SOCKET:
                if ((args[0] == AF_INET || args[0] == AF_INET6) && !p->net)
                        add(needs, "--net", "made an internet socket");
                return;
        case CLOSED:
                add(needs, "", call->name);
                return;
        default:
                if (!path_of(needs, pid, call, args, path))
                        return;
        }
        if (call->does == CHANGES) {
                look_at_change(needs, p, path);
                if (call->also) {
                        const struct call second = { .path = call->also - 1,
                                .directory = call->directory < 0 ? -1 : call->also - 2 };

                        if (path_of(needs, pid, &second, args, path))
                                look_at_change(needs, p, path);
                }
        } else if (call->does == RUNS)
                look_at_open(needs, p, path, O_RDONLY);
        else {
                if (call->does == OPENS)
                        flags = args[call->path + 1];
                else
                        (void)read_memory(needs, pid, args[2], &flags, sizeof flags);
                look_at_open(needs, p, path, flags);
        }
}

void needs_look(
        struct needs *needs, const struct profile *p, pid_t pid, int nr, const uint64_t args[6])
{
        needs->calls++;
        look(needs, p, pid, nr, args);
        needs->unseen += needs->missed;
        needs->missed = false;
}

void needs_print(const struct needs *needs, const struct profile *p, FILE *out)
{
        char profile[512];
        bool some = false;

        profile_describe(p, profile, sizeof profile);
        if (!needs->n && needs->unseen)
                return;
        if (!needs->n) {
                (void)fprintf(out, "it needs nothing beyond %s\n", profile);
                return;
        }
        (void)fprintf(out, "beyond %s it needs:\n", profile);
        for (size_t i = 0; i < needs->n; i++) {
                const struct need *n = &needs->list[i];

                if (*n->option)
                        (void)fprintf(out, "  %-24s it %s\n", n->option, n->what);
                else
                        (void)fprintf(out, "  %s, which no option allows\n", n->what);
                some |= *n->option;
        }
        if (!some)
                return;
        (void)fprintf(out, "options:");
        for (size_t i = 0; i < needs->n; i++) {
                if (*needs->list[i].option)
                        (void)fprintf(out, " %s", needs->list[i].option);
        }
        (void)fprintf(out, "\n");
}

void needs_free(struct needs *needs)
{
        for (size_t i = 0; i < needs->n; i++) {
                free(needs->list[i].option);
                free(needs->list[i].what);
        }
        free(needs->list);
        *needs = (struct needs){ 0 };
}
