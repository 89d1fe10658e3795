/* SPDX-License-Identifier: MIT */

/*
 * A lane whose worker is hostile. The input is a program: scribble over words and rings, then call
 * the pool's side. Calls may answer what they like, but neither crash nor hang, what they hand out
 * is bounded, and a lane that was found out stays so.
 *
 *      CC=clang CXX=clang++ meson setup build-fuzz && ninja -C build-fuzz tests/fuzz-lane
 *      build-fuzz/tests/fuzz-lane -max_len=1024 -timeout=10 CORPUS
 *
 * test-lane-hostile runs the same function over random programs.
 */

#include "pool/lane-layout.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_STEPS = 64 };

struct program {
        const uint8_t *at;
        size_t left;
};

struct state {
        crew__lane *lane;
        crew__lane_words *words;
        char *results;
        size_t bytes, task_ring, result_ring, all;
        uint64_t pushed, popped, freed;
        uint64_t result_head; /* as the pool published it */
        bool broken;
};

static uint64_t take(struct program *p, size_t bytes)
{
        uint64_t value = 0;

        if (bytes > p->left)
                bytes = p->left;
        memcpy(&value, p->at, bytes);
        p->at += bytes;
        p->left -= bytes;
        return value;
}

static void demand(bool held)
{
        if (!held)
                __builtin_trap();
}

static void scribble(struct program *p, char *where, size_t size)
{
        size_t offset = take(p, 3) % size, length = take(p, 1) % 64;

        if (length > size - offset)
                length = size - offset;
        if (length > p->left)
                length = p->left;
        memcpy(where + offset, p->at, length);
        p->at += length;
        p->left -= length;
}

/* An index some records and units away from a good one. */
static uint64_t near(struct program *p, uint64_t index, uint64_t ring)
{
        index += take(p, 1) % 4;
        index += (take(p, 2) % (crew__lane_places(ring) + 2)) << 32;
        if (take(p, 1) % 4 && index >> 32 >= crew__lane_places(ring))
                index -= crew__lane_places(ring) << 32;
        return index;
}

/* A result that may be good. */
static void publish(struct program *p, struct state *s)
{
        uint64_t at = atomic_load(&s->words->result_tail), size, text;
        crew__result_header header = { .id = take(p, 1), .status = (int32_t)take(p, 1) };

        if (at >> 32 >= crew__lane_places(s->result_ring))
                return;
        header.size = take(p, 2);
        header.text = (uint32_t)take(p, 1);
        size = header.size;
        text = header.text;
        if (take(p, 1) % 8 == 0)
                header.size = take(p, 8);
        if (take(p, 1) % 8 == 0)
                header.text = (uint32_t)take(p, 4);
        memcpy(s->results + crew__lane_offset(at, s->result_ring), &header, sizeof header);
        size = crew__result_bytes(size, text);
        if (size <= s->result_ring)
                atomic_store(&s->words->result_tail, crew__lane_behind(at, size, s->result_ring));
}

static void attack(struct program *p, struct state *s)
{
        crew__lane_words *w = s->words;

        switch (take(p, 1) % 8) {
        case 0:
                scribble(p, (char *)w, sizeof *w);
                break;
        case 1:
                scribble(p, (char *)w, s->all);
                break;
        case 2:
                atomic_store(&w->result_tail, near(p, s->result_head, s->result_ring));
                break;
        case 3:
                atomic_store(&w->freed, near(p, atomic_load(&w->freed), s->task_ring));
                break;
        case 4:
                atomic_store(&w->taken, atomic_load(&w->task_tail));
                if (take(p, 1) & 1)
                        atomic_store(&w->freed, atomic_load(&w->task_tail));
                break;
        case 5:
                atomic_store(take(p, 1) & 1 ? &w->taken : &w->freed, take(p, 8));
                break;
        default:
                publish(p, s);
                break;
        }
}

static void outcome(struct state *s, int r)
{
        demand(!s->broken || r == -ENOTRECOVERABLE);
        s->broken = r == -ENOTRECOVERABLE;
        if (r < 0)
                demand(strlen(crew_error_detail()) > 5 && strlen(crew_error_detail()) < 512);
}

static void push(struct program *p, struct state *s)
{
        crew__lane_task task = { .id = take(p, 1) + 1, .size = take(p, 2) % (s->bytes + 2) };
        char *data = malloc(task.size + 1);
        int r;

        demand(data != NULL);
        memset(data, 0x5a, task.size + 1);
        task.data = data;
        r = crew__lane_push(s->lane, &task);
        free(data);
        if (r == -EMSGSIZE && !s->broken) {
                demand(task.size > s->bytes);
                return;
        }
        outcome(s, r);
        s->pushed += r == 0;
}

static void pop(struct state *s)
{
        crew__lane_result result;
        int r = crew__lane_pop(s->lane, &result);

        outcome(s, r);
        if (r <= 0)
                return;
        demand(result.size <= s->bytes && strlen(result.text) < CREW__LANE_TEXT);
        demand((uintptr_t)result.data % CREW__LANE_ALIGN == 0 && result.status <= 0);
        for (size_t i = 0; i < result.size; i++)
                (void)((const volatile char *)result.data)[i];
        demand(++s->popped <= s->pushed);
        s->result_head = atomic_load(&s->words->result_head);
}

static void call(struct program *p, struct state *s)
{
        uint64_t taken, freed;
        int r;

        switch (take(p, 1) % 8) {
        case 0:
        case 1:
                push(p, s);
                break;
        case 2:
        case 3:
        case 4:
                pop(s);
                break;
        case 5:
                r = crew__lane_progress(s->lane, &taken, &freed);
                outcome(s, r);
                if (r < 0)
                        break;
                demand(freed >= s->freed && freed <= taken && taken <= s->pushed);
                s->freed = freed;
                break;
        case 6:
                (void)crew__lane_current(s->lane);
                (void)crew__lane_ready(s->lane);
                crew__lane_hold(s->lane, take(p, 1) & 1);
                break;
        default:
                crew__lane_cancel(s->lane, take(p, 1));
                crew__lane_close(s->lane);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const uint16_t sizes[] = { 0, 1, 100, 5000 };
        struct program p = { data, size };
        struct state s = { .bytes = sizes[take(&p, 1) % 4] };

        if (crew__lane_new(&s.lane, s.bytes) < 0)
                return 0;
        s.words = crew__lane_segment(s.lane)->address;
        s.task_ring = s.words->tasks;
        s.result_ring = s.words->results;
        s.all = s.words->words + s.words->tasks + s.words->results;
        s.results = (char *)s.words + s.words->words + s.words->tasks;
        for (int step = 0; step < MOST_STEPS && p.left; step++) {
                if (take(&p, 1) & 1)
                        attack(&p, &s);
                else
                        call(&p, &s);
        }
        (void)crew__lane_free(s.lane);
        return 0;
}
