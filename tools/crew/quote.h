/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_QUOTE_H
#define CREW_TOOLS_CREW_QUOTE_H

/* Text on its way into a shell, or onto a terminal. */

#include "bytes.h"

#include <stdbool.h>

/* Where in a shell script a value is to be put. */
enum quote_place {
        QUOTE_WORD,   /* outside quotes */
        QUOTE_SINGLE, /* inside '...' */
        QUOTE_DOUBLE, /* inside "..." */
};

/* Adds `text` so that a POSIX shell takes it for exactly these bytes, in the place that it is in.
 */
void quote_shell(struct bytes *into, const char *text, enum quote_place place);

/* Adds argv as one line that can be pasted into a shell; control characters as $'...'. */
void quote_line(struct bytes *into, const char *const argv[]);

/*
 * Adds text so that it can do nothing to a terminal: control characters (C1 too) and bytes that are
 * no UTF-8 become visible, as \n, \x1b; the rest stays.
 */
void quote_visible(struct bytes *into, const char *text, size_t n);

/*
 * Follows the quoting of a script as it is read. Begin with a zeroed struct, feed it every byte of
 * the script but not the values put into it.
 */
struct quote_state {
        unsigned char open[32]; /* what is open, from the outside in */
        unsigned depth;
        bool backslash, comment, dollar;
        char last;
};

void quote_follow(struct quote_state *s, char c);

enum quote_place quote_where(const struct quote_state *s);

/* Whether this place is inside `...`, where backslashes count once more. */
bool quote_in_backticks(const struct quote_state *s);

/* Adds text, shell quoted already, for inside `...`. */
void quote_backticked(struct bytes *into, const char *text, size_t n);

#endif
