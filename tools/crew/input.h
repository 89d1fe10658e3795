/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_INPUT_H
#define CREW_TOOLS_CREW_INPUT_H

/*
 * Where the values of the jobs come from. Each source gives rows, one value each or, split by
 * columns, several. Sources that are linked give their rows together, the others every combination,
 * in which the last source varies fastest. Only the first source is read as the jobs start, so it
 * may have no end; the others are read before.
 */

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum input_kind {
        INPUT_WORDS, /* words of the command line */
        INPUT_FILE,  /* a file; "-" is stdin */
};

struct input_source {
        enum input_kind kind;
        bool linked;        /* to the source before it, ending with the shorter one */
        char *const *words; /* INPUT_WORDS: n of them; INPUT_FILE: one, its name */
        size_t n;
        char **owned; /* allocated words, to be freed */
};

struct input_options {
        struct input_source *sources;
        size_t n_sources;
        bool link_all;          /* all sources, the short ones beginning again */
        char delimiter;         /* of the rows of files */
        const regex_t *columns; /* what separates the columns of a row; NULL = rows are values */
        size_t batch;           /* rows a job gets; 0: one, of which it sees nothing */
        bool skip_empty;        /* leave out rows that are empty or blank */
        const char *end;        /* a row that ends its source, or NULL */
};

/* The values of one job. */
struct input_values {
        char **at;
        size_t n, cap;
};

struct input;

/* Reads all sources but the first. 0, or -EINVAL or so with words in `why`. */
int input_new(struct input **in, const struct input_options *o, char why[256]);
void input_free(struct input *in);

/*
 * The next job's values, as copies to be freed by input_release(). Returns 1; 0: no more;
 * -EAGAIN: nothing there yet; else a negative errno with words in `why`.
 */
int input_next(struct input *in, struct input_values *values, char why[256]);
void input_release(struct input_values *values);

/* What to poll when input_next() says -EAGAIN. */
int input_fd(const struct input *in);

/*
 * Reads more if there is more now; it need not be so only because input_fd() had something, which
 * others may have taken.
 */
int input_fill(struct input *in, char why[256]);

/* The same, once there is more. */
int input_fill_later(struct input *in, char why[256]);

/* How many jobs there will be in all; 0 if that cannot be known yet. */
uint64_t input_total(const struct input *in);

/* Whether a source is stdin. */
bool input_takes_stdin(const struct input_options *o);

/* How many values each job has; 0 if that differs or is not known. */
size_t input_width(const struct input_options *o);

#endif
