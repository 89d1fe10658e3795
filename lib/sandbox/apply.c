/* SPDX-License-Identifier: MIT */
#include "sandbox/apply.h"

#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/inherit.h"
#include "kernel/syscall.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static enum crew__refusal refusal_of(const crew_sandbox *s, const struct crew__plan_options *o)
{
        switch (o->strictness) {
        case CREW__FOREIGN:
                return CREW__REFUSE_ERRNO;
        case CREW__NOTIFY:
                return CREW__REFUSE_NOTIFY;
        case CREW__SOFT:
                /* A handler is lost in a program that is executed. */
                return o->reports && !(s->words & CREW__EXEC) ? CREW__REFUSE_TRAP
                                                              : CREW__REFUSE_ERRNO;
        default:
                return o->reports ? CREW__REFUSE_TRAP : CREW__REFUSE_KILL;
        }
}

static int fill(crew__plan *p, const crew_sandbox *s, const struct crew__plan_options *o)
{
        enum crew__refusal refusal = refusal_of(s, o);
        int r;

        p->none = s->words & CREW__NONE;
        p->close_range = crew__has(CREW__CLOSE_RANGE);
        p->soft = o->strictness == CREW__SOFT;
        p->reports = o->reports;
        p->notify = refusal == CREW__REFUSE_NOTIFY;
        if (o->n_events) {
                p->events = calloc(o->n_events, sizeof *p->events);
                if (!p->events)
                        return crew__fail(ENOMEM, "sandbox: no memory");
                memcpy(p->events, o->events, o->n_events * sizeof *p->events);
        }
        p->scope = (struct crew__scope){ .words = s->words,
                .control = o->control,
                .events = p->events,
                .n_events = o->n_events };
        if (!p->none)
                p->scope.words = crew__words_closed(s->words | crew__words_of_host());
        if (refusal == CREW__REFUSE_TRAP)
                p->scope.words |= CREW__HANDLED;
        r = crew__ruleset_new(&p->ruleset, s, true);
        if (r < 0)
                return r;
        if (p->ruleset.abi && p->ruleset.abi < 3 && s->limited & CREW_PATH_WRITE)
                p->scope.words |= CREW__NO_TRUNCATE;
        return crew__filter_new(&p->filter, &p->scope, refusal);
}

int crew__plan_new(crew__plan *p, const crew_sandbox *s, const struct crew__plan_options *options)
{
        crew__plan made = { .ruleset.fd = -1 };
        int r = fill(&made, s, options);

        if (r < 0) {
                crew__plan_free(&made);
                return r;
        }
        *p = made;
        return 0;
}

void crew__plan_free(crew__plan *p)
{
        crew__filter_free(&p->filter);
        crew__ruleset_free(&p->ruleset);
        free(p->events);
        p->events = NULL;
}

const char *crew__step_name(int step)
{
        static const char *const names[] = {
                [CREW__STEP_DESCRIPTORS] = "closing descriptors",
                [CREW__STEP_LIMITS] = "setting resource limits",
                [CREW__STEP_NO_NEW_PRIVS] = "giving up new privileges (no_new_privs)",
                [CREW__STEP_LANDLOCK] = "restricting paths (Landlock)",
                [CREW__STEP_SELF_TEST] = "the test whether Landlock refuses",
                [CREW__STEP_HANDLER] = "installing the SIGSYS handler",
                [CREW__STEP_FILTER] = "loading the filter (seccomp)",
                [CREW__STEP_NICE] = "changing the priority",
                [CREW__STEP_CPUS] = "choosing processors",
        };

        if (step < 1 || step >= (int)(sizeof names / sizeof *names))
                return "an unknown step";
        return names[step];
}

static int set_limit(int resource, uint64_t value)
{
        struct rlimit64 limit = { .rlim_cur = value, .rlim_max = value };

        return (int)crew__syscall(SYS_prlimit64, 0, resource, (long)&limit, 0, 0, 0);
}

/* A limit above the hard one is left at that, which is lower. */
static int lower_limit(int resource, uint64_t value)
{
        struct rlimit64 now;
        int r;

        r = (int)crew__syscall(SYS_prlimit64, 0, resource, 0, (long)&now, 0, 0);
        if (r < 0)
                return r;
        return set_limit(resource, value < now.rlim_max ? value : now.rlim_max);
}

static int set_limits(const struct crew__application *a)
{
        for (size_t i = 0; i < a->n_limits; i++) {
                int r = lower_limit(a->limits[i].resource, a->limits[i].value);

                if (r < 0)
                        return r;
        }
        if (a->keep_core)
                return 0;
        /* A dump delays the death that others wait for. 1: pipes of core_pattern ignore 0. */
        return lower_limit(RLIMIT_CORE, 1);
}

static int load_filter(const crew__filter *f, int *listener)
{
        unsigned long flags = listener ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
        struct sock_filter code[CREW__FILTER_MAX];
        struct sock_fprog program = { .len = f->length, .filter = f->code };
        int r;

        if (f->n_self) {
                memcpy(code, f->code, f->length * sizeof *code);
                crew__filter_set_self(f, code, (uint32_t)crew__sys_getpid());
                program.filter = code;
        }
        r = crew__sys_seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
        if (r >= 0 && listener)
                *listener = r;
        return r < 0 ? r : 0;
}

int crew__plan_load(const crew__plan *p, int *listener, int *step)
{
        int r;

        *step = CREW__STEP_NO_NEW_PRIVS;
        r = crew__sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0);
        if (r < 0)
                return r;
        *step = CREW__STEP_FILTER;
        return load_filter(&p->filter, p->notify ? listener : NULL);
}

int crew__plan_apply(const crew__plan *p, const struct crew__application *a, int *step)
{
        int r = 0;

        *step = CREW__STEP_DESCRIPTORS;
        if (!a->keep_all)
                r = crew__close_others(a->keep, a->n_keep, p->ruleset.fd, p->close_range);
        if (r < 0)
                return r;
        *step = CREW__STEP_LIMITS;
        r = set_limits(a);
        if (r < 0 || p->none)
                return r;
        if (!a->filtered) {
                *step = CREW__STEP_NO_NEW_PRIVS;
                r = crew__sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0);
        }
        if (r < 0)
                return r;
        *step = CREW__STEP_LANDLOCK;
        r = crew__ruleset_restrict(&p->ruleset);
        if (r < 0)
                return r;
        if (p->ruleset.fd >= 0 && !a->shared_files)
                (void)crew__sys_close(p->ruleset.fd);
        *step = CREW__STEP_SELF_TEST;
        if (!a->filtered || p->ruleset.test_filtered)
                r = crew__ruleset_test(&p->ruleset);
        if (r < 0 || a->filtered)
                return r;
        *step = CREW__STEP_HANDLER;
        if (p->reports)
                r = crew__report_install(a->report, p->soft);
        if (r < 0)
                return r;
        *step = CREW__STEP_FILTER;
        return load_filter(&p->filter, p->notify ? a->listener : NULL);
}
