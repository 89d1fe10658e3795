/* SPDX-License-Identifier: MIT */

/* Who ends with whom: daemons and their guardian. */

#include "board.h"

#include <dirent.h>

static pid_t guardian_of(pid_t application)
{
        return child_called(application, "crew-guardian");
}

/* An application with two daemons; killed from outside, or it ends as `how` says. */
enum how { IS_KILLED, CALLS_EXIT, CALLS__EXIT, HOOK_IS_OFF };

static pid_t application(bool threaded, enum how how, crew_target_fn *target)
{
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        if (threaded) {
                struct second_thread *t = malloc(sizeof *t);

                second_thread_start(t);
        }
        for (int i = 0; i < 2; i++)
                REQUIRE_OK(start_daemon(target));
        if (!EVENTUALLY(all_posted(2), CREW_S(5)))
                _exit(9);
        atomic_store(&board->flag[0], 1);
        if (how == HOOK_IS_OFF)
                (void)crew_atexit(false);
        if (how == CALLS__EXIT)
                _exit(5);
        if (how != IS_KILLED)
                exit(5);
        for (;;)
                (void)pause();
}

/* How long after it its daemons were gone. */
static int64_t application_ends_once(bool threaded, enum how how, crew_target_fn *target)
{
        int64_t ended, took;
        pid_t app;
        int status;

        board_new();
        app = application(threaded, how, target);
        CHECK(EVENTUALLY(atomic_load(&board->flag[0]) || !peer_lives(app), CREW_S(10)));
        if (how == IS_KILLED) {
                CHECK_INT(living(), ==, 2);
                if (host_method == CREW_METHOD_FORKSERVER)
                        CHECK_INT(guardian_of(app), ==, 0);
                else if (threaded)
                        CHECK_INT(guardian_of(app), !=, 0);
                (void)kill(app, SIGKILL);
        }
        REQUIRE(waitpid(app, &status, 0) == app);
        ended = crew_clock();
        CHECK(EVENTUALLY(living() == 0, CREW_S(10)));
        took = crew_clock() - ended;
        if (how != IS_KILLED)
                CHECK_INT(WEXITSTATUS(status), ==, 5);
        board_free();
        return took;
}

/* They always go; where nobody who has to do with it waits for a processor, within that time. */
static void application_ends(bool threaded, enum how how, crew_target_fn *target, int64_t within)
{
        int64_t took;
        int round = 0;

        TEST_DEADLINE(60);
        do
                took = application_ends_once(threaded, how, target);
        while (took > test_slow(within) && took < test_slow(CREW_S(10)) && ++round < 8);
        CHECK_INT(took, <=, test_slow(within));
}

TEST_METHODS(
        killed_single, "an application of one thread is killed: its daemons go", "[live][process]")
{
        application_ends(false, IS_KILLED, spin_stubbornly, CREW_MS(500));
}

TEST_METHODS(killed_threaded, "an application of two threads is killed: its daemons go",
        "[live][process]")
{
        application_ends(true, IS_KILLED, spin_stubbornly, CREW_MS(500));
}

TEST(exits_single, "an application of one thread exits: its daemons go", "[live][process]")
{
        application_ends(false, CALLS_EXIT, spin, CREW_MS(1));
        application_ends(false, CALLS_EXIT, spin_stubbornly, CREW_MS(100));
}

TEST_METHODS(
        exits_threaded, "an application of two threads exits: its daemons go", "[live][process]")
{
        application_ends(true, CALLS_EXIT, spin, CREW_MS(1));
        application_ends(true, CALLS_EXIT, spin_stubbornly, CREW_MS(100));
}

TEST_METHODS(exits_without_hook, "daemons go also without the hook", "[live][process]")
{
        application_ends(false, CALLS__EXIT, spin_stubbornly, CREW_MS(500));
        application_ends(true, CALLS__EXIT, spin_stubbornly, CREW_MS(500));
        application_ends(false, HOOK_IS_OFF, spin_stubbornly, CREW_MS(500));
        application_ends(true, HOOK_IS_OFF, spin_stubbornly, CREW_MS(500));
}

