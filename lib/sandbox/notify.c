/* SPDX-License-Identifier: MIT */
#include "sandbox/notify.h"

#include "base/cleanup.h"
#include "kernel/owner.h"
#include "kernel/syscall.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* A process that is asked about again and again cannot keep its listener here for ever. */
enum { AT_ONCE = 64 };

static long control(int fd, unsigned long request, void *argument)
{
        return crew__syscall(SYS_ioctl, fd, (long)request, (long)argument, 0, 0, 0);
}

/*
 * 1: somebody waits; 0: nobody does; -EPIPE: nobody ever will. POLLERR says no more than that the
 * look itself was interrupted.
 */
static int look(int listener)
{
        struct pollfd p = { .fd = listener, .events = POLLIN };
        struct timespec now = { 0 };
        long n = crew__syscall(SYS_ppoll, (long)&p, 1, (long)&now, 0, 0, 0);

        if (n <= 0)
                return 0;
        if (p.revents & POLLIN)
                return 1;
        return p.revents & (POLLHUP | POLLNVAL) ? -EPIPE : 0;
}

/*
 * Ends the process that asks. Its number may be another's by now, unless it still asks after the
 * pidfd was opened.
 */
static void end(int listener, const struct seccomp_notif *asked)
{
        uint64_t id = asked->id;
        int pidfd = crew__sys_pidfd_open((pid_t)asked->pid, 0);

        /* A thread that does not lead: its process is found by the kernel's own table. */
        if (pidfd < 0) {
                if (control(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0)
                        (void)crew__syscall(SYS_tkill, asked->pid, SIGKILL, 0, 0, 0, 0);
                return;
        }
        if (control(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0)
                (void)crew__sys_pidfd_send_signal(pidfd, SIGKILL);
        (void)crew__close(pidfd);
}

/* Libraries ask for name service daemons and netlink on their way, and live without. */
static bool polite(const struct seccomp_notif *asked, const crew__violation *v,
        const struct crew__scope *scope, int *error)
{
        uint64_t family = asked->data.args[0];

        *error = crew__rules_error(scope, v->name, (const uint64_t *)asked->data.args);
        return *error && family != AF_INET && family != AF_INET6;
}

static void answer(int listener, const crew__plan *plan, bool kill, crew__notes *notes, uint64_t id,
        const struct seccomp_notif *asked)
{
        struct seccomp_notif_resp said = { .id = id, .error = -EPERM };
        uint64_t args[6];
        crew__violation v;
        int error;

        for (int i = 0; i < 6; i++)
                args[i] = asked->data.args[i];
        crew__violation_of(&plan->scope, asked->data.nr, args, &v);
        v.tid = (pid_t)asked->pid;
        v.ip = asked->data.instruction_pointer;
        if (!polite(asked, &v, &plan->scope, &error) &&
                !(notes->since && crew__claim_is_newer(notes->since, asked->pid))) {
                if (notes->count++ == 0)
                        notes->first = v;
        }
        if (error)
                said.error = -error;
        else if (kill)
                end(listener, asked);
        /* Also to who is ended: it may be a thread of a process that cannot be found from here. */
        (void)control(listener, SECCOMP_IOCTL_NOTIF_SEND, &said);
}

int crew__notify_serve(int listener, const crew__plan *plan, bool kill, crew__notes *notes)
{
        int served = 0, r = 0;

        while (served < AT_ONCE && (r = look(listener)) > 0) {
                struct seccomp_notif asked = { 0 };

                /* It may have been ended by somebody else meanwhile: -ENOENT. */
                if (control(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
                        continue;
                answer(listener, plan, kill, notes, asked.id, &asked);
                served++;
        }
        return r < 0 && served == 0 ? r : served;
}
