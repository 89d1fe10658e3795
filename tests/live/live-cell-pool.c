/* SPDX-License-Identifier: MIT */

/* Limits of memory by control groups for workers, jobs of crew run, and an ordinary user. */

#include "cell-help.h"
#include "run-help.h"

POOL_WARM_UP

static int task_eat(crew_task *t, const void *arg, size_t size)
{
        unsigned attempt = crew_task_attempt(t);

        (void)size;
        if (attempt <= *(const unsigned *)arg)
                eat(4 * LIMIT, NULL);
        return crew_task_return(t, &attempt, sizeof attempt);
}

TEST(worker, "a worker that goes past its limit fails its task, which says why", "[live][cell]")
{
        crew_pool *p;
        crew_failure f = { .size = sizeof f };
        unsigned attempts = 1;

        need_cells();
        p = new_pool(2, CREW_OPT(pool, .limits = &cell_limits));
        CHECK_INT(cells_of(getpid()), ==, 2);
        for (int i = 0; i < 3; i++) {
                CHECK_INT(crew_pool_apply(p, task_eat, &attempts, sizeof attempts, NULL, 0,
                                  CREW_S(30), CREW_OPT(task, .failure = &f)),
                        ==, -ENOMEM);
                INFO("%s", f.message);
                CHECK_INT(f.reason, ==, CREW_MEMORY);
                CHECK_INT(f.exitcode, ==, -SIGKILL);
                CHECK(strstr(f.message, "memory limit of 33554432 bytes"));
                CHECK_INT(twice(p, 21), ==, 42);
        }
        CHECK(EVENTUALLY(stats_of(p).restarts == 3, CREW_S(10)));
        (void)crew_pool_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

TEST(fresh, "workers that are no forks of the program have it, too", "[live][cell]")
{
        crew_pool *p;
        crew_failure f = { .size = sizeof f };
        unsigned attempts = 1;

        need_cells();
        p = new_pool(1, CREW_OPT(pool, .limits = &cell_limits, .method = CREW_METHOD_SPAWN));
        CHECK_INT(crew_pool_apply(p, task_eat, &attempts, sizeof attempts, NULL, 0, CREW_S(30),
                          CREW_OPT(task, .failure = &f)),
                ==, -ENOMEM);
        CHECK_INT(f.reason, ==, CREW_MEMORY);
        (void)crew_pool_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

TEST(again, "it counts as a death for retries", "[live][cell]")
{
        crew_pool *p;
        unsigned attempts = 2, out = 0;

        need_cells();
        p = new_pool(1, CREW_OPT(pool, .limits = &cell_limits, .on_death = CREW_DEATH_RETRY));
        CHECK_INT(crew_pool_apply(p, task_eat, &attempts, sizeof attempts, &out, sizeof out,
                          CREW_S(60), NULL),
                ==, sizeof out);
        CHECK_INT(out, ==, 3);
        (void)crew_pool_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

static int eat_at_first(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        eat(4 * LIMIT, NULL);
        return 0;
}

TEST(initializer, "an initializer that goes past it breaks the pool, in words", "[live][cell]")
{
        crew_pool *p;
        crew_failure f = { .size = sizeof f };

        need_cells();
        p = new_pool(1,
                CREW_OPT(pool, .limits = &cell_limits, .initializer = eat_at_first, .restarts = 2));
        CHECK_INT(crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(60),
                          CREW_OPT(task, .failure = &f)),
                ==, -ENOTRECOVERABLE);
        CHECK(strstr(f.message, "memory limit"));
        (void)crew_pool_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

TEST(retired, "replaced workers leave none", "[live][cell]")
{
        crew_pool *p;

        need_cells();
        p = new_pool(2, CREW_OPT(pool, .limits = &cell_limits, .tasks_per_worker = 3));
        for (int i = 0; i < 60; i++)
                CHECK_INT(twice(p, i), ==, 2 * i);
        CHECK(cells_of(getpid()) <= 4);
        (void)crew_pool_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

/* A group that was given to an ordinary user, as systemd does, and that user's program below it. */
static void be_user(const char *given)
{
        char below[4096];
        FILE *f;

        (void)snprintf(below, sizeof below, "%s/app", given);
        REQUIRE(mkdir(below, 0755) == 0);
        (void)snprintf(below, sizeof below, "%s/app/cgroup.procs", given);
        f = fopen(below, "we");
        REQUIRE(f && fprintf(f, "%d", (int)getpid()) > 0 && fclose(f) == 0);
        (void)snprintf(below, sizeof below,
                "cd %s && chown 65534 . cgroup.procs "
                "cgroup.subtree_control app app/cgroup.procs",
                given);
        REQUIRE(system(below) == 0);
        REQUIRE(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
}

TEST(delegated, "an ordinary user has it below a group that was given to him", "[live][cell]")
{
        char given[4096], command[4200];
        crew_feature f;
        int status = -1;
        pid_t pid;

        need_cells();
        if (geteuid() != 0)
                SKIP("not root, who can give groups away");
        group_of("self", given, sizeof given - 32);
        if (strcmp(given, "/sys/fs/cgroup/") != 0)
                SKIP("there is no telling which groups may be made here");
        (void)snprintf(given + strlen(given), 32, "given-%d", (int)getpid());
        REQUIRE(mkdir(given, 0755) == 0);
        /* A fresh process: what was found out is inherited by forks. */
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                be_user(given);
                (void)execl(getenv("CREW_TOOL"), "crew", "run", "--sandbox", "none", "--limit",
                        "mem=32M", "sh", "-c", "grep -q 0::/given.*/crew- /proc/self/cgroup",
                        ":::", "a", (char *)NULL);
                _exit(127);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, ==, 0);
        CHECK_INT(count_in(given, "crew-"), ==, 0);
        (void)snprintf(command, sizeof command, "rmdir %s/app %s", given, given);
        CHECK_INT(system(command), ==, 0);
        /* And none where it was not: that user's own group is root's. */
        f = feature();
        CHECK_INT(f.state, ==, CREW_FEATURE_YES);
}

static struct shell s;

TEST(job, "a job that goes past its limit is told of, and its group goes", "[live][cell][run]")
{
        char path[4300];
        const char *scratch;

        need_cells();
        scratch = scratch_enter();
        shell_run(&s, "run --limit mem=32M --joblog log --joblog-format json tail /dev/zero ::: a");
        CHECK_INT(s.status, !=, 0);
        INFO("%s", s.err);
        CHECK(strstr(s.err, "memory limit"));
        shell_run(&s, "grep -c 'violation.*memory limit' log");
        CHECK_STR(s.out, "1\n");
        shell_run(&s, "run --limit mem=32M cat ::: /proc/self/cgroup");
        CHECK_INT(s.status, ==, 0);
        char *group = strstr(s.out, "0::");
        REQUIRE(group && strstr(group, "/crew-"));
        group[strcspn(group, "\n")] = '\0';
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%.4000s", group + 3);
        CHECK_INT(access(path, F_OK), ==, -1);
        /* Without it: a limit of address space. */
        shell_run(&s, "CREW_DISABLE=cgroup_memory; export CREW_DISABLE; "
                      "run --limit mem=64M --shell 'ulimit -v; : {}' ::: a");
        CHECK_STR(s.out, "65536\n");
        shell_run(&s, "run --limit mem=64M --shell 'ulimit -v; : {}' ::: a");
        CHECK_STR(s.out, "unlimited\n");
        scratch_leave(scratch);
}
