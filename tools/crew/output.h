/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_OUTPUT_H
#define CREW_TOOLS_CREW_OUTPUT_H

/*
 * What jobs print, on its way from their pipes to stdout and stderr: tagged, kept together or cut
 * into lines, put in order, kept in files.
 *
 * A job's output is in memory up to OUTPUT_IN_MEMORY and then in a file without a name in TMPDIR,
 * which is gone when the run is, however that ends. Whoever wants it to outlive a killed run names
 * a directory with --results: it is then written there as it comes.
 */

#include "run.h"
#include "sink.h"

enum { OUTPUT_OUT, OUTPUT_ERR, OUTPUT_STREAMS };

enum {
        OUTPUT_IN_MEMORY = 64 << 10,
        /* Of finished jobs whose turn has not come, or whose reader is slow: no job is started
         * while there is more. */
        OUTPUT_BACKLOG = 64 << 20,
        OUTPUT_BACKLOG_FILES = 256,
        /* Jobs that print line by line are not read from while so much waits. */
        OUTPUT_LINES_BACKLOG = 1 << 20,
};

struct output;  /* of the run */
struct printed; /* of one job */

void output_new(struct output **out, const struct run_options *o);
void output_free(struct output *out);

struct sink *output_sink(struct output *out, int which);

/*
 * For a job that starts; `tag` NULL = none. With --results it makes its files, in directories named
 * after its values; 0, or a negative errno with words in `why`.
 */
int output_begin(struct output *out, struct printed **p, uint64_t seq, const char *tag,
        const struct input_values *values, char why[256]);

/*
 * Reads once from a pipe, which must not block. 1: there may be more; 0: its end; -EAGAIN; else a
 * negative errno: it cannot be kept.
 */
int output_read(struct output *out, struct printed *p, int which, int fd);

/* Forgets what was printed, for another attempt. */
void output_again(struct output *out, struct printed *p);

/* How many bytes it printed. */
uint64_t output_bytes(const struct printed *p);

/*
 * The job has ended. `r`, or NULL, is told when its output was passed on; with --keep-order that
 * may be much later. Frees p.
 */
void output_end(struct output *out, struct printed *p, struct receipt *r);

/* The job with this number will print nothing: those after it need not wait. */
void output_skip(struct output *out, uint64_t seq);

/* An interrupted job: what was printed is passed on, and what waits for its turn too. */
void output_give_up_order(struct output *out);

/* Whether as much waits as may. */
bool output_full(const struct output *out);
bool output_lines_full(const struct output *out);

#endif
