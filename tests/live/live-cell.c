/* SPDX-License-Identifier: MIT */

/* Limits of memory by control groups: who goes past one, who stays below, and what is left. */

#include "cell-help.h"
#include "exec-help.h"

#include <sys/prctl.h>

POOL_WARM_UP

static int eat_much(void *arg)
{
        (void)arg;
        eat(4 * LIMIT, NULL);
        return 0;
}

/* Address space is not memory. */
static int eat_little(void *arg)
{
        void *wide = mmap(NULL, 16 * LIMIT, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        (void)arg;
        if (wide == MAP_FAILED)
                return 12;
        eat(LIMIT / 4, NULL);
        return 3;
}

static crew_exit end_of(crew_process *p)
{
        crew_exit e = { .size = sizeof e };

        REQUIRE_OK(crew_process_join(p, CREW_S(60)));
        REQUIRE_OK(crew_process_exit(p, &e));
        return e;
}

TEST_METHODS(past, "who goes past its limit is ended, and its exit says why", "[live][cell]")
{
        crew_process *p = NULL;
        crew_exit e;

        need_cells();
        REQUIRE_OK(host_launch(&p, eat_much, NULL, CREW_OPT(process, .limits = &cell_limits)));
        e = end_of(p);
        CHECK_INT(e.signal, ==, SIGKILL);
        CHECK(e.out_of_memory);
        (void)crew_process_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

TEST_METHODS(below, "who stays below it is not concerned", "[live][cell]")
{
        crew_process *p = NULL;
        crew_exit e;

        need_cells();
        REQUIRE_OK(host_launch(&p, eat_little, NULL, CREW_OPT(process, .limits = &cell_limits)));
        e = end_of(p);
        CHECK_INT(e.code, ==, 3);
        CHECK(!e.out_of_memory);
        (void)crew_process_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

static int die_otherwise(void *arg)
{
        (void)arg;
        (void)kill(getpid(), SIGKILL);
        return 0;
}

TEST_METHODS(otherwise, "SIGKILL from elsewhere is not taken for it", "[live][cell]")
{
        crew_process *p = NULL;
        crew_exit e;

        need_cells();
        REQUIRE_OK(host_launch(&p, die_otherwise, NULL, CREW_OPT(process, .limits = &cell_limits)));
        e = end_of(p);
        CHECK_INT(e.signal, ==, SIGKILL);
        CHECK(!e.out_of_memory);
        (void)crew_process_free(p);
}

/* Its answer is that of what it started: whether the memory of both together was too much. */
TEST(program, "a program and all that it starts have the limit together", "[live][cell]")
{
        crew_auto(process) p = NULL;
        crew_exit e;

        need_cells();
        REQUIRE_OK(crew_process_new_exec(&p, SHELL("tail /dev/zero | cat >/dev/null; echo on"),
                CREW_OPT(process, .limits = &cell_limits, .out = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        e = end_of(p);
        CHECK_INT(e.signal, ==, SIGKILL);
        CHECK(e.out_of_memory);
}

static void many(const crew_process_options *o)
{
        crew_process *p[8];

        for (size_t i = 0; i < 8; i++) {
                REQUIRE_OK(crew_process_new_exec(&p[i], ARGV("sleep", "60"), o));
                REQUIRE_OK(crew_process_start(p[i]));
        }
        CHECK_INT(cells_of(getpid()), ==, 8);
        for (size_t i = 0; i < 8; i++) {
                REQUIRE_OK(crew_process_kill(p[i]));
                CHECK_INT(join_code(p[i]), ==, -SIGKILL);
                (void)crew_process_free(p[i]);
        }
        CHECK_INT(cells_of(getpid()), ==, 0);
}

TEST_HOSTS(many, "each has a cell of its own, and none is left", "[live][cell]")
{
        need_cells();
        /* The guardian of daemons lasts as long as the case. */
        TEST_ALLOW_CHILDREN(1);
        TEST_ALLOW_FDS(2);
        many(CREW_OPT(process, .limits = &cell_limits));
        many(CREW_OPT(process, .limits = &cell_limits, .flags = CREW_PROCESS_DAEMON));
        many(CREW_OPT(process, .limits = &cell_limits, .sandbox = "stdio rpath proc exec thread",
                .flags = CREW_PROCESS_REPORT));
}

TEST(started, "a starter's programs have it, too", "[live][cell]")
{
        crew_auto(sandbox) policy = NULL;
        crew_starter *s = NULL;
        crew_process *p = NULL;
        crew_exit e;

        need_cells();
        REQUIRE_OK(
                crew_sandbox_new(&policy, "stdio rpath wpath proc exec thread", CREW_BEST_EFFORT));
        REQUIRE_OK(crew_starter_new(&s, policy, CREW_VIOLATION_KILL, CREW_PROCESS_REPORT));
        REQUIRE_OK(crew_process_new_exec(&p, ARGV("tail", "/dev/zero"),
                CREW_OPT(process, .limits = &cell_limits, .starter = s)));
        REQUIRE_OK(crew_process_start(p));
        e = end_of(p);
        crew_violation v = { .size = sizeof v };
        if (crew_process_violation(p, &v) == 0)
                INFO("%s", v.text);
        CHECK_INT(e.signal, ==, SIGKILL);
        CHECK(e.out_of_memory);
        (void)crew_process_free(p);
        (void)crew_starter_free(s);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

TEST(not_there, "a program that is not there leaves no cell", "[live][cell]")
{
        crew_process *p = NULL;

        need_cells();
        REQUIRE_OK(crew_process_new_exec(&p, ARGV("/nowhere/at/all"),
                CREW_OPT(process, .limits = &cell_limits, .flags = CREW_PROCESS_WAIT_EXEC)));
        for (int i = 0; i < 3; i++)
                CHECK_INT(crew_process_start(p), ==, -ENOENT);
        (void)crew_process_free(p);
        CHECK_INT(cells_of(getpid()), ==, 0);
}

/* A child of a child in a session of its own, whose parents are gone. */
#define ESCAPES "setsid sh -c 'setsid sleep 60 & echo $!' & wait; exec 1>&-; "

static pid_t escaped(crew_process *p)
{
        char text[64];

        REQUIRE(read(crew_process_stdio(p, 1), text, sizeof text - 1) > 0);
        return (pid_t)atoi(text);
}

TEST(tree, "nobody escapes a tree that is killed", "[live][cell]")
{
        crew_process *p = NULL;
        pid_t pid;

        need_cells();
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        REQUIRE_OK(crew_process_new_exec(&p, SHELL(ESCAPES "while :; do sleep 60; done"),
                CREW_OPT(process, .limits = &cell_limits, .flags = CREW_PROCESS_SESSION,
                        .out = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        pid = escaped(p);
        REQUIRE(peer_lives(pid));
        CHECK_INT(crew_process_kill_tree(p), >=, 1);
        CHECK(EVENTUALLY(!peer_lives(pid), CREW_S(10)));
        CHECK_INT(join_code(p), ==, -SIGKILL);
        (void)crew_process_free(p);
        while (waitpid(-1, NULL, 0) > 0)
                ;
        CHECK_INT(cells_of(getpid()), ==, 0);
}

TEST(left, "what a process left running ends with it, and its cell goes", "[live][cell]")
{
        crew_process *p = NULL;
        pid_t pid;

        need_cells();
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        REQUIRE_OK(crew_process_new_exec(&p, SHELL(ESCAPES),
                CREW_OPT(process, .limits = &cell_limits, .out = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        pid = escaped(p);
        CHECK_INT(join_code(p), ==, 0);
        CHECK(EVENTUALLY(!peer_lives(pid), CREW_S(10)));
        (void)crew_process_free(p);
        while (waitpid(-1, NULL, 0) > 0)
                ;
        CHECK_INT(cells_of(getpid()), ==, 0);
}

/* Makes a cell, and answers false. */
static bool one_more(void)
{
        crew_process *p = NULL;

        REQUIRE_OK(crew_process_launch(
                &p, eat_little, NULL, CREW_OPT(process, .limits = &cell_limits)));
        CHECK_INT(join_code(p), ==, 3);
        (void)crew_process_free(p);
        return false;
}

TEST(detached, "what a detached process left running goes on", "[live][cell]")
{
        crew_process *p = NULL;
        pid_t pid;

        need_cells();
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        REQUIRE_OK(crew_process_new_exec(&p, SHELL(ESCAPES),
                CREW_OPT(process, .limits = &cell_limits, .flags = CREW_PROCESS_DETACHED,
                        .out = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        pid = escaped(p);
        CHECK_INT(join_code(p), ==, 0);
        (void)crew_process_free(p);
        CHECK(peer_lives(pid));
        CHECK_INT(cells_of(getpid()), ==, 1);
        REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
        /* Who makes one next removes it. */
        (void)one_more();
        CHECK_INT(cells_of(getpid()), ==, 0);
}

static atomic_int *told;

static int be_application(void *arg)
{
        crew_process *p = NULL;

        (void)arg;
        if (crew_process_new_exec(&p, ARGV("sleep", "60"),
                    CREW_OPT(process, .limits = &cell_limits, .flags = CREW_PROCESS_DAEMON)) < 0 ||
                crew_process_start(p) < 0)
                return 1;
        atomic_store(told, crew_process_pid(p));
        for (;;)
                (void)pause();
}

TEST(killed, "what a program that was killed left is removed by the next", "[live][cell]")
{
        crew_process *app = NULL;
        pid_t pid;

        need_cells();
        told = shared_new(sizeof *told);
        REQUIRE_OK(crew_process_launch(&app, be_application, NULL, NULL));
        REQUIRE(EVENTUALLY(atomic_load(told) != 0, CREW_S(10)));
        pid = crew_process_pid(app);
        CHECK_INT(cells_of(pid), ==, 1);
        REQUIRE_OK(crew_process_kill(app));
        CHECK_INT(join_code(app), ==, -SIGKILL);
        (void)crew_process_free(app);
        REQUIRE(EVENTUALLY(!peer_lives(atomic_load(told)), CREW_S(10)));
        /* A program looks once a second for what others left. */
        CHECK(EVENTUALLY(cells_of(pid) == 0 || one_more(), CREW_S(10)));
}

/* In a cell: a limit of its own is one of address space. */
static int nest(void *arg)
{
        crew_process *p = NULL;
        crew_exit e;

        (void)arg;
        CHECK_INT(feature().state, ==, CREW_FEATURE_BLOCKED);
        REQUIRE_OK(crew_process_new_exec(&p, SHELL("ulimit -v"),
                CREW_OPT(process, .limits = &cell_limits, .out = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        e = end_of(p);
        CHECK_INT(e.code, ==, 0);
        char text[64] = "";
        REQUIRE(read(crew_process_stdio(p, 1), text, sizeof text - 1) > 0);
        CHECK_INT(atoi(text), ==, LIMIT / 1024);
        (void)crew_process_free(p);
        return 5;
}

TEST_METHODS(nested, "who is in a cell makes none beside it", "[live][cell]")
{
        static const crew_limits roomy = { .size = sizeof roomy, .memory_max = 256 * MIB };
        crew_process *p = NULL;

        need_cells();
        REQUIRE_OK(host_launch(&p, nest, NULL, CREW_OPT(process, .limits = &roomy)));
        CHECK_INT(join_code(p), ==, 5);
        (void)crew_process_free(p);
}
