/* SPDX-License-Identifier: MIT */
#include "wait-help.h"

#include <crew/process.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/wait.h>

WAIT_WARM_UP

enum { TAG = 7 };

static int wait_for_child(pid_t pid)
{
        int status = -1;

        REQUIRE(waitpid(pid, &status, 0) == pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static int sleeper(void *go)
{
        while (!atomic_load((atomic_bool *)go))
                usleep(1000);
        return 0;
}

struct armed {
        atomic_bool *go; /* until then the process stays */
        crew_waiter *w;
        crew_queue *q;
        crew_process *p;
        int fds[2], value;
};

static void arm_all(struct armed *a)
{
        *a = (struct armed){ .w = new_waiter(), .q = new_queue(0) };
        a->go = test_shared(sizeof *a->go);
        REQUIRE(a->go && pipe2(a->fds, O_CLOEXEC) == 0);
        REQUIRE_OK(crew_process_launch(&a->p, sleeper, a->go, NULL));
        REQUIRE_OK(crew_waiter_get(a->w, a->q, &a->value, sizeof a->value, 1));
        REQUIRE_OK(crew_waiter_fd(a->w, a->fds[0], EPOLLIN, 2));
        REQUIRE_OK(crew_waiter_join(a->w, a->p, 3));
        REQUIRE_OK(crew_waiter_timer(a->w, CREW_S(1000), 0, 4));
}

static void end_all(struct armed *a)
{
        crew_waiter_free(a->w);
        atomic_store(a->go, true);
        REQUIRE_OK(crew_process_join(a->p, CREW_S(5)));
        crew_process_free(a->p);
        crew_queue_free(a->q);
        close(a->fds[0]);
        close(a->fds[1]);
}

static void in_child(struct armed *a)
{
        crew_completion c;
        crew_waiter *own;
        int p[2], value = 0;

        CHECK_INT(crew_waiter_wait(a->w, &c, 1, CREW_NOW), ==, -ECHILD);
        CHECK_INT(crew_waiter_wait(a->w, &c, 1, CREW_FOREVER), ==, -ECHILD);
        CHECK_INT(crew_waiter_get(a->w, a->q, &value, sizeof value, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_put(a->w, a->q, &value, sizeof value, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_readable(a->w, a->q, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_writable(a->w, a->q, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_join(a->w, a->p, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_fd(a->w, a->fds[0], EPOLLIN, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_timer(a->w, 1, 0, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_cancel(a->w, 1), ==, -ECHILD);
        CHECK_INT(crew_waiter_pollfd(a->w), ==, -ECHILD);
        CHECK_INT(crew_waiter_wake(a->w), ==, -ECHILD);
        CHECK_INT(fds_like("io_uring"), ==, 0);
        CHECK_INT(ring_mappings(), ==, 0);

        /* One of its own works, with a ring of its own. */
        own = new_waiter();
        REQUIRE(pipe(p) == 0);
        REQUIRE_OK(crew_waiter_fd(own, p[0], EPOLLIN, TAG));
        REQUIRE_OK(crew_waiter_readable(own, a->q, 8));
        CHECK_INT(crew_waiter_wait(own, &c, 1, CREW_MS(10)), ==, -ETIMEDOUT);
        REQUIRE(write(p[1], "x", 1) == 1);
        CHECK_INT(wait_one(own, CREW_FD, TAG), ==, 0);
        crew_waiter_free(own);
        crew_waiter_free(a->w);
        crew_process_free(a->p);
        crew_queue_free(a->q);
        close(p[0]);
        close(p[1]);
}

TEST(forked, "in a forked child the waiter answers ECHILD; the parent's goes on",
        "[live][wait][fork]")
{
        for (int polled = 0; polled < 2; polled++) {
                struct armed a;
                crew_completion c[4];
                struct later l;
                pid_t pid;

                arm_all(&a);
                if (polled)
                        REQUIRE(crew_waiter_pollfd(a.w) >= 0);
                CHECK_INT(crew_waiter_wait(a.w, c, 4, CREW_MS(5)), ==, -ETIMEDOUT);
                pid = fork();
                REQUIRE(pid >= 0);
                if (pid == 0) {
                        in_child(&a);
                        _exit(33);
                }
                CHECK_INT(wait_for_child(pid), ==, 33);
                later(&l, CREW_MS(5), put_seven, a.q);
                CHECK_INT(wait_one(a.w, CREW_GOT, 1), ==, sizeof a.value);
                later_end(&l);
                REQUIRE(write(a.fds[1], "x", 1) == 1);
                CHECK_INT(wait_one(a.w, CREW_FD, 2), ==, 0);
                CHECK_INT(crew_waiter_cancel(a.w, 2), ==, 1);
                atomic_store(a.go, true);
                CHECK_INT(wait_one(a.w, CREW_JOINED, 3), ==, 0);
                end_all(&a);
        }
}

/* The child's first crew call comes late, when the descriptors mean something else. */
TEST(reused_numbers, "a child that reuses the ring's descriptor keeps its own",
        "[live][wait][fork]")
{
        struct armed a;
        pid_t pid;

        arm_all(&a);
        CHECK_INT(crew_waiter_wait(a.w, &(crew_completion){ 0 }, 1, CREW_MS(5)), ==, -ETIMEDOUT);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                int open_before;

                for (int fd = 3; fd < 256; fd++) {
                        if (fcntl(fd, F_GETFD) >= 0)
                                (void)dup2(2, fd);
                }
                open_before = fds_like("");
                CHECK_INT(crew_waiter_wake(a.w), ==, -ECHILD);
                CHECK_INT(fds_like(""), ==, open_before);
                _exit(33);
        }
        CHECK_INT(wait_for_child(pid), ==, 33);
        end_all(&a);
}

/* A queue that other processes share is looked at every 20 ms; both directions across a fork. */
TEST(across_processes, "a waiter sees what other processes put and take", "[live][wait][fork]")
{
        enum { MESSAGES = 500 };
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) in = new_queue(4);
        crew_auto(queue) out = new_queue(4);
        crew_completion c[4];
        int value, from = 0, to = 0, n;
        pid_t pid = fork();

        REQUIRE(pid >= 0);
        if (pid == 0) {
                for (int i = 0; i < MESSAGES; i++) {
                        REQUIRE_OK(CREW_GET(out, &value, CREW_S(5)));
                        REQUIRE_OK(CREW_PUT(in, &value, CREW_S(5)));
                }
                _exit(0);
        }
        REQUIRE_OK(crew_waiter_get(w, in, &value, sizeof value, 1));
        REQUIRE_OK(crew_waiter_put(w, out, &to, sizeof to, 2));
        while (from < MESSAGES) {
                n = wait_some(w, c, 4, CREW_S(5));
                REQUIRE(n > 0);
                for (int i = 0; i < n; i++) {
                        if (c[i].kind == CREW_GOT) {
                                CHECK_INT(value, ==, from);
                                from++;
                                REQUIRE_OK(crew_waiter_get(w, in, &value, sizeof value, 1));
                        } else if (++to < MESSAGES) {
                                REQUIRE_OK(crew_waiter_put(w, out, &to, sizeof to, 2));
                        }
                }
        }
        CHECK_INT(wait_for_child(pid), ==, 0);
}

/* The peer may die between its commit and its wake. No such instruction can be hit from out
 * here, but a queue becomes shared while the waiter sleeps without slices. */
TEST(becomes_shared, "a sleeper learns that its queue became shared", "[live][wait][fork]")
{
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        int value = 0;
        pid_t pid = fork();

        REQUIRE(pid >= 0);
        if (pid == 0) {
                usleep(30000);
                put_seven(q);
                _exit(0);
        }
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, TAG));
        CHECK_INT(wait_one(w, CREW_GOT, TAG), ==, sizeof value);
        CHECK_INT(value, ==, 7);
        CHECK_INT(wait_for_child(pid), ==, 0);
}
