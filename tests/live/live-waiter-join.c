/* SPDX-License-Identifier: MIT */
#include "peer.h"
#include "wait-help.h"

#include <crew/process.h>
#include <signal.h>
#include <sys/wait.h>

WAIT_WARM_UP

enum { TAG = 7 };

static int leave(void *code)
{
        return (int)(intptr_t)code;
}

static int nap(void *ms)
{
        peer_pause(test_slow(CREW_MS((intptr_t)ms)));
        return 5;
}

/* Until it is told to go. */
static int stay(void *go)
{
        while (atomic_load((_Atomic uint32_t *)go) == 0)
                peer_pause(CREW_MS(1));
        return 5;
}

static void let_go(void *go)
{
        atomic_store((_Atomic uint32_t *)go, 1);
}

static int for_ever(void *unused)
{
        (void)unused;
        for (;;)
                pause();
        return 0;
}

static crew_process *launch(crew_target_fn *target, intptr_t arg)
{
        crew_process *p;

        REQUIRE_OK(crew_process_launch(&p, target, (void *)arg, NULL));
        return p;
}

TEST(joins, "a join completes when the process has ended, once", "[live][wait][process]")
{
        crew_auto(waiter) w = new_waiter();
        _Atomic uint32_t *go = test_shared(sizeof *go);
        crew_process *p = launch(stay, (intptr_t)go);
        crew_completion c;
        struct later l;
        int code;

        REQUIRE_OK(crew_waiter_join(w, p, TAG));
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        later(&l, CREW_MS(30), let_go, go);
        CHECK_INT(wait_some(w, &c, 1, CREW_S(5)), ==, 1);
        later_end(&l);
        CHECK_INT(c.kind, ==, CREW_JOINED);
        CHECK_INT(c.tag, ==, TAG);
        CHECK_INT(c.result, ==, 0);
        CHECK(c.object == p);
        REQUIRE_OK(crew_process_exitcode(p, &code));
        CHECK_INT(code, ==, 5);
        CHECK_INT(crew_waiter_wait(w, &c, 1, CREW_NOW), ==, -EAGAIN);
        /* And of one that is known to have ended. */
        REQUIRE_OK(crew_waiter_join(w, p, TAG));
        CHECK_INT(wait_one(w, CREW_JOINED, TAG), ==, 0);
        REQUIRE_OK(crew_process_join(p, CREW_NOW));
        crew_process_free(p);
}

TEST(join_now, "a wait that does not wait finds a process that has ended", "[live][wait][process]")
{
        crew_auto(waiter) w = new_waiter();
        crew_process *p = launch(leave, 3);
        siginfo_t info;

        REQUIRE(waitid(P_PIDFD, (id_t)crew_process_fd(p), &info, WEXITED | WNOWAIT | __WALL) == 0);
        REQUIRE_OK(crew_waiter_join(w, p, TAG));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, 1);
        crew_process_free(p);
}

TEST(join_signal, "a killed process completes its join", "[live][wait][process]")
{
        crew_auto(waiter) w = new_waiter();
        crew_process *p = launch(for_ever, 0);
        int code;

        REQUIRE_OK(crew_waiter_join(w, p, TAG));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(10)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_process_kill(p));
        CHECK_INT(wait_one(w, CREW_JOINED, TAG), ==, 0);
        REQUIRE_OK(crew_process_exitcode(p, &code));
        CHECK_INT(code, ==, -SIGKILL);
        crew_process_free(p);
}

TEST(join_cancel, "a cancelled join leaves the status for others", "[live][wait][process]")
{
        crew_auto(waiter) w = new_waiter();
        crew_process *p = launch(for_ever, 0);
        int code;

        REQUIRE_OK(crew_waiter_join(w, p, TAG));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        REQUIRE_OK(crew_process_kill(p));
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 1);
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_MS(20)), ==, -ETIMEDOUT);
        REQUIRE_OK(crew_process_join(p, CREW_S(5)));
        REQUIRE_OK(crew_process_exitcode(p, &code));
        CHECK_INT(code, ==, -SIGKILL);
        crew_process_free(p);
}

