/* SPDX-License-Identifier: MIT */

/* Starting this program anew: the parent's side. */

#include "process/spawn.h"

#include "base/cleanup.h"
#include "kernel/features.h"
#include "kernel/lock.h"
#include "kernel/syscall.h"
#include "status/page.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* From the exec to crew_spawn_main() it is the program's own: its libraries, its constructors. */
#define PATIENCE CREW_S(60)

/* For one that was killed to end. */
#define FAREWELL CREW_S(1)

static const char program[] = "/proc/self/exe";

static int ascending(const void *a, const void *b)
{
        int left = *(const int *)a, right = *(const int *)b;

        return (left > right) - (left < right);
}

/* Descriptors that survive the exec, under their numbers: 0-2 and those of the parcel. */
static size_t list_kept(int *keep, const crew__packed *packed)
{
        size_t n = 0, unique = 0;

        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                keep[n++] = fd;
        for (size_t i = 0; i < packed->n; i++) {
                if (packed->fd[i] > STDERR_FILENO)
                        keep[n++] = packed->fd[i];
        }
        qsort(keep, n, sizeof *keep, ascending);
        for (size_t i = 0; i < n; i++) {
                if (!unique || keep[unique - 1] != keep[i])
                        keep[unique++] = keep[i];
        }
        return unique;
}

static bool is_marker(const char *string)
{
        static const char name[] = CREW__SPAWN_MARKER "=";

        return strncmp(string, name, sizeof name - 1) == 0;
}

/* The environment with the marker in it. */
static const char *const *copy_environment(const char *const *env, size_t n_env, size_t bytes,
        const char **list, char *text, const char *marker)
{
        size_t n = 0;

        list[n++] = marker;
        if (env) {
                for (; *env; env++) {
                        if (!is_marker(*env))
                                list[n++] = *env;
                }
                list[n] = NULL;
        } else {
                (void)crew__environment_copy(list + 1, n_env, text, bytes);
        }
        return list;
}

/*
 * argv[1] is for who looks at it: `ps` names the process, and a program that takes it for an
 * argument of its own, because it does not call crew_spawn_main(), mostly complains.
 */
static int prepare(
        crew__image **image, const char *name, const char *const *env, const crew__packed *packed)
{
        enum { MARKER = 64, TITLE = 80 };
        const char *argv0 = program_invocation_name;
        size_t bytes = 0, n_env = 0, size;
        const char **lists;
        crew__image *m;
        char *text;
        void *room;
        int *keep;

        if (env)
                while (env[n_env])
                        n_env++;
        else
                n_env = crew__environment_count(&bytes);
        size = (4 + n_env + 2) * sizeof *lists + (packed->n + 3) * sizeof *keep + MARKER + TITLE +
               bytes;
        m = crew__image_new(size, &room);
        if (!m)
                return crew__fail(ENOMEM, "process %s: no memory for its start", name);
        lists = room;
        keep = (int *)(lists + 4 + n_env + 2);
        text = (char *)(keep + packed->n + 3);
        (void)snprintf(text, MARKER, CREW__SPAWN_MARKER "=%d.%" PRIx64,
                packed->fd[CREW__PARCEL_ITSELF], packed->cookie);
        (void)snprintf(text + MARKER, TITLE, "crew:%.60s", name);
        m->program = program;
        m->argv = lists + 1;
        m->argv[0] = argv0;
        m->argv[1] = text + MARKER;
        m->argv[2] = NULL;
        m->envp = copy_environment(env, n_env, bytes, lists + 4, text + MARKER + TITLE, text);
        m->keep = keep;
        m->n_keep = list_kept(keep, packed);
        *image = m;
        return 0;
}

static int fail_packing(const char *name, int r)
{
        if (r == -EMFILE || r == -ENFILE)
                return crew__fail(-r,
                        "process %s: no descriptor is left; raise RLIMIT_NOFILE (ulimit -n)", name);
        return r == -EBADF ? r
                           : crew__fail(-r, "process %s: what it is given: %s", name, strerror(-r));
}

/* A server's child works where the host works and has the host's standard descriptors, not the
 * server's; a spawned one is given both by its image. Returns what has to be closed. */
