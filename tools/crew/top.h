/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_TOP_H
#define CREW_TOOLS_CREW_TOP_H

/* crew top: what is shown (top.c), and the terminal it is shown on (top-screen.c). */

#include "lines.h"

#include <signal.h>

enum { TOP_MOST_COLUMNS = 24 };

/* What the user has chosen, and what there is to see. */
struct top {
        bool all;
        int64_t every; /* ms */

        const struct view_table *table;
        const struct view_column *shown[TOP_MOST_COLUMNS];
        size_t n_shown;
        const struct view_column *key; /* NULL = as a tree */
        bool falling;
        char filter[48];

        struct view v;
        struct lines lines;
        size_t first, at; /* the line at the top of the screen, and the one that is marked */
        pid_t marked;     /* its process: the mark stays with it */
        char message[160];
};

/* top-screen.c */

/* Takes the terminal over; 0 or an exit status after complaining. */
int top_screen_open(void);

/* Gives it back as it was. The signal that asked for the end, or 0. */
int top_screen_close(void);

void top_screen_draw(struct top *t);

/* Shows these lines instead, NULL after the last, until the next draw. */
void top_screen_show(const char *const lines[]);

/* A key, 0 = nothing for `ms`, or TOP_END: a signal asks for the end. */
enum { TOP_END = -1 };
int top_screen_key(int64_t ms);

/* Asks for a line of text in the last row; false: it was given up. */
bool top_screen_ask(const char *question, char *text, size_t size);

/* Lines that the table has room for. */
size_t top_screen_rows(void);

#endif
