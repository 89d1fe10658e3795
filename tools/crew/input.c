/* SPDX-License-Identifier: MIT */
#include "input.h"

#include "bytes.h"
#include "records.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The rows of a source that were read already, and which of them is the current one. */
struct rows {
        struct input_values *at;
        size_t n, cap, next;
};

struct input {
        struct input_options o;
        struct records stream; /* the first source, unless it is words */
        bool streams;
        size_t next_word;          /* of the first source, if it is words */
        struct input_values first; /* its current row */
        bool have_first;           /* and it is not used up */
        bool ended;
        struct rows *rows; /* per source; the first has none unless all are linked */
        uint64_t firsts;   /* rows of the first source that were taken */
        uint64_t streamed; /* records read for them */
        uint64_t handed_out;
        struct input_values batch;
        size_t in_batch;
};

static void add_value(struct input_values *v, const char *text, size_t n)
{
        if (v->n == v->cap) {
                v->cap = v->cap ? v->cap * 2 : 4;
                v->at = must_grow(v->at, v->cap * sizeof *v->at);
        }
        v->at[v->n++] = must_copy(text, n);
}

static void add_values(struct input_values *v, const struct input_values *more)
{
        for (size_t i = 0; i < more->n; i++)
                add_value(v, more->at[i], strlen(more->at[i]));
}

void input_release(struct input_values *v)
{
        for (size_t i = 0; i < v->n; i++)
                free(v->at[i]);
        free(v->at);
        *v = (struct input_values){ 0 };
}

static bool blank(const char *text)
{
        return text[strspn(text, " \t\r\n")] == 0;
}

/* Adds what stands between `text` and `end` without the blanks around it. */
static void add_trimmed(struct input_values *v, const char *text, const char *end)
{
        while (text < end && (*text == ' ' || *text == '\t'))
                text++;
        while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
        add_value(v, text, (size_t)(end - text));
}

/* Takes a row apart. */
static void split(const struct input *in, const char *row, struct input_values *v)
{
        regmatch_t match;
        int flags = 0;

        if (!in->o.columns) {
                add_value(v, row, strlen(row));
                return;
        }
        while (regexec(in->o.columns, row, 1, &match, flags) == 0 && match.rm_eo > 0) {
                add_trimmed(v, row, row + match.rm_so);
                row += match.rm_eo;
                flags = REG_NOTBOL;
        }
        add_trimmed(v, row, row + strlen(row));
}

/* Whether a row is to be had: 1, or 0 = leave it out, or -ENODATA = it ends the source. */
static int wanted(const struct input *in, const char *row)
{
        if (in->o.end && strcmp(row, in->o.end) == 0)
                return -ENODATA;
        return !(in->o.skip_empty && blank(row));
}

static int open_file(struct records *r, const char *name, int flags, char delimiter, char why[256])
{
        int fd = strcmp(name, "-") == 0 ? STDIN_FILENO
                                        : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | flags);

        if (fd < 0) {
                int err = errno;

                (void)snprintf(why, 256, "cannot read '%s': %s", name, strerror(err));
                return -err;
        }
        records_open(r, fd, delimiter);
        return 0;
}

static int unreadable(int r, const char *name, uint64_t row, char why[256])
{
        if (r == -EILSEQ)
                (void)snprintf(why, 256,
                        "'%s': record %llu has a zero byte in it, which no argument can carry; is "
                        "it a list for -0?",
                        name, (unsigned long long)row);
        else if (r == -EMSGSIZE)
                (void)snprintf(why, 256,
                        "'%s': record %llu is longer than %d MiB; is the delimiter right?", name,
                        (unsigned long long)row, RECORDS_LONGEST >> 20);
        else
                (void)snprintf(why, 256, "cannot read '%s': %s", name, strerror(-r));
        return r;
}

static struct input_values *new_row(struct rows *rows)
{
        if (rows->n == rows->cap) {
                rows->cap = rows->cap ? rows->cap * 2 : 64;
                rows->at = must_grow(rows->at, rows->cap * sizeof *rows->at);
        }
        rows->at[rows->n] = (struct input_values){ 0 };
        return &rows->at[rows->n++];
}

