/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_APPLY_H
#define CREW_SANDBOX_APPLY_H

/*
 * A policy put into force in a child. The parent prepares a plan, once for any number of children;
 * a child enters it with raw system calls only, so it may be the fork of a process with threads.
 */

#include "sandbox/filter.h"
#include "sandbox/landlock.h"
#include "sandbox/report.h"

#include <sys/resource.h>

/* What happens in a child to calls that no word allows. */
enum crew__strictness {
        CREW__HARD,    /* ends the process; reported where there is a report page */
        CREW__SOFT,    /* EPERM; counted where there is a report page. A process that makes such a
                          call with SIGSYS blocked ends nevertheless */
        CREW__FOREIGN, /* EPERM without a count: programs that exec, which loses handlers */
        CREW__NOTIFY,  /* sleeps until the filter's listener has answered: see notify.h */
};

struct crew__plan_options {
        enum crew__strictness strictness;
        bool reports;      /* children have a report page */
        int control;       /* the descriptor number of their control socket, or -1 */
        const int *events; /* numbers of the eventfds they may write; not kept */
        size_t n_events;
};

typedef struct crew__plan {
        struct crew__scope scope; /* for crew__report_read() */
        int *events;
        crew__filter filter;
        crew__ruleset ruleset;
        bool none; /* the policy is `none`: only descriptors and limits are seen to */
        bool soft, reports, notify;
        bool close_range; /* the kernel has it */
} crew__plan;

/*
 * Prepares a policy; holds one close-on-exec descriptor. The policy may be freed afterwards.
 * Returns 0 or what crew__filter_new() and crew__ruleset_new() return, with words.
 */
int crew__plan_new(crew__plan *p, const crew_sandbox *s, const struct crew__plan_options *options);

/* Frees what it holds, not the struct. */
void crew__plan_free(crew__plan *p);

struct crew__limit {
        int resource; /* RLIMIT_... */
        uint64_t value;
};

/* What one child brings along. */
struct crew__application {
        const int *keep; /* descriptors that stay open, ascending; everything else is closed */
        size_t n_keep;
        bool keep_all;     /* closes nothing but the ruleset ... */
        bool shared_files; /* ... and not that: the descriptors are the parent's too */
        bool filtered;     /* it was born under the filter: crew__plan_load() */
        bool keep_core;    /* leaves the limit of core dumps as it is */
        const struct crew__limit *limits;
        size_t n_limits;
        crew__report *report; /* if the plan has reports; shared memory */
        int *listener;        /* CREW__NOTIFY: gets the descriptor */
};

enum crew__step {
        CREW__STEP_DESCRIPTORS = 1,
        CREW__STEP_LIMITS,
        CREW__STEP_NO_NEW_PRIVS,
        CREW__STEP_LANDLOCK,
        CREW__STEP_SELF_TEST,
        CREW__STEP_HANDLER,
        CREW__STEP_FILTER,
        /* Not crew__plan_apply()'s, but told the same way. */
        CREW__STEP_NICE,
        CREW__STEP_CPUS,
};

/* The name of a step for a sentence: "closing descriptors". */
const char *crew__step_name(int step);

/*
 * Enters the sandbox: descriptors, limits (no core dumps whatever they say), no_new_privs,
 * Landlock and its test, SIGSYS handler, filter. To be called by the only thread of a child that
 * has its lifeline already; takes 9 KiB of stack.
 *
 * Returns 0, or a negative errno with *step telling what failed; the child must then end. A step
 * that fails leaves those before it in force.
 */
int crew__plan_apply(const crew__plan *p, const struct crew__application *a, int *step);

/*
 * The filter alone, with no_new_privs, for a thread whose children shall have it from birth: their
 * crew__plan_apply() does the rest. *listener as in the application, where the plan notifies.
 */
int crew__plan_load(const crew__plan *p, int *listener, int *step);

/*
 * What the C library and this one set up at first use, which a sandbox would refuse: malloc's
 * arenas, locale, time zone, feature probes, the pid namespace. For a process before it enters, or
 * the one that it is forked from. Allocates, reads files, may start and reap a child.
 */
void crew__sandbox_warm_up(void);

/* Features that every sandbox refuses count as missing from here on, and are not tried; nor is
 * /proc looked at for owners of locks. For the process that enters, not for one that shares memory.
 */
void crew__sandbox_forbid(void);

#endif
