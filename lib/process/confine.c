/* SPDX-License-Identifier: MIT */
#include "process/confine.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/owner.h"
#include "kernel/syscall.h"
#include "process/image.h"
#include "process/starter.h"
#include "sandbox/pack.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* What SIGKILL gets to empty a cell in. */
#define FAREWELL CREW_MS(100)

size_t crew__limits_list(const crew_limits *l, struct crew__limit list[CREW__LIMITS])
{
        size_t n = 0;

        if (!l)
                return 0;
        if (l->memory_max)
                list[n++] = (struct crew__limit){ RLIMIT_AS, l->memory_max };
        if (l->cpu_time)
                list[n++] = (struct crew__limit){ RLIMIT_CPU,
                        l->cpu_time / 1000000000 + (l->cpu_time % 1000000000 != 0) };
        if (l->open_files)
                list[n++] = (struct crew__limit){ RLIMIT_NOFILE, l->open_files };
        if (l->file_bytes)
                list[n++] = (struct crew__limit){ RLIMIT_FSIZE, l->file_bytes };
        if (l->processes)
                list[n++] = (struct crew__limit){ RLIMIT_NPROC, l->processes };
        return n;
}

bool crew__confine_wanted(const crew_process_options *o)
{
        return o->limits || o->sandbox || o->policy || o->starter || o->nice || o->n_cpus ||
               o->on_violation || o->flags & CREW_PROCESS_REPORT;
}

static int check(const crew_process_options *o)
{
        bool sandbox = o->sandbox || o->policy;

        if (o->starter && (sandbox || o->on_violation || o->flags & CREW_PROCESS_REPORT))
                return crew__fail(EINVAL,
                        "process: its starter has the sandbox; no sandbox, policy, "
                        "on_violation or CREW_PROCESS_REPORT beside it");
        if (o->sandbox && o->policy)
                return crew__fail(EINVAL, "process: both sandbox (words) and policy; choose one");
        if (o->on_violation != CREW_VIOLATION_KILL && o->on_violation != CREW_VIOLATION_DENY)
                return crew__fail(EINVAL, "process: unknown on_violation %d", o->on_violation);
        if (!sandbox && (o->on_violation || o->flags & CREW_PROCESS_REPORT))
                return crew__fail(EINVAL, "process: %s without a sandbox",
                        o->on_violation ? "on_violation" : "CREW_PROCESS_REPORT");
        if (o->nice < -39 || o->nice > 39)
                return crew__fail(EINVAL, "process: nice %d", o->nice);
        if (o->n_cpus && !o->cpus)
                return crew__fail(EINVAL, "process: n_cpus is %zu but no array", o->n_cpus);
        return 0;
}

int crew__cpus_new(
        unsigned long **mask, size_t *size, const unsigned *cpus, size_t n, const char *whose)
{
        enum { MOST = 1 << 16, BITS = 8 * sizeof **mask };
        unsigned highest = 0;

        if (!n)
                return 0;
        for (size_t i = 0; i < n; i++) {
                if (cpus[i] >= MOST)
                        return crew__fail(EINVAL, "%s: there is no processor %u", whose, cpus[i]);
                highest = cpus[i] > highest ? cpus[i] : highest;
        }
        *size = (highest / BITS + 1) * sizeof **mask;
        *mask = calloc(1, *size);
        if (!*mask)
                return crew__fail(ENOMEM, "%s: no memory for its processors", whose);
        for (size_t i = 0; i < n; i++)
                (*mask)[cpus[i] / BITS] |= 1UL << cpus[i] % BITS;
        return 0;
}

static int set_limits(crew__confine *c, const crew_limits *limits)
{
        crew_limits l;
        int r;

        if (!limits)
                return 0;
        r = crew__options(&l, sizeof l, limits, "process limits");
        if (r < 0)
                return r;
        c->n_limits = crew__limits_list(&l, c->limits);
        c->memory = l.memory_max;
        return 0;
}

enum crew__strictness crew__confine_strictness(bool reports, bool deny)
{
        /* A program's handlers are lost at its exec: the filter itself, or its listener, decides.
         * The child takes the listener's descriptor out of the host's table by close_range(). */
        if (reports && crew__has(CREW__SECCOMP_NOTIFY) && crew__has(CREW__CLOSE_RANGE))
                return CREW__NOTIFY;
        return deny ? CREW__FOREIGN : CREW__HARD;
}

static enum crew__strictness strictness(const crew__confine *c, bool program)
{
        if (program)
                return crew__confine_strictness(c->reports, c->deny);
        return c->deny ? CREW__SOFT : CREW__HARD;
}

