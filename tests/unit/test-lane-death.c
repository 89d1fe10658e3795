/* SPDX-License-Identifier: MIT */

/*
 * A worker killed, or held, after each single instruction between a take and the done: what is in
 * the lane says what became of its tasks.
 */

#include "kernel/relax.h"
#include "kill.h"
#include "lane-case.h"

#include <sched.h>

enum { SIZE = 40, TASKS = 4 };

struct board {
        _Atomic uint32_t begun, ended; /* ids */
        crew__lane *lane;
};

static void work(void *arg)
{
        struct board *board = arg;
        crew__track *track = lane_open(board->lane);
        crew__lane_task task;

        while (crew__track_take(track, &task, CREW_FOREVER) == 1) {
                char *data;

                atomic_store(&board->begun, (uint32_t)task.id);
                data = crew__track_reserve(track, SIZE);
                for (int i = 0; i < SIZE; i++)
                        data[i] = (char)(((const char *)task.data)[i] + 1);
                crew__track_done(track, -(int)task.id, SIZE, "words");
                atomic_store(&board->ended, (uint32_t)task.id);
                if (task.id == 1)
                        victim_ready();
        }
}

static crew__lane *make(void)
{
        crew__lane *lane;
        char in[SIZE];

        REQUIRE_OK(crew__lane_new(&lane, 100));
        for (uint64_t id = 1; id <= TASKS; id++) {
                memset(in, (int)id, sizeof in);
                REQUIRE_OK(lane_push(lane, id, in, sizeof in));
        }
        return lane;
}

/* Task 1 is done and popped, the others are in the lane, and a sleeper waits for results. */
static pid_t ready_victim(struct board *board)
{
        crew__lane_result result;
        pid_t pid;

        atomic_store(&board->begun, 0);
        atomic_store(&board->ended, 0);
        board->lane = make();
        pid = victim_start(work, board);
        REQUIRE(crew__lane_pop(board->lane, &result) == 1);
        (void)crew__events_prepare(crew__lane_results(board->lane));
        return pid;
}

/* Until the third task is done, so that each step within and between two tasks is covered. */
static bool third_done(void *arg)
{
        return atomic_load(&((struct board *)arg)->ended) == 3;
}

static long steps_needed(struct board *board)
{
        pid_t pid = ready_victim(board);
        long n = victim_step_until(pid, third_done, board, 1000000);

        REQUIRE(n > 0);
        peer_kill(pid);
        (void)crew__lane_free(board->lane);
        return n;
}

