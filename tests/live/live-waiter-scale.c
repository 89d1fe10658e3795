/* SPDX-License-Identifier: MIT */
#include "wait-help.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

WAIT_WARM_UP

enum { MANY = 1000 };

static void raise_limit(rlim_t descriptors)
{
        struct rlimit limit;

        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        if (limit.rlim_max < descriptors)
                SKIP("a hard limit of %llu descriptors", (unsigned long long)limit.rlim_max);
        limit.rlim_cur = descriptors;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void set_limit(rlim_t descriptors)
{
        struct rlimit limit;

        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_cur = descriptors;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static crew_queue *many[MANY];
static int values[MANY];

static crew_waiter *many_queues(unsigned depth)
{
        crew_waiter *w;

        raise_limit(3 * MANY + 200);
        REQUIRE_OK(crew_waiter_new(&w, depth));
        for (int i = 0; i < MANY; i++) {
                REQUIRE_OK(crew_queue_new(&many[i], 4, CREW_OPT(queue, .bytes = 64)));
                REQUIRE_OK(crew_waiter_get(w, many[i], &values[i], sizeof *values, (uint64_t)i));
        }
        return w;
}

static void free_many(crew_waiter *w)
{
        crew_waiter_free(w);
        for (int i = 0; i < MANY; i++)
                crew_queue_free(many[i]);
}

static void put_in_all(void *unused)
{
        (void)unused;
        for (int i = 0; i < MANY; i++)
                REQUIRE_OK(CREW_PUT(many[i * 7 % MANY], &i, CREW_NOW));
}

/* How often this thread went to sleep; how often it was preempted says nothing about it. */
static long switches(void)
{
        FILE *status = fopen("/proc/thread-self/status", "r");
        char line[256];
        long all = 0, n;

        REQUIRE(status != NULL);
        while (fgets(line, sizeof line, status)) {
                if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
                        all = n;
        }
        (void)fclose(status);
        return all;
}

TEST(a_thousand_queues, "1,000 queues in one waiter", "[live][wait][scale]")
{
        crew_waiter *w = many_queues(16);
        crew_completion c[64];
        struct later l;
        int got = 0, n;

        TEST_DEADLINE(60);
        for (int round = 0; round < 3; round++) {
                CHECK_INT(crew_waiter_wait(w, c, 64, CREW_MS(1)), ==, -ETIMEDOUT);
                later(&l, CREW_MS(10), put_in_all, NULL);
                for (got = 0; got < MANY; got += n) {
                        n = wait_some(w, c, 64, CREW_S(5));
                        REQUIRE(n > 0);
                        for (int i = 0; i < n; i++)
                                REQUIRE_OK(crew_waiter_get(w, many[c[i].tag], &values[c[i].tag],
                                        sizeof *values, c[i].tag));
                }
                later_end(&l);
                CHECK_INT(got, ==, MANY);
        }
        free_many(w);
}

/* Every queue shared, so every one is looked at every 20 ms. */
TEST(idle, "1,000 idle operations cost the rechecks and no more", "[live][wait][scale]")
{
        crew_waiter *w = many_queues(0);
        struct timespec before, after;
        crew_completion c;
        long count;
        int64_t busy;
        pid_t pid = fork();

        TEST_DEADLINE(60);
        REQUIRE(pid >= 0);
        if (pid == 0) {
                put_in_all(NULL);
                _exit(0);
        }
        REQUIRE(waitpid(pid, NULL, 0) == pid);
        for (int i = 0; i < MANY; i++)
                REQUIRE(crew_waiter_wait(w, &c, 1, CREW_S(5)) == 1);
        for (int i = 0; i < MANY; i++)
                REQUIRE_OK(crew_waiter_get(w, many[i], &values[i], sizeof *values, (uint64_t)i));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_MS(50)), ==, -ETIMEDOUT);
        count = switches();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_S(2)), ==, -ETIMEDOUT);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        count = switches() - count;
        busy = (after.tv_sec - before.tv_sec) * CREW_S(1) + after.tv_nsec - before.tv_nsec;
        INFO("%ld context switches and %lld us of processor time in 2 s", count,
                (long long)busy / 1000);
        CHECK_INT(count, <=, 130);
        CHECK_INT(busy, <, test_slow(CREW_MS(200)));
        free_many(w);
}

/* What this thread has used: how long it did not run says nothing about the work. */
static int64_t processor_time(void)
{
        struct timespec t;

        REQUIRE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
        return t.tv_sec * CREW_S(1) + t.tv_nsec;
}

