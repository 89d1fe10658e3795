/* SPDX-License-Identifier: MIT */

/*
 * The failure table: how a worker can end × what it was about. Each cell says what must become of
 * the one task that is concerned; what holds in every cell is checked in every cell: the tasks
 * behind it run, and in a worker that lives; the worker is replaced if it ended; nobody waits
 * 100 ms longer than the event.
 *
 * A worker is brought into the phase by a page that it shares with the test, by single steps (where
 * no code of a task runs), or by acting between its fork and the opening of its gate.
 */

#include "cell-help.h"

#include "kernel/features.h"
#include "kill.h"
#include "pool/lane.h"
#include "pool/pool.h"

#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

POOL_WARM_UP

#define BOUND CREW_MS(100)
#define DEADLINE_NS CREW_MS(120)

enum { BEHIND = 8, MEMORY_MAX = 1 << 30, GROUP_MAX = 1 << 26 };

/*
 * What must become of the task concerned:
 *
 *      UNHARMED   nothing happens: it ends as ever, and so does the next in the same worker
 *      MOVED      the worker ends without it: it runs in another one, as its first attempt
 *      FAILS      it alone fails for the reason of the row, the worker ends
 *      REFUSED    it alone fails by its own word, the worker lives
 *      TAKEN      it is cancelled at once; the worker may end
 */
enum outcome { UNHARMED, MOVED, FAILS, REFUSED, TAKEN };

/*          idle      taking    running  result   initializer  gate */
#define TABLE(ROW)                                                                                 \
        ROW(SIGKILLED, MOVED, MOVED, FAILS, FAILS, MOVED, MOVED)                                   \
        ROW(SEGFAULT, MOVED, MOVED, FAILS, FAILS, MOVED, MOVED)                                    \
        ROW(ABORT, MOVED, MOVED, FAILS, FAILS, MOVED, MOVED)                                       \
        ROW(EXIT, MOVED, MOVED, FAILS, FAILS, MOVED, UNHARMED)                                     \
        ROW(STARVED, MOVED, MOVED, FAILS, FAILS, MOVED, UNHARMED)                                  \
        ROW(MEMORY, UNHARMED, UNHARMED, REFUSED, REFUSED, MOVED, UNHARMED)                         \
        ROW(DEADLINE, UNHARMED, UNHARMED, FAILS, FAILS, UNHARMED, UNHARMED)                        \
        ROW(CANCEL, UNHARMED, TAKEN, FAILS, FAILS, TAKEN, TAKEN)                                   \
        ROW(VIOLATION, MOVED, MOVED, FAILS, FAILS, UNHARMED, UNHARMED)

enum end { SIGKILLED, SEGFAULT, ABORT, EXIT, STARVED, MEMORY, DEADLINE, CANCEL, VIOLATION, ENDS };
enum phase { IDLE, TAKING, RUNNING, RESULT, INITIALIZER, GATE, PHASES };

/* A row with a cell too few or too many is no call of this macro; a row that is missing or there
 * twice does not compile below. */
#define ROW_OUTCOMES(end, idle, taking, running, result, initializer, gate)                        \
        [end] = { [IDLE] = idle,                                                                   \
                [TAKING] = taking,                                                                 \
                [RUNNING] = running,                                                               \
                [RESULT] = result,                                                                 \
                [INITIALIZER] = initializer,                                                       \
                [GATE] = gate },
#define ROW_NAMED(end, ...) row_##end,
#define ROW_COUNTED(end, ...) +1

enum { TABLE(ROW_NAMED) };
enum { ROWS = 0 TABLE(ROW_COUNTED) };
_Static_assert((int)ROWS == (int)ENDS, "every ending has a row");
_Static_assert(PHASES == 6, "every row has a cell for every phase");

static const enum outcome table[ENDS][PHASES] = { TABLE(ROW_OUTCOMES) };

