/* SPDX-License-Identifier: MIT */

/* What is shown of processes. */

#include "columns.h"

#include "cli.h"

#include <inttypes.h>

static const char *const roles[] = {
        [CREW_ROLE_OTHER] = "other",
        [CREW_ROLE_APPLICATION] = "application",
        [CREW_ROLE_PROCESS] = "process",
        [CREW_ROLE_SERVER] = "server",
        [CREW_ROLE_POOL] = "pool",
        [CREW_ROLE_WORKER] = "worker",
};

static const struct {
        const char *name, *colour;
} states[] = {
        [CREW_STATE_UNKNOWN] = { "unknown", NULL },
        [CREW_STATE_RUNNING] = { "running", CLI_GREEN },
        [CREW_STATE_SLEEPING] = { "sleeping", NULL },
        [CREW_STATE_UNINTERRUPTIBLE] = { "waiting", CLI_YELLOW },
        [CREW_STATE_STOPPED] = { "stopped", CLI_RED },
        [CREW_STATE_TRACED] = { "traced", CLI_RED },
        [CREW_STATE_ENDED] = { "ended", CLI_RED },
        [CREW_STATE_STARTING] = { "starting", CLI_YELLOW },
        [CREW_STATE_IDLE] = { "idle", NULL },
        [CREW_STATE_BUSY] = { "busy", CLI_GREEN },
        [CREW_STATE_OPEN] = { "open", NULL },
        [CREW_STATE_CLOSED] = { "closed", NULL },
        [CREW_STATE_TERMINATED] = { "terminated", CLI_YELLOW },
        [CREW_STATE_BROKEN] = { "broken", CLI_RED },
};

static const char *const methods[] = { NULL, "fork", "forkserver", "spawn", "exec" };

#define NAME_OF(list, i) ((size_t)(i) < sizeof(list) / sizeof *(list) ? (list)[i] : NULL)

static void text(struct view_value *v, const char *value)
{
        v->known = value && *value;
        v->text = value;
}

static void number(struct view_value *v, int64_t value)
{
        v->known = true;
        v->number = value;
}

static bool is_worker(const crew_process_info *p)
{
        return p->role == CREW_ROLE_WORKER;
}

static bool is_pool(const crew_process_info *p)
{
        return p->role == CREW_ROLE_POOL;
}

/* The same process in the snapshot before. */
static const crew_process_info *earlier(const struct view *view, const crew_process_info *p)
{
        const crew_process_info *was = view->before ? view_process(view->before, p->pid) : NULL;

        return was && was->role == p->role && was->age <= p->age ? was : NULL;
}

#define PROCESS(name_)                                                                             \
        static void get_##name_(const struct view *view, const void *info, struct view_value *v)

/* Every getter has both and few need the view. */
#define P                                                                                          \
        const crew_process_info *p = info;                                                         \
        (void)view

PROCESS(pid)
{
        P;
        number(v, p->pid);
}

PROCESS(parent)
{
        P;
        if (p->parent)
                number(v, p->parent);
}

PROCESS(uid)
{
        P;
        number(v, p->uid);
}

PROCESS(name)
{
        P;
        text(v, p->name);
}

PROCESS(command)
{
        P;
        text(v, p->command);
}

PROCESS(role)
{
        P;
        text(v, NAME_OF(roles, p->role));
}

PROCESS(state)
{
        P;
        if ((size_t)p->state >= sizeof states / sizeof *states)
                return;
        text(v, states[p->state].name);
        v->colour = states[p->state].colour;
}

PROCESS(task)
{
        P;
        if (!is_worker(p) || !p->task)
                return;
        if (*p->task_name)
                (void)snprintf(v->store, sizeof v->store, "%s", p->task_name);
        else
                (void)snprintf(v->store, sizeof v->store, "#%" PRIu64, p->task);
        text(v, v->store);
}

PROCESS(task_id)
{
        P;
        if (is_worker(p) && p->task)
                number(v, (int64_t)p->task);
}

PROCESS(task_age)
{
        P;
        if (is_worker(p) && p->task)
                number(v, p->task_age);
}

PROCESS(status)
{
        P;
        text(v, p->status);
        if (!is_pool(p) || !p->workers)
                return;
        (void)snprintf(v->store, sizeof v->store, "%u of %u busy, %" PRIu64 " waiting", p->busy,
                p->workers, p->queued);
        text(v, v->store);
}

