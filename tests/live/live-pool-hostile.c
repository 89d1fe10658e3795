/* SPDX-License-Identifier: MIT */

/* Workers that write whatever they like into what they share with the pool. */

#include "pool-help.h"

#include <limits.h>
#include <stdint.h>

POOL_WARM_UP

enum { MAPS = 16 };

struct map {
        uint64_t *from, *to;
};

/* The writable mappings of crew's memory, of which a worker has its lane and its page. */
static int shared_maps(struct map *maps)
{
        char line[512];
        FILE *f = fopen("/proc/self/maps", "re");
        int n = 0;

        while (f && n < MAPS && fgets(line, sizeof line, f)) {
                unsigned long from, to;
                char mode[8];

                if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[1] == 'w' &&
                        strstr(line, "memfd:crew:"))
                        maps[n++] = (struct map){ (uint64_t *)from, (uint64_t *)to };
        }
        if (f)
                (void)fclose(f);
        return n;
}

static uint64_t next_random(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* Scribbles: sometimes everywhere, sometimes over the first words alone, then goes on as usual. */
static int task_scribble(crew_task *t, const void *arg, size_t size)
{
        uint64_t state = *(const uint64_t *)arg * 0x9e3779b97f4a7c15 + 1;
        struct map maps[MAPS];
        int n = shared_maps(maps);

        (void)t;
        (void)size;
        if (n == 0)
                return -ENOENT;
        for (int i = 0; i < 200; i++) {
                struct map *m = &maps[next_random(&state) % (uint64_t)n];
                size_t words = (size_t)(m->to - m->from);
                size_t at = next_random(&state) % (state % 3 ? 160 : words);
                uint64_t value = next_random(&state);

                if (at < words)
                        m->from[at] = state % 2 ? value : value % 64;
        }
        return 0;
}

TEST(scribble, "a worker that scribbles over shared memory costs itself at most", "[live][pool]")
{
        crew_auto(pool) p = new_pool(2, CREW_OPT(pool, .sandbox = "none", .restarts = UINT_MAX));
        int64_t rounds = test_scale(2000, 60);
        int done = 0, died = 0;

        TEST_DEADLINE(120);
        for (int64_t i = 0; i < rounds; i++) {
                uint64_t seed = (uint64_t)i;
                ssize_t r = crew_pool_apply(p, task_scribble, &seed, sizeof seed, NULL, 0,
                        CREW_MS(300), CREW_OPT(task, .deadline = CREW_MS(100)));

                CHECK(r == 0 || r == -EOWNERDEAD || r == -ETIME || r == -ETIMEDOUT || r == -EPERM ||
                        r > -4096);
                done += r == 0;
                died += r < 0;
                /* Others get their own results, in time. */
                if (i % 10 == 0) {
                        int out = 0, in = (int)i;
                        ssize_t n = crew_pool_apply(
                                p, task_twice, &in, sizeof in, &out, sizeof out, CREW_S(5), NULL);

                        CHECK(n < 0 || out == 2 * in);
                }
        }
        INFO("%d done, %d failed", done, died);
        pause_ms(200);
        (void)crew_pool_terminate(p, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(5)), >=, 0);
}
