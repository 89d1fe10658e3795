/* SPDX-License-Identifier: MIT */

/* A process of this program that is no fork of its parent: from main(), or from the fork server. */

#include "base/cleanup.h"
#include "kernel/syscall.h"
#include "process/registry.h"
#include "process/spawn.h"
#include "status/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

/* The status of a child that never came to run its target; nobody is left to see it. */
enum { NEVER_RAN = 255 };

static const char marker[] = CREW__SPAWN_MARKER;

/* Did main() call us? Inherited by forks, whose program is the same. */
static _Atomic bool called;

int crew__spawn_possible(const char *who)
{
        if (getauxval(AT_SECURE))
                return crew__fail(EOPNOTSUPP,
                        "%s: a program with set-user-ID, set-group-ID or file capabilities is not "
                        "started anew; use CREW_METHOD_FORK",
                        who);
        if (!atomic_load(&called))
                return crew__fail(EOPNOTSUPP,
                        "%s: main() has not called crew_spawn_main(), so a new process of this "
                        "program would do all that main() does; make it the first call of main(), "
                        "or use CREW_METHOD_FORK",
                        who);
        return 0;
}

static crew__child_page *attach_page(crew__delivery *d, crew_process *p)
{
        static const int no_events[CREW__SEGMENT_EVENTS] = { -1, -1 };
        int *fd = &d->fd[CREW__PARCEL_PAGE];

        if (crew__segment_attach(&p->page, (crew_ref){ .word = { 0, 0 } },
                    crew__page_round(sizeof(crew__child_page)), 0, *fd, no_events) < 0)
                return NULL;
        *fd = -1;
        return crew__child_page_of(p->page);
}

/* Handle, names and argument, for as long as the process lives. */
static crew_process *make_self(const crew__delivery *d, crew_target_fn *target)
{
        const crew__parcel *parcel = d->parcel;
        size_t arg = (parcel->arg_size + 15) & ~(size_t)15;
        size_t name = parcel->name.size, identity = parcel->identity.size;
        crew_process *p = calloc(1, sizeof *p + arg + name + identity);
        char *text;

        if (!p)
                return NULL;
        atomic_init(&p->references, 1);
        p->pidfd = -1;
        p->target = target;
        p->flags = parcel->flags;
        if (parcel->arg_size)
                p->arg = memcpy((char *)p + sizeof *p, (const char *)parcel + parcel->arg,
                        parcel->arg_size);
        text = (char *)p + sizeof *p + arg;
        p->name = memcpy(text, crew__parcel_text(d, parcel->name), name);
        p->identity = memcpy(text + name, crew__parcel_text(d, parcel->identity), identity);
        return p;
}

static void become_child_of(const crew__delivery *d)
{
        const crew__parcel *parcel = d->parcel;

        crew__current_pose(strdup(crew__parcel_text(d, parcel->sender_name)),
                strdup(crew__parcel_text(d, parcel->sender_identity)), parcel->sender_flags,
                d->fd[CREW__PARCEL_APPLICATION]);
}

static int set_environment(const crew__delivery *d)
{
        size_t size = d->parcel->env.size, n = 0;
        char *text = malloc(size), **list;

        if (!text)
                return -ENOMEM;
        memcpy(text, crew__parcel_text(d, d->parcel->env), size);
        for (size_t i = 0; i < size; i++)
                n += !text[i];
        list = malloc((n + 1) * sizeof *list);
        if (!list) {
                free(text);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++) {
                list[i] = text;
                text += strlen(text) + 1;
        }
        list[n] = NULL;
        environ = list;
        return 0;
}

/* What crew__child_main enters, last of all. */
static int set_confines(const crew__delivery *d, crew_process *p)
{
        static crew__setup setup = {
                .theirs = { -1, -1, -1 },
                .directory = -1,
                .ours = { -1, -1, -1 },
                .confine.listener = -1,
        };

        if (!d->parcel->confine.size)
                return 0;
        crew__confine_lend(&setup.confine, crew__spawn_note(p->page));
        p->setup = &setup;
        return crew__confine_unpack(&setup.confine, crew__parcel_confine(d),
                d->parcel->confine.size, d->fd[CREW__PARCEL_EXTRA]);
}

