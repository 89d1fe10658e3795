/* SPDX-License-Identifier: MIT */
#include "output.h"

#include "base/cleanup.h"
#include "output-order.h"
#include "results.h"

#include <errno.h>
#include <string.h>

/* One of a job's two streams. */
struct stream {
        struct bytes held; /* what is not passed on or in the file yet */
        int file;          /* what did not fit, or -1 */
        uint64_t in_file;
        int result; /* its file of --results, or -1 */
        bool in_line;
        uint64_t bytes;
};

struct printed {
        uint64_t seq;
        struct stream streams[OUTPUT_STREAMS];
        char *tag;
        size_t tag_length;
        struct receipt *receipt;
        bool ended;
};

struct output {
        const struct run_options *o;
        struct sink sinks[OUTPUT_STREAMS];
        struct order order;
        size_t waiting; /* bytes of jobs that ended and whose turn has not come */
        unsigned waiting_files;
};

/* Stands in the order for a job that prints nothing. */
static struct printed skipped;

void output_new(struct output **result, const struct run_options *o)
{
        struct output *out = must_have(sizeof *out);

        out->o = o;
        sink_open(&out->sinks[OUTPUT_OUT], STDOUT_FILENO);
        sink_open(&out->sinks[OUTPUT_ERR], STDERR_FILENO);
        order_init(&out->order);
        *result = out;
}

void output_free(struct output *out)
{
        if (!out)
                return;
        for (int i = 0; i < OUTPUT_STREAMS; i++)
                sink_close(&out->sinks[i]);
        order_free(&out->order);
        free(out);
}

struct sink *output_sink(struct output *out, int which)
{
        return &out->sinks[which];
}

int output_begin(struct output *out, struct printed **result, uint64_t seq, const char *tag,
        const struct input_values *values, char why[256])
{
        struct printed *p = must_have(sizeof *p);
        int files[OUTPUT_STREAMS] = { -1, -1 }, r;

        if (out->o->results) {
                r = results_open(out->o->results, seq, values, files, why);
                if (r < 0) {
                        free(p);
                        return r;
                }
        }
        p->seq = seq;
        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                p->streams[i].file = -1;
                p->streams[i].result = files[i];
        }
        if (tag) {
                p->tag_length = strlen(tag);
                p->tag = must_copy(tag, p->tag_length);
        }
        *result = p;
        return 0;
}

static int write_all(int fd, const char *from, size_t n)
{
        while (n > 0) {
                ssize_t written = write(fd, from, n);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return -errno;
                from += written;
                n -= (size_t)written;
        }
        return 0;
}

/* Moves what is in memory into the file. */
static int spill(struct stream *s)
{
        int r;

        if (s->file < 0) {
                s->file = results_nameless();
                if (s->file < 0)
                        return s->file;
        }
        r = write_all(s->file, s->held.at, s->held.n);
        if (r == 0) {
                s->in_file += s->held.n;
                s->held.n = 0;
        }
        return r;
}

/* Adds bytes with the tag before each line. */
static void add_tagged(const struct printed *p, struct stream *s, const char *from, size_t n)
{
        while (n > 0) {
                const char *end = memchr(from, '\n', n);
                size_t piece = end ? (size_t)(end - from) + 1 : n;

                if (!s->in_line)
                        bytes_add(&s->held, p->tag, p->tag_length);
                bytes_add(&s->held, from, piece);
                s->in_line = !end;
                from += piece;
                n -= piece;
        }
}

/* Passes on the lines that are whole; one without end is passed on in pieces. */
static void pass_lines(struct output *out, struct stream *s, int which)
{
        const char *end = memrchr(s->held.at, '\n', s->held.n);
        size_t n = end ? (size_t)(end - s->held.at) + 1 : 0;

        if (s->held.n - n > OUTPUT_IN_MEMORY)
                n = s->held.n;
        if (n == 0)
                return;
        sink_put(&out->sinks[which], s->held.at, n, NULL);
        bytes_drop(&s->held, n);
}

