/* SPDX-License-Identifier: MIT */
#include "queue/holders.h"

#include "base/fail.h"
#include "kernel/owner.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define CLAIM ((UINT64_C(1) << CREW__ROW_STATE_SHIFT) - 1)

/* A child whose parent died right after the fork has so long to appear; in ticks of 10 ms. */
#define ORPHAN_TICKS 300

/* What crew__segment.row says of a process that has dealt with it, but has no row. */
enum { NO_ROW = 0, BUSY = 1 };

/* Queues with CREW_QUEUE_EOF that this process has handles for: while there are none, starting a
 * process costs nothing. */
static _Atomic unsigned eof_handles;

static uint64_t word_of(unsigned state, uint64_t claim)
{
        return (uint64_t)state << CREW__ROW_STATE_SHIFT | (claim & CLAIM);
}

static unsigned state_of(uint64_t word)
{
        return (unsigned)(word >> CREW__ROW_STATE_SHIFT);
}

static bool may_put(unsigned state)
{
        return state != CREW__ROW_FREE && state != CREW__ROW_TAKES;
}

static uint64_t claim_of(pid_t pid)
{
        return crew__claim_make((uint32_t)pid);
}

void crew__holders_handle(crew_queue *q)
{
        if (!q->rows)
                return;
        (void)atomic_fetch_add(&q->segment->handles, 1);
        if (q->flags & CREW_QUEUE_EOF)
                (void)atomic_fetch_add(&eof_handles, 1);
}

static bool anybody_puts(crew_queue *q)
{
        for (unsigned i = 0; i < CREW__ROWS; i++) {
                if (may_put(state_of(atomic_load(&q->rows[i].word))))
                        return true;
        }
        return false;
}

/* After a row went: closes the queue if nobody is left who could put. */
static void close_if_over(crew_queue *q)
{
        if (q->flags & CREW_QUEUE_EOF && !(crew__queue_state(q) & CREW__STATE_CLOSED) &&
                !anybody_puts(q))
                crew__queue_shut(q, CREW__STATE_OVER);
}

/* Whoever waits in a join counts again. */
static void row_went(crew_queue *q)
{
        close_if_over(q);
        if (q->flags & CREW_QUEUE_JOINABLE)
                crew__events_notify(&q->ring->finished, crew__queue_bell(q, CREW__QUEUE_GET));
}

static void remove_row(crew_queue *q, uint32_t row)
{
        uint64_t word;

        if (row == 0 || row > CREW__ROWS)
                return;
        word = atomic_load(&q->rows[row - 1].word);
        if (crew__claim_tid(word) == (uint32_t)getpid() &&
                atomic_compare_exchange_strong(&q->rows[row - 1].word, &word, 0))
                row_went(q);
}

void crew__holders_free(crew_queue *q)
{
        crew__segment *s = q->segment;

        if (!q->rows)
                return;
        if (q->flags & CREW_QUEUE_EOF)
                (void)atomic_fetch_sub(&eof_handles, 1);
        if (q->uncounted)
                return;
        if (atomic_fetch_sub(&s->handles, 1) != 1 || atomic_load(&s->row_of) != crew__generation())
                return;
        atomic_store(&s->row_of, 0);
        remove_row(q, atomic_exchange(&s->row, 0));
}

/*
 * Dead is the whole process, not only its first thread. The parent of an expected child counts in
 * place of the child, and a while longer.
 */
static uint64_t judged(uint64_t word, uint64_t now)
{
        uint64_t claim = word & CLAIM;

        if (state_of(word) == CREW__ROW_ORPHAN)
                return (now >> CREW__CLAIM_TID_BITS) - (claim >> CREW__CLAIM_TID_BITS) >
                                       ORPHAN_TICKS
                               ? 0
                               : word;
        if (!crew__process_is_dead(claim))
                return word;
        return state_of(word) == CREW__ROW_EXPECTED
                       ? word_of(CREW__ROW_ORPHAN,
                                 now - crew__claim_tid(now) + crew__claim_tid(claim))
                       : 0;
}

static void sweep(crew_queue *q)
{
        uint64_t now = claim_of(getpid());
        bool went = false;

        for (unsigned i = 0; i < CREW__ROWS; i++) {
                uint64_t word = atomic_load(&q->rows[i].word), then;

                if (state_of(word) == CREW__ROW_FREE ||
                        crew__claim_tid(word) == crew__claim_tid(now))
                        continue;
                then = judged(word, now);
                if (then != word && atomic_compare_exchange_strong(&q->rows[i].word, &word, then))
                        went |= then == 0;
        }
        if (went)
                row_went(q);
        else
                close_if_over(q); /* in the place of one who died between the two */
}

