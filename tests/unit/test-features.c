/* SPDX-License-Identifier: MIT */
#include "features-case.h"
#include "kernel/syscall.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

/* The names that CREW_DISABLE promises, in the order of the internal list. */
static const char *const names[CREW__FEATURES] = {
        [CREW__CLONE3] = "clone3",
        [CREW__CLOSE_RANGE] = "close_range",
        [CREW__PIDFD_INFO] = "pidfd_info",
        [CREW__IO_URING] = "io_uring",
        [CREW__URING_WAITID] = "uring_waitid",
        [CREW__URING_FUTEX] = "uring_futex",
        [CREW__NOEXEC_SEAL] = "noexec_seal",
        [CREW__LANDLOCK] = "landlock",
        [CREW__SECCOMP_NOTIFY] = "seccomp_notify",
        [CREW__ROBUST_LIST] = "robust_list",
        [CREW__USERNS] = "userns",
        [CREW__CGROUP_MEMORY] = "cgroup_memory",
        [CREW__FUTEX_WAITV] = "futex_waitv",
};

static bool needs_ring(int feature)
{
        return feature == CREW__URING_WAITID || feature == CREW__URING_FUTEX;
}

TEST(list, "every feature is described under its settled name", "[unit][features]")
{
        for (unsigned i = 0; i < CREW__FEATURES; i++) {
                crew_feature f = get(i);

                CHECK_STR(f.name, names[i]);
                CHECK_INT(crew_feature_find(names[i]), ==, i);
                CHECK(*f.what && *f.instead);
                CHECK(isdigit((unsigned char)f.since[0]) && strchr(f.since, '.'));
                CHECK(f.state >= CREW_FEATURE_YES && f.state <= CREW_FEATURE_DISABLED);
                CHECK((f.state == CREW_FEATURE_YES) == (*f.why == 0));
                CHECK((f.state == CREW_FEATURE_NO || f.state == CREW_FEATURE_BLOCKED) ==
                        (f.error > 0));
                CHECK(crew__has((enum crew__feature)i) == (f.state == CREW_FEATURE_YES));
        }
}

TEST(list_end, "the list ends with ENOENT", "[unit][features]")
{
        crew_feature f = { .size = sizeof f, .name = "untouched" };

        CHECK_INT(crew_feature_get(CREW__FEATURES, &f), ==, -ENOENT);
        CHECK_INT(crew_feature_get(UINT_MAX, &f), ==, -ENOENT);
        CHECK_STR(f.name, "untouched");
}

TEST(find_unknown, "an unknown name is ENOENT with a suggestion", "[unit][features]")
{
        CHECK_INT(crew_feature_find("iouring"), ==, -ENOENT);
        CHECK(strstr(crew_error_detail(), "'io_uring'"));
        CHECK_INT(crew_feature_find("clone"), ==, -ENOENT);
        CHECK(strstr(crew_error_detail(), "'clone3'"));
        CHECK_INT(crew_feature_find("quite something else"), ==, -ENOENT);
        CHECK(!strstr(crew_error_detail(), "did you mean"));
        CHECK_INT(crew_feature_find(""), ==, -ENOENT);
        CHECK_INT(crew_feature_find(NULL), ==, -EINVAL);
}

TEST(sizes, "the caller's size rules what is written", "[unit][features]")
{
        struct {
                crew_feature f;
                char tail[16];
        } larger = { .f.size = sizeof larger, .tail = "later fields" };
        crew_feature f = { .size = 0, .name = "untouched" };

        CHECK_INT(crew_feature_get(0, &f), ==, -EINVAL);
        f.size = sizeof f - 1;
        CHECK_INT(crew_feature_get(0, &f), ==, -EINVAL);
        CHECK_STR(f.name, "untouched");
        CHECK_INT(crew_feature_get(0, NULL), ==, -EINVAL);

        CHECK_INT(crew_feature_get(0, &larger.f), ==, 0);
        CHECK_STR(larger.f.name, "clone3");
        CHECK_INT(larger.f.size, ==, sizeof larger);
        CHECK_STR(larger.tail, "later fields");
}

static void forced_off(const void *arg)
{
        int off = *(const int *)arg;

        setenv("CREW_DISABLE", names[off], 1);
        for (int i = 0; i < CREW__FEATURES; i++) {
                crew_feature f = get((unsigned)i);

                if (i == off || (off == CREW__IO_URING && needs_ring(i))) {
                        CHECK_INT(f.state, ==, CREW_FEATURE_DISABLED);
                        CHECK_INT(f.error, ==, 0);
                        CHECK(!crew__has((enum crew__feature)i));
                        CHECK_STR(f.why,
                                i == off ? "switched off by CREW_DISABLE" : "needs io_uring");
                } else {
                        CHECK_INT(f.state, !=, CREW_FEATURE_DISABLED);
                }
        }
}

