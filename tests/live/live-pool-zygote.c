/* SPDX-License-Identifier: MIT */

/*
 * A zygote that is stopped or killed, at each step of what the pool asks of it: the pool goes on,
 * or says why it does not, and ends in bounded time.
 */

#include "pool-help.h"

#include "pool/pool.h"

#include <sys/prctl.h>
#include <sys/socket.h>

POOL_WARM_UP

/* Where it happens; for the first worker of the pool or for the one that replaces it. */
enum phase { ASKED, BORN, RUNNING, CLOSING, PHASES };

static struct {
        _Atomic int countdown; /* of births or releases, until it happens; 0: never */
        _Atomic int phase;     /* enum phase */
        _Atomic int sig;
        _Atomic pid_t zygote;
        _Atomic bool impatient; /* the zygote is waited for 20 ms, not 5 s */
} scene;

static void stage(enum phase phase, int sig, int countdown)
{
        scene.phase = phase;
        scene.sig = sig;
        scene.impatient = false;
        atomic_store(&scene.zygote, 0);
        atomic_store(&scene.countdown, countdown);
}

static void happen(enum phase phase, const crew__zygote *z)
{
        if (atomic_load(&scene.phase) != (int)phase || atomic_load(&scene.countdown) == 0 ||
                atomic_fetch_sub(&scene.countdown, 1) != 1)
                return;
        (void)kill(crew__zygote_pid(z), scene.sig);
        atomic_store(&scene.zygote, crew__zygote_pid(z));
}

int __real_crew__zygote_birth(crew__zygote *z, crew__birth *birth);
int __wrap_crew__zygote_birth(crew__zygote *z, crew__birth *birth);
int __real_crew__zygote_release(crew__zygote *z, unsigned row);
int __wrap_crew__zygote_release(crew__zygote *z, unsigned row);
int __real_crew__zygote_await(crew__zygote *z, int64_t deadline);
int __wrap_crew__zygote_await(crew__zygote *z, int64_t deadline);

/* An answer that was on its way is not seen: the question stays. For who would wait for more of
 * them it is not there, either. */
int __wrap_crew__zygote_birth(crew__zygote *z, crew__birth *birth)
{
        char answer[64];

        happen(ASKED, z);
        if (!atomic_load(&scene.zygote) || scene.phase != ASKED || scene.sig != SIGSTOP)
                return __real_crew__zygote_birth(z, birth);
        while (scene.impatient &&
                recv(crew__zygote_births_fd(z), answer, sizeof answer, MSG_DONTWAIT) > 0)
                ;
        return 0;
}

int __wrap_crew__zygote_release(crew__zygote *z, unsigned row)
{
        happen(BORN, z);
        return __real_crew__zygote_release(z, row);
}

int __wrap_crew__zygote_await(crew__zygote *z, int64_t deadline)
{
        if (scene.impatient)
                deadline = crew__earlier(deadline, crew_clock() + CREW_MS(20));
        return __real_crew__zygote_await(z, deadline);
}

static pid_t worker_of(crew_pool *p)
{
        pid_t pid = 0;

        REQUIRE_OK(crew_pool_apply(p, task_pid, NULL, 0, &pid, sizeof pid, CREW_S(5), NULL));
        return pid;
}

static pid_t zygote_of(crew_pool *p)
{
        return crew__zygote_pid(p->zygote);
}

/* Bounded, whatever state the zygote is in: what it is waited for is 5 s. */
static int64_t bound(void)
{
        return test_slow(CREW_S(1)) > CREW_S(4) ? test_slow(CREW_S(1)) : CREW_S(4);
}

static void check_free(crew_pool *p, pid_t zygote)
{
        int64_t from = crew_clock();

        CHECK(crew_pool_free(p) == NULL);
        CHECK_INT(crew_clock() - from, <, bound());
        CHECK(gone_within(zygote, 2000));
}

static void await_zygote(void)
{
        for (int i = 0; i < 10000 && !atomic_load(&scene.zygote); i++)
                pause_ms(1);
        REQUIRE(atomic_load(&scene.zygote) != 0);
}

TEST(killed_asked, "a zygote that is killed over its first worker fails the pool's making",
        "[live][pool]")
{
        crew_pool *p = NULL;

        stage(ASKED, SIGKILL, 1);
        CHECK_INT(crew_pool_new(&p, 2, NULL), ==, -EPIPE);
        CHECK(p == NULL && strstr(crew_error_detail(), "dead"));
        CHECK(gone_within(scene.zygote, 1000));
}

TEST(stopped_asked, "a zygote that is stopped over its first worker fails the pool's making",
        "[live][pool]")
{
        crew_pool *p = NULL;

        stage(ASKED, SIGSTOP, 1);
        scene.impatient = true;
        CHECK_INT(crew_pool_new(&p, 2, NULL), ==, -ETIMEDOUT);
        CHECK(p == NULL && strstr(crew_error_detail(), "does not answer"));
        CHECK(gone_within(scene.zygote, 1000));
}