PROCESS(done)
{
        P;
        if (is_worker(p) || is_pool(p))
                number(v, (int64_t)p->done);
}

PROCESS(done_rate)
{
        P;
        const crew_process_info *was = earlier(view, p);

        if (was && (is_worker(p) || is_pool(p)))
                view_set_rate(view, v, (int64_t)(p->done - was->done));
}

/* The task times of a worker: since the snapshot before, or ever. */
static uint64_t add_times(const struct view *view, const crew_process_info *p, bool ever,
        uint64_t count[CREW_TASK_TIMES])
{
        const crew_process_info *was = ever ? NULL : earlier(view, p);
        uint64_t total = 0;

        for (unsigned i = 0; i < CREW_TASK_TIMES; i++) {
                uint32_t n = p->task_times[i] - (was ? was->task_times[i] : 0);

                count[i] += n;
                total += n;
        }
        return total;
}

/* The same of a worker, or of all workers of a pool. */
static uint64_t collect_times(const struct view *view, const crew_process_info *p, bool ever,
        uint64_t count[CREW_TASK_TIMES])
{
        const crew_process_info *w;
        uint64_t total = 0;

        for (unsigned i = 0; i < CREW_TASK_TIMES; i++)
                count[i] = 0;
        if (is_worker(p))
                return add_times(view, p, ever, count);
        for (size_t i = 0; is_pool(p) && crew_snapshot_process(view->now, i, &w) == 0; i++) {
                if (w->parent == p->pid && is_worker(w))
                        total += add_times(view, w, ever, count);
        }
        return total;
}

/* The bucket that `percent` of the tasks lie in or below; since the snapshot before if there were
 * any, else ever. */
static void quantile(
        const struct view *view, const crew_process_info *p, struct view_value *v, unsigned percent)
{
        uint64_t count[CREW_TASK_TIMES], seen = 0;
        uint64_t total = collect_times(view, p, false, count);

        if (!total)
                total = collect_times(view, p, true, count);
        for (unsigned i = 0; total && i < CREW_TASK_TIMES; i++) {
                seen += count[i];
                if (seen * 100 < total * percent)
                        continue;
                number(v, crew_task_times_end(i));
                return;
        }
}

PROCESS(p50)
{
        P;
        quantile(view, p, v, 50);
}

PROCESS(p99)
{
        P;
        quantile(view, p, v, 99);
}

PROCESS(cpu)
{
        P;
        const crew_process_info *was = earlier(view, p);
        int64_t used = was ? p->cpu_time - was->cpu_time : p->cpu_time;
        int64_t time =
                was ? crew_snapshot_time(view->now) - crew_snapshot_time(view->before) : p->age;

        if (time > 0)
                number(v, (int64_t)((double)used * 1000 / (double)time));
}

PROCESS(cpu_time)
{
        P;
        number(v, p->cpu_time);
}

PROCESS(memory)
{
        P;
        number(v, (int64_t)p->memory);
}

PROCESS(age)
{
        P;
        number(v, p->age);
}

PROCESS(method)
{
        P;
        text(v, NAME_OF(methods, p->method));
}

PROCESS(sandbox)
{
        P;
        text(v, p->sandbox);
}

/* What is in force, as achieved: "nnp seccomp:1 landlock:7". */
PROCESS(enforced)
{
        P;
        size_t n = 0;

        v->store[0] = '\0';
        if (p->no_new_privs > 0)
                n += (size_t)snprintf(v->store, sizeof v->store, "nnp");
        if (p->seccomp > 0)
                n += (size_t)snprintf(v->store + n, sizeof v->store - n, "%sseccomp:%u",
                        n ? " " : "", p->filters);
        if (p->landlock > 0)
                (void)snprintf(v->store + n, sizeof v->store - n, "%slandlock:%d", n ? " " : "",
                        p->landlock);
        text(v, v->store);
}

PROCESS(no_new_privs)
{
        P;
        if (p->no_new_privs >= 0)
                number(v, p->no_new_privs);
}

PROCESS(seccomp)
{
        P;
        if (p->seccomp >= 0)
                number(v, p->seccomp);
}

PROCESS(landlock)
{
        P;
        number(v, p->landlock);
}

PROCESS(violations)
{
        P;
        if (!is_worker(p) && !is_pool(p))
                return;
        number(v, (int64_t)p->violations);
        v->colour = p->violations ? CLI_RED : NULL;
}

PROCESS(violation)
{
        P;
        text(v, p->violation);
        v->colour = CLI_RED;
}

