/* SPDX-License-Identifier: MIT */
#include "sandbox/share.h"

#include "base/fail.h"
#include "base/list.h"
#include "kernel/generation.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct crew__shared_plan {
        crew__plan plan;
        enum crew__strictness strictness;
        bool with_page;
        _Atomic unsigned references; /* one is the policy's, while it is in its list */
        struct crew__shared_plan *next;
};

/* One for all policies: it is held for microseconds, but when a plan is made, once. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* In a forked child: a thread that it does not have may have held it. */
static void reset(void)
{
        lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void enter(void)
{
        crew__on_fork(reset);
        (void)crew__generation();
        (void)pthread_mutex_lock(&lock);
}

static struct crew__shared_plan *find(
        const crew_sandbox *s, enum crew__strictness strictness, bool reports)
{
        struct crew__shared_plan *p = s->plans;

        while (p && (p->strictness != strictness || p->with_page != reports))
                p = p->next;
        return p;
}

static int make(struct crew__shared_plan **made, const crew_sandbox *s,
        enum crew__strictness strictness, bool reports)
{
        const struct crew__plan_options how = {
                .strictness = strictness, .reports = reports, .control = -1
        };
        struct crew__shared_plan *p = calloc(1, sizeof *p);
        int r;

        if (!p)
                return crew__fail(ENOMEM, "sandbox: no memory");
        r = crew__plan_new(&p->plan, s, &how);
        if (r < 0) {
                free(p);
                return r;
        }
        p->strictness = strictness;
        p->with_page = reports;
        atomic_init(&p->references, 1);
        *made = p;
        return 0;
}

int crew__plan_get(const crew__plan **plan, const crew_sandbox *s, enum crew__strictness strictness,
        bool reports)
{
        struct crew__shared_plan *p;
        crew_sandbox *policy;
        int r = 0;

        enter();
        p = find(s, strictness, reports);
        if (!p) {
                r = make(&p, s, strictness, reports);
                if (r == 0) {
                        /* What is kept with a policy is no part of it. */
                        memcpy(&policy, &s, sizeof policy);
                        p->next = policy->plans;
                        policy->plans = p;
                }
        }
        if (r == 0) {
                (void)atomic_fetch_add(&p->references, 1);
                *plan = &p->plan;
        }
        (void)pthread_mutex_unlock(&lock);
        return r;
}

static void drop(struct crew__shared_plan *p)
{
        if (atomic_fetch_sub(&p->references, 1) > 1)
                return;
        crew__plan_free(&p->plan);
        free(p);
}

void crew__plan_put(const crew__plan *plan)
{
        crew__plan *own;

        if (!plan)
                return;
        memcpy(&own, &plan, sizeof own);
        drop(CREW__OF(own, struct crew__shared_plan, plan));
}

void crew__plans_forget(crew_sandbox *s)
{
        struct crew__shared_plan *p;

        enter();
        p = s->plans;
        s->plans = NULL;
        (void)pthread_mutex_unlock(&lock);
        while (p) {
                struct crew__shared_plan *next = p->next;

                drop(p);
                p = next;
        }
}