static int borrow_plan(crew__confine *c, crew_starter *starter, bool program)
{
        if (!program)
                return crew__fail(EINVAL, "process: a starter starts programs only");
        c->starter = crew__starter_ref(starter);
        c->plan = crew__starter_plan(starter);
        c->deny = crew__starter_denies(starter);
        (void)snprintf(c->words, sizeof c->words, "%s", crew__starter_words(starter));
        return 0;
}

static int set_plan(crew__confine *c, const crew_process_options *o, bool program)
{
        static const char limits_alone[] = "none";
        const crew_sandbox *policy = o->policy;
        crew_sandbox *own = NULL;
        int r = 0;

        if (o->starter)
                return borrow_plan(c, o->starter, program);
        if (!policy && !o->sandbox && !c->n_limits)
                return 0;
        if (!policy) {
                r = crew_sandbox_new(
                        &own, o->sandbox ? o->sandbox : limits_alone, CREW_BEST_EFFORT);
                policy = own;
        }
        if (r == 0 && program && !(policy->words & (CREW__EXEC | CREW__NONE)))
                r = crew__fail(EINVAL, "process: a program cannot start in a sandbox without the "
                                       "word exec");
        if (r == 0)
                r = crew__plan_get(&c->plan, policy, strictness(c, program), !program);
        if (r == 0)
                crew__words_text(policy, c->words, sizeof c->words);
        (void)crew_sandbox_free(own);
        return r;
}

int crew__confine_new(crew__confine *c, const crew_process_options *o, bool program)
{
        int r = check(o);

        c->listener = -1;
        c->serving = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        if (r < 0)
                return r;
        c->deny = o->on_violation == CREW_VIOLATION_DENY;
        c->reports = o->flags & CREW_PROCESS_REPORT;
        c->lent = !program && o->method > CREW_METHOD_FORK;
        c->nice = o->nice;
        r = set_limits(c, o->limits);
        if (r == 0)
                r = crew__cpus_new(&c->cpus, &c->cpus_size, o->cpus, o->n_cpus, "process");
        if (r == 0)
                r = set_plan(c, o, program);
        if (r < 0)
                crew__confine_free(c);
        return r;
}

void crew__confine_free(crew__confine *c)
{
        crew__confine_let_go(c);
        if (!c->starter)
                crew__plan_put(c->plan);
        c->plan = NULL;
        c->starter = crew__starter_unref(c->starter);
        free(c->cpus);
        c->cpus = NULL;
        if (c->note && !c->lent)
                (void)munmap(c->note, sizeof *c->note);
        c->note = NULL;
        crew__confine_unhouse(c);
}

int crew__confine_take(crew__confine *c)
{
        int r = crew__starter_enter(c->starter);

        if (r == 0)
                r = crew__starter_take(c->starter);
        if (r < 0)
                return r;
        c->under_way = true;
        c->listener = crew__starter_listener(c->starter);
        /* What a program before it left behind is under the same filter. */
        c->notes = (crew__notes){ .since = crew__claim_make(0) };
        return 0;
}

void crew__confine_let_go(crew__confine *c)
{
        (void)pthread_mutex_lock(&c->serving);
        if (!c->starter)
                (void)crew__close(c->listener);
        else if (c->under_way)
                crew__starter_give(c->starter);
        c->under_way = false;
        c->listener = -1;
        (void)pthread_mutex_unlock(&c->serving);
}

int crew__confine_open(crew__confine *c)
{
        void *at;

        if (c->lent || (!c->plan && !c->nice && !c->cpus))
                return 0;
        at = mmap(NULL, sizeof *c->note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED)
                return crew__fail(errno, "process: no memory for its report: %m");
        if (c->note)
                (void)munmap(c->note, sizeof *c->note);
        c->note = at;
        return 0;
}

void crew__confine_house(crew__confine *c)
{
        crew__confine_unhouse(c);
        c->cell = crew__cell_for(c->memory);
        c->housed = c->cell;
        c->starved = false;
}

void crew__confine_vacate(crew__confine *c)
{
        c->starved = crew__cell_starved(c->cell);
        c->cell = crew__cell_vacate(c->cell);
}

void crew__confine_unhouse(crew__confine *c)
{
        c->cell = crew__cell_free(c->cell, crew_clock() + FAREWELL);
}

const struct crew__limit *crew__confine_limits(const crew__confine *c, size_t *n)
{
        size_t skip = c->housed ? 1 : 0;

        *n = c->n_limits - skip;
        return c->limits + skip;
}

