/* SPDX-License-Identifier: MIT */

/*
 * Waiting on one side of a queue: a spin within a bound that adapts, then sleep.
 *
 * What the spin costs and pays is learnt per handle and side, see kernel/spin.h.
 *
 * When a spin ends in a stream of messages it lingers for about as long as the last run of messages
 * took. A reader on the writer's heels takes the very cache lines that are being written, the index
 * and the next record, away from it at every message; some distance lets both work on lines of
 * their own, and a side that moves one message at a time (question and answer) never lingers.
 */

#include "queue/queue.h"

#include "base/fail.h"
#include "kernel/relax.h"

enum { MAX_PAUSES = 64 }; /* between two looks, and to linger */

/* One pause between two looks. */
enum { ANSWER_LOOKS = 32 };

static bool spin_until_ready(crew_queue *q, enum crew__queue_side side, size_t size, int64_t end)
{
        unsigned pauses = 1;

        do {
                for (int looks = 0; looks < 8; looks++) {
                        crew__relax_for(pauses);
                        if (crew__queue_ready(q, side, size))
                                return true;
                        if (pauses < MAX_PAUSES)
                                pauses *= 2;
                }
        } while (crew_clock() < end);
        return false;
}

/* How many messages passed on this side since its last wait. */
static uint32_t run_length(crew_queue *q, enum crew__queue_side side, crew__spin *spin)
{
        _Atomic uint64_t *index = side == CREW__QUEUE_GET ? &q->ring->head : &q->ring->tail;
        uint32_t now = crew__index_count(atomic_load_explicit(index, memory_order_relaxed));

        return now - atomic_exchange_explicit(&spin->mark, now, memory_order_relaxed);
}

void crew__queue_expect_answer(crew_queue *q)
{
        crew__spin *spin = &q->get_spin;
        uint64_t head = atomic_load_explicit(&q->ring->head, memory_order_relaxed);
        uint32_t passed = crew__index_count(head) -
                          atomic_load_explicit(&spin->mark, memory_order_relaxed);

        if (passed > 1 || !crew__spin_pays(spin))
                return;
        for (int looks = 0; looks < ANSWER_LOOKS; looks++) {
                /* Only a hint, so relaxed: the get that follows looks again, with its barriers. */
                if (atomic_load_explicit(&q->ring->tail, memory_order_relaxed) != head) {
                        atomic_store_explicit(
                                &spin->mark, crew__index_count(head), memory_order_relaxed);
                        /* A wait that paid off, or the budget would only ever shrink; but what was
                         * there already says nothing: on one CPU the partner ran meanwhile. */
                        if (looks > 0)
                                crew__spin_learn(spin, true);
                        return;
                }
                crew__relax();
        }
}

int crew__queue_pause(crew_queue *q, enum crew__queue_side side, size_t size, int64_t deadline)
{
        crew__events *events = crew__queue_events(q, side);
        crew__spin *spin = side == CREW__QUEUE_GET ? &q->get_spin : &q->put_spin;
        uint32_t budget = crew__spin_budget(spin), run = run_length(q, side, spin), value;
        int64_t now = crew_clock();

        if (atomic_load_explicit(&q->segment->broken, memory_order_relaxed))
                return crew__queue_refused(q, crew__queue_state(q) | CREW__STATE_BROKEN);
        /* Others may take each time what was there when we looked. */
        if (now >= deadline)
                return crew__expired(deadline);
        if (budget) {
                bool paid = spin_until_ready(q, side, size, now + budget);

                crew__spin_learn(spin, paid);
                if (paid) {
                        if (run > 1)
                                crew__relax_for(run < MAX_PAUSES ? run : MAX_PAUSES);
                        return 0;
                }
        }
        if (q->rows && side == CREW__QUEUE_GET)
                crew__holders_sweep(q);
        value = crew__events_prepare(events);
        if (crew__queue_ready(q, side, size))
                return 0;
        return crew__events_sleep(events, value, deadline, crew__queue_sliced(q));
}