/* Its workers die with it, which may be after some task more. */
static void check_breaks(crew_pool *p)
{
        int64_t until = crew_clock() + CREW_S(10);
        int r;

        do
                r = (int)crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(10), NULL);
        while (r == 0 && crew_clock() < until);
        CHECK(r == -ENOTRECOVERABLE || r == -EOWNERDEAD);
        while (crew_pool_join(p, CREW_S(10)) == -EBUSY && crew_clock() < until)
                pause_ms(1);
        CHECK(p->broken && strstr(p->why, "zygote"));
}

/* All other workers are made, or the zygote is found dead over them. */
TEST(killed_born, "a zygote that is killed before its last worker is let through", "[live][pool]")
{
        crew_pool *p = NULL;
        int r;

        stage(BORN, SIGKILL, 2);
        r = crew_pool_new(&p, 2, NULL);
        if (r == 0) {
                check_breaks(p);
                check_free(p, scene.zygote);
        } else {
                CHECK_INT(r, ==, -EPIPE);
        }
}

TEST(stopped_born, "a zygote that is stopped when its workers are made is not missed",
        "[live][pool]")
{
        crew_pool *p;

        stage(BORN, SIGSTOP, 2);
        p = new_pool(2, NULL);
        for (int i = 0; i < 20; i++)
                CHECK_INT(twice(p, i), ==, 2 * i);
        check_free(p, scene.zygote);
}

/* The worker of a pool of `n` dies, and something happens to the zygote over its successor. */
static crew_pool *replace(unsigned n, enum phase phase, int sig)
{
        crew_pool *p;

        stage(phase, sig, 0);
        p = new_pool(n, NULL);
        atomic_store(&scene.countdown, 1);
        CHECK_INT(kill(worker_of(p), SIGKILL), ==, 0);
        await_zygote();
        return p;
}

TEST(replaced_killed, "a zygote that is killed over a replacement breaks the pool", "[live][pool]")
{
        static const enum phase phases[] = { ASKED, BORN };

        for (int i = 0; i < 2; i++) {
                crew_pool *p = replace(1, phases[i], SIGKILL);

                check_breaks(p);
                check_free(p, scene.zygote);
        }
}

TEST(replaced_stopped, "a zygote that is stopped over a replacement: the others go on",
        "[live][pool]")
{
        crew_pool *p = replace(2, ASKED, SIGSTOP);

        for (int i = 0; i < 20; i++)
                CHECK_INT(twice(p, i), ==, 2 * i);
        CHECK_INT(stats_of(p).workers, ==, 1);
        check_free(p, scene.zygote);
}

TEST(goes_on, "a zygote that was stopped makes the worker once it goes on", "[live][pool]")
{
        crew_pool *p = replace(1, ASKED, SIGSTOP);
        pid_t zygote = scene.zygote;

        stage(RUNNING, 0, 0);
        CHECK_INT(kill(zygote, SIGCONT), ==, 0);
        CHECK_INT(twice(p, 21), ==, 42);
        check_free(p, zygote);
}

/* As if 5 s had passed. */
static void let_time_pass(crew_pool *p)
{
        crew__pool_lock(p);
        p->heard -= CREW__ZYGOTE_PATIENCE;
        for (unsigned i = 0; i < p->n_workers; i++) {
                if (p->workers[i].state == CREW__ASKED)
                        p->workers[i].due = 0;
        }
        p->look_again = true;
        crew__pool_unlock(p);
        crew__pool_wake(p);
}

TEST(nobody_left, "a stopped zygote breaks a pool that has no worker left", "[live][pool]")
{
        crew_pool *p = replace(1, ASKED, SIGSTOP);
        crew_result *r = start_sleep(p, 1, NULL);

        let_time_pass(p);
        REQUIRE_OK(crew_result_wait(r, CREW_S(10)));
        CHECK_INT(failure_of(r).reason, ==, CREW_BROKEN);
        CHECK(strstr(failure_of(r).message, "does not answer"));
        (void)crew_result_free(r);
        check_free(p, scene.zygote);
}

static bool does_not_answer(crew_pool *p)
{
        bool said;

        crew__pool_lock(p);
        said = strstr(p->last_words, "does not answer");
        crew__pool_unlock(p);
        return said;
}

TEST(asked_again, "a worker that did not come in time is asked for again", "[live][pool]")
{
        crew_pool *p = replace(2, ASKED, SIGSTOP);
        pid_t zygote = scene.zygote;
        unsigned row = 0;

        while (p->workers[row].state != CREW__ASKED)
                row = 1 - row;
        let_time_pass(p);
        for (int ms = 0; ms < 10000 && !does_not_answer(p); ms++)
                pause_ms(1);
        CHECK(does_not_answer(p));
        CHECK_INT(twice(p, 2), ==, 4);
        stage(RUNNING, 0, 0);
        CHECK_INT(kill(zygote, SIGCONT), ==, 0);
        for (int ms = 0; ms < 10000 && stats_of(p).workers < 2; ms++)
                pause_ms(1);
        CHECK_INT(stats_of(p).workers, ==, 2);
        check_free(p, zygote);
}

