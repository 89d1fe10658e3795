/* SPDX-License-Identifier: MIT */
#include "process/image.h"

#include "base/cleanup.h"
#include "kernel/cell.h"
#include "kernel/features.h"
#include "kernel/inherit.h"
#include "kernel/vmclone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* Enough for what the child calls, and no handler of the host's ever runs on it. */
enum { STACK = 24 * 1024, ALIGNMENT = 16 };

/* A child that takes longer to its filter is stopped. */
#define PATIENCE CREW_S(1)

/* What shells answer for a program that cannot be run, or is not there. */
enum { CANNOT_RUN = 126, NOT_FOUND = 127 };

static size_t aligned(size_t size)
{
        return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

crew__image *crew__image_new(size_t extra, void **room)
{
        size_t head = aligned(sizeof(crew__image)), middle = aligned(extra);
        crew__image *m;

        if (middle < extra || head + middle > SIZE_MAX - STACK)
                return NULL;
        m = malloc(head + middle + STACK);
        if (!m)
                return NULL;
        *m = (crew__image){
                .stdio = { -1, -1, -1 },
                .directory = -1,
                .parent_fd = -1,
                .cell = -1,
                .procs = -1,
                .stack = (char *)m + head + middle,
                .stack_size = STACK,
        };
        *room = (char *)m + head;
        return m;
}

void crew__image_free(crew__image *m)
{
        /* Never seen busy once its child has ended; if a stray close made the pidfd useless, the
         * child may live, and loses nothing. */
        if (m && !crew__image_busy(m)) {
                (void)crew__close(m->procs);
                free(m);
        }
}

const char *crew__image_step_name(int step)
{
        static const char *const names[] = {
                [CREW__IMAGE_STDIO] = "placing stdin, stdout and stderr",
                [CREW__IMAGE_DIRECTORY] = "changing the directory",
                [CREW__IMAGE_KEEP] = "closing descriptors",
                [CREW__IMAGE_NICE] = "changing the priority",
                [CREW__IMAGE_CPUS] = "choosing processors",
                [CREW__IMAGE_EXEC] = "running the program",
                [CREW__IMAGE_CELL] = "entering its control group",
        };

        if (step >= CREW__IMAGE_APPLY)
                return crew__step_name(step - CREW__IMAGE_APPLY);
        if (step < 1 || step >= (int)(sizeof names / sizeof *names))
                return "an unknown step";
        return names[step];
}

/* In the child: raw system calls, and no memory but its stack and the image. */

static int control(int fd, int command, long argument)
{
        return (int)crew__syscall(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

int crew__stdio_place(const int from[3])
{
        int source[3], r = 0;

        /* First out of the way of each other. */
        for (int i = 0; i < 3; i++) {
                source[i] = from[i];
                if (from[i] < 0 || from[i] > STDERR_FILENO || from[i] == i)
                        continue;
                source[i] = control(from[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
                if (source[i] < 0)
                        return source[i];
        }
        for (int i = 0; i < 3 && r >= 0; i++) {
                if (source[i] == i)
                        r = control(i, F_SETFD, 0);
                else if (source[i] >= 0)
                        r = (int)crew__syscall(SYS_dup3, source[i], i, 0, 0, 0, 0);
        }
        for (int i = 0; i < 3; i++) {
                if (source[i] != from[i])
                        (void)crew__sys_close(source[i]);
        }
        return r < 0 ? r : 0;
}

int crew__priority_set(int nice, const void *cpus, size_t cpus_size, int *step)
{
        int r = 0;

        *step = CREW__IMAGE_NICE;
        if (nice) {
                /* The raw call answers 20 - nice. */
                int now = 20 - (int)crew__syscall(SYS_getpriority, PRIO_PROCESS, 0, 0, 0, 0, 0);

                r = (int)crew__syscall(SYS_setpriority, PRIO_PROCESS, 0, now + nice, 0, 0, 0);
        }
        if (r < 0)
                return r;
        *step = CREW__IMAGE_CPUS;
        if (cpus)
                r = (int)crew__syscall(
                        SYS_sched_setaffinity, 0, (long)cpus_size, (long)cpus, 0, 0, 0);
        return r < 0 ? r : 0;
}

struct kernel_action {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
};

/* Handlers point into memory that is about to go; what the host ignores for itself is not what it
 * wants for others, except for what a user's shell or nohup asked for. */
static void reset_signals(bool cleared)
{
        static const int ours[] = { SIGPIPE, SIGXFSZ, SIGCHLD };
        const struct kernel_action deflt = { .handler = SIG_DFL };
        struct kernel_action now;

        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
                (void)crew__syscall(
                        SYS_rt_sigaction, ours[i], (long)&deflt, 0, sizeof(uint64_t), 0, 0);
        for (int sig = 1; sig < 65 && !cleared; sig++) {
                if (crew__syscall(SYS_rt_sigaction, sig, 0, (long)&now, sizeof(uint64_t), 0, 0) ==
                                0 &&
                        now.handler != SIG_IGN && now.handler != SIG_DFL)
                        (void)crew__syscall(
                                SYS_rt_sigaction, sig, (long)&deflt, 0, sizeof(uint64_t), 0, 0);
        }
}

static bool parent_is_gone(const crew__image *m)
{
        pid_t parent = (pid_t)crew__syscall(SYS_getppid, 0, 0, 0, 0, 0, 0);

        /* 0: it lives outside this pid namespace. */
        return parent != m->parent && parent != 0;
}

CREW__VM_CHILD static void stay_with_parent(const crew__image *m)
{
        if (m->tied) {
                (void)crew__sys_prctl(PR_SET_PDEATHSIG, SIGKILL, 0);
                if (parent_is_gone(m))
                        crew__sys_exit(CANNOT_RUN);
        }
        while (m->gated && atomic_load(&m->gate) == 0) {
                (void)crew__sys_futex_wait(&m->gate, 0, crew_clock() + CREW_MS(20));
                if (atomic_load(&m->gate) == 0 && parent_is_gone(m))
                        crew__sys_exit(CANNOT_RUN);
        }
}

/* What is kept may be close-on-exec in the host, which is right for all its other children. */
static int settle_descriptors(const crew__image *m)
{
        int r = 0;

        for (size_t i = 0; i < m->n_keep && r >= 0; i++) {
                if (m->keep[i] > STDERR_FILENO)
                        r = control(m->keep[i], F_SETFD, 0);
        }
        if (r < 0)
                return r;
        /* The ruleset is entered yet; both close by themselves at the exec. */
        return crew__close_others(
                m->keep, m->n_keep, m->plan ? m->plan->ruleset.fd : -1, m->close_range);
}

static int run(const crew__image *m)
{
        int r = (int)crew__syscall(
                SYS_execve, (long)m->program, (long)m->argv, (long)m->envp, 0, 0, 0);

        if (r != -ENOEXEC)
                return r;
        /* A script without "#!", as execvp() and every shell have it. */
        m->argv[-1] = "sh";
        m->argv[0] = m->program;
        return (int)crew__syscall(
                SYS_execve, (long)"/bin/sh", (long)(m->argv - 1), (long)m->envp, 0, 0, 0);
}

static int arrange(crew__image *m)
{
        int r;

        m->step = CREW__IMAGE_STDIO;
        r = crew__stdio_place(m->stdio);
        if (r < 0)
                return r;
        m->step = CREW__IMAGE_KEEP;
        return settle_descriptors(m);
}

/*
 * The filter's descriptor appears in the table of who loads it, so that table is the host's until
 * then and the child's own from there on. What is closed and moved after that is the child's; until
 * then the host must leave alone what the child was given.
 */
static int confine_listening(crew__image *m)
{
        uint32_t waiting = CREW__TOGETHER;
        int step, r;

        m->application.shared_files = true;
        m->application.listener = &m->listener;
        r = crew__plan_apply(m->plan, &m->application, &step);
        m->step = CREW__IMAGE_APPLY + step;
        if (r < 0)
                return r;
        m->step = CREW__IMAGE_KEEP;
        r = crew__sys_close_range(~0U, ~0U, CLOSE_RANGE_UNSHARE);
        if (r < 0)
                return r;
        if (!atomic_compare_exchange_strong(&m->apart, &waiting, CREW__APART))
                return -ECANCELED;
        (void)crew__sys_futex_wake(&m->apart, INT_MAX);
        return arrange(m);
}

/* Born under the filter it has nothing to listen for. */
static bool listens(const crew__image *m)
{
        return m->plan && m->plan->notify && !m->application.filtered;
}

static int confine(crew__image *m)
{
        int step, r;

        if (listens(m))
                return confine_listening(m);
        r = arrange(m);
        if (r < 0 || !m->plan)
                return r;
        r = crew__plan_apply(m->plan, &m->application, &step);
        m->step = CREW__IMAGE_APPLY + step;
        return r;
}

static int become(crew__image *m, bool cleared)
{
        static const uint64_t none = 0;
        int r;

        stay_with_parent(m);
        m->step = CREW__IMAGE_CELL;
        r = m->procs >= 0 ? crew__cell_pass(m->procs) : 0;
        if (r < 0)
                return r;
        if (m->session)
                (void)crew__syscall(SYS_setsid, 0, 0, 0, 0, 0, 0);
        else if (m->group)
                (void)crew__syscall(SYS_setpgid, 0, 0, 0, 0, 0, 0);
        reset_signals(cleared);
        r = crew__priority_set(m->nice, m->cpus, m->cpus_size, &m->step);
        if (r < 0)
                return r;
        m->step = CREW__IMAGE_DIRECTORY;
        if (m->directory >= 0)
                r = (int)crew__syscall(SYS_fchdir, m->directory, 0, 0, 0, 0, 0);
        if (r == 0)
                r = confine(m);
        if (r < 0)
                return r;
        (void)crew__sys_sigmask(SIG_SETMASK, &none, NULL);
        m->step = CREW__IMAGE_EXEC;
        return run(m);
}

CREW__VM_CHILD static void child(void *data, bool cleared)
{
        crew__image *m = data;

        m->error = -become(m, cleared);
        crew__sys_exit(m->error == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

CREW__VM_CHILD static void child_of_clone3(void *data)
{
        child(data, true);
}

CREW__VM_CHILD static void child_of_clone(void *data)
{
        child(data, false);
}

/* In the parent. */

int crew__image_start(crew__image *m, int *pidfd)
{
        struct crew__vm_child c = {
                .stack = m->stack,
                .stack_size = m->stack_size,
                .pidfd = pidfd,
                .alive = &m->busy,
                .files = listens(m),
                .cgroup = m->application.filtered ? -1 : m->cell,
        };
        int pid = -ENOSYS;

        m->close_range = crew__has(CREW__CLOSE_RANGE);
        m->error = 0;
        m->listener = -1;
        atomic_store(&m->apart, CREW__TOGETHER);
        m->application.keep_all = true;
        atomic_store(&m->busy, 1);
        /* The filter refuses clone3, whose flags it cannot see. */
        if (!m->application.filtered && crew__has(CREW__CLONE3))
                pid = crew__sys_vm_child(&c, true, child_of_clone3, m);
        if (pid < 0 && m->cell >= 0 && m->procs < 0 && pid != -EAGAIN && pid != -ENOMEM) {
                m->procs = crew__cell_door(m->cell);
                c.cgroup = -1;
                if (m->procs >= 0 && crew__has(CREW__CLONE3))
                        pid = crew__sys_vm_child(&c, true, child_of_clone3, m);
                else if (m->procs < 0)
                        pid = m->procs == -ENOSYS ? -EIO : m->procs;
        }
        if (pid == -ENOSYS || pid == -EINVAL || pid == -EPERM)
                pid = crew__sys_vm_child(&c, false, child_of_clone, m);
        if (pid < 0)
                atomic_store(&m->busy, 0);
        return pid;
}

int crew__image_listener(crew__image *m)
{
        int64_t until = crew_clock() + PATIENCE;
        uint32_t waiting = CREW__TOGETHER;

        /* Its death says nothing here, so that is looked at, too. */
        while (atomic_load(&m->apart) == CREW__TOGETHER && crew__image_busy(m) &&
                crew_clock() < until)
                (void)crew__sys_futex_wait(&m->apart, CREW__TOGETHER, crew_clock() + CREW_MS(20));
        /* It may get there yet, before it is killed: it must not do what it is given up for. */
        if (crew__image_busy(m) &&
                atomic_compare_exchange_strong(&m->apart, &waiting, CREW__GIVEN_UP))
                return -ETIMEDOUT;
        if (atomic_load(&m->apart) == CREW__APART)
                return m->listener;
        /* Nobody uses it: the child is gone. */
        m->listener = crew__close(m->listener);
        return -ENOENT;
}

int crew__image_await(const crew__image *m)
{
        int r = 0;

        while (crew__image_busy(m) && r != -EINTR)
                r = crew__sys_futex_wait(&m->busy, 1, CREW__NEVER);
        return crew__image_busy(m) ? -EINTR : 0;
}
