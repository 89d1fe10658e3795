/* SPDX-License-Identifier: MIT */

/* The life of a worker, from its fork by the zygote on. */

#include "base/cleanup.h"
#include "kernel/features.h"
#include "kernel/generation.h"
#include "kernel/namespace.h"
#include "kernel/syscall.h"
#include "pool/egg.h"
#include "pool/nest.h"
#include "pool/stopwatch.h"
#include "pool/task.h"
#include "process/process.h"
#include "process/registry.h"
#include "status/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* The status of a worker that never took a task; its note says why. */
enum { NEVER_RAN = 255 };

/* Unless a thread of a task's is using it right now, and would be waited for. */
static void flush(FILE *stream)
{
        if (ftrylockfile(stream) != 0)
                return;
        (void)fflush(stream);
        funlockfile(stream);
}

/*
 * Runs before the handlers that were inherited, which then never run. The streams of the host but
 * these two may hold what the host has yet to write, to descriptors that mean something else here.
 */
static void finish(int status, void *unused)
{
        (void)unused;
        crew__hook_run();
        flush(stdout);
        flush(stderr);
        crew__sys_exit(status & 0xff);
}

static void note(crew__perch *perch, enum crew__worker_stage stage)
{
        atomic_store_explicit(&perch->stage, stage, memory_order_release);
}

static void __attribute__((noreturn)) refuse(crew__perch *perch, int code, int step)
{
        atomic_store(&perch->code, code);
        atomic_store(&perch->step, step);
        note(perch, CREW__STAGE_REFUSED);
        flush(stdout);
        flush(stderr);
        crew__sys_exit(NEVER_RAN);
}

/* The zygote has one thread, which lives as long as it: the death signal means its death. It is
 * lost if that was before it was asked for; then the parent is another. */
static void tie(const crew__nest *nest)
{
        (void)crew__sys_prctl(PR_SET_PDEATHSIG, SIGKILL, 0);
        if (getppid() != nest->pid)
                crew__sys_exit(NEVER_RAN);
}

static void wait_at_gate(const crew__nest *nest, crew__perch *perch)
{
        uint32_t verdict;

        while ((verdict = atomic_load(&perch->gate)) == CREW__GATE_SHUT) {
                (void)crew__sys_futex_wait(
                        &perch->gate, CREW__GATE_SHUT, crew_clock() + CREW__SLICE);
                /* Not only by the zygote's death: that may be stopped. */
                if (crew__readable(nest->application, 0) == 0)
                        crew__sys_exit(NEVER_RAN);
        }
        if (verdict != CREW__GATE_OPEN)
                crew__sys_exit(NEVER_RAN);
}

static void become(const crew__nest *nest, unsigned row)
{
        static crew_process self = { .identity = "", .flags = 0 };
        static char name[64], comm[16];

        (void)snprintf(name, sizeof name, "%s-worker-%u",
                nest->options->name ? nest->options->name : "pool", row);
        (void)snprintf(comm, sizeof comm, "crew-worker-%u", row);
        self.name = name;
        crew__current_become(&self, nest->application_pid);
        (void)crew__sys_prctl(PR_SET_NAME, (unsigned long)comm, 0);
}

static bool is_not(const crew__segment *segment, void *pages)
{
        return segment != pages;
}

/* Leaves this worker its own page of the zygote's segment. */
static void leave_pages(const crew__nest *nest, const crew__perch *mine)
{
        crew__segment *pages = nest->pages;
        char *from = pages->address, *own, *to = from + pages->head;

        memcpy(&own, &mine, sizeof own);
        pages->address = own;
        pages->head = 0;
        (void)munmap(from, (size_t)(own - from));
        own += crew__page_size();
        if (own < to)
                (void)munmap(own, (size_t)(to - own));
        crew__segment_shed(is_not, pages);
}

static int ascending(const void *a, const void *b)
{
        int left = *(const int *)a, right = *(const int *)b;

        return (left > right) - (left < right);
}

/* Puts what is this worker's own where it belongs and closes what is the zygote's. */
static int settle_descriptors(const crew__nest *nest, const crew__newborn *newborn, int *step)
{
        const crew__zygote_options *o = nest->options;
        const int from[3] = { newborn->control, newborn->lane[1], newborn->lane[2] };
        struct crew__application a = { .n_keep = 0 };
        static const crew__plan closing = { .none = true, .ruleset.fd = -1 };
        crew__plan plan = closing;
        struct crew__limit limits[CREW__LIMITS];
        int *keep, r;

        keep = calloc(7 + o->n_keep_fds + 2 * nest->n_grants, sizeof *keep);
        if (!keep)
                return -ENOMEM;
        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                keep[a.n_keep++] = fd;
        for (size_t i = 0; i < 3; i++) {
                if (from[i] >= 0 && dup3(from[i], nest->number[i], O_CLOEXEC) >= 0)
                        keep[a.n_keep++] = nest->number[i];
        }
        if (nest->plan.ruleset.fd >= 0)
                keep[a.n_keep++] = nest->plan.ruleset.fd;
        for (size_t i = 0; i < o->n_keep_fds; i++)
                keep[a.n_keep++] = o->keep_fds[i];
        for (size_t i = 0; i < nest->n_grants; i++) {
                nest->grant[i]->fd = -1;
                for (size_t k = 0; k < CREW__SEGMENT_EVENTS; k++) {
                        atomic_store(&nest->grant[i]->bells[k], nest->grant[i]->events[k]);
                        if (nest->grant[i]->events[k] >= 0)
                                keep[a.n_keep++] = nest->grant[i]->events[k];
                }
        }
        qsort(keep, a.n_keep, sizeof *keep, ascending);
        a.keep = keep;
        a.limits = limits;
        a.n_limits = crew__limits_list(o->limits, limits);
        if (newborn->cell >= 0) {
                a.limits++;
                a.n_limits--;
        }
        plan.close_range = nest->plan.close_range;
        (void)setrlimit(RLIMIT_NOFILE, &nest->files);
        r = crew__plan_apply(&plan, &a, step);
        free(keep);
        return r;
}

