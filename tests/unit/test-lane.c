/* SPDX-License-Identifier: MIT */
#include "lane-case.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static void fill(unsigned char *at, size_t size, uint64_t seed)
{
        for (size_t i = 0; i < size; i++)
                at[i] = (unsigned char)(seed * 31 + i * 7 + (i >> 8));
}

static bool filled(const void *data, size_t size, uint64_t seed)
{
        const unsigned char *at = data;

        for (size_t i = 0; i < size; i++) {
                if (at[i] != (unsigned char)(seed * 31 + i * 7 + (i >> 8)))
                        return false;
        }
        return true;
}

/* Takes one task and answers with a payload of `size` bytes. */
static void serve(crew__track *track, uint64_t id, size_t in, size_t out)
{
        crew__lane_task task;
        unsigned char *data;

        REQUIRE(crew__track_take(track, &task, 0) == 1);
        CHECK_INT(task.id, ==, id);
        CHECK_INT(task.function, ==, 7);
        CHECK_INT(task.attempt, ==, 1);
        CHECK_INT(task.count, ==, 1);
        CHECK_INT(task.size, ==, in);
        CHECK_INT((uintptr_t)task.data % CREW__LANE_ALIGN, ==, 0);
        CHECK(filled(task.data, in, id));
        data = crew__track_reserve(track, out);
        REQUIRE(data);
        CHECK_INT((uintptr_t)data % CREW__LANE_ALIGN, ==, 0);
        fill(data, out, id + 1);
        crew__track_done(track, out % 3 ? -(int)(out % 3) : 0, out, out % 2 ? "words" : NULL);
}

static void collect(crew__lane *lane, uint64_t id, size_t out)
{
        struct lane_result result;
        size_t size = out % 3 ? 0 : out;

        REQUIRE(crew__lane_ready(lane));
        REQUIRE(lane_pop(lane, &result) == 1);
        CHECK_INT(result.id, ==, id);
        CHECK_INT(result.count, ==, 1);
        CHECK_INT(result.status, ==, -(int)(out % 3));
        CHECK_INT(result.size, ==, size);
        CHECK(filled(result.data, size, id + 1));
        CHECK_STR(result.text, out % 2 ? "words" : "");
}

TEST(sizes, "every size goes there and back, wherever it wraps", "[unit][lane]")
{
        enum { BYTES = 3000 };
        crew__lane *lane;
        crew__track *track;
        struct lane_result result;
        crew__lane_task task;
        unsigned char in[BYTES + 1];

        REQUIRE_OK(crew__lane_new(&lane, BYTES));
        track = lane_open(lane);
        CHECK_INT(lane_pop(lane, &result), ==, 0);
        CHECK(!crew__lane_ready(lane));
        CHECK_INT(crew__track_take(track, &task, 0), ==, -EAGAIN);
        CHECK_INT(crew__track_take(track, &task, crew_clock() + CREW_MS(5)), ==, -ETIMEDOUT);
        for (uint64_t id = 1; id <= BYTES + 1; id++) {
                size_t size = id - 1;

                fill(in, size, id);
                REQUIRE_OK(lane_push(lane, id, in, size));
                serve(track, id, size, BYTES - size);
                CHECK_INT(crew__lane_current(lane), ==, 0);
                CHECK_INT(crew__lane_begun(lane), ==, id);
                collect(lane, id, BYTES - size);
        }
        CHECK_INT(lane_push(lane, 9, in, BYTES + 1), ==, -EMSGSIZE);
        CHECK(strstr(crew_error_detail(), "3001") && strstr(crew_error_detail(), "3000"));
        (void)crew__track_free(track);
        CHECK(crew__lane_free(lane) == NULL);
}

