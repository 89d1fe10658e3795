/* SPDX-License-Identifier: MIT */

/*
 * What inspectors see of a pool; status/pool-page.h says where. Copies: the pool itself goes by
 * what it has in private memory. All under the pool's lock.
 */

#include "pool/pool.h"
#include "status/page.h"
#include "status/pool-page.h"

#include <string.h>

static void put64(_Atomic uint64_t *to, uint64_t value)
{
        if (atomic_load_explicit(to, memory_order_relaxed) != value)
                atomic_store_explicit(to, value, memory_order_relaxed);
}

static void put32(_Atomic uint32_t *to, uint32_t value)
{
        if (atomic_load_explicit(to, memory_order_relaxed) != value)
                atomic_store_explicit(to, value, memory_order_relaxed);
}

void crew__publish(crew_pool *p)
{
        crew__pool_page *page = p->zygote ? crew__zygote_page(p->zygote) : NULL;
        uint32_t workers = 0, busy = 0;

        if (!page)
                return;
        for (unsigned i = 0; i < p->n_workers; i++) {
                const crew__worker *w = &p->workers[i];

                workers += crew__worker_alive(w);
                busy += crew__worker_alive(w) && w->pushed != w->popped;
        }
        put32(&page->workers, workers);
        put32(&page->busy, busy);
        put32(&page->state, (p->closed ? CREW__POOL_CLOSED : 0) |
                                    (p->terminated ? CREW__POOL_TERMINATED : 0) |
                                    (p->broken ? CREW__POOL_BROKEN : 0));
        put64(&page->submitted, p->submitted);
        put64(&page->done, p->done);
        put64(&page->failed, p->failed);
        put64(&page->replaced, p->replaced);
        put64(&page->violations, p->violations);
        put64(&page->queued, p->queued);
}

void crew__publish_violation(crew_pool *p, const char *words)
{
        crew__pool_page *page = p->zygote ? crew__zygote_page(p->zygote) : NULL;

        if (page)
                crew__status_text(page->violation, sizeof page->violation, words);
}

void crew__publish_name(crew_pool *p, const crew__worker *w, const crew__unit *unit)
{
        crew__seat *seat = crew__zygote_seat(p->zygote, w->row);

        if (strncmp(seat->name, unit->job->name, sizeof seat->name) == 0)
                return;
        /* A reader in between sees no name. */
        atomic_store_explicit(&seat->named, UINT64_MAX, memory_order_relaxed);
        crew__status_text(seat->name, sizeof seat->name, unit->job->name);
        atomic_store_explicit(&seat->named, unit->id, memory_order_release);
}
