/* SPDX-License-Identifier: MIT */

/* Pools under kills, in numbers, and for long: nothing is lost, doubled, left behind or stuck. */

#include "pool-help.h"

#include <limits.h>

POOL_WARM_UP

enum { ITEMS = 1000, WORKERS = 4 };

/* Who lives, by row; written by the pool's callbacks. */
struct crowd {
        _Atomic pid_t pid[WORKERS];
        _Atomic long kills;
        uint32_t seed;
};

static void on_event(const crew_pool_event *e, void *user)
{
        struct crowd *c = user;

        if (e->kind == CREW_EVENT_STARTED || e->kind == CREW_EVENT_REPLACED)
                atomic_store(&c->pid[e->worker], e->pid);
        else if (e->kind == CREW_EVENT_ENDED)
                atomic_store(&c->pid[e->worker], 0);
}

static uint32_t dice(uint32_t *seed)
{
        *seed = *seed * 1664525 + 1013904223;
        return *seed >> 8;
}

/* One kill after a random time, then the next when it is asked for. The worker is a grandchild: its
 * number is not given to another process while the zygote has not collected it, and hardly soon. */
static void kill_one(struct crowd *c)
{
        struct timespec some = { .tv_nsec = dice(&c->seed) % 3000000 };
        pid_t pid;

        (void)nanosleep(&some, NULL);
        pid = atomic_load(&c->pid[dice(&c->seed) % WORKERS]);
        if (pid > 0 && kill(pid, SIGKILL) == 0)
                atomic_fetch_add(&c->kills, 1);
}

static void *killer(void *arg)
{
        kill_one(arg);
        return NULL;
}

static void kill_round(crew_pool *p, struct crowd *c, long round)
{
        static int in[ITEMS], out[ITEMS], status[ITEMS];
        pthread_t thread;
        int r, wrong = 0;

        for (int i = 0; i < ITEMS; i++) {
                in[i] = (int)(round % 1000000) + i;
                out[i] = -1;
                status[i] = -1;
        }
        REQUIRE(pthread_create(&thread, NULL, killer, c) == 0);
        r = crew_pool_map(p, task_twice, in, ITEMS, sizeof *in, out, sizeof *out, CREW_S(10),
                CREW_OPT(task, .status = status, .retries = 100));
        (void)pthread_join(thread, NULL);
        for (int i = 0; i < ITEMS; i++)
                wrong += out[i] != 2 * in[i] || status[i] != CREW_OK;
        if (r || wrong)
                INFO("round %ld: %s: %s", round, crew_error_name(r), crew_error_detail());
        CHECK_INT(r, ==, 0);
        CHECK_INT(wrong, ==, 0);
}

static void kill_rounds(uint64_t flags, long rounds)
{
        struct crowd c = { .seed = (uint32_t)crew_clock() };
        crew_pool *p;
        crew_pool_stats s;
        uint64_t submitted;

        INFO("seed %u", c.seed);
        p = new_pool(WORKERS, CREW_OPT(pool, .flags = flags, .on_death = CREW_DEATH_RETRY,
                                      .restarts = UINT_MAX, .on_event = on_event, .user = &c));
        for (long i = 0; i < rounds; i++)
                kill_round(p, &c, i);
        s = stats_of(p);
        submitted = (uint64_t)rounds;
        INFO("%ld kills, %llu restarts, %llu done", atomic_load(&c.kills),
                (unsigned long long)s.restarts, (unsigned long long)s.done);
        CHECK_INT(s.failed, ==, 0);
        CHECK_INT(s.queued, ==, 0);
        CHECK(s.submitted == submitted * ITEMS || s.submitted == submitted);
        CHECK_INT(s.done, ==, s.submitted);
        CHECK_INT(atomic_load(&c.kills), >, 0);
        (void)crew_pool_free(p);
}

TEST_POOLS(kills, "a random worker is killed during each map, and every result is right",
        "[stress][pool]")
{
        TEST_DEADLINE(600);
        kill_rounds(0, (long)test_scale(10000, 50));
}

TEST_POOLS(kills_driven, "the same where the callers drive", "[stress][pool]")
{
        TEST_DEADLINE(600);
        kill_rounds(CREW_POOL_NO_THREAD, (long)test_scale(10000, 50));
}

struct numbers {
        long next, end;
        int value;
};

static int next_number(void *user, const void **item, size_t *size)
{
        struct numbers *n = user;

        if (n->next == n->end)
                return 0;
        n->value = (int)n->next++;
        *item = &n->value;
        *size = sizeof n->value;
        return 1;
}

static long resident(void)
{
        FILE *f = fopen("/proc/self/statm", "re");
        long pages = 0, total;

        REQUIRE(f && fscanf(f, "%ld %ld", &total, &pages) == 2);
        (void)fclose(f);
        return pages * sysconf(_SC_PAGESIZE);
}