TEST(room, "a lane takes four of the largest and sixty-four small ones", "[unit][lane]")
{
        static const size_t bytes[] = { 0, 1, 64, 4096, 50000, 262144 };

        for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
                size_t small = bytes[i] < 64 ? bytes[i] : 64;
                unsigned char *in = calloc(1, bytes[i] + 1);
                crew__lane *lane;
                crew__track *track;
                uint64_t id = 0;

                REQUIRE_OK(crew__lane_new(&lane, bytes[i]));
                track = lane_open(lane);
                for (int round = 0; round < 20; round++) {
                        bool large = round % 2;
                        size_t size = large ? bytes[i] : small;
                        uint64_t first = id, last;
                        int r;

                        do {
                                fill(in, size, id + 1);
                                r = lane_push(lane, id + 1, in, size);
                                id += r == 1;
                        } while (r == 1);
                        CHECK_INT(r, ==, -EAGAIN);
                        CHECK_INT(id - first, >=, large ? 4 : 64);
                        /* As many results, too, without the pool's help. */
                        last = id < first + (large ? 4 : 64) ? id : first + (large ? 4 : 64);
                        for (uint64_t n = first + 1; n <= last; n++)
                                serve(track, n, size, size);
                        for (uint64_t n = first + 1; n <= last; n++)
                                collect(lane, n, size);
                        for (uint64_t n = last + 1; n <= id; n++) {
                                serve(track, n, size, 0);
                                collect(lane, n, 0);
                        }
                }
                (void)crew__track_free(track);
                (void)crew__lane_free(lane);
                free(in);
        }
}

TEST(words, "a text is cut, ended, and there without a payload", "[unit][lane]")
{
        crew__lane *lane;
        crew__track *track;
        crew__lane_task task;
        struct lane_result result;
        char longest[1000];

        memset(longest, 'x', sizeof longest);
        longest[999] = '\0';
        REQUIRE_OK(crew__lane_new(&lane, 100));
        track = lane_open(lane);
        REQUIRE_OK(lane_push(lane, 1, NULL, 0));
        REQUIRE_OK(lane_push(lane, 2, NULL, 0));
        REQUIRE(crew__track_take(track, &task, 0) == 1);
        CHECK(crew__track_reserve(track, 101) == NULL);
        CHECK(crew__track_reserve(track, 100) == crew__track_reserve(track, 5));
        crew__track_done(track, -EIO, 0, longest);
        REQUIRE(crew__track_take(track, &task, 0) == 1);
        crew__track_done(track, 0, 101, "too much");
        REQUIRE(lane_pop(lane, &result) == 1);
        CHECK_INT(strlen(result.text), ==, CREW__LANE_TEXT - 1);
        CHECK_INT(result.status, ==, -EIO);
        REQUIRE(lane_pop(lane, &result) == 1);
        CHECK_INT(result.status, ==, -EMSGSIZE);
        CHECK_INT(result.size, ==, 0);
        CHECK_STR(result.text, "too much");
        (void)crew__track_free(track);
        (void)crew__lane_free(lane);
}

TEST(flags, "hold, cancel and close reach the worker", "[unit][lane]")
{
        crew__lane *lane;
        crew__track *track;
        crew__lane_task task;

        REQUIRE_OK(crew__lane_new(&lane, 100));
        track = lane_open(lane);
        REQUIRE_OK(lane_push(lane, 5, "a", 1));
        REQUIRE_OK(lane_push(lane, 6, "b", 1));
        crew__lane_hold(lane, true);
        CHECK_INT(crew__track_take(track, &task, crew_clock() + CREW_MS(2)), ==, -ETIMEDOUT);
        CHECK_INT(crew__lane_current(lane), ==, 0);
        CHECK_INT(crew__lane_begun(lane), ==, 0);
        crew__lane_hold(lane, false);
        REQUIRE(crew__track_take(track, &task, 0) == 1);
        CHECK_INT(crew__lane_current(lane), ==, 5);
        CHECK_INT(crew__lane_begun(lane), ==, 5);
        crew__lane_cancel(lane, 6);
        CHECK(!crew__track_cancelled(track));
        crew__lane_cancel(lane, 5);
        CHECK(crew__track_cancelled(track));
        crew__lane_close(lane);
        crew__track_done(track, 0, 0, NULL);
        CHECK(!crew__track_cancelled(track));
        REQUIRE(crew__track_take(track, &task, 0) == 1);
        crew__track_done(track, 0, 0, NULL);
        CHECK_INT(crew__track_take(track, &task, CREW_FOREVER), ==, 0);
        CHECK_INT(crew__lane_begun(lane), ==, 6);
        (void)crew__track_free(track);
        (void)crew__lane_free(lane);
}

