/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <signal.h>
#include <stddef.h>

uint64_t signals_begin(void)
{
        uint64_t ignored = 0;

        for (int i = 1; i < 64; i++) {
                struct sigaction now;

                if (sigaction(i, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
                        ignored |= UINT64_C(1) << i;
        }
        (void)signal(SIGPIPE, SIG_IGN);
        return ignored;
}

void signals_die(int number)
{
        sigset_t set;

        (void)signal(number, SIG_DFL);
        (void)sigemptyset(&set);
        (void)sigaddset(&set, number);
        (void)raise(number);
        (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}
