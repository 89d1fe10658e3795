/* SPDX-License-Identifier: MIT */
#include "status/snapshot.h"

#include "base/cleanup.h"
#include "base/fail.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static void finish(const crew_snapshot *s, crew__seen *p)
{
        crew_process_info *info = &p->info;
        int kernel = crew__state_of(p->status.state);
        const crew__seen *above = p->parent;

        while (above && !above->crew)
                above = above->parent;
        info->size = sizeof *info;
        info->pid = p->pid;
        info->parent = above ? above->pid : 0;
        info->depth = above ? above->info.depth + 1 : 0;
        info->uid = p->status.uid;
        if (!info->state || (kernel > CREW_STATE_SLEEPING && kernel <= CREW_STATE_ENDED))
                info->state = kernel;
        /* A program that was not started by crew is called what it is. */
        if (!p->name[0] || (info->role == CREW_ROLE_APPLICATION && !p->claimed))
                memcpy(p->name, p->stat.command, sizeof p->name);
        info->name = p->name;
        info->command = p->stat.command;
        info->age = s->boot_time > p->stat.start ? (int64_t)(s->boot_time - p->stat.start) : 0;
        info->cpu_time = (int64_t)p->stat.cpu_time;
        info->memory = p->stat.memory;
        info->task_name = p->task_name;
        info->status = p->task_status;
        info->sandbox = p->sandbox;
        info->violation = p->violation;
        info->seccomp = p->status.seccomp;
        info->filters = p->status.filters;
        info->no_new_privs = p->status.no_new_privs;
}

static int take(crew_snapshot *s)
{
        int r;

        s->proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->proc < 0)
                return errno == EMFILE || errno == ENFILE ? -errno : 0;
        s->time = crew_clock();
        s->boot_time = crew__status_clock();
        r = crew__gather(s);
        s->proc = crew__close(s->proc);
        for (size_t i = 0; i < s->n_found; i++)
                finish(s, s->found[i]);
        return r;
}

int crew_snapshot_new(crew_snapshot **snapshot, uint64_t flags)
{
        static const uint64_t known =
                CREW_SNAPSHOT_ALL | CREW_SNAPSHOT_QUEUES | CREW_SNAPSHOT_PREPARE;
        crew_snapshot *s;
        int r = 0;

        if (!snapshot)
                return crew__fail(EINVAL, "snapshot: nowhere to store it");
        if (flags & ~known)
                return crew__fail(EINVAL, "snapshot: unknown flags 0x%llx",
                        (unsigned long long)(flags & ~known));
        s = calloc(1, sizeof *s);
        if (!s)
                return crew__fail(ENOMEM, "snapshot: no memory for it");
        s->flags = flags;
        s->proc = -1;
        if (flags & CREW_SNAPSHOT_PREPARE)
                crew__snapshot_prepare();
        else
                r = take(s);
        if (r < 0) {
                (void)crew_snapshot_free(s);
                return crew__fail(-r, "snapshot: %s", strerror(-r));
        }
        *snapshot = s;
        return 0;
}

int crew_snapshot_process(crew_snapshot *s, size_t i, const crew_process_info **info)
{
        if (!s || !info)
                return crew__fail(EINVAL, "snapshot: no snapshot, or nowhere to store the answer");
        if (i >= s->n_found)
                return crew__fail_quick(ENOENT, "the snapshot has no more processes");
        *info = &s->found[i]->info;
        return 0;
}

int crew_snapshot_queue(crew_snapshot *s, size_t i, const crew_queue_info **info)
{
        if (!s || !info)
                return crew__fail(EINVAL, "snapshot: no snapshot, or nowhere to store the answer");
        if (i >= s->n_queues)
                return crew__fail_quick(ENOENT, "the snapshot has no more queues");
        *info = &s->queues[i]->info;
        return 0;
}

int64_t crew_snapshot_time(const crew_snapshot *s)
{
        return s ? s->time : 0;
}

crew_snapshot *crew_snapshot_free(crew_snapshot *s)
{
        if (!s)
                return NULL;
        for (size_t i = 0; i < s->n_queues; i++)
                free(s->queues[i]);
        free(s->queues);
        free(s->found);
        free(s->all);
        free(s);
        return NULL;
}

int64_t crew_task_times_end(unsigned bucket)
{
        return (int64_t)crew__gauge_end(bucket < CREW_TASK_TIMES ? bucket : CREW_TASK_TIMES - 1);
}
