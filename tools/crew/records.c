/* SPDX-License-Identifier: MIT */
#include "records.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PIECE = 64 << 10 };

void records_open(struct records *r, int fd, char delimiter)
{
        *r = (struct records){ .fd = fd, .reads = fd, .delimiter = delimiter };
}

/* The other side of a pseudo terminal is made anew by being opened. */
static bool may_open_again(int fd, const struct stat *st)
{
        int number;

        return S_ISFIFO(st->st_mode) ||
               (S_ISCHR(st->st_mode) && isatty(fd) && ioctl(fd, TIOCGPTN, &number) != 0);
}

/*
 * O_NONBLOCK belongs to the open file, which the shell and others share with us, and would make
 * their reads fail. A pipe or terminal opened again is an open file of our own. Where that is
 * refused (another user's), RWF_NOWAIT does the same for one read, of pipes since Linux 6.4. What
 * neither helps with is read as if nobody shared it.
 *
 * `fd` stays the one to be polled: a FIFO that is opened when its writers are gone does not tell
 * so.
 */
void records_share(struct records *r)
{
        char path[32];
        struct stat st;
        int flags = fcntl(r->fd, F_GETFL), again = -1;

        if (flags < 0 || flags & O_NONBLOCK || fstat(r->fd, &st) != 0 || S_ISREG(st.st_mode))
                return;
        if (S_ISSOCK(st.st_mode)) {
                r->how = RECORDS_RECEIVE;
                return;
        }
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", r->fd);
        if (may_open_again(r->fd, &st))
                again = crew__above_stdio(open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        if (again >= 0)
                r->reads = again;
        else
                r->how = RECORDS_NOWAIT;
}

static ssize_t read_some(struct records *r, char *to, size_t n)
{
        struct iovec part = { .iov_base = to, .iov_len = n };
        ssize_t got;

        if (r->how == RECORDS_RECEIVE)
                return recv(r->reads, to, n, MSG_DONTWAIT);
        if (r->how == RECORDS_NOWAIT) {
                got = preadv2(r->reads, &part, 1, -1, RWF_NOWAIT);
                if (got >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
                        return got;
                r->how = RECORDS_READ;
        }
        return read(r->reads, to, n);
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
                n = read_some(r, bytes_room(&r->buffer, PIECE), PIECE);
        } while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return 0; /* somebody else has it */
        if (n < 0)
                return -errno;
        if (n == 0)
                r->ended = true;
        r->buffer.n += (size_t)n;
        return 0;
}

void records_close(struct records *r)
{
        if (r->reads != r->fd)
                (void)crew__close(r->reads);
        if (r->fd > STDIN_FILENO)
                (void)close(r->fd);
        r->fd = r->reads = -1;
        bytes_free(&r->buffer);
}
