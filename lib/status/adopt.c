/* SPDX-License-Identifier: MIT */

/*
 * What a process holds, and whom that tells of. A page is believed about the process that holds it
 * if it names that one and was made by its user; and about processes that are the kernel's children
 * of it (or of a server of it), run under the same user and were started when the page says.
 */

#include "status/snapshot.h"

#include "base/cleanup.h"
#include "kernel/namespace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        MOST_PAGE = 8 << 20,
        MOST_PERCH = 4096,
        MOST_LANE = 2048,
        QUEUE_HEAD = 2048,
};

/* Is that pid, in the namespace of `holder`, the one it calls itself? */
static bool is_itself(
        const crew_snapshot *s, crew__seen *p, const crew__memory *m, uint32_t pid, uint64_t since)
{
        return crew__seen_ask(s, p) && (uint32_t)p->status.inner == pid &&
               m->uid == p->status.uid && crew__seen_between(p, 0, since);
}

static bool is_child(const crew_snapshot *s, const crew__seen *of, crew__seen *p, uint32_t pid,
        uint64_t after, uint64_t before)
{
        return crew__seen_ask(s, p) && (uint32_t)p->status.inner == pid &&
               p->status.uid == of->status.uid && crew__seen_between(p, after, before);
}

static void claim(crew__seen *p, const crew__seen_row *row)
{
        p->crew = true;
        p->own |= row->own != 0;
        p->info.role = (int)row->role;
        p->info.method = (int)row->method;
        p->info.landlock = row->landlock;
        memcpy(p->name, row->name, sizeof p->name);
        memcpy(p->sandbox, row->sandbox, sizeof row->sandbox);
}

/* The row that is about `c`, in the page of `owner`. */
static bool claim_one(const crew_snapshot *s, const crew__seen *owner, crew__seen *c,
        const char *bytes, size_t n, const crew__seen_page *page)
{
        crew__seen_row row;

        if (!crew__seen_ask(s, c))
                return false;
        for (uint32_t i = 1; i < page->n_rows; i++) {
                size_t at = (size_t)page->rows_at + (size_t)i * page->row_size;
                uint32_t pid;

                memcpy(&pid, bytes + at, sizeof pid);
                if (pid != (uint32_t)c->status.inner)
                        continue;
                crew__decode_row(bytes, n, page, i, &row);
                if (!is_child(s, owner, c, row.pid, row.after, row.before))
                        continue;
                claim(c, &row);
                c->claimed = true;
                return true;
        }
        return false;
}

/*
 * The rows, by the kernel's list of the children. A child without one that has children with one is
 * a server that made them, and those that crew calls so are servers too.
 */
static void claim_children(const crew_snapshot *s, crew__seen *owner, const char *bytes, size_t n,
        const crew__seen_page *page)
{
        for (crew__seen *c = owner->child; c; c = c->next) {
                bool serves = strncmp(c->stat.command, "crew-", 5) == 0;

                if (c->claimed || claim_one(s, owner, c, bytes, n, page))
                        continue;
                for (crew__seen *below = c->child; below; below = below->next) {
                        if (!below->claimed && claim_one(s, owner, below, bytes, n, page))
                                serves = true;
                }
                if (!serves || !crew__seen_ask(s, c) || c->status.uid != owner->status.uid)
                        continue;
                c->crew = true;
                c->info.role = CREW_ROLE_SERVER;
        }
}

static int adopt_page(crew_snapshot *s, crew__seen *p, const crew__memory *m, int number)
{
        size_t size = m->size < MOST_PAGE ? (size_t)m->size : MOST_PAGE, n;
        CREW__AUTO_FREE char *bytes = malloc(size);
        crew__seen_page page;
        crew__seen_row row;

        if (!bytes)
                return -ENOMEM;
        n = crew__memory_read(m, bytes, size, 0);
        if (!crew__decode_page(bytes, n, &page) || !crew__seen_ask(s, p))
                return 0;
        p->crew = true;
        if (!page.n_rows)
                return crew__remember(s, m->inode, NULL);
        if (!is_itself(s, p, m, page.pid, page.since)) {
                /* A child that outlived the parent whose page it inherited. */
                if (!p->claimed && m->uid == p->status.uid && claim_one(s, p, p, bytes, n, &page))
                        s->told_by = number + 1;
                return 0;
        }
        crew__decode_row(bytes, n, &page, 0, &row);
        if (!p->claimed)
                claim(p, &row);
        p->own = true;
        claim_children(s, p, bytes, n, &page);
        return 0;
}