TEST(force_each, "each feature can be forced off alone", "[unit][features]")
{
        for (int i = 0; i < CREW__FEATURES; i++)
                apart(forced_off, &i);
}

static void all_off(const void *list)
{
        setenv("CREW_DISABLE", list, 1);
        for (int i = 0; i < CREW__FEATURES; i++)
                CHECK_INT(get((unsigned)i).state, ==, CREW_FEATURE_DISABLED);
}

static void none_off(const void *list)
{
        setenv("CREW_DISABLE", list, 1);
        for (int i = 0; i < CREW__FEATURES; i++)
                CHECK_INT(get((unsigned)i).state, !=, CREW_FEATURE_DISABLED);
}

TEST(force_list, "CREW_DISABLE is a list of whole names, blanks do not count", "[unit][features]")
{
        apart(all_off, " clone3,close_range , pidfd_info,,io_uring\t,uring_waitid,uring_futex, "
                       "noexec_seal,landlock,seccomp_notify,robust_list,userns,futex_waitv,"
                       "cgroup_memory,");
        apart(none_off, "");
        apart(none_off, " , ,");
        apart(none_off, "clone,clone33,CLONE3,io-uring,iouring,land lock,all");
}

TEST(shortage, "a shortage of descriptors is not taken for a missing feature", "[unit][features]")
{
        struct rlimit before, none;

        forget();
        REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
        none = before;
        none.rlim_cur = 0;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
        CHECK(!crew__has(CREW__IO_URING));
        CHECK_INT(get(CREW__IO_URING).error, ==, EMFILE);
        CHECK_INT(get(CREW__IO_URING).state, ==, CREW_FEATURE_NO);
        CHECK(!crew__has(CREW__URING_FUTEX));
        REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
        CHECK_INT(get(CREW__IO_URING).error, !=, EMFILE);
        CHECK_INT(get(CREW__URING_FUTEX).error, !=, EMFILE);
}

static volatile sig_atomic_t signals, strangers;
static pid_t host;

static void on_signal(int sig)
{
        (void)sig;
        signals++;
        if (crew__sys_getpid() != host)
                strangers++;
}

static void ask_all(void)
{
        for (int i = 0; i < CREW__FEATURES; i++)
                (void)crew__has((enum crew__feature)i);
}

TEST(quiet, "a try shows the host no signal, child, errno or interruption", "[unit][features]")
{
        struct sigaction action = { .sa_handler = on_signal };
        sigset_t before, after;
        struct epoll_event event;
        int fd;

        host = getpid();
        REQUIRE(sigaction(SIGCHLD, &action, NULL) == 0);
        REQUIRE(sigprocmask(SIG_SETMASK, NULL, &before) == 0);
        errno = 1234;
        ask_all();
        CHECK_INT(errno, ==, 1234);
        REQUIRE(sigprocmask(SIG_SETMASK, NULL, &after) == 0);
        for (int sig = 1; sig < 65; sig++)
                CHECK_INT(sigismember(&before, sig), ==, sigismember(&after, sig));

        /* A ring of the host's own would interrupt it up to 25 ms after it was freed. */
        fd = epoll_create1(EPOLL_CLOEXEC);
        REQUIRE(fd >= 0);
        CHECK_INT(epoll_wait(fd, &event, 1, 80), ==, 0);
        close(fd);
        CHECK_INT(signals, ==, 0);
        CHECK_INT(waitpid(-1, NULL, __WALL | WNOHANG), ==, -1);
        CHECK_INT(errno, ==, ECHILD);
}

TEST(storm, "the host's signal handlers do not run in the children of a try", "[unit][features]")
{
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
        struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { 0 };

        host = getpid();
        forget();
        ask_all();
        REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
        for (int round = 0; round < 20; round++) {
                uint32_t answers[CREW__FEATURES];

                for (int i = 0; i < CREW__FEATURES; i++)
                        answers[i] = atomic_exchange(&crew__feature_answers[i], 0);
                REQUIRE(setitimer(ITIMER_REAL, &often, NULL) == 0);
                ask_all();
                REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0);
                for (int i = 0; i < CREW__FEATURES; i++)
                        CHECK_INT(crew__feature_answers[i], ==, answers[i]);
        }
        CHECK_INT(signals, >, 0);
        CHECK_INT(strangers, ==, 0);
}

enum { THREADS = 8 };

static pthread_barrier_t start;

