/* SPDX-License-Identifier: MIT */

/* Memory of operations and sources: everything O(1), and nothing that the kernel could write to. */

#include "event/waiter.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

struct crew__op_chunk {
        crew__op_chunk *next;
        size_t count;
        crew__op ops[];
};

enum { FIRST_BITS = 6, NO_SLOT = UINT32_MAX };

/* Fibonacci hashing: tags are often pointers or small numbers. */
static size_t bucket_of(uint64_t key, unsigned bits)
{
        return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits));
}

static crew__link *new_buckets(unsigned bits)
{
        size_t n = (size_t)1 << bits;
        crew__link *buckets = malloc(n * sizeof *buckets);

        for (size_t i = 0; buckets && i < n; i++)
                crew__link_init(&buckets[i]);
        return buckets;
}

static crew__link *bucket(const crew__index *index, uint64_t key)
{
        return &index->buckets[bucket_of(key, index->bits)];
}

/* Twice as many buckets as soon as there is one entry per bucket; without memory it gets slower. */
static void index_grow(crew__index *index, uint64_t (*key_of)(crew__link *))
{
        crew__link *old = index->buckets, *grown;
        size_t n = (size_t)1 << index->bits;

        if (index->count < n)
                return;
        grown = new_buckets(index->bits + 1);
        if (!grown)
                return;
        index->buckets = grown;
        index->bits++;
        for (size_t i = 0; i < n; i++) {
                CREW__EACH (at, &old[i]) {
                        crew__link_leave(at);
                        crew__link_append(bucket(index, key_of(at)), at);
                }
        }
        free(old);
}

static void index_add(crew__index *index, crew__link *link, uint64_t (*key_of)(crew__link *))
{
        index_grow(index, key_of);
        crew__link_append(bucket(index, key_of(link)), link);
        index->count++;
}

static void index_remove(crew__index *index, crew__link *link)
{
        crew__link_leave(link);
        index->count--;
}

static uint64_t tag_of(crew__link *link)
{
        return CREW__OF(link, crew__op, tagged)->spec.tag;
}

static uint64_t key(enum crew__source_kind kind, int fd, const crew__events *events,
        const _Atomic uint32_t *word)
{
        if (word)
                return (uint64_t)(uintptr_t)word;
        return events ? (uint64_t)(uintptr_t)events : (uint64_t)kind << 32 | (uint32_t)fd;
}

static uint64_t key_of(crew__link *link)
{
        const crew__source *s = CREW__OF(link, crew__source, keyed);

        return key(s->kind, s->fd, s->events, s->word);
}

static int add_chunk(crew_waiter *w, size_t count)
{
        crew__op_chunk *chunk = malloc(sizeof *chunk + count * sizeof *chunk->ops);

        if (!chunk)
                return -ENOMEM;
        chunk->next = w->chunks;
        chunk->count = count;
        w->chunks = chunk;
        for (size_t i = 0; i < count; i++)
                crew__link_append(&w->free_ops, &chunk->ops[i].hot);
        return 0;
}

int crew__table_init(crew_waiter *w, unsigned depth)
{
        crew__link_init(&w->free_ops);
        w->free_slot = NO_SLOT;
        w->tags.bits = w->keys.bits = FIRST_BITS;
        w->tags.buckets = new_buckets(FIRST_BITS);
        w->keys.buckets = new_buckets(FIRST_BITS);
        if (!w->tags.buckets || !w->keys.buckets)
                return -ENOMEM;
        return add_chunk(w, depth);
}

void crew__table_free(crew_waiter *w)
{
        while (w->chunks) {
                crew__op_chunk *next = w->chunks->next;

                free(w->chunks);
                w->chunks = next;
        }
        free(w->tags.buckets);
        free(w->keys.buckets);
        free(w->slots);
        free(w->timers.ops);
}

