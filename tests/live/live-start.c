/* SPDX-License-Identifier: MIT */

/* Starts that fail: what they answer, that nothing is left, and that another try works. */

#include "host.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static int give(void *arg)
{
        return (int)(intptr_t)arg;
}

static int limit_descriptors(rlim_t n)
{
        struct rlimit limit;
        int was;

        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        was = (int)limit.rlim_cur;
        limit.rlim_cur = n;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        return was;
}

static int next_descriptor(void)
{
        int fd = fcntl(0, F_DUPFD_CLOEXEC, 0);

        if (fd >= 0)
                (void)close(fd);
        return fd;
}

static void descriptors_run_out(uint64_t flags)
{
        int free_one = next_descriptor(), r = -1;

        /* With room for 0, 1, 2 ... descriptors until it works. */
        for (int room = 0; room < 12 && r < 0; room++) {
                crew_auto(process) p = NULL;
                int code, was;

                REQUIRE_OK(
                        host_new(&p, give, (void *)(intptr_t)5, CREW_OPT(process, .flags = flags)));
                was = limit_descriptors((rlim_t)(free_one + room));
                r = crew_process_start(p);
                if (r < 0)
                        CHECK(strstr(crew_error_detail(), "RLIMIT_NOFILE") != NULL);
                (void)limit_descriptors((rlim_t)was);
                if (r < 0) {
                        INFO("room %d: %s", room, crew_error_detail());
                        CHECK_INT(r, ==, -EMFILE);
                        CHECK_INT(next_descriptor(), ==, free_one);
                        CHECK_INT(crew_process_exitcode(p, &code), ==, -ESRCH);
                        CHECK_INT(crew_active_children(NULL, 0), ==, 0);
                        CHECK_INT(crew_process_start(p), ==, 0);
                }
                CHECK_INT(join_code(p), ==, 5);
                if ((flags & CREW_PROCESS_DAEMON) && r < 0)
                        break; /* now there is a guardian */
        }
}

TEST_METHODS(
        descriptors, "no descriptor left: -EMFILE, and nothing stays behind", "[live][process]")
{
        descriptors_run_out(0);
}

TEST(descriptors_guardian, "no descriptor left for the guardian", "[live][process]")
{
        for (int room = 2; room < 8; room++) {
                pid_t app = fork();
                int status;

                if (app == 0) {
                        struct second_thread t;
                        crew_process *p = NULL;
                        int code = 0, was, r;

                        second_thread_start(&t);
                        REQUIRE_OK(crew_process_fd(crew_current_process()));
                        REQUIRE_OK(crew_process_new(&p, give, (void *)(intptr_t)5,
                                CREW_OPT(process, .flags = CREW_PROCESS_DAEMON)));
                        was = limit_descriptors((rlim_t)(next_descriptor() + room));
                        r = crew_process_start(p);
                        if (r < 0)
                                CHECK_INT(r, ==, -EMFILE);
                        (void)limit_descriptors((rlim_t)was);
                        if (r < 0) {
                                CHECK_INT(waitpid(-1, NULL, __WALL | WNOHANG), ==, -1);
                                CHECK_INT(crew_process_start(p), ==, 0);
                        }
                        CHECK_INT(crew_process_join(p, CREW_S(5)), ==, 0);
                        CHECK_INT(crew_process_exitcode(p, &code), ==, 0);
                        CHECK_INT(code, ==, 5);
                        exit(0);
                }
                REQUIRE(waitpid(app, &status, 0) == app);
                CHECK_INT(status, ==, 0);
        }
}

TEST_HOSTS(processes, "no process left: -EAGAIN, and nothing stays behind", "[live][process]")
{
        struct rlimit limit;
        pid_t app;
        int status;

        app = fork();
        if (app == 0) {
                crew_process *p = NULL;
                int fd;

                REQUIRE_OK(crew_process_launch(&p, give, NULL, NULL));
                CHECK_INT(join_code(p), ==, 0);
                p = crew_process_free(p);
                fd = next_descriptor();
                /* The limit does not bind root. */
                REQUIRE(getuid() != 0 || (setgid(54321) == 0 && setuid(54321) == 0));
                REQUIRE(getrlimit(RLIMIT_NPROC, &limit) == 0);
                limit.rlim_cur = 1;
                REQUIRE(setrlimit(RLIMIT_NPROC, &limit) == 0);
                CHECK_INT(crew_process_launch(&p, give, NULL, NULL), ==, -EAGAIN);
                CHECK(p == NULL);
                CHECK(strstr(crew_error_detail(), "RLIMIT_NPROC") != NULL);
                CHECK_INT(next_descriptor(), ==, fd);
                limit.rlim_cur = limit.rlim_max;
                REQUIRE(setrlimit(RLIMIT_NPROC, &limit) == 0);
                REQUIRE_OK(crew_process_launch(&p, give, (void *)(intptr_t)3, NULL));
                CHECK_INT(join_code(p), ==, 3);
                _exit(0);
        }
        REQUIRE(waitpid(app, &status, 0) == app);
        CHECK_INT(status, ==, 0);
}

struct starter {
        pthread_t thread;
        crew_process *p;
        int r;
};

static void *start_it(void *data)
{
        struct starter *s = data;

        s->r = crew_process_start(s->p);
        return NULL;
}

TEST_METHODS(starters, "of several threads that start a process one succeeds", "[live][process]")
{
        for (int round = 0; round < test_scale(1000, 20); round++) {
                struct starter s[4];
                crew_auto(process) p = NULL;
                int started = 0;

                REQUIRE_OK(host_new(&p, give, (void *)(intptr_t)2, NULL));
                for (int i = 0; i < 4; i++) {
                        s[i] = (struct starter){ .p = p };
                        REQUIRE(pthread_create(&s[i].thread, NULL, start_it, &s[i]) == 0);
                }
                for (int i = 0; i < 4; i++) {
                        (void)pthread_join(s[i].thread, NULL);
                        CHECK(s[i].r == 0 || s[i].r == -EALREADY);
                        started += s[i].r == 0;
                }
                CHECK_INT(started, ==, 1);
                CHECK_INT(join_code(p), ==, 2);
        }
}

static void *start_many(void *data)
{
        int *wrong = data;

        for (int i = 0; i < test_scale(1000, 30); i++) {
                crew_auto(process) p = NULL;
                int code = -1;

                if (host_launch(&p, give, (void *)(intptr_t)(i & 255), NULL) < 0 ||
                        crew_process_join(p, CREW_S(10)) < 0 ||
                        crew_process_exitcode(p, &code) < 0 || code != (i & 255))
                        ++*wrong;
                (void)crew_active_children(NULL, 0);
        }
        return NULL;
}

TEST_METHODS(parallel, "four threads start and join at once", "[live][process]")
{
        pthread_t thread[4];
        int wrong[4] = { 0 };

        TEST_DEADLINE(60);
        for (int i = 0; i < 4; i++)
                REQUIRE(pthread_create(&thread[i], NULL, start_many, &wrong[i]) == 0);
        for (int i = 0; i < 4; i++) {
                (void)pthread_join(thread[i], NULL);
                CHECK_INT(wrong[i], ==, 0);
        }
}
