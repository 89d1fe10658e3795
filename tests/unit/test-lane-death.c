/* SPDX-License-Identifier: MIT */

/*
 * A worker killed, or held, after each single instruction between a take and the done: what is in
 * the lane says what became of its tasks.
 */

#include "kernel/relax.h"
#include "kill.h"
#include "lane-case.h"

#include <sched.h>

/* Four items are pushed: a single one, a batch of two, a single one. */
enum { SIZE = 40, TASKS = 4, BATCH = 2 };

struct board {
        _Atomic uint32_t begun, ended; /* ids */
        crew__lane *lane;
        bool fails; /* the first of the batch does: its result is published alone */
};

static int status_of(const struct board *board, uint64_t id)
{
        return board->fails && id == BATCH ? -EDOM : 0;
}

static void work(void *arg)
{
        struct board *board = arg;
        crew__track *track = lane_open(board->lane);
        crew__lane_task task;

        while (crew__track_take(track, &task, CREW_FOREVER) == 1) {
                int status = status_of(board, task.id);
                char *data;

                atomic_store(&board->begun, (uint32_t)task.id);
                data = crew__track_reserve(track, SIZE);
                for (int i = 0; i < SIZE; i++)
                        data[i] = (char)(((const char *)task.data)[i] + 1);
                crew__track_done(track, status, SIZE, status ? "words" : NULL);
                atomic_store(&board->ended, (uint32_t)task.id);
                if (task.id == 1)
                        victim_ready();
        }
}

static crew__lane *make(void)
{
        char in[TASKS][SIZE];
        crew__lane *lane;

        for (int i = 0; i < TASKS; i++)
                memset(in[i], i + 1, sizeof in[i]);
        REQUIRE_OK(crew__lane_new(&lane, 100));
        REQUIRE(lane_push(lane, 1, in[0], SIZE) == 1);
        REQUIRE(lane_push_batch(lane, BATCH, in[1], SIZE, 2) == 2);
        REQUIRE(lane_push(lane, TASKS, in[3], SIZE) == 1);
        return lane;
}

/* Task 1 is done and popped, the others are in the lane, and a sleeper waits for results. */
static pid_t ready_victim(struct board *board)
{
        struct lane_result result;
        pid_t pid;

        atomic_store(&board->begun, 0);
        atomic_store(&board->ended, 0);
        board->lane = make();
        pid = victim_start(work, board);
        REQUIRE(lane_pop(board->lane, &result) == 1);
        (void)crew__events_prepare(crew__lane_results(board->lane));
        return pid;
}

/* Until the last task is done, so that each step within and between items and batches is covered.
 */
static bool last_done(void *arg)
{
        return atomic_load(&((struct board *)arg)->ended) == TASKS;
}

static long steps_needed(struct board *board)
{
        pid_t pid = ready_victim(board);
        long n = victim_step_until(pid, last_done, board, 1000000);

        REQUIRE(n > 0);
        peer_kill(pid);
        (void)crew__lane_free(board->lane);
        return n;
}

/* Checks a result whose first item is `id`; the id behind it. */
static uint64_t check_result(
        const struct board *board, const struct lane_result *result, uint64_t id)
{
        CHECK_INT(result->id, ==, id);
        CHECK_INT(result->status, ==, status_of(board, id));
        CHECK_STR(result->text, result->status ? "words" : "");
        if (!result->status)
                CHECK_INT(result->size, ==, SIZE);
        for (size_t i = 0; i < result->count * result->size; i++)
                CHECK_INT(result->data[i], ==, id + i / SIZE + 1);
        return id + result->count;
}

/* Ids of the batch that follows the items that are done, and how many of them are not. */
static uint32_t left_of_batch(uint64_t done)
{
        return done + 1 == BATCH ? 2 : done < TASKS ? 1 : 0;
}

/* The rules of lane.h, against what the worker wrote down; `done` results were popped before. */
static void verdict(crew__lane *lane, struct board *board, uint64_t done)
{
        uint64_t begun = atomic_load(&board->begun), ended = atomic_load(&board->ended);
        uint64_t current = crew__lane_current(lane), said = crew__lane_begun(lane);
        crew__lane_result from;
        struct lane_result result;
        int r;

        while ((r = lane_pop(lane, &result)) == 1)
                done = check_result(board, &result, done + 1) - 1;
        CHECK_INT(r, ==, 0);
        r = crew__lane_salvage(lane, done + 1, left_of_batch(done), &from);
        REQUIRE(r >= 0);
        if (r) {
                lane_copy(lane, &from, &result);
                done = check_result(board, &result, done + 1) - 1;
        }
        /* What it finished is there, but for the one whose successor it has yet to announce; what
         * it began it said before; it has at most one unfinished. */
        CHECK_INT(done + 1, >=, ended);
        CHECK_INT(done, <=, ended + 1);
        CHECK_INT(said, >=, begun);
        CHECK_INT(said, <=, begun + 1);
        CHECK_INT(said, >=, done);
        CHECK_INT(said, <=, done + 1);
        if (said > done)
                CHECK_INT(current, ==, said);
        else
                CHECK(current == 0 || current == done || current == done + 1);
}

