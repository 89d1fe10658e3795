/* SPDX-License-Identifier: MIT */

/*
 * Finding who has to do with crew. Every process whose descriptors may be listed is looked through
 * once, from the top of the kernel's tree down. A child that its parent's page tells of is not, if
 * it has no page of its own: it may have inherited thousands of descriptors, and what they are is
 * known from the parent. Of one whose parent is gone it is the inherited page that tells, so that
 * is looked for first; only who asks for queues has the rest looked through.
 */

#include "status/snapshot.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/namespace.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char prefix[] = "/memfd:crew:";

bool crew__room_for(void *array, size_t n, size_t *room)
{
        size_t more = *room ? 2 * *room : 64;
        void **at = array, *grown;

        if (n < *room)
                return true;
        grown = realloc(*at, more * sizeof(void *));
        if (!grown)
                return false;
        *at = grown;
        *room = more;
        return true;
}

int crew__state_of(char letter)
{
        switch (letter) {
        case 'R':
                return CREW_STATE_RUNNING;
        case 'S':
        case 'I':
                return CREW_STATE_SLEEPING;
        case 'D':
                return CREW_STATE_UNINTERRUPTIBLE;
        case 'T':
                return CREW_STATE_STOPPED;
        case 't':
                return CREW_STATE_TRACED;
        case 'Z':
        case 'X':
                return CREW_STATE_ENDED;
        default:
                return CREW_STATE_UNKNOWN;
        }
}

bool crew__seen_ask(const crew_snapshot *s, crew__seen *p)
{
        if (!p->asked && crew__proc_read_status(s->proc, p->pid, &p->status) == 0) {
                p->asked = true;
                if (!p->status.inner)
                        p->status.inner = p->pid;
        }
        return p->asked;
}

bool crew__seen_between(const crew__seen *p, uint64_t after, uint64_t before)
{
        uint64_t slack = 2 * crew__proc_tick();

        return p->stat.start + slack >= after && p->stat.start <= before + slack;
}

/*
 * Another user's processes are left alone unless all are asked for. What is shown as root's may be
 * ours all the same: a process that cannot be dumped.
 */
static bool concerns(const crew_snapshot *s, const char *pid)
{
        struct stat st;
        uid_t me = geteuid();

        if ((s->flags & CREW_SNAPSHOT_ALL) && me == 0)
                return true;
        return fstatat(s->proc, pid, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               (st.st_uid == me || st.st_uid == 0 || (s->flags & CREW_SNAPSHOT_ALL));
}

static int add(crew_snapshot *s, pid_t pid)
{
        crew__seen *p, *grown;

        if (s->n_all == s->room_all) {
                size_t room = s->room_all ? 2 * s->room_all : 256;

                grown = realloc(s->all, room * sizeof *grown);
                if (!grown)
                        return -ENOMEM;
                s->all = grown;
                s->room_all = room;
        }
        p = &s->all[s->n_all];
        memset(p, 0, sizeof *p);
        p->pid = pid;
        if (crew__proc_read_stat(s->proc, pid, &p->stat))
                s->n_all++;
        return 0;
}

static int by_pid(const void *a, const void *b)
{
        pid_t left = ((const crew__seen *)a)->pid, right = ((const crew__seen *)b)->pid;

        return (left > right) - (left < right);
}

static int list(crew_snapshot *s)
{
        int fd = dup(s->proc), r = 0;
        struct dirent *e;
        DIR *dir;

        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                (void)crew__close(fd);
                return errno == ENOMEM ? -ENOMEM : -EMFILE;
        }
        while (r == 0 && (e = readdir(dir))) {
                char *end;
                long pid = strtol(e->d_name, &end, 10);

                if (pid > 0 && pid <= INT32_MAX && *end == '\0' && concerns(s, e->d_name))
                        r = add(s, (pid_t)pid);
        }
        (void)closedir(dir);
        if (s->n_all)
                qsort(s->all, s->n_all, sizeof *s->all, by_pid);
        return r;
}

