/* SPDX-License-Identifier: MIT */

/* What inspectors are told where: the pool's page, and who sits in which row; status/pool-page.h. */

#include "kernel/syscall.h"
#include "pool/lane-layout.h"
#include "pool/nest.h"
#include "status/page.h"

void crew__pages_describe(
        const crew__segment *pages, unsigned rows, const crew__zygote_options *o)
{
        crew__pool_page *page = crew__pool_page_of(pages);

        page->version = CREW__POOL_VERSION;
        page->size = sizeof *page;
        page->pid = (uint32_t)crew__sys_getpid();
        page->since = crew__status_clock();
        page->seats_at = (uint32_t)crew__seats_at();
        page->seat_size = sizeof(crew__seat);
        page->n_seats = rows;
        page->perches_at = (uint32_t)crew__perches_at(rows);
        page->perch_step = (uint32_t)crew__page_size();
        page->perch_stage = offsetof(crew__perch, stage);
        page->perch_text = offsetof(crew__perch, status);
        page->perch_gauge = offsetof(crew__perch, gauge);
        page->perch_refused = offsetof(crew__perch, report) + offsetof(crew__report, refused);
        page->lane_current = offsetof(crew__lane_words, current);
        page->lane_since = offsetof(crew__lane_words, since);
        page->lane_ended = offsetof(crew__lane_words, ended);
        page->method = (uint32_t)(o->method ? o->method : CREW_METHOD_FORK);
        page->landlock = o->plan ? (uint32_t)o->plan->ruleset.abi : 0;
        crew__status_text(page->name, sizeof page->name, o->name);
        crew__status_text(page->sandbox, sizeof page->sandbox, o->words);
        page->magic = CREW__POOL_MAGIC;
}

void crew__seat_leave(const crew__segment *pages, unsigned row)
{
        crew__seat *s = crew__seat_of(pages, row);

        atomic_store_explicit(&s->pid, 0, memory_order_relaxed);
        atomic_store_explicit(&s->named, 0, memory_order_relaxed);
        s->name[0] = '\0';
        s->after = crew__status_clock();
}

void crew__seat_take(const crew__segment *pages, unsigned row, int lane, pid_t pid)
{
        crew__seat *s = crew__seat_of(pages, row);

        s->lane = (uint32_t)lane + 1;
        s->makes++;
        atomic_store_explicit(&s->before, crew__status_clock(), memory_order_relaxed);
        atomic_store_explicit(&s->pid, (uint32_t)pid, memory_order_release);
}
