/* SPDX-License-Identifier: MIT */

/* A batch that is cut while its worker is in it, looked at between single steps of the worker. */

#include "check.h"
#include "kill.h"
#include "pool/pool.h"

#include <crew/crew.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int task_nothing(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        return 0;
}

/* Also the ring of who drives. */
static void warm_up(void)
{
        crew_pool *p = NULL;

        if (crew_pool_new(&p, 1, CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD)) < 0)
                return;
        (void)crew_pool_apply(p, task_nothing, NULL, 0, NULL, 0, CREW_S(5), NULL);
        (void)crew_pool_free(p);
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

/* BATCH items in a record, of which LATE is the one that others do not wait for. */
enum { BATCH = 8, LATE = 3, ITEMS = 2 * BATCH };

/* Shared with the workers. */
struct board {
        atomic_int go;
        _Atomic pid_t late;      /* who has that item */
        atomic_int times[ITEMS]; /* how often each ran */
};

static struct board *board;
static int board_fd;

static int map_board(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, board_fd, 0);
        return board == MAP_FAILED ? -ENOMEM : 0;
}

static int task_note(crew_task *t, const void *arg, size_t size)
{
        int item;

        (void)size;
        memcpy(&item, arg, sizeof item);
        (void)atomic_fetch_add(&board->times[item], 1);
        if (item == LATE) {
                atomic_store(&board->late, getpid());
                while (!atomic_load(&board->go))
                        peer_pause(PEER_MS(1));
        }
        item *= 2;
        return crew_task_return(t, &item, sizeof item);
}

static crew__unit *front(const crew__worker *w)
{
        return crew__unit_at(w, w->popped);
}

struct place {
        crew__lane *lane;
        uint64_t id;
};

static bool is_past_the_end(void *at)
{
        const struct place *place = at;

        return crew__lane_current(place->lane) == place->id;
}

/* As if it had done many of them: then what it is given is a batch. */
static void set_pace(crew_pool *p)
{
        crew__pool_lock(p);
        for (unsigned i = 0; i < p->n_workers; i++) {
                p->workers[i].pace = 1000;
                p->workers[i].paced = (uint64_t)(uintptr_t)task_note;
        }
        crew__pool_unlock(p);
}

static crew__worker *worker_of(crew_pool *p, pid_t pid)
{
        for (unsigned i = 0; i < p->n_workers; i++) {
                if (p->workers[i].pid == pid)
                        return &p->workers[i];
        }
        return NULL;
}

static pid_t await_late(void)
{
        int64_t until = crew_clock() + test_slow(CREW_S(10));

        while (!atomic_load(&board->late) && crew_clock() < until)
                peer_pause(PEER_MS(1));
        return atomic_load(&board->late);
}

/* One at least takes tasks. */
static void start(crew_pool *p)
{
        int value = BATCH, out;

        CHECK_INT(crew_pool_apply(
                          p, task_note, &value, sizeof value, &out, sizeof out, CREW_S(10), NULL),
                ==, sizeof out);
        atomic_store(&board->times[BATCH], 0);
}

static void check_items(crew_pool *p, crew_result *r, const int *out)
{
        crew_pool_stats stats = { .size = sizeof stats };

        REQUIRE_OK(crew_result_wait(r, CREW_S(20)));
        CHECK(crew_result_successful(r));
        for (int i = 0; i < ITEMS; i++) {
                INFO("item %d", i);
                CHECK_INT(out[i], ==, 2 * i);
                CHECK_INT(atomic_load(&board->times[i]), ==, 1);
        }
        REQUIRE_OK(crew_pool_read_stats(p, &stats));
        CHECK_INT(stats.restarts, ==, 0);
}

/*
 * The worker has done the late item, which became the last of its batch, and has announced the one
 * behind; that there is none it sees next. Looked at just then, it has done all that it has. Nobody
 * drives the pool but the test.
 */
TEST(past_the_end, "a worker past the end of a batch that was cut keeps what it did",
        "[unit][pool]")
{
        int in[ITEMS], out[ITEMS] = { 0 }, status;
        crew_pool *p = NULL;
        crew_result *r = NULL;
        struct place place;
        crew__worker *w;
        pid_t pid;

        board_fd = memfd_create("board", MFD_CLOEXEC);
        REQUIRE(board_fd >= 0 && ftruncate(board_fd, sizeof *board) == 0);
        REQUIRE_OK(map_board(NULL, NULL, 0));
        REQUIRE_OK(crew_pool_new(&p, 2,
                CREW_OPT(pool, .flags = CREW_POOL_NO_THREAD, .initializer = map_board,
                        .keep_fds = &board_fd, .n_keep_fds = 1)));
        start(p);
        set_pace(p);
        for (int i = 0; i < ITEMS; i++)
                in[i] = i;
        REQUIRE_OK(crew_pool_map_async(p, task_note, in, ITEMS, sizeof *in, out, sizeof *out, &r,
                CREW_OPT(task, .chunk = BATCH)));
        pid = await_late();
        w = worker_of(p, pid);
        REQUIRE(w != NULL);
        crew__pool_lock(p);
        CHECK_INT(front(w)->item, ==, 0);
        CHECK_INT(front(w)->n, ==, BATCH);
        CHECK(crew__worker_recall(p, w, crew_clock()));
        CHECK_INT(w->items, ==, LATE + 1);
        crew__pool_unlock(p);

        if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) < 0)
                SKIP("ptrace is not permitted here");
        REQUIRE(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
        place = (struct place){ .lane = w->lane, .id = front(w)->id + LATE + 1 };
        atomic_store(&board->go, 1);
        CHECK_INT(victim_step_until(pid, is_past_the_end, &place, 10000000), >, 0);
        crew__pool_lock(p);
        CHECK_INT(w->items, ==, LATE + 1);
        CHECK(!crew__worker_recall(p, w, crew_clock()));
        CHECK_INT(w->items, ==, LATE + 1);
        crew__pool_unlock(p);
        REQUIRE(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);

        check_items(p, r, out);
        (void)crew_result_free(r);
        (void)crew_pool_free(p);
        (void)munmap(board, sizeof *board);
        (void)close(board_fd);
}
