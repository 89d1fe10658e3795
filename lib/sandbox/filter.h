/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_FILTER_H
#define CREW_SANDBOX_FILTER_H

/* The words as a seccomp program. Made and checked in the parent; a child only loads it. */

#include "sandbox/rules.h"

#include <linux/filter.h>

/* What happens to a call that no word allows. */
enum crew__refusal {
        CREW__REFUSE_TRAP,  /* SIGSYS to the thread: a handler may write it down, else the end */
        CREW__REFUSE_KILL,  /* the end, without a word */
        CREW__REFUSE_ERRNO, /* EPERM */
        CREW__REFUSE_NOTIFY, /* the listener decides */
};

/* Room for the longest program of any set of words, and the most that is ever loaded. */
enum { CREW__FILTER_MAX = 1024 };

typedef struct crew__filter {
        struct sock_filter *code;
        unsigned short length;
        unsigned short n_self;  /* how many instructions compare with the own pid, ... */
        unsigned short self[8]; /* ... and which */
} crew__filter;

/*
 * Builds the program for the scope and replays the calls that must never get through. Where
 * scope->self is 0 the program is made for a process that does not exist yet, which then puts its
 * pid into a copy: crew__filter_set_self(). A scope with CREW__NONE has no filter: length 0.
 * Returns 0; -EOPNOTSUPP: no seccomp here; -ENOMEM, -EMFILE; -ENOTRECOVERABLE: the program lets through what it must not
 * (a libseccomp with a fault).
 */
int crew__filter_new(crew__filter *f, const struct crew__scope *scope, enum crew__refusal refusal);

void crew__filter_free(crew__filter *f);

/* Puts the pid into a program. Async-signal-safe. */
void crew__filter_set_self(const crew__filter *f, struct sock_filter *code, uint32_t pid);

/* The AUDIT_ARCH_... of this build. */
unsigned crew__native_arch(void);

#endif
