/* SPDX-License-Identifier: MIT */

/* Limits, priority and processors of workers, whatever they are made of. */

#include "host.h"
#include "pool-help.h"

#include <sched.h>
#include <sys/resource.h>

POOL_WARM_UP

struct bounds {
        int nice, processors, processor; /* the last: of one that it may use */
        unsigned long files;
};

CREW_TASK(look, int, struct bounds)(crew_task *t, const int *in, struct bounds *out)
{
        struct rlimit files;
        cpu_set_t cpus;

        (void)in;
        if (getrlimit(RLIMIT_NOFILE, &files) < 0 || sched_getaffinity(0, sizeof cpus, &cpus) < 0)
                return crew_task_fail(t, -errno, "its limits cannot be seen");
        out->files = files.rlim_cur;
        out->nice = getpriority(PRIO_PROCESS, 0);
        out->processors = CPU_COUNT(&cpus);
        out->processor = 0;
        while (!CPU_ISSET(out->processor, &cpus))
                out->processor++;
        return 0;
}

/* The last processor that this process may use. */
static unsigned last_processor(void)
{
        unsigned cpu = CPU_SETSIZE - 1;
        cpu_set_t cpus;

        REQUIRE(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
        while (!CPU_ISSET(cpu, &cpus))
                cpu--;
        return cpu;
}

static void check_bounds(crew_pool *p, const struct bounds *wanted)
{
        struct bounds seen = { 0 };
        int nothing = 0;

        REQUIRE_OK(look_apply(p, &nothing, &seen, CREW_S(20), NULL));
        CHECK_INT(seen.nice, ==, wanted->nice);
        CHECK_INT(seen.processors, ==, wanted->processors);
        CHECK_INT(seen.processor, ==, wanted->processor);
        CHECK_INT(seen.files, ==, wanted->files);
}

static void bounds_of(int method)
{
        crew_limits limits = { .size = sizeof limits, .open_files = 77 };
        unsigned cpu = last_processor();
        struct bounds wanted = { .nice = getpriority(PRIO_PROCESS, 0) + 3,
                .processors = 1,
                .processor = (int)cpu,
                .files = 77 };
        crew_auto(pool) p = NULL;
        int sig = SIGKILL;

        REQUIRE_OK(crew_pool_new(&p, 1,
                CREW_OPT(pool, .method = method, .limits = &limits, .nice = 3, .cpus = &cpu,
                        .n_cpus = 1)));
        check_bounds(p, &wanted);
        /* The one that replaces it has them, too; the program itself never had. */
        CHECK_INT(crew_pool_apply(p, task_die, &sig, sizeof sig, NULL, 0, CREW_S(20), NULL), ==,
                -EOWNERDEAD);
        check_bounds(p, &wanted);
        CHECK_INT(getpriority(PRIO_PROCESS, 0), ==, wanted.nice - 3);
}

TEST(bounds_fork, "workers have the limits, priority and processors of the options (fork)",
        "[live][pool]")
{
        bounds_of(CREW_METHOD_FORK);
}

TEST(bounds_server, "workers have the limits, priority and processors of the options (fork server)",
        "[live][pool]")
{
        bounds_of(CREW_METHOD_FORKSERVER);
}

TEST(bounds_spawn, "workers have the limits, priority and processors of the options (spawn)",
        "[live][pool]")
{
        bounds_of(CREW_METHOD_SPAWN);
}

TEST(refused, "what no worker can have is refused in words", "[live][pool]")
{
        unsigned cpu = 60000;
        crew_pool *p = NULL;

        CHECK_INT(crew_pool_new(&p, 1, CREW_OPT(pool, .cpus = &cpu, .n_cpus = 1)), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "no processor 60000") != NULL);
        CHECK_INT(crew_pool_new(&p, 1, CREW_OPT(pool, .n_cpus = 1)), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "no array") != NULL);
        CHECK_INT(crew_pool_new(&p, 1, CREW_OPT(pool, .nice = 40)), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "nice 40") != NULL);
        CHECK(p == NULL);
}

/* A privilege that a user lacks ends the workers, and the pool says why. */
TEST(priority, "a priority that is not to be had breaks the pool with its reason", "[live][pool]")
{
        crew_auto(pool) p = NULL;
        struct bounds seen;
        struct rlimit most;
        int nothing = 0, r;

        if (geteuid() == 0)
                SKIP("root may have any priority");
        REQUIRE(getrlimit(RLIMIT_NICE, &most) == 0);
        if (most.rlim_cur > 0)
                SKIP("this user may raise its priority");
        r = crew_pool_new(&p, 1, CREW_OPT(pool, .nice = -5));
        if (r == 0)
                r = (int)look_apply(p, &nothing, &seen, CREW_S(20), NULL);
        CHECK_INT(r, <, 0);
        INFO("%s", crew_error_detail());
        CHECK(strstr(crew_error_detail(), "changing the priority") != NULL);
}
