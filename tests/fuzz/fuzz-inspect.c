/* SPDX-License-Identifier: MIT */

/*
 * Pages and headers that anybody may have written, as an inspector reads them. The input is a
 * program: which page, then what is scribbled over one that is whole, then how much of it is there.
 * What comes out must be bounded and printable, and nothing outside of the bytes may be touched:
 * each is copied to memory of exactly its size, where AddressSanitizer watches.
 *
 *      CC=clang CXX=clang++ meson setup build-fuzz && ninja -C build-fuzz tests/fuzz-inspect
 *      build-fuzz/tests/fuzz-inspect -max_len=512 -timeout=10 CORPUS
 *
 * test-inspect-hostile runs the same function over random programs.
 */

#include "fuzz.h"
#include "status/decode.h"
#include "status/proc.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 8192, ROWS = 16, SEATS = 8 };

/* Ended, and nothing in it steers a terminal. */
static void demand_clean(const char *text, size_t size)
{
        size_t n = strnlen(text, size);

        demand(n < size);
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)text[i];

                demand(c >= 0x20 && c != 0x7f);
                /* C1 controls, as UTF-8 writes them. */
                demand(!(c == 0xc2 && (unsigned char)text[i + 1] < 0xa0));
        }
}

static size_t whole_page(char *bytes)
{
        crew__page *page = (void *)bytes;
        crew__row *row = (void *)(bytes + sizeof *row);

        page->magic = CREW__PAGE_MAGIC;
        page->version = CREW__PAGE_VERSION;
        page->size = sizeof *page;
        page->pid = 4711;
        page->rows_at = sizeof *row;
        page->row_size = sizeof *row;
        page->n_rows = ROWS;
        for (uint32_t i = 0; i < ROWS; i++) {
                row[i].pid = 4711 + i;
                row[i].role = CREW__ROLE_PROCESS;
                memcpy(row[i].name, "工人", sizeof "工人");
        }
        return sizeof *row * (ROWS + 1);
}

static size_t whole_pool(char *bytes)
{
        crew__pool_page *page = (void *)bytes;
        size_t seats = (sizeof *page + 63) & ~(size_t)63;
        crew__seat *seat = (void *)(bytes + seats);

        page->magic = CREW__POOL_MAGIC;
        page->version = CREW__POOL_VERSION;
        page->size = sizeof *page;
        page->seats_at = (uint32_t)seats;
        page->seat_size = sizeof *seat;
        page->n_seats = SEATS;
        page->perches_at = 2048;
        page->perch_step = 512;
        page->perch_stage = 4;
        page->perch_text = 64;
        page->perch_gauge = 128;
        page->perch_refused = 16;
        page->lane_current = 8;
        page->lane_since = 16;
        page->lane_ended = 24;
        memcpy(page->name, "pool", 5);
        for (uint32_t i = 0; i < SEATS; i++)
                seat[i].pid = i + 1;
        return 2048 + SEATS * 512;
}

static size_t whole_queue(char *bytes)
{
        crew__queue_page *page = (void *)bytes;

        *page = (crew__queue_page){
                .magic = CREW__QUEUE_MAGIC,
                .version = 1,
                .ring_bytes = 4096,
                .max_messages = 10,
                .name = "numbers",
                .at = { 128, 256, 384, 512, 640, 768, 896, 24 },
        };
        return 4096;
}

static void read_page(const char *bytes, size_t n)
{
        crew__seen_page page;
        crew__seen_row row;

        if (!crew__decode_page(bytes, n, &page))
                return;
        demand(page.n_rows <= CREW__MOST_ROWS);
        for (uint32_t i = 0; i < page.n_rows; i++) {
                crew__decode_row(bytes, n, &page, i, &row);
                demand_clean(row.name, sizeof row.name);
                demand_clean(row.sandbox, sizeof row.sandbox);
                demand(row.role <= CREW_ROLE_WORKER && row.landlock >= 0);
        }
}

static void read_pool(const char *bytes, size_t n)
{
        crew__seen_pool pool;
        crew__seen_seat seat;
        crew__seen_perch perch;
        crew__seen_lane lane;

        if (!crew__decode_pool(bytes, n, n, &pool))
                return;
        demand(pool.n_seats <= CREW__MOST_SEATS);
        demand_clean(pool.name, sizeof pool.name);
        demand_clean(pool.sandbox, sizeof pool.sandbox);
        demand_clean(pool.violation, sizeof pool.violation);
        for (uint32_t i = 0; i < pool.n_seats && i < 64; i++) {
                uint64_t at = pool.perches_at + (uint64_t)i * pool.perch_step;

                demand(pool.seats_at <= n && at <= n);
                crew__decode_seat(bytes + pool.seats_at, n - pool.seats_at, &pool, i, &seat);
                demand_clean(seat.name, sizeof seat.name);
                crew__decode_perch(bytes + at, n - at, &pool, &perch);
                demand_clean(perch.status, sizeof perch.status);
                crew__decode_lane(bytes + at, n - at, &pool, &lane);
        }
}

static void read_queue(const char *bytes, size_t n, uint64_t total)
{
        crew__seen_queue queue;
        crew_queue_info info;

        if (!crew__decode_queue(bytes, n, total, &queue, &info))
                return;
        demand_clean(queue.name, sizeof queue.name);
        demand(info.capacity_bytes <= total && info.bytes <= info.capacity_bytes);
        demand(!info.capacity || (info.depth <= info.capacity && info.high <= info.capacity));
        demand(info.valid || (!info.depth && !info.bytes));
}

/* What the kernel writes, with a name that a process chose. */
static void read_proc(const char *bytes, size_t n)
{
        crew__proc_stat stat = { .state = 0 };
        crew__proc_status status;
        char *text = malloc(n + 1);

        if (!text)
                return;
        memcpy(text, bytes, n);
        text[n] = '\0';
        (void)crew__proc_parse_status(text, &status);
        if (crew__proc_parse_stat(text, &stat))
                demand_clean(stat.command, sizeof stat.command);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char stat[] =
                "4711 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 99 "
                "1000 10 18446744073709551615 1 1\nState:\tS\nUid:\t0\nNSpid:\t1";
        static char whole[MOST];
        struct program p = { data, size };
        uint64_t kind = take(&p, 1) % 4;
        char *bytes;
        size_t n;

        memset(whole, 0, sizeof whole);
        n = kind == 0   ? whole_page(whole)
            : kind == 1 ? whole_pool(whole)
            : kind == 2 ? whole_queue(whole)
                        : sizeof stat - 1;
        if (kind == 3)
                memcpy(whole, stat, n);
        while (p.left > 4)
                scribble(&p, whole, n, 2, 16);
        if (take(&p, 1) % 4 == 0)
                n = take(&p, 2) % (n + 1);
        bytes = malloc(n ? n : 1);
        if (!bytes)
                return 0;
        memcpy(bytes, whole, n);
        if (kind == 0)
                read_page(bytes, n);
        else if (kind == 1)
                read_pool(bytes, n);
        else if (kind == 2)
                read_queue(bytes, n, 8192);
        else
                read_proc(bytes, n);
        free(bytes);
        return 0;
}
