/* SPDX-License-Identifier: MIT */
#include "results.h"

#include "base/cleanup.h"
#include "bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LONGEST_NAME = 200, MOST_NAMES = 100 };

uint64_t results_hash(const char *text, size_t n)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < n; i++)
                hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
        return hash;
}

void results_name(struct bytes *into, const char *value)
{
        size_t from = into->n;

        if (!*value)
                bytes_text(into, "+e");
        if (*value == '.')
                bytes_char(into, '+');
        for (const char *at = value; *at; at++) {
                if (*at == '/')
                        bytes_text(into, "+z");
                else if (*at == '+')
                        bytes_text(into, "++");
                else
                        bytes_char(into, *at);
        }
        if (into->n - from > LONGEST_NAME) {
                into->n = from + LONGEST_NAME;
                bytes_format(
                        into, "+%016llx", (unsigned long long)results_hash(value, strlen(value)));
        }
}

static int enter(struct bytes *path)
{
        return mkdir(bytes_ended(path), 0777) == 0 || errno == EEXIST ? 0 : -errno;
}

static int create(struct bytes *path, const char *name)
{
        size_t n = path->n;
        int fd;

        bytes_format(path, "/%s", name);
        fd = open(bytes_ended(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        path->n = fd < 0 ? path->n : n;
        return fd < 0 ? -errno : fd;
}

/* The number beside the output, so that a directory tells which job filled it. */
static int write_seq(struct bytes *path, uint64_t seq)
{
        char text[24];
        int n = snprintf(text, sizeof text, "%llu", (unsigned long long)seq), fd, r = 0;

        fd = create(path, "seq");
        if (fd < 0)
                return fd;
        if (write(fd, text, (size_t)n) != n)
                r = -EIO;
        (void)close(fd);
        return r;
}

int results_open(const char *directory, uint64_t seq, const struct input_values *values,
        int files[2], char why[256])
{
        struct bytes path = { 0 };
        int r, out = -1, err = -1;

        bytes_text(&path, directory);
        r = enter(&path);
        for (size_t i = 0; i < values->n && r == 0; i++) {
                bytes_format(&path, "/%zu", i + 1);
                r = enter(&path);
                bytes_char(&path, '/');
                results_name(&path, values->at[i]);
                if (r == 0)
                        r = enter(&path);
        }
        if (r == 0)
                r = write_seq(&path, seq);
        if (r == 0)
                r = out = create(&path, "stdout");
        if (r >= 0)
                r = err = create(&path, "stderr");
        if (r < 0) {
                (void)snprintf(why, 256, "--results: cannot make '%s': %s", path.at, strerror(-r));
                (void)crew__close(out);
        } else {
                files[0] = out;
                files[1] = err;
        }
        bytes_free(&path);
        return r < 0 ? r : 0;
}

/* Where a file system has no files without names: one that loses its name at once. */
static int lose_name(const char *directory)
{
        static unsigned counter;
        struct bytes path = { 0 };
        int fd;

        do {
                path.n = 0;
                bytes_format(&path, "%s/crew-%d-%u", directory, (int)getpid(), counter++);
                fd = open(bytes_ended(&path), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        } while (fd < 0 && errno == EEXIST && counter % MOST_NAMES);
        if (fd < 0)
                fd = -errno;
        else
                (void)unlink(path.at);
        bytes_free(&path);
        return fd;
}

int results_nameless(void)
{
        const char *directory = getenv("TMPDIR");
        int fd;

        if (!directory || !*directory)
                directory = "/tmp";
        fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
        return fd < 0 ? lose_name(directory) : fd;
}
