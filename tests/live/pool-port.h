/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_POOL_PORT_H
#define CREW_TESTS_POOL_PORT_H

/* What the cases that other projects' suites gave us need besides the pool's own. */

#include "pool-help.h"

#include <fcntl.h>
#include <unistd.h>

/* Workers share no memory with the case: what they count, they write into a pipe that they keep. */
struct tally {
        int fd[2];
        int count;
};

UNUSED static void tally_new(struct tally *t)
{
        t->count = 0;
        REQUIRE(pipe2(t->fd, O_CLOEXEC | O_NONBLOCK) == 0);
}

UNUSED static void tally_free(struct tally *t)
{
        (void)close(t->fd[0]);
        (void)close(t->fd[1]);
}

UNUSED static int tally_read(struct tally *t)
{
        char c[512];
        ssize_t n;

        while ((n = read(t->fd[0], c, sizeof c)) > 0)
                t->count += (int)n;
        return t->count;
}

/* In a worker; the argument is the writing end. */
UNUSED static int task_tally(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)size;
        return write(*(const int *)arg, "", 1) == 1 ? 0 : -EIO;
}

#endif