TEST(guardian_killed, "a guardian that was killed is replaced, with all it had", "[live][process]")
{
        pid_t app, first, second;

        board_new();
        app = fork();
        if (app == 0) {
                struct second_thread t;

                second_thread_start(&t);
                REQUIRE_OK(start_daemon(spin_stubbornly));
                atomic_store(&board->flag[0], 1);
                while (!atomic_load(&board->flag[1]))
                        (void)usleep(1000);
                REQUIRE_OK(start_daemon(spin_stubbornly));
                while (!all_posted(2))
                        (void)usleep(1000);
                atomic_store(&board->flag[2], 1);
                for (;;)
                        (void)pause();
        }
        CHECK(EVENTUALLY(atomic_load(&board->flag[0]), CREW_S(10)));
        first = guardian_of(app);
        CHECK_INT(first, >, 0);
        (void)kill(first, SIGKILL);
        CHECK(EVENTUALLY(!peer_lives(first), CREW_S(5)));
        atomic_store(&board->flag[1], 1);
        CHECK(EVENTUALLY(atomic_load(&board->flag[2]), CREW_S(10)));
        second = guardian_of(app);
        CHECK_INT(second, >, 0);
        CHECK_INT(second, !=, first);
        CHECK_INT(living(), ==, 2);
        (void)kill(app, SIGKILL);
        REQUIRE(waitpid(app, NULL, 0) == app);
        CHECK(EVENTUALLY(living() == 0, CREW_S(10)));
        CHECK(EVENTUALLY(!peer_lives(second), CREW_S(10)));
        board_free();
}

TEST(guardian_stopped, "a guardian that does not answer is replaced", "[live][process]")
{
        struct second_thread t;
        pid_t first;

        TEST_ALLOW_CHILDREN(1); /* the guardian, which stays until the program ends */
        TEST_ALLOW_FDS(2);      /* its socket and pidfd */
        board_new();
        second_thread_start(&t);
        REQUIRE_OK(start_daemon(spin));
        first = guardian_of(getpid());
        CHECK_INT(first, >, 0);
        (void)kill(first, SIGSTOP);
        REQUIRE_OK(start_daemon(spin));
        CHECK(EVENTUALLY(!peer_lives(first), CREW_S(5)));
        CHECK_INT(guardian_of(getpid()), !=, first);
        CHECK(EVENTUALLY(all_posted(2), CREW_S(5)));
        for (int i = 0; i < 2; i++)
                (void)kill(atomic_load(&board->pid[i]), SIGKILL);
        CHECK(EVENTUALLY(crew_active_children(NULL, 0) == 0, CREW_S(5)));
        second_thread_end(&t);
        board_free();
}

TEST(guardian_group, "SIGKILL to the application's group does not reach the guardian",
        "[live][process]")
{
        pid_t app;

        board_new();
        app = fork();
        if (app == 0) {
                struct second_thread t;
                crew_process *p = NULL;

                (void)setpgid(0, 0);
                second_thread_start(&t);
                REQUIRE_OK(host_launch(&p, spin, NULL,
                        CREW_OPT(process, .flags = CREW_PROCESS_DAEMON | CREW_PROCESS_GROUP)));
                for (;;)
                        (void)pause();
        }
        CHECK(EVENTUALLY(all_posted(1), CREW_S(10)));
        (void)kill(-app, SIGKILL);
        REQUIRE(waitpid(app, NULL, 0) == app);
        CHECK(EVENTUALLY(living() == 0, CREW_S(10)));
        board_free();
}

