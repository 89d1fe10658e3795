/* SPDX-License-Identifier: MIT */
#include "kernel/events.h"

#include "base/fail.h"
#include "kernel/syscall.h"

#include <unistd.h>

void crew__events_wake(crew__events *events, int eventfd)
{
        static const uint64_t one = 1;

        if (atomic_load_explicit(&events->word, memory_order_relaxed) & 1)
                (void)crew__sys_futex_wake_add(&events->word);
        if (atomic_load_explicit(&events->armed, memory_order_relaxed) &&
                atomic_exchange(&events->armed, 0) && eventfd >= 0) {
                ssize_t n = write(eventfd, &one, sizeof one);

                /* A full counter (a peer saturated it) gives no edge; the slice covers that. */
                (void)n;
        }
}

int crew__events_sleep(crew__events *events, uint32_t value, int64_t deadline, bool sliced)
{
        int64_t now = crew_clock(), until = deadline;
        int r;

        if (deadline <= now)
                return crew__expired(deadline);
        /* Never without a timeout: the kernel would restart such a wait after a signal handler that
         * was installed with SA_RESTART, and the caller asked to hear of it. */
        until = crew__earlier(deadline, now + (sliced ? CREW__SLICE : CREW_S(3600)));
        r = crew__sys_futex_wait(&events->word, value, until);
        if (r == -EINTR)
                return crew__fail_quick(EINTR, "a signal handler ran during the wait");
        return 0;
}
