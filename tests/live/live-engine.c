/* SPDX-License-Identifier: MIT */

/* The two processes of crew run: what reaches the inner one, and what ends with it. */

#include "engine.h"
#include "host.h"

#include <grp.h>
#include <sys/prctl.h>

/* What an application tells its case, which may run it as another user. */
struct board {
        _Atomic int ready, inner, daemon, seen[_NSIG], held, stopped;
        _Atomic int isolated, own_proc;
};

typedef void work_fn(struct engine *e, struct board *b);

static pid_t start(struct board *b, work_fn *work, bool ordinary, bool alone)
{
        pid_t app = fork();
        struct engine e;
        int code;

        REQUIRE(app >= 0);
        if (app)
                return app;
        (void)setpgid(0, 0);
        if (ordinary && geteuid() == 0) {
                REQUIRE(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
                /* Dumpable again: only then its maps may be written. */
                (void)prctl(PR_SET_DUMPABLE, 1);
        }
        if (!engine_enter(&e, alone, &code))
                _exit(code);
        atomic_store(&b->isolated, e.isolated);
        atomic_store(&b->own_proc, e.own_proc);
        INFO("missing: %s", e.why);
        work(&e, b);
        _exit(0);
}

static int end_of(pid_t app)
{
        int status = -1;

        REQUIRE(waitpid(app, &status, 0) == app);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static struct board *board_new(void)
{
        return shared_new(sizeof(struct board));
}

static void board_free(struct board *b)
{
        shared_free(b, sizeof *b);
}

static void nothing(struct engine *e, struct board *b)
{
        (void)e;
        (void)b;
}

/* Is there a namespace to be had? */
static bool can_isolate(bool ordinary)
{
        struct board *b = board_new();
        bool isolated;

        CHECK_INT(end_of(start(b, nothing, ordinary, false)), ==, 0);
        isolated = atomic_load(&b->isolated);
        board_free(b);
        return isolated;
}

static void look_around(struct engine *e, struct board *b)
{
        char self[32] = "";

        (void)b;
        CHECK(!e->isolated || getpid() == 1);
        if (!e->isolated || e->own_proc) {
                REQUIRE(readlink("/proc/self", self, sizeof self - 1) > 0);
                CHECK_INT(atoi(self), ==, getpid());
        }
        _exit(42);
}

TEST(first, "the inner process is PID 1 and its exit code is the outer's", "[live][engine]")
{
        for (int how = 0; how < 3; how++) {
                struct board *b = board_new();

                CHECK_INT(end_of(start(b, look_around, how == 1, how == 2)), ==, 42);
                board_free(b);
        }
}

/* Twice forked, in a session of its own, deaf to everything that can be ignored. */
static void leave_daemon(struct board *b)
{
        if (fork() == 0) {
                (void)setsid();
                if (fork() == 0) {
                        for (int sig = 1; sig < _NSIG; sig++)
                                (void)signal(sig, SIG_IGN);
                        /* Its number outside is what the case can look for. */
                        for (;;) {
                                atomic_fetch_add(&b->daemon, 1);
                                (void)usleep(1000);
                        }
                }
                _exit(0);
        }
}

static void leave_and_wait(struct engine *e, struct board *b)
{
        (void)e;
        leave_daemon(b);
        atomic_store(&b->ready, 1);
        for (;;)
                (void)pause();
}

static void leave_and_go(struct engine *e, struct board *b)
{
        (void)e;
        leave_daemon(b);
        while (atomic_load(&b->daemon) < 3)
                (void)usleep(1000);
}

/* It counts as long as it lives. */
static bool counts(struct board *b)
{
        int before = atomic_load(&b->daemon);

        (void)usleep(20000);
        return atomic_load(&b->daemon) != before;
}

static void nothing_stays(bool ordinary, bool by_kill)
{
        struct board *b;
        pid_t app;

        if (!can_isolate(ordinary))
                SKIP("no pid namespace here%s", ordinary ? " for an ordinary user" : "");
        b = board_new();
        app = start(b, by_kill ? leave_and_wait : leave_and_go, ordinary, false);
        if (by_kill) {
                REQUIRE(EVENTUALLY(atomic_load(&b->daemon) > 3, CREW_S(10)));
                REQUIRE(kill(app, SIGKILL) == 0);
        }
        CHECK_INT(end_of(app), ==, by_kill ? -SIGKILL : 0);
        CHECK(EVENTUALLY(!counts(b), CREW_S(10)));
        board_free(b);
}

TEST(killed, "SIGKILL of the outer process leaves no daemon behind", "[live][engine]")
{
        nothing_stays(false, true);
}

TEST(killed_ordinary, "SIGKILL of an ordinary user's outer process leaves no daemon behind",
        "[live][engine]")
{
        nothing_stays(true, true);
}

TEST(ended, "the end of the inner process leaves no daemon behind", "[live][engine]")
{
        nothing_stays(true, false);
}

static void count_signals(struct engine *e, struct board *b)
{
        int sig = 0;

        atomic_store(&b->ready, 1);
        while (sig != SIGTERM) {
                while ((sig = engine_signal(e)) == 0)
                        (void)usleep(1000);
                atomic_fetch_add(&b->seen[sig], 1);
                if (sig == SIGTSTP) {
                        atomic_store(&b->stopped, 1);
                        while (atomic_load(&b->held))
                                (void)usleep(1000);
                        engine_stop(e);
                        atomic_store(&b->stopped, 2);
                }
        }
        _exit(7);
}

TEST(signals, "a signal counts once, sent to the process or to its group", "[live][engine]")
{
        for (int alone = 0; alone < 2; alone++) {
                struct board *b = board_new();
                pid_t app = start(b, count_signals, false, alone);

                REQUIRE(EVENTUALLY(atomic_load(&b->ready), CREW_S(10)));
                REQUIRE(kill(-app, SIGINT) == 0);
                CHECK(EVENTUALLY(atomic_load(&b->seen[SIGINT]) == 1, CREW_S(10)));
                REQUIRE(kill(app, SIGINT) == 0);
                CHECK(EVENTUALLY(atomic_load(&b->seen[SIGINT]) == 2, CREW_S(10)));
                for (int i = 0; i < 3; i++) {
                        const int others[] = { SIGHUP, SIGUSR1, SIGWINCH };

                        REQUIRE(kill(app, others[i]) == 0);
                        CHECK(EVENTUALLY(atomic_load(&b->seen[others[i]]) == 1, CREW_S(10)));
                }
                REQUIRE(kill(app, SIGTERM) == 0);
                CHECK_INT(end_of(app), ==, 7);
                CHECK_INT(atomic_load(&b->seen[SIGINT]), ==, 2);
                board_free(b);
        }
}

TEST(stops, "a stop stops both, and both go on", "[live][engine]")
{
        for (int alone = 0; alone < 2; alone++) {
                struct board *b = board_new();
                pid_t app = start(b, count_signals, false, alone);
                int64_t sent;
                int status;

                REQUIRE(EVENTUALLY(atomic_load(&b->ready), CREW_S(10)));
                sent = crew_clock();
                REQUIRE(kill(app, SIGTSTP) == 0);
                REQUIRE(waitpid(app, &status, WUNTRACED) == app && WIFSTOPPED(status));
                /* An inner process that gets no processor for a second is stopped as it is. */
                if (crew_clock() - sent < CREW_S(1))
                        CHECK_INT(atomic_load(&b->stopped), ==, 1);
                REQUIRE(kill(app, SIGCONT) == 0);
                CHECK(EVENTUALLY(atomic_load(&b->stopped) == 2, CREW_S(10)));
                CHECK(EVENTUALLY(atomic_load(&b->seen[SIGCONT]) == 1, CREW_S(10)));
                REQUIRE(kill(app, SIGTERM) == 0);
                CHECK_INT(end_of(app), ==, 7);
                board_free(b);
        }
}

TEST(continued, "what is to go on before it has stopped does not stop", "[live][engine]")
{
        for (int alone = 0; alone < 2; alone++) {
                struct board *b = board_new();
                pid_t app = start(b, count_signals, false, alone);

                REQUIRE(EVENTUALLY(atomic_load(&b->ready), CREW_S(10)));
                atomic_store(&b->held, 1);
                REQUIRE(kill(app, SIGTSTP) == 0);
                CHECK(EVENTUALLY(atomic_load(&b->stopped) == 1, CREW_S(10)));
                REQUIRE(kill(app, SIGCONT) == 0);
                atomic_store(&b->held, 0);
                CHECK(EVENTUALLY(atomic_load(&b->stopped) == 2, CREW_S(10)));
                CHECK(EVENTUALLY(atomic_load(&b->seen[SIGCONT]) == 1, CREW_S(10)));
                REQUIRE(kill(app, SIGCONT) == 0);
                REQUIRE(kill(app, SIGTERM) == 0);
                CHECK_INT(end_of(app), ==, 7);
                board_free(b);
        }
}

static bool is_job(pid_t pid, void *job)
{
        return pid == *(pid_t *)job;
}

static void reap(struct engine *e, struct board *b)
{
        pid_t job = fork();
        int status, collected = 0;

        (void)b;
        if (job == 0) {
                /* An orphan that ends, then the job itself, which stays for who knows it. */
                pid_t child = fork();

                _exit(child == 0 ? 0 : 3);
        }
        for (int i = 0; i < 10000 && !collected; i++) {
                collected = engine_reap(e, is_job, &job);
                (void)usleep(1000);
        }
        CHECK_INT(collected, ==, 1);
        REQUIRE(waitpid(job, &status, 0) == job);
        _exit(WEXITSTATUS(status));
}

TEST(orphans, "orphans are collected, and jobs are left to who waits for them", "[live][engine]")
{
        for (int alone = 0; alone < 2; alone++) {
                struct board *b = board_new();

                CHECK_INT(end_of(start(b, reap, false, alone)), ==, 3);
                board_free(b);
        }
}

static void run_programs(struct engine *e, struct board *b)
{
        (void)e;
        (void)b;
        for (int i = 0; i < 3; i++) {
                crew_auto(process) p = NULL;
                int code = -1;

                REQUIRE_OK(crew_process_new_exec(&p,
                        (const char *const[]){ "/bin/sh", "-c", "exit 6", NULL },
                        CREW_OPT(process, .flags = CREW_PROCESS_SESSION | CREW_PROCESS_DAEMON,
                                .sandbox = "rpath proc exec")));
                REQUIRE_OK(crew_process_start(p));
                CHECK_INT(crew_process_join(p, CREW_S(15)), ==, 0);
                CHECK_INT(crew_process_exitcode(p, &code), ==, 0);
                CHECK_INT(code, ==, 6);
        }
        _exit(5);
}

TEST(programs, "programs run in a sandbox inside", "[live][engine]")
{
        for (int ordinary = 0; ordinary < 2; ordinary++) {
                struct board *b = board_new();

                CHECK_INT(end_of(start(b, run_programs, ordinary, false)), ==, 5);
                board_free(b);
        }
}