static int load_file(struct input *in, const char *name, struct rows *rows, char why[256])
{
        struct records records;
        const char *row;
        size_t length;
        int r = open_file(&records, name, 0, in->o.delimiter, why), keep;

        if (r < 0)
                return r;
        while ((r = records_next(&records, &row, &length)) != 0) {
                if (r == -EAGAIN)
                        r = records_fill(&records);
                else if (r == 1) {
                        keep = wanted(in, row);
                        if (keep < 0)
                                break;
                        if (keep)
                                split(in, row, new_row(rows));
                }
                if (r < 0) {
                        (void)unreadable(r, name, rows->n + 1, why);
                        break;
                }
        }
        records_close(&records);
        return r < 0 ? r : 0;
}

static int load(struct input *in, const struct input_source *s, struct rows *rows, char why[256])
{
        if (s->kind == INPUT_FILE)
                return load_file(in, s->words[0], rows, why);
        for (size_t i = 0; i < s->n; i++) {
                int keep = wanted(in, s->words[i]);

                if (keep < 0)
                        break;
                if (keep)
                        split(in, s->words[i], new_row(rows));
        }
        return 0;
}

int input_new(struct input **out, const struct input_options *o, char why[256])
{
        struct input *in = must_have(sizeof *in);
        int r = 0;

        in->o = *o;
        in->rows = must_have(o->n_sources * sizeof *in->rows);
        for (size_t i = o->link_all ? 0 : 1; i < o->n_sources && r >= 0; i++)
                r = load(in, &o->sources[i], &in->rows[i], why);
        if (r >= 0 && !o->link_all && o->sources[0].kind == INPUT_FILE) {
                /* Of a FIFO, the writer is waited for by the run, not by this. */
                r = open_file(&in->stream, o->sources[0].words[0], O_NONBLOCK, o->delimiter, why);
                in->streams = r >= 0;
                if (in->streams)
                        records_share(&in->stream);
        }
        if (r < 0) {
                input_free(in);
                return r;
        }
        *out = in;
        return 0;
}

void input_free(struct input *in)
{
        if (!in)
                return;
        for (size_t i = 0; i < in->o.n_sources; i++) {
                for (size_t j = 0; j < in->rows[i].n; j++)
                        input_release(&in->rows[i].at[j]);
                free(in->rows[i].at);
        }
        free(in->rows);
        input_release(&in->first);
        input_release(&in->batch);
        if (in->streams)
                records_close(&in->stream);
        free(in);
}

/* The first source's next row, into in->first. */
static int next_first(struct input *in, char why[256])
{
        const struct input_source *s = &in->o.sources[0];
        const char *row = NULL;
        size_t length;
        int r, keep;

        do {
                if (in->streams) {
                        r = records_next(&in->stream, &row, &length);
                        if (r < 0 && r != -EAGAIN)
                                return unreadable(r, s->words[0], in->streamed + 1, why);
                        if (r < 1)
                                return r;
                        in->streamed++;
                } else if (in->next_word < s->n)
                        row = s->words[in->next_word++];
                else
                        return 0;
                keep = wanted(in, row);
        } while (keep == 0);
        if (keep < 0)
                return 0;
        input_release(&in->first);
        split(in, row, &in->first);
        in->have_first = true;
        in->firsts++;
        return 1;
}

/* The sources from `i` on that move together: up to the returned one, which is not among them. */
static size_t group_end(const struct input *in, size_t i)
{
        do {
                i++;
        } while (i < in->o.n_sources && in->o.sources[i].linked);
        return i;
}

/* Moves the linked sources of the first group along with it; false: one of them has ended. */
static bool advance_linked(struct input *in)
{
        size_t end = group_end(in, 0);

        for (size_t i = 1; i < end; i++) {
                if (in->firsts > in->rows[i].n)
                        return false;
                in->rows[i].next = in->firsts - 1;
        }
        return true;
}

/* Moves the group of sources that begins at `i`; false: it began again. */
static bool advance_group(struct input *in, size_t i, size_t end)
{
        size_t shortest = SIZE_MAX, next = in->rows[i].next + 1;

        for (size_t j = i; j < end; j++)
                shortest = in->rows[j].n < shortest ? in->rows[j].n : shortest;
        for (size_t j = i; j < end; j++)
                in->rows[j].next = next < shortest ? next : 0;
        return next < shortest;
}