static int keep(struct output *out, struct printed *p, int which, const char *from, size_t n)
{
        struct stream *s = &p->streams[which];
        int r = 0;

        s->bytes += n;
        if (s->result >= 0)
                r = write_all(s->result, from, n);
        if (p->tag)
                add_tagged(p, s, from, n);
        else
                bytes_add(&s->held, from, n);
        if (out->o->output == RUN_LINES)
                pass_lines(out, s, which);
        else if (s->held.n > OUTPUT_IN_MEMORY && r == 0)
                r = spill(s);
        return r;
}

int output_read(struct output *out, struct printed *p, int which, int fd)
{
        static char piece[64 << 10];
        ssize_t n = read(fd, piece, sizeof piece);
        int r;

        if (n < 0)
                return errno == EINTR ? 1 : -errno;
        if (n == 0)
                return 0;
        r = keep(out, p, which, piece, (size_t)n);
        return r < 0 ? r : 1;
}

static void close_stream(struct stream *s)
{
        bytes_free(&s->held);
        s->file = crew__close(s->file);
        s->result = crew__close(s->result);
}

void output_again(struct output *out, struct printed *p)
{
        (void)out;
        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                struct stream *s = &p->streams[i];

                s->held.n = 0;
                s->file = crew__close(s->file);
                s->in_file = s->bytes = 0;
                s->in_line = false;
                if (s->result >= 0 && ftruncate(s->result, 0) == 0)
                        (void)lseek(s->result, 0, SEEK_SET);
        }
}

uint64_t output_bytes(const struct printed *p)
{
        return p->streams[OUTPUT_OUT].bytes;
}

/* The job's turn has come. */
static void pass_on(struct output *out, struct printed *p)
{
        struct receipt *receipt = p->receipt;

        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                struct stream *s = &p->streams[i];

                if (s->file >= 0) {
                        sink_put_file(&out->sinks[i], s->file, s->in_file, receipt);
                        s->file = -1;
                }
                sink_put(&out->sinks[i], s->held.at, s->held.n, receipt);
                close_stream(s);
        }
        receipt_drop(receipt);
        free(p->tag);
        free(p);
}

static void count_waiting(struct output *out, const struct printed *p, int sign)
{
        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                out->waiting += (size_t)sign * p->streams[i].held.cap;
                out->waiting_files += (unsigned)(sign * (p->streams[i].file >= 0));
        }
        out->waiting += (size_t)sign * sizeof *p;
}

static void take_turns(struct output *out, void *(*take)(struct order *))
{
        struct printed *p;

        while ((p = take(&out->order))) {
                if (p == &skipped)
                        continue;
                count_waiting(out, p, -1);
                pass_on(out, p);
        }
}

void output_end(struct output *out, struct printed *p, struct receipt *r)
{
        /* Held until the job's turn has come and both its streams have had their say. */
        p->receipt = r;
        if (r)
                r->pending++;
        for (int i = 0; i < OUTPUT_STREAMS; i++)
                p->streams[i].result = crew__close(p->streams[i].result);
        if (!out->o->keep_order || p->seq < out->order.next) {
                pass_on(out, p);
                return;
        }
        count_waiting(out, p, 1);
        order_put(&out->order, p->seq, p);
        take_turns(out, order_take);
}

void output_skip(struct output *out, uint64_t seq)
{
        if (!out->o->keep_order || seq < out->order.next)
                return;
        order_put(&out->order, seq, &skipped);
        take_turns(out, order_take);
}

void output_give_up_order(struct output *out)
{
        take_turns(out, order_take_any);
}

bool output_full(const struct output *out)
{
        size_t bytes = out->waiting;
        unsigned files = out->waiting_files;

        for (int i = 0; i < OUTPUT_STREAMS; i++) {
                bytes += out->sinks[i].bytes;
                files += out->sinks[i].files;
        }
        return bytes > OUTPUT_BACKLOG || files > OUTPUT_BACKLOG_FILES;
}

bool output_lines_full(const struct output *out)
{
        return out->o->output == RUN_LINES &&
               (out->sinks[OUTPUT_OUT].bytes > OUTPUT_LINES_BACKLOG ||
                       out->sinks[OUTPUT_ERR].bytes > OUTPUT_LINES_BACKLOG);
}
