/* SPDX-License-Identifier: MIT */
#include "status/page.h"

#include "kernel/syscall.h"

#define ENDED 0x80000000u

int crew__page_new(crew__segment **segment, const char *name)
{
        crew__segment *s;
        crew__page *page;
        int r;

        r = crew__segment_new(&s, "status", name, sizeof(crew__child_page), 0, 0);
        if (r < 0)
                return r;
        page = crew__page_of(s);
        page->version = CREW__PAGE_VERSION;
        page->size = sizeof *page;
        page->since = crew__status_clock();
        page->magic = CREW__PAGE_MAGIC;
        *segment = s;
        return 0;
}

void crew__page_gate(crew__page *page, uint32_t verdict)
{
        atomic_store(&page->gate, verdict);
        (void)crew__sys_futex_wake(&page->gate, INT_MAX);
}

void crew__page_note_exit(crew__page *page, int code)
{
        atomic_store_explicit(&page->ending, ENDED | (uint32_t)(code & 0xff), memory_order_release);
}

bool crew__page_exit(const crew__page *page, int *code)
{
        uint32_t ending;

        if (page->magic != CREW__PAGE_MAGIC || page->version < CREW__PAGE_VERSION)
                return false;
        ending = atomic_load_explicit(&page->ending, memory_order_acquire);
        if (!(ending & ENDED))
                return false;
        *code = (int)(ending & 0xff);
        return true;
}

void crew__page_arrive(crew__child_page *page, enum crew__arrival how, int err)
{
        atomic_store(&page->arrival_error, err);
        atomic_store(&page->arrival, how);
        (void)crew__sys_futex_wake(&page->arrival, INT_MAX);
}

enum { NOTHING_KNOWN = 1, KNOWN = 2 };

void crew__page_write_obituary(crew__child_page *page, const crew__ending *ending)
{
        page->code = ending->code;
        page->signal = ending->signal;
        page->core = ending->core;
        page->usage = ending->usage;
        atomic_store(&page->told, ending->known ? KNOWN : NOTHING_KNOWN);
        (void)crew__sys_futex_wake(&page->told, INT_MAX);
}

bool crew__page_obituary(const crew__child_page *page, crew__ending *ending)
{
        uint32_t told = atomic_load(&page->told);

        if (told != KNOWN)
                return false;
        *ending = (crew__ending){
                .known = true,
                .counted = true,
                .core = page->core != 0,
                .code = page->code & 0xff,
                .signal = page->signal,
                .usage = page->usage,
        };
        /* The process itself could write here too: about itself, nobody else. */
        if (ending->signal < 0 || ending->signal >= _NSIG)
                ending->signal = 0;
        if (ending->signal)
                ending->code = 0;
        return true;
}
