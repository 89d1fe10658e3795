/* SPDX-License-Identifier: MIT */

/* A worker that writes what it likes: errors or data, but no crash, no hang, nothing beyond. */

#include "hostile-case.h"
#include "lane-case.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

TEST(images, "random attacks and calls", "[unit][lane][hostile]")
{
        TEST_DEADLINE(100);
        hostile_programs(test_scale(300000, 5000), 512);
}

static void use(crew__lane *lane)
{
        static uint64_t id = 100;
        char in[4000] = "";
        struct lane_result result = { 0 };
        crew__lane_result salvaged;
        int r;

        id += 10;
        (void)lane_push_batch(lane, id, in, 1000, 1 + id / 10 % 4);
        r = lane_pop(lane, &result);
        if (r == 1) {
                CHECK(result.size <= 1000);
                CHECK(strlen(result.text) < CREW__LANE_TEXT);
                for (size_t i = 0; i < result.size; i++)
                        (void)((const volatile char *)result.data)[i];
        } else if (r < 0) {
                CHECK_INT(r, ==, -ENOTRECOVERABLE);
                CHECK(strlen(crew_error_detail()) > 10);
        }
        r = crew__lane_salvage(lane, id, 4, &salvaged);
        if (r == 1) {
                CHECK(salvaged.count <= 4 && salvaged.size <= 1000);
                lane_copy(lane, &salvaged, &result);
        }
        (void)crew__lane_begun(lane);
        (void)crew__lane_ready(lane);
        crew__lane_hold(lane, true);
        crew__lane_hold(lane, false);
}

TEST(values, "chosen values in each word", "[unit][lane][hostile]")
{
        static const uint64_t values[] = { 0, 1, 2, 31, 32, 255, 256, 1000, 1001, UINT32_MAX,
                1ULL << 31, 1ULL << 32, 1ULL << 33, 3ULL << 32, (1ULL << 32) + 1, (2ULL << 32) + 1,
                (2ULL << 32) + 2, (2ULL << 32) + 3, 255ULL << 32, 256ULL << 32, 512ULL << 32,
                INT64_MAX, UINT64_MAX, UINT64_MAX - 31, 0xffffffff00000000, 0xffffffff00000001 };
        size_t words = crew__page_round(sizeof(crew__lane_words)) / 8;

        TEST_DEADLINE(100);
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                /* The words, and the first headers of the results. */
                for (size_t i = 0; i < sizeof(crew__lane_words) / 8 + 8; i++) {
                        crew__lane *lane;
                        crew__track *track;
                        crew__lane_task task;
                        volatile uint64_t *at;

                        REQUIRE_OK(crew__lane_new(&lane, 1000));
                        track = lane_open(lane);
                        for (uint64_t id = 1; id < 4; id++) {
                                REQUIRE_OK(lane_push(lane, id, "abc", 3));
                                REQUIRE(crew__track_take(track, &task, 0) == 1);
                                crew__track_done(track, -1, 0, "text");
                        }
                        (void)crew__track_free(track);
                        at = crew__lane_segment(lane)->address;
                        if (i >= sizeof(crew__lane_words) / 8)
                                at += words + at[3] / 8 - sizeof(crew__lane_words) / 8;
                        at[i] = values[v];
                        for (int n = 0; n < 8; n++)
                                use(lane);
                        (void)crew__lane_free(lane);
                }
        }
}

/* Publishes a record with that header, whatever lies behind it. */
static void forge(crew__lane *lane, crew__result_header header, uint64_t bytes)
{
        crew__lane_words *w = crew__lane_segment(lane)->address;
        uint64_t tail = atomic_load(&w->result_tail);
        char *results = (char *)w + w->words + w->tasks;

        memcpy(results + crew__lane_offset(tail, w->results), &header, sizeof header);
        atomic_store(&w->result_tail, crew__lane_behind(tail, bytes, w->results));
}

TEST(impostor, "more results than tasks are a lie", "[unit][lane][hostile]")
{
        crew__lane *lane;
        crew__lane_result from;

        REQUIRE_OK(crew__lane_new(&lane, 100));
        REQUIRE_OK(lane_push(lane, 1, NULL, 0));
        forge(lane, (crew__result_header){ .count = 1 }, 32);
        REQUIRE(crew__lane_look(lane, &from) == 1);
        CHECK_INT(from.id, ==, 0);
        crew__lane_drop(lane);
        forge(lane, (crew__result_header){ .count = 1 }, 32);
        CHECK(crew__lane_ready(lane));
        CHECK_INT(crew__lane_look(lane, &from), ==, -ENOTRECOVERABLE);
        CHECK(strstr(crew_error_detail(), "more results than tasks"));
        CHECK_INT(lane_push(lane, 2, NULL, 0), ==, -ENOTRECOVERABLE);
        CHECK_INT(crew__lane_salvage(lane, 1, 1, &from), ==, -ENOTRECOVERABLE);
        CHECK(crew__lane_ready(lane));
        (void)crew__lane_free(lane);
}