void crew__holders_sweep(crew_queue *q)
{
        uint32_t now = (uint32_t)(crew_clock() / 1000000), last = atomic_load(&q->ring->swept);

        /* One for all that wait. */
        if (now - last < CREW__SLICE / 1000000 ||
                !atomic_compare_exchange_strong(&q->ring->swept, &last, now))
                return;
        sweep(q);
}

/*
 * A row that fits gets that word; from 1, or 0. In the states that are claimed so nobody counts
 * what it has taken, so the counters of whoever had the row before are made even here.
 */
static uint32_t claim_row(crew_queue *q, bool (*fits)(uint64_t word, uint32_t tid), uint64_t then)
{
        for (uint32_t i = 0; i < CREW__ROWS; i++) {
                uint64_t word = atomic_load(&q->rows[i].word);

                if (!fits(word, crew__claim_tid(then)) ||
                        !atomic_compare_exchange_strong(&q->rows[i].word, &word, then))
                        continue;
                atomic_store(&q->rows[i].done, atomic_load(&q->rows[i].taken));
                return i + 1;
        }
        return 0;
}

static bool is_free(uint64_t word, uint32_t tid)
{
        (void)tid;
        return word == 0;
}

/* Written by the parent, or left by another process that had the number before. */
static bool is_mine(uint64_t word, uint32_t tid)
{
        unsigned state = state_of(word);

        return (state == CREW__ROW_PUTS || state == CREW__ROW_TAKES) &&
               crew__claim_tid(word) == tid;
}

static int no_row(const crew_queue *q)
{
        return crew__fail(ENOSPC,
                "queue %.63s: %d processes hold it, and its table has room for no more",
                q->ring->name, CREW__ROWS);
}

static uint32_t claim_free_row(crew_queue *q, unsigned state, uint64_t claim)
{
        uint32_t row = claim_row(q, is_free, word_of(state, claim));

        if (row)
                return row;
        sweep(q);
        return claim_row(q, is_free, word_of(state, claim));
}

/* A row of this process. */
static uint32_t take_row(crew_queue *q, uint64_t claim)
{
        uint32_t row = claim_row(q, is_mine, word_of(CREW__ROW_EXPECTED, claim));

        if (!row)
                row = claim_free_row(q, CREW__ROW_EXPECTED, claim);
        if (row)
                atomic_store(&q->rows[row - 1].word, word_of(CREW__ROW_PUTS, claim));
        return row;
}

int crew__holders_adopt(crew_queue *q)
{
        crew__segment *s = q->segment;
        uint64_t mine = crew__generation(), seen = atomic_load(&s->row_of);
        uint64_t claim = claim_of(getpid());
        uint32_t row;

        while (seen != mine) {
                if (seen == BUSY || !atomic_compare_exchange_strong(&s->row_of, &seen, BUSY)) {
                        (void)sched_yield();
                        seen = atomic_load(&s->row_of);
                        continue;
                }
                row = take_row(q, claim);
                if (!row) {
                        atomic_store(&s->row_of, 0);
                        return no_row(q);
                }
                atomic_store(&s->row, row);
                atomic_store(&s->row_of, mine);
                return 0;
        }
        return 0;
}

int crew__queue_pool_joins(crew_queue *q)
{
        if (!(q->flags & CREW_QUEUE_EOF) || !q->rows)
                return 0;
        q->pool_row = claim_free_row(q, CREW__ROW_POOL, claim_of(getpid()));
        if (!q->pool_row)
                return no_row(q);
        /* The pool's handle is not one that the program puts with. */
        q->uncounted = true;
        (void)atomic_fetch_sub(&q->segment->handles, 1);
        return 0;
}

void crew__queue_pool_leaves(crew_queue *q)
{
        remove_row(q, q->pool_row);
        q->pool_row = 0;
}

bool crew__holders_silent(const crew_queue *q)
{
        return atomic_load_explicit(&q->segment->silent, memory_order_relaxed) ==
               crew__generation();
}

int crew__holders_broke_word(void)
{
        return crew__fail_quick(EPIPE, "this process has said that it puts no more into the queue");
}

int crew_queue_put_done(crew_queue *q)
{
        crew__segment *s = q->segment;
        uint32_t row;
        int r = crew__queue_enter(q);

        if (r < 0)
                return r;
        if (!(q->flags & CREW_QUEUE_EOF))
                return crew__fail(EOPNOTSUPP,
                        "queue %.63s: it does not end by itself; make it with CREW_QUEUE_EOF, or "
                        "close it",
                        q->ring->name);
        atomic_store(&s->silent, crew__generation());
        row = atomic_load(&s->row);
        if (!row)
                return 0;
        if (q->flags & CREW_QUEUE_JOINABLE) {
                atomic_store(&q->rows[row - 1].word, word_of(CREW__ROW_TAKES, claim_of(getpid())));
                close_if_over(q);
        } else {
                remove_row(q, atomic_exchange(&s->row, 0));
        }
        return 0;
}