static void *ask_together(void *arg)
{
        bool *answers = arg;

        pthread_barrier_wait(&start);
        for (int i = 0; i < CREW__FEATURES; i++)
                answers[i] = crew__has((enum crew__feature)i);
        return NULL;
}

TEST(together, "threads that ask at the same time get the same answers", "[unit][features]")
{
        bool answers[THREADS][CREW__FEATURES];
        pthread_t threads[THREADS];
        pthread_attr_t small;

        REQUIRE(pthread_attr_init(&small) == 0);
        REQUIRE(pthread_attr_setstacksize(&small, 64 * 1024) == 0);
        REQUIRE(pthread_barrier_init(&start, NULL, THREADS) == 0);
        for (int i = 0; i < THREADS; i++)
                REQUIRE(pthread_create(&threads[i], &small, ask_together, answers[i]) == 0);
        for (int i = 0; i < THREADS; i++)
                REQUIRE(pthread_join(threads[i], NULL) == 0);
        for (int i = 1; i < THREADS; i++)
                CHECK(memcmp(answers[0], answers[i], sizeof answers[0]) == 0);
        pthread_barrier_destroy(&start);
        pthread_attr_destroy(&small);
}

static void inherited(const uint32_t *answers)
{
        setenv("CREW_DISABLE", "clone3,io_uring,robust_list", 1);
        for (int i = 0; i < CREW__FEATURES; i++) {
                (void)crew__has((enum crew__feature)i);
                CHECK_INT(crew__feature_answers[i], ==, answers[i]);
        }
}

TEST(inherit, "a forked child keeps the answers", "[unit][features]")
{
        uint32_t answers[CREW__FEATURES];
        int status = -1;
        pid_t pid;

        ask_all();
        for (int i = 0; i < CREW__FEATURES; i++)
                answers[i] = crew__feature_answers[i];
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                inherited(answers);
                _exit(0);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, ==, 0);
}

TEST(short_of, "a feature that fell short counts as missing from then on", "[unit][features]")
{
        forget();
        ask_all();
        if (!crew__has(CREW__URING_FUTEX) || !crew__has(CREW__CLOSE_RANGE))
                SKIP("io_uring or close_range are not here to be lost");
        crew__feature_fell_short(CREW__IO_URING, EMFILE);
        CHECK(crew__has(CREW__IO_URING));
        crew__feature_fell_short(CREW__IO_URING, EPERM);
        CHECK(!crew__has(CREW__IO_URING));
        CHECK(!crew__has(CREW__URING_FUTEX));
        CHECK_INT(get(CREW__IO_URING).state, ==, CREW_FEATURE_BLOCKED);
        crew__feature_fell_short(CREW__IO_URING, ENOSYS);
        CHECK_INT(get(CREW__IO_URING).error, ==, EPERM);
        crew__feature_fell_short(CREW__CLOSE_RANGE, ENOSYS);
        CHECK_INT(get(CREW__CLOSE_RANGE).state, ==, CREW_FEATURE_NO);
}

static void unprivileged(const void *arg)
{
        (void)arg;
        REQUIRE(setresgid(65534, 65534, 65534) == 0);
        REQUIRE(setresuid(65534, 65534, 65534) == 0);
        for (unsigned i = 0; i < CREW__FEATURES; i++) {
                crew_feature f = get(i);

                INFO("%s: %d %s", f.name, f.state, crew_error_name(f.error));
                CHECK(f.state >= CREW_FEATURE_YES && f.state <= CREW_FEATURE_BLOCKED);
        }
        CHECK(crew__has(CREW__ROBUST_LIST));
}

static void forbidden(const void *arg)
{
        const int *tried = arg;

        if (*tried)
                (void)get(CREW__IO_URING);
        crew__feature_forbid(CREW__IO_URING);
        crew__feature_forbid(CREW__USERNS);
        CHECK_INT(get(CREW__IO_URING).state, ==, CREW_FEATURE_BLOCKED);
        /* Before Linux 6.7 there was none to begin with, if that is known already. */
        CHECK(!crew__has(CREW__URING_FUTEX));
        CHECK_INT(get(CREW__USERNS).state, ==, CREW_FEATURE_BLOCKED);
        CHECK_INT(get(CREW__USERNS).error, ==, EPERM);
}

TEST(forbid, "what a sandbox will refuse counts as missing, tried or not", "[unit][features]")
{
        for (int tried = 0; tried < 2; tried++)
                apart(forbidden, &tried);
}

TEST(nobody, "an ordinary user gets answers too", "[unit][features]")
{
        if (geteuid() != 0)
                SKIP("only root can become somebody else");
        forget();
        if (!crew__has(CREW__ROBUST_LIST))
                SKIP("no robust list here");
        apart(unprivileged, NULL);
}