TEST(batches, "a batch of results is held to what was asked for and what was published",
        "[unit][lane][hostile]")
{
        static const struct {
                crew__result_header header;
                uint64_t bytes;
        } lies[] = {
                { { .count = 0, .size = 4 }, 64 },
                { { .count = 11, .size = 4 }, 96 },
                { { .count = UINT32_MAX, .size = 4 }, 96 },
                { { .count = UINT32_MAX, .size = 0 }, 32 },
                { { .count = 10, .size = 101 }, 1184 },
                { { .count = 10, .size = 100 }, 1120 },
                { { .count = 9, .size = 4 }, 32 },
                { { .count = 10, .size = 4, .text = 300 }, 512 },
                { { .count = 10, .size = 4, .text = 255 }, 96 },
        };

        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
                crew__lane_result from;
                crew__lane *lane;
                char in[40] = "";

                REQUIRE_OK(crew__lane_new(&lane, 100));
                CHECK_INT(lane_push_batch(lane, 1, in, 4, 10), ==, 10);
                forge(lane, lies[i].header, lies[i].bytes);
                CHECK_INT(crew__lane_look(lane, &from), ==, -ENOTRECOVERABLE);
                (void)crew__lane_free(lane);
        }
}

TEST(salvaged, "what a dead worker claims to have done is held to what it was given",
        "[unit][lane][hostile]")
{
        static const struct {
                uint64_t current;
                crew__result_header header;
                int r;
        } claims[] = {
                { 0, { .id = 7, .size = 4 }, 0 },
                { 6, { .id = 7, .size = 4 }, 0 },
                { 7, { .id = 7, .size = 4 }, 0 },
                { 8, { .id = 7, .size = 4 }, 1 },
                { 17, { .id = 7, .size = 4 }, 1 },
                { 18, { .id = 7, .size = 4 }, 0 },
                { UINT64_MAX, { .id = 7, .size = 4 }, 0 },
                { 9, { .id = 6, .size = 4 }, -ENOTRECOVERABLE },
                { 9, { .id = 7, .size = 101 }, -ENOTRECOVERABLE },
                { 9, { .id = 7, .size = 4, .status = -1 }, -ENOTRECOVERABLE },
                { 9, { .id = 7, .size = 4, .text = 5 }, -ENOTRECOVERABLE },
                { 17, { .id = 7, .size = UINT32_MAX }, -ENOTRECOVERABLE },
        };

        for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
                crew__lane_result from;
                crew__lane_words *w;
                crew__lane *lane;
                char in[40] = "";

                REQUIRE_OK(crew__lane_new(&lane, 100));
                CHECK_INT(lane_push_batch(lane, 7, in, 4, 10), ==, 10);
                w = crew__lane_segment(lane)->address;
                forge(lane, claims[i].header, 0);
                atomic_store(&w->result_tail, 0);
                atomic_store(&w->current, claims[i].current);
                CHECK_INT(crew__lane_salvage(lane, 7, 10, &from), ==, claims[i].r);
                if (claims[i].r == 1)
                        CHECK_INT(from.count, ==, claims[i].current - 7);
                (void)crew__lane_free(lane);
        }
}

/* Also fills the eventfds and makes them blocking, which it shares with the pool. */
static void scribbler(void *arg)
{
        crew__lane *lane = arg;
        crew__segment *s = crew__lane_segment(lane);
        crew__lane_words *w = s->address;
        volatile uint64_t *all = s->address;
        uint64_t random = (uint64_t)getpid(), full = UINT64_MAX - 1;
        ssize_t n;

        for (int i = 0; i < CREW__SEGMENT_EVENTS; i++) {
                n = write(s->events[i], &full, sizeof full);
                (void)n;
                (void)fcntl(s->events[i], F_SETFL, 0);
        }
        for (;;) {
                uint64_t r = peer_random(&random), value = peer_random(&random);

                switch (r % 8) {
                case 0:
                        all[(r >> 8) % (sizeof *w / 8)] = value >> (r >> 58);
                        break;
                case 1:
                        all[(r >> 8) % (s->head / 8)] = value >> (r >> 58);
                        break;
                case 2:
                        atomic_store(&w->freed, atomic_load(&w->task_tail));
                        atomic_store(&w->begun, value >> (r >> 58));
                        atomic_store(&w->current, value >> (r >> 58));
                        break;
                case 3:
                        atomic_store(
                                &w->result_tail, crew__lane_behind(atomic_load(&w->result_head),
                                                         32 * (r >> 60), 8192));
                        break;
                case 4:
                        atomic_store(&w->task_events.armed, 1);
                        atomic_store(&w->room_events.armed, 1);
                        break;
                default:
                        atomic_store(&w->task_events.word, (uint32_t)value);
                        atomic_store(&w->room_events.word, (uint32_t)value);
                        break;
                }
        }
}

TEST(live, "calls come back while the worker scribbles over everything", "[unit][lane][hostile]")
{
        int64_t until = peer_now() + test_scale(CREW_S(60), CREW_MS(1500));

        TEST_DEADLINE(100);
        while (peer_now() < until) {
                crew__lane *lane;
                pid_t pid;

                REQUIRE_OK(crew__lane_new(&lane, 1000));
                pid = peer_start(scribbler, lane);
                for (int i = 0; i < 3000; i++) {
                        int64_t began = peer_now();

                        use(lane);
                        CHECK_INT(peer_now() - began, <, test_slow(CREW_S(3)));
                        /* Found out soon: then with a handle that was not. */
                        crew__lane_close(lane);
                }
                peer_kill(pid);
                use(lane);
                (void)crew__lane_free(lane);
        }
}