/* As crew__parcel_settle; what the application has closed of 0-2 is not the server's instead. */
static int settle(crew__delivery *d, bool hatched)
{
        bool none[3];
        int r;

        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                none[fd] = hatched && d->fd[CREW__PARCEL_STDIN + fd] < 0;
        r = crew__parcel_settle(d);
        for (int fd = 0; fd <= STDERR_FILENO; fd++) {
                if (none[fd])
                        (void)close(fd);
        }
        return r;
}

void crew__fresh_main(crew__delivery *d, crew_target_fn *target, const crew__hatchery *server)
{
        const crew__parcel *parcel = d->parcel;
        crew__launch l = {
                .parent = parcel->application,
                .maker = server ? server->pid : parcel->application,
                .mask = parcel->mask,
                .tied = parcel->tied,
                .fresh = true,
        };
        crew__child_page *page;
        int r;

        /* Before anything takes numbers that are to be kept. */
        r = settle(d, server != NULL);
        l.p = make_self(d, target);
        page = l.p ? attach_page(d, l.p) : NULL;
        if (!page)
                crew__sys_exit(NEVER_RAN);
        if (r == 0 && d->fd[CREW__PARCEL_DIRECTORY] >= 0 &&
                fchdir(d->fd[CREW__PARCEL_DIRECTORY]) < 0)
                r = -errno;
        d->fd[CREW__PARCEL_DIRECTORY] = crew__close(d->fd[CREW__PARCEL_DIRECTORY]);
        l.parent_fd = d->fd[CREW__PARCEL_APPLICATION];
        (void)crew__sys_prctl(PR_SET_NAME, (unsigned long)crew__parcel_text(d, parcel->comm), 0);
        if (server)
                (void)setrlimit(RLIMIT_NOFILE, &server->files);
        if (parcel->env.size)
                r = r == 0 ? set_environment(d) : r;
        if (r == 0)
                r = set_confines(d, l.p);
        become_child_of(d);
        crew__parcel_close(d);
        if (r < 0) {
                crew__page_arrive(page, CREW__ARRIVAL_FAILED, -r);
                crew__sys_exit(NEVER_RAN);
        }
        crew__child_main(&l);
}

/* The child of CREW_METHOD_SPAWN. */
static void __attribute__((noreturn)) be_child(crew__delivery *d)
{
        crew__function *target = NULL;

        if (crew__site_find(&d->parcel->target, &target) < 0) {
                crew_process nobody = { .pidfd = -1 };
                crew__child_page *page = attach_page(d, &nobody);

                if (page)
                        crew__page_arrive(page, CREW__ARRIVAL_NO_TARGET, ENOENT);
                crew__sys_exit(NEVER_RAN);
        }
        crew__fresh_main(d, (crew_target_fn *)target, NULL);
}

static void __attribute__((noreturn)) be_server(crew__delivery *d)
{
        crew__function *entry = NULL;

        if (crew__site_find(&d->parcel->target, &entry) == 0)
                ((crew__entry *)entry)(d);
        crew__sys_exit(NEVER_RAN);
}

/* "12.1a2b3c": descriptor, then the cookie in hexadecimal. */
static bool read_marker(const char *text, int *fd, uint64_t *cookie)
{
        char *end;
        long number;

        errno = 0;
        number = strtol(text, &end, 10);
        if (errno || end == text || *end != '.' || number <= STDERR_FILENO || number > INT_MAX)
                return false;
        *fd = (int)number;
        text = end + 1;
        *cookie = strtoull(text, &end, 16);
        return !errno && end != text && !*end && *cookie;
}

void crew_spawn_main(void)
{
        const char *text = secure_getenv(marker);
        crew__delivery d;
        uint64_t cookie = 0;
        bool marked;
        int fd = -1;

        atomic_store(&called, true);
        if (!text)
                return;
        marked = read_marker(text, &fd, &cookie);
        /* What this process runs later is nobody's child. */
        (void)unsetenv(marker);
        if (!marked || crew__parcel_open(&d, fd, cookie, NULL, 0) < 0)
                return;
        if (d.parcel->kind == CREW__PARCEL_CHILD)
                be_child(&d);
        be_server(&d);
}
