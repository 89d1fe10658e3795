/* SPDX-License-Identifier: MIT */

/*
 * Producers are killed at random instants while one waiter, which goes from thread to thread, takes
 * their messages, joins them and starts others: nothing may be lost, doubled, reordered or stuck.
 */

#include "wait-help.h"

#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

WAIT_WARM_UP

enum { QUEUES = 3, SEATS = 4, THREADS = 3, TURNS_MAX = 20 };

struct message {
        uint32_t seat;
        uint32_t life;
        uint64_t number;
};

/* What a seat's producer is known to have put, in memory that outlives it. */
struct seat {
        _Atomic uint64_t acknowledged;
};

static struct seat *seats;
static crew_queue *queues[QUEUES];
static crew_waiter *w;

static struct {
        crew_process *process;
        uint32_t life;
        uint64_t next; /* number expected */
        bool dying;
} lives[SEATS];

static struct message inbox[QUEUES];
static long long deaths, wanted, messages;
static unsigned seed = 1;

static int produce(void *data)
{
        uint32_t seat = (uint32_t)(uintptr_t)data;
        struct message m = { .seat = seat, .life = lives[seat].life };

        for (;; m.number++) {
                /* One queue per seat keeps its order. */
                if (CREW_PUT(queues[seat % QUEUES], &m, CREW_S(20)) < 0)
                        return 1;
                atomic_store(&seats[seat].acknowledged, m.number + 1);
                if (m.number % 64 == 63)
                        usleep(300);
        }
        return 0;
}

static void be_born(uint32_t seat)
{
        lives[seat].life++;
        lives[seat].next = 0;
        lives[seat].dying = false;
        atomic_store(&seats[seat].acknowledged, 0);
        REQUIRE_OK(
                crew_process_launch(&lives[seat].process, produce, (void *)(uintptr_t)seat, NULL));
        REQUIRE_OK(crew_waiter_join(w, lives[seat].process, 100 + seat));
}

static void note(unsigned q)
{
        const struct message *m = &inbox[q];

        REQUIRE(m->seat < SEATS);
        REQUIRE(m->seat % QUEUES == q);
        CHECK_INT(m->life, ==, lives[m->seat].life);
        CHECK_INT(m->number, ==, lives[m->seat].next);
        lives[m->seat].next = m->number + 1;
        messages++;
}

static void take(unsigned q)
{
        note(q);
        REQUIRE_OK(crew_waiter_get(w, queues[q], &inbox[q], sizeof inbox[q], q));
}

/* It is dead: whatever it put is in the queue. */
static void bury(uint32_t seat)
{
        unsigned q = seat % QUEUES;
        uint64_t acknowledged = atomic_load(&seats[seat].acknowledged);

        crew_process_free(lives[seat].process);
        /* The armed get would take the next one; cancelled, it has taken none. */
        CHECK_INT(crew_waiter_cancel(w, q), ==, 1);
        while (CREW_GET(queues[q], &inbox[q], CREW_NOW) == 0 && inbox[q].seat < SEATS)
                note(q);
        REQUIRE_OK(crew_waiter_get(w, queues[q], &inbox[q], sizeof inbox[q], q));
        CHECK_INT(lives[seat].next, >=, acknowledged);
        /* The one after the last acknowledged may be there or not. */
        CHECK_INT(lives[seat].next, <=, acknowledged + 1);
        deaths++;
}

static void turn(void)
{
        crew_completion c[4];
        int n = wait_some(w, c, 1 + (int)(rand_r(&seed) % 4), CREW_S(10));
        uint32_t seat = (uint32_t)rand_r(&seed) % SEATS;

        if (n < 0) {
                INFO("%s after %lld deaths", crew_error_name(n), deaths);
                REQUIRE(n > 0);
        }
        for (int i = 0; i < n; i++) {
                if (c[i].kind == CREW_GOT) {
                        REQUIRE(c[i].result == sizeof(struct message));
                        take((unsigned)c[i].tag);
                }
        }
        for (int i = 0; i < n; i++) {
                if (c[i].kind == CREW_JOINED) {
                        bury((uint32_t)c[i].tag - 100);
                        be_born((uint32_t)c[i].tag - 100);
                }
        }
        if (!lives[seat].dying && rand_r(&seed) % 100 == 0) {
                lives[seat].dying = true;
                REQUIRE_OK(crew_process_kill(lives[seat].process));
        }
}

static sem_t may_go[THREADS];

static void *taker(void *data)
{
        int self = (int)(intptr_t)data;
        bool over;

        for (;;) {
                while (sem_wait(&may_go[self]) != 0)
                        continue;
                for (unsigned turns = (unsigned)rand_r(&seed) % TURNS_MAX; turns && deaths < wanted;
                        turns--)
                        turn();
                over = deaths >= wanted;
                REQUIRE(sem_post(&may_go[(self + 1) % THREADS]) == 0);
                if (over)
                        return NULL;
        }
}

TEST(killed_producers, "producers die at any instant under a waiter that changes threads",
        "[stress][wait]")
{
        pthread_t threads[THREADS];

        TEST_DEADLINE(240);
        wanted = test_scale(10000, 60);
        seats = mmap(NULL, sizeof *seats * SEATS, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(seats != MAP_FAILED);
        w = new_waiter();
        for (unsigned q = 0; q < QUEUES; q++) {
                REQUIRE_OK(crew_queue_new(&queues[q], 16, NULL));
                REQUIRE_OK(crew_waiter_get(w, queues[q], &inbox[q], sizeof inbox[q], q));
        }
        for (uint32_t seat = 0; seat < SEATS; seat++)
                be_born(seat);
        /* All before the first thread, which may pass its turn on at once. */
        for (int i = 0; i < THREADS; i++)
                REQUIRE(sem_init(&may_go[i], 0, i == 0) == 0);
        for (int i = 0; i < THREADS; i++) {
                REQUIRE(pthread_create(&threads[i], NULL, taker, (void *)(intptr_t)i) == 0);
        }
        for (int i = 0; i < THREADS; i++)
                REQUIRE(pthread_join(threads[i], NULL) == 0);
        INFO("%lld deaths, %lld messages", deaths, messages);
        CHECK_INT(messages, >, deaths);
        for (uint32_t seat = 0; seat < SEATS; seat++) {
                REQUIRE_OK(crew_process_kill(lives[seat].process));
                REQUIRE_OK(crew_process_join(lives[seat].process, CREW_S(5)));
                crew_process_free(lives[seat].process);
        }
        crew_waiter_free(w);
        for (unsigned q = 0; q < QUEUES; q++)
                crew_queue_free(queues[q]);
        (void)crew_active_children(NULL, 0);
        (void)munmap(seats, sizeof *seats * SEATS);
}