TEST(join_two, "one process in two waiters and twice in one, beside a blocking join",
        "[live][wait][process]")
{
        crew_auto(waiter) a = new_waiter();
        crew_auto(waiter) b = new_waiter();
        _Atomic uint32_t *go = test_shared(sizeof *go);
        crew_process *p = launch(stay, (intptr_t)go);
        crew_completion c[4];
        struct later l;
        int code;

        REQUIRE_OK(crew_waiter_join(a, p, 1));
        REQUIRE_OK(crew_waiter_join(a, p, 2));
        REQUIRE_OK(crew_waiter_join(b, p, 3));
        /* As a descriptor too: the same pidfd for two purposes. */
        REQUIRE_OK(crew_waiter_fd(a, crew_process_fd(p), EPOLLIN, 4));
        CHECK_INT(crew_waiter_wait(a, c, 4, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(crew_waiter_wait(b, c, 4, CREW_NOW), ==, -EAGAIN);
        later(&l, CREW_MS(30), let_go, go);
        REQUIRE_OK(crew_process_join(p, CREW_S(5)));
        later_end(&l);
        CHECK_INT(wait_one(b, CREW_JOINED, 3), ==, 0);
        for (int seen = 0, n; seen != 0x16;) {
                n = wait_some(a, c, 4, CREW_S(5));
                REQUIRE(n > 0);
                for (int i = 0; i < n; i++)
                        seen |= 1 << c[i].tag;
        }
        CHECK_INT(crew_waiter_cancel(a, 4), ==, 1);
        REQUIRE_OK(crew_process_exitcode(p, &code));
        CHECK_INT(code, ==, 5);
        crew_process_free(p);
}

TEST(join_freed, "an armed join keeps its process", "[live][wait][process]")
{
        crew_auto(waiter) w = new_waiter();
        crew_process *p = launch(nap, 30);

        REQUIRE_OK(crew_waiter_join(w, p, TAG));
        crew_process_free(p);
        CHECK_INT(wait_one(w, CREW_JOINED, TAG), ==, 0);
        /* The list of children lets go of it when it is looked at next. */
        CHECK_INT(crew_active_children(NULL, 0), ==, 0);
}

TEST(join_bad, "what cannot be joined is refused", "[live][wait][process]")
{
        crew_auto(waiter) w = new_waiter();
        crew_process *p;

        REQUIRE_OK(crew_process_new(&p, leave, NULL, NULL));
        CHECK_INT(crew_waiter_join(w, p, TAG), ==, -ESRCH);
        CHECK_INT(crew_waiter_join(w, NULL, TAG), ==, -EINVAL);
        CHECK_INT(crew_waiter_join(w, crew_current_process(), TAG), ==, -ECHILD);
        CHECK_INT(crew_waiter_cancel(w, TAG), ==, 0);
        crew_process_free(p);
}

static int joins_parent(void *q)
{
        crew_waiter *w;
        crew_completion c;
        int value = 1;

        if (crew_waiter_new(&w, 0) < 0 || crew_waiter_join(w, crew_parent_process(), TAG) < 0)
                return 1;
        if (crew_waiter_wait(w, &c, 1, CREW_MS(30)) != -ETIMEDOUT)
                return 2;
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        if (crew_waiter_wait(w, &c, 1, CREW_S(5)) != 1 || c.kind != CREW_JOINED)
                return 3;
        value = 2;
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        return 0;
}

static int middle(void *q)
{
        crew_process *p;
        int value;

        if (crew_process_launch(
                    &p, joins_parent, q, CREW_OPT(process, .flags = CREW_PROCESS_DETACHED)) < 0)
                return 1;
        while (CREW_GET(q, &value, CREW_S(5)) != 0 || value != 1)
                return 2;
        _exit(0);
}

TEST(join_parent, "a child sees the end of its parent in a waiter", "[live][wait][process]")
{
        crew_auto(queue) q = new_queue(0);
        crew_process *p;
        int value = 0, code;

        REQUIRE_OK(crew_process_launch(&p, middle, q, NULL));
        REQUIRE_OK(crew_process_join(p, CREW_S(5)));
        REQUIRE_OK(crew_process_exitcode(p, &code));
        CHECK_INT(code, ==, 0);
        REQUIRE_OK(CREW_GET(q, &value, CREW_S(5)));
        CHECK_INT(value, ==, 2);
        crew_process_free(p);
        usleep(20000);
}

TEST(join_stolen, "a status that somebody else collected still completes the join",
        "[live][wait][process]")
{
        crew_auto(waiter) w = new_waiter();
        _Atomic uint32_t *go = test_shared(sizeof *go);
        crew_process *p = launch(stay, (intptr_t)go);
        int status;

        REQUIRE_OK(crew_waiter_join(w, p, TAG));
        CHECK_INT(crew_waiter_wait(w, &(crew_completion){ 0 }, 1, CREW_NOW), ==, -EAGAIN);
        let_go(go);
        REQUIRE(waitpid(crew_process_pid(p), &status, __WALL) == crew_process_pid(p));
        CHECK_INT(wait_one(w, CREW_JOINED, TAG), ==, 0);
        crew_process_free(p);
}

static int puts_and_leaves(void *q)
{
        int value = (int)getpid();

        return crew_queue_put(q, &value, sizeof value, CREW_S(5));
}

TEST(join_and_get, "joins and gets in one wait", "[live][wait][process]")
{
        enum { N = 16 };
        crew_auto(waiter) w = new_waiter();
        crew_auto(queue) q = new_queue(0);
        crew_process *p[N];
        crew_completion c[8];
        int value, joined = 0, got = 0, n;

        for (int i = 0; i < N; i++) {
                REQUIRE_OK(crew_process_launch(&p[i], puts_and_leaves, q, NULL));
                REQUIRE_OK(crew_waiter_join(w, p[i], (uint64_t)i));
        }
        REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, N));
        while (joined < N || got < N) {
                n = wait_some(w, c, 8, CREW_S(5));
                REQUIRE(n > 0);
                for (int i = 0; i < n; i++) {
                        joined += c[i].kind == CREW_JOINED;
                        got += c[i].kind == CREW_GOT;
                        if (c[i].kind == CREW_GOT)
                                REQUIRE_OK(crew_waiter_get(w, q, &value, sizeof value, N));
                }
        }
        CHECK_INT(joined, ==, N);
        CHECK_INT(got, ==, N);
        for (int i = 0; i < N; i++)
                crew_process_free(p[i]);
}
