/* SPDX-License-Identifier: MIT */

/* Cases of CPython's suite about start methods; those about one process are in the other files. */

#include "host.h"

#include <dirent.h>

static int count_fds(void *arg)
{
        DIR *fds = opendir("/proc/self/fd");
        int n = 0;

        (void)arg;
        if (!fds)
                return 255;
        while (readdir(fds))
                n++;
        (void)closedir(fds);
        return n;
}

static int wait_for_flag(void *arg)
{
        atomic_int *flag = arg;

        while (!atomic_load(flag))
                (void)usleep(1000);
        return 0;
}

static void fd_inflation(int method)
{
        enum { SIBLINGS = 10 };
        crew_process *sibling[SIBLINGS];
        atomic_int *flag = shared_new(sizeof *flag);
        crew_process *p = NULL;
        int before;

        host_begin(method);
        REQUIRE_OK(host_launch(&p, count_fds, NULL, NULL));
        before = join_code(p);
        p = crew_process_free(p);
        for (int i = 0; i < SIBLINGS; i++)
                REQUIRE_OK(host_launch(&sibling[i], wait_for_flag, flag, NULL));
        REQUIRE_OK(host_launch(&p, count_fds, NULL, NULL));
        CHECK_INT(join_code(p), ==, before);
        p = crew_process_free(p);
        atomic_store(flag, 1);
        for (int i = 0; i < SIBLINGS; i++) {
                CHECK_INT(join_code(sibling[i]), ==, 0);
                sibling[i] = crew_process_free(sibling[i]);
        }
}

TEST(inflation_forkserver, "a child has no more descriptors for its siblings (fork server)",
        "[live][spawn]")
{
        fd_inflation(CREW_METHOD_FORKSERVER);
}

TEST(inflation_spawn, "a child has no more descriptors for its siblings (spawn)", "[live][spawn]")
{
        fd_inflation(CREW_METHOD_SPAWN);
}

/* Whether descriptor 60 is there, which has nothing to do with the child. */
static int has_high(void *arg)
{
        (void)arg;
        return fcntl(60, F_GETFD) >= 0;
}

TEST_METHODS(closefd, "a high descriptor is in forked children, and in no other", "[live][spawn]")
{
        crew_auto(process) p = NULL;

        REQUIRE(dup2(0, 60) == 60);
        REQUIRE_OK(host_launch(&p, has_high, NULL, NULL));
        CHECK_INT(join_code(p), ==, host_method == CREW_METHOD_FORK);
        (void)close(60);
}

TEST(sigint, "SIGINT to the application's group does not end the fork server", "[live][spawn]")
{
        pid_t app = fork();
        int status;

        /* A process group with a handler of its own, as a program at a terminal. */
        if (app == 0) {
                crew_process *p = NULL;

                (void)setpgid(0, 0);
                host_begin(CREW_METHOD_FORKSERVER);
                (void)signal(SIGINT, SIG_IGN);
                (void)kill(0, SIGINT);
                REQUIRE_OK(host_launch(&p, count_fds, NULL, NULL));
                CHECK_INT(join_code(p), <, 255);
                exit(0);
        }
        REQUIRE(waitpid(app, &status, 0) == app);
        CHECK_INT(status, ==, 0);
}

/* Each method from a child of each method. */
static int nest(void *arg)
{
        intptr_t levels = (intptr_t)arg;
        int r = 0;

        for (int method = CREW_METHOD_FORK; levels && method <= CREW_METHOD_SPAWN; method++) {
                crew_auto(process) p = NULL;
                int code = 1;

                host_method = method;
                if (host_launch(&p, nest, (void *)(levels - 1), NULL) < 0 ||
                        crew_process_join(p, CREW_S(20)) < 0 ||
                        crew_process_exitcode(p, &code) < 0 || code)
                        r = 1;
        }
        return r;
}

TEST(mixed, "processes of every start method start processes of every other", "[live][spawn]")
{
        TEST_DEADLINE(60);
        if (!test_reaches_exec())
                SKIP("the memory of the case does not reach across exec here");
        TEST_ALLOW_CHILDREN(1); /* the fork server, */
        TEST_ALLOW_FDS(2);      /* its pidfd and its socket: until the exit */
        CHECK_INT(nest((void *)2), ==, 0);
}
