/* SPDX-License-Identifier: MIT */

/* Start and join of one process at a time, in hosts of several sizes, with and without threads. */

#include "bench.h"

#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef BENCH_CREW_PROCESS
#        include <crew/pool.h>
#        include <crew/process.h>
#endif

#define MAX_STARTS 4096
#define MIN_STARTS 3 /* a host of 1 GiB takes 37 ms each */

static const struct bench_cell cells[] = {
        {"one thread, small", "us per start and join", true},
        {"one thread, 10 MiB", "us per start and join", true},
        {"one thread, 1 GiB", "us per start and join", true},
        {"one thread, 2 GiB", "us per start and join", true},
        {"two threads, small", "us per start and join", true},
        {"two threads, 10 MiB", "us per start and join", true},
        {"two threads, 1 GiB", "us per start and join", true},
        {"two threads, 2 GiB", "us per start and join", true},
};
#define CELLS (sizeof cells / sizeof *cells)
#define SIZES 4

static const size_t extra[SIZES] = {0, (size_t)10 << 20, (size_t)1 << 30, (size_t)2 << 30};
static bool big;

static const struct bench_target targets[] = {
        {"one thread, small", "crew", {"clone3+waitid"}, BENCH_AT_MOST, 1.15},
        {"one thread, 10 MiB", "crew", {"clone3+waitid"}, BENCH_AT_MOST, 1.15},
        {"one thread, 1 GiB", "crew", {"clone3+waitid"}, BENCH_AT_MOST, 1.15},
        {"two threads, small", "crew", {"fork+waitpid"}, BENCH_AT_MOST, 1.4},
        {"two threads, 10 MiB", "crew", {"fork+waitpid"}, BENCH_AT_MOST, 1.4},
        {"two threads, 1 GiB", "crew", {"fork+waitpid"}, BENCH_AT_MOST, 1.4},
        {"two threads, 10 MiB", "crew, pool's worker", {"fork+waitpid"}, BENCH_SHOWN},
        {"two threads, 1 GiB", "crew, pool's worker", {"fork+waitpid"}, BENCH_SHOWN},
        {"one thread, 2 GiB", "crew, fork server", {"crew, fork server"}, BENCH_AT_MOST, 1.2, false,
                "one thread, 10 MiB"},
        {"two threads, 2 GiB", "crew, fork server", {"crew, fork server"}, BENCH_AT_MOST, 1.2,
                false, "two threads, 10 MiB"},
        {"one thread, 2 GiB", "crew, spawn", {"crew, spawn"}, BENCH_SHOWN, 0, false,
                "one thread, 10 MiB"},
        {"two threads, 2 GiB", "crew, spawn", {"crew, spawn"}, BENCH_SHOWN, 0, false,
                "two threads, 10 MiB"},
        {"one thread, small", "crew", {"clone3, bare"}, BENCH_SHOWN},
        {"one thread, small", "crew", {"clone3, exit()"}, BENCH_SHOWN},
        {"one thread, small", "crew", {"fork+waitpid"}, BENCH_SHOWN},
        {"one thread, 10 MiB", "crew", {"clone3, bare"}, BENCH_SHOWN},
        {"one thread, 10 MiB", "crew", {"clone3, exit()"}, BENCH_SHOWN},
        {"one thread, 10 MiB", "crew", {"fork+waitpid"}, BENCH_SHOWN},
        {"one thread, 10 MiB", "crew", {"python-Process"}, BENCH_SHOWN},
        {"one thread, 10 MiB", "crew, fork server", {"fork+waitpid"}, BENCH_SHOWN},
        {"two threads, 2 GiB", "crew, fork server", {"fork+waitpid"}, BENCH_SHOWN},
};

static bool start_and_end(void (*end)(void))
{
        int fd = -1;
        struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd};
        siginfo_t info = {0};
        long pid = syscall(SYS_clone3, &a, sizeof a);
        bool ok;

        if (pid == 0)
                end();
        if (pid < 0)
                return false;
        ok = waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED | __WALL) == 0 &&
             info.si_status == 0;
        close(fd);
        return ok;
}

/* As the child of fork+waitpid ends. */
static void end_at_once(void)
{
        _exit(0);
}

static bool start_clone3(void)
{
        return start_and_end(end_at_once);
}

/* By the function that the parent called last: the child binds no symbol of its own. */
static void vanish(void)
{
        syscall(SYS_exit_group, 0);
}

static bool start_clone3_bare(void)
{
        return start_and_end(vanish);
}

/* As a C program ends: handlers, then streams. */
static void end_well(void)
{
        exit(0);
}

static bool start_clone3_exit(void)
{
        return start_and_end(end_well);
}

