/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_CONFINE_H
#define CREW_PROCESS_CONFINE_H

/* Sandbox, limits, priority and processors of one process: what was asked for and what it led to.
 */

#include "kernel/cell.h"
#include "sandbox/notify.h"
#include "sandbox/share.h"

#include <crew/process.h>
#include <pthread.h>

enum { CREW__LIMITS = 5 };

/* What a forked child writes: it has no other way to say so. */
struct crew__confine_note {
        crew__report report;
        int error, step; /* positive; it never ran its target */
};

typedef struct crew__confine {
        const crew__plan *plan; /* or NULL */
        char words[40];         /* of it, for inspectors */
        struct crew__limit limits[CREW__LIMITS];
        size_t n_limits;
        uint64_t memory;  /* bytes, or 0: no limit. Then limits[0] is the one of address space */
        crew__cell *cell; /* of a child that was or is being started, or NULL */
        bool housed;      /* that start found one */
        bool starved;     /* the kernel ended it for want of memory */
        crew_starter *starter; /* whose thread starts it, or NULL; the plan is that one's, then */
        bool under_way;        /* and it was taken */
        bool deny;             /* on_violation */
        bool reports;          /* CREW_PROCESS_REPORT */
        int nice;
        unsigned long *cpus;
        size_t cpus_size;

        struct crew__confine_note *note; /* of a child with a target; shared memory */
        bool lent;               /* it lies in the child's page, which somebody else frees */
        pthread_mutex_t serving; /* the two below */
        int listener;            /* -1: not known yet, or there is none */
        crew__notes notes;
} crew__confine;

/* The list that crew__plan_apply() takes; how many there are. That of memory comes first. */
size_t crew__limits_list(const crew_limits *l, struct crew__limit list[CREW__LIMITS]);

/* A mask for sched_setaffinity(), to be freed; nothing for none. -EINVAL, -ENOMEM, with words. */
int crew__cpus_new(
        unsigned long **mask, size_t *size, const unsigned *cpus, size_t n, const char *whose);

/* What happens to refused calls of a program. */
enum crew__strictness crew__confine_strictness(bool reports, bool deny);

bool crew__confine_wanted(const crew_process_options *o);

/* Checks and prepares. -EINVAL, what crew_sandbox_new() and crew__plan_get() answer; with words. */
int crew__confine_new(crew__confine *c, const crew_process_options *o, bool program);
void crew__confine_free(crew__confine *c);

/* Of a program with a starter: takes that, before the start. -EBUSY, -ECHILD. */
int crew__confine_take(crew__confine *c);
/* Gives the starter back, or closes the listener: it has ended, or never began. */
void crew__confine_let_go(crew__confine *c);

/* Before the start of a fork: the note. -ENOMEM. */
int crew__confine_open(crew__confine *c);

/* Before any start: a cell if its memory is limited and one can be had. */
void crew__confine_house(crew__confine *c);

/* It has ended: was it for want of memory? Nobody stays in its cell. Does not wait. */
void crew__confine_vacate(crew__confine *c);

/* It never started, or its handle goes: without its cell, for which a moment may pass. */
void crew__confine_unhouse(crew__confine *c);

/* The limits that it sets for itself: without that of memory in a cell. */
const struct crew__limit *crew__confine_limits(const crew__confine *c, size_t *n);

/*
 * For a child that is no fork, as bytes; its ruleset's descriptor goes along by other means. 0
 * bytes: there is nothing to enter. Both sides have the note where it is lent to them. _unpack: 0;
 * -ENOMEM, -EBADMSG.
 */
size_t crew__confine_packed(const crew__confine *c);
void crew__confine_pack(const crew__confine *c, void *into);
int crew__confine_unpack(crew__confine *c, const void *from, size_t size, int ruleset);
void crew__confine_lend(crew__confine *c, struct crew__confine_note *note);

/* In a child with a target: enters. A failure is in the note. */
int crew__confine_enter(crew__confine *c);

/* Answers what waits; how many. */
int crew__confine_serve(crew__confine *c);

/* The first violation of a process with this ending signal (0: none, or it runs); false: none. */
bool crew__confine_violated(
        crew__confine *c, pid_t pid, int signal, crew__violation *v, uint64_t *count);

#endif
