/* SPDX-License-Identifier: MIT */

/* Promise 4: the host's own waits and its SIGCHLD, and what becomes of crew's statuses. */

#include "host.h"

static int give(void *arg)
{
        return (int)(intptr_t)arg;
}

static int end_by(void *arg)
{
        (void)raise((int)(intptr_t)arg);
        return 0;
}

static bool feature_works(const char *name)
{
        crew_feature f = { .size = sizeof f };
        int i = crew_feature_find(name);

        return i >= 0 && crew_feature_get((unsigned)i, &f) == 0 && f.state == CREW_FEATURE_YES;
}

static atomic_int signals;

static void count_signal(int sig)
{
        (void)sig;
        atomic_fetch_add(&signals, 1);
}

TEST(invisible, "a host of one thread sees nothing of its children", "[live][process]")
{
        struct sigaction act = { .sa_handler = count_signal };

        REQUIRE(sigaction(SIGCHLD, &act, NULL) == 0);
        if (!feature_works("clone3")) {
                /* The fallback was really taken: the host sees the child, and its wait costs crew
                 * the usage but not the status. */
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_launch(&p, give, (void *)(intptr_t)3, NULL));
                CHECK_INT(waitpid(-1, NULL, 0), ==, crew_process_pid(p));
                CHECK_INT(join_code(p), ==, 3);
                CHECK_INT(atomic_load(&signals), ==, 1);
                return;
        }
        for (int i = 0; i < 20; i++) {
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_launch(
                        &p, i % 2 ? give : end_by, (void *)(intptr_t)(i % 2 ? i : SIGTERM), NULL));
                CHECK_INT(waitpid(-1, NULL, 0), ==, -1);
                CHECK_INT(errno, ==, ECHILD);
                CHECK(EVENTUALLY(!peer_lives(crew_process_pid(p)), CREW_S(5)));
                CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
                CHECK_INT(join_code(p), ==, i % 2 ? i : -SIGTERM);
        }
        CHECK_INT(atomic_load(&signals), ==, 0);
}

TEST(ignored_single, "SIGCHLD ignored: statuses are right (one thread)", "[live][process]")
{
        if (!feature_works("clone3"))
                SKIP("needs clone3; the case with two threads is about the fallback");
        (void)signal(SIGCHLD, SIG_IGN);
        for (int i = 0; i < 20; i++) {
                crew_exit e = { .size = sizeof e };
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_launch(
                        &p, i % 2 ? give : end_by, (void *)(intptr_t)(i % 2 ? i : SIGTERM), NULL));
                CHECK_INT(join_code(p), ==, i % 2 ? i : -SIGTERM);
                REQUIRE_OK(crew_process_exit(p, &e));
                CHECK(e.usage);
        }
}

/* One child in a host where others collect: whatever happened, nothing hangs and nothing lies. */
static void start_and_check(int i, int *unknown)
{
        bool normal = i % 3 != 0;
        int expected = normal ? i % 256 : -SIGTERM, code = 9999, r;
        crew_auto(process) p = NULL;

        r = host_launch(
                &p, normal ? give : end_by, (void *)(intptr_t)(normal ? i % 256 : SIGTERM), NULL);
        REQUIRE_OK(r);
        CHECK_INT(crew_process_join(p, CREW_S(10)), ==, 0);
        CHECK_INT(crew_process_is_alive(p), ==, 0);
        r = crew_process_exitcode(p, &code);
        if (r == -ENODATA && !normal && !feature_works("pidfd_info")) {
                ++*unknown;
                return;
        }
        CHECK_INT(r, ==, 0);
        CHECK_INT(code, ==, expected);
}

static atomic_bool stop;
static atomic_int stolen, thief;

static void *wait_for_all(void *unused)
{
        (void)unused;
        atomic_store(&thief, (int)gettid());
        while (!atomic_load(&stop)) {
                if (waitpid(-1, NULL, 0) > 0)
                        atomic_fetch_add(&stolen, 1);
        }
        return NULL;
}

/* So many children, and more until one was stolen: who waits may come too late again and again. */
static void start_and_steal(long long n, int *unknown)
{
        int64_t until = crew_clock() + test_slow(CREW_S(60));

        for (int i = 0; i < n || (!atomic_load(&stolen) && crew_clock() < until); i++)
                start_and_check(i, unknown);
}

TEST(foreign_wait, "a thread that collects everybody's children", "[live][process]")
{
        pthread_t thread;
        int unknown = 0;

        TEST_DEADLINE(120);
        REQUIRE(pthread_create(&thread, NULL, wait_for_all, NULL) == 0);
        start_and_steal(test_scale(5000, 200), &unknown);
        atomic_store(&stop, true);
        (void)pthread_join(thread, NULL);
        INFO("stolen %d, unknown %d", atomic_load(&stolen), unknown);
        CHECK_INT(atomic_load(&stolen), >, 0);
}

