/* SPDX-License-Identifier: MIT */

/* What a pool says to CREW_TRACE and CREW_DEBUG; see base/trace.h. Under the pool's lock. */

#include "base/trace.h"
#include "pool/pool.h"
#include "pool/tape.h"
#include "status/pool-page.h"

#include <stdio.h>

static const char *what_happened(int kind)
{
        switch (kind) {
        case CREW_EVENT_STARTED:
                return "started";
        case CREW_EVENT_REPLACED:
                return "replaced one that ended";
        case CREW_EVENT_ENDED:
                return "ended";
        case CREW_EVENT_VIOLATED:
                return "violated its sandbox";
        case CREW_EVENT_DOWNGRADED:
                return "has less of a sandbox";
        case CREW_EVENT_BROKEN:
                return "is broken";
        default:
                return "has a queue that broke";
        }
}

void crew__chronicle_event(
        crew_pool *p, int kind, const crew__worker *w, const crew__failure *failure)
{
        const char *words = failure ? failure->text : "";
        char who[96];

        if (w)
                (void)snprintf(
                        who, sizeof who, "%s-worker-%u (pid %d)", p->name, w->row, (int)w->pid);
        else
                (void)snprintf(who, sizeof who, "pool %s", p->name);
        /* What went as it was asked for is no news. */
        if (kind == CREW_EVENT_REPLACED && !*words)
                words = p->last_words;
        if (crew__debugs() && kind != CREW_EVENT_STARTED && kind != CREW_EVENT_ENDED)
                crew__debug("%s %s%s%s", who, what_happened(kind), *words ? ": " : "", words);
        if (!crew__traces())
                return;
        if (w && (kind == CREW_EVENT_STARTED || kind == CREW_EVENT_REPLACED))
                crew__trace_name(w->pid, who);
        crew__trace_mark(
                w ? w->pid : 0, "pool", "%s%s%s", what_happened(kind), *words ? ": " : "", words);
}

void crew__chronicle_tasks(crew_pool *p, crew__worker *w)
{
        const crew__tape *tape = crew__zygote_tape(p->zygote, w->row);
        const crew__seat *seat = crew__zygote_seat(p->zygote, w->row);
        uint64_t noted = atomic_load_explicit(&tape->noted, memory_order_acquire);
        uint64_t named = atomic_load_explicit(&seat->named, memory_order_relaxed);
        int64_t now = crew_clock();

        /* More than there are entries, or fewer than before: the rest is lost. */
        if (noted - w->traced > CREW__TAPE)
                w->traced = noted > CREW__TAPE ? noted - CREW__TAPE : 0;
        for (; w->traced < noted; w->traced++) {
                unsigned at = (unsigned)(w->traced % CREW__TAPE);
                uint64_t id = atomic_load_explicit(&tape->entry[at].id, memory_order_relaxed);
                uint64_t began = atomic_load_explicit(&tape->entry[at].began, memory_order_relaxed);
                uint64_t took = atomic_load_explicit(&tape->entry[at].took, memory_order_relaxed);

                if (began > (uint64_t)now || took > (uint64_t)now - began)
                        continue;
                crew__trace_span(w->pid, "task", (int64_t)began, (int64_t)(began + took),
                        "%s #%llu", id >= named && seat->name[0] ? seat->name : "task",
                        (unsigned long long)id);
        }
}