/* What a worker tells about itself. */
static void adopt_worker(crew_snapshot *s, const crew__memory *m, int fds,
        const crew__seen_pool *pool, const crew__seen_seat *seat, uint32_t index, crew__seen *w)
{
        char bytes[MOST_PERCH];
        crew__memory lane = { .fd = -1 };
        crew__seen_perch perch;
        crew__seen_lane at = { 0 };
        size_t n = pool->perch_step < MOST_PERCH ? pool->perch_step : MOST_PERCH;

        n = crew__memory_read(m, bytes, n, pool->perches_at + (uint64_t)index * pool->perch_step);
        crew__decode_perch(bytes, n, pool, &perch);
        if (seat->lane && crew__memory_open(fds, (int)(seat->lane - 1), &lane) == 0) {
                n = crew__memory_read(&lane, bytes, MOST_LANE, 0);
                crew__decode_lane(bytes, n, pool, &at);
                (void)crew__close(lane.fd);
        }
        memcpy(w->info.task_times, perch.times, sizeof perch.times);
        w->info.done = at.done;
        w->info.task = at.current;
        w->info.state = !perch.ready ? CREW_STATE_STARTING
                        : at.current ? CREW_STATE_BUSY
                                     : CREW_STATE_IDLE;
        w->info.violations = perch.refused;
        if (!at.current)
                return;
        w->info.task_age = at.since <= (uint64_t)s->time ? s->time - (int64_t)at.since : 0;
        memcpy(w->task_status, perch.status, sizeof perch.status);
        if (at.current >= seat->named)
                memcpy(w->task_name, seat->name, sizeof seat->name);
}

static void claim_worker(crew_snapshot *s, crew__seen *application, const crew__memory *m, int fds,
        const crew__seen_pool *pool, const char *seats, size_t n, crew__seen *w)
{
        crew__seen_seat seat;

        for (uint32_t i = 0; i < pool->n_seats; i++) {
                uint32_t pid = 0;

                if ((size_t)i * pool->seat_size + sizeof pid > n)
                        return;
                memcpy(&pid, seats + (size_t)i * pool->seat_size, sizeof pid);
                if (pid != (uint32_t)w->status.inner)
                        continue;
                crew__decode_seat(seats, n, pool, i, &seat);
                if (!is_child(s, application, w, seat.pid, seat.after, seat.before))
                        continue;
                w->crew = w->claimed = true;
                w->info.role = CREW_ROLE_WORKER;
                w->info.method = (int)pool->method;
                w->info.landlock = pool->landlock;
                memcpy(w->sandbox, pool->sandbox, sizeof w->sandbox);
                (void)snprintf(w->name, sizeof w->name, "%.40s-worker-%u", pool->name, i);
                adopt_worker(s, m, fds, pool, &seat, i, w);
                return;
        }
}

static void claim_pool(crew__seen *zygote, const crew__seen_pool *pool)
{
        crew_process_info *info = &zygote->info;

        zygote->crew = zygote->claimed = true;
        info->role = CREW_ROLE_POOL;
        info->method = (int)pool->method;
        info->state = pool->state;
        info->workers = pool->workers;
        info->busy = pool->busy;
        info->submitted = pool->submitted;
        info->done = pool->done;
        info->failed = pool->failed;
        info->queued = pool->queued;
        info->replaced = pool->replaced;
        info->violations = pool->violations;
        memcpy(zygote->name, pool->name, sizeof zygote->name);
        memcpy(zygote->violation, pool->violation, sizeof zygote->violation);
}

