/* SPDX-License-Identifier: MIT */
#include "bytes.h"

#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TROUBLE = 255, FIRST_CAP = 256 };

static void *not_null(void *p)
{
        if (p)
                return p;
        cli_complain("out of memory");
        _exit(TROUBLE);
}

void *must_have(size_t n)
{
        return not_null(calloc(1, n ? n : 1));
}

void *must_grow(void *p, size_t n)
{
        return not_null(realloc(p, n ? n : 1));
}

char *must_copy(const char *text, size_t n)
{
        char *copy = must_have(n + 1);

        memcpy(copy, text, n);
        return copy;
}

char *bytes_room(struct bytes *b, size_t more)
{
        if (b->cap - b->n < more) {
                size_t cap = b->cap ? b->cap : FIRST_CAP;

                while (cap - b->n < more)
                        cap *= 2;
                b->at = must_grow(b->at, cap);
                b->cap = cap;
        }
        return b->at + b->n;
}

void bytes_add(struct bytes *b, const void *from, size_t n)
{
        if (n == 0)
                return;
        memcpy(bytes_room(b, n), from, n);
        b->n += n;
}

void bytes_char(struct bytes *b, char c)
{
        *bytes_room(b, 1) = c;
        b->n++;
}

void bytes_text(struct bytes *b, const char *text)
{
        bytes_add(b, text, strlen(text));
}

void bytes_format(struct bytes *b, const char *format, ...)
{
        va_list args, again;
        int n;

        va_start(args, format);
        va_copy(again, args);
        n = vsnprintf(NULL, 0, format, args);
        va_end(args);
        if (n > 0) {
                (void)vsnprintf(bytes_room(b, (size_t)n + 1), (size_t)n + 1, format, again);
                b->n += (size_t)n;
        }
        va_end(again);
}

const char *bytes_ended(struct bytes *b)
{
        *bytes_room(b, 1) = 0;
        return b->at;
}

void bytes_drop(struct bytes *b, size_t n)
{
        b->n -= n;
        if (b->n && n)
                memmove(b->at, b->at + n, b->n);
}

void bytes_free(struct bytes *b)
{
        free(b->at);
        *b = (struct bytes){ 0 };
}
