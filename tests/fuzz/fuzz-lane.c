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

#include "fuzz.h"
#include "pool/lane-layout.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 64 };

struct state {
        crew__lane *lane;
        crew__lane_words *words;
        char *results;
        size_t bytes, task_ring, result_ring, all;
        uint64_t pushed, popped, next;
        struct {
                uint64_t id, place, end;
                uint32_t count;
        } last; /* the record that was pushed last; count 0: none, or it was taken back */
        uint64_t result_head; /* as the pool published it */
        bool broken;
};

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
        uint64_t at = atomic_load(&s->words->result_tail), size, text, count;
        crew__result_header header = { .id = take(p, 1), .status = (int32_t)take(p, 1) };

        if (at >> 32 >= crew__lane_places(s->result_ring))
                return;
        header.size = (uint32_t)take(p, 2);
        header.text = (uint32_t)take(p, 1);
        header.count = take(p, 1) % 4 ? 1 : (uint32_t)take(p, 1);
        size = header.size;
        text = header.text;
        count = header.count;
        if (take(p, 1) % 8 == 0)
                header.size = (uint32_t)take(p, 4);
        if (take(p, 1) % 8 == 0)
                header.count = (uint32_t)take(p, 4);
        if (take(p, 1) % 8 == 0)
                header.text = (uint32_t)take(p, 4);
        memcpy(s->results + crew__lane_offset(at, s->result_ring), &header, sizeof header);
        size = crew__result_bytes(size, count, text);
        if (size <= s->result_ring)
                atomic_store(&s->words->result_tail, crew__lane_behind(at, size, s->result_ring));
}

static void attack(struct program *p, struct state *s)
{
        crew__lane_words *w = s->words;

        switch (take(p, 1) % 8) {
        case 0:
                scribble(p, w, sizeof *w, 3, 64);
                break;
        case 1:
                scribble(p, w, s->all, 3, 64);
                break;
        case 2:
                atomic_store(&w->result_tail, near(p, s->result_head, s->result_ring));
                break;
        case 3:
                atomic_store(&w->freed, near(p, atomic_load(&w->freed), s->task_ring));
                break;
        case 4:
                atomic_store(&w->current, take(p, 1));
                if (take(p, 1) & 1)
                        atomic_store(&w->freed, atomic_load(&w->task_tail));
                break;
        case 5:
                atomic_store(take(p, 1) & 1 ? &w->current : &w->freed, take(p, 8));
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
        crew__lane_task task = { .id = s->next, .size = take(p, 2) % (s->bytes + 2), .count = 1 };
        char *data;
        int r;

        if (take(p, 1) & 1)
                task.count = 1 + (uint32_t)take(p, 1);
        data = malloc(task.size * task.count + 1);
        demand(data != NULL);
        memset(data, 0x5a, task.size * task.count + 1);
        task.data = data;
        s->last.place = crew__lane_tail(s->lane);
        r = crew__lane_push(s->lane, &task);
        crew__lane_wake(s->lane);
        free(data);
        if (r == -EMSGSIZE && !s->broken) {
                demand(task.size > s->bytes);
                return;
        }
        outcome(s, r);
        if (r <= 0)
                return;
        demand((uint32_t)r <= task.count);
        s->last.id = s->next;
        s->last.end = crew__lane_tail(s->lane);
        s->last.count = (uint32_t)r;
        s->pushed += (uint64_t)r;
        s->next += (uint64_t)r;
}

/* What is shown is bounded, and all that is copied lies in the lane. */
static void check_result(struct state *s, const crew__lane_result *result)
{
        char *copy = malloc(result->count * result->size + 1);

        demand(copy != NULL && result->count > 0);
        demand(result->size <= s->bytes && strlen(result->text) < CREW__LANE_TEXT);
        demand(result->count * result->size <= s->result_ring);
        crew__lane_copy(s->lane, copy);
        for (size_t i = 0; i < result->count * result->size; i++)
                (void)((const volatile char *)copy)[i];
        free(copy);
}

static void pop(struct state *s)
{
        crew__lane_result result;
        int r = crew__lane_look(s->lane, &result);

        outcome(s, r);
        if (r <= 0)
                return;
        check_result(s, &result);
        crew__lane_drop(s->lane);
        crew__lane_roomy(s->lane);
        s->popped += result.count;
        demand(s->popped <= s->pushed);
        /* Whose items they were only the caller knows, and this one does not keep books. */
        s->last.count = 0;
        s->result_head = atomic_load(&s->words->result_head);
}

/* The last record, or the end of it. */
static void recall(struct program *p, struct state *s)
{
        uint32_t keep;
        int r;

        crew__lane_hold(s->lane, true);
        if (s->last.count && !s->broken) {
                keep = (uint32_t)take(p, 1) % s->last.count;
                r = crew__lane_recall(
                        s->lane, s->last.place, s->last.end, keep, s->last.count - keep);
                outcome(s, r);
                if (r == 0)
                        s->pushed -= s->last.count - keep;
                s->last.count = r == 0 ? keep : 0;
        }
        crew__lane_hold(s->lane, false);
}

static void call(struct program *p, struct state *s)
{
        crew__lane_result result;
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
                r = crew__lane_salvage(s->lane, 1 + take(p, 1), 1 + (uint32_t)take(p, 1), &result);
                outcome(s, r);
                if (r > 0)
                        check_result(s, &result);
                break;
        case 6:
                (void)crew__lane_current(s->lane);
                (void)crew__lane_begun(s->lane);
                (void)crew__lane_ready(s->lane);
                recall(p, s);
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
        struct state s = { .bytes = sizes[take(&p, 1) % 4], .next = 1 };

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