/* What a death here would leave: read through a handle that pushed the same, from a copy. */
static void verdict_now(struct board *board)
{
        crew__segment *from = crew__lane_segment(board->lane), *to;
        crew__lane *lane = make();

        to = crew__lane_segment(lane);
        memcpy(to->address, from->address, to->head);
        verdict(lane, board, 0);
        (void)crew__lane_free(lane);
}

/* So that at least so many moments are tried. With a sanitizer an instruction is ten, between which
 * nothing changes in the lane. */
static long stride_of(long steps, long least)
{
        long moments = test_scale(steps, least);

        return steps / (TEST_SANITIZED ? moments / 4 : moments) + 1;
}

static void step_through(bool fails)
{
        struct board *board = peer_memory(sizeof *board);
        long steps = 0;
        pid_t pid;

        board->fails = fails;
        pid = ready_victim(board);
        for (; !last_done(board); steps++) {
                verdict_now(board);
                REQUIRE(victim_step(pid));
        }
        verdict_now(board);
        CHECK_INT(steps, >, 100);
        peer_kill(pid);
        (void)crew__lane_free(board->lane);
        peer_memory_free(board, sizeof *board);
}

TEST(stepped, "after each instruction of a batch and a task there is a verdict",
        "[unit][lane][death]")
{
        TEST_DEADLINE(100);
        step_through(false);
        step_through(true);
}

TEST(killed, "a worker killed at any step leaves a verdict", "[unit][lane][death]")
{
        struct board *board = peer_memory(sizeof *board);
        long steps, stride;

        TEST_DEADLINE(100);
        steps = steps_needed(board);
        stride = stride_of(steps, 50);
        for (long at = 0; at <= steps; at += stride) {
                pid_t pid = ready_victim(board);

                for (long i = 0; i < at; i++)
                        REQUIRE(victim_step(pid));
                peer_kill(pid);
                verdict(board->lane, board, 1);
                (void)crew__lane_free(board->lane);
        }
        peer_memory_free(board, sizeof *board);
}

/* It announces its sleep in the word, so the system call at which it then stops is that sleep. */
static void to_sleep(struct board *board, pid_t pid)
{
        crew__lane_words *w = crew__lane_segment(board->lane)->address;

        for (int calls = 0; calls < 20; calls++) {
                REQUIRE(victim_to_syscall(pid));
                if (atomic_load(&w->task_events.word) & 1)
                        return;
        }
        REQUIRE(!"it sleeps");
}

TEST(held, "a hold at any step: nothing is begun that the pool did not see", "[unit][lane][death]")
{
        struct board *board = peer_memory(sizeof *board);
        long steps, stride;

        TEST_DEADLINE(100);
        steps = steps_needed(board);
        stride = stride_of(steps, 100);
        for (long at = 0; at <= steps; at += stride) {
                pid_t pid = ready_victim(board);
                uint64_t current, seen, begun;

                for (long i = 0; i < at; i++)
                        REQUIRE(victim_step(pid));
                crew__lane_hold(board->lane, true);
                current = crew__lane_current(board->lane);
                seen = crew__lane_begun(board->lane);
                to_sleep(board, pid);
                begun = crew__lane_begun(board->lane);
                CHECK(begun == seen || (begun == seen + 1 && current == begun));
                /* Begun before the hold, it still ended; and all that ended is to be seen. */
                CHECK_INT(atomic_load(&board->ended), ==, begun);
                CHECK_INT(crew__lane_current(board->lane), ==, 0);
                verdict(board->lane, board, 1);
                peer_kill(pid);
                (void)crew__lane_free(board->lane);
        }
        peer_memory_free(board, sizeof *board);
}

/* What the pool keeps of `first`, the batch or the task that is next, if it takes back what it can.
 */
static uint64_t take_back(struct board *board, uint64_t done, uint64_t place[TASKS + 2])
{
        uint64_t first = done < BATCH ? done + 1 : done < BATCH + 1 ? BATCH : TASKS;
        uint64_t end = first == BATCH ? BATCH + 2 : first + 1;
        uint64_t current = crew__lane_current(board->lane);
        uint64_t keep = current >= first && current < end ? current + 1 - first : 0;

        if (done >= TASKS)
                return TASKS;
        if (keep < done + 1 - first)
                keep = done + 1 - first;
        REQUIRE_OK(crew__lane_recall(
                board->lane, place[first], place[end], (uint32_t)keep, TASKS - (first + keep - 1)));
        return first + keep - 1;
}

