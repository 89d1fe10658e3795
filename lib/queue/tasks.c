/* SPDX-License-Identifier: MIT */

/*
 * Messages as tasks: whoever takes one says when it is done, and others wait until all are.
 *
 * How many were put is in the index of the producers, how many were taken in that of the consumers,
 * and `done` counts the rest: what is unfinished is a difference of words, each of which is changed
 * by one store, so no death can put them out of step. A consumer that dies between the two leaves a
 * message that will never be done. Its row tells: what is unfinished, and neither in the queue nor
 * with a process that lives, is lost, and a join says so instead of waiting for it.
 */

#include "queue/holders.h"

#include "base/fail.h"

static int check(crew_queue *q)
{
        int r = crew__queue_enter(q);

        if (r == 0 && !(q->flags & CREW_QUEUE_JOINABLE))
                return crew__fail(EOPNOTSUPP,
                        "queue %.63s: its messages are not counted as tasks; make it with "
                        "CREW_QUEUE_JOINABLE",
                        q->ring->name);
        return r;
}

/* One that this process took, if it has any left; else it speaks for another. */
static void note(crew_queue *q)
{
        uint32_t number = atomic_load(&q->segment->row), done;
        crew__row *row;

        if (!number || !q->rows)
                return;
        row = &q->rows[number - 1];
        done = atomic_load(&row->done);
        while (atomic_load(&row->taken) != done &&
                !atomic_compare_exchange_weak(&row->done, &done, done + 1))
                ;
}

int crew_queue_task_done(crew_queue *q)
{
        uint32_t done, taken;
        int r = check(q);

        if (r < 0)
                return r;
        done = atomic_load(&q->ring->done);
        do {
                taken = crew__index_count(
                        atomic_load_explicit(&q->ring->head, memory_order_acquire));
                if ((int32_t)(taken - done) <= 0)
                        return crew__fail(EINVAL,
                                "queue %.63s: task_done was called more often than messages were "
                                "taken",
                                q->ring->name);
                /* Release pairs with the acquire of a join: what the task did is seen behind it. */
        } while (!atomic_compare_exchange_weak(&q->ring->done, &done, done + 1));
        note(q);
        if (crew__index_count(atomic_load(&q->ring->tail)) == done + 1)
                crew__events_notify(&q->ring->finished, crew__queue_bell(q, CREW__QUEUE_GET));
        return 0;
}

static uint32_t unfinished(const crew_queue *q)
{
        uint32_t done = atomic_load(&q->ring->done);

        return crew__index_count(atomic_load(&q->ring->tail)) - done;
}

/* How many messages were taken by processes that are gone. Never too many: see crew__row. */
static uint32_t lost(const crew_queue *q)
{
        uint32_t done = atomic_load(&q->ring->done), with_others = 0, taken;
        uint64_t head = atomic_load(&q->ring->head);

        for (unsigned i = 0; i < CREW__ROWS; i++) {
                uint64_t state = atomic_load(&q->rows[i].word) >> CREW__ROW_STATE_SHIFT;

                if (state == CREW__ROW_PUTS || state == CREW__ROW_TAKES)
                        with_others +=
                                atomic_load(&q->rows[i].taken) - atomic_load(&q->rows[i].done);
        }
        taken = crew__index_count(head) - done;
        if (atomic_load(&q->ring->head) != head || atomic_load(&q->ring->done) != done ||
                (int32_t)(taken - with_others) <= 0)
                return 0;
        return taken - with_others;
}

int crew_queue_join(crew_queue *q, int64_t timeout)
{
        int64_t deadline = crew__deadline(timeout);
        int r = check(q);

        while (r == 0) {
                uint32_t value = crew__events_prepare(&q->ring->finished), gone;

                if (crew__queue_state(q) & CREW__STATE_BROKEN)
                        return crew__queue_refused(q, crew__queue_state(q));
                if (unfinished(q) == 0)
                        return 0;
                crew__holders_sweep(q);
                gone = lost(q);
                if (gone)
                        return crew__fail(EOWNERDEAD,
                                "queue %.63s: %u messages were taken by processes that have ended "
                                "without saying that they are done",
                                q->ring->name, gone);
                r = crew__events_sleep(&q->ring->finished, value, deadline, true);
        }
        if (r == -EAGAIN)
                return crew__fail_quick(EAGAIN, "messages of the queue are unfinished");
        if (r == -ETIMEDOUT)
                return crew__fail_quick(
                        ETIMEDOUT, "messages of the queue were unfinished until the timeout");
        return r;
}
