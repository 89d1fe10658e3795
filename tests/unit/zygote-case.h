/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_ZYGOTE_CASE_H
#define CREW_TESTS_ZYGOTE_CASE_H

/* A zygote and some workers with their lanes, as a pool has them. */

#include "check.h"
#include "peer.h"
#include "pool/nest.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <string.h>

enum { COLONY_MAX = 20, COLONY_BYTES = 8192 };

struct colony {
        unsigned workers;
        crew__zygote_options options;
        const char *words; /* of the sandbox; NULL = none */
        crew__plan plan;
        crew__zygote *zygote;
        crew__lane *lane[COLONY_MAX];
        int pidfd[COLONY_MAX];
        pid_t pid[COLONY_MAX];
        uint64_t tasks;
};

struct outcome {
        int status;
        size_t size;
        char data[COLONY_BYTES];
        char text[CREW__LANE_TEXT];
        bool died;
        crew__ending ending;
};

static inline void colony_start(struct colony *c)
{
        if (c->words) {
                int numbers[CREW__WORKER_NUMBERS];
                struct crew__plan_options o = { .reports = true };
                crew_sandbox *s;

                (void)crew__worker_numbers(
                        c->options.keep_fds, c->options.n_keep_fds, numbers, CREW__WORKER_NUMBERS);
                o.control = numbers[0];
                o.events = numbers + 1;
                o.n_events = CREW__WORKER_NUMBERS - 1;
                REQUIRE_OK(crew_sandbox_new(&s, c->words, 0));
                REQUIRE_OK(crew__plan_new(&c->plan, s, &o));
                (void)crew_sandbox_free(s);
                c->options.plan = &c->plan;
        }
        c->options.max_workers = c->workers;
        REQUIRE_OK(crew__zygote_start(&c->zygote, &c->options));
        for (unsigned i = 0; i < COLONY_MAX; i++)
                c->pidfd[i] = -1;
}

/* Asks, and waits for the answer. */
static inline int colony_try(
        struct colony *c, unsigned row, crew__lane *lane, int *pidfd, pid_t *pid)
{
        crew__birth birth;
        int r = crew__zygote_ask(c->zygote, row, lane);

        while (r == 0) {
                r = crew__zygote_birth(c->zygote, &birth);
                if (r == 0)
                        r = crew__zygote_await(c->zygote, crew_clock() + CREW__ZYGOTE_PATIENCE);
                if (r == 1 && birth.result == 0) {
                        CHECK_INT(birth.row, ==, row);
                        *pidfd = birth.pidfd;
                        *pid = birth.pid;
                }
        }
        return r == 1 ? birth.result : r;
}

static inline void colony_spawn(struct colony *c, unsigned row)
{
        c->lane[row] = crew__lane_free(c->lane[row]);
        c->pidfd[row] = crew__close(c->pidfd[row]);
        REQUIRE_OK(crew__lane_new(&c->lane[row], COLONY_BYTES));
        REQUIRE_OK(colony_try(c, row, c->lane[row], &c->pidfd[row], &c->pid[row]));
}

static inline void colony_hire(struct colony *c, unsigned row)
{
        colony_spawn(c, row);
        REQUIRE_OK(crew__zygote_release(c->zygote, row));
}

static inline void colony_push(
        struct colony *c, unsigned row, crew_task_fn *f, const void *arg, size_t size)
{
        crew__lane_task task = { .id = ++c->tasks,
                .function = (uint64_t)(uintptr_t)f,
                .attempt = 1,
                .count = 1,
                .data = arg,
                .size = size };

        REQUIRE_OK(crew__lane_push(c->lane[row], &task));
        crew__lane_wake(c->lane[row]);
}

/* The result of the task that was pushed, or the end of the worker. */
static inline void colony_await(struct colony *c, unsigned row, struct outcome *out)
{
        int64_t until = peer_now() + test_slow(PEER_MS(10000));
        crew__lane_result result;
        int r;

        memset(out, 0, sizeof *out);
        while ((r = crew__lane_look(c->lane[row], &result)) == 0 && peer_now() < until) {
                if (crew__readable(c->pidfd[row], 0) == 0) {
                        out->died = true;
                        while (!crew__zygote_ending(c->zygote, row, &out->ending) &&
                                peer_now() < until)
                                peer_pause(PEER_MS(1) / 10);
                        return;
                }
                peer_pause(PEER_MS(1) / 10);
        }
        REQUIRE(r == 1);
        out->status = result.status;
        out->size = result.size;
        crew__lane_copy(c->lane[row], out->data);
        crew__lane_drop(c->lane[row]);
        memcpy(out->text, result.text, strlen(result.text) + 1);
}

static inline void colony_run(struct colony *c, unsigned row, crew_task_fn *f, const void *arg,
        size_t size, struct outcome *out)
{
        colony_push(c, row, f, arg, size);
        colony_await(c, row, out);
}

static inline void colony_end(struct colony *c)
{
        c->zygote = crew__zygote_free(c->zygote);
        for (unsigned i = 0; i < COLONY_MAX; i++) {
                /* PDEATHSIG: none of them outlives the zygote. */
                if (c->pidfd[i] >= 0)
                        CHECK_INT(crew__readable(
                                          c->pidfd[i], crew_clock() + test_slow(PEER_MS(5000))),
                                ==, 0);
                c->pidfd[i] = crew__close(c->pidfd[i]);
                c->lane[i] = crew__lane_free(c->lane[i]);
        }
        if (c->words)
                crew__plan_free(&c->plan);
}

#endif
