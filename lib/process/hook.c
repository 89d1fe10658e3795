/* SPDX-License-Identifier: MIT */

/*
 * What happens to the children when this process exits. Prints nothing, and does nothing in a child
 * that the host forked itself: there the registry is empty.
 */

#include "base/clock.h"
#include "process/forkserver.h"
#include "process/guardian.h"
#include "process/registry.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* What a daemon gets to end itself after SIGTERM, and the kernel to end it after SIGKILL. */
#define GRACE CREW_MS(100)

enum { UNKNOWN = -1 };

static _Atomic int enabled = UNKNOWN;
static _Atomic bool installed;

static bool is_enabled(void)
{
        int known = atomic_load(&enabled);
        const char *text;

        if (known == UNKNOWN) {
                text = secure_getenv("CREW_ATEXIT");
                known = !(text && strcmp(text, "0") == 0);
        }
        return known;
}

bool crew_atexit(bool on)
{
        bool was;

        /* A forked child starts from the environment again: reset what it inherited first. */
        crew__hook_install();
        was = is_enabled();
        atomic_store(&enabled, on);
        return was;
}

static void end_daemons(int sig)
{
        int64_t deadline = crew_clock() + GRACE;
        crew_process *p;
        int r = 0;

        crew__registry_signal(CREW_PROCESS_DAEMON, sig);
        while (r != -ETIMEDOUT &&
                (p = crew__registry_running(CREW_PROCESS_DAEMON, CREW_PROCESS_DAEMON))) {
                r = crew__readable(p->pidfd, deadline);
                (void)crew__process_unref(p);
        }
}

static void join_others(void)
{
        static const uint64_t left_alone = CREW_PROCESS_DAEMON | CREW_PROCESS_DETACHED;
        crew_process *p;

        while ((p = crew__registry_running(left_alone, 0))) {
                (void)crew__readable(p->pidfd, CREW__NEVER);
                (void)crew__process_unref(p);
        }
}

void crew__hook_run(void)
{
        (void)crew__generation();
        /* Most children have none of their own, and a page that is not touched is not copied. */
        if ((crew__registry_empty() && !crew__guardian_runs() && !crew__forkserver_runs()) ||
                !is_enabled())
                return;
        end_daemons(SIGTERM);
        end_daemons(SIGKILL);
        join_others();
        crew__guardian_end();
        crew__forkserver_end();
}

void crew__hook_install(void)
{
        crew__registry_prepare();
        if (!atomic_exchange(&installed, true))
                (void)atexit(crew__hook_run);
}

void crew__hook_reset(void)
{
        /* Still installed: the list of handlers was inherited too. */
        atomic_store(&enabled, UNKNOWN);
}
