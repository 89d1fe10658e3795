/* SPDX-License-Identifier: MIT */

/* Processes that run another program: the host's side. */

#include "base/cleanup.h"
#include "kernel/features.h"
#include "kernel/syscall.h"
#include "kernel/vmclone.h"
#include "process/guardian.h"
#include "process/process.h"
#include "process/starter.h"

#include <limits.h>
#include <string.h>

/*
 * The environment as it is now. The child reads it beside the host, which may change its own
 * meanwhile. Sized by the first look and filled by a second, so a thread that adds to it in between
 * loses only what it adds.
 */
size_t crew__environment_count(size_t *bytes)
{
        size_t n = 0;

        for (; environ && environ[n]; n++)
                *bytes += strlen(environ[n]) + 1;
        return n;
}

size_t crew__environment_copy(const char **list, size_t n, char *text, size_t bytes)
{
        size_t i = 0;

        for (; i < n && environ[i]; i++) {
                size_t size = strlen(environ[i]) + 1;

                if (size > bytes)
                        break;
                list[i] = memcpy(text, environ[i], size);
                text += size;
                bytes -= size;
        }
        list[i] = NULL;
        return i;
}

static const char *search_path(const crew__setup *s)
{
        static const char name[] = "PATH=";

        if (!s->env)
                return getenv("PATH");
        for (const char *const *e = s->env; *e; e++) {
                if (strncmp(*e, name, sizeof name - 1) == 0)
                        return *e + sizeof name - 1;
        }
        return NULL;
}

static int find(const crew_process *p, char found[PATH_MAX])
{
        const crew__setup *s = p->setup;
        int r = crew__program_find(s->argv[0], search_path(s),
                s->directory < 0 ? AT_FDCWD : s->directory, found, PATH_MAX);

        if (r < 0)
                return crew__fail(-r, "process %s: the program '%s': %s", p->name, s->argv[0],
                        r == -ENOENT ? "not found in PATH" : strerror(-r));
        return r;
}

/* What the child will read, in one block that nobody else writes to. */
static int prepare(const crew_process *p, crew__image **image)
{
        const crew__setup *s = p->setup;
        char found[PATH_MAX], *text;
        size_t n_argv = 0, n_env = 0, env = 0, size;
        const char **lists;
        crew__image *m;
        void *room;
        int length;

        length = find(p, found);
        if (length < 0)
                return length;
        while (s->argv[n_argv])
                n_argv++;
        if (!s->env)
                n_env = crew__environment_count(&env);
        /* One pointer more before the arguments, for a shell. */
        size = (n_argv + 2 + n_env + 1) * sizeof *lists + (size_t)length + 1 + env;
        m = crew__image_new(size, &room);
        if (!m)
                return crew__fail(ENOMEM, "process %s: no memory for its start", p->name);
        lists = room;
        text = (char *)(lists + n_argv + 2 + n_env + 1);
        m->argv = lists + 1;
        (void)memcpy(m->argv, s->argv, (n_argv + 1) * sizeof *lists);
        m->program = memcpy(text, found, (size_t)length + 1);
        m->envp = s->env;
        if (!s->env) {
                (void)crew__environment_copy(lists + n_argv + 2, n_env, text + length + 1, env);
                m->envp = lists + n_argv + 2;
        }
        *image = m;
        return 0;
}

static bool guarded(const crew__launch *l)
{
        return (l->p->flags & CREW_PROCESS_DAEMON) && !l->tied;
}

static void fill(crew__image *m, const crew__launch *l)
{
        const crew_process *p = l->p;
        const crew__setup *s = p->setup;

        for (int i = 0; i < 3 && s; i++)
                m->stdio[i] = s->theirs[i];
        m->directory = s ? s->directory : -1;
        m->session = p->flags & CREW_PROCESS_SESSION;
        m->group = p->flags & CREW_PROCESS_GROUP;
        m->tied = l->tied;
        m->parent = l->parent;
        /* A parent that waits for the exec cannot open a gate before it. */
        m->gated = guarded(l) && !CREW__VM_WAITS;
        m->cell = s ? crew__cell_fd(s->confine.cell) : -1;
        /* A child with a target confines itself, last of all. */
        if (!s || p->target)
                return;
        m->nice = s->confine.nice;
        m->cpus = s->confine.cpus;
        m->cpus_size = s->confine.cpus_size;
        m->plan = s->confine.plan;
        m->application.filtered = s->confine.starter;
        /* Under a filter that lets nobody open it, nor be born somewhere else. */
        if (m->application.filtered && m->cell >= 0)
                m->procs = crew__cell_door(m->cell);
        m->application.limits = crew__confine_limits(&s->confine, &m->application.n_limits);
}

