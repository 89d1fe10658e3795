/* SPDX-License-Identifier: MIT */
#include "records.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 64 << 10 };

void records_open(struct records *r, int fd, char delimiter)
{
        *r = (struct records){ .fd = fd, .delimiter = delimiter };
}

int records_next(struct records *r, const char **record, size_t *length)
{
        char *begin, *end;
        size_t left = r->buffer.n - r->from;

        begin = r->buffer.at ? r->buffer.at + r->from : NULL;
        end = left > r->scanned ? memchr(begin + r->scanned, r->delimiter, left - r->scanned)
                                : NULL;
        r->delimited = end;
        if (!end) {
                r->scanned = left;
                if (left > RECORDS_LONGEST)
                        return -EMSGSIZE;
                if (!r->ended)
                        return -EAGAIN;
                if (left == 0)
                        return 0;
                (void)bytes_ended(&r->buffer);
                begin = r->buffer.at + r->from;
                end = begin + left;
        }
        *end = 0;
        if (strlen(begin) != (size_t)(end - begin))
                return -EILSEQ;
        *record = begin;
        *length = (size_t)(end - begin);
        r->from += *length + 1;
        if (r->from > r->buffer.n)
                r->from = r->buffer.n;
        r->scanned = 0;
        return 1;
}

int records_fill(struct records *r)
{
        ssize_t n;

        bytes_drop(&r->buffer, r->from);
        r->from = 0;
        do {
                n = read(r->fd, bytes_room(&r->buffer, PIECE), PIECE);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if (n == 0)
                r->ended = true;
        r->buffer.n += (size_t)n;
        return 0;
}

void records_close(struct records *r)
{
        if (r->fd > STDIN_FILENO)
                (void)close(r->fd);
        r->fd = -1;
        bytes_free(&r->buffer);
}
