/* SPDX-License-Identifier: MIT */
#include "process/clone.h"

#include "kernel/features.h"
#include "kernel/syscall.h"
#include "process/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio_ext.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/*
 * Is the calling thread the process, now and for as long as it lives? If so nobody else holds a
 * lock of the C library, and nobody else can start a thread while we fork: no race. Threads that
 * the C library does not know (another runtime's, io_uring's) have an entry in /proc all the same.
 */
bool crew__alone(void)
{
#ifdef __GLIBC__
        struct stat st;

        return crew__single_threaded() && stat("/proc/self/task", &st) == 0 && st.st_nlink == 3 &&
               crew__sys_gettid() == crew__sys_getpid();
#else
        return false;
#endif
}

/*
 * stdout and stderr only: fflush(NULL) would wait for a thread that sits in fgets(stdin). What
 * another thread is using right now is its own to write; the child drops its copy.
 * Returns whether the child has to.
 */
bool crew__flush(FILE *stream, bool single)
{
        /* Without a lock, which would be a write to a page that the last child still shares. */
        if (single && __fpending(stream) == 0)
                return false;
        if (ftrylockfile(stream) != 0)
                return true;
        (void)fflush(stream);
        funlockfile(stream);
        return false;
}

/*
 * A child of clone3() inherits what the C library knows about its parent's thread: the id that
 * robust, recursive and error-checking mutexes are owned by, and the list of robust mutexes. The
 * kernel can write the new id if we can tell it where; the child itself empties the list.
 */
static bool can_repair(struct robust_list_head **robust, uint64_t *tid_address)
{
        pid_t *word = NULL;
        size_t size;

        if (crew__sys_prctl(PR_GET_TID_ADDRESS, (unsigned long)&word, 0) < 0 || !word ||
                *word != crew__sys_gettid())
                return false;
        if (crew__sys_get_robust_list(0, robust, &size) < 0)
                return false;
        *tid_address = (uint64_t)(uintptr_t)word;
        return true;
}

static void repair(struct robust_list_head *head)
{
        if (!head)
                return;
        /* The parent's mutexes are not in this child's hands. */
        head->list.next = &head->list;
        head->list_op_pending = NULL;
        (void)crew__sys_set_robust_list(head);
}

int crew__clone_raw(int *pidfd, int cgroup)
{
        struct robust_list_head *robust = NULL;
        uint64_t tid_address;
        struct clone_args args;
        int pid;

        if (!can_repair(&robust, &tid_address))
                return CREW__USE_FORK;
        /* No exit signal: the child is none of the business of the host's waitpid(-1). */
        args = (struct clone_args){
                .flags = CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
                .pidfd = (uint64_t)(uintptr_t)pidfd,
                .child_tid = tid_address,
        };
        if (cgroup >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t)cgroup;
        }
        pid = crew__sys_clone3(&args, cgroup < 0 ? CLONE_ARGS_SIZE_VER0 : CLONE_ARGS_SIZE_VER2);
        if (pid == 0)
                repair(robust);
        /* That group cannot be had, or not so: it is not the call itself that is missing. */
        if (pid < 0 && cgroup >= 0 && pid != -EAGAIN && pid != -ENOMEM)
                return CREW__USE_FORK;
        if (pid != -ENOSYS && pid != -EINVAL && pid != -EPERM)
                return pid;
        crew__feature_fell_short(CREW__CLONE3, -pid);
        return CREW__USE_FORK;
}

void crew__clone_abandon(pid_t pid)
{
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
                ;
}