TEST(refused, "what is no lane is not opened, and too large is not made", "[unit][lane]")
{
        crew__lane *lane;
        crew__track *track;
        int fds[2];

        CHECK_INT(crew__lane_new(&lane, SIZE_MAX), ==, -EINVAL);
        CHECK(crew__lane_free(NULL) == NULL);
        REQUIRE(pipe(fds) == 0);
        CHECK_INT(crew__track_open(&track, fds[0], -1, -1), ==, -EINVAL);
        CHECK_INT(crew__track_open(&track, -1, -1, -1), ==, -EBADF);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

static void echo(void *arg)
{
        crew__track *track = lane_open(arg);
        crew__lane_task task;

        while (crew__track_take(track, &task, CREW_FOREVER) == 1) {
                unsigned char *data = crew__track_reserve(track, task.size);

                memcpy(data, task.data, task.size);
                crew__track_done(track, 0, task.size, task.id % 5 ? NULL : "fifth");
        }
        (void)crew__track_free(track);
}

TEST(two, "two processes: all in order, asleep and awake, full and empty", "[unit][lane]")
{
        enum { BYTES = 5000 };
        uint64_t random = peer_seed(), rounds = (uint64_t)test_scale(1000000, 30000), sent = 0;
        uint64_t got = 0;
        unsigned char in[BYTES];
        struct lane_result result;
        crew__lane *lane;
        pid_t pid;

        TEST_DEADLINE(100);
        REQUIRE_OK(crew__lane_new(&lane, BYTES));
        pid = peer_start(echo, lane);
        while (got < rounds) {
                uint64_t r = peer_random(&random);
                size_t size = (r >> 8) % (r % 16 ? 100 : BYTES);

                fill(in, size, sent + 1);
                while (sent < rounds && r % 8 && lane_push(lane, sent + 1, in, size) == 1) {
                        fill(in, size, ++sent + 1);
                        r /= 8;
                }
                if (got == sent)
                        continue;
                if (r >> 40 == 0)
                        peer_pause(100000);
                REQUIRE(lane_await(lane, &result));
                CHECK_INT(result.id, ==, ++got);
                REQUIRE(filled(result.data, result.size, got));
                CHECK_STR(result.text, got % 5 ? "" : "fifth");
        }
        crew__lane_close(lane);
        CHECK_INT(peer_join(pid), ==, 0);
        (void)crew__lane_free(lane);
}

TEST(full_results, "a worker waits for room until the pool comes back", "[unit][lane]")
{
        struct lane_result result;
        crew__lane *lane;
        unsigned char in[3000];
        uint64_t sent = 0, got = 0;
        pid_t pid;

        REQUIRE_OK(crew__lane_new(&lane, sizeof in));
        pid = peer_start(echo, lane);
        for (int round = 0; round < 3; round++) {
                fill(in, sizeof in, sent + 1);
                for (int64_t end = peer_now() + CREW_MS(50); peer_now() < end;) {
                        while (lane_push(lane, sent + 1, in, sizeof in) == 1)
                                fill(in, sizeof in, ++sent + 1);
                }
                CHECK(peer_await_sleep(pid, CREW_S(5)));
                while (got < sent) {
                        REQUIRE(lane_await(lane, &result));
                        CHECK_INT(result.id, ==, ++got);
                        REQUIRE(filled(result.data, result.size, got));
                }
        }
        peer_kill(pid);
        (void)crew__lane_free(lane);
}

TEST(eventfd, "a sleeper on the eventfd hears of each result", "[unit][lane]")
{
        struct lane_result result;
        crew__lane *lane;
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN | EPOLLET };
        pid_t pid;

        REQUIRE_OK(crew__lane_new(&lane, 10));
        REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, crew__lane_eventfd(lane), &event) == 0);
        pid = peer_start(echo, lane);
        for (uint64_t id = 1; id <= 1000; id++) {
                REQUIRE_OK(lane_push(lane, id, "x", 1));
                for (;;) {
                        crew__events_arm(crew__lane_results(lane));
                        if (crew__lane_ready(lane))
                                break;
                        REQUIRE(epoll_wait(epoll, &event, 1, 10000) == 1);
                }
                REQUIRE(lane_pop(lane, &result) == 1);
                CHECK_INT(result.id, ==, id);
        }
        peer_kill(pid);
        (void)close(epoll);
        (void)crew__lane_free(lane);
}

