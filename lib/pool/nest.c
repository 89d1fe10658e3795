/* SPDX-License-Identifier: MIT */

/* How the fork of a program becomes a zygote: what it gives up, and where the rest lies. */

#include "pool/nest.h"

#include "base/cleanup.h"
#include "base/trace.h"
#include "kernel/features.h"
#include "kernel/generation.h"
#include "kernel/inherit.h"
#include "kernel/syscall.h"
#include "process/guardian.h"
#include "process/process.h"

#include <fcntl.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static int ascending(const void *a, const void *b)
{
        int left = *(const int *)a, right = *(const int *)b;

        return (left > right) - (left < right);
}

int crew__worker_numbers(const int *keep, size_t n_keep, int *numbers, size_t n)
{
        int candidate = STDERR_FILENO;

        for (size_t i = 0; i < n; i++) {
                bool taken;

                do {
                        taken = false;
                        candidate++;
                        for (size_t k = 0; k < n_keep; k++)
                                taken |= keep[k] == candidate;
                } while (taken);
                numbers[i] = candidate;
        }
        return candidate + 1;
}

static void settle_signals(void)
{
        struct sigaction plain = { .sa_handler = SIG_DFL }, ignored = { .sa_handler = SIG_IGN };

        for (int sig = 1; sig <= SIGRTMAX; sig++)
                (void)sigaction(sig, &plain, NULL);
        /* Ctrl-C is the application's to handle, and it ends us if it likes. */
        (void)sigaction(SIGINT, &ignored, NULL);
}

/* Moves a descriptor up, out of the numbers of the workers; the old one is closed by and by. */
static int lift(const crew__nest *nest, int *fd)
{
        if (*fd < 0)
                return 0;
        *fd = fcntl(*fd, F_DUPFD_CLOEXEC, nest->floor);
        return *fd < 0 ? -errno : 0;
}

static int lift_all(crew__nest *nest)
{
        int r = lift(nest, &nest->socket);

        if (r == 0)
                r = lift(nest, &nest->births);
        if (r == 0)
                r = lift(nest, &nest->application);
        if (r == 0)
                r = lift(nest, &nest->plan.ruleset.fd);
        for (size_t i = 0; i < nest->n_grants; i++) {
                nest->grant[i]->fd = -1;
                for (size_t k = 0; r == 0 && k < CREW__SEGMENT_EVENTS; k++)
                        r = lift(nest, &nest->grant[i]->events[k]);
        }
        return r;
}

static int close_rest(const crew__nest *nest)
{
        const crew__zygote_options *o = nest->options;
        size_t n = 0;
        int *keep, r;

        keep = calloc(7 + o->n_keep_fds + nest->n_grants * CREW__SEGMENT_EVENTS, sizeof *keep);
        if (!keep)
                return -ENOMEM;
        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                keep[n++] = fd;
        keep[n++] = nest->socket;
        keep[n++] = nest->births;
        keep[n++] = nest->application;
        if (nest->plan.ruleset.fd >= 0)
                keep[n++] = nest->plan.ruleset.fd;
        for (size_t i = 0; i < o->n_keep_fds; i++)
                keep[n++] = o->keep_fds[i];
        for (size_t i = 0; i < nest->n_grants; i++) {
                for (size_t k = 0; k < CREW__SEGMENT_EVENTS; k++) {
                        if (nest->grant[i]->events[k] >= 0)
                                keep[n++] = nest->grant[i]->events[k];
                }
        }
        qsort(keep, n, sizeof *keep, ascending);
        r = crew__close_others(keep, n, -1, nest->plan.close_range);
        free(keep);
        return r;
}

/* The eventfds of the grant with that index to where its workers expect them. */
static void place(const crew__nest *nest, size_t index, int events[CREW__SEGMENT_EVENTS])
{
        for (size_t k = 0; k < CREW__SEGMENT_EVENTS; k++) {
                size_t at = 3 + CREW__SEGMENT_EVENTS * index + k;
                int fd;

                if (events[k] < 0 || at >= CREW__WORKER_NUMBERS)
                        continue;
                fd = dup3(events[k], nest->number[at], O_CLOEXEC);
                if (fd < 0)
                        continue;
                (void)close(events[k]);
                events[k] = fd;
        }
}