static int lend_surroundings(const crew_process *p, crew__packing *what)
{
        const crew__setup *s = p->setup;
        int opened = -1;

        if (p->method != CREW_METHOD_FORKSERVER)
                return -1;
        what->env = s ? s->env : NULL;
        for (int i = 0; i < 3; i++) {
                what->stdio[i] = s && s->theirs[i] >= 0 ? s->theirs[i] : i;
                if (fcntl(what->stdio[i], F_GETFD) < 0)
                        what->stdio[i] = -1;
        }
        what->directory = s ? s->directory : -1;
        if (what->directory < 0)
                what->directory = opened =
                        crew__above_stdio(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
        return opened;
}

struct crew__confine_note *crew__spawn_note(const crew__segment *page)
{
        enum { NOTE_AT = 1024 };

        _Static_assert(sizeof(crew__child_page) <= NOTE_AT, "the note lies behind the page's own");
        _Static_assert(NOTE_AT + sizeof(struct crew__confine_note) <= 4096, "in the same page");
        return (struct crew__confine_note *)(void *)((char *)page->address + NOTE_AT);
}

void crew__spawn_unpack(crew_process *p)
{
        if (p->setup)
                crew__confine_lend(&p->setup->confine, NULL);
        p->page = crew__segment_unref(p->page);
}

/* What confines the child, for the parcel; what is returned has to be freed. */
static void *pack_confines(const crew_process *p, crew__packing *what, int *r)
{
        crew__confine *c = p->setup ? &p->setup->confine : NULL;
        void *bytes = NULL;

        if (!c)
                return NULL;
        crew__confine_lend(c, crew__spawn_note(p->page));
        what->confine_size = crew__confine_packed(c);
        if (!what->confine_size)
                return NULL;
        bytes = malloc(what->confine_size);
        if (!bytes) {
                *r = -ENOMEM;
                return NULL;
        }
        crew__confine_pack(c, bytes);
        what->confine = bytes;
        what->extra[0] = c->plan ? c->plan->ruleset.fd : -1;
        return bytes;
}

int crew__spawn_pack(crew__launch *l, crew__site *target, crew__packed *packed)
{
        crew_process *p = l->p;
        const crew__setup *s = p->setup;
        crew__packing what = CREW__PACKING;
        crew__function *function;
        void *confine;
        int opened, r;

        what.name = p->name;
        what.identity = p->identity;
        memcpy(&function, &p->target, sizeof function);
        r = crew__site_of(target, function);
        if (r < 0)
                return crew__fail(ENOENT,
                        "process %s: its function, %s, is in no library and not in the program",
                        p->name, target->name);
        r = crew__page_new(&p->page, p->name);
        if (r < 0)
                return fail_packing(p->name, r);
        what.page = p->page->fd;
        what.head.kind = CREW__PARCEL_CHILD;
        what.head.target = *target;
        what.head.flags = p->flags;
        what.head.mask = l->mask;
        what.head.tied =
                p->method == CREW_METHOD_FORKSERVER ? !!(p->flags & CREW_PROCESS_DAEMON) : l->tied;
        what.arg = p->arg;
        what.arg_size = p->arg_size;
        if (s) {
                what.keep = s->keep + CREW__SETUP_STANDARD;
                what.n_keep = s->n_keep - CREW__SETUP_STANDARD;
                what.objects = s->grants;
                what.n_objects = s->n_grants;
        }
        confine = pack_confines(p, &what, &r);
        opened = lend_surroundings(p, &what);
        if (r == 0)
                r = crew__parcel_pack(packed, &what);
        else
                *packed = (crew__packed){ .opened = -1 };
        packed->opened = opened;
        free(confine);
        if (r == 0)
                return 0;
        crew__parcel_drop(packed);
        crew__spawn_unpack(p);
        return fail_packing(p->name, r);
}

int crew__spawn_start(crew__launch *l)
{
        crew_process *p = l->p;
        crew__image *m = NULL;
        crew__packed packed;
        crew__site target;
        int r;

        r = crew__spawn_possible(p->name);
        if (r == 0)
                r = crew__spawn_pack(l, &target, &packed);
        if (r < 0)
                return r;
        r = prepare(&m, p->name, p->setup ? p->setup->env : NULL, &packed);
        if (r == 0)
                r = crew__program_run(l, m);
        if (r < 0) {
                crew__image_free(m);
                crew__parcel_drop(&packed);
                crew__spawn_unpack(p);
                return r;
        }
        crew__page_gate(crew__page_of(p->page), CREW__GATE_OPEN);
        /* The child has its own of what is in the parcel once it has exec'd. */
        while (crew__image_await(m) < 0)
                ;
        p->spawn_error = m->error;
        crew__image_free(m);
        crew__parcel_drop(&packed);
        return 0;
}

/*
 * It has no future: collects it, so that the start can be tried again. Not for ever: in the middle
 * of some device's work, or held by a debugger, it does not end yet. Then it is left to whoever
 * collects this process's children, at last to init.
 */
static void abandon(crew_process *p)
{
        int64_t until = crew_clock() + FAREWELL;
        crew__ending ending;

        (void)crew__sys_pidfd_send_signal(p->pidfd, SIGKILL);
        while (crew__readable(p->pidfd, until) == -EINTR)
                ;
        (void)crew__pidfd_collect(p->pidfd, &ending);
        p->pidfd = crew__close(p->pidfd);
        crew__spawn_unpack(p);
}

static int refused(crew_process *p, uint32_t arrival, bool ended)
{
        const crew__child_page *page = crew__child_page_of(p->page);
        int err = atomic_load(&page->arrival_error);
        crew__function *function;
        crew__site target;

        memcpy(&function, &p->target, sizeof function);
        if (p->spawn_error)
                return crew__fail(p->spawn_error, "process %s: starting %s: %s", p->name, program,
                        strerror(p->spawn_error));
        if (arrival == CREW__ARRIVAL_NO_TARGET) {
                (void)crew__site_of(&target, function);
                return crew__fail(ENOENT,
                        "process %s: its function, %s, is not in the new process: its library was "
                        "loaded later than crew_spawn_main() was called, or has changed",
                        p->name, target.name);
        }
        if (arrival == CREW__ARRIVAL_FAILED)
                return crew__fail(err > 0 && err < 4096 ? err : EIO,
                        "process %s: the new process could not take over what it was given: %s",
                        p->name, strerror(err));
        return crew__fail(EOPNOTSUPP,
                "process %s: the new process %s; crew_spawn_main() must be the first call of "
                "main(), whatever the arguments and the environment are",
                p->name,
                ended ? "ended before it called crew_spawn_main()"
                      : "has not called crew_spawn_main() for a minute");
}

int crew__spawn_await(crew_process *p)
{
        crew__child_page *page = crew__child_page_of(p->page);
        int64_t until = crew_clock() + PATIENCE;
        bool ended = false, late = false;
        uint32_t arrival;
        int r;

        /* The end is looked at first, so that nothing it wrote before is missed. */
        while ((arrival = atomic_load(&page->arrival)) == CREW__ARRIVAL_NONE && !ended && !late) {
                (void)crew__sys_futex_wait(
                        &page->arrival, CREW__ARRIVAL_NONE, crew_clock() + CREW__SLICE);
                ended = crew__readable(p->pidfd, 0) == 0;
                late = crew_clock() > until;
        }
        if (arrival == CREW__ARRIVAL_NONE)
                arrival = atomic_load(&page->arrival);
        if (arrival == CREW__ARRIVAL_READY)
                return 0;
        r = refused(p, arrival, ended);
        abandon(p);
        return r;
}

int crew__spawn_server(const char *name, crew__entry *entry, crew__packing *what, int *pidfd)
{
        crew__function *function;
        crew__image *m = NULL;
        crew__packed packed;
        int r = crew__spawn_possible(name), pid = 0;

        if (r < 0)
                return r;
        memcpy(&function, &entry, sizeof function);
        what->head.kind = CREW__PARCEL_SERVER;
        if (crew__site_of(&what->head.target, function) < 0)
                return crew__fail(ENOENT, "%s: it is in no module of this program", name);
        r = crew__parcel_pack(&packed, what);
        if (r < 0)
                return fail_packing(name, r);
        r = prepare(&m, name, NULL, &packed);
        if (r == 0) {
                pid = crew__image_start(m, pidfd);
                r = pid < 0 ? crew__fail(-pid, "%s: starting this helper process: %s", name,
                                      strerror(-pid))
                            : pid;
        }
        if (r > 0) {
                *pidfd = crew__above_stdio(*pidfd);
                while (crew__image_await(m) < 0)
                        ;
        }
        crew__image_free(m);
        crew__parcel_drop(&packed);
        return r;
}
