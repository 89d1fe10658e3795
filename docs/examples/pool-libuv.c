/* SPDX-License-Identifier: MIT */

/*
 * A pool in libuv's loop: a poll handle on the pool's descriptor drives it, and the callbacks run
 * in the loop's thread. Built where libuv is installed; pool-epoll is the same on plain epoll.
 */

#include <crew/crew.h>
#include <errno.h>
#include <stdio.h>
#include <uv.h>

#define TASKS 5

CREW_TASK(square, int, int)
(crew_task *t, const int *in, int *out)
{
        (void)t;
        *out = *in * *in;
        return 0;
}

struct state {
        crew_pool *pool;
        uv_poll_t poll;
        uv_timer_t clock;
        int left, sum, ticks;
};

static void on_done(crew_result *r, void *user)
{
        struct state *state = user;
        int out;

        if (crew_result_get(r, &out, sizeof out, CREW_NOW) == sizeof out)
                state->sum += out;
        else
                fprintf(stderr, "pool-libuv: %s\n", crew_error_detail());
        if (--state->left == 0) {
                uv_close((uv_handle_t *)&state->poll, NULL);
                uv_close((uv_handle_t *)&state->clock, NULL);
        }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
        struct state *state = poll->data;
        int r = status < 0 ? status : crew_pool_drive(state->pool, CREW_NOW);

        (void)events;
        if (r < 0 && r != -EAGAIN) {
                fprintf(stderr, "pool-libuv: %s\n", crew_error_detail());
                uv_stop(poll->loop);
        }
}

/* The loop's own business goes on meanwhile. */
static void on_tick(uv_timer_t *clock)
{
        ((struct state *)clock->data)->ticks++;
}

int main(void)
{
        struct state state = { .left = TASKS };
        uv_loop_t *loop = uv_default_loop();
        int r = crew_pool_new(&state.pool, 2, CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD));

        for (int i = 1; r == 0 && i <= TASKS; i++)
                r = square_async(
                        state.pool, &i, NULL, CREW_OPT(task, .done = on_done, .user = &state));
        if (r < 0) {
                fprintf(stderr, "pool-libuv: %s\n", crew_error_detail());
                return 1;
        }
        state.poll.data = state.clock.data = &state;
        uv_poll_init(loop, &state.poll, crew_pool_fd(state.pool));
        uv_poll_start(&state.poll, UV_READABLE, on_ready);
        uv_timer_init(loop, &state.clock);
        uv_timer_start(&state.clock, on_tick, 0, 1);
        uv_run(loop, UV_RUN_DEFAULT);
        printf("%d tasks, sum of squares %d, the loop %s\n", TASKS, state.sum,
                state.ticks ? "ran on" : "stood still");
        crew_pool_free(state.pool);
        return uv_loop_close(loop) < 0 || state.left;
}
