/* SPDX-License-Identifier: MIT */
#include "kill.h"

#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

struct start {
        void (*fn)(void *);
        void *arg;
};

static void be_victim(void *arg)
{
        struct start *start = arg;

        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(VICTIM_REFUSED);
        start->fn(start->arg);
}

void victim_ready(void)
{
        (void)kill(getpid(), SIGSTOP);
}

/* Hands other signals on; false when the process has ended. */
static bool stopped(pid_t pid, int *sig)
{
        int status;

        while (waitpid(pid, &status, __WALL) < 0) {
                if (errno != EINTR)
                        return false;
        }
        if (!WIFSTOPPED(status)) {
                if (WIFEXITED(status) && WEXITSTATUS(status) == VICTIM_REFUSED)
                        SKIP("ptrace is not permitted here");
                return false;
        }
        *sig = WSTOPSIG(status);
        return true;
}

pid_t victim_start(void (*fn)(void *), void *arg)
{
        struct start start = { fn, arg };
        pid_t pid = peer_start(be_victim, &start);
        int sig;

        for (;;) {
                REQUIRE(stopped(pid, &sig));
                if (sig == SIGSTOP)
                        break;
                REQUIRE(ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)sig) == 0);
        }
        (void)ptrace(
                PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
        return pid;
}

#if defined(__x86_64__)

/* The victims are forks of this process, which has it in the same place. */
static bool in_vdso(unsigned long pc)
{
        const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
        const Elf64_Ehdr *header = (const Elf64_Ehdr *)base;
        const Elf64_Phdr *loaded;

        if (!base)
                return false;
        loaded = (const Elf64_Phdr *)(base + header->e_phoff);
        for (int i = 0; i < header->e_phnum; i++, loaded++) {
                if (loaded->p_type == PT_LOAD)
                        return pc - (unsigned long)base < loaded->p_memsz;
        }
        return false;
}

static unsigned long peek(pid_t pid, size_t offset)
{
        return (unsigned long)ptrace(PTRACE_PEEKUSER, pid, (void *)offset, NULL);
}

/* Runs on to where the function returns to whose first instruction is the next. */
static bool run_to_return(pid_t pid)
{
        void *top = (void *)peek(pid, offsetof(struct user_regs_struct, rsp));
        void *back = (void *)ptrace(PTRACE_PEEKDATA, pid, top, NULL);
        long code = ptrace(PTRACE_PEEKTEXT, pid, back, NULL);
        const long breakpoint = 0xcc;
        int sig = 0;

        if (ptrace(PTRACE_POKETEXT, pid, back, (void *)((code & ~0xffL) | breakpoint)) < 0)
                return false;
        do {
                if (ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)sig) < 0 ||
                        !stopped(pid, &sig))
                        return false;
        } while (sig != SIGTRAP);
        return ptrace(PTRACE_POKEUSER, pid, (void *)offsetof(struct user_regs_struct, rip), back) ==
                       0 &&
               ptrace(PTRACE_POKETEXT, pid, back, (void *)code) == 0;
}

/*
 * A look at the clock is one step. It is repeated if a tick of the kernel has come in between, and
 * where a single step takes long, as under emulation, one always has.
 */
bool victim_step(pid_t pid)
{
        const size_t pc = offsetof(struct user_regs_struct, rip);
        bool inside = in_vdso(peek(pid, pc));
        int sig;

        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 || !stopped(pid, &sig))
                return false;
        return inside || !in_vdso(peek(pid, pc)) || run_to_return(pid);
}

#else

bool victim_step(pid_t pid)
{
        int sig;

        return ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && stopped(pid, &sig);
}

#endif

long victim_step_until(pid_t pid, bool (*holds)(void *), void *arg, long most)
{
        for (long n = 0; n < most; n++) {
                if (holds(arg))
                        return n;
                if (!victim_step(pid))
                        return -1;
        }
        return -1;
}

