/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_RECORDS_H
#define CREW_TOOLS_CREW_RECORDS_H

/* A descriptor read as records that end with a delimiter, in constant memory. */

#include "bytes.h"

#include <stdbool.h>

/* No argument of a command may be longer by far: such a record is read with the wrong delimiter. */
enum { RECORDS_LONGEST = 4 << 20 };

struct records {
        int fd;    /* to be polled */
        int reads; /* to be read: `fd`, or the same pipe opened again */
        enum { RECORDS_READ, RECORDS_RECEIVE, RECORDS_NOWAIT } how;
        char delimiter;
        bool ended;
        bool delimited; /* the last record had its delimiter */
        struct bytes buffer;
        size_t from;    /* the next record begins here */
        size_t scanned; /* up to here there is no delimiter */
};

void records_open(struct records *r, int fd, char delimiter);

/*
 * Sees to it that reads do not block, whoever else reads from it: between a poll that saw something
 * and the read others may have taken it. The descriptor itself stays as it is for those who share
 * it. A regular file is read as it is. To be called before the first read.
 */
void records_share(struct records *r);

/*
 * The next record, without its delimiter and ended with a zero; valid until the next call. The last
 * one need not have a delimiter. Returns 1; 0 at the end; -EAGAIN: records_fill() first;
 * -EMSGSIZE: longer than RECORDS_LONGEST; -EILSEQ: a zero byte inside.
 */
int records_next(struct records *r, const char **record, size_t *length);

/*
 * Reads once, which may block if there is nothing to read and records_share() was not called; with
 * it, it has read nothing then. 0, or a negative errno.
 */
int records_fill(struct records *r);

/* Also closes the descriptor, unless it is stdin. */
void records_close(struct records *r);

#endif
