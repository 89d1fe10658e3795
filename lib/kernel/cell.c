/* SPDX-License-Identifier: MIT */
#include "kernel/cell.h"

#include "base/cleanup.h"
#include "kernel/cgroup.h"
#include "kernel/features.h"
#include "kernel/generation.h"
#include "kernel/syscall.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* Makers in other pid namespaces have the same numbers. */
enum { NAMES = 1000 };

static const char prefix[] = "crew-";

struct crew__cell {
        int fd;
        uint64_t generation; /* of its maker */
        char name[32];
};

/* For one look at where this process is; too large for the stacks of some threads. */
struct search {
        struct crew__hierarchy v2, v1;
        char own[2 * PATH_MAX];
};

/* How often others' litter is looked for. */
#define SWEEP CREW_S(1)

/* Of this process: the next cell's number, whether it left litter, when it looked for some. */
static _Atomic unsigned number;
static _Atomic bool littered;
static _Atomic int64_t swept;

static int read_text(int directory, const char *name, char *text, size_t size)
{
        CREW__AUTO_CLOSE int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read(fd, text, size - 1);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        return 0;
}

static int write_text(int directory, const char *name, const char *text)
{
        CREW__AUTO_CLOSE int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Is memory one of the words in that file? */
static bool has_memory(int directory, const char *name)
{
        static const char between[] = " \t\n";
        char text[512], *rest = text;
        const char *word;

        if (read_text(directory, name, text, sizeof text) < 0)
                return false;
        while ((word = strsep(&rest, between))) {
                if (strcmp(word, "memory") == 0 || strcmp(word, "+memory") == 0)
                        return true;
        }
        return false;
}

/* Whose procs may be written, may take processes from it and give it some. */
static int writable(int directory, const char *name)
{
        if (faccessat(directory, name, W_OK, AT_EACCESS) == 0)
                return 0;
        return errno == EROFS ? -EACCES : -errno;
}

static int usable(const char *path)
{
        CREW__AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        if (!has_memory(fd, "cgroup.controllers"))
                return -EOPNOTSUPP;
        r = writable(fd, ".");
        if (r == 0)
                r = writable(fd, "cgroup.procs");
        if (r < 0 || has_memory(fd, "cgroup.subtree_control"))
                return r;
        /* Refused where processes are in it, but for the root of all. */
        return write_text(fd, "cgroup.subtree_control", "+memory");
}

/* The group of version 2 is "0::/path". */
static bool find_own(const char *root, struct search *s)
{
        FILE *f = crew__open_below(root, "/proc/self/cgroup");
        bool found = false;
        char *line = NULL;
        size_t size = 0;

        while (f && !found && getline(&line, &size, f) > 0) {
                if (strncmp(line, "0::", 3) != 0)
                        continue;
                line[strcspn(line, "\n")] = '\0';
                /* Above what can be seen from here is none of ours. */
                found = !strstr(line, "/..") &&
                        crew__cgroup_path(&s->v2, line + 3, s->own, sizeof s->own);
        }
        free(line);
        if (f)
                (void)fclose(f);
        return found;
}

static int find_place(const char *root, struct search *s, char *path, size_t size)
{
        size_t top;
        char *slash;
        int r, above;

        crew__cgroup_mounts(root, "memory", &s->v2, &s->v1);
        if (!s->v2.found || !find_own(root, s))
                return -ENOENT;
        top = strlen(s->v2.mount);
        slash = strrchr(s->own, '/');
        /* Cells beside one's own would be a way out of its limit. */
        if (strlen(s->own) > top && strncmp(slash + 1, prefix, sizeof prefix - 1) == 0)
                return -EBUSY;
        if (snprintf(path, size, "%s%s", root, s->own) >= (int)size)
                return -ENAMETOOLONG;
        r = usable(path);
        if (r == 0 || strlen(s->own) <= top)
                return r;
        path[strlen(root) + (size_t)(slash - s->own)] = '\0';
        above = usable(path);
        /* What keeps the group above from being used is what somebody can do something about. */
        return above == 0 || above != -EOPNOTSUPP ? above : r;
}

int crew__cell_place(const char *root, char *path, size_t size)
{
        struct search *s = calloc(1, sizeof *s);
        int r = s ? find_place(root, s, path, size) : -ENOMEM;

        free(s);
        return r;
}

/* The place where cells can be made, opened. */
static int open_place(void)
{
        CREW__AUTO_FREE char *path = malloc(2 * PATH_MAX);
        int r = path ? crew__cell_place("", path, 2 * PATH_MAX) : -ENOMEM, fd;

        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* Who comes between the making of a cell and its lock finds it unlocked, too, and removes it: its
 * maker sees that and makes another. */
static void sweep(int place)
{
        int copy = fcntl(place, F_DUPFD_CLOEXEC, 0);
        DIR *all = copy < 0 ? NULL : fdopendir(copy);
        const struct dirent *d;
        char own[32];

        (void)snprintf(own, sizeof own, "%s%d-", prefix, (int)getpid());
        atomic_store(&swept, crew_clock());
        atomic_store(&littered, false);
        if (!all)
                (void)crew__close(copy);
        while (all && (d = readdir(all))) {
                int fd;

                if (strncmp(d->d_name, prefix, sizeof prefix - 1) != 0)
                        continue;
                fd = openat(place, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
                        unlinkat(place, d->d_name, AT_REMOVEDIR) < 0 &&
                        strncmp(d->d_name, own, strlen(own)) == 0)
                        atomic_store(&littered, true);
                (void)close(fd);
        }
        if (all)
                (void)closedir(all);
}

static int set_limit(int fd, uint64_t memory)
{
        char text[24];
        int r;

        (void)snprintf(text, sizeof text, "%" PRIu64, memory);
        r = write_text(fd, "memory.max", text);
        if (r < 0)
                return r;
        /* Not in every kernel: then what is swapped does not count, and the kernel ends one of them
         * only. */
        (void)write_text(fd, "memory.swap.max", "0");
        (void)write_text(fd, "memory.oom.group", "1");
        return 0;
}

/* 0 and c->fd; -ENODEV: somebody took it for litter. */
static int lock_and_limit(crew__cell *c, int place, uint64_t memory)
{
        int r = -ENODEV;

        c->fd = crew__above_stdio(openat(place, c->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (c->fd < 0)
                return errno == ENOENT ? -ENODEV : -errno;
        if (flock(c->fd, LOCK_EX | LOCK_NB) == 0)
                r = set_limit(c->fd, memory);
        if (r < 0)
                c->fd = crew__close(c->fd);
        return r;
}

static int make(crew__cell *c, int place, uint64_t memory)
{
        int r = -EEXIST;

        for (int i = 0; i < NAMES && (r == -EEXIST || r == -ENODEV); i++) {
                (void)snprintf(c->name, sizeof c->name, "%s%d-%u", prefix, (int)getpid(),
                        atomic_fetch_add(&number, 1));
                r = mkdirat(place, c->name, 0755) < 0 ? -errno : 0;
                if (r < 0)
                        continue;
                r = lock_and_limit(c, place, memory);
                if (r < 0 && r != -ENODEV)
                        (void)unlinkat(place, c->name, AT_REMOVEDIR);
        }
        return r;
}

int crew__cell_new(crew__cell **cell, uint64_t memory)
{
        CREW__AUTO_CLOSE int place = open_place();
        crew__cell *c;
        int r;

        if (place < 0)
                return place;
        if (atomic_load(&littered) || crew_clock() - atomic_load(&swept) > SWEEP)
                sweep(place);
        c = calloc(1, sizeof *c);
        if (!c)
                return -ENOMEM;
        c->generation = crew__generation();
        r = make(c, place, memory);
        if (r < 0) {
                free(c);
                return r;
        }
        *cell = c;
        return 0;
}

crew__cell *crew__cell_for(uint64_t memory)
{
        crew__cell *cell = NULL;
        int r;

        if (!memory || !crew__has(CREW__CGROUP_MEMORY))
                return NULL;
        r = crew__cell_new(&cell, memory);
        if (r < 0)
                crew__feature_fell_short(CREW__CGROUP_MEMORY, -r);
        return cell;
}

int crew__cell_fd(const crew__cell *cell)
{
        return cell ? cell->fd : -1;
}

int crew__cell_door(int fd)
{
        return (int)crew__syscall(
                SYS_openat, fd, (long)"cgroup.procs", O_WRONLY | O_CLOEXEC, 0, 0, 0);
}

int crew__cell_pass(int door)
{
        /* 0 is who writes it. */
        static const char self[] = "0";
        long r = crew__syscall(SYS_write, door, (long)self, sizeof self - 1, 0, 0, 0);

        return r < 0 ? (int)r : 0;
}

int crew__cell_enter(int fd)
{
        int door = crew__cell_door(fd), r;

        if (door < 0)
                return door;
        r = crew__cell_pass(door);
        (void)crew__sys_close(door);
        return r;
}

int crew__cell_admit(const crew__cell *cell, pid_t pid)
{
        char text[16];

        (void)snprintf(text, sizeof text, "%d", (int)pid);
        return write_text(cell->fd, "cgroup.procs", text);
}

/* The number behind a word that begins a line, or 0. */
static unsigned long long count_of(const crew__cell *cell, const char *file, const char *word)
{
        size_t length = strlen(word);
        char text[1024], *rest = text;
        const char *line;

        if (read_text(cell->fd, file, text, sizeof text) < 0)
                return 0;
        while ((line = strsep(&rest, "\n"))) {
                if (strncmp(line, word, length) == 0 && line[length] == ' ')
                        return strtoull(line + length, NULL, 10);
        }
        return 0;
}

bool crew__cell_starved(const crew__cell *cell)
{
        return cell && count_of(cell, "memory.events", "oom_kill") > 0;
}

bool crew__cell_empty(const crew__cell *cell)
{
        return count_of(cell, "cgroup.events", "populated") == 0;
}

int crew__cell_kill(const crew__cell *cell)
{
        return write_text(cell->fd, "cgroup.kill", "1");
}

void crew__cell_tidy(int64_t deadline)
{
        struct timespec nap = crew__timespec(CREW_MS(1));
        CREW__AUTO_CLOSE int place = -1;

        if (!atomic_load(&littered))
                return;
        place = open_place();
        while (place >= 0) {
                sweep(place);
                if (!atomic_load(&littered) || crew_clock() >= deadline)
                        return;
                (void)nanosleep(&nap, NULL);
        }
}

static crew__cell *drop(crew__cell *cell)
{
        if (cell) {
                (void)close(cell->fd);
                free(cell);
        }
        return NULL;
}

crew__cell *crew__cell_abandon(crew__cell *cell)
{
        atomic_store(&littered, true);
        return drop(cell);
}

crew__cell *crew__cell_free(crew__cell *cell, int64_t deadline)
{
        struct timespec nap = crew__timespec(CREW_MS(1));
        CREW__AUTO_CLOSE int place = -1;

        if (!cell || cell->generation != crew__generation())
                return drop(cell);
        place = openat(cell->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        while (place >= 0 && unlinkat(place, cell->name, AT_REMOVEDIR) < 0 && errno == EBUSY) {
                (void)crew__cell_kill(cell);
                if (crew_clock() >= deadline) {
                        atomic_store(&littered, true);
                        break;
                }
                (void)nanosleep(&nap, NULL);
        }
        return drop(cell);
}

crew__cell *crew__cell_vacate(crew__cell *cell)
{
        if (!cell || crew__cell_empty(cell))
                return crew__cell_free(cell, 0);
        (void)crew__cell_kill(cell);
        return cell;
}
