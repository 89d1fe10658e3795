/* SPDX-License-Identifier: MIT */

/* Round trips of 64 B between two processes: spinning, back to back, and with the partner asleep.
 */

#include "bench.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef BENCH_CREW
#        include <crew/queue.h>
#endif

#define BYTES 64
#define BATCH 8 /* round trips per reading of the clock: it costs a fifth of the fastest one */
#define MAX_READINGS (1 << 18)
#define PAUSE_NS 300000 /* until the next round trip: whatever spins first has given up by then */
#define STOP UINT64_MAX

static const struct bench_cell cells[] = {
        {"two CPUs, back to back", "ns per round trip", true, true},
        {"two CPUs, partner asleep", "ns per round trip", true, true},
        {"one CPU, back to back", "ns per round trip", true, false},
};
enum { TWO, ASLEEP, ONE };

static const struct bench_target targets[] = {
        {"two CPUs, back to back", "crew", {"cache-line"}, BENCH_AT_MOST, 2.5},
        {"two CPUs, partner asleep", "crew", {"futex-pair"}, BENCH_AT_MOST, 1.15},
        {"one CPU, back to back", "crew", {"futex-pair"}, BENCH_AT_MOST, 1.5},
        {"two CPUs, back to back", "crew", {"futex-pair"}, BENCH_SHOWN},
        {"two CPUs, back to back", "crew", {"pipe", "eventfd"}, BENCH_SHOWN},
        {"two CPUs, partner asleep", "crew", {"pipe", "eventfd"}, BENCH_SHOWN},
        {"one CPU, back to back", "crew", {"pipe", "eventfd"}, BENCH_SHOWN},
};

/* One direction in shared memory. The line carries the turn and 56 bytes of the message. */
struct slot {
        _Alignas(128) _Atomic uint32_t turn;
        uint32_t unused;
        unsigned char rest[BYTES - 8];
};

/* Two directions: [0] to the partner, [1] back. */
struct channel {
        struct slot *slot;
        int fd[2][2]; /* pipe: read, write; eventfd: the same twice */
        void *queue[2];
        unsigned cell;
        bool failed;
};

struct message {
        uint64_t head;
        unsigned char middle[BYTES - 16];
        uint64_t tail;
};

struct peer {
        const char *name;
        const char *missing;
        bool spins; /* cannot share a processor with its partner */
        int (*setup)(struct channel *c);
        void (*teardown)(struct channel *c);
        size_t (*ask)(struct channel *c, const _Atomic uint32_t *stop, double *readings);
        void (*answer)(struct channel *c);
};

static void stamp(struct message *m, uint64_t n)
{
        m->head = n;
        m->tail = n;
        __asm__ volatile("" : : "r"(m) : "memory");
}

static void pause_between(void)
{
        struct timespec t = {0, PAUSE_NS};

        nanosleep(&t, NULL);
}

/* Both loops of a peer, around NAME_send and NAME_receive, so that the calls are direct ones. */
#define LOOPS(NAME)                                                                                \
        static size_t NAME##_ask(                                                                  \
                struct channel *c, const _Atomic uint32_t *stop, double *readings)                 \
        {                                                                                          \
                unsigned batch = c->cell == ASLEEP ? 1 : BATCH;                                    \
                struct message m = {0};                                                            \
                uint64_t sent = 0;                                                                 \
                size_t n = 0;                                                                      \
                                                                                                   \
                while (n < MAX_READINGS && !atomic_load_explicit(stop, memory_order_relaxed)) {    \
                        int64_t start;                                                             \
                                                                                                   \
                        if (c->cell == ASLEEP)                                                     \
                                pause_between();                                                   \
                        start = bench_now();                                                       \
                        for (unsigned i = 0; i < batch; i++) {                                     \
                                stamp(&m, ++sent);                                                 \
                                NAME##_send(c, 0, &m, (uint32_t)sent);                             \
                                NAME##_receive(c, 1, &m, (uint32_t)sent);                          \
                                c->failed |= m.tail != sent;                                       \
                        }                                                                          \
                        readings[n++] = (double)(bench_now() - start) / batch;                     \
                }                                                                                  \
                stamp(&m, STOP);                                                                   \
                NAME##_send(c, 0, &m, (uint32_t)sent + 1);                                         \
                return n;                                                                          \
        }                                                                                          \
        static void NAME##_answer(struct channel *c)                                               \
        {                                                                                          \
                struct message m = {0};                                                            \
                                                                                                   \
                for (uint32_t turn = 1;; turn++) {                                                 \
                        NAME##_receive(c, 0, &m, turn);                                            \
                        if (m.tail == STOP)                                                        \
                                return;                                                            \
                        NAME##_send(c, 1, &m, turn);                                               \
                }                                                                                  \
        }