/* Serves one item, with a payload of `out` bytes; -1: it fails. */
static void serve_item(crew__track *track, uint64_t id, uint32_t left, size_t in, int out)
{
        crew__lane_task task;
        void *data;

        REQUIRE(crew__track_take(track, &task, 0) == 1);
        CHECK_INT(task.id, ==, id);
        CHECK_INT(task.count, ==, left);
        CHECK_INT((uintptr_t)task.data % CREW__LANE_ALIGN, ==, 0);
        CHECK(filled(task.data, in, id));
        if (out < 0) {
                crew__track_done(track, -EDOM, 0, "words");
                return;
        }
        data = crew__track_reserve(track, (size_t)out);
        REQUIRE(data);
        CHECK_INT((uintptr_t)data % CREW__LANE_ALIGN, ==, 0);
        fill(data, (size_t)out, id + 1);
        crew__track_done(track, 0, (size_t)out, NULL);
}

/* All that is there: the id behind it. */
static uint64_t collect_all(crew__lane *lane, uint64_t id, uint64_t fails, unsigned *records)
{
        struct lane_result result;

        for (*records = 0; lane_pop(lane, &result) == 1; ++*records) {
                CHECK_INT(result.id, ==, id);
                CHECK_INT(result.status, ==, id == fails ? -EDOM : 0);
                CHECK_STR(result.text, id == fails ? "words" : "");
                for (uint32_t i = 0; i < result.count && !result.status; i++)
                        CHECK(filled(result.data + i * result.size, result.size, id + i + 1));
                id += result.count;
        }
        return id;
}

TEST(batches, "a batch of every size goes there and back as one record", "[unit][lane]")
{
        enum { MOST = 200, COUNT = 7 };
        crew__lane *lane;
        crew__track *track;
        unsigned char in[COUNT * MOST];
        uint64_t id = 1;
        unsigned records;

        REQUIRE_OK(crew__lane_new(&lane, MOST));
        track = lane_open(lane);
        for (size_t size = 0; size <= MOST; size++) {
                /* The last rounds: one of them fails, and one has another size. */
                for (uint32_t odd = 0; odd <= 2 * COUNT; odd++) {
                        uint64_t fails = odd < COUNT ? id + odd : 0;
                        size_t other = odd < COUNT ? COUNT : odd - COUNT;

                        for (uint32_t i = 0; i < COUNT; i++)
                                fill(in + i * size, size, id + i);
                        CHECK_INT(lane_push_batch(lane, id, in, size, COUNT), ==, COUNT);
                        for (uint32_t i = 0; i < COUNT; i++)
                                serve_item(track, id + i, COUNT - i, size,
                                        id + i == fails ? -1
                                        : i == other    ? (int)(MOST - size)
                                                        : (int)size);
                        CHECK_INT(crew__lane_current(lane), ==, 0);
                        id += COUNT;
                        CHECK_INT(collect_all(lane, id - COUNT, fails, &records), ==, id);
                        if (odd == 2 * COUNT)
                                CHECK_INT(records, ==, 1);
                        else
                                CHECK_INT(records, <=, 3);
                }
        }
        (void)crew__track_free(track);
        (void)crew__lane_free(lane);
}