TEST(recalled, "what is taken back at any step is not run, all else is", "[unit][lane][death]")
{
        struct board *board = peer_memory(sizeof *board);
        uint64_t place[TASKS + 2] = { 0 };
        uint64_t bytes = crew__task_bytes(SIZE, 1), ring = 0;
        long steps, stride;

        TEST_DEADLINE(100);
        steps = steps_needed(board);
        stride = stride_of(steps, 100);
        for (long at = 0; at <= steps; at += stride) {
                pid_t pid = ready_victim(board);
                struct lane_result result;
                uint64_t done = 1, left;

                ring = ((crew__lane_words *)crew__lane_segment(board->lane)->address)->tasks;
                place[1] = 0;
                place[BATCH] = crew__lane_behind(place[1], bytes, ring);
                place[TASKS] = crew__lane_behind(place[BATCH], crew__task_bytes(SIZE, 2), ring);
                place[TASKS + 1] = crew__lane_behind(place[TASKS], bytes, ring);
                for (long i = 0; i < at; i++)
                        REQUIRE(victim_step(pid));
                crew__lane_hold(board->lane, true);
                while (lane_pop(board->lane, &result) == 1)
                        done = check_result(board, &result, done + 1) - 1;
                left = take_back(board, done, place);
                /* In its place there is another. */
                REQUIRE(lane_push(board->lane, 100, "x", 1) == 1);
                crew__lane_hold(board->lane, false);
                for (int calls = 0; atomic_load(&board->ended) != 100 && calls < 50; calls++)
                        REQUIRE(victim_to_syscall(pid));
                while (lane_pop(board->lane, &result) == 1 && result.id != 100)
                        done = check_result(board, &result, done + 1) - 1;
                CHECK_INT(result.id, ==, 100);
                CHECK_INT(done, ==, left);
                peer_kill(pid);
                (void)crew__lane_free(board->lane);
        }
        peer_memory_free(board, sizeof *board);
}

/* On the first or the last CPU that it may use: the race needs both to run at the same time. */
static void pin(bool last)
{
        cpu_set_t all, one;
        int chosen = -1;

        (void)sched_getaffinity(0, sizeof all, &all);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
                if (CPU_ISSET(cpu, &all) && (last || chosen < 0))
                        chosen = cpu;
        }
        CPU_ZERO(&one);
        CPU_SET(chosen, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
}

static void run(void *arg)
{
        crew__track *track = lane_open(arg);
        crew__lane_task task;

        pin(true);
        while (crew__track_take(track, &task, CREW_FOREVER) == 1) {
                crew__relax_for(task.id * 7 % 16);
                crew__track_done(track, task.id % 61 ? 0 : -EDOM, 0, NULL);
        }
}

TEST(hold_race, "hold and recall against take, each on a CPU of its own", "[unit][lane][death]")
{
        long long rounds = test_scale(1000000, 100000);
        uint64_t random = peer_seed(), sent = 0, got = 0, caught = 0, moved = 0, recalled = 0;
        int64_t until = peer_now() + test_slow(CREW_S(15));
        struct lane_result result;
        crew__lane *lane;
        pid_t pid;

        TEST_DEADLINE(100);
        REQUIRE_OK(crew__lane_new(&lane, 64));
        pid = peer_start(run, lane);
        pin(false);
        /* A busy machine may keep the two apart for a while. */
        for (long long round = 0; round < rounds || (caught < 100 && peer_now() < until); round++) {
                uint64_t current, seen, begun, place = crew__lane_tail(lane), from = sent;
                int r = 1;

                while (sent - got < 32 && r > 0) {
                        place = crew__lane_tail(lane);
                        from = sent;
                        r = lane_push_batch(
                                lane, sent + 1, NULL, 0, 1 + (uint32_t)peer_random(&random) % 8);
                        sent += r > 0 ? (uint64_t)r : 0;
                }
                crew__relax_for((unsigned)peer_random(&random) % 8);
                crew__lane_hold(lane, true);
                current = crew__lane_current(lane);
                seen = crew__lane_begun(lane);
                crew__relax_for((unsigned)peer_random(&random) % 32);
                begun = crew__lane_begun(lane);
                REQUIRE(begun == seen || (begun > seen && current == begun));
                caught += current != 0;
                moved += begun != seen;
                /* Of the last batch, what is not begun. */
                if (sent > from && round % 4 == 0) {
                        uint64_t keep = current > from ? current - from
                                        : begun > from ? begun - from
                                                       : 0;

                        REQUIRE_OK(crew__lane_recall(lane, place, crew__lane_tail(lane),
                                (uint32_t)keep, sent - from - keep));
                        recalled += sent - from - keep;
                        sent = from + keep;
                }
                crew__lane_hold(lane, false);
                while (lane_pop(lane, &result) == 1) {
                        REQUIRE(result.id == got + 1);
                        got += result.count;
                }
                /* Holds in a row would leave it no time. */
                crew__relax_for((unsigned)peer_random(&random) % 64);
        }
        INFO("%llu tasks, current at %llu holds, begun after %llu, %llu taken back",
                (unsigned long long)got, (unsigned long long)caught, (unsigned long long)moved,
                (unsigned long long)recalled);
        CHECK(caught > 0);
        CHECK(recalled > 0);
        crew__lane_close(lane);
        while (got < sent) {
                REQUIRE(lane_await(lane, &result) && result.id == got + 1);
                got += result.count;
        }
        CHECK_INT(peer_join(pid), ==, 0);
        (void)crew__lane_free(lane);
}
