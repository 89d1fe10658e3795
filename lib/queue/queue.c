/* SPDX-License-Identifier: MIT */
#include "queue/holders.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/namespace.h"

#include <limits.h>
#include <string.h>

#define DEFAULT_BYTES ((uint64_t)1 << 20)
#define MAX_BYTES ((uint64_t)8 << 30)
#define KNOWN_FLAGS                                                                                \
        (CREW_QUEUE_EOF | CREW_QUEUE_SINGLE_PRODUCER | CREW_QUEUE_SINGLE_CONSUMER |                \
                CREW_QUEUE_JOINABLE)

/* How long close waits for a producer that is stopped inside a put. */
#define CLOSE_PATIENCE CREW_MS(100)

static int check(size_t max_messages, const crew_queue_options *o)
{
        if (max_messages > INT32_MAX)
                return crew__fail(EINVAL, "queue: at most %d messages, not %zu; 0 means no limit",
                        INT32_MAX, max_messages);
        if (o->flags & ~(uint64_t)KNOWN_FLAGS)
                return crew__fail(EINVAL, "queue: unknown flags 0x%llx",
                        (unsigned long long)(o->flags & ~(uint64_t)KNOWN_FLAGS));
        if (o->bytes > MAX_BYTES)
                return crew__fail(EINVAL, "queue: bytes is %zu, the most is %llu", o->bytes,
                        (unsigned long long)MAX_BYTES);
        if (o->message_size > (o->bytes ? o->bytes : DEFAULT_BYTES - CREW__RECORD_HEADER))
                return crew__fail(EINVAL,
                        "queue: a message of %zu bytes does not fit in a ring of %zu; set bytes to "
                        "at least one message_size",
                        o->message_size, o->bytes ? o->bytes : (size_t)DEFAULT_BYTES);
        if (o->name && strlen(o->name) >= CREW__NAME_MAX)
                return crew__fail(EINVAL, "queue: the name is longer than %d bytes: %.20s...",
                        CREW__NAME_MAX - 1, o->name);
        return 0;
}

/* A power of two, for offsets run free and are masked; a message of `bytes` fits with its header. */
static uint64_t ring_size(size_t bytes)
{
        uint64_t size = crew__page_size();
        uint64_t want = bytes ? bytes + CREW__RECORD_HEADER : DEFAULT_BYTES;

        while (size < want)
                size *= 2;
        return size;
}

