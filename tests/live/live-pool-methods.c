/* SPDX-License-Identifier: MIT */

/* Pools whose workers are no forks of the program. */

#include "host.h"
#include "pool-help.h"

POOL_WARM_UP

static int global = 1;

/* The workers' image is fresh: what main() or a case did to its data is not there. */
CREW_TASK(see_global, int, int)(crew_task *t, const int *in, int *out)
{
        (void)t;
        (void)in;
        *out = global;
        return 0;
}

CREW_TASK(square, int, int)(crew_task *t, const int *in, int *out)
{
        (void)t;
        *out = *in * *in;
        return 0;
}

static int change_root(crew_task *t, const void *arg, size_t size)
{
        (void)arg;
        (void)size;
        return crew_task_fail(t, -EIO, "chroot answered %d", chroot("/"));
}

static int put_in_queue(crew_task *t, const void *arg, size_t size)
{
        crew_queue *q;
        crew_ref ref;
        int n = 12, r;

        if (size != sizeof ref)
                return -EINVAL;
        memcpy(&ref, arg, sizeof ref);
        r = crew_task_queue(t, ref, &q);
        return r < 0 ? r : CREW_PUT(q, &n, CREW_S(5));
}

static int initial;

static int initialize(crew_task *t, const void *arg, size_t size)
{
        if (size != sizeof initial)
                return crew_task_fail(t, -EINVAL, "no argument");
        memcpy(&initial, arg, sizeof initial);
        return 0;
}

CREW_TASK(see_initial, int, int)(crew_task *t, const int *in, int *out)
{
        (void)t;
        *out = initial + *in;
        return 0;
}

#define TEST_FRESH(identifier, human_name)                                                         \
        static void identifier##_body(int method);                                                 \
        TEST(identifier##_forkserver, human_name " (fork server)", "[live][pool]")                 \
        {                                                                                          \
                identifier##_body(CREW_METHOD_FORKSERVER);                                         \
        }                                                                                          \
        TEST(identifier##_spawn, human_name " (spawn)", "[live][pool]")                            \
        {                                                                                          \
                identifier##_body(CREW_METHOD_SPAWN);                                              \
        }                                                                                          \
        static void identifier##_body(int method)

TEST_FRESH(tasks, "tasks run in workers that are a fresh image")
{
        crew_auto(pool) p = NULL;
        int in[100], out[100], one = 0, seen = 0;

        global = 2;
        REQUIRE_OK(crew_pool_new(&p, 2, CREW_OPT(pool, .method = method)));
        for (int i = 0; i < 100; i++)
                in[i] = i;
        CHECK_INT(square_map(p, in, 100, out, CREW_S(20), NULL), ==, 0);
        for (int i = 0; i < 100; i++)
                CHECK_INT(out[i], ==, i * i);
        CHECK_INT(see_global_apply(p, &one, &seen, CREW_S(20), NULL), ==, 0);
        CHECK_INT(seen, ==, 1);
}

TEST_FRESH(initializer, "the initializer runs in each of them, with its argument")
{
        crew_auto(pool) p = NULL;
        int value = 30, one = 1, seen = 0;

        REQUIRE_OK(crew_pool_new(&p, 2,
                CREW_OPT(pool, .method = method, .initializer = initialize, .init_arg = &value,
                        .init_size = sizeof value)));
        for (int i = 0; i < 10; i++) {
                CHECK_INT(see_initial_apply(p, &one, &seen, CREW_S(20), NULL), ==, 0);
                CHECK_INT(seen, ==, 31);
        }
}

TEST_FRESH(sandboxed, "they are in the sandbox, and a violation is told as ever")
{
        crew_failure f = { .size = sizeof f };
        crew_auto(pool) p = NULL;

        REQUIRE_OK(crew_pool_new(&p, 1, CREW_OPT(pool, .method = method)));
        CHECK_INT(crew_pool_apply(p, change_root, NULL, 0, NULL, 0, CREW_S(20),
                          CREW_OPT(task, .failure = &f)),
                ==, -EPERM);
        CHECK_INT(f.reason, ==, CREW_VIOLATED);
        CHECK_STR(f.syscall_name, "chroot");
}

TEST_FRESH(replaced, "a worker that dies is replaced, and costs one task")
{
        crew_auto(pool) p = NULL;
        int one = 5, out = 0, sig = SIGKILL;

        REQUIRE_OK(crew_pool_new(&p, 1, CREW_OPT(pool, .method = method)));
        for (int i = 0; i < 3; i++) {
                CHECK_INT(crew_pool_apply(p, task_die, &sig, sizeof sig, NULL, 0, CREW_S(20), NULL),
                        ==, -EOWNERDEAD);
                CHECK_INT(square_apply(p, &one, &out, CREW_S(20), NULL), ==, 0);
                CHECK_INT(out, ==, 25);
        }
}

TEST_FRESH(grants, "queues are granted at the start and later")
{
        crew_auto(queue) first = NULL;
        crew_auto(queue) later = NULL;
        crew_auto(pool) p = NULL;
        crew_ref refs[2];
        int n = 0;

        REQUIRE_OK(crew_queue_new(&first, 0, NULL));
        REQUIRE_OK(crew_queue_new(&later, 0, NULL));
        refs[0] = crew_queue_ref(first);
        refs[1] = crew_queue_ref(later);
        REQUIRE_OK(crew_pool_new(
                &p, 1, CREW_OPT(pool, .method = method, .grants = refs, .n_grants = 1)));
        CHECK_INT(crew_pool_apply(
                          p, put_in_queue, &refs[0], sizeof refs[0], NULL, 0, CREW_S(20), NULL),
                ==, 0);
        CHECK_INT(CREW_GET(first, &n, CREW_S(5)), ==, 0);
        CHECK_INT(n, ==, 12);
        CHECK_INT(crew_pool_apply(
                          p, put_in_queue, &refs[1], sizeof refs[1], NULL, 0, CREW_S(20), NULL),
                ==, -ENOENT);
        REQUIRE_OK(crew_pool_grant(p, refs[1]));
        CHECK_INT(crew_pool_apply(
                          p, put_in_queue, &refs[1], sizeof refs[1], NULL, 0, CREW_S(20), NULL),
                ==, 0);
}

TEST_FRESH(refused, "a function that is in no library is refused before anything runs")
{
        crew_auto(pool) p = NULL;
        crew_task_fn *function;
        void *data = &global;

        memcpy(&function, &data, sizeof function);
        REQUIRE_OK(crew_pool_new(&p, 1, CREW_OPT(pool, .method = method)));
        CHECK_INT(crew_pool_apply(p, function, NULL, 0, NULL, 0, CREW_S(20), NULL), ==, -ENOENT);
        p = crew_pool_free(p);
        CHECK_INT(crew_pool_new(&p, 1, CREW_OPT(pool, .method = method, .initializer = function)),
                ==, -ENOENT);
        CHECK(p == NULL);
        CHECK_INT(crew_pool_new(&p, 1, CREW_OPT(pool, .method = 4)), ==, -EINVAL);
}
