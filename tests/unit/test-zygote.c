/* SPDX-License-Identifier: MIT */
#include "zygote-case.h"

#include "process/process.h"

/* The pidfd of the process itself is made once. */
static void own_pidfd(void)
{
        (void)crew__self_pidfd();
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(own_pidfd);
}

static int twice(crew_task *t, const void *arg, size_t size)
{
        int n;

        if (size != sizeof n)
                return crew_task_fail(t, -EINVAL, "%zu bytes", size);
        memcpy(&n, arg, sizeof n);
        n *= 2;
        return crew_task_return(t, &n, sizeof n);
}

TEST(one_task, "a worker is made, let through, and runs a task", "[unit][zygote]")
{
        struct colony c = { .workers = 1 };
        struct outcome out;
        int n = 21;

        colony_start(&c);
        colony_hire(&c, 0);
        colony_run(&c, 0, twice, &n, sizeof n, &out);
        CHECK_INT(out.status, ==, 0);
        REQUIRE(out.size == sizeof n);
        memcpy(&n, out.data, sizeof n);
        CHECK_INT(n, ==, 42);
        colony_end(&c);
}
