/* SPDX-License-Identifier: MIT */
#include "sandbox/filter.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "sandbox/bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <string.h>
#include <unistd.h>

/* Stands for the pid of a process that is made later; above the highest pid a kernel gives. */
enum { PLACEHOLDER = 0x7ffffff1 };

/* Numbers of the x32 ABI carry this bit; the kernel sees them under the x86-64 architecture. */
#define X32_BIT 0x40000000U

unsigned crew__native_arch(void)
{
#if defined(__x86_64__)
        return AUDIT_ARCH_X86_64;
#else
        return AUDIT_ARCH_AARCH64;
#endif
}

static unsigned foreign_arch(void)
{
#if defined(__x86_64__)
        return AUDIT_ARCH_I386;
#else
        return AUDIT_ARCH_ARM;
#endif
}

static void context_freep(scmp_filter_ctx *context)
{
        if (*context)
                seccomp_release(*context);
}

struct making {
        scmp_filter_ctx context;
        uint32_t refusal;
};

static struct scmp_arg_cmp comparison(const struct crew__condition *when)
{
        if (when->comparison == CREW__BELOW)
                return SCMP_CMP64(when->argument, SCMP_CMP_LT, when->value);
        return SCMP_CMP64(when->argument, SCMP_CMP_MASKED_EQ, when->mask, when->value);
}

static int add_rule(const struct crew__rule *rule, void *data)
{
        struct making *making = data;
        uint32_t action = rule->error ? SCMP_ACT_ERRNO((uint32_t)rule->error) : SCMP_ACT_ALLOW;
        struct scmp_arg_cmp compare[CREW__CONDITIONS];
        unsigned n = 0;
        int nr, r;

        nr = seccomp_syscall_resolve_name(rule->call);
        /* Below zero: another architecture's, or newer than libseccomp; refused like the rest. */
        if (nr < 0 || action == making->refusal)
                return 0;
        /* A listener can tell a library's polite question from a program that needs the network. */
        if (making->refusal == SCMP_ACT_NOTIFY && rule->error && strcmp(rule->call, "socket") == 0)
                return 0;
        for (; n < CREW__CONDITIONS && rule->when[n].comparison != CREW__ANY; n++)
                compare[n] = comparison(&rule->when[n]);
        r = seccomp_rule_add_array(making->context, action, nr, n, compare);
        if (r < 0 && r != -EEXIST)
                return crew__fail(-r, "sandbox: libseccomp refuses a rule for %s: %s", rule->call,
                        strerror(-r));
        return 0;
}

static uint32_t action_of(enum crew__refusal refusal)
{
        switch (refusal) {
        case CREW__REFUSE_ERRNO:
                return SCMP_ACT_ERRNO(EPERM);
        case CREW__REFUSE_KILL:
                return SCMP_ACT_KILL_PROCESS;
        case CREW__REFUSE_NOTIFY:
                return SCMP_ACT_NOTIFY;
        default:
                return SCMP_ACT_TRAP;
        }
}

/* The program as libseccomp writes it, into a pipe. */
static int export(int fd, const struct crew__scope *scope, enum crew__refusal refusal)
{
        __attribute__((cleanup(context_freep))) scmp_filter_ctx context = NULL;
        struct making making = { .refusal = action_of(refusal) };
        int r;

        context = seccomp_init(making.refusal);
        if (!context)
                return crew__fail(ENOMEM, "sandbox: libseccomp cannot begin a filter");
        r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r < 0)
                return crew__fail(EOPNOTSUPP,
                        "sandbox: seccomp filters that end a process are not to be had here: no "
                        "seccomp(2) in this kernel, or a sandbox around this process refuses it");
        /* A tree. The kernel runs a new filter once for each number there is, to know those that it
         * can allow without running it: half of what loading a list costs. */
        r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        if (r < 0)
                return crew__fail(-r, "sandbox: libseccomp makes no trees: %s", strerror(-r));
        making.context = context;
        r = crew__rules_each(scope, add_rule, &making);
        if (r < 0)
                return r;
        r = seccomp_export_bpf(context, fd);
        if (r < 0)
                return crew__fail(
                        -r, "sandbox: libseccomp cannot write the filter: %s", strerror(-r));
        return 0;
}

/*
 * What goes before libseccomp's program. Foreign architectures and x32 end the process whatever
 * comes after. Numbers beyond the table get ENOSYS, not the refusal, so that a newer C library
 * falls back; so does -1, which a tracer writes to skip a call.
 */
static unsigned write_prologue(struct sock_filter *code)
{
        const struct sock_filter prologue[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, crew__native_arch(), 0, 4),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 1, 0),
                BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, CREW__LAST_SYSCALL, 2, 3),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UINT32_MAX, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        };

        memcpy(code, prologue, sizeof prologue);
        return sizeof prologue / sizeof *prologue;
}

