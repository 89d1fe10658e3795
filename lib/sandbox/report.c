/* SPDX-License-Identifier: MIT */
#include "sandbox/report.h"

#include "kernel/syscall.h"
#include "sandbox/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { EMPTY, WRITING, WRITTEN };

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code of a filter's SIGSYS */
#endif

/* Of this process; set before the filter is loaded, read by the handler only. */
static struct {
        crew__report *page;
        pid_t pid;
        bool soft;
} mine;

#if defined(__x86_64__)

static void read_arguments(const ucontext_t *at, uint64_t args[6])
{
        static const int registers[] = { REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9 };

        for (int i = 0; i < 6; i++)
                args[i] = (uint64_t)at->uc_mcontext.gregs[registers[i]];
}

static void set_result(ucontext_t *at, long result)
{
        at->uc_mcontext.gregs[REG_RAX] = result;
}

#else

static void read_arguments(const ucontext_t *at, uint64_t args[6])
{
        for (int i = 0; i < 6; i++)
                args[i] = at->uc_mcontext.regs[i];
}

static void set_result(ucontext_t *at, long result)
{
        at->uc_mcontext.regs[0] = (uint64_t)result;
}

#endif

/* Whether the call is fstat() in glibc's dress, and its result if so. */
static bool was_fstat(int nr, const uint64_t args[6], long *result)
{
        if (nr != SYS_newfstatat || (uint32_t)args[3] != AT_EMPTY_PATH || *(const char *)args[1])
                return false;
        *result = crew__syscall(SYS_fstat, (long)args[0], (long)args[2], 0, 0, 0, 0);
        return true;
}

static void write_down(const siginfo_t *info, const uint64_t args[6])
{
        crew__report *r = mine.page;
        uint32_t expected = EMPTY;

        if (!atomic_compare_exchange_strong(&r->state, &expected, WRITING))
                return; /* another thread was faster */
        r->arch = info->si_arch;
        r->nr = info->si_syscall;
        r->pid = mine.pid;
        r->tid = crew__sys_gettid();
        r->ip = (uint64_t)(uintptr_t)info->si_call_addr;
        memcpy(r->args, args, sizeof r->args);
        atomic_store(&r->state, WRITTEN);
}

/*
 * AddressSanitizer adds a look at the thread's stack before a call that does not return. On a
 * handler's stack of its own that reads /proc, which the sandbox refuses, and gcc's then ends the
 * process in its own way.
 */
#define UNINSTRUMENTED __attribute__((no_sanitize_address))

/*
 * Ends the process as if there were no handler. SIGSYS is blocked in here, so the kernel does not
 * deliver it for another refused call but ends the process with it. Restoring the default would
 * take a call that the filter refuses; this one is invalid should it ever get through.
 */
static void UNINSTRUMENTED end(void)
{
        (void)crew__syscall(SYS_ptrace, -1, 0, 0, 0, 0, 0);
        for (;;)
                (void)crew__syscall(SYS_exit_group, 128 + SIGSYS, 0, 0, 0, 0, 0);
}

static void UNINSTRUMENTED on_sigsys(int signal, siginfo_t *info, void *context)
{
        ucontext_t *at = context;
        uint64_t args[6];
        long result;

        (void)signal;
        if (info->si_code != SYS_SECCOMP)
                end();
        read_arguments(at, args);
        if (was_fstat(info->si_syscall, args, &result)) {
                set_result(at, result);
                return;
        }
        /* A child of this process has inherited handler and page, but not the page's pid. */
        if (mine.page && mine.pid == crew__sys_getpid())
                write_down(info, args);
        if (!mine.soft)
                end();
        if (mine.page)
                (void)atomic_fetch_add(&mine.page->refused, 1);
        set_result(at, -EPERM);
}

int crew__report_install(crew__report *r, bool soft)
{
        struct sigaction action = { .sa_sigaction = on_sigsys,
                .sa_flags = SA_SIGINFO | SA_ONSTACK };
        const uint64_t sigsys = UINT64_C(1) << (SIGSYS - 1);

        mine.page = r;
        mine.pid = crew__sys_getpid();
        mine.soft = soft;
        if (sigaction(SIGSYS, &action, NULL) < 0)
                return -errno;
        return crew__sys_sigmask(SIG_UNBLOCK, &sigsys, NULL);
}

void crew__report_clear(crew__report *r)
{
        memset(r, 0, sizeof *r);
}

