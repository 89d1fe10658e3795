/* SPDX-License-Identifier: MIT */
#include "queue/notice.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/lock.h"
#include "kernel/missing.h"
#include "kernel/namespace.h"
#include "queue/queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LABEL "crew:published:"
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

int crew__notice_name(const char *name)
{
        size_t length = name ? strlen(name) : 0;

        if (length == 0 || length >= CREW__NAME_MAX)
                return crew__fail(
                        EINVAL, "queue: a name to publish has 1 to %d bytes", CREW__NAME_MAX - 1);
        for (size_t i = 0; i < length; i++) {
                if ((unsigned char)name[i] < ' ' || name[i] == '/' || name[i] == 0x7f)
                        return crew__fail(EINVAL,
                                "queue: a name to publish has no slash and no control character");
        }
        return 0;
}

static int memfd(const char *label, unsigned flags)
{
        if (crew__has(CREW__NOEXEC_SEAL))
                flags |= MFD_NOEXEC_SEAL;
        return crew__above_stdio(memfd_create(label, MFD_CLOEXEC | flags));
}

/* The device that all memfds lie on; 0 if there is none to be had. */
static dev_t memory_device(void)
{
        CREW__AUTO_CLOSE int fd = memfd("crew", 0);
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 ? st.st_dev : 0;
}

