/* SPDX-License-Identifier: MIT */

/*
 * Two producers and two consumers, one of them SIGKILLed at a random moment and replaced, again and
 * again. Each process logs to memory of its own, so a log is whole whoever dies:
 *
 *      a producer   how many messages it began to put, and how many puts returned
 *      a consumer   each message that it got
 *
 * What a producer's put returned for was got, but for one message per killed consumer (taken, not
 * yet logged); what was got had been begun; nothing was got twice or in another order than a
 * producer's own; and nobody waited longer than 100 ms, less what the machine itself kept it
 * waiting, which canaries tell.
 *
 * Its twin takes the robust lists away and sees everybody stop.
 */

#include "check.h"
#include "kill.h"
#include "queue/queue.h"

#include <crew/queue.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOUND CREW_MS(100)
#define SUSPICIOUS CREW_MS(15)
#define HANG CREW_MS(600)

enum { WORKERS = 4, PRODUCERS = 2, LOG = 1 << 18, WORDS = 32 };

/* The memory of one process: written by it, read by the parent. */
struct log {
        _Atomic int64_t since; /* of the call it is in, 0 outside */
        _Atomic int64_t longest;
        _Atomic uint64_t begun, put; /* producer */
        _Atomic uint64_t got;        /* consumer: how many entries */
        _Atomic uint64_t merged;     /* of these, by the parent: the rest must fit */
        uint64_t entry[LOG];         /* {incarnation, number}, a ring */
};

/* What the parent knows of one incarnation of a producer. */
struct producer {
        uint64_t begun, put, got;
        unsigned char *seen; /* a bit per number */
        uint64_t room;
};

struct crowd {
        crew_queue *q;
        struct log *log[WORKERS];
        pid_t pid[WORKERS];
        uint32_t incarnation[WORKERS];
        uint64_t merged[WORKERS];
        struct producer *producer;
        uint32_t producers;
        long kills[2]; /* of producers, of consumers */
        bool listed;
        _Atomic uint32_t *stop;
        int slot; /* for the child that starts */
};

static void in_call(struct log *log)
{
        atomic_store_explicit(&log->since, peer_now(), memory_order_relaxed);
}

static void out_of_call(struct log *log)
{
        int64_t took = peer_now() - atomic_load_explicit(&log->since, memory_order_relaxed);

        atomic_store_explicit(&log->since, 0, memory_order_relaxed);
        if (took > atomic_load_explicit(&log->longest, memory_order_relaxed))
                atomic_store_explicit(&log->longest, took, memory_order_relaxed);
}

static void produce(struct crowd *c, struct log *log, uint32_t incarnation)
{
        uint64_t random = (uint64_t)incarnation * 7919 + 1, message[WORDS];

        for (uint64_t n = 0; !atomic_load(c->stop); n++) {
                size_t words = 1 + peer_random(&random) % WORDS;
                int r;

                for (size_t i = 0; i < words; i++)
                        message[i] = (uint64_t)incarnation << 40 | n;
                atomic_store(&log->begun, n + 1);
                in_call(log);
                r = crew_queue_put(c->q, message, words * 8, CREW_S(30));
                out_of_call(log);
                REQUIRE(r == 0);
                atomic_store(&log->put, n + 1);
        }
}

static void consume(struct crowd *c, struct log *log)
{
        uint64_t message[WORDS], n = 0;
        ssize_t size;

        for (;;) {
                in_call(log);
                size = crew_queue_get(c->q, message, sizeof message, CREW_S(30));
                out_of_call(log);
                if (size == -EPIPE)
                        return;
                REQUIRE(size > 0 && size % 8 == 0);
                for (ssize_t i = 1; i < size / 8; i++)
                        REQUIRE(message[i] == message[0]);
                /* Outside of any call: a parent that is not scheduled delays nobody's get. */
                while (n - atomic_load_explicit(&log->merged, memory_order_acquire) >= LOG - 1)
                        (void)usleep(100);
                log->entry[n % LOG] = message[0];
                atomic_store_explicit(&log->got, ++n, memory_order_release);
        }
}

