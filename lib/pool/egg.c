/* SPDX-License-Identifier: MIT */
#include "pool/egg.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/syscall.h"
#include "process/process.h"
#include "process/spawn.h"
#include "sandbox/pack.h"

#include <string.h>

/* From the exec to crew_spawn_main() it is the program's own: its libraries, its constructors. */
#define PATIENCE CREW_S(60)

/* Then the bytes of the initializer, the plan, the processors, the modules. */
typedef struct egg {
        crew__site initializer;
        crew_limits limits;
        uint32_t rows, n_modules;
        uint64_t init_size, plan_size, cpus_size;
        int32_t nice;
        bool has_initializer, has_limits, has_plan, traced;
        char name[64];
} egg;

/* The first thing that the zygote says. */
typedef struct hello {
        int32_t result;
        uint32_t n_modules;
        bool missing[CREW__EGG_MODULES];
} hello;

static size_t round_up(size_t size)
{
        return (size + 15) & ~(size_t)15;
}

/* The pool's side. */

static int fill(egg *e, const crew__nest *nest)
{
        const crew__zygote_options *o = nest->options;
        crew__function *function;

        memset(e, 0, sizeof *e);
        e->rows = nest->rows;
        e->traced = nest->traced;
        if (o->name)
                (void)strncat(e->name, o->name, sizeof e->name - 1);
        if (o->limits) {
                e->limits = *o->limits;
                e->has_limits = true;
        }
        e->nice = o->nice;
        e->cpus_size = o->cpus_size;
        if (o->plan) {
                e->plan_size = crew__plan_packed(o->plan);
                e->has_plan = true;
        }
        e->init_size = o->init_size;
        if (!o->initializer)
                return 0;
        e->has_initializer = true;
        memcpy(&function, &o->initializer, sizeof function);
        if (crew__site_of(&e->initializer, function) < 0)
                return crew__fail(ENOENT,
                        "pool: its initializer, %s, is in no library and not in the program",
                        e->initializer.name);
        return 0;
}

static char *pack(const egg *e, const crew__nest *nest, const crew__module *modules, size_t *size)
{
        const crew__zygote_options *o = nest->options;
        size_t head = round_up(sizeof *e), init = round_up(e->init_size);
        size_t plan = round_up(e->plan_size), cpus = round_up(e->cpus_size);
        size_t list = e->n_modules * sizeof *modules, fixed = head + init + plan + cpus;
        char *bytes = calloc(1, fixed + list);

        if (!bytes)
                return NULL;
        memcpy(bytes, e, sizeof *e);
        if (o->init_size)
                memcpy(bytes + head, o->init_arg, o->init_size);
        if (o->plan)
                crew__plan_pack(o->plan, bytes + head + init);
        if (o->cpus_size)
                memcpy(bytes + head + init + plan, o->cpus, o->cpus_size);
        memcpy(bytes + fixed, modules, list);
        *size = fixed + list;
        return bytes;
}

static int start(const crew__nest *nest, const char *bytes, size_t size, int *pidfd)
{
        const crew__zygote_options *o = nest->options;
        CREW__AUTO_FREE crew__segment **objects = NULL;
        crew__packing what = CREW__PACKING;

        objects = calloc(o->n_grants + 1, sizeof *objects);
        if (!objects)
                return crew__fail(ENOMEM, "pool: no memory for its zygote");
        objects[0] = nest->pages;
        for (size_t i = 0; i < o->n_grants; i++)
                objects[i + 1] = o->grants[i];
        what.name = "zygote";
        what.arg = bytes;
        what.arg_size = size;
        what.objects = objects;
        what.n_objects = o->n_grants + 1;
        what.keep = o->keep_fds;
        what.n_keep = o->n_keep_fds;
        what.page = nest->socket;
        what.extra[0] = o->plan ? o->plan->ruleset.fd : -1;
        what.extra[1] = nest->births;
        return crew__spawn_server("crew-zygote", crew__egg_hatch, &what, pidfd);
}