/* Then the processors and the plan. */
struct packed {
        struct crew__limit limits[CREW__LIMITS];
        size_t n_limits, cpus_size, plan_size;
        int nice;
        bool deny;
};

size_t crew__confine_packed(const crew__confine *c)
{
        if (!c->plan && !c->nice && !c->cpus)
                return 0;
        return sizeof(struct packed) + c->cpus_size + (c->plan ? crew__plan_packed(c->plan) : 0);
}

void crew__confine_pack(const crew__confine *c, void *into)
{
        struct packed head = {
                .cpus_size = c->cpus_size,
                .plan_size = c->plan ? crew__plan_packed(c->plan) : 0,
                .nice = c->nice,
                .deny = c->deny,
        };
        const struct crew__limit *limits;
        char *to = into;

        limits = crew__confine_limits(c, &head.n_limits);
        memcpy(head.limits, limits, head.n_limits * sizeof *limits);
        memcpy(to, &head, sizeof head);
        to += sizeof head;
        if (c->cpus_size)
                memcpy(to, c->cpus, c->cpus_size);
        if (c->plan)
                crew__plan_pack(c->plan, to + c->cpus_size);
}

int crew__confine_unpack(crew__confine *c, const void *from, size_t size, int ruleset)
{
        static crew__plan plan;
        const char *at = from;
        struct packed head;
        int r = 0;

        if (size < sizeof head)
                return -EBADMSG;
        memcpy(&head, at, sizeof head);
        at += sizeof head;
        if (head.n_limits > CREW__LIMITS || head.cpus_size > size - sizeof head ||
                head.plan_size != size - sizeof head - head.cpus_size)
                return -EBADMSG;
        memcpy(c->limits, head.limits, sizeof c->limits);
        c->n_limits = head.n_limits;
        c->nice = head.nice;
        c->deny = head.deny;
        if (head.cpus_size) {
                c->cpus = malloc(head.cpus_size);
                if (!c->cpus)
                        return -ENOMEM;
                memcpy(c->cpus, at, head.cpus_size);
                c->cpus_size = head.cpus_size;
        }
        if (head.plan_size) {
                r = crew__plan_unpack(&plan, at + head.cpus_size, head.plan_size, ruleset);
                c->plan = &plan;
        }
        return r;
}

void crew__confine_lend(crew__confine *c, struct crew__confine_note *note)
{
        c->note = note;
        c->lent = true;
}

static int enter(crew__confine *c, int *step)
{
        struct crew__application a = {
                .keep_all = true,
                .report = &c->note->report,
        };
        int r;

        a.limits = crew__confine_limits(c, &a.n_limits);
        r = crew__priority_set(c->nice, c->cpus, c->cpus_size, step);
        if (r < 0 || !c->plan)
                return r;
        if (!c->plan->none)
                crew__sandbox_warm_up();
        r = crew__plan_apply(c->plan, &a, step);
        if (r == 0 && !c->plan->none)
                crew__sandbox_forbid();
        *step += CREW__IMAGE_APPLY;
        return r;
}

int crew__confine_enter(crew__confine *c)
{
        int step = 0, r;

        if (!c->note)
                return 0;
        r = enter(c, &step);
        if (r < 0) {
                c->note->step = step;
                c->note->error = -r;
        }
        return r;
}

int crew__confine_serve(crew__confine *c)
{
        int r = 0;

        (void)pthread_mutex_lock(&c->serving);
        if (c->listener >= 0)
                r = crew__notify_serve(c->listener, c->plan, !c->deny, &c->notes);
        (void)pthread_mutex_unlock(&c->serving);
        return r < 0 ? 0 : r;
}

bool crew__confine_violated(
        crew__confine *c, pid_t pid, int signal, crew__violation *v, uint64_t *count)
{
        bool noted;

        if (!c->plan || c->plan->none)
                return false;
        if (c->note) {
                *count = atomic_load(&c->note->report.refused) + (signal == SIGSYS);
                if (*count)
                        crew__report_read(&c->note->report, pid, &c->plan->scope, v);
                return *count;
        }
        (void)pthread_mutex_lock(&c->serving);
        noted = c->notes.count;
        *count = c->notes.count;
        if (noted)
                *v = c->notes.first;
        (void)pthread_mutex_unlock(&c->serving);
        if (!noted && signal == SIGSYS) {
                *count = 1;
                crew__report_read(NULL, pid, &c->plan->scope, v);
        }
        return noted || signal == SIGSYS;
}
