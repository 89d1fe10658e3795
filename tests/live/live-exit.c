/* SPDX-License-Identifier: MIT */

/* What becomes of the children when a process exits, and in which process that is looked after. */

#include "board.h"

/* An application that exits with a child of each kind. */
static pid_t mixed_application(bool threaded)
{
        pid_t app = fork();
        crew_process *p = NULL;

        if (app != 0)
                return app;
        if (threaded) {
                struct second_thread *t = malloc(sizeof *t);

                second_thread_start(t);
        }
        REQUIRE_OK(start_daemon(spin_stubbornly));
        REQUIRE_OK(host_launch(&p, nap_and_flag, (void *)(intptr_t)0, NULL));
        p = crew_process_free(p);
        REQUIRE_OK(host_launch(&p, nap_and_flag, (void *)(intptr_t)1, NULL));
        REQUIRE_OK(host_launch(&p, spin, NULL, CREW_OPT(process, .flags = CREW_PROCESS_DETACHED)));
        if (!EVENTUALLY(all_posted(2), CREW_S(5)))
                _exit(9);
        exit(3);
}

TEST_METHODS(exit_hook, "at exit others are joined, daemons ended, detached ones left alone",
        "[live][process]")
{
        for (int threaded = 0; threaded < 2; threaded++) {
                int status;
                pid_t app;

                board_new();
                app = mixed_application(threaded);
                REQUIRE(waitpid(app, &status, 0) == app);
                CHECK_INT(status, ==, 3 << 8);
                CHECK_INT(atomic_load(&board->flag[0]), ==, 1);
                CHECK_INT(atomic_load(&board->flag[1]), ==, 1);
                /* The hook does not wait for ever for a daemon to be scheduled that it killed. */
                CHECK(EVENTUALLY(living() == 1, CREW_S(5)));
                board_free();
        }
}

TEST_METHODS(no_exit_hook, "CREW_ATEXIT=0 and crew_atexit(false) join nobody", "[live][process]")
{
        for (int how = 0; how < 2; how++) {
                crew_process *p = NULL;
                int64_t begun = crew_clock();
                pid_t app;

                board_new();
                app = fork();
                if (app == 0) {
                        if (how)
                                (void)setenv("CREW_ATEXIT", "0", 1);
                        else
                                CHECK(crew_atexit(false));
                        REQUIRE_OK(host_launch(&p, spin, NULL, NULL));
                        if (!EVENTUALLY(all_posted(1), CREW_S(5)))
                                _exit(9);
                        CHECK(!crew_atexit(false));
                        exit(0);
                }
                REQUIRE(waitpid(app, NULL, 0) == app);
                CHECK_INT(crew_clock() - begun, <, test_slow(CREW_S(5)));
                CHECK_INT(living(), ==, 1);
                board_free();
        }
}

TEST_METHODS(host_fork, "the host's own fork that exits does not touch its parent's children",
        "[live][process]")
{
        crew_auto(process) p = NULL;
        crew_auto(process) d = NULL;
        int status;
        pid_t pid;

        TEST_ALLOW_CHILDREN(1); /* the guardian, which stays until the program ends */
        TEST_ALLOW_FDS(2);      /* its socket and pidfd */
        board_new();
        REQUIRE_OK(host_launch(&p, spin, NULL, NULL));
        REQUIRE_OK(host_launch(&d, spin, NULL, CREW_OPT(process, .flags = CREW_PROCESS_DAEMON)));
        CHECK(EVENTUALLY(all_posted(2), CREW_S(5)));
        pid = fork();
        if (pid == 0)
                exit(4);
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, ==, 4 << 8);
        (void)usleep(20000);
        CHECK_INT(living(), ==, 2);
        CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(crew_process_kill(d), ==, 0);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        CHECK_INT(join_code(d), ==, -SIGKILL);
        board_free();
}

static int parent_with_children(void *arg)
{
        crew_process *p = NULL;

        (void)arg;
        (void)start_daemon(spin_stubbornly);
        (void)host_launch(&p, nap_and_flag, (void *)(intptr_t)0, NULL);
        if (!EVENTUALLY(all_posted(1), CREW_S(5)))
                return 1;
        return 0;
}

TEST_METHODS(
        child_hook, "a child ends as a program does: it joins its own children", "[live][process]")
{
        crew_auto(process) p = NULL;

        board_new();
        REQUIRE_OK(host_launch(&p, parent_with_children, NULL, NULL));
        CHECK_INT(join_code(p), ==, 0);
        CHECK_INT(atomic_load(&board->flag[0]), ==, 1);
        CHECK(EVENTUALLY(living() == 0, CREW_S(5)));
        board_free();
}

static int fork_that_starts(void *arg)
{
        pid_t pid = fork();

        if (pid == 0) {
                crew_process *p = NULL;

                (void)host_launch(&p, nap_and_flag, arg, NULL);
                exit(0);
        }
        return waitpid(pid, NULL, 0) != pid || !atomic_load(&board->flag[0]);
}

TEST_METHODS(fork_in_child, "what a child forks itself joins what that starts", "[live][process]")
{
        crew_auto(process) p = NULL;

        board_new();
        REQUIRE_OK(host_launch(&p, fork_that_starts, NULL, NULL));
        CHECK_INT(join_code(p), ==, 0);
        board_free();
}

static void on_alarm(int sig)
{
        (void)sig;
        exit(6);
}

TEST(exit_in_handler, "exit from a signal handler ends in bounded time", "[live][process]")
{
        for (int round = 0; round < test_scale(200, 5); round++) {
                int status;
                pid_t app = fork();

                if (app == 0) {
                        struct sigaction act = { .sa_handler = on_alarm };

                        (void)sigaction(SIGUSR1, &act, NULL);
                        board_new();
                        REQUIRE_OK(start_daemon(spin));
                        for (;;)
                                (void)crew_active_children(NULL, 0);
                }
                (void)usleep(10000 + 1000 * (unsigned)(round % 7));
                (void)kill(app, SIGUSR1);
                CHECK(EVENTUALLY(!peer_lives(app), CREW_S(10)));
                (void)kill(app, SIGKILL);
                REQUIRE(waitpid(app, &status, 0) == app);
                CHECK(WIFEXITED(status) || WTERMSIG(status) == SIGUSR1);
        }
}