static crew__seen *find(const crew_snapshot *s, pid_t pid)
{
        crew__seen key = { .pid = pid };

        return s->n_all ? bsearch(&key, s->all, s->n_all, sizeof *s->all, by_pid) : NULL;
}

static void link_up(crew_snapshot *s)
{
        /* From the back, so that children are in order. */
        for (size_t i = s->n_all; i-- > 0;) {
                crew__seen *p = &s->all[i], *parent = find(s, p->stat.parent);

                if (!parent || parent == p)
                        continue;
                p->parent = parent;
                p->next = parent->child;
                parent->child = p;
        }
}

/* "/memfd:crew:queue:NAME (deleted)": only what is called so is touched. */
static int look_at(crew_snapshot *s, crew__seen *p, int fds, const char *number)
{
        char target[sizeof prefix + 16];
        ssize_t n = readlinkat(fds, number, target, sizeof target - 1);

        if (n < (ssize_t)sizeof prefix || memcmp(target, prefix, sizeof prefix - 1) != 0)
                return 0;
        target[n] = '\0';
        return crew__adopt(s, p, fds, atoi(number), target + sizeof prefix - 1);
}

/* Whatever else it holds would tell nothing: its parent's page tells of it, and that it has none.
 */
static bool told(const crew_snapshot *s, const crew__seen *p)
{
        return p->claimed && !p->own && !(s->flags & CREW_SNAPSHOT_QUEUES);
}

static int look_through(crew_snapshot *s, crew__seen *p)
{
        CREW__AUTO_CLOSE int fds = -1;
        struct dirent *e;
        char path[48];
        int copy, r = 0;
        DIR *dir;

        (void)snprintf(path, sizeof path, "%d/fd", (int)p->pid);
        fds = openat(s->proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* Those that one parent left behind have its page under the same number. */
        if (fds >= 0 && !p->claimed && s->told_by && !(s->flags & CREW_SNAPSHOT_QUEUES)) {
                (void)snprintf(path, sizeof path, "%d", s->told_by - 1);
                r = look_at(s, p, fds, path);
                if (r < 0 || told(s, p))
                        return r;
        }
        copy = fds < 0 ? -1 : dup(fds);
        dir = copy < 0 ? NULL : fdopendir(copy);
        if (!dir) {
                (void)crew__close(copy);
                return 0;
        }
        while (r == 0 && !told(s, p) && (e = readdir(dir))) {
                if (e->d_name[0] != '.')
                        r = look_at(s, p, fds, e->d_name);
        }
        (void)closedir(dir);
        return r;
}

static int keep(crew_snapshot *s, crew__seen *p)
{
        if (!crew__room_for(&s->found, s->n_found, &s->room_found))
                return -ENOMEM;
        s->found[s->n_found++] = p;
        return 0;
}

/* A process and all below it. Without recursion: a tree may be as deep as there are pids. */
static int walk(crew_snapshot *s, crew__seen *root)
{
        crew__seen *p = root;
        int r = 0;

        while (r == 0) {
                if (!p->claimed || p->own)
                        r = look_through(s, p);
                if (r == 0 && p->crew && crew__seen_ask(s, p))
                        r = keep(s, p);
                if (r < 0)
                        break;
                if (p->child) {
                        p = p->child;
                        continue;
                }
                while (p != root && !p->next)
                        p = p->parent;
                if (p == root)
                        break;
                p = p->next;
        }
        return r;
}

void crew__snapshot_prepare(void)
{
        (void)crew__memory_device();
        (void)crew__pid_namespace();
        (void)crew__proc_tick();
        (void)crew__page_size();
}

int crew__gather(crew_snapshot *s)
{
        int r = list(s);

        if (r == 0)
                link_up(s);
        for (size_t i = 0; r == 0 && i < s->n_all; i++) {
                if (!s->all[i].parent)
                        r = walk(s, &s->all[i]);
        }
        free(s->known);
        s->known = NULL;
        s->n_known = s->room_known = 0;
        return r;
}
