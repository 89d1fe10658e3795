/* SPDX-License-Identifier: MIT */
#include "lines.h"

#include <stdlib.h>

static bool add(struct lines *lines, const void *info, int depth, pid_t pid)
{
        struct line *made;

        if (lines->n == lines->room) {
                size_t room = lines->room ? 2 * lines->room : 64;
                struct line **grown = realloc(lines->line, room * sizeof(struct line *));

                if (!grown)
                        return false;
                lines->line = grown;
                lines->room = room;
        }
        made = calloc(1, sizeof *made);
        if (!made)
                return false;
        made->info = info;
        made->depth = depth;
        made->pid = pid;
        lines->line[lines->n++] = made;
        return true;
}

bool lines_collect(struct lines *lines, const struct view_table *t, const struct view *v,
        lines_wanted_fn *wanted, const void *data)
{
        const crew_process_info *p;
        const crew_queue_info *q;
        bool memory = true;

        if (t == &view_processes) {
                for (size_t i = 0; memory && crew_snapshot_process(v->now, i, &p) == 0; i++) {
                        if (!wanted || wanted(v->now, p->pid, p, data))
                                memory = add(lines, p, p->depth, p->pid);
                }
                return memory;
        }
        for (size_t i = 0; memory && crew_snapshot_queue(v->now, i, &q) == 0; i++) {
                if (!wanted || wanted(v->now, q->owner, q, data))
                        memory = add(lines, q, 0, q->owner);
        }
        return memory;
}

/* What the comparison needs to know; qsort hands nothing through. */
static enum view_type order_type;
static bool order_falling;

static int order(const void *a, const void *b)
{
        const struct line *left = *(const struct line *const *)a;
        const struct line *right = *(const struct line *const *)b;
        int r = view_compare(&left->key, &right->key, order_type);

        if (r == 0)
                return (left->pid > right->pid) - (left->pid < right->pid);
        return order_falling ? -r : r;
}

void lines_sort(
        struct lines *lines, const struct view *v, const struct view_column *key, bool falling)
{
        for (size_t i = 0; i < lines->n; i++) {
                struct line *l = lines->line[i];

                view_get(v, key, l->info, &l->key);
                l->depth = 0;
        }
        order_type = key->type;
        order_falling = falling;
        if (lines->n)
                qsort(lines->line, lines->n, sizeof(struct line *), order);
}

void lines_free(struct lines *lines)
{
        for (size_t i = 0; i < lines->n; i++)
                free(lines->line[i]);
        free(lines->line);
        *lines = (struct lines){ 0 };
}
