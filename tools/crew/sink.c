/* SPDX-License-Identifier: MIT */
#include "sink.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { PIECE = 64 << 10 };

struct item {
        crew__link link;
        struct receipt *receipt;
        struct bytes memory;
        int file; /* -1: the bytes are in memory */
        uint64_t at, end;
};

void sink_open(struct sink *s, int fd)
{
        char path[32];
        struct stat st;

        *s = (struct sink){ .fd = fd, .opened = -1 };
        crew__link_init(&s->items);
        if (fstat(fd, &st) != 0) {
                s->gone = true; /* started with it closed: nobody wants it */
                return;
        }
        s->is_socket = S_ISSOCK(st.st_mode);
        if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode)) {
                s->waits = !s->is_socket;
                return;
        }
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        s->opened = crew__above_stdio(open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        s->waits = s->opened < 0;
        if (s->opened >= 0)
                s->fd = s->opened;
}

static void drop(struct sink *s, struct item *i)
{
        s->bytes -= i->file < 0 ? i->memory.n : 0;
        s->files -= i->file >= 0;
        crew__link_leave(&i->link);
        bytes_free(&i->memory);
        (void)crew__close(i->file);
        receipt_drop(i->receipt);
        free(i);
}

void sink_close(struct sink *s)
{
        CREW__EACH (at, &s->items)
                drop(s, CREW__OF(at, struct item, link));
        s->opened = crew__close(s->opened);
}

static struct item *new_item(struct sink *s, struct receipt *r)
{
        struct item *i = must_have(sizeof *i);

        i->file = -1;
        i->receipt = r;
        if (r)
                r->pending++;
        crew__link_append(&s->items, &i->link);
        return i;
}

void sink_put(struct sink *s, const char *from, size_t n, struct receipt *r)
{
        struct item *i;

        if (s->gone || (n == 0 && (!r || crew__link_alone(&s->items))))
                return;
        i = new_item(s, r);
        bytes_add(&i->memory, from, n);
        i->end = n;
        s->bytes += n;
}

void sink_put_file(struct sink *s, int file, uint64_t size, struct receipt *r)
{
        struct item *i;

        if (s->gone) {
                (void)crew__close(file);
                return;
        }
        i = new_item(s, r);
        i->file = file;
        i->end = size;
        s->files++;
}

static ssize_t send_on(const struct sink *s, const char *from, size_t n)
{
        ssize_t sent;

        do {
                sent = s->is_socket ? send(s->fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                                    : write(s->fd, from, n);
        } while (sent < 0 && errno == EINTR);
        return sent;
}

/* Writes some of an item: how much, or -1 with errno. A file cut short by somebody ends there. */
static ssize_t write_some(const struct sink *s, const struct item *i)
{
        static char piece[PIECE];
        uint64_t left = i->end - i->at;
        size_t n = left < PIECE ? (size_t)left : PIECE;
        ssize_t got;

        if (i->file < 0)
                return send_on(s, i->memory.at + i->at, n);
        got = pread(i->file, piece, n, (off_t)i->at);
        if (got <= 0)
                return got < 0 ? -1 : (ssize_t)left;
        return send_on(s, piece, (size_t)got);
}

bool sink_flush(struct sink *s)
{
        CREW__EACH (at, &s->items) {
                struct item *i = CREW__OF(at, struct item, link);

                while (i->at < i->end && !s->gone) {
                        ssize_t n = write_some(s, i);

                        if (n < 0 && errno == EAGAIN)
                                return true;
                        if (n < 0) {
                                s->gone = true;
                                s->error = errno == EPIPE ? 0 : errno;
                        } else
                                i->at += (uint64_t)n;
                }
                drop(s, i);
        }
        return false;
}