static void work(void *arg)
{
        struct crowd *c = arg;
        struct log *log = c->log[c->slot];

        if (!c->listed)
                crew__thread_self()->robust = NULL;
        if (c->slot < PRODUCERS)
                produce(c, log, c->incarnation[c->slot]);
        else
                consume(c, log);
}

static void start(struct crowd *c, int slot)
{
        struct log *log = c->log[slot];

        atomic_store(&log->since, 0);
        atomic_store(&log->begun, 0);
        atomic_store(&log->put, 0);
        atomic_store(&log->got, 0);
        c->merged[slot] = 0;
        atomic_store(&log->merged, 0);
        if (slot < PRODUCERS) {
                c->incarnation[slot] = c->producers++;
                c->producer = realloc(c->producer, c->producers * sizeof *c->producer);
                REQUIRE(c->producer);
                c->producer[c->producers - 1] = (struct producer){0};
        }
        c->slot = slot;
        c->pid[slot] = peer_start(work, c);
}

static void saw(struct crowd *c, uint64_t entry)
{
        uint64_t incarnation = entry >> 40, n = entry & ((UINT64_C(1) << 40) - 1);
        struct producer *p;

        REQUIRE(incarnation < c->producers);
        p = &c->producer[incarnation];
        if (n >= p->room) {
                uint64_t room = (n + 1) * 2;

                p->seen = realloc(p->seen, room / 8 + 1);
                REQUIRE(p->seen);
                memset(p->seen + (p->room ? p->room / 8 + 1 : 0), 0,
                        room / 8 + 1 - (p->room ? p->room / 8 + 1 : 0));
                p->room = room;
        }
        CHECK(!(p->seen[n / 8] >> n % 8 & 1));
        p->seen[n / 8] |= (unsigned char)(1 << n % 8);
        p->got++;
}

static void merge(struct crowd *c, int slot)
{
        struct log *log = c->log[slot];
        uint64_t got = atomic_load_explicit(&log->got, memory_order_acquire), last[1 << 12];

        if (slot < PRODUCERS) {
                c->producer[c->incarnation[slot]].begun = atomic_load(&log->begun);
                c->producer[c->incarnation[slot]].put = atomic_load(&log->put);
                return;
        }
        REQUIRE(got - c->merged[slot] < LOG);
        memset(last, 0, sizeof last);
        while (c->merged[slot] < got) {
                uint64_t entry = log->entry[c->merged[slot]++ % LOG];
                uint64_t *before = &last[entry >> 40 & 0xfff];

                /* One consumer gets one producer's messages in their order. */
                CHECK(entry >> 40 != *before >> 40 || entry > *before || *before == 0);
                *before = entry;
                saw(c, entry);
        }
        atomic_store_explicit(&log->merged, got, memory_order_release);
}

/* The longest that anybody waited since the last look. */
static int64_t longest_wait(struct crowd *c)
{
        int64_t longest = 0;

        for (int i = 0; i < WORKERS; i++) {
                int64_t since = atomic_load(&c->log[i]->since);
                int64_t done = atomic_exchange(&c->log[i]->longest, 0);
                int64_t now = since ? peer_now() - since : 0;

                longest = done > longest ? done : longest;
                longest = now > longest ? now : longest;
        }
        return longest;
}

/*
 * The same, but a wait that has begun to be long is seen through to its end (or to HANG): the next
 * kills would otherwise replace those who wait, and with them the evidence.
 */
static int64_t longest_seen_through(struct crowd *c)
{
        int64_t longest = 0, now;

        do {
                /* In the twin nobody may look for a dead owner either. */
                if (!c->listed) {
                        atomic_store(&c->q->ring->producers.lock.watched, 0);
                        atomic_store(&c->q->ring->consumers.lock.watched, 0);
                }
                now = longest_wait(c);
                longest = now > longest ? now : longest;
                if (now > SUSPICIOUS)
                        peer_pause(CREW_MS(1));
        } while (now > SUSPICIOUS && now < HANG);
        return longest;
}

static void begin(struct crowd *c, bool listed)
{
        *c = (struct crowd){.listed = listed};
        c->stop = peer_memory(4096);
        REQUIRE_OK(crew_queue_new(&c->q, 40, CREW_OPT(queue, .bytes = 4088)));
        for (int i = 0; i < WORKERS; i++)
                c->log[i] = peer_memory(sizeof(struct log));
        for (int i = 0; i < WORKERS; i++)
                start(c, i);
}

