/* SPDX-License-Identifier: MIT */

/* What a sandbox refused a process, for those who ask and those who wait. */

#include "base/cleanup.h"
#include "base/clock.h"
#include "kernel/syscall.h"
#include "process/process.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

int crew__process_watch(crew_process *p, int64_t deadline)
{
        struct pollfd fds[2] = { { .fd = p->pidfd, .events = POLLIN }, { .events = POLLIN } };
        int listener = p->setup && deadline != 0 ? p->setup->confine.listener : -1;

        while (listener >= 0) {
                struct timespec left = crew__timespec(crew_until(deadline));
                long n;

                fds[1].fd = listener;
                n = crew__syscall(SYS_ppoll, (long)fds, 2,
                        deadline == CREW__NEVER ? 0 : (long)&left, 0, 0, 0);
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        return crew__expired(deadline);
                if (fds[1].revents & POLLIN)
                        (void)crew__confine_serve(&p->setup->confine);
                else if (fds[1].revents & (POLLHUP | POLLNVAL))
                        listener = -1;
                if (fds[0].revents)
                        return 0;
        }
        return crew__readable(p->pidfd, deadline);
}

void crew__process_unwatch(crew_process *p)
{
        crew__confine_let_go(&p->setup->confine);
}

static int enter(const crew_process *p)
{
        int r = crew__process_enter(p);

        if (r < 0)
                return r;
        if (atomic_load(&p->state) < CREW__STARTED)
                return crew__fail(ESRCH, "process %s: not started yet", p->name);
        return 0;
}

int crew_process_report_fd(crew_process *p)
{
        int r = enter(p);

        if (r < 0)
                return r;
        if (!p->setup || p->setup->confine.listener < 0)
                return crew__fail_quick(ENOENT, "nothing reports what a sandbox refuses");
        return p->setup->confine.listener;
}

int crew_process_report(crew_process *p)
{
        int r = enter(p);

        if (r < 0)
                return r;
        return p->setup ? crew__confine_serve(&p->setup->confine) : 0;
}

/* The signal that ended it, 0 if none did or it is not known. */
static int ending_signal(crew_process *p)
{
        return crew__process_poll_ended(p) > 0 && p->ending.known ? p->ending.signal : 0;
}

bool crew__process_violated(crew_process *p, crew__violation *v, uint64_t *count)
{
        return p->setup &&
               crew__confine_violated(&p->setup->confine, p->pid, ending_signal(p), v, count);
}

int crew_process_violation(crew_process *p, crew_violation *v)
{
        crew__violation first;
        crew_violation said;
        uint64_t count;
        int r = enter(p);

        if (r < 0)
                return r;
        if (!v || v->size < sizeof v->size)
                return crew__fail(
                        EINVAL, "crew_process_violation: set v->size to sizeof(crew_violation)");
        if (!crew__process_violated(p, &first, &count))
                return crew__fail_quick(ENODATA, "its sandbox refused nothing");
        said = (crew_violation){ .size = v->size, .syscall = first.nr, .count = count };
        (void)snprintf(said.name, sizeof said.name, "%s", first.name);
        (void)snprintf(said.text, sizeof said.text, "%s", first.text);
        crew__violation_words(&first, said.words, sizeof said.words);
        (void)memcpy(v, &said, v->size < sizeof said ? v->size : sizeof said);
        return 0;
}