crew__op *crew__op_new(crew_waiter *w, uint64_t tag)
{
        crew__op *op;

        if (crew__link_alone(&w->free_ops) && add_chunk(w, w->chunks->count * 2) < 0)
                return NULL;
        op = CREW__OF(w->free_ops.next, crew__op, hot);
        crew__link_leave(&op->hot);
        memset(op, 0, sizeof *op);
        op->spec.tag = tag;
        crew__link_init(&op->hot);
        crew__link_init(&op->sleeping);
        crew__link_init(&op->tagged);
        index_add(&w->tags, &op->tagged, tag_of);
        w->armed++;
        return op;
}

void crew__op_free(crew_waiter *w, crew__op *op)
{
        index_remove(&w->tags, &op->tagged);
        crew__link_append(&w->free_ops, &op->hot);
        w->armed--;
}

crew__link *crew__tag_bucket(const crew_waiter *w, uint64_t tag)
{
        return bucket(&w->tags, tag);
}

/* A slot for a source; its sequence goes on from the last user's. */
static bool take_slot(crew_waiter *w, crew__source *s)
{
        uint32_t n = w->n_slots ? w->n_slots * 2 : 64;
        crew__slot *slots;

        if (w->free_slot == NO_SLOT) {
                slots = realloc(w->slots, n * sizeof *slots);
                if (!slots)
                        return false;
                for (uint32_t i = w->n_slots; i < n; i++)
                        slots[i] = (crew__slot){ .next_free = i + 1 < n ? i + 1 : NO_SLOT };
                w->slots = slots;
                w->free_slot = w->n_slots;
                w->n_slots = n;
        }
        s->slot = w->free_slot;
        w->free_slot = w->slots[s->slot].next_free;
        w->slots[s->slot].source = s;
        w->slots[s->slot].sequence++;
        return true;
}

crew__source *crew__source_get(crew_waiter *w, const crew__op_spec *spec)
{
        crew__events *events = spec->source == CREW__SOURCE_EVENTS ? spec->events : NULL;
        _Atomic uint32_t *word = spec->source == CREW__SOURCE_WORD ? spec->word : NULL;
        crew__source *s;

        CREW__EACH (at, bucket(&w->keys, key(spec->source, spec->fd, events, word))) {
                s = CREW__OF(at, crew__source, keyed);
                if (s->kind == spec->source && s->fd == spec->fd && s->events == events &&
                        s->word == word)
                        return s;
        }
        s = calloc(1, sizeof *s);
        if (!s)
                return NULL;
        s->kind = spec->source;
        s->fd = spec->fd;
        s->events = events;
        s->word = word;
        s->set_fd = -1;
        s->arming = CREW__NO_ARMING;
        crew__link_init(&s->ops);
        crew__link_init(&s->keyed);
        crew__link_init(&s->all);
        crew__link_init(&s->dirty);
        crew__link_init(&s->sliced);
        if (!take_slot(w, s)) {
                free(s);
                return NULL;
        }
        index_add(&w->keys, &s->keyed, key_of);
        crew__link_append(&w->sources, &s->all);
        return s;
}

void crew__source_free(crew_waiter *w, crew__source *s)
{
        crew__slot *slot = &w->slots[s->slot];

        slot->source = NULL;
        slot->next_free = w->free_slot;
        w->free_slot = s->slot;
        index_remove(&w->keys, &s->keyed);
        crew__link_leave(&s->all);
        crew__link_leave(&s->dirty);
        crew__link_leave(&s->sliced);
        free(s);
}

uint64_t crew__source_name(const crew_waiter *w, const crew__source *s)
{
        return (uint64_t)w->slots[s->slot].sequence << 32 | s->slot;
}

crew__source *crew__source_named(const crew_waiter *w, uint64_t name)
{
        uint32_t slot = (uint32_t)name;

        if (slot >= w->n_slots || w->slots[slot].sequence != name >> 32)
                return NULL;
        return w->slots[slot].source;
}