/* The rules of lane.h, against what the worker wrote down; `done` results were popped before. */
static void verdict(crew__lane *lane, struct board *board, uint64_t done)
{
        uint64_t begun = atomic_load(&board->begun), ended = atomic_load(&board->ended);
        uint64_t taken, freed, current = crew__lane_current(lane);
        crew__lane_result result;
        int r;

        while ((r = crew__lane_pop(lane, &result)) == 1) {
                CHECK_INT(result.id, ==, ++done);
                CHECK_INT(result.status, ==, -(int)done);
                CHECK_INT(result.size, ==, SIZE);
                for (int i = 0; i < SIZE; i++)
                        CHECK_INT(((const char *)result.data)[i], ==, done + 1);
                CHECK_STR(result.text, "words");
        }
        CHECK_INT(r, ==, 0);
        REQUIRE_OK(crew__lane_progress(lane, &taken, &freed));
        /* What it finished is there; what it began, it had taken; it has at most one unfinished. */
        CHECK_INT(done, >=, ended);
        CHECK_INT(done, <=, ended + 1);
        CHECK_INT(taken, >=, begun);
        CHECK_INT(taken, <=, begun + 1);
        CHECK_INT(taken, >=, done);
        CHECK_INT(taken, <=, done + 1);
        CHECK_INT(freed, <=, done);
        CHECK_INT(freed + 1, >=, done);
        if (taken > done)
                CHECK_INT(current, ==, taken);
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

TEST(stepped, "after each instruction of two tasks there is a verdict", "[unit][lane][death]")
{
        struct board *board = peer_memory(sizeof *board);
        pid_t pid = ready_victim(board);
        long steps = 0;

        TEST_DEADLINE(100);
        for (; !third_done(board); steps++) {
                verdict_now(board);
                REQUIRE(victim_step(pid));
        }
        verdict_now(board);
        CHECK_INT(steps, >, 100);
        peer_kill(pid);
        (void)crew__lane_free(board->lane);
        peer_memory_free(board, sizeof *board);
}

TEST(killed, "a worker killed at any step leaves a verdict", "[unit][lane][death]")
{
        struct board *board = peer_memory(sizeof *board);
        long steps, stride;

        TEST_DEADLINE(100);
        steps = steps_needed(board);
        stride = steps / test_scale(steps, 50) + 1;
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

TEST(held, "a hold at any step: no task is taken that the pool did not see", "[unit][lane][death]")
{
        struct board *board = peer_memory(sizeof *board);
        long steps, stride;

        TEST_DEADLINE(100);
        steps = steps_needed(board);
        stride = steps / test_scale(steps, 100) + 1;
        for (long at = 0; at <= steps; at += stride) {
                pid_t pid = ready_victim(board);
                uint64_t current, seen, taken, freed;

                for (long i = 0; i < at; i++)
                        REQUIRE(victim_step(pid));
                crew__lane_hold(board->lane, true);
                current = crew__lane_current(board->lane);
                REQUIRE_OK(crew__lane_progress(board->lane, &seen, &freed));
                to_sleep(board, pid);
                REQUIRE_OK(crew__lane_progress(board->lane, &taken, &freed));
                CHECK(taken == seen || (taken == seen + 1 && current == taken));
                /* Begun before the hold, it still ended. */
                CHECK_INT(freed, ==, taken);
                CHECK_INT(crew__lane_current(board->lane), ==, 0);
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
                crew__track_done(track, 0, 0, NULL);
        }
}

TEST(hold_race, "hold against take, each on a CPU of its own", "[unit][lane][death]")
{
        long long rounds = test_scale(1000000, 100000);
        uint64_t random = peer_seed(), sent = 0, got = 0, caught = 0, moved = 0;
        int64_t until = peer_now() + test_slow(CREW_S(15));
        crew__lane_result result;
        crew__lane *lane;
        pid_t pid;

        TEST_DEADLINE(100);
        REQUIRE_OK(crew__lane_new(&lane, 64));
        pid = peer_start(run, lane);
        pin(false);
        /* A busy machine may keep the two apart for a while. */
        for (long long round = 0; round < rounds || (caught < 100 && peer_now() < until); round++) {
                uint64_t current, seen, taken, freed;

                while (sent - got < 32 && lane_push(lane, sent + 1, NULL, 0) == 0)
                        sent++;
                crew__relax_for((unsigned)peer_random(&random) % 8);
                crew__lane_hold(lane, true);
                current = crew__lane_current(lane);
                REQUIRE_OK(crew__lane_progress(lane, &seen, &freed));
                crew__relax_for((unsigned)peer_random(&random) % 32);
                REQUIRE_OK(crew__lane_progress(lane, &taken, &freed));
                REQUIRE(taken == seen || (taken == seen + 1 && current == taken));
                caught += current != 0;
                moved += taken != seen;
                crew__lane_hold(lane, false);
                while (crew__lane_pop(lane, &result) == 1)
                        REQUIRE(result.id == ++got);
                /* Holds in a row would leave it no time. */
                crew__relax_for((unsigned)peer_random(&random) % 64);
        }
        INFO("%llu tasks, current at %llu holds, taken after %llu", (unsigned long long)got,
                (unsigned long long)caught, (unsigned long long)moved);
        CHECK(caught > 0);
        crew__lane_close(lane);
        while (got < sent)
                REQUIRE(lane_await(lane, &result) && result.id == ++got);
        CHECK_INT(peer_join(pid), ==, 0);
        (void)crew__lane_free(lane);
}
