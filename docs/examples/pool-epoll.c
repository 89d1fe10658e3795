/* SPDX-License-Identifier: MIT */

/*
 * A pool in an event loop of one's own: without a thread of its own, it has a descriptor that says
 * when it wants to be driven. The callbacks run in the loop's thread and need no lock.
 */

#include <crew/crew.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TASKS 5

CREW_TASK(square, int, int)
(crew_task *t, const int *in, int *out)
{
        (void)t;
        *out = *in * *in;
        return 0;
}

struct loop {
        int epoll, left, sum;
};

static void on_done(crew_result *r, void *user)
{
        struct loop *loop = user;
        int out;

        if (crew_result_get(r, &out, sizeof out, CREW_NOW) == sizeof out)
                loop->sum += out;
        else
                fprintf(stderr, "pool-epoll: %s\n", crew_error_detail());
        loop->left--;
}

static int run(struct loop *loop, crew_pool *pool)
{
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = pool };

        if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, crew_pool_fd(pool), &event) < 0)
                return -errno;
        while (loop->left > 0) {
                int r = 0, n = epoll_wait(loop->epoll, &event, 1, -1);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0 && event.data.ptr == pool)
                        r = crew_pool_drive(pool, CREW_NOW);
                if (r < 0 && r != -EAGAIN)
                        return r;
        }
        return 0;
}

int main(void)
{
        struct loop loop = { .epoll = epoll_create1(EPOLL_CLOEXEC), .left = TASKS };
        crew_auto(pool) pool = NULL;
        int r = crew_pool_new(&pool, 2, CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD));

        for (int i = 1; r == 0 && i <= TASKS; i++)
                r = square_async(pool, &i, NULL, CREW_OPT(task, .done = on_done, .user = &loop));
        if (r == 0)
                r = run(&loop, pool);
        (void)close(loop.epoll);
        if (r < 0) {
                fprintf(stderr, "pool-epoll: %s\n", crew_error_detail());
                return 1;
        }
        printf("%d tasks, sum of squares %d\n", TASKS, loop.sum);
        return 0;
}