/* The queues that a child is about to inherit. */
struct gathering {
        crew__expectation *e;
        crew__segment *const *only;
        size_t n_only, room;
};

static bool wanted(const struct gathering *g, const crew__segment *s)
{
        if (!g->only)
                return true;
        for (size_t i = 0; i < g->n_only; i++) {
                if (g->only[i] == s)
                        return true;
        }
        return false;
}

static int gather(crew__segment *s, void *data)
{
        struct gathering *g = data;

        if (!atomic_load(&s->handles) || !wanted(g, s))
                return 0;
        if (g->e->n == g->room) {
                size_t room = g->room ? 2 * g->room : 8;
                crew__expected *grown = realloc(g->e->list, room * sizeof *grown);

                if (!grown)
                        return -ENOMEM;
                g->e->list = grown;
                g->room = room;
        }
        g->e->list[g->e->n++] = (crew__expected){ .segment = crew__segment_ref(s) };
        return 0;
}

/* A handle for the length of a call; only what touches rows may be done with it. */
static crew_queue borrowed(crew__segment *s)
{
        crew__ring *ring = s->address;

        return (crew_queue){ .segment = s,
                .ring = ring,
                .flags = ring->flags,
                .rows = (crew__row *)(void *)((char *)s->address + CREW__ROWS_AT) };
}

int crew__queue_expect(crew__expectation *e, crew__segment *const *only, size_t n_only)
{
        struct gathering g = { .e = e, .only = only, .n_only = n_only };
        uint64_t mine = claim_of(getpid());
        int r;

        *e = (crew__expectation){ 0 };
        if (!atomic_load_explicit(&eof_handles, memory_order_relaxed))
                return 0;
        r = crew__segment_each(gather, &g);
        if (r < 0)
                r = crew__fail(ENOMEM, "no memory for the queues that a child inherits");
        for (size_t i = 0; r == 0 && i < e->n; i++) {
                crew_queue q = borrowed(e->list[i].segment);

                if (!(q.flags & CREW_QUEUE_EOF) || crew__queue_state(&q) & CREW__STATE_CLOSED)
                        continue;
                e->list[i].row = claim_free_row(&q, CREW__ROW_EXPECTED, mine);
                e->parent = crew__claim_tid(mine);
                if (!e->list[i].row)
                        r = no_row(&q);
        }
        if (r < 0)
                crew__queue_expected(e, 0);
        return r;
}

static void forget(const crew__expectation *e)
{
        for (size_t i = 0; i < e->n; i++)
                (void)crew__segment_unref(e->list[i].segment);
        free(e->list);
}

void crew__queue_expected(crew__expectation *e, pid_t child)
{
        uint64_t then = child ? word_of(CREW__ROW_PUTS, claim_of(child)) : 0;

        for (size_t i = 0; i < e->n; i++) {
                crew_queue q = borrowed(e->list[i].segment);
                uint64_t word;

                if (!e->list[i].row)
                        continue;
                word = atomic_load(&q.rows[e->list[i].row - 1].word);
                /* The child may have been here before: it says the same, and perhaps more by now.
                 */
                if (state_of(word) == CREW__ROW_EXPECTED && crew__claim_tid(word) == e->parent &&
                        atomic_compare_exchange_strong(
                                &q.rows[e->list[i].row - 1].word, &word, then) &&
                        !child)
                        row_went(&q);
        }
        forget(e);
}

/* The row that was made for this child, whatever the parent has come to write into it; not if the
 * parent died, the child was late, and the row is another's by now. */
static bool take_expected(crew__row *row, uint32_t parent, uint64_t claim)
{
        uint64_t word = atomic_load(&row->word);

        for (;;) {
                unsigned state = state_of(word);
                uint32_t of = state == CREW__ROW_PUTS ? crew__claim_tid(claim) : parent;

                if ((state != CREW__ROW_PUTS && state != CREW__ROW_EXPECTED &&
                            state != CREW__ROW_ORPHAN) ||
                        crew__claim_tid(word) != of)
                        return false;
                if (atomic_compare_exchange_weak(&row->word, &word, word_of(CREW__ROW_PUTS, claim)))
                        return true;
        }
}

void crew__queue_arrive(const crew__expectation *e)
{
        uint64_t claim = claim_of(getpid());

        for (size_t i = 0; i < e->n; i++) {
                crew_queue q = borrowed(e->list[i].segment);

                if (!e->list[i].row ||
                        !take_expected(&q.rows[e->list[i].row - 1], e->parent, claim))
                        continue;
                atomic_store(&q.segment->row, e->list[i].row);
                atomic_store(&q.segment->row_of, crew__generation());
        }
        forget(e);
}
