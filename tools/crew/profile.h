/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_PROFILE_H
#define CREW_TOOLS_PROFILE_H

/*
 * The sandboxes of crew run by name, with what options add to them.
 *
 *   standard  reads and runs what the user can; writes below the working and the temporary
 * directory only; no network, no other user's memory, no privileges strict    reads and runs what
 * belongs to the system, and the working directory; writes there and below the temporary directory
 * only none      no sandbox
 */

#include <crew/crew.h>
#include <stdbool.h>
#include <stddef.h>

enum profile_kind { PROFILE_STANDARD, PROFILE_STRICT, PROFILE_NONE };

struct profile {
        enum profile_kind kind;
        bool net;      /* --net */
        bool required; /* --sandbox-required */
        const char *const
                *ro; /* --ro: readable directories and files beside those of the profile */
        size_t n_ro;
        const char *const *rw; /* --rw: writable ones */
        size_t n_rw;
        const char *allow; /* --allow: words, "" or NULL */
        const char *wd;    /* --wd: where jobs work; NULL = here */
};

/* The kind of that name, or -1. `profile_names` has all of them, NULL after the last. */
int profile_find(const char *name);
extern const char *const profile_names[];

/*
 * Makes the policy; *s is NULL for PROFILE_NONE, and where the kernel has no sandbox to give and
 * none is required. `words` then says so, and also if only a part is missing; else it is "".
 * Returns 0; -EINVAL: a word that there is not; -ENOENT, ...: a path of --ro, --rw or --wd;
 * -EOPNOTSUPP: `required`, and the kernel cannot. On failure `words` says what is wrong.
 */
int profile_make(const struct profile *p, crew_sandbox **s, char *words, size_t cap);

/* In words: "the standard sandbox: writable . and /tmp, no network". */
void profile_describe(const struct profile *p, char *text, size_t cap);

/* The option that would allow what was refused: "--net", "--allow unix"; "" if there is none. */
void profile_advice(const crew_violation *v, char *text, size_t cap);

/* Does the profile let jobs read, or write and create, below this absolute path? */
bool profile_reads(const struct profile *p, const char *path);
bool profile_writes(const struct profile *p, const char *path);

#endif
