/* SPDX-License-Identifier: MIT */
#include "base/nearest.h"
#include "check.h"
#include "kernel/syscall.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

static _Atomic uint32_t word;

TEST(raw_errno, "raw calls answer a negative errno and leave errno alone", "[unit][kernel]")
{
        errno = 1234;
        CHECK_INT(crew__sys_close(-1), ==, -EBADF);
        CHECK_INT(crew__sys_pidfd_open(-1, 0), ==, -EINVAL);
        CHECK_INT(crew__sys_memfd_create(NULL, 0), ==, -EFAULT);
        CHECK_INT(crew__sys_getpid(), ==, getpid());
        CHECK_INT(crew__sys_gettid(), ==, gettid());
        CHECK_INT(errno, ==, 1234);
}

TEST(futex_deadline, "a futex wait ends at its absolute deadline", "[unit][kernel]")
{
        int64_t now = crew_clock(), later;

        CHECK_INT(crew__sys_futex_wait(&word, 0, now + CREW_MS(30)), ==, -ETIMEDOUT);
        later = crew_clock();
        CHECK_INT(later - now, >=, CREW_MS(30));
        CHECK_INT(later - now, <, test_slow(CREW_S(10)));
        CHECK_INT(crew__sys_futex_wait(&word, 0, 0), ==, -ETIMEDOUT);
        CHECK_INT(crew__sys_futex_wait(&word, 0, -5), ==, -ETIMEDOUT);
        CHECK_INT(crew__sys_futex_wait(&word, 0, now - CREW_S(1)), ==, -ETIMEDOUT);
        CHECK_INT(crew__sys_futex_wait(&word, 1, CREW__NEVER), ==, -EAGAIN);
}

static void *sleeper(void *arg)
{
        int *result = arg;

        *result = crew__sys_futex_wait(&word, 0, CREW__NEVER);
        return NULL;
}

TEST(futex_wake_add, "one call advances the word and wakes everybody", "[unit][kernel]")
{
        pthread_t threads[3];
        int results[3] = { 1, 1, 1 }, woken = 0;

        for (int i = 0; i < 3; i++)
                REQUIRE(pthread_create(&threads[i], NULL, sleeper, &results[i]) == 0);
        while (woken < 3) {
                int n = crew__sys_futex_wake(&word, 1);

                CHECK_INT(n, >=, 0);
                CHECK_INT(n, <=, 1);
                woken += n;
                if (woken == 1)
                        break;
        }
        CHECK_INT(crew__sys_futex_wake_add(&word), >=, 0);
        CHECK_INT(word, ==, 1);
        for (int i = 0; i < 3; i++) {
                REQUIRE(pthread_join(threads[i], NULL) == 0);
                CHECK(results[i] == 0 || results[i] == -EAGAIN);
        }
}

TEST(futex_shared, "a wake reaches a sleeper in another process", "[unit][kernel]")
{
        _Atomic uint32_t *shared = mmap(
                NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int status = -1;
        pid_t pid;

        REQUIRE(shared != MAP_FAILED);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0)
                crew__sys_exit(
                        crew__sys_futex_wait(shared, 0, crew_clock() + CREW_S(10)) == -ETIMEDOUT
                                ? 1
                                : 0);
        while (crew__sys_futex_wake(shared, 1) == 0 && waitpid(pid, &status, WNOHANG) == 0)
                usleep(1000);
        if (status == -1)
                REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, ==, 0);
        munmap((void *)(uintptr_t)shared, sizeof *shared);
}

static void ignore(int sig)
{
        (void)sig;
}

/* Without a timeout the kernel would restart the wait after an SA_RESTART handler. */
TEST(futex_eintr, "a handler ends even an endless wait", "[unit][kernel]")
{
        struct sigaction action = { .sa_handler = ignore, .sa_flags = SA_RESTART };

        REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
        ualarm(30000, 30000);
        CHECK_INT(crew__sys_futex_wait(&word, word, CREW__NEVER), ==, -EINTR);
        ualarm(0, 0);
}

TEST(clone_wait, "a child of clone3 is waited for with its usage", "[unit][kernel]")
{
        int pidfd = -1;
        struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd };
        struct rusage usage = { .ru_maxrss = -1 };
        struct crew__pidfd_info info = { .mask = CREW__PIDFD_INFO_EXIT };
        siginfo_t died = { 0 };
        int pid = crew__sys_clone3(&args, sizeof args);

        if (pid == -ENOSYS || pid == -EPERM)
                SKIP("no clone3 here");
        if (pid == 0) {
                while (crew__sys_getpid() != 0)
                        usleep(1000);
        }
        REQUIRE(pid > 0 && pidfd >= 0);
        CHECK_INT(crew__sys_waitid(pidfd, &died, WEXITED | WNOHANG | __WALL, NULL), ==, 0);
        CHECK_INT(died.si_pid, ==, 0);
        CHECK_INT(crew__sys_pidfd_send_signal(pidfd, SIGKILL), ==, 0);
        CHECK_INT(crew__sys_waitid(pidfd, &died, WEXITED | WNOWAIT | __WALL, NULL), ==, 0);
        CHECK_INT(crew__sys_waitid(pidfd, &died, WEXITED | __WALL, &usage), ==, 0);
        CHECK_INT(died.si_pid, ==, pid);
        CHECK_INT(died.si_code, ==, CLD_KILLED);
        CHECK_INT(died.si_status, ==, SIGKILL);
        CHECK_INT(usage.ru_maxrss, >=, 0);
        if (crew__sys_pidfd_info(pidfd, &info) == 0 && (info.mask & CREW__PIDFD_INFO_EXIT))
                CHECK_INT(info.exit_code, ==, SIGKILL);
        CHECK_INT(crew__sys_waitid(pidfd, &died, WEXITED | __WALL, NULL), ==, -ECHILD);
        CHECK_INT(crew__sys_close(pidfd), ==, 0);
}

TEST(nearest, "a slip of the pen finds the word that was meant", "[unit][base]")
{
        static const char *const words[] = { "features", "run", "ps", "top", "inspect" };
        char endless[4096];

        CHECK_STR(crew__nearest("fetures", words, 5), "features");
        CHECK_STR(crew__nearest("faetures", words, 5), "features");
        CHECK_STR(crew__nearest("featuress", words, 5), "features");
        CHECK_STR(crew__nearest("rnu", words, 5), "run");
        CHECK_STR(crew__nearest("run", words, 5), "run");
        CHECK_STR(crew__nearest("inspekt", words, 5), "inspect");
        CHECK_STR(crew__nearest("banana", words, 5), NULL);
        CHECK_STR(crew__nearest("", words, 5), NULL);
        CHECK_STR(crew__nearest("run", words, 0), NULL);
        memset(endless, 'x', sizeof endless - 1);
        endless[sizeof endless - 1] = 0;
        CHECK_STR(crew__nearest(endless, words, 5), NULL);
}
