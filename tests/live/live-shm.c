/* SPDX-License-Identifier: MIT */

/* Shared memory: made, inherited, granted to workers of a pool, refused to all others. */

#include "pool-help.h"

#include <crew/crew.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

POOL_WARM_UP

TEST(basics, "memory has the size that was asked for, starts a page and is zero", "[live][shm]")
{
        static const size_t sizes[] = { 1, 512, 4096, 4097, 1000000 };

        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                crew_auto(shm) s = NULL;
                char *data;

                REQUIRE_OK(crew_shm_new(&s, sizes[i], "basics"));
                CHECK_INT(crew_shm_size(s), ==, sizes[i]);
                data = crew_shm_data(s);
                CHECK_INT((uintptr_t)data % (uintptr_t)sysconf(_SC_PAGESIZE), ==, 0);
                for (size_t at = 0; at < sizes[i]; at++)
                        REQUIRE(data[at] == 0);
                memset(data, 'x', sizes[i]);
        }
}

TEST(refused, "no bytes, too many bytes and long names are refused", "[live][shm]")
{
        crew_shm *s = NULL;
        char name[80];

        memset(name, 'n', sizeof name);
        name[64] = '\0';
        CHECK_INT(crew_shm_new(&s, 0, NULL), ==, -EINVAL);
        CHECK_INT(crew_shm_new(&s, SIZE_MAX, NULL), ==, -EINVAL);
        CHECK_INT(crew_shm_new(NULL, 1, NULL), ==, -EINVAL);
        CHECK_INT(crew_shm_new(&s, 1, name), ==, -EINVAL);
        CHECK(s == NULL);
        name[63] = '\0';
        CHECK_INT(crew_shm_new(&s, 1, name), ==, 0);
        CHECK(crew_shm_free(s) == NULL);
        CHECK(crew_shm_free(NULL) == NULL);
}

TEST(opened, "two handles are the same memory, which stays until the last is freed", "[live][shm]")
{
        crew_shm *a, *b, *none = NULL;
        crew_ref ref;

        REQUIRE_OK(crew_shm_new(&a, 10, NULL));
        ref = crew_shm_ref(a);
        REQUIRE_OK(crew_shm_open(&b, ref));
        CHECK(crew_shm_data(a) == crew_shm_data(b));
        CHECK_INT(crew_shm_size(b), ==, 10);
        strcpy(crew_shm_data(a), "hello");
        (void)crew_shm_free(a);
        CHECK_STR(crew_shm_data(b), "hello");
        (void)crew_shm_free(b);
        CHECK_INT(crew_shm_open(&none, ref), ==, -ENOENT);
        CHECK(none == NULL);
}

TEST(kinds, "a queue is not shared memory, nor the other way round", "[live][shm]")
{
        crew_auto(shm) s = NULL;
        crew_auto(queue) q = NULL;
        crew_auto(queue) none = NULL;
        crew_shm *nothing = NULL;

        REQUIRE_OK(crew_shm_new(&s, 65536, NULL));
        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        CHECK_INT(crew_shm_open(&nothing, crew_queue_ref(q)), ==, -ENOENT);
        CHECK_INT(crew_queue_open(&none, crew_shm_ref(s)), ==, -ENOENT);
}

static int add_one(void *arg)
{
        crew_shm *s = arg;

        ++*(int *)crew_shm_data(s);
        (void)crew_shm_free(s);
        return 0;
}

TEST(forked, "a forked child has it at the same address, after the parent's handle too",
        "[live][shm]")
{
        crew_auto(process) p = NULL;
        crew_shm *s;
        int *number;

        REQUIRE_OK(crew_shm_new(&s, sizeof *number, NULL));
        number = crew_shm_data(s);
        *number = 41;
        REQUIRE_OK(crew_process_launch(&p, add_one, s, NULL));
        REQUIRE_OK(crew_process_join(p, CREW_S(10)));
        CHECK_INT(*number, ==, 42);
        (void)crew_shm_free(s);
}

struct account {
        crew_lock lock;
        int64_t balance;
};

CREW_TASK(deposit, crew_ref, size_t)(crew_task *t, const crew_ref *ref, size_t *size)
{
        struct account *a;
        crew_shm *again;
        void *data;
        int r = crew_task_shm(t, *ref, &data);

        if (r < 0)
                return r;
        r = crew_shm_open(&again, *ref);
        if (r < 0)
                return r;
        *size = crew_shm_size(again);
        (void)crew_shm_free(again);
        a = data;
        for (int i = 0; r >= 0 && i < 200; i++) {
                r = crew_lock_acquire(&a->lock, CREW_S(10));
                if (r < 0)
                        return r;
                a->balance++;
                r = crew_lock_release(&a->lock);
        }
        return r;
}

