/* SPDX-License-Identifier: MIT */
#include "status/decode.h"

#include <linux/futex.h>
#include <string.h>

/* As many fields as writer and reader know both, and as there are bytes for; the rest is 0. */
static void take(void *into, size_t known, const void *bytes, size_t n, size_t wrote)
{
        size_t size = known < wrote ? known : wrote;

        memset(into, 0, known);
        memcpy(into, bytes, size < n ? size : n);
}

static bool fits(uint64_t at, uint64_t step, uint64_t count, uint64_t total)
{
        return at <= total && (count == 0 || step <= (total - at) / count);
}

static uint64_t word64(const void *bytes, size_t n, size_t at)
{
        uint64_t value = 0;

        if (at <= n && n - at >= sizeof value)
                memcpy(&value, (const char *)bytes + at, sizeof value);
        return value;
}

static uint32_t word32(const void *bytes, size_t n, size_t at)
{
        uint32_t value = 0;

        if (at <= n && n - at >= sizeof value)
                memcpy(&value, (const char *)bytes + at, sizeof value);
        return value;
}

static int abi(uint32_t value)
{
        return value < 1000 ? (int)value : 0;
}

bool crew__decode_page(const void *bytes, size_t n, crew__seen_page *seen)
{
        crew__page page;

        if (n < offsetof(crew__page, since) || word32(bytes, n, 0) != CREW__PAGE_MAGIC)
                return false;
        take(&page, sizeof page, bytes, n, word32(bytes, n, offsetof(crew__page, size)));
        if (page.version == 0)
                return false;
        *seen = (crew__seen_page){
                .pid = page.pid,
                .since = page.since,
                .rows_at = page.rows_at,
                .row_size = page.row_size,
                .n_rows = page.n_rows < CREW__MOST_ROWS ? page.n_rows : CREW__MOST_ROWS,
        };
        if (seen->row_size < offsetof(crew__row, landlock) ||
                !fits(seen->rows_at, seen->row_size, seen->n_rows, n))
                seen->n_rows = 0;
        return true;
}

void crew__decode_row(
        const void *bytes, size_t n, const crew__seen_page *page, uint32_t i, crew__seen_row *seen)
{
        size_t at = (size_t)page->rows_at + (size_t)i * page->row_size;
        crew__row row;

        take(&row, sizeof row, (const char *)bytes + at, n - at, page->row_size);
        *seen = (crew__seen_row){ .pid = row.pid == CREW__ROW_TAKEN ? 0 : row.pid };
        if (!seen->pid)
                return;
        seen->role = row.role <= CREW__ROLE_SERVER ? row.role : CREW_ROLE_PROCESS;
        seen->method = row.method;
        seen->own = row.own;
        seen->landlock = abi(row.landlock);
        seen->after = row.after;
        seen->before = row.before;
        crew__clean_text(seen->name, sizeof seen->name, row.name, sizeof row.name);
        crew__clean_text(seen->sandbox, sizeof seen->sandbox, row.sandbox, sizeof row.sandbox);
}

static int pool_state(uint32_t bits)
{
        return bits & CREW__POOL_BROKEN       ? CREW_STATE_BROKEN
               : bits & CREW__POOL_TERMINATED ? CREW_STATE_TERMINATED
               : bits & CREW__POOL_CLOSED     ? CREW_STATE_CLOSED
                                              : CREW_STATE_OPEN;
}

bool crew__decode_pool(const void *bytes, size_t n, uint64_t total, crew__seen_pool *seen)
{
        crew__pool_page page;

        if (n < offsetof(crew__pool_page, method) || word32(bytes, n, 0) != CREW__POOL_MAGIC)
                return false;
        take(&page, sizeof page, bytes, n, word32(bytes, n, offsetof(crew__pool_page, size)));
        if (page.version == 0 || page.seat_size < offsetof(crew__seat, named))
                return false;
        *seen = (crew__seen_pool){
                .pid = page.pid,
                .zygote = page.zygote,
                .since = page.since,
                .seats_at = page.seats_at,
                .seat_size = page.seat_size,
                .n_seats = page.n_seats < CREW__MOST_SEATS ? page.n_seats : CREW__MOST_SEATS,
                .perches_at = page.perches_at,
                .perch_step = page.perch_step,
                .perch_stage = page.perch_stage,
                .perch_text = page.perch_text,
                .perch_gauge = page.perch_gauge,
                .perch_refused = page.perch_refused,
                .lane_current = page.lane_current,
                .lane_since = page.lane_since,
                .lane_ended = page.lane_ended,
                .method = page.method,
                .workers = page.workers,
                .busy = page.busy,
                .landlock = abi(page.landlock),
                .state = pool_state(page.state),
                .submitted = page.submitted,
                .done = page.done,
                .failed = page.failed,
                .replaced = page.replaced,
                .violations = page.violations,
                .queued = page.queued,
        };
        if (!fits(seen->seats_at, seen->seat_size, seen->n_seats, total) ||
                !fits(seen->perches_at, seen->perch_step, seen->n_seats, total))
                return false;
        crew__clean_text(seen->name, sizeof seen->name, page.name, sizeof page.name);
        crew__clean_text(seen->sandbox, sizeof seen->sandbox, page.sandbox, sizeof page.sandbox);
        crew__clean_text(
                seen->violation, sizeof seen->violation, page.violation, sizeof page.violation);
        return true;
}

