/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_FEATURES_CASE_H
#define CREW_TESTS_FEATURES_CASE_H

/* What the tests of the feature probe share. */

#include "check.h"
#include "kernel/features.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static inline crew_feature get(unsigned index)
{
        crew_feature f = {.size = sizeof f};

        REQUIRE_OK(crew_feature_get(index, &f));
        return f;
}

/* As in a new process, and whatever the suite forces: the cases force for themselves. */
static inline void forget(void)
{
        unsetenv("CREW_DISABLE");
        for (int i = 0; i < CREW__FEATURES; i++)
                atomic_store(&crew__feature_answers[i], 0);
}

/* Runs the body in a fork that has no answers yet: filters are for good. */
static inline void apart(void (*body)(const void *), const void *arg)
{
        int status = -1;
        pid_t pid = fork();

        REQUIRE(pid >= 0);
        if (pid == 0) {
                forget();
                body(arg);
                _exit(0);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, ==, 0);
}

#endif