/* Shared with the workers. */
struct board {
        enum end end;
        enum phase phase;
        _Atomic int victims; /* who may still become one */
        _Atomic pid_t pid;   /* who is there */
        _Atomic int go;
        _Atomic unsigned attempt; /* of the one that came through */
        _Atomic int64_t when;     /* the event */
};

static struct board *board;
static int board_fd;

struct scene {
        crew_pool *pool;
        struct canary *canary;
        bool late;
        enum outcome outcome;
        bool retried;
        pid_t victim;
        crew_result *task, *behind[BEHIND];
};

/* By the test, and again by each worker: it keeps no shared memory that it was not granted. */
static void map_board(void)
{
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, board_fd, 0);
        REQUIRE(board != MAP_FAILED);
}

static void mark(void)
{
        atomic_store(&board->when, crew_clock());
}

/* What the row says, by the worker itself; the negative errno of a failure that it survives. */
static int perform(enum end end)
{
        void *big;

        mark();
        switch (end) {
        case SIGKILLED:
                (void)kill(getpid(), SIGKILL);
                return 0;
        case SEGFAULT:
                (void)kill(getpid(), SIGSEGV);
                return 0;
        case ABORT:
                abort();
        case EXIT:
                exit(3);
        case STARVED:
                eat(2 * (size_t)GROUP_MAX, mark);
                return 0;
        case MEMORY:
                big = malloc((size_t)MEMORY_MAX + 1);
                if (!big)
                        return -ENOMEM;
                free(big);
                return 0;
        case VIOLATION:
                (void)syscall(SYS_unshare, 0);
                return 0;
        default:
                return 0;
        }
}

static void on_usr1(int sig)
{
        (void)sig;
        (void)perform(board->end);
}

/* Says that it is there; then, once told to, does it. */
static int become_victim(void)
{
        atomic_store(&board->pid, getpid());
        while (!atomic_load(&board->go))
                pause_ms(1);
        return perform(board->end);
}

static int initialize(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        map_board();
        if (signal(SIGUSR1, on_usr1) == SIG_ERR)
                return -EINVAL;
        if (board->phase == INITIALIZER && atomic_fetch_sub(&board->victims, 1) > 0)
                return become_victim();
        return 0;
}

/* Half of a result is there when it happens, or none. Answers the pid. */
static int task_victim(crew_task *t, const void *arg, size_t size)
{
        pid_t pid = getpid();
        char *result;
        int r;

        (void)arg;
        (void)size;
        if ((board->phase == RUNNING || board->phase == RESULT) &&
                atomic_fetch_sub(&board->victims, 1) > 0) {
                if (board->phase == RESULT) {
                        result = crew_task_result(t, 1000);
                        memset(result, 'x', 500);
                }
                r = become_victim();
                if (r < 0)
                        return crew_task_fail(t, r, "no memory");
                if (board->end == DEADLINE || board->end == CANCEL)
                        for (;;)
                                pause_ms(1000);
        }
        atomic_store(&board->attempt, crew_task_attempt(t));
        return crew_task_return(t, &pid, sizeof pid);
}

/* The gate: between these two the newborn waits at it. */
int __real_crew__zygote_birth(crew__zygote *z, crew__birth *birth);
int __wrap_crew__zygote_birth(crew__zygote *z, crew__birth *birth);
int __real_crew__zygote_release(crew__zygote *z, unsigned row);
int __wrap_crew__zygote_release(crew__zygote *z, unsigned row);

static _Thread_local pid_t newborn;

int __wrap_crew__zygote_birth(crew__zygote *z, crew__birth *birth)
{
        int r = __real_crew__zygote_birth(z, birth);

        newborn = r == 1 && birth->result == 0 ? birth->pid : 0;
        return r;
}

