/* SPDX-License-Identifier: MIT */

/* Shared memory in children that are no forks: they have what was granted to them. */

#include "host.h"

struct counter {
        crew_lock lock;
        int value;
};

static int count(void *arg)
{
        crew_auto(shm) shm = NULL;
        struct counter *c;
        crew_ref ref;

        memcpy(&ref, arg, sizeof ref);
        REQUIRE_OK(crew_shm_open(&shm, ref));
        CHECK_INT(crew_shm_size(shm), ==, sizeof *c);
        c = crew_shm_data(shm);
        CHECK_INT(crew_lock_acquire(&c->lock, CREW_S(10)), ==, 0);
        c->value++;
        return 11;
}

static void grant_memory(int method)
{
        crew_auto(shm) shm = NULL;
        crew_auto(process) p = NULL;
        struct counter *c;
        crew_ref ref;

        host_begin(method);
        REQUIRE_OK(crew_shm_new(&shm, sizeof *c, "counter"));
        c = crew_shm_data(shm);
        REQUIRE_OK(crew_lock_init(&c->lock));
        ref = crew_shm_ref(shm);
        REQUIRE_OK(crew_process_launch(&p, count, &ref,
                CREW_OPT(process, .method = host_method, .arg_size = sizeof ref, .grants = &ref,
                        .n_grants = 1)));
        CHECK_INT(join_code(p), ==, 11);
        CHECK_INT(crew_lock_acquire(&c->lock, CREW_S(10)), ==, CREW_OWNER_DIED);
        CHECK_INT(c->value, ==, 1);
        REQUIRE_OK(crew_lock_release(&c->lock));
}

TEST(forkserver, "a child of the fork server opens granted memory, and ends with its lock",
        "[live][shm][spawn]")
{
        grant_memory(CREW_METHOD_FORKSERVER);
}

TEST(spawned, "a spawned child opens granted memory, and ends with its lock", "[live][shm][spawn]")
{
        grant_memory(CREW_METHOD_SPAWN);
}
