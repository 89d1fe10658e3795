/* SPDX-License-Identifier: MIT */

/*
 * The queues that workers share with the program: any worker can break them. The driver looks
 * whether one did, says so, and who it may have been. It ends a worker for it only if nobody else
 * that is not trusted has the queue: the lock's word names whom its last writer liked.
 */

#include "base/fail.h"
#include "kernel/generation.h"
#include "pool/pool.h"
#include "queue/queue.h"

#include <stdio.h>
#include <stdlib.h>

/* A lock is kept for 100 ms when that is seen. */
#define LOOK CREW_MS(25)

int crew__granted_add(crew_pool *p, crew__segment *segment)
{
        crew_queue *q;
        crew__granted *grown;
        int r = crew_queue_open(&q, segment->ref);

        /* What is no queue has no locks to look at; it heeds the mark by itself. */
        if (r == -ENOENT) {
                atomic_store(&segment->granter, crew__generation());
                atomic_store(&segment->granted, true);
                return 0;
        }
        if (r < 0)
                return r;
        r = crew__queue_pool_joins(q);
        if (r < 0) {
                (void)crew_queue_free(q);
                return r;
        }
        crew__pool_lock(p);
        grown = realloc(p->queues, (p->n_queues + 1) * sizeof *grown);
        if (grown) {
                p->queues = grown;
                p->queues[p->n_queues++] = (crew__granted){ .queue = q };
                p->queues_due = 0;
                p->look_again = true;
                crew__queue_grant(q);
        }
        crew__pool_unlock(p);
        if (grown)
                return 0;
        crew__queue_pool_leaves(q);
        (void)crew_queue_free(q);
        return crew__fail(ENOMEM, "pool %s: no memory for another grant", p->name);
}

static bool has_process(const crew__worker *w)
{
        return w->pid && (crew__worker_alive(w) || w->state == CREW__ENDING);
}

static crew__worker *list_holders(crew_pool *p, char *text, size_t size)
{
        crew__worker *sole = NULL;
        size_t n = 0;
        unsigned found = 0;

        text[0] = '\0';
        for (unsigned i = 0; i < p->n_workers; i++) {
                crew__worker *w = &p->workers[i];

                if (!has_process(w))
                        continue;
                sole = found++ ? NULL : w;
                if (n + 40 < size)
                        n += (size_t)snprintf(text + n, size - n, "%sworker %u (pid %d)",
                                n ? ", " : "", w->row, (int)w->pid);
                else if (n + 5 < size)
                        n += (size_t)snprintf(text + n, size - n, ", ...");
        }
        return found == 1 ? sole : NULL;
}

static void tell(crew_pool *p, const crew__granted *g)
{
        crew__failure words = { .said = { .size = sizeof words.said, .reason = CREW_DIED } };
        char why[190], holders[120];
        crew__worker *sole = list_holders(p, holders, sizeof holders);

        crew__queue_why(g->queue, why, sizeof why);
        if (sole && atomic_load(&g->queue->segment->holders) != 1)
                sole = NULL;
        (void)snprintf(words.text, sizeof words.text,
                "queue %.30s is unusable: %s; granted to: %s%s", g->queue->ring->name, why,
                holders[0] ? holders : "no worker that lives", sole ? ", which is ended" : "");
        if (sole) {
                sole->lied = true;
                (void)snprintf(sole->lie, sizeof sole->lie,
                        "it alone could have broken the queue %.30s: %.100s", g->queue->ring->name,
                        why);
        }
        crew__notify(p, CREW_EVENT_QUEUE, sole, &words);
}

void crew__granted_look(crew_pool *p, int64_t now)
{
        if (!p->n_queues || now < p->queues_due)
                return;
        for (size_t i = 0; i < p->n_queues; i++) {
                crew__granted *g = &p->queues[i];
                bool broken = crew__queue_inspect(g->queue);

                if (broken && !g->told) {
                        g->told = true;
                        tell(p, g);
                }
        }
        p->queues_due = now + LOOK;
}

void crew__granted_over(crew_pool *p)
{
        crew__pool_lock(p);
        for (size_t i = 0; i < p->n_queues; i++)
                crew__queue_pool_leaves(p->queues[i].queue);
        crew__pool_unlock(p);
}

void crew__granted_free(crew_pool *p)
{
        for (size_t i = 0; i < p->n_queues; i++) {
                crew__queue_pool_leaves(p->queues[i].queue);
                crew__queue_ungrant(p->queues[i].queue);
                (void)crew_queue_free(p->queues[i].queue);
        }
        free(p->queues);
}
