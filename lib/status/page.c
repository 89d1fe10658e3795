/* SPDX-License-Identifier: MIT */
#include "status/page.h"

#include "kernel/syscall.h"

#define ENDED 0x80000000u

int crew__page_new(crew__segment **segment, const char *name)
{
        crew__segment *s;
        crew__page *page;
        int r;

        r = crew__segment_new(&s, "status", name, sizeof *page, 0, 0);
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