static void send_away(crew_process *p)
{
        crew__ending ending;

        (void)crew__sys_pidfd_send_signal(p->pidfd, SIGKILL);
        (void)crew__readable(p->pidfd, crew_clock() + CREW_S(1));
        (void)crew__pidfd_collect(p->pidfd, &ending);
        p->pidfd = crew__close(p->pidfd);
}

/* A daemon whose guardian does not answer is not let go. */
static int guard(const crew__launch *l, crew__image *m)
{
        int r = guarded(l) ? crew__guardian_add(l->p) : 0;

        if (r == 0 && m->gated) {
                atomic_store(&m->gate, 1);
                (void)crew__sys_futex_wake(&m->gate, 1);
        }
        return r;
}

static int listen(crew_process *p, crew__image *m)
{
        int r;

        if (!m->plan || !m->plan->notify || m->application.filtered)
                return 0;
        r = crew__image_listener(m);
        if (r >= 0)
                p->setup->confine.listener = crew__above_stdio(r);
        /* What it died of is the join's to tell. */
        if (r == -ETIMEDOUT)
                return crew__fail(ETIMEDOUT,
                        "process %s: its sandbox is not in force yet; was it stopped?", p->name);
        return 0;
}

static int failed(const crew_process *p, int err)
{
        switch (err) {
        case EMFILE:
        case ENFILE:
                return crew__fail(err,
                        "process %s: no descriptor is left for its pidfd; raise RLIMIT_NOFILE "
                        "(ulimit -n)",
                        p->name);
        case EAGAIN:
                return crew__fail(err,
                        "process %s: the limit of processes is reached (RLIMIT_NPROC, ulimit -u, "
                        "or pids.max of the cgroup)",
                        p->name);
        default:
                return crew__fail(err, "process %s: clone: %s", p->name, strerror(err));
        }
}

static int start_image(crew_process *p, crew__image *m, int *pidfd)
{
        crew__confine *c = p->setup ? &p->setup->confine : NULL;
        int r;

        if (m->application.filtered && m->cell >= 0 && m->procs < 0)
                return failed(p, -m->procs);
        if (!m->application.filtered) {
                r = crew__image_start(m, pidfd);
                return r < 0 ? failed(p, -r) : r;
        }
        r = crew__confine_take(c);
        if (r == -EBUSY)
                return crew__fail(EBUSY,
                        "process %s: its starter has another process, whose handle was not freed",
                        p->name);
        if (r < 0)
                return r;
        r = crew__starter_start(c->starter, m, pidfd);
        if (r >= 0)
                return r;
        crew__confine_let_go(c);
        return failed(p, -r);
}

int crew__program_run(crew__launch *l, crew__image *m)
{
        crew_process *p = l->p;
        int pidfd = -1, pid, r;

        fill(m, l);
        pid = start_image(p, m, &pidfd);
        if (pid < 0)
                return pid;
        p->pid = pid;
        p->pidfd = crew__above_stdio(pidfd);
        r = guard(l, m);
        if (r == 0)
                r = listen(p, m);
        if (r < 0) {
                send_away(p);
                if (m->application.filtered)
                        crew__confine_let_go(&p->setup->confine);
                if (!crew__image_busy(m))
                        m->listener = crew__close(m->listener);
        }
        return r;
}

int crew__program_start(crew__launch *l)
{
        crew_process *p = l->p;
        crew__image *m;
        int r;

        r = prepare(p, &m);
        if (r < 0)
                return r;
        m->keep = p->setup->keep;
        m->n_keep = p->setup->n_keep;
        r = crew__program_run(l, m);
        if (r < 0) {
                crew__image_free(m);
                return r;
        }
        p->setup->image = m;
        return 0;
}

static int cannot_run(const crew_process *p)
{
        const crew__setup *s = p->setup;

        if (s->step == CREW__IMAGE_EXEC)
                return crew__fail(s->error, "process %s: the program '%s': %s", p->name, s->argv[0],
                        strerror(s->error));
        return crew__fail(s->error, "process %s: %s: %s", p->name, crew__image_step_name(s->step),
                strerror(s->error));
}

int crew__program_await(crew_process *p)
{
        crew__ending ending;

        /* It has been started, and no caller could be told so and EINTR. */
        while (crew__image_await(p->setup->image) < 0)
                ;
        crew__setup_settle(p->setup);
        if (!p->setup->error)
                return 0;
        while (crew__readable(p->pidfd, CREW__NEVER) == -EINTR)
                ;
        (void)crew__pidfd_collect(p->pidfd, &ending);
        p->pidfd = crew__close(p->pidfd);
        crew__setup_hang_up(p->setup);
        crew__confine_let_go(&p->setup->confine);
        return cannot_run(p);
}