static int settle_descriptors(crew__nest *nest)
{
        struct rlimit most;
        int r, fd;

        if (getrlimit(RLIMIT_NOFILE, &nest->files) == 0) {
                most = (struct rlimit){ nest->files.rlim_max, nest->files.rlim_max };
                (void)setrlimit(RLIMIT_NOFILE, &most);
        }
        r = lift_all(nest);
        if (r == 0)
                r = close_rest(nest);
        if (r < 0)
                return r;
        crew__current_forget();
        for (size_t i = 0; i < nest->n_grants; i++)
                place(nest, i, nest->grant[i]->events);
        /* A place that the host left free would be taken by what a worker receives. */
        while ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0 && fd <= STDERR_FILENO)
                ;
        if (fd >= 0)
                (void)close(fd);
        return 0;
}

static bool is_granted(const crew__segment *segment, void *data)
{
        const crew__nest *nest = data;

        for (size_t i = 0; i < nest->n_grants; i++) {
                if (nest->grant[i] == segment)
                        return true;
        }
        return segment == nest->pages;
}

static int settle_memory(crew__nest *nest)
{
        crew__range *keep = calloc(nest->n_grants + 1, sizeof *keep);

        if (!keep)
                return -ENOMEM;
        for (size_t i = 0; i <= nest->n_grants; i++) {
                const crew__segment *s = i < nest->n_grants ? nest->grant[i] : nest->pages;

                keep[i].from = (uintptr_t)s->address;
                keep[i].to = keep[i].from + s->head + 2 * s->ring;
        }
        nest->pages->fd = -1;
        crew__segment_shed(is_granted, nest);
        crew__drop_shared(CREW__SHARED_MEMORY, keep, nest->n_grants + 1);
        free(keep);
        return 0;
}

/* What the options point to that is to be kept. */
static int copy_options(crew__nest *nest)
{
        const crew__zygote_options *o = nest->options;

        nest->room = o->n_grants + 8;
        nest->grant = calloc(nest->room, sizeof(*nest->grant));
        if (!nest->grant)
                return -ENOMEM;
        if (o->init_size) {
                nest->init_arg = malloc(o->init_size);
                if (!nest->init_arg)
                        return -ENOMEM;
                memcpy(nest->init_arg, o->init_arg, o->init_size);
        }
        for (size_t i = 0; i < o->n_grants; i++)
                nest->grant[nest->n_grants++] = crew__segment_ref(o->grants[i]);
        return 0;
}

int crew__nest_settle(crew__nest *nest)
{
        const crew__zygote_options *o = nest->options;
        int r;

        /* Before descriptors go: it closes what is its own. */
        crew__guardian_forget();
        (void)crew__generation();
        nest->pid = crew__sys_getpid();
        crew__voice_off();
        if (nest->stale_out)
                __fpurge(stdout);
        if (nest->stale_err)
                __fpurge(stderr);
        settle_signals();
        (void)crew__sys_prctl(PR_SET_NAME, (unsigned long)"crew-zygote", 0);
        /* What is typed at the terminal, and a signal to the application's group, is not for us. */
        (void)setsid();
        nest->plan = o->plan ? *o->plan : (crew__plan){ .none = true, .ruleset.fd = -1 };
        if (!o->plan)
                nest->plan.close_range = crew__has(CREW__CLOSE_RANGE);
        nest->floor = crew__worker_numbers(
                o->keep_fds, o->n_keep_fds, nest->number, CREW__WORKER_NUMBERS);
        r = copy_options(nest);
        if (r == 0)
                r = settle_descriptors(nest);
        if (r == 0)
                r = settle_memory(nest);
        if (r == 0)
                crew__sandbox_warm_up();
        return r;
}

int crew__nest_lift(const crew__nest *nest, int fds[CREW__POST_FDS])
{
        int r = 0;

        for (size_t i = 0; i < CREW__POST_FDS; i++) {
                int old = fds[i], one = old < 0 || r < 0 ? 0 : lift(nest, &fds[i]);

                if (one < 0)
                        r = one;
                if (r < 0)
                        fds[i] = -1;
                (void)crew__close(old);
        }
        return r;
}

static int make_room(crew__nest *nest)
{
        size_t room = 2 * nest->room;
        crew__segment **grown;

        if (nest->n_grants < nest->room)
                return 0;
        grown = realloc(nest->grant, room * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        nest->grant = grown;
        nest->room = room;
        return 0;
}

int crew__nest_grant(crew__nest *nest, const crew__ask *ask, int fds[CREW__POST_FDS])
{
        crew__segment *s;
        int r = make_room(nest);

        if (r == 0) {
                place(nest, nest->n_grants, &fds[1]);
                r = crew__segment_attach(&s, ask->ref, ask->head, ask->ring, fds[0], &fds[1]);
        }
        if (r == 0) {
                nest->grant[nest->n_grants++] = s;
                return 0;
        }
        for (size_t i = 0; i < CREW__POST_FDS; i++)
                fds[i] = crew__close(fds[i]);
        return r;
}