TEST(half, "a batch takes half of the ring at most, and says how many that were", "[unit][lane]")
{
        static char in[4 << 20];
        crew__lane *lane;
        crew__lane_words *w;
        int r, more;

        REQUIRE_OK(crew__lane_new(&lane, 4096));
        w = crew__lane_segment(lane)->address;
        r = lane_push_batch(lane, 1, in, 4, sizeof in / 4);
        CHECK_INT(r, ==, (w->tasks / 2 - CREW__LANE_HEADER) / 4);
        more = lane_push_batch(lane, 1 + (uint64_t)r, in, 1000, 4000);
        CHECK_INT(more, ==, (w->tasks / 2 - CREW__LANE_HEADER) / 1008);
        CHECK_INT(
                lane_push_batch(lane, 1 + (uint64_t)r + (uint64_t)more, in, 4096, 2), ==, -EAGAIN);
        (void)crew__lane_free(lane);
}

TEST(shown, "results of a batch are shown before they fill the ring", "[unit][lane]")
{
        enum { COUNT = 1000 };
        crew__lane *lane;
        crew__track *track;
        char in[COUNT];
        uint64_t seen = 1;
        unsigned records;

        memset(in, 0, sizeof in);
        REQUIRE_OK(crew__lane_new(&lane, 4096));
        track = lane_open(lane);
        for (uint64_t i = 0; i < COUNT; i++)
                fill((unsigned char *)in + i, 1, i + 1);
        REQUIRE(lane_push_batch(lane, 1, in, 1, COUNT) == COUNT);
        for (uint64_t id = 1; id <= COUNT; id++) {
                serve_item(track, id, (uint32_t)(COUNT + 1 - id), 1, 4096);
                seen = collect_all(lane, seen, 0, &records);
                CHECK_INT(id + 1 - seen, <, 4);
        }
        CHECK_INT(seen, ==, COUNT + 1);
        (void)crew__track_free(track);
        (void)crew__lane_free(lane);
}

TEST(two_batches, "two processes: batches of all lengths, full and empty", "[unit][lane]")
{
        enum { MOST = 40, COUNT = 64 };
        uint64_t random = peer_seed(), rounds = (uint64_t)test_scale(3000000, 100000), sent = 0;
        uint64_t got = 0;
        static unsigned char in[MOST * COUNT];
        struct lane_result result;
        crew__lane *lane;
        pid_t pid;

        TEST_DEADLINE(100);
        REQUIRE_OK(crew__lane_new(&lane, MOST));
        pid = peer_start(echo, lane);
        while (got < rounds) {
                uint64_t r = peer_random(&random);
                uint32_t count = 1 + (uint32_t)(r >> 20) % COUNT;
                size_t size = (r >> 8) % MOST;
                int pushed;

                for (uint32_t i = 0; i < count; i++)
                        fill(in + i * size, size, sent + 1 + i);
                pushed = sent < rounds ? lane_push_batch(lane, sent + 1, in, size, count) : 0;
                sent += pushed > 0 ? (uint64_t)pushed : 0;
                if (got == sent || (pushed > 0 && r % 4))
                        continue;
                REQUIRE(lane_await(lane, &result));
                CHECK_INT(result.id, ==, got + 1);
                for (uint32_t i = 0; i < result.count; i++)
                        REQUIRE(filled(result.data + i * result.size, result.size, ++got));
        }
        crew__lane_close(lane);
        CHECK_INT(peer_join(pid), ==, 0);
        (void)crew__lane_free(lane);
}
