/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_VMCLONE_H
#define CREW_KERNEL_VMCLONE_H

/*
 * A child that shares its parent's memory and runs beside it on a stack of its own: what
 * posix_spawn does, without making the parent wait. Nothing of the parent's memory is copied, so it
 * costs the same in a large program as in a small one.
 *
 * The child also shares the parent's thread-local storage, errno and the C library's locks: it may
 * use raw system calls and memory that is its own, nothing else, and must end or exec.
 */

#include "base/sanitized.h"
#include "kernel/syscall.h"

#include <stdbool.h>

/*
 * A sanitizer's run time keeps a stack of its own per thread, which two at once would tear: there
 * the parent waits after all.
 */
#if CREW__ASAN || CREW__TSAN
#define CREW__VM_FLAGS (CLONE_VM | CLONE_VFORK)
#else
#define CREW__VM_FLAGS CLONE_VM
#endif
/* For functions of the child that end it: the run time would look at the end of the wrong stack. */
#define CREW__VM_CHILD __attribute__((no_sanitize("address"), no_sanitize("thread")))
#define CREW__VM_WAITS ((CREW__VM_FLAGS & CLONE_VFORK) != 0)

/*
 * clone() or clone3(), by number, with their first five arguments; the child calls `run(data)`,
 * which must not return, on the stack that the arguments name. Returns the pid or a negative errno.
 */
#if defined(__x86_64__)

static inline long crew__sys_clone_run(
        long nr, const long args[5], void (*run)(void *data), void *data)
{
        register long r10 __asm__("r10") = args[3];
        register long r8 __asm__("r8") = args[4];
        register void (*r9)(void *) __asm__("r9") = run;
        register void *r12 __asm__("r12") = data;
        long r;

        __asm__ volatile("syscall\n\t"
                         "test %%rax, %%rax\n\t"
                         "jnz 1f\n\t"
                         "xor %%ebp, %%ebp\n\t"
                         "mov %%r12, %%rdi\n\t"
                         "call *%%r9\n\t"
                         "ud2\n"
                         "1:"
                         : "=a"(r)
                         : "a"(nr), "D"(args[0]), "S"(args[1]), "d"(args[2]), "r"(r10), "r"(r8),
                         "r"(r9), "r"(r12)
                         : "rcx", "r11", "memory", "cc");
        return r;
}

#else

static inline long crew__sys_clone_run(
        long nr, const long args[5], void (*run)(void *data), void *data)
{
        register long x8 __asm__("x8") = nr;
        register long x0 __asm__("x0") = args[0];
        register long x1 __asm__("x1") = args[1];
        register long x2 __asm__("x2") = args[2];
        register long x3 __asm__("x3") = args[3];
        register long x4 __asm__("x4") = args[4];
        register void (*x9)(void *) __asm__("x9") = run;
        register void *x10 __asm__("x10") = data;

        __asm__ volatile("svc 0\n\t"
                         "cbnz x0, 1f\n\t"
                         "mov x29, xzr\n\t"
                         "mov x30, xzr\n\t"
                         "mov x0, x10\n\t"
                         "blr x9\n\t"
                         "brk 1\n"
                         "1:"
                         : "+r"(x0)
                         : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9), "r"(x10)
                         : "memory", "cc");
        return x0;
}

#endif

struct crew__vm_child {
        void *stack; /* its lowest byte */
        size_t stack_size;
        int *pidfd;
        _Atomic uint32_t *alive; /* set by the caller; the kernel makes it 0 and wakes who waits for
                                    it when the child has left this memory, by exec or by its end */
        bool files;              /* it shares the descriptors, too, until it unshares them */
        int cgroup;              /* a directory of cgroup2 where it is born, or -1: clone3 only */
};

/*
 * Starts it without an exit signal (exec sets that back to SIGCHLD). `clone3`: the kernel has that
 * call. Handlers of signals are the parent's still in the child unless it has.
 */
static inline int crew__sys_vm_child(
        const struct crew__vm_child *c, bool clone3, void (*run)(void *data), void *data)
{
        const long flags =
                CREW__VM_FLAGS | CLONE_PIDFD | CLONE_CHILD_CLEARTID | (c->files ? CLONE_FILES : 0);
        struct clone_args args = {
                .flags = (uint64_t)flags | CLONE_CLEAR_SIGHAND,
                .pidfd = (uint64_t)(uintptr_t)c->pidfd,
                .child_tid = (uint64_t)(uintptr_t)c->alive,
                .stack = (uint64_t)(uintptr_t)c->stack,
                .stack_size = c->stack_size,
        };
        char *top = (char *)c->stack + c->stack_size;

        if (clone3) {
                const long call[5] = { (long)&args, sizeof args };

                if (c->cgroup >= 0) {
                        args.flags |= CLONE_INTO_CGROUP;
                        args.cgroup = (uint64_t)c->cgroup;
                }
                return (int)crew__sys_clone_run(SYS_clone3, call, run, data);
        }
        {
                /* The last two change places between the architectures; the other is not used. */
                const long call[5] = { flags, (long)top, (long)c->pidfd, (long)c->alive,
                        (long)c->alive };

                return (int)crew__sys_clone_run(SYS_clone, call, run, data);
        }
}

#endif
