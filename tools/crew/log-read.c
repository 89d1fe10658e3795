/* SPDX-License-Identifier: MIT */
#include "log-read.h"

#include "bytes.h"
#include "records.h"
#include "results.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GNU_COLUMNS = 9 };

static bool number(const char *text, const char *end, uint64_t *value)
{
        char *stop;

        if (!isdigit((unsigned char)*text))
                return false;
        errno = 0;
        *value = strtoull(text, &stop, 10);
        return errno == 0 && stop == end;
}

/* Seq Host Starttime JobRuntime Send Receive Exitval Signal Command */
static bool read_gnu(const char *line, struct log_entry *e)
{
        const char *column[GNU_COLUMNS] = { line };

        for (int i = 1; i < GNU_COLUMNS; i++) {
                const char *tab = strchr(column[i - 1], '\t');

                if (!tab)
                        return false;
                column[i] = tab + 1;
        }
        if (!number(line, column[1] - 1, &e->seq))
                return false;
        e->succeeded = strncmp(column[6], "0\t0\t", 4) == 0;
        e->hash = results_hash(column[8], strlen(column[8]));
        return true;
}

/* The value of a field that crew itself wrote; such a name never stands inside a string. */
static const char *field(const char *line, const char *name)
{
        const char *at = strstr(line, name);

        return at ? at + strlen(name) : NULL;
}

static bool read_json(const char *line, struct log_entry *e)
{
        const char *seq = field(line, "{\"seq\":"), *exit = field(line, ",\"exit\":"),
                   *signal = field(line, ",\"signal\":"), *hash = field(line, ",\"hash\":\"");
        char *end;

        if (seq != line + strlen("{\"seq\":") || !exit || !signal || !hash ||
                line[strlen(line) - 1] != '}')
                return false;
        if (!number(seq, seq + strspn(seq, "0123456789"), &e->seq))
                return false;
        e->succeeded = strncmp(exit, "0,", 2) == 0 && strncmp(signal, "0,", 2) == 0;
        e->hash = strtoull(hash, &end, 16);
        return end == hash + 16;
}

bool log_read_line(const char *line, struct log_entry *e)
{
        return *line == '{' ? read_json(line, e) : read_gnu(line, e);
}

static void add(struct log_entries *entries, const struct log_entry *e)
{
        if (entries->n == entries->cap) {
                entries->cap = entries->cap ? entries->cap * 2 : 256;
                entries->at = must_grow(entries->at, entries->cap * sizeof *entries->at);
        }
        entries->at[entries->n++] = *e;
}

static int by_number(const void *a, const void *b)
{
        const struct log_entry *x = a, *y = b;

        if (x->seq != y->seq)
                return x->seq < y->seq ? -1 : 1;
        return x->line < y->line ? -1 : x->line > y->line;
}

int log_read(struct log_entries *entries, int fd, uint64_t *whole)
{
        struct log_entry e = { 0 };
        struct records lines;
        const char *line;
        size_t length;
        int r;

        *whole = 0;
        records_open(&lines, fd, '\n');
        while ((r = records_next(&lines, &line, &length)) != 0) {
                if (r == -EAGAIN) {
                        r = records_fill(&lines);
                        if (r < 0)
                                break;
                        continue;
                }
                if (r < 0)
                        break;
                /* A line without its end was being written when the run was killed. */
                if (!lines.delimited)
                        break;
                *whole += length + 1;
                e.line++;
                if (log_read_line(line, &e))
                        add(entries, &e);
        }
        bytes_free(&lines.buffer);
        if (entries->n)
                qsort(entries->at, entries->n, sizeof *entries->at, by_number);
        return r < 0 ? r : 0;
}

const struct log_entry *log_entries_find(const struct log_entries *entries, uint64_t seq)
{
        size_t low = 0, high = entries->n;

        /* The first that is beyond. */
        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (entries->at[middle].seq <= seq)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low > 0 && entries->at[low - 1].seq == seq ? &entries->at[low - 1] : NULL;
}
