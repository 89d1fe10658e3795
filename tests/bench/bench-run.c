/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBE_BATCHES 64
#define PROBE_TRIPS 32
#define PROBE_NS 50000000 /* give up: somebody else has the processor */
#define PROBE_ABORT UINT32_MAX
#define STUCK_NS 5000000000 /* before its time and after the end of it */
#define NS_PER_BYTE 20      /* a page of 4 KiB takes 2 us, or 80 with 40 others on the processor */

extern char **environ;

int64_t bench_now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void bench_why(char why[BENCH_WHY], const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(why, BENCH_WHY, format, args);
        va_end(args);
}

void bench_pin(int cpu)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0)
                _exit(3);
}

void bench_unpin(const struct bench *b)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(b->cpu[0], &set);
        CPU_SET(b->cpu[1], &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0)
                _exit(3);
}

struct bench_shared *bench_shared_new(void)
{
        void *p = mmap(NULL, sizeof(struct bench_shared), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        if (p == MAP_FAILED)
                abort();
        return p;
}

void bench_shared_free(struct bench_shared *s)
{
        munmap(s, sizeof *s);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout)
{
        syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
        syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Sleeps, so that waiting members do not disturb the probe of the others. */
static void barrier(struct bench_shared *s, unsigned n)
{
        uint32_t generation = atomic_load(&s->generation);

        if (atomic_fetch_add(&s->arrived, 1) + 1 == n) {
                atomic_store(&s->arrived, 0);
                atomic_fetch_add(&s->generation, 1);
                futex_wake(&s->generation);
        } else {
                while (atomic_load(&s->generation) == generation)
                        futex_wait(&s->generation, generation, NULL);
        }
}

static double probe_asking(struct bench_shared *s)
{
        double batch[PROBE_BATCHES];
        int64_t first = bench_now();
        int64_t start = first;
        uint32_t trip = 0;

        for (unsigned i = 0; i < PROBE_BATCHES; i++) {
                int64_t end;

                for (unsigned j = 0; j < PROBE_TRIPS; j++) {
                        atomic_store_explicit(&s->ping, ++trip, memory_order_release);
                        while (atomic_load_explicit(&s->pong, memory_order_acquire) != trip)
                                ;
                }
                end = bench_now();
                batch[i] = (double)(end - start) / PROBE_TRIPS;
                start = end;
                if (end - first > PROBE_NS) {
                        atomic_store(&s->ping, PROBE_ABORT);
                        return 0;
                }
        }
        atomic_store(&s->ping, PROBE_ABORT);
        return bench_median(batch, PROBE_BATCHES);
}

static void probe_answering(struct bench_shared *s)
{
        uint32_t seen = 0;

        for (;;) {
                uint32_t ping = atomic_load_explicit(&s->ping, memory_order_acquire);

                if (ping == PROBE_ABORT)
                        return;
                if (ping != seen) {
                        seen = ping;
                        atomic_store_explicit(&s->pong, ping, memory_order_release);
                }
        }
}

/* Every member calls it; the first two, pinned apart, do the probe. */
static void probe(struct bench *b, struct bench_shared *s, unsigned who, unsigned n, double *ns)
{
        if (who == 0) {
                atomic_store(&s->ping, 0);
                atomic_store(&s->pong, 0);
        }
        if (who < 2)
                bench_pin(b->cpu[who]);
        barrier(s, n);
        if (who == 0)
                *ns = probe_asking(s);
        else if (who == 1)
                probe_answering(s);
        barrier(s, n);
}

static void member(
        struct bench *b, struct bench_shared *s, const struct bench_group *g, unsigned who)
{
        bool ready;

        if (g->probe)
                probe(b, s, who, g->members, &s->before);
        ready = !g->prepare || g->prepare(s, who, g->arg);
        if (!ready && !s->member[who].why[0])
                bench_why(s->member[who].why, "a process could not be prepared");
        if (g->same)
                bench_pin(b->cpu[0]);
        else if (g->pin)
                bench_pin(b->cpu[who % 2]);
        else
                bench_unpin(b);
        if (ready)
                barrier(s, g->members);
        if (who == 0 || !ready) {
                atomic_store(&s->started, 1);
                futex_wake(&s->started);
        }
        if (!ready)
                return;
        g->run(s, who, g->arg);
        barrier(s, g->members);
        if (g->probe)
                probe(b, s, who, g->members, &s->after);
}

static bool wait_until(_Atomic uint32_t *word, int64_t deadline)
{
        while (atomic_load(word) == 0) {
                int64_t left = deadline - bench_now();
                struct timespec t = {left / 1000000000, left % 1000000000};

                if (left <= 0)
                        return false;
                futex_wait(word, 0, &t);
        }
        return true;
}

/* Collects the members until `deadline`; kills those that are left. Returns how many failed. */
static int collect(pid_t *pids, unsigned n, int64_t deadline, bool *stuck)
{
        struct timespec tick = {0, 1000000};
        unsigned left = n;
        int failed = 0;

        while (left > 0) {
                for (unsigned i = 0; i < n; i++) {
                        int status;

                        if (pids[i] <= 0 || waitpid(pids[i], &status, WNOHANG) != pids[i])
                                continue;
                        pids[i] = 0;
                        left--;
                        if (status != 0) {
                                failed++;
                                /* The others may wait for it: no use in being patient. */
                                deadline = bench_now();
                        }
                }
                if (left > 0 && bench_now() > deadline) {
                        *stuck = failed == 0;
                        for (unsigned i = 0; i < n; i++)
                                if (pids[i] > 0)
                                        kill(pids[i], SIGKILL);
                        deadline = INT64_MAX;
                }
                if (left > 0)
                        nanosleep(&tick, NULL);
        }
        return failed;
}

int bench_group_run(struct bench *b, struct bench_shared *s, const struct bench_group *g,
        struct bench_result *r)
{
        pid_t pids[BENCH_MAX_MEMBERS];
        int64_t ns = (int64_t)(b->ms * 1e6);
        int64_t patience = STUCK_NS + (int64_t)g->memory * NS_PER_BYTE;
        bool began, stuck = false;
        int failed;

        fflush(NULL);
        for (unsigned i = 0; i < g->members; i++) {
                pids[i] = fork();
                if (pids[i] < 0)
                        abort();
                if (pids[i] == 0) {
                        prctl(PR_SET_PDEATHSIG, SIGKILL);
                        prctl(PR_SET_TIMERSLACK, 1);
                        member(b, s, g, i);
                        _exit(s->member[i].why[0] ? 2 : 0);
                }
        }
        if (g->release)
                g->release(g->arg);
        began = wait_until(&s->started, bench_now() + patience);
        if (began) {
                struct timespec t = {ns / 1000000000, ns % 1000000000};

                nanosleep(&t, NULL);
        }
        atomic_store(&s->stop, 1);
        failed = collect(pids, g->members, bench_now() + (began ? patience : 0), &stuck);
        r->before = s->before;
        r->after = s->after;
        for (unsigned i = 0; i < g->members; i++)
                if (s->member[i].why[0])
                        bench_why(r->why, "%s", s->member[i].why);
        if (stuck)
                bench_why(r->why, "stuck for %d s %s the run", (int)(patience / 1000000000),
                        began ? "after" : "before");
        else if (failed && !r->why[0])
                bench_why(r->why, "a process of the run failed");
        return r->why[0] ? -1 : 0;
}

int bench_group_value(struct bench *b, const struct bench_group *g, struct bench_result *r)
{
        struct bench_shared *s = bench_shared_new();
        int err = bench_group_run(b, s, g, r);

        r->value = s->member[0].value;
        bench_shared_free(s);
        return err;
}

static void nothing(struct bench_shared *s, unsigned who, void *arg)
{
        (void)s;
        (void)who;
        (void)arg;
}

double bench_probe(struct bench *b)
{
        struct bench_group g = {.members = 2, .pin = true, .probe = true, .run = nothing};
        struct bench_shared *s = bench_shared_new();
        struct bench short_run = *b;
        struct bench_result r = {0};
        double ns = 0;

        short_run.ms = 0;
        if (bench_group_run(&short_run, s, &g, &r) == 0 &&
                bench_classify(r.before, r.after) != BENCH_MIXED)
                ns = r.before;
        bench_shared_free(s);
        return ns;
}

static int read_all(int fd, char *out, size_t cap, int64_t deadline)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        size_t n = 0;

        for (;;) {
                int64_t left = (deadline - bench_now()) / 1000000;
                char skip[4096];
                ssize_t got;

                if (left <= 0 || poll(&p, 1, (int)left) <= 0)
                        return -1;
                got = n + 1 < cap ? read(fd, out + n, cap - 1 - n) : read(fd, skip, sizeof skip);
                if (got <= 0)
                        break;
                if (n + 1 < cap)
                        n += (size_t)got;
        }
        out[n] = '\0';
        return 0;
}

int bench_spawn(char *const argv[], char *out, size_t cap, double seconds, char why[BENCH_WHY])
{
        posix_spawn_file_actions_t actions;
        int64_t deadline = bench_now() + (int64_t)(seconds * 1e9);
        int fds[2];
        int status = 0;
        int err;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) != 0)
                abort();
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
        err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        close(fds[1]);
        if (err != 0) {
                close(fds[0]);
                bench_why(why, "%s: %s", argv[0], strerror(err));
                return -1;
        }
        if (read_all(fds[0], out, cap, deadline) != 0) {
                kill(pid, SIGKILL);
                bench_why(why, "%s: no answer within %.0f s", argv[0], seconds);
        }
        close(fds[0]);
        waitpid(pid, &status, 0);
        if (status != 0 && !why[0])
                bench_why(why, "%s: wait status 0x%x", argv[0], (unsigned)status);
        return why[0] ? -1 : 0;
}
