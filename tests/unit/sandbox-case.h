/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_SANDBOX_CASE_H
#define CREW_TESTS_SANDBOX_CASE_H

/* What the tests of the sandbox share: a child that enters a policy and does something there. */

#include "check.h"
#include "peer.h"
#include "sandbox/apply.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct confined {
        const char *words;
        enum crew__strictness strictness;
        int mode;
        int control;   /* 0 = none */
        const int *events;
        size_t n_events;
        const struct crew__application *more;
        bool no_report;
        void (*body)(void *arg);
        void *arg;
        /* Filled in by confine(). */
        pid_t pid;
        int code; /* as peer_join() has it */
        crew__violation violation;
        uint64_t refused;
};

struct confined_start {
        const struct confined *c;
        const crew__plan *plan;
        crew__report *page;
};

enum { CONFINED_DIED = PEER_KILLED + SIGSYS };

static inline void confined_child(void *data)
{
        const struct confined_start *start = data;
        struct crew__application a = { .keep_all = true };
        int step, r;

        if (start->c->more)
                a = *start->c->more;
        a.report = start->page;
        crew__sandbox_warm_up();
        r = crew__plan_apply(start->plan, &a, &step);
        if (r < 0)
                INFO("%s: %s", crew__step_name(step), crew_error_name(r));
        REQUIRE(r == 0);
        start->c->body(start->c->arg);
}

/* Runs the body in a child under the policy and fills in how that ended. */
static inline void confine(struct confined *c)
{
        struct crew__plan_options o = { .strictness = c->strictness, .reports = !c->no_report,
                .control = c->control ? c->control : -1, .events = c->events,
                .n_events = c->n_events };
        crew__report *page = peer_memory(sizeof *page);
        crew_sandbox *s = NULL;
        crew__plan plan;

        peer_needs_seccomp();
        INFO("words: %s", c->words);
        REQUIRE_OK(crew_sandbox_new(&s, c->words, c->mode));
        REQUIRE_OK(crew__plan_new(&plan, s, &o));
        (void)crew_sandbox_free(s);
        struct confined_start start = { .c = c, .plan = &plan, .page = page };
        c->pid = peer_start(confined_child, &start);
        c->code = peer_join(c->pid);
        crew__report_read(page, c->pid, &plan.scope, &c->violation);
        c->refused = page->refused;
        crew__plan_free(&plan);
        peer_memory_free(page, sizeof *page);
}

#endif
