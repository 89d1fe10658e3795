/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_COLUMNS_H
#define CREW_TOOLS_CREW_COLUMNS_H

/*
 * What crew ps and crew top show: one table of columns for processes and one for queues. Headings,
 * -o, --sort, --help, the keys and types of --json and the screen of top all come from them.
 */

#include <crew/inspect.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum view_type {
        VIEW_TEXT,
        VIEW_NUMBER,
        VIEW_BYTES,   /* 1.5M; in JSON bytes */
        VIEW_TIME,    /* ns: 1.234s; in JSON seconds */
        VIEW_PERCENT, /* in tenths; in JSON percent */
        VIEW_RATE,    /* per second, in tenths; in JSON a number */
        VIEW_FLAG,    /* yes or no; in JSON true or false */
};

/* A moment, and the one before it for what is a rate: NULL = there was none. */
struct view {
        crew_snapshot *now, *before;
};

struct view_value {
        bool known;
        int64_t number;
        const char *text; /* of VIEW_TEXT */
        const char *colour;
        char store[320]; /* what text may point to */
};

struct view_column {
        const char *name, *title, *help;
        enum view_type type;
        bool shown; /* without -o */
        void (*get)(const struct view *v, const void *info, struct view_value *value);
};

/* A column and its getter, get_NAME(). */
#define COLUMN(name_, title_, type_, shown_, help_)                                                \
        {                                                                                          \
#name_, title_, help_, type_, shown_, get_##name_                                  \
        }

struct view_table {
        const char *what; /* "processes": the key in JSON */
        const struct view_column *columns;
        size_t n_columns;
        size_t name; /* the column that is indented to show the tree */
};

extern const struct view_table view_processes, view_queues;

/* The value of a column; unknown ones are set so. */
void view_get(const struct view *v, const struct view_column *c, const void *info,
        struct view_value *value);

/* How much a counter grew since the snapshot before, as a rate; unknown if there was none. */
void view_set_rate(const struct view *v, struct view_value *value, int64_t grown);

/* As a person reads it, "-" if unknown. */
void view_text(
        const struct view_column *c, const struct view_value *value, char *text, size_t size);

/* As a JSON value. */
void view_json(FILE *out, const struct view_column *c, const struct view_value *value);

/* The order of two values: by number, or text; the unknown ones come first. */
int view_compare(const struct view_value *a, const struct view_value *b, enum view_type type);

/* The column of that name, or NULL after complaining, with what was probably meant. */
const struct view_column *view_find(const struct view_table *t, const char *name, size_t length);

/* What CREW_STATE_... is called. */
const char *view_state_name(int state);

/* The process with that pid in a snapshot, or NULL. */
const crew_process_info *view_process(crew_snapshot *s, pid_t pid);

#endif