TEST(cancel_one_by_one, "100,000 operations cancelled one by one", "[live][wait][scale]")
{
        enum { N = 100000 };
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        int64_t start = processor_time();
        int value;

        for (uint64_t i = 0; i < N; i++) {
                if (i % 2)
                        REQUIRE_OK(crew_waiter_timer(w, CREW_S(1000) - (int64_t)i, 0, i));
                else
                        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, i));
        }
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        for (uint64_t i = 0; i < N; i++)
                CHECK_INT(crew_waiter_cancel(w, i * 7919 % N), ==, 1);
        INFO("%lld ms", (long long)(processor_time() - start) / 1000000);
        CHECK_INT(processor_time() - start, <, test_slow(CREW_S(2)));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_FOREVER), ==, -EDEADLK);
}

TEST(same_tag, "many operations of one tag, cancelled at once", "[live][wait][scale]")
{
        crew_auto(waiter) w = new_waiter();

        for (int i = 0; i < 20000; i++)
                REQUIRE_OK(crew_waiter_timer(w, CREW_MS(1 + i % 5), 0, i < 15000 ? 1 : 2));
        CHECK_INT(crew_waiter_cancel(w, 1), ==, 15000);
        for (int i = 0; i < 5000; i++)
                CHECK_INT(wait_one(w, CREW_TIMER, 2), ==, 1);
}

TEST(leaves_nothing, "a waiter freed with armed operations leaves nothing", "[live][wait][scale]")
{
        int fds = fds_like(""), rings = ring_mappings();

        for (int i = 0; i < 50; i++) {
                crew_waiter *w = new_waiter();
                crew_queue *q = new_queue(0);
                int value, p[2];

                REQUIRE(pipe2(p, O_CLOEXEC) == 0);
                REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, 1));
                REQUIRE_OK(crew_waiter_writable(w, q, 2));
                REQUIRE_OK(crew_waiter_fd(w, p[0], EPOLLIN, 3));
                REQUIRE_OK(crew_waiter_fd(w, p[0], EPOLLIN, 4));
                REQUIRE_OK(crew_waiter_timer(w, CREW_S(5), 0, 5));
                if (i % 3)
                        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, 1);
                if (i % 5 == 0)
                        CHECK(crew_waiter_pollfd(w) >= 0);
                CHECK_INT(crew_waiter_cancel(w, 2), ==, 1);
                if (i % 2)
                        (void)crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(1));
                crew_queue_free(q);
                crew_waiter_free(w);
                close(p[0]);
                close(p[1]);
        }
        CHECK_INT(fds_like(""), ==, fds);
        CHECK_INT(ring_mappings(), ==, rings);
}

TEST(no_descriptors, "without descriptors left a waiter says how many it needs",
        "[live][wait][scale]")
{
        crew_waiter *w = new_waiter(), *other;
        crew_auto(queue) q = new_queue(0);
        int value, p[2], n = 0, filler[200];
        struct later l;

        REQUIRE(pipe2(p, O_CLOEXEC) == 0);
        set_limit(200);
        while ((filler[n] = dup(p[0])) >= 0)
                n++;
        close(filler[--n]);
        CHECK_INT(crew_waiter_new(&other, 0), ==, -EMFILE);
        CHECK(strstr(crew_error_detail(), "2 descriptors") != NULL);
        CHECK_INT(crew_waiter_pollfd(w), ==, -EMFILE);
        CHECK(strstr(crew_error_detail(), "2 more") != NULL);
        CHECK_INT(crew_queue_new(&many[0], 0, NULL), ==, -EMFILE);
        /* What exists goes on, whatever its ring would need. */
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, 1));
        REQUIRE_OK(crew_waiter_fd(w, p[0], EPOLLIN, 2));
        later(&l, CREW_MS(20), put_seven, q);
        CHECK_INT(wait_one(w, CREW_GOT, 1), ==, sizeof value);
        later_end(&l);
        while (n > 0)
                close(filler[--n]);
        crew_waiter_free(w);
        close(p[0]);
        close(p[1]);
}

static void *waits_without_descriptors(void *w)
{
        CHECK_INT(wait_one(w, CREW_GOT, 1), ==, sizeof *values);
        return NULL;
}

TEST(no_ring, "a thread that gets no ring waits without one", "[live][wait][scale]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        struct rlimit limit;
        pthread_t thread;
        struct later l;

        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        REQUIRE_OK(crew_waiter_get(w, q, &values[0], sizeof *values, 1));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        later(&l, CREW_MS(30), put_seven, q);
        set_limit(3);
        REQUIRE(pthread_create(&thread, NULL, waits_without_descriptors, w) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        later_end(&l);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}
