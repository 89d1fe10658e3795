/* SPDX-License-Identifier: MIT */

/*
 * Nobody waits here. Blocks come back by a push, which any thread can do at any time; they are
 * taken from a list of their own, which is filled by taking all that came back in one exchange. So
 * no block is compared with itself after it was away (ABA). Whoever finds another one taking looks
 * again for as long as that should last; if that one was preempted in it, malloc is asked.
 *
 * Pairs: the push (release) with the exchange (acquire), so that who gets a block sees all writes
 * to it; the clear of `taking` with the next set, for `ready`; the decrements of `out` with the
 * last one, which frees what every other pushed before its own.
 */

#include "pool/stock.h"

#include "kernel/relax.h"

#include <stdlib.h>

enum { MAX_LOOKS = 64 };

crew__stock *crew__stock_new(void)
{
        crew__stock *s = calloc(1, sizeof *s);

        if (!s)
                return NULL;
        atomic_flag_clear(&s->taking);
        atomic_init(&s->out, 1);
        return s;
}

static void free_list(crew__stock_block *block)
{
        while (block) {
                crew__stock_block *next = block->next;

                free(block);
                block = next;
        }
}

static void leave(crew__stock *s)
{
        if (atomic_fetch_sub_explicit(&s->out, 1, memory_order_acq_rel) != 1)
                return;
        free_list(atomic_load_explicit(&s->returned, memory_order_relaxed));
        free(s);
}

void crew__stock_close(crew__stock *s)
{
        if (!s)
                return;
        /* Nobody takes any more. What is given back from here on is freed; what slips in goes with
         * the last one. */
        atomic_store_explicit(&s->closed, true, memory_order_relaxed);
        free_list(atomic_exchange_explicit(&s->returned, NULL, memory_order_acquire));
        free_list(s->ready);
        s->ready = NULL;
        leave(s);
}

static crew__stock_block *take_kept(crew__stock *s)
{
        crew__stock_block *block;

        for (int looks = 0; atomic_flag_test_and_set_explicit(&s->taking, memory_order_acquire);
                looks++) {
                if (looks == MAX_LOOKS)
                        return NULL;
                crew__relax();
        }
        if (!s->ready)
                s->ready = atomic_exchange_explicit(&s->returned, NULL, memory_order_acquire);
        block = s->ready;
        if (block)
                s->ready = block->next;
        atomic_flag_clear_explicit(&s->taking, memory_order_release);
        return block;
}

void *crew__stock_take(crew__stock *s)
{
        void *block = take_kept(s);

        if (!block) {
                block = malloc(CREW__STOCK_BLOCK);
                if (!block)
                        return NULL;
                (void)atomic_fetch_add_explicit(&s->made, 1, memory_order_relaxed);
        }
        (void)atomic_fetch_add_explicit(&s->out, 1, memory_order_relaxed);
        return block;
}

/* As others take and give meanwhile it may be off by as many as they are. */
static bool has_enough(const crew__stock *s)
{
        size_t made = atomic_load_explicit(&s->made, memory_order_relaxed);
        size_t out = atomic_load_explicit(&s->out, memory_order_relaxed) - 1;

        return made >= out + CREW__STOCK_KEEPS ||
               atomic_load_explicit(&s->closed, memory_order_relaxed);
}

void crew__stock_give(crew__stock *s, void *block)
{
        crew__stock_block *b = block;

        if (has_enough(s)) {
                free(block);
                (void)atomic_fetch_sub_explicit(&s->made, 1, memory_order_relaxed);
        } else {
                b->next = atomic_load_explicit(&s->returned, memory_order_relaxed);
                while (!atomic_compare_exchange_weak_explicit(
                        &s->returned, &b->next, b, memory_order_release, memory_order_relaxed))
                        ;
        }
        leave(s);
}