static int listen_to(int socket, int pidfd, hello *said)
{
        int64_t until = crew_clock() + PATIENCE;
        bool dead = false;
        ssize_t n;

        /* Its end is looked at first, so that nothing it said before is missed. */
        while ((n = crew__post_receive(socket, said, sizeof *said, NULL, 0)) == -EAGAIN && !dead &&
                crew_clock() < until) {
                dead = crew__readable(pidfd, 0) == 0;
                (void)crew__readable(socket, dead ? 0 : crew_clock() + CREW_MS(20));
        }
        if (n == sizeof *said)
                return said->result;
        return crew__fail(EOPNOTSUPP,
                "pool: the new process that makes its workers %s; crew_spawn_main() must be the "
                "first call of main(), whatever the arguments and the environment are",
                n == -EAGAIN && !dead ? "has not called crew_spawn_main() for a minute"
                                      : "ended before it called crew_spawn_main()");
}

static crew__moved *note_modules(const crew__module *modules, size_t n, const hello *said)
{
        crew__moved *list = calloc(n, sizeof *list);

        for (size_t i = 0; list && i < n; i++)
                list[i] = (crew__moved){
                        .from = modules[i].from, .to = modules[i].to, .missing = said->missing[i]
                };
        return list;
}

/* It is of no use, or its pool is not. */
static int dismiss(int pidfd, int r)
{
        crew__ending ending;

        (void)crew__sys_pidfd_send_signal(pidfd, SIGKILL);
        (void)crew__readable(pidfd, crew_clock() + CREW_S(1));
        (void)crew__pidfd_collect(pidfd, &ending);
        (void)crew__close(pidfd);
        return r;
}

int crew__egg_lay(
        const crew__nest *nest, int listen, int *pidfd, crew__moved **list, size_t *n_list)
{
        static const size_t most = CREW__EGG_MODULES;
        CREW__AUTO_FREE crew__module *modules = calloc(most, sizeof *modules);
        CREW__AUTO_FREE char *bytes = NULL;
        size_t size = 0, n = 0;
        hello said;
        int pid, r;
        egg e;

        r = fill(&e, nest);
        if (r < 0)
                return r;
        if (modules)
                n = crew__modules_list(modules, most);
        e.n_modules = (uint32_t)(n < most ? n : most);
        if (modules)
                bytes = pack(&e, nest, modules, &size);
        if (!bytes)
                return crew__fail(ENOMEM, "pool: no memory for its zygote");
        pid = start(nest, bytes, size, pidfd);
        if (pid < 0)
                return pid;
        r = listen_to(listen, *pidfd, &said);
        if (r == -ENOENT)
                return dismiss(*pidfd,
                        crew__fail(ENOENT,
                                "pool: its initializer, %s, is not in the workers: its library "
                                "was loaded later than crew_spawn_main() was called, or has "
                                "changed",
                                e.initializer.name));
        if (r < 0)
                return dismiss(*pidfd,
                        r == -EOPNOTSUPP ? r
                                         : crew__fail(-r, "pool: its zygote: %s", strerror(-r)));
        *list = note_modules(modules, e.n_modules, &said);
        if (!*list)
                return dismiss(*pidfd, crew__fail(ENOMEM, "pool: no memory for its zygote"));
        *n_list = e.n_modules;
        return pid;
}

/* In the zygote. */

static const crew__moved *module_at(const crew__moved *list, size_t n, uint64_t address)
{
        for (size_t i = 0; i < n; i++) {
                if (address >= list[i].from && address < list[i].to)
                        return list[i].missing ? NULL : &list[i];
        }
        return NULL;
}

crew_task_fn *crew__egg_function(const crew__moved *list, size_t n, uint64_t address)
{
        const crew__moved *m = module_at(list, n, address);
        crew_task_fn *function = NULL;
        uintptr_t at;

        if (!m)
                return NULL;
        at = (uintptr_t)(address + (uint64_t)m->by);
        memcpy(&function, &at, sizeof function);
        return function;
}