__attribute__((unused)) static void flow(bool unordered)
{
        /* Small lanes: all of their memory is in use before the warm-up ends. */
        crew_pool *p = new_pool(2, CREW_OPT(pool, .lane_bytes = 4096));
        struct numbers n = { .end = (long)test_scale(1000000, 20000) };
        long long sum = 0;
        long seen = 0, warm = 0;
        crew_imap *it = NULL;
        crew_item item;
        int r;

        REQUIRE_OK((unordered ? crew_pool_imap_unordered : crew_pool_imap)(
                p, task_twice, next_number, &n, &it, CREW_OPT(task, .window = 64)));
        while ((r = crew_imap_next(it, &item, CREW_S(10))) == 1) {
                REQUIRE(item.status == CREW_OK && item.size == sizeof(int));
                if (!unordered)
                        REQUIRE(*(const int *)item.data == 2 * seen);
                sum += *(const int *)item.data;
                if (++seen == n.end / 10)
                        warm = resident();
        }
        CHECK_INT(r, ==, 0);
        CHECK_INT(seen, ==, n.end);
        CHECK_INT(sum, ==, (long long)n.end * (n.end - 1));
        CHECK_INT(resident() - warm, <=, 1 << 20);
        (void)crew_imap_free(it);
        (void)crew_pool_free(p);
}

/* Sanitizers keep what was freed: resident memory says nothing. */
#if !TEST_SANITIZED
TEST(stream, "a million tasks through a window of 64 need no more memory than the first",
        "[stress][pool]")
{
        TEST_DEADLINE(300);
        flow(false);
}

TEST(stream_unordered, "the same as they come", "[stress][pool]")
{
        TEST_DEADLINE(300);
        flow(true);
}
#endif

static long count_fds(void)
{
        DIR *dir = opendir("/proc/self/fd");
        long n = 0;

        REQUIRE(dir);
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n;
}

TEST_POOLS(pools, "a thousand pools come and go, used, idle, busy and dying", "[stress][pool]")
{
        long rounds = (long)test_scale(1000, 20), before;

        TEST_DEADLINE(600);
        before = count_fds();
        for (long i = 0; i < rounds; i++) {
                crew_auto(pool) p = new_pool(1 + (unsigned)(i % 3),
                        CREW_OPT(pool, .flags = i % 5 == 4 ? CREW_POOL_NO_THREAD : 0));
                int sig = SIGKILL;

                if (i % 4 == 1)
                        CHECK_INT(twice(p, 4), ==, 8);
                else if (i % 4 == 2)
                        (void)crew_result_free(start_sleep(p, 10000, NULL));
                else if (i % 4 == 3)
                        REQUIRE_OK(
                                crew_pool_apply_async(p, task_die, &sig, sizeof sig, NULL, NULL));
        }
        CHECK_INT(count_fds(), ==, before);
}

TEST_POOLS(many_workers, "200 workers run, die and end", "[stress][pool]")
{
        crew_pool *p;
        int in[2000], out[2000], sig = SIGKILL;
        crew_result *dying[20];

        TEST_DEADLINE(120);
        p = new_pool(200, NULL);
        for (int i = 0; i < 2000; i++)
                in[i] = i;
        for (int i = 0; i < 20; i++)
                REQUIRE_OK(crew_pool_apply_async(p, task_die, &sig, sizeof sig, &dying[i], NULL));
        CHECK_INT(crew_pool_map(p, task_twice, in, 2000, 4, out, 4, CREW_S(60), NULL), ==, 0);
        for (int i = 0; i < 2000; i++)
                CHECK_INT(out[i], ==, 2 * i);
        for (int i = 0; i < 20; i++) {
                CHECK_INT(crew_result_wait(dying[i], CREW_S(30)), ==, 0);
                CHECK_INT(failure_of(dying[i]).reason, ==, CREW_DIED);
                (void)crew_result_free(dying[i]);
        }
        CHECK_INT(stats_of(p).failed, ==, 20);
        (void)crew_pool_free(p);
}

/* The task after the late one is never the victim, wherever its end falls. */
TEST_POOLS(deadlines, "deadlines that race with the ends of their tasks hit no other",
        "[stress][pool]")
{
        long rounds = (long)test_scale(10000, 100), late = 0, early = 0;
        crew_pool *p;

        TEST_DEADLINE(600);
        p = new_pool(1, NULL);
        for (long i = 0; i < rounds; i++) {
                int ms = 2;
                crew_result *racer = start_sleep(p, ms,
                        CREW_OPT(task, .deadline = CREW_MS(2) + CREW_MS(1) / 100 * (i % 50)));
                crew_result *behind[4];

                for (int k = 0; k < 4; k++) {
                        behind[k] = NULL;
                        REQUIRE_OK(crew_pool_apply_async(
                                p, task_twice, &ms, sizeof ms, &behind[k], NULL));
                }
                REQUIRE_OK(crew_result_wait(racer, CREW_S(10)));
                if (crew_result_successful(racer))
                        early++;
                else if (CHECK_INT(failure_of(racer).reason, ==, CREW_DEADLINE))
                        late++;
                (void)crew_result_free(racer);
                for (int k = 0; k < 4; k++) {
                        int out = 0;

                        CHECK_INT(crew_result_get(behind[k], &out, sizeof out, CREW_S(10)), ==,
                                sizeof out);
                        CHECK_INT(out, ==, 4);
                        (void)crew_result_free(behind[k]);
                }
        }
        INFO("%ld early, %ld late", early, late);
        CHECK_INT(early + late, ==, rounds);
        (void)crew_pool_free(p);
}