int crew__notice_open(int fds, long number, int flags, struct stat *st)
{
        CREW__AUTO_CLOSE int handle = -1;
        dev_t device = memory_device();
        struct statx seen;
        char path[40];
        int fd;

        (void)snprintf(path, sizeof path, "%ld", number);
        /* This opens nothing, and the question asks no file system: one that somebody else serves
         * could keep us waiting. */
        handle = openat(fds, path, O_PATH | O_CLOEXEC);
        if (handle < 0)
                return -errno;
        if (statx(handle, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &seen) < 0)
                return -errno;
        if (!device || !S_ISREG(seen.stx_mode) ||
                makedev(seen.stx_dev_major, seen.stx_dev_minor) != device)
                return -ENOENT;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", handle);
        fd = crew__above_stdio(open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
        if (fd < 0)
                return -errno;
        if (fstat(fd, st) < 0) {
                (void)crew__close(fd);
                return -EIO;
        }
        return fd;
}

/* What a scan of /proc has come upon. */
typedef struct scan {
        const char *name;
        char link[sizeof "/memfd:" LABEL + CREW__NAME_MAX + sizeof " (deleted)"];
        crew__found *found;
        unsigned own;
        uint32_t second; /* pid of another one */
        bool other_user, other_namespace;
} scan;

static void look_at(scan *s, uint32_t pid, int fds, long number)
{
        struct stat st;
        crew__notice notice;
        CREW__AUTO_CLOSE int fd = crew__notice_open(fds, number, O_RDONLY, &st);

        if (fd < 0 || (size_t)st.st_size != sizeof notice ||
                (fcntl(fd, F_GET_SEALS) & SEALS) != SEALS ||
                pread(fd, &notice, sizeof notice, 0) != sizeof notice)
                return;
        if (notice.magic != CREW__NOTICE_MAGIC || notice.version != CREW__RING_VERSION ||
                strnlen(notice.name, sizeof notice.name) == sizeof notice.name ||
                strcmp(notice.name, s->name) != 0)
                return;
        if (st.st_uid != geteuid()) {
                s->other_user = true;
        } else if (!crew__pid_namespace_is(notice.pid_namespace)) {
                s->other_namespace = true;
        } else if (notice.pid == pid) {
                /* Twice in one process: both ends of a race, one of which will give up. */
                if (s->own++)
                        s->second = pid;
                else
                        *s->found = (crew__found){ .notice = notice, .pid = pid };
        }
}

static void scan_process(scan *s, int proc, const char *number)
{
        size_t length = strlen(s->link);
        char path[32], text[sizeof s->link + 1];
        struct dirent *entry;
        DIR *dir;
        int fd;

        (void)snprintf(path, sizeof path, "%.16s/fd", number);
        fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd >= 0 ? fdopendir(fd) : NULL;
        if (!dir) {
                (void)crew__close(fd);
                return;
        }
        while ((entry = readdir(dir))) {
                ssize_t n = readlinkat(dirfd(dir), entry->d_name, text, sizeof text);

                if (n == (ssize_t)length && memcmp(text, s->link, length) == 0)
                        look_at(s, (uint32_t)strtoul(number, NULL, 10), dirfd(dir),
                                strtol(entry->d_name, NULL, 10));
        }
        (void)closedir(dir);
}

int crew__notice_find(const char *name, crew__found *found)
{
        scan s = { .name = name, .found = found };
        DIR *proc = opendir("/proc");
        struct dirent *entry;

        if (!proc)
                return crew__fail(errno == ENOMEM || errno == EMFILE ? errno : EACCES,
                        "queue %s: looking for it in /proc: %m", name);
        (void)snprintf(s.link, sizeof s.link, "/memfd:%s%s (deleted)", LABEL, name);
        while ((entry = readdir(proc))) {
                if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
                        scan_process(&s, dirfd(proc), entry->d_name);
        }
        (void)closedir(proc);
        if (s.own > 1)
                return crew__fail(EEXIST,
                        "queue %s: published by process %u and by process %u; give them different "
                        "names",
                        name, found->pid, s.second);
        if (s.own)
                return 1;
        if (s.other_namespace)
                return crew__fail(EXDEV,
                        "queue %s: published in another pid namespace; its locks name owners by "
                        "numbers that mean other threads here",
                        name);
        if (s.other_user)
                return crew__fail(EPERM, "queue %s: published by another user", name);
        return 0;
}

static int write_notice(const crew_queue *q, const char *name, uint64_t inode)
{
        CREW__AUTO_CLOSE int fd = -1;
        crew__notice notice;
        char label[sizeof LABEL + CREW__NAME_MAX];

        memset(&notice, 0, sizeof notice);
        notice.magic = CREW__NOTICE_MAGIC;
        notice.version = CREW__RING_VERSION;
        notice.pid = (uint32_t)getpid();
        notice.pid_namespace = crew__pid_namespace();
        notice.ref = q->segment->ref;
        notice.inode = inode;
        notice.fd = q->segment->fd;
        memcpy(notice.name, name, strlen(name));
        (void)snprintf(label, sizeof label, "%s%s", LABEL, name);
        fd = memfd(label, MFD_ALLOW_SEALING);
        if (fd < 0 || write(fd, &notice, sizeof notice) != sizeof notice ||
                fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return crew__fail(errno, "queue %s: publishing it takes 1 descriptor: %s", name,
                        crew_error_text(-errno));
        return crew__take_fd(&fd);
}

/* Two that publish at once may both find the other, and both give up; never do both succeed. */
static int publish(crew_queue *q, const char *name)
{
        CREW__AUTO_CLOSE int fd = -1;
        struct stat st;
        crew__found found;
        int r, none = -1;

        if (q->segment->fd < 0 || fstat(q->segment->fd, &st) < 0)
                return crew__fail(EOPNOTSUPP,
                        "queue %s: this process has no descriptor of it any more; publish it where "
                        "it was made",
                        name);
        r = crew__notice_find(name, &found);
        if (r == 1)
                return crew__fail(EEXIST, "queue %s: process %u has published a queue of that name",
                        name, found.pid);
        if (r < 0 && r != -EXDEV && r != -EPERM)
                return r;
        fd = write_notice(q, name, st.st_ino);
        if (fd < 0)
                return fd;
        r = crew__notice_find(name, &found);
        if (r != 1)
                return r < 0 ? r : crew__fail(EACCES, "queue %s: /proc does not show it", name);
        if (!atomic_compare_exchange_strong(&q->segment->notice, &none, fd))
                return crew__fail(EEXIST, "queue %s: this queue was published already", name);
        fd = -1;
        return 0;
}

int crew_queue_publish(crew_queue *q, const char *name)
{
        int r = crew__notice_name(name);

        if (r == 0)
                r = crew__queue_enter(q);
        if (r < 0)
                return r;
        if (atomic_load(&q->segment->notice) >= 0 &&
                atomic_load(&q->segment->notice_of) == crew__generation())
                return crew__fail(EEXIST, "queue %s: this queue was published already", name);
        /* Inherited: the parent's, and of no use here. */
        if (atomic_load(&q->segment->notice) >= 0)
                (void)crew__close(atomic_exchange(&q->segment->notice, -1));
        r = publish(q, name);
        if (r == 0)
                atomic_store(&q->segment->notice_of, crew__generation());
        return r;
}
