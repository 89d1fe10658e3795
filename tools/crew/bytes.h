/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_BYTES_H
#define CREW_TOOLS_CREW_BYTES_H

/*
 * A growing buffer, for text and for what jobs print. Zeroed is empty. There is nothing that a
 * command could do without memory: running out ends it with words and RUN_TROUBLE, and the engine's
 * end takes the jobs along.
 */

#include <stddef.h>
#include <stdint.h>

struct bytes {
        char *at;
        size_t n, cap;
};

/* Room for `more` bytes behind the n that are there. */
char *bytes_room(struct bytes *b, size_t more);

void bytes_add(struct bytes *b, const void *from, size_t n);
void bytes_char(struct bytes *b, char c);
void bytes_text(struct bytes *b, const char *text);
void bytes_format(struct bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends it with a zero that does not count; the result lives until the next change. */
const char *bytes_ended(struct bytes *b);

/* Drops the first `n`. */
void bytes_drop(struct bytes *b, size_t n);

void bytes_free(struct bytes *b);

/* malloc, realloc and strdup that end the command instead of failing. */
void *must_have(size_t n);
void *must_grow(void *p, size_t n);
char *must_copy(const char *text, size_t n);

#endif
