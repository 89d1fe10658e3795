/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_LANDLOCK_H
#define CREW_SANDBOX_LANDLOCK_H

/* The paths of a policy as a Landlock ruleset: made in the parent, entered by each child. */

#include "sandbox/policy.h"

/* What the running Landlock cannot enforce though the policy asks for it, and nothing else does. */
enum crew__gap {
        CREW__GAP_ALL = 1,     /* no Landlock at all */
        CREW__GAP_SIGNALS = 2, /* `proc` may signal processes outside (below ABI 6) */
        CREW__GAP_DEVICES = 4, /* `exec` may use ioctl on devices that paths let it read (ABI 5) */
};

typedef struct crew__ruleset {
        int fd;  /* -1: Landlock is not used */
        int abi; /* of the kernel; 0 if not used */
        unsigned gaps;
        const char *test_path; /* what must be refused afterwards; NULL if nothing need be */
        int test_flags;        /* how it is opened */
        bool test_filtered;    /* the policy's filter lets that through */
} crew__ruleset;

/*
 * Makes the ruleset of a policy; its descriptor is close-on-exec.
 *
 * Everything that Landlock can refuse is refused except what words without paths allow everywhere
 * and words with paths allow there; a policy without path words is refused every path, though its
 * filter lets no such call through. `test` looks for what crew__ruleset_test() can try, by opening
 * it: not where a filter is in force that ends the process for that.
 *
 * Returns 0; -EOPNOTSUPP: paths are given and there is no Landlock, or CREW_REQUIRE and a gap;
 * -ENOENT, -EACCES, ...: a path cannot be opened; -EMFILE, -ENOMEM.
 */
int crew__ruleset_new(crew__ruleset *r, const crew_sandbox *s, bool test);

/* Closes the descriptor. */
void crew__ruleset_free(crew__ruleset *r);

/*
 * Restricts the calling thread, which must have no_new_privs, and tries what must now be refused.
 * Raw system calls only. Returns 0; a negative errno of the kernel's; -ENOTRECOVERABLE: Landlock
 * said yes and does not enforce.
 */
int crew__ruleset_restrict(const crew__ruleset *r);
int crew__ruleset_test(const crew__ruleset *r);

/* In words, what Landlock does for the policy here: "Landlock ABI 7", "no Landlock". */
void crew__landlock_describe(const crew_sandbox *s, char *buf, size_t cap);

#endif