static bool start_fork(void)
{
        pid_t pid = fork();
        int status;

        if (pid == 0)
                _exit(0);
        return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

#ifdef BENCH_CREW_PROCESS
static int nothing(void *arg)
{
        (void)arg;
        return 0;
}

static bool start_by(int method)
{
        crew_auto(process) p = NULL;
        int code = -1;

        return crew_process_launch(&p, nothing, NULL, CREW_OPT(process, .method = method)) == 0 &&
               crew_process_join(p, CREW_FOREVER) == 0 && crew_process_exitcode(p, &code) == 0 &&
               code == 0;
}

/* Made before the host grows; its workers are replaced after each task. */
static crew_pool *pool;

static bool make_pool(void)
{
        return crew_pool_new(&pool, 1, CREW_OPT(pool, .tasks_per_worker = 1)) == 0;
}

static int no_task(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        return 0;
}

static bool start_worker(void)
{
        return crew_pool_apply(pool, no_task, NULL, 0, NULL, 0, CREW_S(10), NULL) == 0;
}

static bool start_crew(void)
{
        return start_by(CREW_METHOD_FORK);
}

static bool start_crew_forkserver(void)
{
        return start_by(CREW_METHOD_FORKSERVER);
}

static bool start_crew_spawn(void)
{
        return start_by(CREW_METHOD_SPAWN);
}
#endif

static const struct way {
        const char *name;
        const char *missing;
        bool (*start)(void);
        bool (*prepare)(void); /* before the host grows */
} ways[] = {
#ifdef BENCH_CREW_PROCESS
        {"crew", NULL, start_crew},
#else
        {"crew", "the process is not built", NULL},
#endif
        {"clone3+waitid", NULL, start_clone3},
        {"clone3, bare", NULL, start_clone3_bare},
        {"clone3, exit()", NULL, start_clone3_exit},
        {"fork+waitpid", NULL, start_fork},
#ifdef BENCH_PYTHON
        {"python-Process", NULL, NULL},
#else
        {"python-Process", "no python3 when this was built", NULL},
#endif
#ifdef BENCH_CREW_PROCESS
        {"crew, fork server", NULL, start_crew_forkserver},
        {"crew, spawn", NULL, start_crew_spawn},
        {"crew, pool's worker", NULL, start_worker, make_pool},
#endif
};
#define WAYS (sizeof ways / sizeof *ways)

/* A fork by clone3 in a host with threads is what nobody may do; a pool has a thread; Python has a
 * size of its own. */
static bool offers(unsigned cell, unsigned row)
{
        if (cell % SIZES >= 2 && !big)
                return false;
        if (row == 8)
                return cell >= SIZES;
        if (row >= 6)
                return true;
        if (row >= 1 && row <= 3)
                return cell < SIZES;
        return row != 5 || cell == 1;
}

static void *idle(void *arg)
{
        (void)arg;
        while (pause() != 0)
                ;
        return NULL;
}

struct host {
        const struct way *way;
        size_t extra;
        bool threaded;
};

/* Pages of the usual size, whatever the system's policy: their tables are what a fork copies. */
static bool grow(size_t size)
{
        void *p;

        if (size == 0)
                return true;
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return false;
        madvise(p, size, MADV_NOHUGEPAGE);
        memset(p, 1, size);
        return true;
}

/* In a process of its own, the host. The first start of all makes the server, if there is one. */
static bool prepare_host(struct bench_shared *s, unsigned who, void *arg)
{
        const struct host *h = arg;
        pthread_t thread;

        (void)s;
        (void)who;
        return (!h->way->prepare || h->way->prepare()) && grow(h->extra) &&
               (!h->threaded || pthread_create(&thread, NULL, idle, NULL) == 0) && h->way->start();
}

/* There: starts others until its time is over. */
static void run_host(struct bench_shared *s, unsigned who, void *arg)
{
        struct host *h = arg;
        double *us = malloc(MAX_STARTS * sizeof *us);
        struct bench_member *m = &s->member[who];
        size_t n = 0;

        if (!us)
                _exit(3);
        while (n < MAX_STARTS && (n < MIN_STARTS || !atomic_load(&s->stop))) {
                int64_t start = bench_now();

                if (!h->way->start()) {
                        bench_why(m->why, "a start or a join failed");
                        break;
                }
                us[n++] = (double)(bench_now() - start) / 1e3;
        }
        m->value = bench_median(us, n);
        free(us);
}

static int measure_python(struct bench *b, struct bench_result *r)
{
#ifdef BENCH_PYTHON
        char seconds[24];
        char *argv[] = {(char *)(uintptr_t)BENCH_PYTHON, (char *)(uintptr_t)BENCH_PEERS_PY,
                (char *)(uintptr_t) "start", seconds, NULL};
        char out[64];

        snprintf(seconds, sizeof seconds, "%g", b->ms / 1e3);
        if (bench_spawn(argv, out, sizeof out, 30, r->why) != 0)
                return -1;
        r->value = strtod(out, NULL);
        return 0;
#else
        (void)b;
        (void)r;
        return -1;
#endif
}

static int measure(struct bench *b, unsigned cell, unsigned row, struct bench_result *r)
{
        struct host h = {&ways[row], extra[cell % SIZES], cell >= SIZES};
        struct bench_group g = {.members = 1,
                .prepare = prepare_host,
                .memory = h.extra,
                .run = run_host,
                .arg = &h};

        if (!ways[row].start)
                return measure_python(b, r);
        return bench_group_value(b, &g, r);
}

static bool option(const char *name, const char *value)
{
        if (strcmp(name, "--big") != 0 || !value)
                return false;
        big = strcmp(value, "yes") == 0;
        return true;
}

int main(int argc, char **argv)
{
        static struct bench_row rows[WAYS];
        struct bench b = {
                .name = "bench-start",
                .cells = cells,
                .n_cells = CELLS,
                .rows = rows,
                .n_rows = WAYS,
                .targets = targets,
                .n_targets = sizeof targets / sizeof *targets,
                .offers = offers,
                .measure = measure,
                .option = option,
                .option_help = "  --big yes     also in hosts of 1 and 2 GiB (slow)\n",
        };

#ifdef BENCH_CREW_PROCESS
        crew_spawn_main();
#endif

        for (unsigned i = 0; i < WAYS; i++) {
                rows[i].name = ways[i].name;
                rows[i].missing = ways[i].missing;
                rows[i].every = ways[i].start ? 0 : 3;
        }
        return bench_main(&b, argc, argv);
}
