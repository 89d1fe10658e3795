/* SPDX-License-Identifier: MIT */

/* Locks and semaphores against the C library's: robust process-shared mutexes, and sem_t. */

#include "bench.h"

#include <crew/error.h>
#include <crew/sync.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BATCH 64 /* operations per look at the clock or the end */

enum { ALONE, FOUGHT, PING_TWO, PING_ONE };

static const struct bench_cell cells[] = {
        {"lock and unlock, nobody else", "ns", true, false},
        {"lock and unlock, two processes", "ns per turn", true, true},
        {"semaphores there and back, two CPUs", "ns per round trip", true, true},
        {"semaphores there and back, one CPU", "ns per round trip", true, false},
};

static const struct bench_target targets[] = {
        {"lock and unlock, nobody else", "crew", {"libc"}, BENCH_AT_MOST, 1.15},
        {"lock and unlock, two processes", "crew", {"libc"}, BENCH_SHOWN},
        {"semaphores there and back, two CPUs", "crew", {"libc"}, BENCH_SHOWN},
        {"semaphores there and back, one CPU", "crew", {"libc"}, BENCH_AT_MOST, 1.5},
};

struct things {
        _Alignas(128) crew_lock lock;
        _Alignas(128) pthread_mutex_t mutex;
        _Alignas(128) crew_semaphore crew[2];
        _Alignas(128) sem_t libc[2];
        _Alignas(128) volatile uint64_t guarded;
        _Atomic uint32_t over;
};

struct run {
        struct things *things;
        unsigned cell;
        bool crew;
};

static struct things *make(void)
{
        struct things *t = mmap(
                NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pthread_mutexattr_t robust;

        if (t == MAP_FAILED)
                return NULL;
        (void)pthread_mutexattr_init(&robust);
        (void)pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
        (void)pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
        (void)pthread_mutex_init(&t->mutex, &robust);
        (void)crew_lock_init(&t->lock);
        for (int i = 0; i < 2; i++) {
                (void)sem_init(&t->libc[i], 1, 0);
                (void)crew_semaphore_init(&t->crew[i], 0, 0);
        }
        return t;
}

static void turns(const struct run *run)
{
        struct things *t = run->things;

        for (int i = 0; i < BATCH; i++) {
                if (run->crew ? crew_lock_acquire(&t->lock, CREW_FOREVER) != 0
                              : pthread_mutex_lock(&t->mutex) != 0)
                        _exit(3);
                t->guarded++;
                if (run->crew ? crew_lock_release(&t->lock) != 0
                              : pthread_mutex_unlock(&t->mutex) != 0)
                        _exit(3);
        }
}

static void release(const struct run *run, int which)
{
        if (run->crew ? crew_semaphore_release(&run->things->crew[which]) != 0
                      : sem_post(&run->things->libc[which]) != 0)
                _exit(3);
}

static void acquire(const struct run *run, int which)
{
        if (run->crew ? crew_semaphore_acquire(&run->things->crew[which], CREW_FOREVER) != 0
                      : sem_wait(&run->things->libc[which]) != 0)
                _exit(3);
}

static void answer(const struct run *run)
{
        for (;;) {
                acquire(run, 0);
                if (atomic_load(&run->things->over))
                        return;
                release(run, 1);
        }
}

static void ask(const struct run *run)
{
        for (int i = 0; i < BATCH; i++) {
                release(run, 0);
                acquire(run, 1);
        }
}

static bool offers(unsigned cell, unsigned row)
{
        (void)cell;
        (void)row;
        return true;
}

static void run_member(struct bench_shared *s, unsigned who, void *arg)
{
        const struct run *run = arg;
        bool ping = run->cell >= PING_TWO;
        int64_t start = bench_now();
        uint64_t n = 0;

        if (ping && who == 1) {
                answer(run);
                return;
        }
        while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
                if (ping)
                        ask(run);
                else
                        turns(run);
                n += BATCH;
        }
        s->member[who].value = n ? (double)(bench_now() - start) / (double)n : 0;
        if (ping) {
                atomic_store(&run->things->over, 1);
                release(run, 0);
        }
}

static int measure(struct bench *b, unsigned cell, unsigned row, struct bench_result *r)
{
        struct bench_shared *s = bench_shared_new();
        struct run run = {.things = make(), .cell = cell, .crew = row == 0};
        bool one = cell == ALONE || cell == PING_ONE;
        struct bench_group g = {.members = cell == ALONE ? 1 : 2,
                .pin = true,
                .same = one,
                .probe = !one,
                .run = run_member,
                .arg = &run};
        int err = -1;

        if (!run.things) {
                bench_why(r->why, "cannot be set up");
        } else {
                err = bench_group_run(b, s, &g, r);
                r->value = s->member[0].value;
                /* Both take turns: the time for one of either. */
                if (cell == FOUGHT && s->member[0].value > 0 && s->member[1].value > 0)
                        r->value = 1 / (1 / s->member[0].value + 1 / s->member[1].value);
                (void)munmap(run.things, sizeof *run.things);
        }
        bench_shared_free(s);
        return err;
}

int main(int argc, char **argv)
{
        static const struct bench_row rows[] = {{.name = "crew"}, {.name = "libc"}};
        struct bench b = {
                .name = "bench-sync",
                .cells = cells,
                .n_cells = sizeof cells / sizeof *cells,
                .rows = rows,
                .n_rows = sizeof rows / sizeof *rows,
                .targets = targets,
                .n_targets = sizeof targets / sizeof *targets,
                .offers = offers,
                .measure = measure,
        };

        return bench_main(&b, argc, argv);
}