TEST(foreign_wait_spawn, "a thread that collects everybody's children (spawn)", "[live][process]")
{
        pthread_t thread;
        int unknown = 0;

        TEST_DEADLINE(120);
        host_begin(CREW_METHOD_SPAWN);
        REQUIRE(pthread_create(&thread, NULL, wait_for_all, NULL) == 0);
        start_and_steal(test_scale(2000, 40), &unknown);
        atomic_store(&stop, true);
        (void)pthread_join(thread, NULL);
        CHECK_INT(atomic_load(&stolen), >, 0);
}

/* The server itself is the host's child, and the only one that it can see. */
TEST(foreign_wait_forkserver, "a thread that collects everybody's children (fork server)",
        "[live][process]")
{
        pthread_t thread;
        int unknown = 0;

        TEST_DEADLINE(120);
        host_begin(CREW_METHOD_FORKSERVER);
        REQUIRE(pthread_create(&thread, NULL, wait_for_all, NULL) == 0);
        /* It must wait already when it is told to stop. */
        REQUIRE(EVENTUALLY(atomic_load(&thief), CREW_S(10)));
        REQUIRE(peer_await_sleep(atomic_load(&thief), CREW_S(10)));
        for (int i = 0; i < test_scale(5000, 100); i++) {
                start_and_check(i, &unknown);
                CHECK_INT(atomic_load(&stolen), ==, 0);
        }
        CHECK_INT(unknown, ==, 0);
        atomic_store(&stop, true);
        /* It waits for the server; this wakes it. */
        if (fork() == 0)
                _exit(0);
        (void)pthread_join(thread, NULL);
        CHECK_INT(atomic_load(&stolen), ==, 1);
}

TEST(ignored_threaded, "SIGCHLD ignored (two threads)", "[live][process]")
{
        struct second_thread t;
        int unknown = 0;

        TEST_DEADLINE(120);
        second_thread_start(&t);
        (void)signal(SIGCHLD, SIG_IGN);
        for (int i = 0; i < test_scale(5000, 200); i++)
                start_and_check(i, &unknown);
        second_thread_end(&t);
        /* Without the kernel's memory every death by signal is unknown: the fallback was taken. */
        CHECK_INT(unknown > 0, ==, !feature_works("pidfd_info"));
}

TEST(ignored_forkserver, "SIGCHLD ignored (fork server)", "[live][process]")
{
        int unknown = 0;

        TEST_DEADLINE(120);
        (void)signal(SIGCHLD, SIG_IGN);
        host_begin(CREW_METHOD_FORKSERVER);
        for (int i = 0; i < test_scale(5000, 100); i++)
                start_and_check(i, &unknown);
        CHECK_INT(unknown, ==, 0);
}

static bool die_in_fork;

static void perhaps_die(void)
{
        if (die_in_fork)
                (void)raise(SIGKILL);
}

TEST(killed_at_birth, "a child killed and collected before its pidfd is held", "[live][process]")
{
        struct second_thread t;
        crew_auto(process) p = NULL;
        int64_t begun;
        int code = 0;

        REQUIRE(pthread_atfork(NULL, NULL, perhaps_die) == 0);
        second_thread_start(&t);
        REQUIRE_OK(crew_process_new(&p, give, (void *)(intptr_t)4, NULL));
        for (int i = 0; i < 2; i++) {
                /* With SIGCHLD ignored the kernel collects it at once, else nobody but us does. */
                (void)signal(SIGCHLD, i ? SIG_DFL : SIG_IGN);
                die_in_fork = true;
                begun = crew_clock();
                for (int n = 0; n < 20; n++) {
                        crew_auto(process) victim = NULL;
                        int r = crew_process_launch(&victim, give, NULL, NULL);

                        CHECK(r == 0 || r == -ENODATA);
                        if (r == 0) {
                                CHECK_INT(crew_process_join(victim, CREW_S(5)), ==, 0);
                                CHECK_INT(crew_process_is_alive(victim), ==, 0);
                                r = crew_process_exitcode(victim, &code);
                                CHECK(r == -ENODATA || (r == 0 && code == -SIGKILL));
                        }
                }
                CHECK_INT(crew_clock() - begun, <, test_slow(CREW_S(5)));
        }
        die_in_fork = false;
        (void)signal(SIGCHLD, SIG_DFL);
        REQUIRE_OK(crew_process_start(p));
        CHECK_INT(join_code(p), ==, 4);
        second_thread_end(&t);
}
