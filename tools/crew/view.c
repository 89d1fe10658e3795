/* SPDX-License-Identifier: MIT */

/* Values of columns as people and programs read them. */

#include "base/nearest.h"
#include "cli.h"
#include "columns.h"

#include <inttypes.h>
#include <string.h>

enum { MOST_COLUMNS = 64 };

const crew_process_info *view_process(crew_snapshot *s, pid_t pid)
{
        const crew_process_info *info;

        for (size_t i = 0; crew_snapshot_process(s, i, &info) == 0; i++) {
                if (info->pid == pid)
                        return info;
        }
        return NULL;
}

void view_get(const struct view *v, const struct view_column *c, const void *info,
        struct view_value *value)
{
        value->known = false;
        value->number = 0;
        value->text = "";
        value->colour = NULL;
        c->get(v, info, value);
}

void view_set_rate(const struct view *v, struct view_value *value, int64_t grown)
{
        int64_t took = v->before ? crew_snapshot_time(v->now) - crew_snapshot_time(v->before) : 0;

        if (took <= 0 || grown < 0)
                return;
        value->known = true;
        value->number = (int64_t)((double)grown * 1e10 / (double)took);
}

static void human_bytes(uint64_t n, char *to, size_t size)
{
        static const char units[] = "BKMGTPE";
        double value = (double)n;
        size_t unit = 0;

        while (value >= 1000 && unit < sizeof units - 2) {
                value /= 1024;
                unit++;
        }
        (void)snprintf(to, size, unit && value < 10 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

static void human_time(int64_t ns, char *to, size_t size)
{
        double s = (double)ns / 1e9;

        if (ns < 1000000)
                (void)snprintf(to, size, "%.1fus", (double)ns / 1e3);
        else if (s < 1)
                (void)snprintf(to, size, "%.0fms", s * 1e3);
        else if (s < 100)
                (void)snprintf(to, size, "%.1fs", s);
        else if (s < 3600 * 24)
                (void)snprintf(
                        to, size, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
        else
                (void)snprintf(to, size, "%.1fd", s / 86400);
}

void view_text(const struct view_column *c, const struct view_value *value, char *to, size_t size)
{
        if (!value->known) {
                (void)snprintf(to, size, "-");
                return;
        }
        switch (c->type) {
        case VIEW_TEXT:
                (void)snprintf(to, size, "%s", value->text);
                break;
        case VIEW_NUMBER:
                (void)snprintf(to, size, "%" PRId64, value->number);
                break;
        case VIEW_BYTES:
                human_bytes((uint64_t)value->number, to, size);
                break;
        case VIEW_TIME:
                human_time(value->number, to, size);
                break;
        case VIEW_PERCENT:
        case VIEW_RATE:
                (void)snprintf(to, size, value->number < 10000 ? "%.1f" : "%.0f",
                        (double)value->number / 10);
                break;
        case VIEW_FLAG:
                (void)snprintf(to, size, value->number ? "yes" : "no");
                break;
        }
}

void view_json(FILE *out, const struct view_column *c, const struct view_value *value)
{
        if (!value->known) {
                fputs("null", out);
                return;
        }
        switch (c->type) {
        case VIEW_TEXT:
                cli_json_string(out, value->text);
                break;
        case VIEW_NUMBER:
        case VIEW_BYTES:
                fprintf(out, "%" PRId64, value->number);
                break;
        case VIEW_TIME:
                fprintf(out, "%.9f", (double)value->number / 1e9);
                break;
        case VIEW_PERCENT:
        case VIEW_RATE:
                fprintf(out, "%.1f", (double)value->number / 10);
                break;
        case VIEW_FLAG:
                fputs(value->number ? "true" : "false", out);
                break;
        }
}

int view_compare(const struct view_value *a, const struct view_value *b, enum view_type type)
{
        if (!a->known || !b->known)
                return (int)a->known - (int)b->known;
        if (type == VIEW_TEXT)
                return strcmp(a->text, b->text);
        return (a->number > b->number) - (a->number < b->number);
}

const struct view_column *view_find(const struct view_table *t, const char *name, size_t length)
{
        const char *names[MOST_COLUMNS], *nearest;
        char word[64];

        for (size_t i = 0; i < t->n_columns; i++) {
                names[i] = t->columns[i].name;
                if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
                        return &t->columns[i];
        }
        (void)snprintf(word, sizeof word, "%.*s", (int)length, name);
        nearest = crew__nearest(word, names, t->n_columns);
        (void)cli_misused("%s have no column '%s'%s%s%s", t->what, word,
                nearest ? "; did you mean '" : "; --help lists them", nearest ? nearest : "",
                nearest ? "'?" : "");
        return NULL;
}