static void with_words(const char *words, bool later)
{
        crew_auto(shm) s = NULL;
        crew_auto(pool) pool = NULL;
        struct account *a;
        crew_ref refs[8], ref;
        size_t sizes[8];

        REQUIRE_OK(crew_shm_new(&s, sizeof *a, "account"));
        a = crew_shm_data(s);
        REQUIRE_OK(crew_lock_init(&a->lock));
        ref = crew_shm_ref(s);
        for (int i = 0; i < 8; i++)
                refs[i] = ref;
        REQUIRE_OK(crew_pool_new(&pool, 2,
                CREW_OPT(pool, .sandbox = words, .grants = later ? NULL : &ref,
                        .n_grants = later ? 0 : 1)));
        if (later) {
                CHECK_INT(deposit_apply(pool, &ref, sizes, CREW_S(20), NULL), ==, -ENOENT);
                REQUIRE_OK(crew_pool_grant(pool, ref));
        }
        REQUIRE_OK(deposit_map(pool, refs, 8, sizes, CREW_S(20), NULL));
        for (int i = 0; i < 8; i++)
                CHECK_INT(sizes[i], ==, sizeof *a);
        CHECK_INT(a->balance, ==, 8 * 200);
}

TEST(granted, "workers of every sandbox share a granted account", "[live][shm][pool]")
{
        with_words("none", false);
        with_words("stdio", false);
        with_words("compute", false);
}

TEST(granted_later, "what was not granted is not there until it is", "[live][shm][pool]")
{
        with_words("stdio", true);
        with_words("compute", true);
}

struct locks {
        crew_lock lock[2];
};

CREW_TASK(die_with_both, crew_ref, crew_none)(crew_task *t, const crew_ref *ref, crew_none *none)
{
        struct locks *l;
        void *data;
        int r = crew_task_shm(t, *ref, &data);

        (void)none;
        if (r < 0)
                return r;
        l = data;
        for (int i = 0; r >= 0 && i < 2; i++)
                r = crew_lock_acquire(&l->lock[i], CREW_S(5));
        if (r == 0)
                (void)raise(SIGKILL);
        return r < 0 ? r : -EINVAL;
}