int __wrap_crew__zygote_release(crew__zygote *z, unsigned row)
{
        static const int signals[ENDS] = { [SIGKILLED] = SIGKILL,
                [SEGFAULT] = SIGSEGV,
                [ABORT] = SIGABRT,
                [DEADLINE] = SIGSTOP,
                [CANCEL] = SIGSTOP };

        if (board && board->phase == GATE && atomic_fetch_sub(&board->victims, 1) > 0) {
                mark();
                if (signals[board->end])
                        (void)kill(newborn, signals[board->end]);
                atomic_store(&board->pid, newborn);
        }
        return __real_crew__zygote_release(z, row);
}

static pid_t await_victim(void)
{
        REQUIRE(SOON(atomic_load(&board->pid) != 0));
        return atomic_load(&board->pid);
}

static crew_result *submit(const struct scene *s)
{
        crew_result *r = NULL;

        REQUIRE_OK(crew_pool_apply_async(s->pool, task_victim, NULL, 0, &r,
                CREW_OPT(task, .deadline = board->end == DEADLINE ? DEADLINE_NS : 0)));
        return r;
}

static void submit_behind(struct scene *s)
{
        for (int i = 0; i < BEHIND; i++)
                REQUIRE_OK(crew_pool_apply_async(s->pool, task_pid, NULL, 0, &s->behind[i], NULL));
}

/* The event where it is the pool that acts; true if that was all. */
static bool act_by_pool(const struct scene *s)
{
        if (board->end == DEADLINE) {
                /* Until it would be over. Only who runs knows when it began. */
                if (board->phase == RUNNING || board->phase == RESULT)
                        atomic_store(&board->go, 1);
                else
                        pause_ms((int)(2 * DEADLINE_NS / 1000000));
                return true;
        }
        if (board->end == CANCEL) {
                mark();
                CHECK_INT(crew_result_cancel(s->task, 0), ==, board->phase == IDLE ? -EALREADY : 0);
                return true;
        }
        return false;
}

static void signal_victim(enum end end, pid_t pid)
{
        mark();
        (void)kill(pid, end == SIGKILLED  ? SIGKILL
                        : end == SEGFAULT ? SIGSEGV
                        : end == ABORT    ? SIGABRT
                                          : SIGUSR1);
}

static void stage_idle(struct scene *s)
{
        s->task = submit(s);
        REQUIRE_OK(crew_result_wait(s->task, CREW_S(10)));
        REQUIRE(crew_result_get(s->task, &s->victim, sizeof s->victim, CREW_NOW) ==
                sizeof s->victim);
        if (!act_by_pool(s))
                signal_victim(board->end, s->victim);
        if (s->outcome == MOVED)
                CHECK(gone_within(s->victim, 5000));
        s->task = crew_result_free(s->task);
        s->task = submit(s);
        submit_behind(s);
}

static bool is_taking(void *lane)
{
        return crew__lane_current(lane) != 0;
}

/* Between the two words by which a worker takes a task. */
static void stage_taking(struct scene *s)
{
        crew__lane *lane = s->pool->workers[0].lane;
        int status, sig = 0;
        int64_t from;

        s->task = submit(s);
        REQUIRE_OK(crew_result_wait(s->task, CREW_S(10)));
        REQUIRE(crew_result_get(s->task, &s->victim, sizeof s->victim, CREW_NOW) ==
                sizeof s->victim);
        s->task = crew_result_free(s->task);
        if (ptrace(PTRACE_ATTACH, s->victim, NULL, NULL) < 0)
                SKIP("ptrace is not permitted here");
        REQUIRE(waitpid(s->victim, &status, __WALL) == s->victim && WIFSTOPPED(status));
        /* What is left of the task before. */
        while (is_taking(lane))
                REQUIRE(victim_step(s->victim));
        from = crew_clock();
        s->task = submit(s);
        submit_behind(s);
        CHECK_INT(victim_step_until(s->victim, is_taking, lane, 1000000), >, 0);
        CHECK_INT(crew__lane_begun(lane), <, crew__lane_current(lane));
        if (!act_by_pool(s)) {
                mark();
                sig = board->end == SIGKILLED  ? SIGKILL
                      : board->end == SEGFAULT ? SIGSEGV
                      : board->end == ABORT    ? SIGABRT
                                               : SIGUSR1;
        }
        /* Who was killed meanwhile is to be collected by its tracer first. */
        if (ptrace(PTRACE_DETACH, s->victim, NULL, (void *)(intptr_t)sig) < 0)
                (void)waitpid(s->victim, &status, __WALL);
        /* Who has a deadline and takes nothing for a second is taken for stopped, and ended. */
        s->late = board->end == DEADLINE && crew_clock() - from > CREW_MS(900);
}

