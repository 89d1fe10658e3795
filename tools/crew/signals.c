/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int steering[] = { SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2 };

int signals_open(void)
{
        sigset_t set;
        int fd;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < sizeof steering / sizeof *steering; i++) {
                struct sigaction now;

                if (sigaction(steering[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
                        (void)sigaddset(&set, steering[i]);
        }
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGCHLD, SIG_DFL);
        if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
                return -errno;
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

int signals_next(int fd)
{
        struct signalfd_siginfo info;
        ssize_t n;

        do {
                n = read(fd, &info, sizeof info);
        } while (n < 0 && errno == EINTR);
        return n == sizeof info ? (int)info.ssi_signo : -EAGAIN;
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