#define SAME(field)                                                                               \
        _Static_assert(offsetof(crew__ring, field) == offsetof(crew__queue_page, field), #field)
SAME(magic);
SAME(version);
SAME(flags);
SAME(ring_bytes);
SAME(message_size);
SAME(max_messages);
SAME(creator);
SAME(pid_namespace);
SAME(name);
SAME(at);
#undef SAME

static void describe(crew__ring *ring)
{
        static const uint16_t at[CREW__QUEUE_PLACES] = {
                [CREW__QUEUE_AT_STATE] = offsetof(crew__ring, state),
                [CREW__QUEUE_AT_PRODUCERS] = offsetof(crew__ring, producers.lock.word),
                [CREW__QUEUE_AT_CONSUMERS] = offsetof(crew__ring, consumers.lock.word),
                [CREW__QUEUE_AT_TAIL] = offsetof(crew__ring, tail),
                [CREW__QUEUE_AT_HEAD] = offsetof(crew__ring, head),
                [CREW__QUEUE_AT_READABLE] = offsetof(crew__ring, readable),
                [CREW__QUEUE_AT_WRITABLE] = offsetof(crew__ring, writable),
                [CREW__QUEUE_AT_HIGH] = offsetof(crew__ring_side, high) -
                                        offsetof(crew__ring_side, lock.word),
        };

        memcpy(ring->at, at, sizeof at);
}

static crew_queue *handle(crew__segment *segment)
{
        crew__ring *ring = segment->address;
        crew_queue *q;

        q = calloc(1, sizeof *q);
        if (!q)
                return NULL;
        atomic_init(&q->references, 1);
        q->segment = segment;
        q->ring = ring;
        q->data = (char *)segment->address + segment->head;
        q->ring_bytes = segment->ring;
        q->message_size = ring->message_size;
        q->max_messages = ring->max_messages;
        q->flags = ring->flags;
        if (crew__has_rows(q->flags) && segment->head >= CREW__ROWS_END)
                q->rows = (crew__row *)(void *)((char *)segment->address + CREW__ROWS_AT);
        crew__holders_handle(q);
        atomic_init(&q->put_spin.budget, CREW__SPIN_FIRST);
        atomic_init(&q->get_spin.budget, CREW__SPIN_FIRST);
        return q;
}

int crew_queue_new(crew_queue **q, size_t max_messages, const crew_queue_options *options)
{
        crew_queue_options o;
        crew__segment *segment;
        crew__ring *ring;
        crew_queue *made;
        int r;

        if (!q)
                return crew__fail(EINVAL, "queue: nowhere to store the handle");
        r = crew__options(&o, sizeof o, options, "queue options");
        if (r < 0)
                return r;
        r = check(max_messages, &o);
        if (r < 0)
                return r;
        r = crew__segment_new(&segment, "queue", o.name,
                crew__has_rows(o.flags) ? CREW__ROWS_END : sizeof *ring, ring_size(o.bytes),
                CREW__SEGMENT_EVENTS);
        if (r < 0)
                return r;
        ring = segment->address;
        ring->magic = CREW__RING_MAGIC;
        ring->version = CREW__RING_VERSION;
        ring->flags = (uint32_t)o.flags;
        ring->ring_bytes = segment->ring;
        ring->message_size = o.message_size;
        ring->max_messages = (uint32_t)max_messages;
        ring->creator = (uint32_t)getpid();
        ring->pid_namespace = crew__pid_namespace();
        if (o.name)
                memcpy(ring->name, o.name, strlen(o.name));
        describe(ring);
        made = handle(segment);
        if (!made) {
                (void)crew__segment_unref(segment);
                return crew__fail(ENOMEM, "queue: no memory for its handle");
        }
        if (made->rows)
                (void)crew__holders_adopt(made); /* the table is empty */
        atomic_store(&made->generation, crew__generation());
        *q = made;
        return 0;
}

crew_queue *crew__queue_ref(crew_queue *q)
{
        (void)atomic_fetch_add_explicit(&q->references, 1, memory_order_relaxed);
        return q;
}

crew_queue *crew_queue_free(crew_queue *q)
{
        if (!q || atomic_fetch_sub(&q->references, 1) > 1)
                return NULL;
        crew__queue_descriptor_free(q);
        crew__holders_free(q);
        (void)crew__segment_unref(q->segment);
        free(q);
        return NULL;
}

crew_ref crew_queue_ref(const crew_queue *q)
{
        return q->segment->ref;
}

int crew_queue_open(crew_queue **q, crew_ref ref)
{
        crew__segment *segment;
        crew__ring *ring;
        crew_queue *made;
        int r;

        if (!q)
                return crew__fail(EINVAL, "queue: nowhere to store the handle");
        r = crew__segment_find(&segment, ref);
        if (r < 0)
                return r;
        ring = segment->address;
        if (!crew__ref_is(ref, "queue") || segment->head < sizeof *ring || ring->magic != CREW__RING_MAGIC ||
                ring->version != CREW__RING_VERSION || ring->ring_bytes != segment->ring) {
                (void)crew__segment_unref(segment);
                return crew__fail(ENOENT, "the object with this ref is not a queue of this libcrew");
        }
        made = handle(segment);
        if (!made) {
                (void)crew__segment_unref(segment);
                return crew__fail(ENOMEM, "queue: no memory for its handle");
        }
        r = crew__queue_adopt(made);
        if (r < 0) {
                (void)crew_queue_free(made);
                return r;
        }
        *q = made;
        return 0;
}

static void wake_all(crew_queue *q)
{
        for (int side = CREW__QUEUE_GET; side <= CREW__QUEUE_PUT; side++) {
                crew__events *events = crew__queue_events(q, side);

                (void)atomic_fetch_or(&events->word, 1);
                atomic_store(&events->armed, 1);
                crew__events_wake(events, crew__queue_bell(q, side));
        }
        (void)atomic_fetch_or(&q->ring->finished.word, 1);
        crew__events_wake(&q->ring->finished, crew__queue_bell(q, CREW__QUEUE_GET));
}

/*
 * SHARING is set before the sleepers are woken, SHARED after: a process that dies in between leaves
 * the wake to the next one, and nobody commits anything before every sleeper has learnt to look up
 * every 20 ms. Sleepers heed SHARING.
 */
int crew__queue_adopt(crew_queue *q)
{
        uint64_t generation = crew__generation();

        if (atomic_load(&q->segment->broken))
                return crew__queue_refused(q, crew__queue_state(q) | CREW__STATE_BROKEN);
        if (!crew__pid_namespace_is(q->ring->pid_namespace))
                return crew__fail(EXDEV,
                        "queue %.63s: made in another pid namespace; its locks name owners by numbers "
                        "that mean other threads here",
                        q->ring->name);
        if (q->rows) {
                int r = crew__holders_adopt(q);

                if (r < 0)
                        return r;
        }
        if (q->ring->creator != (uint32_t)getpid() &&
                !(crew__queue_state(q) & CREW__STATE_SHARED)) {
                (void)atomic_fetch_or(&q->ring->state, CREW__STATE_SHARING);
                wake_all(q);
                (void)atomic_fetch_or(&q->ring->state, CREW__STATE_SHARED);
        }
        if (atomic_load(&q->generation) != generation) {
                q->reserved.open = false;
                q->peeked.open = false;
        }
        atomic_store(&q->generation, generation);
        return 0;
}

int crew__queue_broken(crew_queue *q, const char *why)
{
        (void)atomic_fetch_or(&q->ring->state, CREW__STATE_BROKEN);
        /* Who broke it may take the bit back; this handle asks crew__queue_adopt each time now. */
        atomic_store(&q->segment->broken, true);
        atomic_store(&q->generation, 0);
        wake_all(q);
        return crew__fail(ENOTRECOVERABLE, "queue %.63s: %s; it is unusable", q->ring->name, why);
}

int crew__queue_refused(crew_queue *q, uint32_t state)
{
        if (state & CREW__STATE_BROKEN) {
                atomic_store(&q->segment->broken, true);
                atomic_store(&q->generation, 0);
        }
        if (state & CREW__STATE_BROKEN && state & CREW__STATE_STUCK)
                return crew__fail_quick(ENOTRECOVERABLE,
                        "the queue is unusable: it is shared with a process that is not trusted, "
                        "and one of its locks was held for 100 ms in which nothing moved");
        if (state & CREW__STATE_BROKEN)
                return crew__fail_quick(ENOTRECOVERABLE,
                        "the queue is unusable: its shared memory held values that no correct peer "
                        "writes");
        if (state & CREW__STATE_OVER)
                return crew__fail_quick(EPIPE,
                        "the queue has ended: every process that could put has ended or said so");
        return crew__fail_quick(EPIPE, "the queue is closed");
}

void crew__queue_shut(crew_queue *q, uint32_t why)
{
        crew__patience patience = crew__patience_of(CLOSE_PATIENCE);
        bool usable = !(crew__queue_state(q) & CREW__STATE_BROKEN);
        crew__hold hold;
        bool locked;

        /* Under the producers' lock every put either committed before, and is drained, or sees the
         * flag. Without it (declared single, or a stopped holder) a put at the same moment may land
         * behind the last get. */
        locked = usable && !(q->flags & CREW_QUEUE_SINGLE_PRODUCER) &&
                 crew__lock_acquire(&q->ring->producers.lock, &hold, &patience) >= 0;
        (void)atomic_fetch_or(&q->ring->state, CREW__STATE_CLOSED | why);
        if (locked)
                crew__lock_release(&q->ring->producers.lock, &hold);
        wake_all(q);
}

int crew_queue_close(crew_queue *q)
{
        int r = crew__queue_enter(q);

        if (r < 0 && r != -ENOTRECOVERABLE)
                return r;
        crew__queue_shut(q, 0);
        return 0;
}

/* Head first: read the other way round, gets in between would make the difference negative. */
static void snapshot(crew_queue *q, uint64_t *tail, uint64_t *head)
{
        *head = atomic_load_explicit(&q->ring->head, memory_order_acquire);
        *tail = atomic_load_explicit(&q->ring->tail, memory_order_acquire);
}

size_t crew_queue_count(crew_queue *q)
{
        uint64_t tail, head;
        size_t n;

        snapshot(q, &tail, &head);
        n = crew__index_messages(tail, head);
        return q->max_messages && n > q->max_messages ? q->max_messages : n;
}

size_t crew_queue_bytes(crew_queue *q)
{
        uint64_t tail, head, n;

        snapshot(q, &tail, &head);
        n = crew__index_bytes(tail, head);
        return n > q->ring_bytes ? q->ring_bytes : n;
}

bool crew_queue_empty(crew_queue *q)
{
        return crew_queue_count(q) == 0;
}

bool crew_queue_full(crew_queue *q)
{
        uint64_t tail, head;

        snapshot(q, &tail, &head);
        return !crew__queue_room(q, tail, head, crew__record_bytes(q->message_size));
}

bool crew__queue_ready(crew_queue *q, enum crew__queue_side side, size_t size)
{
        uint64_t tail, head;

        if (crew__queue_state(q) & (CREW__STATE_CLOSED | CREW__STATE_BROKEN))
                return true;
        snapshot(q, &tail, &head);
        if (!crew__index_valid(tail, head, q->ring_bytes))
                return true;
        return side == CREW__QUEUE_GET ? tail != head :
                                        crew__queue_room(q, tail, head, crew__record_bytes(size));
}