static int read_back(crew__filter *f, int fd)
{
        const size_t room = CREW__FILTER_MAX * sizeof *f->code;
        unsigned begin;
        ssize_t size;

        f->code = malloc(room);
        if (!f->code)
                return crew__fail(ENOMEM, "sandbox: no memory for the filter");
        begin = write_prologue(f->code);
        size = read(fd, f->code + begin, room - begin * sizeof *f->code);
        if (size <= 0 || (size_t)size % sizeof *f->code ||
                (size_t)size == room - begin * sizeof *f->code)
                return crew__fail(EIO, "sandbox: the filter cannot be read back or is too long");
        f->length = (unsigned short)(begin + (size_t)size / sizeof *f->code);
        return 0;
}

static int find_placeholders(crew__filter *f)
{
        for (unsigned short i = 0; i < f->length; i++) {
                if (f->code[i].code != (BPF_JMP | BPF_JEQ | BPF_K) || f->code[i].k != PLACEHOLDER)
                        continue;
                if (f->n_self == sizeof f->self / sizeof *f->self)
                        return crew__fail(ENOTRECOVERABLE, "sandbox: an unexpected filter");
                f->self[f->n_self++] = i;
        }
        return 0;
}

/* A listener is not asked to let anything through. */
static bool lets_through(const crew__filter *f, unsigned arch, unsigned nr, uint64_t argument)
{
        struct seccomp_data call = { .arch = arch, .nr = (int)nr };
        unsigned action;

        for (int i = 0; i < 6; i++)
                call.args[i] = argument;
        action = crew__bpf_run(f->code, f->length, &call) & SECCOMP_RET_ACTION_FULL;
        return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG ||
               action == SECCOMP_RET_TRACE;
}

/*
 * Replays what must not get through, with a few arguments each: a fault of libseccomp would be a
 * hole that nobody sees. The tests replay everything. Other architectures never come to
 * libseccomp's part, so one number of each will do.
 */
static int check(const crew__filter *f)
{
        static const uint64_t arguments[] = { 0, 1, 2, PLACEHOLDER, UINT32_MAX, UINT64_MAX,
                UINT64_C(1) << 32 };
        struct seccomp_data end = { .arch = crew__native_arch() };

        if (lets_through(f, foreign_arch(), 0, 0) ||
                lets_through(f, crew__native_arch(), X32_BIT, 0))
                return crew__fail(ENOTRECOVERABLE,
                        "sandbox: the filter would allow calls of another architecture");
        for (const char *const *name = crew__closed_calls; *name; name++) {
                int nr = seccomp_syscall_resolve_name(*name);

                for (size_t a = 0; nr >= 0 && a < sizeof arguments / sizeof *arguments; a++) {
                        if (lets_through(f, crew__native_arch(), (unsigned)nr, arguments[a]))
                                return crew__fail(ENOTRECOVERABLE,
                                        "sandbox: the filter would allow %s; is libseccomp sound?",
                                        *name);
                }
        }
        end.nr = seccomp_syscall_resolve_name("exit_group");
        if (crew__bpf_run(f->code, f->length, &end) != SECCOMP_RET_ALLOW)
                return crew__fail(ENOTRECOVERABLE, "sandbox: the filter would not allow the end");
        return 0;
}

/*
 * libseccomp 2.5 writes to descriptors only. A pipe: a process that is in a sandbox already can
 * make no memfd, and RLIMIT_FSIZE does not count. It must hold the whole program, as nobody reads
 * meanwhile; one that was cut would not pass the check.
 */
static int open_pipe(int *in, int *out)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return crew__fail(errno, "sandbox: no pipe for the filter: %m");
        *in = ends[0];
        *out = ends[1];
        return 0;
}

int crew__filter_new(crew__filter *f, const struct crew__scope *scope, enum crew__refusal refusal)
{
        struct crew__scope whole = *scope;
        CREW__AUTO_CLOSE int in = -1;
        CREW__AUTO_CLOSE int out = -1;
        crew__filter made = { 0 };
        int r;

        if (scope->words & CREW__NONE) {
                *f = made;
                return 0;
        }
        if (!whole.self)
                whole.self = PLACEHOLDER;
        r = open_pipe(&in, &out);
        if (r == 0)
                r = export(out, &whole, refusal);
        if (r == 0)
                r = read_back(&made, in);
        if (r == 0)
                r = find_placeholders(&made);
        if (r == 0)
                r = check(&made);
        if (r < 0) {
                crew__filter_free(&made);
                return r;
        }
        *f = made;
        return 0;
}

void crew__filter_free(crew__filter *f)
{
        free(f->code);
        *f = (crew__filter){ 0 };
}

void crew__filter_set_self(const crew__filter *f, struct sock_filter *code, uint32_t pid)
{
        for (unsigned short i = 0; i < f->n_self; i++)
                code[f->self[i]].k = pid;
}
