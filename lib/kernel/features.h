/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_FEATURES_H
#define CREW_KERNEL_FEATURES_H

/* The library's own view of <crew/features.h>: one load once the answer is known. */

#include <crew/features.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum crew__feature {
        CREW__CLONE3,
        CREW__CLOSE_RANGE,
        CREW__PIDFD_INFO,
        CREW__IO_URING,
        CREW__URING_WAITID,
        CREW__URING_FUTEX,
        CREW__NOEXEC_SEAL,
        CREW__LANDLOCK,
        CREW__SECCOMP_NOTIFY,
        CREW__ROBUST_LIST,
        CREW__USERNS,
        CREW__CGROUP_MEMORY,
        CREW__FUTEX_WAITV,
        CREW__FEATURES, /* how many */
};

/* Per feature 0 = not tried yet, else CREW_FEATURE_... in the low byte. Written by features.c. */
extern _Atomic uint32_t crew__feature_answers[CREW__FEATURES];

/* Tries a feature that has no answer yet and returns the answer; use crew__has(). */
uint32_t crew__feature_try(enum crew__feature feature);

/*
 * Whether the feature works and is not forced off. Thread-safe without a lock, no allocation; the
 * first call for a feature may start and reap a child, and answers for its relatives too, so ask
 * before a vfork-like child or a sandbox is entered. Usable in a forked child, which inherits the
 * answers.
 */
static inline bool crew__has(enum crew__feature feature)
{
        uint32_t answer =
                atomic_load_explicit(&crew__feature_answers[feature], memory_order_relaxed);

        if (__builtin_expect(answer == 0, 0))
                answer = crew__feature_try(feature);
        return (answer & 0xff) == CREW_FEATURE_YES;
}

/*
 * A feature that answered yes turned out not to work in real use (`error` is the positive errno):
 * from now on it counts as missing, in this process and its future forks.
 */
void crew__feature_fell_short(enum crew__feature feature, int error);

/* A sandbox that is about to be entered refuses it: it counts as missing, tried or not. */
void crew__feature_forbid(enum crew__feature feature);

#endif
