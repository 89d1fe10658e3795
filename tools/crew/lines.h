/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_LINES_H
#define CREW_TOOLS_CREW_LINES_H

/* What of a snapshot is shown, in which order: for crew ps and crew top. */

#include "columns.h"

struct line {
        const void *info;
        int depth; /* in the tree; 0 once sorted */
        pid_t pid; /* of the process, or of the queue's owner */
        struct view_value key;
};

struct lines {
        struct line **line; /* each stays where it is: its key may point into itself */
        size_t n, room;
};

/* Does a line belong there? */
typedef bool lines_wanted_fn(crew_snapshot *s, pid_t pid, const void *info, const void *data);

/* All that is wanted (NULL = everything), as the snapshot has it. False: no memory. */
bool lines_collect(struct lines *lines, const struct view_table *t, const struct view *v,
        lines_wanted_fn *wanted, const void *data);

/* Lines that are equal come by pid. */
void lines_sort(
        struct lines *lines, const struct view *v, const struct view_column *key, bool falling);

void lines_free(struct lines *lines);

#endif
