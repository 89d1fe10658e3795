/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_THREAD_H
#define CREW_KERNEL_THREAD_H

/*
 * What the robust lock needs to know about the calling thread, kept in thread-local memory and
 * refreshed after a fork, so that locking costs no system call.
 */

#include "kernel/generation.h"

#include <linux/futex.h>

typedef struct crew__thread {
        uint64_t generation;
        uint32_t tid;
        struct robust_list_head *robust; /* glibc's, NULL where there is none (or disabled) */
        uint32_t place;  /* crew__place() */
        uint64_t claim;  /* crew__claim_make() */
        uint32_t inside; /* locks that it tries for or holds; counted only where there is no list */
} crew__thread;

extern _Thread_local crew__thread crew__thread_cache __attribute__((tls_model("initial-exec")));

crew__thread *crew__thread_refresh(void);

static inline crew__thread *crew__thread_self(void)
{
        crew__thread *self = &crew__thread_cache;

        if (__builtin_expect(self->generation == crew__generation(), 1))
                return self;
        return crew__thread_refresh();
}

#endif