/* The next combination, the last group moving fastest. */
static int combine(struct input *in, char why[256])
{
        size_t starts[64], n = 0;
        int r;

        for (size_t i = group_end(in, 0); i < in->o.n_sources && n < 64; i = group_end(in, i)) {
                if (in->rows[i].n == 0)
                        return 0;
                starts[n++] = i;
        }
        if (in->have_first) {
                while (n-- > 0) {
                        if (advance_group(in, starts[n], group_end(in, starts[n])))
                                return 1;
                }
                in->have_first = false; /* the groups stand at their beginnings */
        }
        r = next_first(in, why);
        if (r == 1 && !advance_linked(in))
                return 0;
        return r;
}

static int combination(struct input *in, struct input_values *v, char why[256])
{
        int r = combine(in, why);

        if (r < 1)
                return r;
        if (in->o.batch == 0)
                return 1;
        add_values(v, &in->first);
        for (size_t i = 1; i < in->o.n_sources; i++)
                add_values(v, &in->rows[i].at[in->rows[i].next]);
        return 1;
}

static size_t longest(const struct input *in)
{
        size_t most = 0;

        for (size_t i = 0; i < in->o.n_sources; i++) {
                if (in->rows[i].n == 0)
                        return 0;
                most = in->rows[i].n > most ? in->rows[i].n : most;
        }
        return most;
}

static int linked_rows(struct input *in, struct input_values *v)
{
        if (in->next_word >= longest(in))
                return 0;
        for (size_t i = 0; i < in->o.n_sources && in->o.batch; i++)
                add_values(v, &in->rows[i].at[in->next_word % in->rows[i].n]);
        in->next_word++;
        return 1;
}

int input_next(struct input *in, struct input_values *values, char why[256])
{
        size_t want = in->o.batch ? in->o.batch : 1;
        int r = 0;

        while (!in->ended && in->in_batch < want) {
                r = in->o.link_all ? linked_rows(in, &in->batch) : combination(in, &in->batch, why);
                if (r < 0)
                        return r;
                in->ended = r == 0;
                in->in_batch += r == 1;
        }
        if (in->in_batch == 0)
                return 0;
        *values = in->batch;
        in->batch = (struct input_values){ 0 };
        in->in_batch = 0;
        in->handed_out++;
        return 1;
}

int input_fd(const struct input *in)
{
        return in->stream.fd;
}

int input_fill(struct input *in, char why[256])
{
        int r = records_fill(&in->stream);

        return r < 0 ? unreadable(r, in->o.sources[0].words[0], in->streamed + 1, why) : 0;
}

int input_fill_later(struct input *in, char why[256])
{
        struct pollfd p = { .fd = in->stream.fd, .events = POLLIN };

        (void)poll(&p, 1, -1);
        return input_fill(in, why);
}

uint64_t input_total(const struct input *in)
{
        size_t batch = in->o.batch ? in->o.batch : 1;
        uint64_t n = 1;

        if (in->ended)
                return in->handed_out;
        /* Rows that are left out, or that end a source, are only seen on the way. */
        if (in->streams || in->o.skip_empty || in->o.end)
                return 0;
        if (in->o.link_all)
                n = longest(in);
        for (size_t i = 0, end; i < in->o.n_sources && !in->o.link_all; i = end) {
                size_t shortest = i ? SIZE_MAX : in->o.sources[0].n;

                end = group_end(in, i);
                for (size_t j = i ? i : 1; j < end; j++)
                        shortest = in->rows[j].n < shortest ? in->rows[j].n : shortest;
                n *= shortest;
        }
        return (n + batch - 1) / batch;
}

bool input_takes_stdin(const struct input_options *o)
{
        for (size_t i = 0; i < o->n_sources; i++) {
                if (o->sources[i].kind == INPUT_FILE && strcmp(o->sources[i].words[0], "-") == 0)
                        return true;
        }
        return false;
}

size_t input_width(const struct input_options *o)
{
        return o->columns ? 0 : o->batch * o->n_sources;
}