/* One lock in the dead worker's slot, the other known by its claim only, and no look into /proc. */
CREW_TASK(take_both, crew_ref, int)(crew_task *t, const crew_ref *ref, int *died)
{
        struct locks *l;
        void *data;
        int r = crew_task_shm(t, *ref, &data);

        *died = 0;
        if (r < 0)
                return r;
        l = data;
        for (int i = 0; i < 2; i++) {
                r = crew_lock_acquire(&l->lock[i], CREW_S(10));
                if (r < 0)
                        return r;
                *died += r == CREW_OWNER_DIED;
                r = crew_lock_release(&l->lock[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

TEST(worker_dies, "a worker finds locks whose owner was a worker that died, in every sandbox",
        "[live][shm][pool]")
{
        static const char *const words[] = { "none", "stdio", "compute" };

        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                crew_auto(shm) s = NULL;
                crew_auto(pool) pool = NULL;
                struct locks *l;
                crew_none none;
                crew_ref ref;
                int died = 0;

                REQUIRE_OK(crew_shm_new(&s, sizeof *l, NULL));
                l = crew_shm_data(s);
                REQUIRE_OK(crew_lock_init(&l->lock[0]));
                REQUIRE_OK(crew_lock_init(&l->lock[1]));
                ref = crew_shm_ref(s);
                REQUIRE_OK(crew_pool_new(&pool, 1,
                        CREW_OPT(pool, .sandbox = words[i], .grants = &ref, .n_grants = 1)));
                CHECK_INT(
                        die_with_both_apply(pool, &ref, &none, CREW_S(15), NULL), ==, -EOWNERDEAD);
                REQUIRE_OK(take_both_apply(pool, &ref, &died, CREW_S(15), NULL));
                CHECK_INT(died, ==, 2);
        }
}

static int wait_in_sandbox(void *arg)
{
        struct locks *l = arg;

        /* The owner lives: each slice asks for it, which must not end this process. */
        return crew_lock_acquire(&l->lock[0], CREW_MS(80)) != -ETIMEDOUT;
}

TEST(process_waits, "a process in a sandbox waits for a lock whose owner lives", "[live][shm]")
{
        static const char *const words[] = { "stdio", "compute" };
        crew_auto(shm) s = NULL;
        struct locks *l;

        REQUIRE_OK(crew_shm_new(&s, sizeof *l, NULL));
        l = crew_shm_data(s);
        REQUIRE_OK(crew_lock_init(&l->lock[0]));
        REQUIRE_OK(crew_lock_acquire(&l->lock[0], CREW_NOW));
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                crew_auto(process) p = NULL;
                int code = -1;

                REQUIRE_OK(crew_process_launch(
                        &p, wait_in_sandbox, l, CREW_OPT(process, .sandbox = words[i])));
                REQUIRE_OK(crew_process_join(p, CREW_S(15)));
                REQUIRE_OK(crew_process_exitcode(p, &code));
                CHECK_INT(code, ==, 0);
        }
        REQUIRE_OK(crew_lock_release(&l->lock[0]));
}

TEST(sealed, "it can neither shrink nor grow, and has no name in a file system", "[live][shm]")
{
        crew_auto(shm) s = NULL;
        char path[64], target[256];
        bool found = false;

        REQUIRE_OK(crew_shm_new(&s, 4096, "seen"));
        for (int fd = 3; fd < 64 && !found; fd++) {
                ssize_t n;

                (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                n = readlink(path, target, sizeof target - 1);
                target[n > 0 ? n : 0] = '\0';
                if (!strstr(target, "memfd:crew:shm:seen"))
                        continue;
                found = true;
                CHECK(ftruncate(fd, 0) < 0 && errno == EPERM);
                CHECK(ftruncate(fd, 1 << 20) < 0 && errno == EPERM);
                CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        }
        CHECK(found);
}

/* The cases of CPython's SharedMemory, named after those that they are counterparts of. */

static int change_bytes(void *arg)
{
        crew_shm *shm;
        crew_ref ref;

        memcpy(&ref, arg, sizeof ref);
        if (crew_shm_open(&shm, ref) < 0)
                return 1;
        memset(crew_shm_data(shm), 42, crew_shm_size(shm));
        (void)crew_shm_free(shm);
        return 0;
}

TEST(shared_memory, "test_shared_memory_basics and test_shared_memory_across_processes",
        "[live][shm][cpython]")
{
        crew_shm *a, *b, *gone = NULL;
        crew_process *p;
        crew_ref ref;
        unsigned char *bytes;

        REQUIRE_OK(crew_shm_new(&a, 512, "test01_tsmb"));
        REQUIRE_OK(crew_shm_open(&b, crew_shm_ref(a)));
        CHECK_INT(crew_shm_size(a), ==, 512);
        CHECK_INT(crew_shm_size(b), ==, 512);
        bytes = crew_shm_data(a);
        bytes[0] = 42;
        CHECK_INT(*(unsigned char *)crew_shm_data(b), ==, 42);
        ref = crew_shm_ref(a);
        REQUIRE_OK(crew_process_launch(&p, change_bytes, &ref, NULL));
        REQUIRE_OK(crew_process_join(p, CREW_S(15)));
        (void)crew_process_free(p);
        for (int i = 0; i < 512; i++)
                REQUIRE(bytes[i] == 42);
        (void)crew_shm_free(a);
        (void)crew_shm_free(b);
        CHECK_INT(crew_shm_open(&gone, ref), ==, -ENOENT);
}

/* test_shared_memory_cleaned_after_process_termination: there a tracker process has to see to it.
 */
static int make_and_wait(void *arg)
{
        crew_connection *c = arg;
        crew_shm *shm;

        if (crew_shm_new(&shm, 10, "psm_leak") < 0 ||
                crew_connection_send(c, "x", 1, CREW_S(5)) < 0)
                return 1;
        for (;;)
                (void)pause();
}

TEST(terminated, "test_shared_memory_cleaned_after_process_termination", "[live][shm][cpython]")
{
        crew_connection *mine, *theirs;
        crew_process *p;
        char byte;

        REQUIRE_OK(crew_pipe(&mine, &theirs, true));
        REQUIRE_OK(crew_process_launch(&p, make_and_wait, theirs, NULL));
        REQUIRE(crew_connection_recv(mine, &byte, 1, CREW_S(10)) == 1);
        REQUIRE_OK(crew_process_kill(p));
        REQUIRE_OK(crew_process_join(p, CREW_S(10)));
        CHECK_INT(access("/dev/shm/psm_leak", F_OK), ==, -1);
        CHECK_INT(access("/dev/shm/crew:shm:psm_leak", F_OK), ==, -1);
        (void)crew_process_free(p);
        (void)crew_connection_free(mine);
        (void)crew_connection_free(theirs);
}
