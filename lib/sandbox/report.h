/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_REPORT_H
#define CREW_SANDBOX_REPORT_H

/*
 * What a process was killed for: its SIGSYS handler writes the refused call into memory that the
 * parent shares, and ends the process. The memory is the worker's to write, so what it says is a
 * hint for humans and never decides anything; that the process died of SIGSYS is the kernel's word.
 *
 * Nothing is written when the handler could not run: while the C library has signals blocked
 * (system, posix_spawn, pthread_create), or the worker blocked SIGSYS. The process ends all the
 * same, and the call is "unknown".
 */

#include "sandbox/rules.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

/* In shared memory, one per worker, zeroed. */
typedef struct crew__report {
        _Atomic uint32_t state;
        uint32_t arch;
        int32_t nr;
        int32_t pid, tid; /* as the worker sees them */
        uint32_t padding;
        uint64_t ip;
        uint64_t args[6];
        _Atomic uint64_t refused; /* how many calls got EPERM; see CREW__SOFT */
} crew__report;

/* One violation in words. */
typedef struct crew__violation {
        int nr;        /* -1: unknown */
        char name[32]; /* "openat", "syscall 999", "" when unknown */
        pid_t tid;     /* the thread, as the process itself sees it */
        uint64_t ip;
        unsigned words; /* that would have allowed it, 0 = none do */
        char text[240]; /* "openat (as fopen and localtime do) needs the word rpath; ..." */
} crew__violation;

/* For a page that a new worker gets. */
void crew__report_clear(crew__report *r);

/*
 * What the worker with that pid (in its own pid namespace) was refused, given the scope its filter
 * was made for. Reads the page once and trusts nothing in it. Never fails: without a report that
 * fits the pid the call is unknown.
 */
void crew__report_read(
        const crew__report *r, pid_t pid, const struct crew__scope *scope, crew__violation *v);

/*
 * The same for a call that the caller knows: from a seccomp notification, or for the documentation.
 * `args` may be NULL: then any arguments.
 */
void crew__violation_of(
        const struct crew__scope *scope, int nr, const uint64_t *args, crew__violation *v);

/* The words that would have allowed it: "wpath and cpath"; "" for none. */
void crew__violation_words(const crew__violation *v, char *buf, size_t cap);

/*
 * In the child: installs the handler that writes to `r`, and unblocks SIGSYS. `soft`: calls are
 * counted and answered with EPERM instead of ending the process.
 * Returns 0 or a negative errno. Raw system calls and sigaction().
 */
int crew__report_install(crew__report *r, bool soft);

#endif