TEST(closing, "a zygote that is stopped or killed does not keep a pool from closing",
        "[live][pool]")
{
        for (int sig = SIGKILL; sig; sig = sig == SIGKILL ? SIGSTOP : 0) {
                crew_pool *p = new_pool(2, NULL);
                pid_t zygote = zygote_of(p);

                CHECK_INT(twice(p, 1), ==, 2);
                CHECK_INT(crew_pool_close(p), ==, 0);
                /* Nothing is left to do, so it may have been told to end, and have ended. */
                if (kill(zygote, sig) < 0)
                        CHECK_INT(errno, ==, ESRCH);
                CHECK_INT(crew_pool_join(p, CREW_S(10)), >=, 0);
                check_free(p, zygote);
        }
}

TEST(terminated, "a pool with a stopped zygote is terminated in time", "[live][pool]")
{
        crew_pool *p = replace(2, ASKED, SIGSTOP);
        crew_result *r = start_sleep(p, 60000, NULL);
        int64_t from = crew_clock();

        CHECK_INT(crew_pool_terminate(p, CREW_MS(20)), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(10)), >=, 0);
        CHECK_INT(crew_clock() - from, <, bound());
        CHECK(crew_result_ready(r));
        (void)crew_result_free(r);
        check_free(p, scene.zygote);
}

TEST(drive, "who drives a pool does not wait for its zygote", "[live][pool]")
{
        crew_pool *p;
        int64_t from;
        pid_t worker;

        stage(ASKED, SIGSTOP, 0);
        p = new_pool(1, CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD));
        worker = worker_of(p);
        atomic_store(&scene.countdown, 1);
        CHECK_INT(kill(worker, SIGKILL), ==, 0);
        while (!atomic_load(&scene.zygote))
                CHECK_INT(crew_pool_drive(p, CREW_MS(10)), >=, -ETIMEDOUT);
        from = crew_clock();
        for (int i = 0; i < 10; i++)
                (void)crew_pool_drive(p, CREW_NOW);
        CHECK_INT(crew_clock() - from, <, bound());
        check_free(p, scene.zygote);
}

static void *grant_something(void *pool)
{
        static crew_queue *q;

        REQUIRE_OK(crew_queue_new(&q, 1, NULL));
        return (void *)(intptr_t)(crew_pool_grant(pool, crew_queue_ref(q)) +
                                  (crew_queue_free(q) != NULL));
}

TEST(granting, "a grant that a stopped zygote does not answer ends with the pool", "[live][pool]")
{
        crew_pool *p = new_pool(1, NULL);
        pid_t zygote = zygote_of(p);
        pthread_t thread;
        void *answer;

        CHECK_INT(twice(p, 1), ==, 2);
        CHECK_INT(kill(zygote, SIGSTOP), ==, 0);
        REQUIRE(pthread_create(&thread, NULL, grant_something, p) == 0);
        for (int ms = 0; ms < 10000 && pthread_mutex_trylock(&p->zygote_lock) == 0; ms++) {
                (void)pthread_mutex_unlock(&p->zygote_lock);
                pause_ms(1);
        }
        CHECK_INT(crew_pool_terminate(p, CREW_NOW), ==, 0);
        CHECK_INT(crew_pool_join(p, CREW_S(4)), >=, 0);
        REQUIRE(pthread_join(thread, &answer) == 0);
        CHECK_INT((int)(intptr_t)answer, ==, -EPIPE);
        check_free(p, zygote);
}

/* Orphans are this process's to collect, as those of a container are its first process's. */
static void collect_orphans(void)
{
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
}

/* Frees it; are all of its processes collected? They have so long: what takes longer to die on a
 * busy machine is not waited for. */
static bool leaves_none(crew_pool *p, int64_t patience)
{
        int64_t from = crew_clock(), took;
        bool none;

        (void)crew_pool_free(p);
        took = crew_clock() - from;
        none = waitpid(-1, NULL, WNOHANG | __WALL) == -1;
        CHECK(none || took >= patience);
        while (waitpid(-1, NULL, __WALL) > 0)
                ;
        return none;
}

TEST(newborn, "what is being born when its pool is freed is collected", "[live][pool]")
{
        int clean = 0;

        TEST_DEADLINE(60);
        collect_orphans();
        for (int i = 0; i < 40; i++) {
                crew_pool *p = new_pool(8, NULL);

                for (volatile int spin = 0; spin < i * 20000; spin++)
                        ;
                clean += leaves_none(p, CREW_MS(250));
        }
        CHECK_INT(clean, >, 0);
}

TEST(orphans, "a zygote that is stopped or dead leaves none of its workers", "[live][pool]")
{
        collect_orphans();
        for (int sig = SIGSTOP; sig; sig = sig == SIGSTOP ? SIGKILL : 0) {
                bool none = false;

                for (int i = 0; i < 5 && !none; i++) {
                        crew_pool *p = new_pool(4, NULL);
                        pid_t zygote = zygote_of(p);

                        CHECK_INT(twice(p, 1), ==, 2);
                        CHECK_INT(kill(zygote, sig), ==, 0);
                        pause_ms(20);
                        /* One that is stopped is waited for as long itself. */
                        none = leaves_none(p, CREW_MS(sig == SIGSTOP ? 500 : 250));
                }
                CHECK(none);
        }
}
