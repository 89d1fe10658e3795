/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_RULES_H
#define CREW_SANDBOX_RULES_H

/*
 * Which system calls the words allow, as one table: the filter is built from it, and a report asks
 * it which word would have allowed a call.
 */

#include "sandbox/policy.h"

/*
 * The highest number that somebody sorted into a word or left out on purpose; what comes after it
 * is answered with ENOSYS, so that a C library newer than this file takes its fallback. From 424 on
 * numbers are the same on all architectures. Linux 6.18 ends here.
 */
enum { CREW__LAST_SYSCALL = 469 };

/*
 * What a rule asks of one argument. Both compare all 64 bits of the register after the mask, while
 * the kernel looks at the low 32 bits of an int: a test of equality under a mask errs nowhere, and
 * "below" errs only towards refusal. There is no "differs" and no "above": high bits that the
 * kernel ignores would satisfy those.
 */
enum crew__comparison { CREW__ANY, CREW__IS, CREW__BELOW };

struct crew__condition {
        uint8_t argument;
        uint8_t comparison;
        uint64_t mask, value;
};

enum { CREW__CONDITIONS = 2 };

struct crew__rule {
        const char *call; /* by libseccomp's name; a call that this architecture lacks is skipped */
        unsigned any;     /* it holds if one of these words is there (0 = always) ... */
        unsigned all;     /* ... and all of these ... */
        unsigned none;    /* ... and none of these */
        struct crew__condition when[CREW__CONDITIONS];
        int error; /* 0 = allowed, else answered with this errno */
};

/* Words that only the library adds: what the kernel or the way of entering leaves open. */
enum {
        /* The process entered by itself and may give up more later. */
        CREW__NARROWING = 1U << 29,
        /* Landlock is asked to limit writing, and this one cannot see truncate(). */
        CREW__NO_TRUNCATE = 1U << 30,
        /* A SIGSYS handler of the library's is there. */
        CREW__HANDLED = 1U << 31,
};

/* What a policy's words mean in one kind of process. */
struct crew__scope {
        unsigned words; /* closed, see crew__words_closed() */
        int control;    /* a socket that `compute` reads, writes and takes descriptors from, or -1 */
        const int *events; /* eventfds that `compute` writes */
        size_t n_events;
        uint32_t self; /* the one pid that may be signalled */
};

/*
 * Calls `visit` for each rule that holds in the scope until it returns non-zero, which is then the
 * result. Where a call is allowed unconditionally that is the only rule about it.
 */
int crew__rules_each(const struct crew__scope *scope,
        int (*visit)(const struct crew__rule *rule, void *data), void *data);

/* Whether the table allows the call; `name` as libseccomp has it. */
bool crew__rules_allow(const struct crew__scope *scope, const char *name, const uint64_t args[6]);

/* The errno that a rule answers to the call; 0: none does. */
int crew__rules_error(const struct crew__scope *scope, const char *name, const uint64_t args[6]);

/* The calls that no set of words allows: name after name, NULL after the last. */
extern const char *const crew__closed_calls[];

/* C functions and the word that each needs at least, with the call it ends in. NULL ends it. */
struct crew__function {
        const char *name, *call;
        unsigned words;
};

extern const struct crew__function crew__functions[];

#endif
