/* SPDX-License-Identifier: MIT */

/*
 * Queues of workers where the kernel marks no lock: a worker that dies inside a put is found dead
 * by those who want its lock. In a sandbox they cannot look into /proc and ask for the thread's
 * number alone, which every sandbox allows; so they find out once the dead worker was collected.
 */

#include "check.h"
#include "kernel/features.h"
#include "peer.h"
#include "queue/queue.h"

#include <crew/crew.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void disable(void)
{
        setenv("CREW_DISABLE", "robust_list", 1);
        atomic_store(&crew__feature_answers[CREW__ROBUST_LIST], 0);
}

static void warm_up(void)
{
        crew_pool *p = NULL;

        disable();
        if (crew_pool_new(&p, 1, NULL) == 0)
                (void)crew_pool_free(p);
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

static int task_die_inside(crew_task *t, const void *arg, size_t size)
{
        crew__patience patience = crew__patience_of(CREW_S(1));
        crew_queue *q = NULL;
        crew__hold hold;
        int r = crew_task_queue(t, *(const crew_ref *)arg, &q);

        (void)size;
        if (r == 0)
                r = crew__lock_acquire(&q->ring->producers.lock, &hold, &patience);
        if (r == 0)
                (void)kill(getpid(), SIGKILL);
        return r;
}

static int task_put(crew_task *t, const void *arg, size_t size)
{
        crew_queue *q = NULL;
        int r = crew_task_queue(t, *(const crew_ref *)arg, &q);

        (void)size;
        return r < 0 ? r : crew_queue_put(q, "x", 1, CREW_S(10));
}

/* Whether the one who wants the lock gets it; else time made the queue unusable, as it does for all
 * granted queues: after 100 ms, which a busy machine may take for the look. */
static bool recovers(const char *sandbox, bool by_worker)
{
        crew_auto(queue) q = NULL;
        crew_auto(pool) p = NULL;
        crew_failure failure = { .size = sizeof failure };
        crew_ref ref;
        ssize_t r;

        REQUIRE_OK(crew_queue_new(&q, 100, NULL));
        ref = crew_queue_ref(q);
        REQUIRE_OK(crew_pool_new(&p, 2,
                CREW_OPT(pool, .sandbox = sandbox, .grants = &ref, .n_grants = 1,
                        .on_death = CREW_DEATH_FAIL_TASK)));
        CHECK_INT(crew_pool_apply(p, task_die_inside, &ref, sizeof ref, NULL, 0, CREW_S(10), NULL),
                ==, -EOWNERDEAD);
        if (by_worker)
                r = crew_pool_apply(p, task_put, &ref, sizeof ref, NULL, 0, CREW_S(20),
                        CREW_OPT(task, .failure = &failure));
        else
                r = crew_queue_put(q, "x", 1, CREW_S(10));
        INFO("%s, by %s: %d, %s", sandbox, by_worker ? "worker" : "program", (int)r,
                failure.message ? failure.message : "");
        CHECK(r == 0 || r == -ENOTRECOVERABLE);
        CHECK_INT(failure.reason, ==, r < 0 && by_worker ? CREW_FAILED : 0);
        return r == 0;
}

static void recovers_once(const char *sandbox, bool by_worker)
{
        bool did = false;

        for (int i = 0; i < 8 && !did; i++)
                did = recovers(sandbox, by_worker);
        CHECK(did);
}

TEST(worker, "a worker finds out that another died inside a put, whatever its sandbox",
        "[unit][pool][unlisted]")
{
        recovers_once("compute", true);
        recovers_once("stdio", true);
        recovers_once("none", true);
}

TEST(program, "the program finds out that a worker died inside a put", "[unit][pool][unlisted]")
{
        recovers_once("stdio", false);
}

/* As one that the machine does not let run. */
static int task_dawdle(crew_task *t, const void *arg, size_t size)
{
        crew__patience patience = crew__patience_of(CREW_S(1));
        crew_queue *q = NULL;
        crew__hold hold;
        int64_t until;
        int r = crew_task_queue(t, *(const crew_ref *)arg, &q);

        (void)size;
        if (r == 0)
                r = crew__lock_acquire(&q->ring->producers.lock, &hold, &patience);
        until = crew_clock() + CREW_MS(300);
        while (r == 0 && crew_clock() < until)
                ;
        if (r == 0)
                crew__lock_release(&q->ring->producers.lock, &hold);
        return r;
}

TEST(slow, "a worker that is slow inside a put, but runs, breaks nothing", "[unit][pool][unlisted]")
{
        crew_auto(queue) q = NULL;
        crew_auto(pool) p = NULL;
        crew_auto(result) r = NULL;
        crew_ref ref;
        int64_t until = peer_now() + CREW_S(10);

        REQUIRE_OK(crew_queue_new(&q, 100, NULL));
        ref = crew_queue_ref(q);
        REQUIRE_OK(crew_pool_new(&p, 2, CREW_OPT(pool, .grants = &ref, .n_grants = 1)));
        REQUIRE_OK(crew_pool_apply_async(p, task_dawdle, &ref, sizeof ref, &r, NULL));
        while (!(atomic_load(&q->ring->producers.lock.word) & FUTEX_TID_MASK) && peer_now() < until)
                peer_pause(CREW_MS(1) / 4);
        CHECK_INT(crew_queue_put(q, "x", 1, CREW_S(10)), ==, 0);
        REQUIRE_OK(crew_result_wait(r, CREW_S(10)));
        CHECK(crew_result_successful(r));
}
