/* SPDX-License-Identifier: MIT */

/* The page in which this process tells of itself and its children. */

#include "base/fail.h"
#include "kernel/generation.h"
#include "kernel/syscall.h"
#include "status/page.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { ROWS_AT = sizeof(crew__row) };

_Static_assert(sizeof(crew__page) <= ROWS_AT, "the head lies before the rows");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crew__segment *_Atomic mine; /* made once; never freed, readers come at any time */
static _Atomic bool failed;

/* The row in the parent's page, of a child that has one. */
static crew__row *_Atomic given;

/* In a forked child. What it inherited stays mapped: its own row lies in it. */
static void reset(void)
{
        lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        atomic_store(&mine, NULL);
        atomic_store(&given, NULL);
        atomic_store(&failed, false);
}

uint64_t crew__status_clock(void)
{
        struct timespec now = { 0 };

        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void crew__status_text(char *to, size_t size, const char *text)
{
        size_t n = text ? strnlen(text, size) : 0;

        if (n == size) {
                n--;
                while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
                        n--;
        }
        if (n)
                memcpy(to, text, n);
        memset(to + n, 0, size - n);
}

/* Where rows are is not read back from the page: children can write it. */
static crew__row *row_at(crew__page *page, uint32_t index)
{
        return (crew__row *)(void *)((char *)page + ROWS_AT) + index;
}

static void describe(crew__segment *s, const char *name)
{
        crew__page *page = crew__page_of(s);
        crew__row *own;

        page->version = CREW__PAGE_VERSION;
        page->size = sizeof *page;
        page->since = crew__status_clock();
        page->rows_at = ROWS_AT;
        page->row_size = sizeof(crew__row);
        page->n_rows = CREW__ROWS;
        atomic_store(&page->pid, (uint32_t)crew__sys_getpid());
        own = row_at(page, 0);
        own->role = CREW__ROLE_APPLICATION;
        crew__status_text(own->name, sizeof own->name, name);
        atomic_store(&own->before, page->since);
        atomic_store(&own->pid, (uint32_t)crew__sys_getpid());
        page->magic = CREW__PAGE_MAGIC;
}

static crew__page *make(const char *name)
{
        size_t bytes = ROWS_AT + sizeof(crew__row) * CREW__ROWS;
        crew__segment *s = NULL;
        crew__row *above;

        (void)pthread_mutex_lock(&lock);
        s = atomic_load(&mine);
        if (!s && !atomic_load(&failed)) {
                if (crew__segment_new(&s, "status", name, bytes, 0, 0) == 0) {
                        describe(s, name);
                        above = atomic_load(&given);
                        if (above)
                                atomic_store(&above->own, (uint32_t)s->fd + 1);
                        atomic_store(&mine, s);
                } else {
                        s = NULL;
                        atomic_store(&failed, true);
                }
        }
        (void)pthread_mutex_unlock(&lock);
        return s ? crew__page_of(s) : NULL;
}

void crew__status_publish(const char *name)
{
        crew__on_fork(reset);
        (void)crew__generation();
        if (!atomic_load(&mine))
                (void)make(name);
}

/* Children can write the cursor; it is taken modulo, and a wrong one costs a longer search. */
static crew__row *find_free(crew__page *page)
{
        uint32_t from = atomic_load_explicit(&page->cursor, memory_order_relaxed);

        for (uint32_t i = 0; i < CREW__ROWS - 1; i++) {
                uint32_t index = 1 + (from + i) % (CREW__ROWS - 1), none = 0;
                crew__row *row = row_at(page, index);

                if (atomic_load_explicit(&row->pid, memory_order_relaxed) != 0)
                        continue;
                if (!atomic_compare_exchange_strong(&row->pid, &none, CREW__ROW_TAKEN))
                        continue;
                atomic_store_explicit(&page->cursor, index, memory_order_relaxed);
                return row;
        }
        return NULL;
}

crew__row *crew__status_reserve(const char *name, uint16_t role, uint16_t method, uint32_t flags)
{
        crew__segment *s = atomic_load(&mine);
        crew__row *row = s ? find_free(crew__page_of(s)) : NULL;

        if (!row)
                return NULL;
        row->role = role;
        row->method = method;
        row->flags = flags;
        atomic_store_explicit(&row->own, 0, memory_order_relaxed);
        atomic_store_explicit(&row->landlock, 0, memory_order_relaxed);
        row->sandbox[0] = '\0';
        crew__status_text(row->name, sizeof row->name, name);
        row->after = crew__status_clock();
        return row;
}

void crew__status_confined(crew__row *row, const char *words, int landlock)
{
        if (!row)
                return;
        crew__status_text(row->sandbox, sizeof row->sandbox, words);
        atomic_store_explicit(&row->landlock, (uint32_t)landlock, memory_order_relaxed);
}

void crew__status_started(crew__row *row, pid_t pid)
{
        if (!row)
                return;
        atomic_store_explicit(&row->before, crew__status_clock(), memory_order_relaxed);
        /* Release: who sees the pid sees the row. */
        atomic_store_explicit(&row->pid, (uint32_t)pid, memory_order_release);
}

void crew__status_drop(crew__row *row)
{
        if (row)
                atomic_store_explicit(&row->pid, 0, memory_order_release);
}

void crew__status_become(crew__row *row)
{
        crew__on_fork(reset);
        atomic_store(&given, row);
}

void crew__status_sandboxed(const char *words, int landlock)
{
        crew__segment *s = atomic_load(&mine);
        crew__row *rows[] = { atomic_load(&given), s ? row_at(crew__page_of(s), 0) : NULL };

        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                if (!rows[i])
                        continue;
                crew__status_text(rows[i]->sandbox, sizeof rows[i]->sandbox, words);
                atomic_store_explicit(&rows[i]->landlock, (uint32_t)landlock, memory_order_relaxed);
        }
}