static void end(struct crowd *c)
{
        for (uint32_t i = 0; i < c->producers; i++)
                free(c->producer[i].seen);
        free(c->producer);
        for (int i = 0; i < WORKERS; i++)
                peer_memory_free(c->log[i], sizeof(struct log));
        (void)crew_queue_free(c->q);
        peer_memory_free(c->stop, 4096);
}

static void kill_and_replace(struct crowd *c, int slot)
{
        peer_kill(c->pid[slot]);
        merge(c, slot);
        c->kills[slot >= PRODUCERS]++;
        start(c, slot);
}

/* A consumer that drains the queue waits for room in its log, and for nobody else. */
static void merge_until_ended(struct crowd *c, int slot)
{
        int64_t late = peer_now() + CREW_S(10);
        siginfo_t info = { 0 };

        while (waitid(P_PID, (id_t)c->pid[slot], &info, WEXITED | WNOWAIT | WNOHANG) == 0 &&
                info.si_pid == 0 && peer_now() < late) {
                merge(c, slot);
                peer_pause(CREW_MS(1));
        }
}

static void finish(struct crowd *c)
{
        uint64_t missing = 0, all = 0;

        atomic_store(c->stop, 1);
        for (int i = 0; i < WORKERS; i++) {
                if (i == PRODUCERS)
                        REQUIRE_OK(crew_queue_close(c->q));
                merge_until_ended(c, i);
                CHECK_INT(peer_join(c->pid[i]), ==, 0);
                merge(c, i);
        }
        for (uint32_t i = 0; i < c->producers; i++) {
                struct producer *p = &c->producer[i];

                CHECK_INT(p->begun - p->put, <=, 1);
                for (uint64_t n = 0; n < p->put; n++)
                        missing += n >= p->room || !(p->seen[n / 8] >> n % 8 & 1);
                for (uint64_t n = p->begun; n < p->room; n++)
                        CHECK(!(p->seen[n / 8] >> n % 8 & 1));
                all += p->got;
        }
        INFO("%llu messages got, %llu taken by %ld killed consumers and not logged",
                (unsigned long long)all, (unsigned long long)missing, c->kills[1]);
        CHECK_INT(missing, <=, c->kills[1]);
        CHECK_INT(all, >, 0);
        CHECK(crew_queue_empty(c->q));
}

TEST(random_kills, "two producers and two consumers, one killed at a random moment and replaced",
        "[kill][queue]")
{
        uint64_t random = peer_seed();
        struct crowd c;
        struct canary *canary;
        int late = 0;

        TEST_DEADLINE(300);
        canary = canary_start();
        begin(&c, true);
        for (long long i = 0; i < test_scale(2000, 60); i++) {
                peer_pause((int64_t)(peer_random(&random) % 3000000));
                kill_and_replace(&c, (int)(peer_random(&random) % WORKERS));
                for (int k = PRODUCERS; k < WORKERS; k++)
                        merge(&c, k);
                late += canary_late(canary, longest_seen_through(&c), BOUND);
        }
        peer_pause(CREW_MS(50));
        late += canary_late(canary, longest_wait(&c), BOUND);
        INFO("%d late", late);
        CHECK_INT(late, <, 2);
        finish(&c);
        canary_stop(canary);
        end(&c);
}

TEST(random_twin, "without robust locks the same kills soon stop everybody", "[kill][queue][twin]")
{
        uint64_t random = peer_seed();
        int64_t stuck = 0;
        struct crowd c;

        TEST_DEADLINE(100);
        begin(&c, false);
        for (int i = 0; i < 2000 && stuck < HANG; i++) {
                peer_pause((int64_t)(peer_random(&random) % 3000000));
                kill_and_replace(&c, (int)(peer_random(&random) % WORKERS));
                for (int k = PRODUCERS; k < WORKERS; k++)
                        merge(&c, k);
                stuck = longest_seen_through(&c);
        }
        for (int i = 0; i < WORKERS; i++)
                peer_kill(c.pid[i]);
        CHECK_INT(stuck, >=, HANG);
        end(&c);
}