bool victim_step_inside(pid_t pid, bool (*holds)(void *), void *arg, long most, long extra)
{
        if (victim_step_until(pid, holds, arg, most) < 0)
                return false;
        for (long i = 0; i < extra && holds(arg); i++) {
                if (!victim_step(pid))
                        return false;
        }
        return holds(arg);
}

bool victim_resume(pid_t pid)
{
        return ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0;
}

bool victim_stop(pid_t pid)
{
        int sig = 0;

        while (stopped(pid, &sig)) {
                if (sig == (SIGTRAP | 0x80))
                        return true;
                if (!victim_resume(pid))
                        return false;
        }
        return false;
}

bool victim_to_syscall(pid_t pid)
{
        return victim_resume(pid) && victim_stop(pid);
}

static struct user_regs_struct registers(pid_t pid)
{
        struct user_regs_struct regs = { 0 };
        struct iovec io = { &regs, sizeof regs };

        (void)ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &io);
        return regs;
}

long victim_result(pid_t pid)
{
#if defined(__x86_64__)
        return (long)registers(pid).rax;
#else
        return (long)registers(pid).regs[0];
#endif
}

long victim_call(pid_t pid)
{
#if defined(__x86_64__)
        return (long)registers(pid).orig_rax;
#else
        return (long)registers(pid).regs[8];
#endif
}

bool victim_to_call(pid_t pid, long number, bool (*holds)(void *), void *arg)
{
        bool in = false;

        for (int stops = 0; stops < 500 && victim_to_syscall(pid); stops++) {
                in = !in;
                if (in && victim_call(pid) == number && holds(arg))
                        return true;
        }
        return false;
}

bool victim_woken(pid_t pid)
{
        return victim_stop(pid) && victim_result(pid) == 0;
}

enum { CANARIES = 64 };

struct canary {
        int n;
        pid_t pid[CANARIES];
        int cpu[CANARIES];
        _Atomic int64_t longest[CANARIES], alive[CANARIES];
        _Atomic int next;
};

static void sing(void *arg)
{
        struct canary *canary = arg;
        int me = atomic_fetch_add(&canary->next, 1);
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET(canary->cpu[me], &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        for (;;) {
                int64_t before = peer_now(), late;

                atomic_store(&canary->alive[me], before);
                peer_pause(PEER_MS(1));
                late = peer_now() - before - PEER_MS(1);
                if (late > atomic_load(&canary->longest[me]))
                        atomic_store(&canary->longest[me], late);
        }
}

struct canary *canary_start(void)
{
        struct canary *canary = peer_memory(sizeof *canary);
        cpu_set_t all;

        CPU_ZERO(&all);
        (void)sched_getaffinity(0, sizeof all, &all);
        for (int cpu = 0; cpu < CPU_SETSIZE && canary->n < CANARIES; cpu++) {
                if (CPU_ISSET(cpu, &all))
                        canary->cpu[canary->n++] = cpu;
        }
        for (int i = 0; i < canary->n; i++)
                canary->pid[i] = peer_start(sing, canary);
        return canary;
}

int64_t canary_longest(struct canary *canary)
{
        int64_t longest = 0, now = peer_now();

        for (int i = 0; i < canary->n; i++) {
                int64_t done = atomic_exchange(&canary->longest[i], 0);
                int64_t alive = atomic_load(&canary->alive[i]);
                int64_t waiting = alive ? now - alive - PEER_MS(1) : 0;

                longest = done > longest ? done : longest;
                longest = waiting > longest ? waiting : longest;
        }
        return longest;
}

bool canary_late(struct canary *canary, int64_t took, int64_t bound)
{
        int64_t gap = canary_longest(canary);

        /* What is timed is several steps, as an end, a fork and a wake, each of which may have
         * waited as long for a CPU. */
        if (took - 4 * gap <= test_slow(bound))
                return false;
        INFO("took %lld us, canary %lld us", (long long)took / 1000, (long long)gap / 1000);
        return true;
}

void canary_stop(struct canary *canary)
{
        for (int i = 0; i < canary->n; i++)
                peer_kill(canary->pid[i]);
        peer_memory_free(canary, sizeof *canary);
}
