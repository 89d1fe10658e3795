/* SPDX-License-Identifier: MIT */

/* Killing a process with all that it started. */

#include "exec-help.h"

#include <sys/prctl.h>

/* Reads `n` numbers, one a line, from a pipe: the pids that a tree tells of. */
static void read_pids(int fd, pid_t *pids, size_t n)
{
        char text[256] = "", *at = text;
        size_t held = 0, lines = 0;

        while (lines < n) {
                REQUIRE(held + 1 < sizeof text && read(fd, text + held, 1) == 1);
                lines += text[held++] == '\n';
        }
        for (size_t i = 0; i < n; i++)
                pids[i] = (pid_t)strtol(at, &at, 10);
}

static crew_process *plant(const char *script, uint64_t flags, pid_t *pids, size_t n)
{
        crew_process *p = NULL;

        REQUIRE_OK(crew_process_new_exec(&p, SHELL(script),
                CREW_OPT(process, .flags = flags, .out = { CREW_STDIO_PIPE, 0 })));
        REQUIRE_OK(crew_process_start(p));
        read_pids(crew_process_stdio(p, 1), pids, n);
        return p;
}

static void all_gone(const pid_t *pids, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                INFO("process %d", (int)pids[i]);
                CHECK(EVENTUALLY(!peer_lives(pids[i]), CREW_S(10)));
        }
}

/* Three generations, deaf to what can be ignored; the last in a session of its own. */
#define DEAF_TREE                                                                                  \
        "trap '' TERM HUP INT; echo $$; "                                                          \
        "sh -c 'echo $$; setsid sh -c \"echo \\$\\$; exec sleep 60\" & wait' & "                   \
        "while :; do sleep 60; done"

TEST_HOSTS(tree, "children and theirs are killed, whatever they ignore", "[live][exec]")
{
        pid_t pids[3], sibling[1];
        crew_process *other = plant("echo $$; exec sleep 60", 0, sibling, 1);
        crew_process *p = plant(DEAF_TREE, 0, pids, 3);

        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        CHECK_INT(crew_process_kill_tree(p), >=, 3);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        all_gone(pids, 3);
        CHECK(peer_lives(sibling[0]));
        REQUIRE_OK(crew_process_kill(other));
        CHECK_INT(join_code(other), ==, -SIGKILL);
        (void)crew_process_free(other);
        (void)crew_process_free(p);
        while (waitpid(-1, NULL, __WALL) > 0)
                ;
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
}

TEST(left, "a session is killed after its leader has ended", "[live][exec]")
{
        static const uint64_t flags[] = { CREW_PROCESS_SESSION, CREW_PROCESS_GROUP };

        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        for (size_t i = 0; i < 2; i++) {
                pid_t pids[1];
                crew_process *p =
                        plant("(exec >/dev/null; exec sleep 60) & echo $!", flags[i], pids, 1);

                CHECK_INT(join_code(p), ==, 0);
                CHECK(peer_lives(pids[0]));
                CHECK_INT(crew_process_kill_tree(p), ==, 1);
                all_gone(pids, 1);
                CHECK_INT(crew_process_kill_tree(p), ==, 0);
                (void)crew_process_free(p);
        }
        while (waitpid(-1, NULL, __WALL) > 0)
                ;
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
}

static int sleep_on(void *arg)
{
        (void)arg;
        (void)sleep(60);
        return 0;
}

TEST(target, "a forked target is a tree as well, and needs to be started", "[live][exec]")
{
        crew_auto(process) p = NULL;

        REQUIRE_OK(crew_process_new(&p, sleep_on, NULL, NULL));
        CHECK_INT(crew_process_kill_tree(p), ==, -ESRCH);
        REQUIRE_OK(crew_process_start(p));
        CHECK_INT(crew_process_kill_tree(p), ==, 1);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        CHECK_INT(crew_process_kill_tree(p), ==, 0);
        CHECK_INT(crew_process_kill_tree(crew_current_process()), ==, -ECHILD);
}

/* Two generations behind it, one in a group of its own; tells their numbers. */
static int plant_tree(void *arg)
{
        const crew_ref *ref = arg;
        crew_auto(queue) q = NULL;
        pid_t pid;

        REQUIRE_OK(crew_queue_open(&q, *ref));
        pid = fork();
        if (pid == 0) {
                pid = fork();
                if (pid == 0)
                        (void)setpgid(0, 0);
                pid = getpid();
                (void)CREW_PUT(q, &pid, CREW_S(5));
                for (;;)
                        (void)pause();
        }
        REQUIRE(pid > 0);
        for (;;)
                (void)pause();
}

static void kill_planted(int method)
{
        crew_auto(process) p = NULL;
        crew_auto(queue) q = NULL;
        crew_ref ref;
        pid_t pids[2];

        host_begin(method);
        REQUIRE_OK(crew_queue_new(&q, 4, NULL));
        ref = crew_queue_ref(q);
        REQUIRE_OK(crew_process_launch(&p, plant_tree, &ref,
                CREW_OPT(process, .method = method, .arg_size = sizeof ref, .grants = &ref,
                        .n_grants = method != CREW_METHOD_FORK)));
        for (int i = 0; i < 2; i++)
                REQUIRE_OK(CREW_GET(q, &pids[i], CREW_S(20)));
        CHECK_INT(crew_process_kill_tree(p), >=, 3);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        for (int i = 0; i < 2; i++) {
                INFO("process %d", (int)pids[i]);
                CHECK(EVENTUALLY(!peer_lives(pids[i]), CREW_S(10)));
        }
}

TEST(tree_fork, "all that a target started is killed with it (fork)", "[live][exec]")
{
        kill_planted(CREW_METHOD_FORK);
}

TEST(tree_server, "all that a target started is killed with it (fork server)", "[live][exec]")
{
        kill_planted(CREW_METHOD_FORKSERVER);
}

TEST(tree_spawn, "all that a target started is killed with it (spawn)", "[live][exec]")
{
        kill_planted(CREW_METHOD_SPAWN);
}