static void stage_code(struct scene *s)
{
        bool starts = board->phase == INITIALIZER || board->phase == GATE;

        s->task = submit(s);
        s->victim = await_victim();
        submit_behind(s);
        if (!act_by_pool(s) || starts)
                atomic_store(&board->go, 1);
        if (board->phase == GATE)
                (void)kill(s->victim, SIGCONT);
}

static void check_failure(const struct scene *s)
{
        static const int reasons[ENDS] = { CREW_DIED, CREW_DIED, CREW_DIED, CREW_DIED, CREW_MEMORY,
                CREW_FAILED, CREW_DEADLINE, CREW_CANCELLED, CREW_VIOLATED };
        static const int exits[ENDS] = { -SIGKILL, -SIGSEGV, -SIGABRT, 3, -SIGKILL };
        static const char *const words[ENDS] = { "signal 9", "signal 11", "signal 6", "3",
                "memory limit", "no memory", "deadline", "cancel", "unshare" };
        crew_failure f = failure_of(s->task);

        INFO("%s", f.message);
        CHECK_INT(f.reason, ==, reasons[board->end]);
        CHECK_INT(f.exitcode, ==, exits[board->end]);
        CHECK_INT(f.code, ==, board->end == MEMORY ? -ENOMEM : 0);
        CHECK(strstr(f.message, words[board->end]));
        CHECK_STR(f.syscall_name, board->end == VIOLATION ? "unshare" : "");
        if (board->end == VIOLATION)
                CHECK_INT(f.syscall, ==, SYS_unshare);
        if (s->outcome != TAKEN && board->end != CANCEL) {
                CHECK_INT(f.pid, ==, s->victim);
                CHECK_INT(f.attempt, ==, 1);
        }
}

/* Late is who comes later than the event and what the machine itself kept everybody waiting. */
static void check_time(struct scene *s)
{
        int64_t when = atomic_load(&board->when), took;

        if (board->end == DEADLINE)
                when += DEADLINE_NS;
        took = crew_clock() - when;
        s->late = canary_late(s->canary, took, BOUND + (s->outcome == FAILS ? CREW_MS(20) : 0));
}

static void check_task(struct scene *s)
{
        bool fails = s->outcome == FAILS || s->outcome == REFUSED || s->outcome == TAKEN;
        pid_t pid = 0;

        if (s->retried && s->outcome == FAILS && board->end <= STARVED)
                fails = false;
        REQUIRE_OK(crew_result_wait(s->task, CREW_S(5)));
        if (s->outcome == FAILS || s->outcome == TAKEN)
                check_time(s);
        CHECK_INT(crew_result_successful(s->task), ==, !fails);
        if (fails) {
                check_failure(s);
                return;
        }
        CHECK_INT(crew_result_get(s->task, &pid, sizeof pid, CREW_NOW), ==, sizeof pid);
        CHECK_INT(atomic_load(&board->attempt), ==, s->outcome == FAILS ? 2 : 1);
        if (s->outcome == UNHARMED && s->victim && board->phase != IDLE)
                CHECK_INT(pid, ==, s->victim);
        if (s->outcome != UNHARMED)
                CHECK_INT(pid, !=, s->victim);
}