/* Joins the names of the words that are in the set: "wpath and cpath". */
static void name_words(unsigned words, char *buf, size_t cap)
{
        size_t length = 0;

        buf[0] = 0;
        for (; words; words &= words - 1) {
                const char *between = !length ? "" : words & (words - 1) ? ", " : " and ";
                int n = snprintf(
                        buf + length, cap - length, "%s%s", between, crew__word_name(words));

                if (n < 0 || (size_t)n >= cap - length)
                        return;
                length += (size_t)n;
        }
}

static bool allowed_with(
        const struct crew__scope *scope, unsigned more, const char *name, const uint64_t *args)
{
        static const uint64_t nothing[6];
        struct crew__scope wider = *scope;

        wider.words = crew__words_closed(wider.words | more);
        return crew__rules_allow(&wider, name, args ? args : nothing);
}

/* The fewest words that would have allowed the call: one, or two of those that open files. */
static unsigned missing_words(
        const struct crew__scope *scope, const char *name, const uint64_t *args)
{
        static const unsigned pairs[] = { CREW__WPATH | CREW__CPATH, CREW__RPATH | CREW__WPATH,
                CREW__RPATH | CREW__CPATH, CREW__RPATH | CREW__WPATH | CREW__CPATH };

        if (allowed_with(scope, 0, name, args))
                return 0;
        for (unsigned word = CREW__COMPUTE; word < CREW__SANITIZER; word <<= 1) {
                if (!(scope->words & word) && allowed_with(scope, word, name, args))
                        return word;
        }
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
                if (allowed_with(scope, pairs[i], name, args))
                        return pairs[i] & ~scope->words;
        }
        return 0;
}

/* A C function that ends in the call and needs these words. */
static const char *example(const char *name, unsigned words)
{
        for (const struct crew__function *f = crew__functions; f->name; f++) {
                if (strcmp(f->call, name) == 0 && f->words & words)
                        return f->name;
        }
        return NULL;
}

static bool closed(const char *name)
{
        for (const char *const *c = crew__closed_calls; *c; c++) {
                if (strcmp(*c, name) == 0)
                        return true;
        }
        return false;
}

static void describe(crew__violation *v)
{
        const char *as = example(v->name, v->words);
        char words[64];

        name_words(v->words, words, sizeof words);
        if (v->words && as)
                (void)snprintf(v->text, sizeof v->text,
                        "the system call %s (in C: %s) is refused; the word %s would allow it",
                        v->name, as, words);
        else if (v->words)
                (void)snprintf(v->text, sizeof v->text,
                        "the system call %s is refused; the word %s would allow it", v->name,
                        words);
        else if (closed(v->name))
                (void)snprintf(v->text, sizeof v->text,
                        "the system call %s is refused, and no word allows it", v->name);
        else
                (void)snprintf(v->text, sizeof v->text,
                        "the system call %s is refused; no word allows it with these arguments",
                        v->name);
}

void crew__violation_of(
        const struct crew__scope *scope, int nr, const uint64_t *args, crew__violation *v)
{
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);

        *v = (crew__violation){ .nr = nr };
        if (name)
                (void)snprintf(v->name, sizeof v->name, "%s", name);
        else
                (void)snprintf(v->name, sizeof v->name, "syscall %d", nr);
        free(name);
        v->words = missing_words(scope, v->name, args);
        describe(v);
}

void crew__violation_words(const crew__violation *v, char *buf, size_t cap)
{
        *buf = '\0';
        name_words(v->words, buf, cap);
}

static void unknown(crew__violation *v)
{
        *v = (crew__violation){ .nr = -1 };
        (void)snprintf(v->text, sizeof v->text,
                "a system call that the sandbox refuses; which one is unknown, as it was made with "
                "signals blocked (as system, posix_spawn and pthread_create do) or by another "
                "architecture's entry");
}

void crew__report_read(
        const crew__report *page, pid_t pid, const struct crew__scope *scope, crew__violation *v)
{
        struct crew__scope own = *scope;
        crew__report r;

        if (!page || atomic_load(&page->state) != WRITTEN) {
                unknown(v);
                return;
        }
        memcpy(&r, page, sizeof r);
        if (r.pid != pid || r.arch != crew__native_arch() || r.nr < 0) {
                unknown(v);
                return;
        }
        own.self = (uint32_t)pid;
        crew__violation_of(&own, r.nr, r.args, v);
        v->tid = r.tid;
        v->ip = r.ip;
}