static int adopt_pool(crew_snapshot *s, crew__seen *p, int fds, const crew__memory *m)
{
        crew__seen_pool pool;
        CREW__AUTO_FREE char *seats = NULL;
        char head[2048];
        size_t n = crew__memory_read(m, head, sizeof head, 0);

        if (!crew__decode_pool(head, n, m->size, &pool))
                return 0;
        p->crew = true;
        if (!is_itself(s, p, m, pool.pid, pool.since))
                return 0;
        n = (size_t)pool.n_seats * pool.seat_size;
        if (n > MOST_PAGE)
                n = MOST_PAGE;
        seats = malloc(n ? n : 1);
        if (!seats)
                return -ENOMEM;
        n = crew__memory_read(m, seats, n, pool.seats_at);
        for (crew__seen *z = p->child; z; z = z->next) {
                if (z->claimed || !is_child(s, p, z, pool.zygote, pool.since, UINT64_MAX / 2))
                        continue;
                claim_pool(z, &pool);
                for (crew__seen *w = z->child; w; w = w->next) {
                        if (crew__seen_ask(s, w))
                                claim_worker(s, p, m, fds, &pool, seats, n, w);
                }
                break;
        }
        return 0;
}

/* The thread that a lock names, if its number means something here. */
static void find_owner(const crew_snapshot *s, uint64_t pid_namespace, crew_lock_info *lock)
{
        crew__proc_status status;
        int r;

        if (!lock->thread)
                return;
        lock->alive = -1;
        if (pid_namespace && pid_namespace != crew__pid_namespace())
                return;
        r = crew__proc_read_status(s->proc, lock->thread, &status);
        if (r == -ENOENT || r == -ESRCH)
                lock->alive = 0;
        if (r < 0)
                return;
        lock->state = crew__state_of(status.state);
        lock->alive = lock->state != CREW_STATE_ENDED;
        lock->pid = status.process;
}

static int adopt_queue(crew_snapshot *s, crew__seen *p, const crew__memory *m)
{
        crew__seen_queue queue;
        crew__seen_thing *made;
        char head[QUEUE_HEAD];
        size_t n;

        p->crew = true;
        if (!(s->flags & CREW_SNAPSHOT_QUEUES))
                return 0;
        if (!crew__room_for(&s->queues, s->n_queues, &s->room_queues))
                return -ENOMEM;
        made = calloc(1, sizeof *made);
        if (!made)
                return -ENOMEM;
        n = crew__memory_read(m, head, sizeof head, 0);
        if (!crew__decode_queue(head, n, m->size, &queue, &made->info)) {
                free(made);
                return 0;
        }
        if (crew__remember(s, m->inode, made) < 0) {
                free(made);
                return -ENOMEM;
        }
        memcpy(made->name, queue.name, sizeof made->name);
        made->info.name = made->name;
        made->info.id = m->inode;
        made->info.owner = p->pid;
        made->info.holders = 1;
        find_owner(s, queue.pid_namespace, &made->info.producers);
        find_owner(s, queue.pid_namespace, &made->info.consumers);
        s->queues[s->n_queues++] = made;
        return 0;
}

/* Nothing that has been read already is opened once more. */
static bool adopt_known(const crew_snapshot *s, crew__seen *p, int fds, int number)
{
        const crew__known *known = NULL;
        crew__memory m;

        if (s->n_known && crew__memory_look(fds, number, &m) == 0)
                known = crew__recall(s, m.inode);
        if (!known)
                return false;
        p->crew = true;
        if (known->queue)
                known->queue->info.holders++;
        return true;
}

int crew__adopt(crew_snapshot *s, crew__seen *p, int fds, int number, const char *kind)
{
        bool page = strncmp(kind, "status:", 7) == 0, queue = strncmp(kind, "queue:", 6) == 0;
        bool pool = strncmp(kind, "pool:", 5) == 0;
        crew__memory m;
        int r = 0;

        if (!page && !queue && !pool)
                return 0;
        /* All that a queue would tell then is known. */
        if (queue && p->crew && !(s->flags & CREW_SNAPSHOT_QUEUES))
                return 0;
        if (adopt_known(s, p, fds, number) || crew__memory_open(fds, number, &m) < 0)
                return 0;
        if (page)
                r = adopt_page(s, p, &m, number);
        else if (pool)
                r = adopt_pool(s, p, fds, &m);
        else
                r = adopt_queue(s, p, &m);
        (void)crew__close(m.fd);
        return r;
}
