/* SPDX-License-Identifier: MIT */
#include "process/process.h"

#include "base/cleanup.h"
#include "kernel/syscall.h"
#include "process/registry.h"

#include <stdio.h>
#include <string.h>

#define KNOWN_FLAGS                                                                                \
        (CREW_PROCESS_DAEMON | CREW_PROCESS_DETACHED | CREW_PROCESS_GROUP | CREW_PROCESS_SESSION | \
                CREW_PROCESS_WAIT_EXEC | CREW_PROCESS_REPORT)

static int check_target(crew_target_fn *target, const void *arg, const crew_process_options *o)
{
        if (!target)
                return crew__fail(EINVAL, "process: no target function");
        if (o->method < CREW_METHOD_DEFAULT || o->method > CREW_METHOD_SPAWN)
                return crew__fail(EINVAL, "process: unknown start method %d", o->method);
        if (o->method > CREW_METHOD_FORK && arg && !o->arg_size)
                return crew__fail(EINVAL,
                        "process: a pointer means nothing in a process that is not a fork; set "
                        "arg_size, and arg is copied");
        if (o->arg_size && !arg)
                return crew__fail(EINVAL, "process: arg_size is %zu but arg is NULL", o->arg_size);
        if (o->flags & CREW_PROCESS_WAIT_EXEC)
                return crew__fail(EINVAL, "process: CREW_PROCESS_WAIT_EXEC without a program");
        return 0;
}

static int check_program(const char *const argv[], const crew_process_options *o)
{
        if (!argv || !argv[0] || !*argv[0])
                return crew__fail(EINVAL, "process: no program: argv is %s",
                        !argv      ? "NULL"
                        : !argv[0] ? "empty"
                                   : "an empty name");
        if (o->method != CREW_METHOD_DEFAULT)
                return crew__fail(
                        EINVAL, "process: a program takes no start method (%d)", o->method);
        if (o->arg_size)
                return crew__fail(
                        EINVAL, "process: arg_size is %zu but a program has argv", o->arg_size);
        return 0;
}

static int check(const crew_process_options *o)
{
        if (o->flags & ~(uint64_t)KNOWN_FLAGS)
                return crew__fail(EINVAL, "process: unknown flags 0x%llx",
                        (unsigned long long)(o->flags & ~(uint64_t)KNOWN_FLAGS));
        if ((o->flags & CREW_PROCESS_DAEMON) && (o->flags & CREW_PROCESS_DETACHED))
                return crew__fail(EINVAL,
                        "process: a daemon ends with its parent and a detached process does not; "
                        "choose one of CREW_PROCESS_DAEMON and CREW_PROCESS_DETACHED");
        return 0;
}

static void destroy(crew_process *p)
{
        /* The lock of an inherited handle may be held by a thread that exists in the parent only;
         * it has nothing to give back. */
        (void)crew__close(p->pidfd);
        (void)crew__segment_unref(p->page);
        crew__setup_free(p->setup);
        free(p);
}

static const char default_prefix[] = "Process-";

/* Enough for a number and its colon. */
enum { MAX_DIGITS = 12 };

/* The identity of the next process made here, "2" or "1:2", without help from printf, which would
 * touch more pages of stack than a start needs. */
static void append_identity(char *text, const char *above)
{
        char digits[MAX_DIGITS];
        size_t n = strlen(above), i = sizeof digits;
        unsigned number = crew__current_next_number();

        (void)memcpy(text, above, n);
        if (n)
                text[n++] = ':';
        do
                digits[--i] = (char)('0' + number % 10);
        while (number /= 10);
        (void)memcpy(text + n, digits + i, sizeof digits - i);
        n += sizeof digits - i;
        text[n] = '\0';
}

/*
 * Handle, copied argument and names in one block: each start copies the pages of the heap that the
 * parent goes on writing to.
 */
static crew_process *allocate(const void *arg, const crew_process_options *o)
{
        const char *above = crew_current_process()->identity;
        size_t copied = (o->arg_size + 15) & ~(size_t)15;
        size_t name = o->name ? strlen(o->name) + 1 : sizeof default_prefix - 1;
        crew_process *p;
        char *text;

        if (copied < o->arg_size)
                return NULL;
        p = malloc(sizeof *p + copied + name + strlen(above) + MAX_DIGITS);
        if (!p)
                return NULL;
        *p = (crew_process){ .flags = o->flags, .pidfd = -1 };
        if (o->arg_size)
                p->arg = memcpy((char *)p + sizeof *p, arg, o->arg_size);
        p->arg_size = o->arg_size;
        text = (char *)p + sizeof *p + copied;
        (void)memcpy(text, o->name ? o->name : default_prefix, name);
        p->name = text;
        p->identity = text + name;
        append_identity(text + name, above);
        return p;
}

/* A handle that has passed the checks of its kind. `argv` is NULL for a target. */
static int make(crew_process **process, const void *arg, const char *const argv[],
        const crew_process_options *o)
{
        crew__setup *setup;
        crew_process *p;
        int r;

        r = check(o);
        if (r == 0)
                r = crew__setup_new(&setup, argv, o);
        if (r < 0)
                return r;
        p = allocate(arg, o);
        if (!p) {
                crew__setup_free(setup);
                return crew__fail(ENOMEM, "process: no memory for its handle, name or argument");
        }
        atomic_init(&p->references, 1);
        p->generation = crew__generation();
        p->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        p->setup = setup;
        p->method = o->method ? o->method : CREW_METHOD_FORK;
        if (!(o->flags & CREW_PROCESS_DETACHED) && crew_process_daemon(crew_current_process()) > 0)
                p->flags |= CREW_PROCESS_DAEMON;
        *process = p;
        return 0;
}

