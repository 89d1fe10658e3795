/* SPDX-License-Identifier: MIT */
#include "kernel/pidfd.h"

#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/syscall.h"

#include <sched.h>
#include <string.h>
#include <sys/wait.h>

/* Between taking a zombie away from other waiters and noting its status for PIDFD_GET_INFO the
 * kernel runs a few microseconds, or is preempted. */
#define NOTING CREW_MS(500)

int crew__ready(int fd, short events, int64_t deadline)
{
        struct pollfd poll_one = { .fd = fd, .events = events };
        struct timespec left, *timeout = &left;
        int r;

        for (;;) {
                left = crew__timespec(deadline == 0 ? 0 : crew_until(deadline));
                if (deadline == CREW__NEVER)
                        timeout = NULL;
                r = (int)crew__syscall(
                        SYS_ppoll, (long)&poll_one, 1, (long)timeout, 0, sizeof(uint64_t), 0);
                if (r == -EINTR)
                        return crew__fail_quick(EINTR, "a signal handler ran during the wait");
                if (r < 0)
                        return crew__fail(-r, "poll: %s", strerror(-r));
                if (r > 0)
                        return poll_one.revents & POLLNVAL
                                       ? crew__fail(EBADF, "descriptor %d was closed", fd)
                                       : 0;
                if (deadline == 0 || deadline <= crew_clock())
                        return crew__expired(deadline);
        }
}

int crew__pidfd_collect(int pidfd, crew__ending *ending)
{
        siginfo_t info = { 0 };
        struct rusage usage;
        int r;

        /* __WALL: a child of clone3() without an exit signal is invisible to waits without it. */
        r = crew__sys_waitid(pidfd, &info, WEXITED | WNOHANG | __WALL, &usage);
        if (r < 0)
                return r;
        if (info.si_pid == 0 && info.si_code == 0)
                return 0;
        *ending = (crew__ending){ .known = true, .counted = true, .usage = usage };
        if (info.si_code == CLD_EXITED) {
                ending->code = info.si_status & 0xff;
        } else {
                ending->signal = info.si_status;
                ending->core = info.si_code == CLD_DUMPED;
        }
        return 1;
}

int crew__pidfd_remembers(int pidfd, crew__ending *ending)
{
        int64_t until = crew_clock() + NOTING;

        if (!crew__has(CREW__PIDFD_INFO))
                return 0;
        do {
                struct crew__pidfd_info info = { .mask = CREW__PIDFD_INFO_EXIT };
                int status;

                if (crew__sys_pidfd_info(pidfd, &info) == 0 &&
                        (info.mask & CREW__PIDFD_INFO_EXIT)) {
                        status = info.exit_code;
                        *ending = (crew__ending){ .known = true };
                        if (WIFSIGNALED(status)) {
                                ending->signal = WTERMSIG(status);
                                ending->core = WCOREDUMP(status);
                        } else {
                                ending->code = WEXITSTATUS(status);
                        }
                        return 1;
                }
                (void)sched_yield();
        } while (crew_clock() < until);
        return 0;
}