static crew__moved *find_modules(const crew__module *from, size_t n, hello *said)
{
        crew__moved *list = calloc(n, sizeof *list);

        for (size_t i = 0; list && i < n; i++) {
                uint64_t base = 0;

                list[i] = (crew__moved){ .from = from[i].from, .to = from[i].to };
                if (crew__module_find(&from[i].id, &base) == 0)
                        list[i].by = (int64_t)(base - from[i].base);
                else
                        list[i].missing = said->missing[i] = true;
        }
        return list;
}

static int take_objects(const crew__delivery *d, crew__nest *nest, crew__zygote_options *o)
{
        size_t n;
        const crew__parcel_object *objects = crew__parcel_objects(d, &n);
        crew__segment **grants = calloc(n, sizeof(crew__segment *));
        int r = grants && n ? crew__segment_find(&nest->pages, objects[0].ref) : -ENOMEM;

        for (size_t i = 1; i < n && r == 0; i++)
                r = crew__segment_find(&grants[i - 1], objects[i].ref);
        o->grants = grants;
        o->n_grants = n - 1;
        return r;
}

static int take_kept(const crew__delivery *d, crew__zygote_options *o)
{
        size_t n;
        const crew__parcel_keep *keep = crew__parcel_keeps(d, &n);
        int *fds = calloc(n + 1, sizeof *fds);

        if (!fds)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                fds[i] = keep[i].number;
        o->keep_fds = fds;
        o->n_keep_fds = n;
        return 0;
}

/* What is in the bytes; they stay mapped. */
static int unpack(const crew__delivery *d, crew__nest *nest, crew__zygote_options *o, hello *said)
{
        const char *bytes = (const char *)d->parcel + d->parcel->arg;
        static crew__plan plan;
        crew__function *function;
        static egg e;
        int r = 0;

        memcpy(&e, bytes, sizeof e);
        bytes += round_up(sizeof e);
        nest->rows = o->max_workers = e.rows;
        nest->traced = e.traced;
        o->name = e.name;
        o->limits = e.has_limits ? &e.limits : NULL;
        o->init_arg = bytes;
        o->init_size = e.init_size;
        bytes += round_up(e.init_size);
        if (e.has_plan) {
                r = crew__plan_unpack(&plan, bytes, e.plan_size, d->fd[CREW__PARCEL_EXTRA]);
                o->plan = &plan;
        }
        bytes += round_up(e.plan_size);
        o->nice = e.nice;
        o->cpus = e.cpus_size ? bytes : NULL;
        o->cpus_size = e.cpus_size;
        bytes += round_up(e.cpus_size);
        if (r == 0 && e.has_initializer) {
                r = crew__site_find(&e.initializer, &function);
                if (r == 0)
                        o->initializer = (crew_task_fn *)function;
        }
        if (r < 0)
                return r;
        nest->modules = find_modules((const crew__module *)(const void *)bytes, e.n_modules, said);
        nest->n_modules = said->n_modules = e.n_modules;
        return nest->modules ? 0 : -ENOMEM;
}

void crew__egg_hatch(crew__delivery *d)
{
        static const uint64_t all = UINT64_MAX;
        static crew__zygote_options options;
        static crew__nest nest;
        static hello said;

        (void)crew__sys_sigmask(SIG_SETMASK, &all, NULL);
        nest.options = &options;
        nest.application_pid = d->parcel->application;
        said.result = crew__parcel_settle(d);
        nest.socket = d->fd[CREW__PARCEL_PAGE];
        nest.births = d->fd[CREW__PARCEL_EXTRA + 1];
        nest.application = d->fd[CREW__PARCEL_APPLICATION];
        if (said.result == 0)
                said.result = unpack(d, &nest, &options, &said);
        if (said.result == 0)
                said.result = take_objects(d, &nest, &options);
        if (said.result == 0)
                said.result = take_kept(d, &options);
        crew__current_pose(crew__parcel_text(d, d->parcel->sender_name),
                crew__parcel_text(d, d->parcel->sender_identity), d->parcel->sender_flags, -1);
        (void)crew__post_send(nest.socket, &said, sizeof said, NULL, 0);
        if (said.result < 0)
                crew__sys_exit(1);
        crew__brood(&nest);
}
