/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include "bytes.h"
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct trace {
        FILE *out;
        int64_t began;
        unsigned lanes; /* named */
        bool any;
};

int trace_open(struct trace **result, const char *path, char why[256])
{
        /* A FIFO that nobody reads is an error; waiting for its reader would hold up the run. */
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0666);
        FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
        struct trace *t;

        if (out)
                (void)fcntl(fd, F_SETFL, O_WRONLY);

        if (!out) {
                int err = errno;

                if (fd >= 0)
                        (void)close(fd);
                (void)snprintf(why, 256, "--trace: '%s': %s", path, strerror(err));
                return -err;
        }
        t = must_have(sizeof *t);
        t->out = out;
        /* What reads this format does without the closing bracket, so a killed run leaves a trace
         * too. */
        fputs("[", out);
        *result = t;
        return 0;
}

static void next(struct trace *t)
{
        fputs(t->any ? ",\n" : "\n", t->out);
        t->any = true;
}

void trace_add(struct trace *t, unsigned slot, const char *what, const struct ending *e)
{
        if (!t->began)
                t->began = e->began;
        while (t->lanes < slot) {
                next(t);
                fprintf(t->out,
                        "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%u,"
                        "\"args\":{\"name\":\"slot %u\"}}",
                        t->lanes + 1, t->lanes + 1);
                t->lanes++;
        }
        next(t);
        fputs("{\"name\":", t->out);
        cli_json_string(t->out, e->command);
        fprintf(t->out,
                ",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%u,\"ts\":%.3f,\"dur\":%.3f,"
                "\"args\":{\"seq\":%llu,\"attempt\":%u,\"exit\":%d,\"signal\":%d",
                what, slot, (double)(e->began - t->began) / 1e3, (double)e->took / 1e3,
                (unsigned long long)e->seq, e->attempts, e->code, e->signal);
        if (e->usage)
                fprintf(t->out, ",\"user\":%.6f,\"system\":%.6f,\"maxrss\":%llu",
                        (double)e->user_time / 1e9, (double)e->system_time / 1e9,
                        (unsigned long long)e->max_rss);
        fputs("}}", t->out);
}

int trace_close(struct trace *t)
{
        int r;

        if (!t)
                return 0;
        fputs("\n]\n", t->out);
        r = ferror(t->out) ? -EIO : 0;
        if (fclose(t->out) != 0)
                r = -errno;
        free(t);
        return r;
}