static int descriptors_of(pid_t pid)
{
        char path[64];
        int n = 0;
        DIR *fds;

        (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
        fds = opendir(path);
        REQUIRE(fds != NULL);
        while (readdir(fds))
                n++;
        (void)closedir(fds);
        return n;
}

TEST(many_daemons, "the guardian forgets daemons that ended", "[live][process]")
{
        pid_t guardian;
        struct second_thread t;

        TEST_ALLOW_CHILDREN(1); /* the guardian, which stays until the program ends */
        TEST_ALLOW_FDS(2);      /* its socket and pidfd */
        board_new();
        second_thread_start(&t);
        for (int i = 0; i < 30; i++) {
                crew_auto(process) p = NULL;

                REQUIRE_OK(host_launch(
                        &p, nap_and_flag, NULL, CREW_OPT(process, .flags = CREW_PROCESS_DAEMON)));
                CHECK_INT(crew_process_daemon(p), ==, 1);
                CHECK_INT(crew_process_kill(p), ==, 0);
                CHECK_INT(crew_process_join(p, CREW_S(5)), ==, 0);
        }
        guardian = guardian_of(getpid());
        CHECK_INT(guardian, >, 0);
        /* ".", "..", its socket, the application, its epoll. */
        (void)EVENTUALLY(descriptors_of(guardian) == 5, CREW_S(5));
        CHECK_INT(descriptors_of(guardian), ==, 5);
        second_thread_end(&t);
        board_free();
}

static bool maps_shared_memory(pid_t pid)
{
        char path[64], line[4096], perms[8];
        bool shared = false;
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
        f = fopen(path, "re");
        REQUIRE(f != NULL);
        while (fgets(line, sizeof line, f))
                shared |= sscanf(line, "%*s %7s", perms) == 1 && perms[3] == 's';
        (void)fclose(f);
        return shared;
}

TEST(guardian_memory, "the guardian keeps no shared memory alive", "[live][process]")
{
        crew_auto(queue) q = NULL;
        struct second_thread t;
        crew_auto(process) p = NULL;

        TEST_ALLOW_CHILDREN(1); /* the guardian, which stays until the program ends */
        TEST_ALLOW_FDS(2);      /* its socket and pidfd */
        board_new();
        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        second_thread_start(&t);
        REQUIRE_OK(host_launch(&p, spin, NULL, CREW_OPT(process, .flags = CREW_PROCESS_DAEMON)));
        CHECK(maps_shared_memory(getpid()));
        CHECK(!maps_shared_memory(guardian_of(getpid())));
        CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        second_thread_end(&t);
        board_free();
}

static int child_of_daemon(void *arg)
{
        atomic_store(&board->flag[(intptr_t)arg], 1 + crew_process_daemon(crew_current_process()));
        return spin(NULL);
}

static int daemon_with_children(void *arg)
{
        crew_process *p = NULL;

        (void)host_launch(&p, child_of_daemon, (void *)(intptr_t)0, NULL);
        (void)host_launch(&p, child_of_daemon, (void *)(intptr_t)1,
                CREW_OPT(process, .flags = CREW_PROCESS_DETACHED));
        return spin(arg);
}

TEST_METHODS(inherits, "children of daemons are daemons, detached ones are not", "[live][process]")
{
        crew_auto(process) p = NULL;

        TEST_ALLOW_CHILDREN(1); /* the guardian, which stays until the program ends */
        TEST_ALLOW_FDS(2);      /* its socket and pidfd */
        board_new();
        REQUIRE_OK(host_launch(
                &p, daemon_with_children, NULL, CREW_OPT(process, .flags = CREW_PROCESS_DAEMON)));
        CHECK(EVENTUALLY(all_posted(3), CREW_S(5)));
        CHECK_INT(atomic_load(&board->flag[0]), ==, 2);
        CHECK_INT(atomic_load(&board->flag[1]), ==, 1);
        CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        /* The daemon's daemon goes with it, the detached one stays. */
        CHECK(EVENTUALLY(living() == 1, CREW_S(10)));
        (void)usleep(50000);
        CHECK_INT(living(), ==, 1);
        board_free();
}
