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
        CHECK_INT(task.flags, ==, 3);
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
        crew__lane_result result;

        REQUIRE(crew__lane_ready(lane));
        REQUIRE(crew__lane_pop(lane, &result) == 1);
        CHECK_INT(result.id, ==, id);
        CHECK_INT(result.status, ==, -(int)(out % 3));
        CHECK_INT(result.size, ==, out);
        CHECK_INT((uintptr_t)result.data % CREW__LANE_ALIGN, ==, 0);
        CHECK(filled(result.data, out, id + 1));
        CHECK_STR(result.text, out % 2 ? "words" : "");
}

static void progress(crew__lane *lane, uint64_t taken, uint64_t freed)
{
        uint64_t t, f;

        REQUIRE_OK(crew__lane_progress(lane, &t, &f));
        CHECK_INT(t, ==, taken);
        CHECK_INT(f, ==, freed);
}

TEST(sizes, "every size goes there and back, wherever it wraps", "[unit][lane]")
{
        enum { BYTES = 3000 };
        crew__lane *lane;
        crew__track *track;
        crew__lane_result result;
        crew__lane_task task;
        unsigned char in[BYTES + 1];

        REQUIRE_OK(crew__lane_new(&lane, BYTES));
        track = lane_open(lane);
        CHECK_INT(crew__lane_pop(lane, &result), ==, 0);
        CHECK(!crew__lane_ready(lane));
        CHECK_INT(crew__track_take(track, &task, 0), ==, -EAGAIN);
        CHECK_INT(crew__track_take(track, &task, crew_clock() + CREW_MS(5)), ==, -ETIMEDOUT);
        for (uint64_t id = 1; id <= BYTES + 1; id++) {
                size_t size = id - 1;

                fill(in, size, id);
                REQUIRE_OK(lane_push(lane, id, in, size));
                progress(lane, id - 1, id - 1);
                serve(track, id, size, BYTES - size);
                CHECK_INT(crew__lane_current(lane), ==, 0);
                progress(lane, id, id);
                collect(lane, id, BYTES - size);
        }
        CHECK_INT(lane_push(lane, 9, in, BYTES + 1), ==, -EMSGSIZE);
        CHECK(strstr(crew_error_detail(), "3001") && strstr(crew_error_detail(), "3000"));
        (void)crew__track_free(track);
        CHECK(crew__lane_free(lane) == NULL);
}

TEST(room, "a lane takes four of the largest and sixty-four small ones", "[unit][lane]")
{
        static const size_t bytes[] = {0, 1, 64, 4096, 50000, 262144};

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
                                id += r == 0;
                        } while (r == 0);
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
        crew__lane_result result;
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
        REQUIRE(crew__lane_pop(lane, &result) == 1);
        CHECK_INT(strlen(result.text), ==, CREW__LANE_TEXT - 1);
        CHECK_INT(result.status, ==, -EIO);
        REQUIRE(crew__lane_pop(lane, &result) == 1);
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
        progress(lane, 0, 0);
        crew__lane_hold(lane, false);
        REQUIRE(crew__track_take(track, &task, 0) == 1);
        CHECK_INT(crew__lane_current(lane), ==, 5);
        progress(lane, 1, 0);
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
        progress(lane, 2, 2);
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
        crew__lane_result result;
        crew__lane *lane;
        pid_t pid;

        TEST_DEADLINE(100);
        REQUIRE_OK(crew__lane_new(&lane, BYTES));
        pid = peer_start(echo, lane);
        while (got < rounds) {
                uint64_t r = peer_random(&random);
                size_t size = (r >> 8) % (r % 16 ? 100 : BYTES);

                fill(in, size, sent + 1);
                while (sent < rounds && r % 8 && lane_push(lane, sent + 1, in, size) == 0) {
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
        crew__lane_result result;
        crew__lane *lane;
        unsigned char in[3000];
        uint64_t sent = 0, got = 0;
        pid_t pid;

        REQUIRE_OK(crew__lane_new(&lane, sizeof in));
        pid = peer_start(echo, lane);
        for (int round = 0; round < 3; round++) {
                fill(in, sizeof in, sent + 1);
                for (int64_t end = peer_now() + CREW_MS(50); peer_now() < end;) {
                        while (lane_push(lane, sent + 1, in, sizeof in) == 0)
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
        crew__lane_result result;
        crew__lane *lane;
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {.events = EPOLLIN | EPOLLET};
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
                REQUIRE(crew__lane_pop(lane, &result) == 1);
                CHECK_INT(result.id, ==, id);
        }
        peer_kill(pid);
        (void)close(epoll);
        (void)crew__lane_free(lane);
}