int crew_process_new(crew_process **process, crew_target_fn *target, void *arg,
        const crew_process_options *options)
{
        crew_process_options o;
        crew_process *p;
        int r;

        r = crew__options(&o, sizeof o, options, "process");
        if (r == 0)
                r = check_target(target, arg, &o);
        if (r == 0)
                r = make(&p, arg, NULL, &o);
        if (r < 0)
                return r;
        p->target = target;
        if (!o.arg_size)
                p->arg = arg;
        *process = p;
        return 0;
}

int crew_process_new_exec(
        crew_process **process, const char *const argv[], const crew_process_options *options)
{
        crew_process_options o;
        int r;

        r = crew__options(&o, sizeof o, options, "process");
        if (r == 0)
                r = check_program(argv, &o);
        return r < 0 ? r : make(process, NULL, argv, &o);
}

int crew_process_launch(crew_process **process, crew_target_fn *target, void *arg,
        const crew_process_options *options)
{
        crew_process *p;
        int r;

        r = crew_process_new(&p, target, arg, options);
        if (r < 0)
                return r;
        r = crew_process_start(p);
        if (r < 0) {
                (void)crew__process_unref(p);
                return r;
        }
        *process = p;
        return 0;
}

int crew__process_enter(const crew_process *p)
{
        if (!p)
                return crew__fail_quick(EINVAL, "process: no handle (NULL)");
        if (p->generation != crew__generation())
                return crew__fail(ECHILD,
                        "process %s: this handle was made by the parent; a forked child may only "
                        "free it",
                        p->name);
        return 0;
}

crew_process *crew__process_ref(crew_process *p)
{
        (void)atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
        return p;
}

crew_process *crew__process_unref(crew_process *p)
{
        if (p && p->role == CREW__CHILD && atomic_fetch_sub(&p->references, 1) == 1)
                destroy(p);
        return NULL;
}

crew_process *crew_process_free(crew_process *p)
{
        if (!p || p->role != CREW__CHILD)
                return NULL;
        if (p->generation == crew__generation()) {
                /* A child that goes on shall see the end of its pipes. */
                if (p->setup) {
                        crew__setup_hang_up(p->setup);
                        crew__process_unwatch(p);
                }
                crew__registry_orphan(p);
        }
        return crew__process_unref(p);
}

/* 0 once it was started. */
static int enter_started(const crew_process *p)
{
        int r = crew__process_enter(p);

        if (r < 0)
                return r;
        if (atomic_load(&p->state) < CREW__STARTED)
                return crew__fail(ESRCH, "process %s: not started yet", p->name);
        return 0;
}

int crew_process_signal(crew_process *p, int sig)
{
        int r = enter_started(p);

        if (r < 0)
                return r;
        if (sig < 0 || sig >= _NSIG)
                return crew__fail(EINVAL, "process %s: %d is not a signal", p->name, sig);
        if (p->role == CREW__SELF && (r = crew__self_pidfd()) < 0)
                return r;
        r = crew__sys_pidfd_send_signal(p->pidfd, sig);
        if (r == -ESRCH)
                return 0;
        if (r < 0)
                return crew__fail(-r, "process %s (pid %d): cannot send signal %d: %s", p->name,
                        (int)p->pid, sig, strerror(-r));
        return 0;
}

int crew_process_terminate(crew_process *p)
{
        return crew_process_signal(p, SIGTERM);
}

int crew_process_kill(crew_process *p)
{
        return crew_process_signal(p, SIGKILL);
}

int crew_process_fd(const crew_process *p)
{
        int r = enter_started(p);

        if (r < 0)
                return r;
        return p->role == CREW__SELF ? crew__self_pidfd() : p->pidfd;
}

static int enter_stdio(const crew_process *p, int which)
{
        int r = enter_started(p);

        if (r < 0)
                return r;
        if (which < STDIN_FILENO || which > STDERR_FILENO)
                return crew__fail(EINVAL, "process %s: %d is none of 0, 1 and 2", p->name, which);
        if (!p->setup || p->setup->stdio[which].kind != CREW_STDIO_PIPE)
                return crew__fail(ENOENT, "process %s: descriptor %d of it is no CREW_STDIO_PIPE",
                        p->name, which);
        return 0;
}

int crew_process_stdio(crew_process *p, int which)
{
        int r = enter_stdio(p, which), fd;

        if (r < 0)
                return r;
        fd = atomic_load(&p->setup->ours[which]);
        return fd < 0 ? crew__fail(ENOENT, "process %s: this end was closed", p->name) : fd;
}

int crew_process_close_stdio(crew_process *p, int which)
{
        int r = enter_stdio(p, which);

        if (r < 0)
                return r;
        (void)crew__close(atomic_exchange(&p->setup->ours[which], -1));
        return 0;
}

pid_t crew_process_pid(const crew_process *p)
{
        int r = enter_started(p);

        return r < 0 ? r : p->pid;
}

const char *crew_process_name(const crew_process *p)
{
        return p->name;
}

int crew_process_daemon(const crew_process *p)
{
        int r = crew__process_enter(p);

        return r < 0 ? r : !!(p->flags & CREW_PROCESS_DAEMON);
}