/* Which its sandbox may refuse, so before that. */
static int settle_priority(const crew__zygote_options *o, int *step)
{
        int r = crew__priority_set(o->nice, o->cpus, o->cpus_size, step);

        *step = *step == CREW__IMAGE_NICE ? CREW__STEP_NICE : CREW__STEP_CPUS;
        return r;
}

static crew_task_fn *function_of(const crew__nest *nest, uint64_t address)
{
        static uint64_t last;
        static crew_task_fn *found;

        if (!nest->modules)
                return (crew_task_fn *)(uintptr_t)address;
        if (last != address) {
                found = crew__egg_function(nest->modules, nest->n_modules, address);
                last = address;
        }
        return found;
}

/* One task after another, until the lane is closed. */
static void __attribute__((noreturn))
work(const crew__nest *nest, crew__track *track, unsigned row, crew__perch *perch)
{
        crew_task_fn *function;
        static crew_task t; /* large, and the stack is the tasks' */
        crew__stopwatch watch = { .every = 1 };
        crew__lane_task task;
        int64_t began = 0;

        for (;;) {
                int r = crew__track_take(track, &task, CREW__NEVER);

                if (r == 0)
                        exit(0);
                if (r < 0)
                        continue;
                if (crew__track_cancelled(track)) {
                        crew__track_done(track, -ECANCELED, 0, "");
                        continue;
                }
                t.track = track;
                t.worker = row;
                t.attempt = task.attempt;
                t.id = task.id;
                t.control = nest->number[0];
                t.result = 0;
                t.code = 0;
                t.text[0] = '\0';
                t.status = perch->status;
                if (__builtin_expect(nest->traced, 0))
                        began = crew_clock();
                crew__stopwatch_start(&watch);
                function = function_of(nest, task.function);
                r = function ? crew__task_run(&t, function, task.data, task.size)
                             : crew_task_fail(&t, -ENOENT, "its function is not in the worker");
                crew__stopwatch_stop(&watch, &perch->gauge);
                if (__builtin_expect(nest->traced, 0))
                        crew__tape_note(&perch->tape, task.id, began, crew_clock());
                if (perch->status[0])
                        perch->status[0] = '\0';
                crew__track_done(track, r, t.result, t.text);
        }
}

static void initialize(const crew__nest *nest, unsigned row, crew__perch *perch)
{
        const crew__zygote_options *o = nest->options;
        static crew_task t; /* without a track: it has no result */
        int r;

        if (!o->initializer)
                return;
        t.worker = row;
        t.control = nest->number[0];
        t.status = perch->status;
        r = crew__task_run(&t, o->initializer, nest->init_arg, o->init_size);
        if (r == 0)
                return;
        memcpy(perch->text, t.text, sizeof perch->text);
        refuse(perch, r, 0);
}

/* A filter holds for the thread that loads it, and one that is outside writes where it likes. */
static void check_threads(crew__perch *perch)
{
        struct stat st;

        if (stat("/proc/self/task", &st) < 0 || st.st_nlink <= 3)
                return;
        (void)snprintf(perch->text, sizeof perch->text,
                "the initializer left %d threads, which its sandbox would not hold",
                (int)st.st_nlink - 3);
        refuse(perch, -EBUSY, 0);
}

void crew__worker_main(const crew__newborn *newborn)
{
        const crew__nest *nest = newborn->nest;
        crew__perch *perch = crew__perch_of(nest->pages, nest->rows, newborn->row);
        struct crew__application a = { .keep_all = true, .report = &perch->report };
        static const uint64_t none;
        crew__track *track;
        int r, step = 0;

        tie(nest);
        (void)crew__generation_slow();
        crew__pid_namespace_inherit();
        wait_at_gate(nest, perch);
        become(nest, newborn->row);
        if (newborn->cell >= 0)
                crew__feature_forbid(CREW__CGROUP_MEMORY);
        if (on_exit(finish, NULL) != 0)
                refuse(perch, -ENOMEM, 0);
        (void)crew__pulse_take(&perch->pulse);
        leave_pages(nest, perch);
        r = crew__track_open(&track, newborn->lane[0], nest->number[1], nest->number[2]);
        if (r < 0)
                refuse(perch, r, 0);
        r = settle_descriptors(nest, newborn, &step);
        if (r == 0)
                r = settle_priority(nest->options, &step);
        if (r < 0)
                refuse(perch, r, step);
        note(perch, CREW__STAGE_INITIALIZER);
        (void)crew__sys_sigmask(SIG_SETMASK, &none, NULL);
        initialize(nest, newborn->row, perch);
        if (!nest->plan.none && nest->options->initializer)
                check_threads(perch);
        note(perch, CREW__STAGE_SANDBOX);
        if (!nest->plan.none)
                crew__sandbox_forbid();
        r = crew__plan_apply(&nest->plan, &a, &step);
        if (r < 0)
                refuse(perch, r, step);
        note(perch, CREW__STAGE_READY);
        work(nest, track, newborn->row, perch);
}