#define POOL_NUMBER(name_, field)                                                                  \
        PROCESS(name_)                                                                             \
        {                                                                                          \
                P;                                                                                 \
                if (is_pool(p))                                                                    \
                        number(v, (int64_t)p->field);                                              \
        }

POOL_NUMBER(workers, workers)
POOL_NUMBER(busy, busy)
POOL_NUMBER(submitted, submitted)
POOL_NUMBER(failed, failed)
POOL_NUMBER(queued, queued)
POOL_NUMBER(replaced, replaced)

static const struct view_column process_columns[] = {
        COLUMN(pid, "PID", VIEW_NUMBER, true, "process id"),
        COLUMN(name, "NAME", VIEW_TEXT, true, "what crew knows it by"),
        COLUMN(role, "ROLE", VIEW_TEXT, true, "application, process, pool, worker, server, other"),
        COLUMN(state, "STATE", VIEW_TEXT, true, "the kernel's word if out of the ordinary"),
        COLUMN(task, "TASK", VIEW_TEXT, true, "name or number of the task it runs"),
        COLUMN(task_age, "AGE", VIEW_TIME, true, "for how long it has run the task"),
        COLUMN(status, "STATUS", VIEW_TEXT, true,
                "what the task says of itself; how busy a pool is"),
        COLUMN(done, "DONE", VIEW_NUMBER, true, "tasks done: by this worker, in this pool"),
        COLUMN(cpu, "%CPU", VIEW_PERCENT, true, "of one processor, since start or the last look"),
        COLUMN(memory, "MEM", VIEW_BYTES, true, "resident memory"),
        COLUMN(method, "START", VIEW_TEXT, true, "how it was started"),
        COLUMN(sandbox, "SANDBOX", VIEW_TEXT, true, "the words of its sandbox"),
        COLUMN(enforced, "ENFORCED", VIEW_TEXT, true,
                "what the kernel enforces: no_new_privs, filters, Landlock's ABI"),
        COLUMN(violation, "VIOLATION", VIEW_TEXT, true, "the last call a sandbox refused"),
        COLUMN(parent, "PARENT", VIEW_NUMBER, false, "the process above it"),
        COLUMN(uid, "UID", VIEW_NUMBER, false, "its user"),
        COLUMN(command, "COMMAND", VIEW_TEXT, false, "what the kernel knows it by"),
        COLUMN(age, "UP", VIEW_TIME, false, "time since it was started"),
        COLUMN(cpu_time, "TIME", VIEW_TIME, false, "processor time used"),
        COLUMN(task_id, "TASKID", VIEW_NUMBER, false, "number of the task it runs"),
        COLUMN(done_rate, "DONE/s", VIEW_RATE, false, "tasks per second since the last look"),
        COLUMN(p50, "P50", VIEW_TIME, false,
                "half of the tasks took no longer: its own, or its pool's"),
        COLUMN(p99, "P99", VIEW_TIME, false, "99 of 100 of them took no longer"),
        COLUMN(workers, "WORKERS", VIEW_NUMBER, false, "pool: workers that live"),
        COLUMN(busy, "BUSY", VIEW_NUMBER, false, "pool: workers that have tasks"),
        COLUMN(queued, "QUEUED", VIEW_NUMBER, false, "pool: tasks that no worker has yet"),
        COLUMN(submitted, "SUBMITTED", VIEW_NUMBER, false, "pool: tasks ever submitted"),
        COLUMN(failed, "FAILED", VIEW_NUMBER, false, "pool: tasks that failed"),
        COLUMN(replaced, "REPLACED", VIEW_NUMBER, false, "pool: workers that were replaced"),
        COLUMN(violations, "VIOLATIONS", VIEW_NUMBER, false, "calls that a sandbox refused"),
        COLUMN(no_new_privs, "NNP", VIEW_FLAG, false, "no_new_privs is set"),
        COLUMN(seccomp, "SECCOMP", VIEW_NUMBER, false, "0 off, 2 filtered"),
        COLUMN(landlock, "LANDLOCK", VIEW_NUMBER, false, "Landlock's ABI, 0 = not limited by it"),
};

const struct view_table view_processes = {
        .what = "processes",
        .columns = process_columns,
        .n_columns = sizeof process_columns / sizeof *process_columns,
        .name = 1,
};

const char *view_state_name(int state)
{
        return (size_t)state < sizeof states / sizeof *states ? states[state].name : "unknown";
}