void crew__decode_seat(
        const void *bytes, size_t n, const crew__seen_pool *pool, uint32_t i, crew__seen_seat *seen)
{
        size_t at = (size_t)i * pool->seat_size;
        crew__seat seat = { 0 };

        if (at <= n)
                take(&seat, sizeof seat, (const char *)bytes + at, n - at, pool->seat_size);
        *seen = (crew__seen_seat){
                .pid = seat.pid,
                .lane = seat.lane,
                .after = seat.after,
                .before = seat.before,
                .named = seat.named,
        };
        crew__clean_text(seen->name, sizeof seen->name, seat.name, sizeof seat.name);
}

void crew__decode_perch(
        const void *bytes, size_t n, const crew__seen_pool *pool, crew__seen_perch *seen)
{
        size_t text = pool->perch_text;

        *seen = (crew__seen_perch){
                .ready = word32(bytes, n, pool->perch_stage) == CREW__PERCH_READY,
                .refused = word64(bytes, n, pool->perch_refused),
        };
        if (text && text < n)
                crew__clean_text(seen->status, sizeof seen->status, (const char *)bytes + text,
                        n - text < CREW__STATUS_BYTES ? n - text : CREW__STATUS_BYTES);
        for (size_t i = 0; pool->perch_gauge && i < CREW_TASK_TIMES; i++)
                seen->times[i] = word32(bytes, n, pool->perch_gauge + 4 * i);
}

void crew__decode_lane(
        const void *bytes, size_t n, const crew__seen_pool *pool, crew__seen_lane *lane)
{
        *lane = (crew__seen_lane){
                .current = pool->lane_current ? word64(bytes, n, pool->lane_current) : 0,
                .since = pool->lane_since ? word64(bytes, n, pool->lane_since) : 0,
                .done = pool->lane_ended ? word64(bytes, n, pool->lane_ended) : 0,
        };
}

static void decode_lock(const void *bytes, size_t n, size_t at, crew_lock_info *lock)
{
        uint32_t word = word32(bytes, n, at);

        lock->thread = (pid_t)(word & FUTEX_TID_MASK);
        lock->died = word & FUTEX_OWNER_DIED;
        lock->waited = word & FUTEX_WAITERS;
}

/* Both indices once, and what lies between them only if a correct queue can have left them. */
static void decode_indices(const void *bytes, size_t n, const uint16_t *at, crew_queue_info *info)
{
        uint64_t tail = word64(bytes, n, at[CREW__QUEUE_AT_TAIL]);
        uint64_t head = word64(bytes, n, at[CREW__QUEUE_AT_HEAD]);
        uint32_t depth = (uint32_t)tail - (uint32_t)head;
        uint64_t inside = (uint64_t)((uint32_t)(tail >> 32) - (uint32_t)(head >> 32)) * 8;

        info->put = (uint32_t)tail;
        info->got = (uint32_t)head;
        info->valid = inside <= info->capacity_bytes && (uint64_t)depth * 8 <= inside &&
                      (!info->capacity || depth <= info->capacity);
        if (!info->valid)
                return;
        info->depth = depth;
        info->bytes = inside;
}

bool crew__decode_queue(
        const void *bytes, size_t n, uint64_t total, crew__seen_queue *queue, crew_queue_info *info)
{
        crew__queue_page page;
        const uint16_t *at = page.at;
        uint32_t state, side[2];

        if (n < sizeof page)
                return false;
        memcpy(&page, bytes, sizeof page);
        if (page.magic != CREW__QUEUE_MAGIC || page.version == 0 || page.ring_bytes > total)
                return false;
        *info = (crew_queue_info){
                .size = sizeof *info,
                .capacity = page.max_messages,
                .capacity_bytes = page.ring_bytes,
                .message_size = page.message_size,
        };
        *queue = (crew__seen_queue){ .creator = page.creator, .pid_namespace = page.pid_namespace };
        crew__clean_text(queue->name, sizeof queue->name, page.name, sizeof page.name);
        state = word32(bytes, n, at[CREW__QUEUE_AT_STATE]);
        info->closed = state & CREW__QUEUE_STATE_CLOSED;
        info->broken = state & CREW__QUEUE_STATE_BROKEN;
        info->granted = state & CREW__QUEUE_STATE_GRANTED;
        info->stuck = state & CREW__QUEUE_STATE_STUCK;
        decode_lock(bytes, n, at[CREW__QUEUE_AT_PRODUCERS], &info->producers);
        decode_lock(bytes, n, at[CREW__QUEUE_AT_CONSUMERS], &info->consumers);
        decode_indices(bytes, n, at, info);
        info->getters = (word32(bytes, n, at[CREW__QUEUE_AT_READABLE]) & 1) ||
                        word32(bytes, n, at[CREW__QUEUE_AT_READABLE] + 4u);
        info->putters = (word32(bytes, n, at[CREW__QUEUE_AT_WRITABLE]) & 1) ||
                        word32(bytes, n, at[CREW__QUEUE_AT_WRITABLE] + 4u);
        side[0] = word32(bytes, n, (size_t)at[CREW__QUEUE_AT_PRODUCERS] + at[CREW__QUEUE_AT_HIGH]);
        side[1] = word32(bytes, n, (size_t)at[CREW__QUEUE_AT_CONSUMERS] + at[CREW__QUEUE_AT_HIGH]);
        info->high = side[0] > side[1] ? side[0] : side[1];
        if (info->high < info->depth)
                info->high = info->depth;
        if (info->capacity && info->high > info->capacity)
                info->high = (uint32_t)info->capacity;
        return true;
}
