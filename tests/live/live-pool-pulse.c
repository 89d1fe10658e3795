/* SPDX-License-Identifier: MIT */

/* Deaths that the kernel marks long before the process is gone, or without its going at all. */

#include "pool-help.h"

#include <crew/features.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

POOL_WARM_UP

/* What takes the kernel some tens of milliseconds to take back. */
#define LARGE ((size_t)1 << 30)

enum { TRIES = 30 };

struct note {
        _Atomic pid_t pid;
        _Atomic int ready;
};

static struct note *note_at(const int *fd)
{
        void *at = mmap(NULL, sizeof(struct note), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);

        return at == MAP_FAILED ? NULL : at;
}

/* Says who it is once it has grown, and sleeps. */
static int task_grow(crew_task *t, const void *arg, size_t size)
{
        struct note *note = note_at(arg);
        void *memory = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        (void)size;
        if (!note || memory == MAP_FAILED)
                return crew_task_fail(t, -ENOMEM, "no memory");
        atomic_store(&note->pid, getpid());
        atomic_store(&note->ready, 1);
        for (;;)
                (void)pause();
}

static bool has_robust_lists(void)
{
        crew_feature f = { .size = sizeof f };
        int index = crew_feature_find("robust_list");

        return crew_feature_get((unsigned)index, &f) == 0 && f.state == CREW_FEATURE_YES;
}

static bool has_memory(void)
{
        long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);

        return pages > 0 && (uint64_t)pages * (uint64_t)page > 3 * (uint64_t)LARGE;
}

/* Whether the task failed before the process was gone. */
static bool fails_early(crew_pool *p, const int *fd, struct note *note)
{
        struct pollfd gone = { .events = POLLIN };
        crew_result *r = NULL;
        crew_failure f;
        bool early;

        atomic_store(&note->ready, 0);
        REQUIRE_OK(crew_pool_apply_async(p, task_grow, fd, sizeof *fd, &r, NULL));
        for (int i = 0; i < 30000 && !atomic_load(&note->ready); i++)
                pause_ms(1);
        REQUIRE(atomic_load(&note->ready) == 1);
        gone.fd = (int)syscall(SYS_pidfd_open, atomic_load(&note->pid), 0);
        REQUIRE(gone.fd >= 0);
        CHECK_INT(kill(note->pid, SIGKILL), ==, 0);
        REQUIRE_OK(crew_result_wait(r, CREW_S(20)));
        early = poll(&gone, 1, 0) == 0;
        f = failure_of(r);
        CHECK_INT(f.reason, ==, CREW_DIED);
        CHECK_INT(f.exitcode, ==, -SIGKILL);
        CHECK_INT(f.pid, ==, atomic_load(&note->pid));
        CHECK_INT(poll(&gone, 1, 20000), ==, 1);
        (void)close(gone.fd);
        (void)crew_result_free(r);
        return early;
}

TEST(large, "the task of a worker with a gigabyte fails before its process is gone", "[live][pool]")
{
        int fd = memfd_create("note", MFD_CLOEXEC);
        crew_pool *p;
        struct note *note;
        bool early = false;

        if (!has_robust_lists())
                SKIP("without robust lists nothing marks a death");
        if (TEST_SANITIZED || !has_memory())
                SKIP("a worker cannot have a gigabyte here");
        TEST_DEADLINE(120);
        REQUIRE(fd >= 0 && ftruncate(fd, sizeof *note) == 0);
        note = note_at(&fd);
        REQUIRE(note != NULL);
        p = new_pool(1,
                CREW_OPT(pool, .keep_fds = &fd, .n_keep_fds = 1, .on_death = CREW_DEATH_FAIL_TASK));
        /* A test that is kept from running meanwhile sees nothing; not every time. */
        for (int i = 0; i < TRIES && !early; i++)
                early = fails_early(p, &fd, note);
        CHECK(early);
        CHECK_INT(twice(p, 2), ==, 4);
        (void)crew_pool_free(p);
        (void)munmap(note, sizeof *note);
        (void)close(fd);
}

static void *__attribute__((noreturn)) linger(void *unused)
{
        (void)unused;
        for (;;)
                (void)pause();
}

/* Leaves a process in which nobody will ever finish the task. */
static int task_leave(crew_task *t, const void *arg, size_t size)
{
        pthread_t thread;

        (void)t;
        (void)arg;
        (void)size;
        if (pthread_create(&thread, NULL, linger, NULL) != 0)
                return -EAGAIN;
        /* As pthread_exit() ends, without unwinding what the test framework has on this stack. */
        (void)syscall(SYS_exit, 0);
        return 0;
}

static int task_exec(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        (void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
        return -errno;
}

TEST(left, "a task whose thread ends, or executes a program, fails; its process goes",
        "[live][pool]")
{
        crew_task_fn *const ways[] = { task_leave, task_exec };

        if (!has_robust_lists())
                SKIP("without robust lists nothing marks a death");
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                crew_auto(pool) p = new_pool(
                        1, CREW_OPT(pool, .sandbox = "none", .on_death = CREW_DEATH_FAIL_TASK));
                crew_failure f = { .size = sizeof f };

                CHECK_INT(crew_pool_apply(p, ways[i], NULL, 0, NULL, 0, CREW_S(20),
                                  CREW_OPT(task, .failure = &f)),
                        ==, -EOWNERDEAD);
                CHECK_INT(f.reason, ==, CREW_DIED);
                CHECK(gone_within(f.pid, 5000));
                CHECK_INT(twice(p, 2), ==, 4);
        }
}
