/* SPDX-License-Identifier: MIT */

/*
 * A process and all that it started. Who is killed leaves its children to somebody else, and they
 * can no longer be told from others: so the tree is stopped first, until no new leaf is found, and
 * then killed.
 */

#include "base/cleanup.h"
#include "kernel/stat.h"
#include "kernel/syscall.h"
#include "process/process.h"

#include <dirent.h>
#include <stdlib.h>

/* A tree that grows faster than it is looked at is killed as it is. */
enum { PASSES = 64 };

struct entry {
        pid_t pid, parent, group, session;
        uint64_t start; /* with the pid, its name for ever */
        bool dead;      /* and not collected */
        bool ours;
};

struct table {
        struct entry *entries;
        size_t n, room;
};

struct victim {
        pid_t pid;
        uint64_t start;
        int pidfd;
};

struct hunt {
        const crew_process *p;
        bool ended; /* p has: its number may be another's */
        struct table table;
        struct victim *victims;
        size_t n, room;
};

/* False if it is gone. */
static bool read_entry(pid_t pid, struct entry *e)
{
        crew__stat stat;

        if (!crew__stat_read(pid, &stat) || stat.last < CREW__STAT_START)
                return false;
        *e = (struct entry){
                .pid = pid,
                .parent = (pid_t)stat.field[CREW__STAT_PARENT],
                .group = (pid_t)stat.field[CREW__STAT_GROUP],
                .session = (pid_t)stat.field[CREW__STAT_SESSION],
                .start = stat.field[CREW__STAT_START],
                .dead = crew__stat_dead(&stat),
        };
        return true;
}

static int read_table(struct table *t)
{
        DIR *proc = opendir("/proc");
        const struct dirent *d;

        t->n = 0;
        if (!proc)
                return -errno;
        while ((d = readdir(proc))) {
                if (d->d_name[0] < '0' || d->d_name[0] > '9')
                        continue;
                if (t->n == t->room) {
                        size_t room = t->room ? 2 * t->room : 256;
                        struct entry *grown = reallocarray(t->entries, room, sizeof *grown);

                        if (!grown)
                                break;
                        t->entries = grown;
                        t->room = room;
                }
                t->n += read_entry((pid_t)strtol(d->d_name, NULL, 10), &t->entries[t->n]);
        }
        (void)closedir(proc);
        return 0;
}

static const struct entry *find(const struct table *t, pid_t pid)
{
        for (size_t i = 0; i < t->n; i++) {
                if (t->entries[i].pid == pid)
                        return &t->entries[i];
        }
        return NULL;
}

static bool was_found(const struct hunt *h, const struct entry *e)
{
        for (size_t i = 0; i < h->n; i++) {
                if (h->victims[i].pid == e->pid && h->victims[i].start == e->start)
                        return true;
        }
        return false;
}

/* The leader's number stays the group's and the session's while anybody is in them. */
static bool is_member(const struct hunt *h, const struct entry *e)
{
        const crew_process *p = h->p;

        if (h->ended && find(&h->table, p->pid))
                return false;
        return ((p->flags & CREW_PROCESS_SESSION) && e->session == p->pid) ||
               ((p->flags & (CREW_PROCESS_GROUP | CREW_PROCESS_SESSION)) && e->group == p->pid);
}

static void mark(struct hunt *h)
{
        struct table *t = &h->table;
        bool more = true;

        for (size_t i = 0; i < t->n; i++) {
                struct entry *e = &t->entries[i];

                e->ours = (!h->ended && e->pid == h->p->pid) || is_member(h, e) || was_found(h, e);
        }
        while (more) {
                more = false;
                for (size_t i = 0; i < t->n; i++) {
                        struct entry *e = &t->entries[i];
                        const struct entry *parent = e->ours ? NULL : find(t, e->parent);

                        if (parent && parent->ours)
                                more = e->ours = true;
                }
        }
}

/* By pidfd: between the look and the signal its number could become another's. */
static void stop(struct hunt *h, const struct entry *e)
{
        struct victim v = { .pid = e->pid, .start = e->start };
        struct victim *grown;
        struct entry now;

        if (h->n == h->room) {
                size_t room = h->room ? 2 * h->room : 32;

                grown = reallocarray(h->victims, room, sizeof *grown);
                if (!grown)
                        return;
                h->victims = grown;
                h->room = room;
        }
        v.pidfd = crew__sys_pidfd_open(e->pid, 0);
        if (v.pidfd < 0)
                return;
        if (!read_entry(e->pid, &now) || now.start != e->start) {
                (void)close(v.pidfd);
                return;
        }
        (void)crew__sys_pidfd_send_signal(v.pidfd, SIGSTOP);
        h->victims[h->n++] = v;
}

/* How many more were found. */
static size_t pass(struct hunt *h)
{
        size_t before = h->n;

        if (read_table(&h->table) < 0)
                return 0;
        mark(h);
        for (size_t i = 0; i < h->table.n; i++) {
                const struct entry *e = &h->table.entries[i];

                if (e->ours && !e->dead && e->pid != getpid() && !was_found(h, e))
                        stop(h, e);
        }
        return h->n - before;
}

/* Who left the session is still in the cell of its memory limit, if it has one. */
static void kill_cell(crew_process *p)
{
        (void)pthread_mutex_lock(&p->lock);
        if (p->setup && p->setup->confine.cell)
                (void)crew__cell_kill(p->setup->confine.cell);
        (void)pthread_mutex_unlock(&p->lock);
}

/* In a pid namespace without a /proc of its own the numbers there are another namespace's. */
static bool proc_is_ours(void)
{
        char self[24] = "";

        return readlink("/proc/self", self, sizeof self - 1) > 0 &&
               strtol(self, NULL, 10) == getpid();
}

int crew_process_kill_tree(crew_process *p)
{
        int r = crew__process_enter_joinable(p), killed;
        struct hunt h = { .p = p };

        if (r < 0)
                return r;
        if (p->role != CREW__CHILD)
                return crew__fail(ECHILD, "process %s: not a child of this process", p->name);
        h.ended = crew__process_poll_ended(p) > 0;
        if (proc_is_ours()) {
                for (int i = 0; i < PASSES && pass(&h) > 0; i++)
                        ;
        } else if (!h.ended && p->flags & (CREW_PROCESS_GROUP | CREW_PROCESS_SESSION)) {
                /* Its group was made before it could do anything, and has its number. */
                (void)kill(-p->pid, SIGKILL);
        }
        kill_cell(p);
        if (!h.ended)
                (void)crew__sys_pidfd_send_signal(p->pidfd, SIGKILL);
        for (size_t i = 0; i < h.n; i++) {
                (void)crew__sys_pidfd_send_signal(h.victims[i].pidfd, SIGKILL);
                (void)close(h.victims[i].pidfd);
        }
        killed = (int)h.n;
        free(h.victims);
        free(h.table.entries);
        return killed;
}