static void check_behind(const struct scene *s)
{
        bool ends = s->outcome == MOVED || s->outcome == FAILS;

        for (int i = 0; i < BEHIND; i++) {
                pid_t pid = 0;

                CHECK_INT(
                        crew_result_get(s->behind[i], &pid, sizeof pid, CREW_S(5)), ==, sizeof pid);
                if (ends)
                        CHECK_INT(pid, !=, s->victim);
        }
        for (int i = 0; ends && i < 5000 && !stats_of(s->pool).restarts; i++)
                pause_ms(1);
        if (s->outcome != TAKEN)
                CHECK_INT(stats_of(s->pool).restarts, ==, ends);
        if (ends)
                CHECK(gone_within(s->victim, 1000));
        CHECK_INT(twice(s->pool, 21), ==, 42);
}

/* Returns whether the task failed later than it may, or the scene was set too late. */
static bool play(enum end end, enum phase phase, bool retried)
{
        static void (*const stages[PHASES])(struct scene *) = { stage_idle, stage_taking,
                stage_code, stage_code, stage_code, stage_code };
        struct scene s = { .outcome = table[end][phase], .retried = retried };
        const crew_limits limits = { .size = sizeof limits,
                .memory_max = end == STARVED ? GROUP_MAX : MEMORY_MAX };

        board_fd = memfd_create("board", MFD_CLOEXEC);
        REQUIRE(board_fd >= 0 && ftruncate(board_fd, sizeof *board) == 0);
        map_board();
        board->end = end;
        board->phase = phase;
        atomic_store(&board->victims, 1);
        s.canary = canary_start();
        s.pool = new_pool(phase == RUNNING || phase == RESULT || phase == IDLE ? 2 : 1,
                CREW_OPT(pool, .initializer = initialize, .keep_fds = &board_fd, .n_keep_fds = 1,
                        .on_death = retried ? CREW_DEATH_RETRY : CREW_DEATH_FAIL_TASK,
                        .limits = end == MEMORY || end == STARVED ? &limits : NULL));
        stages[phase](&s);
        if (!s.late) {
                check_task(&s);
                check_behind(&s);
        }
        for (int i = 0; i < BEHIND; i++)
                (void)crew_result_free(s.behind[i]);
        (void)crew_result_free(s.task);
        (void)crew_pool_free(s.pool);
        canary_stop(s.canary);
        (void)munmap(board, sizeof *board);
        (void)close(board_fd);
        return s.late;
}

static void run_cell(enum end end, enum phase phase, bool retried)
{
        bool late = true;

        if (TEST_SANITIZED && end == MEMORY)
                SKIP("a sanitizer reserves more address space than a limit leaves");
        if (end == STARVED && !crew__has(CREW__CGROUP_MEMORY))
                SKIP("no memory limit by control groups here");
        if (end == MEMORY)
                crew__feature_forbid(CREW__CGROUP_MEMORY);
        TEST_DEADLINE(30);
        /* What the canary did not see may delay one process alone: being late takes four rounds. */
        for (int i = 0; i < 4 && late; i++)
                late = play(end, phase, retried);
        CHECK(!late);
}

#define CELL(end, phase)                                                                           \
        TEST(end##_##phase, #end " x " #phase, "[live][pool]")                                     \
        {                                                                                          \
                run_cell(end, phase, false);                                                       \
        }                                                                                          \
        TEST(end##_##phase##_retried, #end " x " #phase ", with retries", "[live][pool]")          \
        {                                                                                          \
                run_cell(end, phase, true);                                                        \
        }
#define ROW_TESTS(end, ...)                                                                        \
        CELL(end, IDLE)                                                                            \
        CELL(end, TAKING)                                                                          \
        CELL(end, RUNNING)                                                                         \
        CELL(end, RESULT)                                                                          \
        CELL(end, INITIALIZER)                                                                     \
        CELL(end, GATE)

TABLE(ROW_TESTS)