static int slots_setup(struct channel *c)
{
        c->slot = mmap(NULL, 2 * sizeof *c->slot, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        return c->slot == MAP_FAILED ? -1 : 0;
}

static void slots_teardown(struct channel *c)
{
        munmap(c->slot, 2 * sizeof *c->slot);
}

static inline void line_send(struct channel *c, int way, const struct message *m, uint32_t turn)
{
        memcpy(c->slot[way].rest, (const char *)m + 8, sizeof c->slot[way].rest);
        atomic_store_explicit(&c->slot[way].turn, turn, memory_order_release);
}

static inline void line_receive(struct channel *c, int way, struct message *m, uint32_t turn)
{
        while (atomic_load_explicit(&c->slot[way].turn, memory_order_acquire) != turn)
                ;
        memcpy((char *)m + 8, c->slot[way].rest, sizeof c->slot[way].rest);
        __asm__ volatile("" : : "r"(m) : "memory");
}

LOOPS(line)

/* Wakes at every message, asleep or not: the plain protocol, without a word for "I sleep". */
static inline void futex_send(struct channel *c, int way, const struct message *m, uint32_t turn)
{
        line_send(c, way, m, turn);
        syscall(SYS_futex, &c->slot[way].turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline void futex_receive(struct channel *c, int way, struct message *m, uint32_t turn)
{
        uint32_t now;

        while ((now = atomic_load_explicit(&c->slot[way].turn, memory_order_acquire)) != turn)
                syscall(SYS_futex, &c->slot[way].turn, FUTEX_WAIT, now, NULL, NULL, 0);
        line_receive(c, way, m, turn);
}

LOOPS(futex)

static void close_fds(struct channel *c)
{
        for (int i = 0; i < 2; i++) {
                close(c->fd[i][0]);
                if (c->fd[i][1] != c->fd[i][0])
                        close(c->fd[i][1]);
        }
}

static int pipes_setup(struct channel *c)
{
        return pipe(c->fd[0]) != 0 || pipe(c->fd[1]) != 0 ? -1 : 0;
}

static inline void pipe_send(struct channel *c, int way, const struct message *m, uint32_t turn)
{
        (void)turn;
        if (write(c->fd[way][1], m, sizeof *m) != sizeof *m)
                _exit(3);
}

static inline void pipe_receive(struct channel *c, int way, struct message *m, uint32_t turn)
{
        (void)turn;
        if (read(c->fd[way][0], m, sizeof *m) != sizeof *m)
                _exit(3);
}

LOOPS(pipe)

/* The message in shared memory, the eventfd only to say so. */
static int eventfds_setup(struct channel *c)
{
        for (int i = 0; i < 2; i++)
                c->fd[i][0] = c->fd[i][1] = eventfd(0, EFD_CLOEXEC);
        return c->fd[0][0] < 0 || c->fd[1][0] < 0 ? -1 : slots_setup(c);
}

static void eventfds_teardown(struct channel *c)
{
        close_fds(c);
        slots_teardown(c);
}

static inline void event_send(struct channel *c, int way, const struct message *m, uint32_t turn)
{
        line_send(c, way, m, turn);
        if (eventfd_write(c->fd[way][1], 1) != 0)
                _exit(3);
}

static inline void event_receive(struct channel *c, int way, struct message *m, uint32_t turn)
{
        eventfd_t n;

        if (eventfd_read(c->fd[way][0], &n) != 0)
                _exit(3);
        line_receive(c, way, m, turn);
}

LOOPS(event)

#ifdef BENCH_CREW
static int queues_setup(struct channel *c)
{
        for (int i = 0; i < 2; i++) {
                crew_queue *q;

                if (crew_queue_new(&q, 0, NULL) != 0)
                        return -1;
                c->queue[i] = q;
        }
        return 0;
}

static void queues_teardown(struct channel *c)
{
        crew_queue_free(c->queue[0]);
        crew_queue_free(c->queue[1]);
}

static inline void crew_send(struct channel *c, int way, const struct message *m, uint32_t turn)
{
        (void)turn;
        if (crew_queue_put(c->queue[way], m, sizeof *m, CREW_FOREVER) != 0)
                _exit(3);
}

static inline void crew_receive(struct channel *c, int way, struct message *m, uint32_t turn)
{
        (void)turn;
        if (crew_queue_get(c->queue[way], m, sizeof *m, CREW_FOREVER) != sizeof *m)
                _exit(3);
}

LOOPS(crew)
#endif

static const struct peer peers[] = {
#ifdef BENCH_CREW
        {"crew", NULL, false, queues_setup, queues_teardown, crew_ask, crew_answer},
#else
        {.name = "crew", .missing = "the queue is not built"},
#endif
        {"cache-line", NULL, true, slots_setup, slots_teardown, line_ask, line_answer},
        {"futex-pair", NULL, false, slots_setup, slots_teardown, futex_ask, futex_answer},
        {"pipe", NULL, false, pipes_setup, close_fds, pipe_ask, pipe_answer},
        {"eventfd", NULL, false, eventfds_setup, eventfds_teardown, event_ask, event_answer},
};
#define PEERS (sizeof peers / sizeof *peers)

static bool offers(unsigned cell, unsigned row)
{
        return cell == TWO || !peers[row].spins;
}

struct run {
        const struct peer *peer;
        struct channel channel;
};

static void run_member(struct bench_shared *s, unsigned who, void *arg)
{
        struct run *run = arg;
        double *readings;
        size_t n;

        if (who == 1) {
                run->peer->answer(&run->channel);
                return;
        }
        readings = malloc(MAX_READINGS * sizeof *readings);
        if (!readings)
                _exit(3);
        n = run->peer->ask(&run->channel, &s->stop, readings);
        if (run->channel.failed || n == 0)
                bench_why(s->member[0].why, "a wrong message came back, or none");
        s->member[0].value = bench_median(readings, n);
        free(readings);
}

static int measure(struct bench *b, unsigned cell, unsigned row, struct bench_result *r)
{
        struct run run = {.peer = &peers[row], .channel = {.cell = cell}};
        struct bench_group g = {.members = 2,
                .pin = true,
                .same = cell == ONE,
                .probe = cell != ONE,
                .run = run_member,
                .arg = &run};
        int err = -1;

        if (run.peer->setup(&run.channel) != 0) {
                bench_why(r->why, "cannot be set up");
        } else {
                err = bench_group_value(b, &g, r);
                run.peer->teardown(&run.channel);
        }
        return err;
}

int main(int argc, char **argv)
{
        static struct bench_row rows[PEERS];
        struct bench b = {
                .name = "bench-latency",
                .cells = cells,
                .n_cells = sizeof cells / sizeof *cells,
                .rows = rows,
                .n_rows = PEERS,
                .targets = targets,
                .n_targets = sizeof targets / sizeof *targets,
                .offers = offers,
                .measure = measure,
        };

        for (unsigned i = 0; i < PEERS; i++) {
                rows[i].name = peers[i].name;
                rows[i].missing = peers[i].missing;
        }
        return bench_main(&b, argc, argv);
}
