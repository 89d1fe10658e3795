/* SPDX-License-Identifier: MIT */
#include "process/parcel.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/inherit.h"
#include "kernel/missing.h"
#include "kernel/syscall.h"
#include "process/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAGIC UINT64_C(0x6c6563726170) /* "parcel" */

enum { VERSION = 1, PER_OBJECT = 1 + CREW__SEGMENT_EVENTS, ALIGN = 16 };

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* Where the next part goes. */
typedef struct layout {
        char *base; /* NULL: only the size is wanted */
        uint64_t at;
} layout;

static crew__part put(layout *l, const void *data, size_t size)
{
        crew__part part = { .at = (uint32_t)l->at, .size = (uint32_t)size };

        if (l->base && size)
                memcpy(l->base + l->at, data, size);
        l->at += (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
        return part;
}

static crew__part put_text(layout *l, const char *text)
{
        return put(l, text ? text : "", strlen(text ? text : "") + 1);
}

static int list_descriptors(crew__packed *packed, const crew__packing *what)
{
        size_t n = CREW__PARCEL_FIXED;
        int application = crew__self_pidfd();

        if (application < 0)
                return application;
        packed->n = n + what->n_keep + what->n_objects * PER_OBJECT;
        packed->fd = calloc(packed->n, sizeof *packed->fd);
        if (!packed->fd)
                return -ENOMEM;
        packed->fd[CREW__PARCEL_ITSELF] = -1;
        packed->fd[CREW__PARCEL_APPLICATION] = application;
        packed->fd[CREW__PARCEL_PAGE] = what->page;
        packed->fd[CREW__PARCEL_DIRECTORY] = what->directory;
        for (int i = 0; i < 3; i++)
                packed->fd[CREW__PARCEL_STDIN + i] = what->stdio[i];
        for (int i = 0; i < 2; i++)
                packed->fd[CREW__PARCEL_EXTRA + i] = what->extra[i];
        for (size_t i = 0; i < what->n_keep; i++)
                packed->fd[n++] = what->keep[i];
        for (size_t i = 0; i < what->n_objects; i++) {
                packed->fd[n++] = what->objects[i]->fd;
                for (size_t k = 0; k < CREW__SEGMENT_EVENTS; k++)
                        packed->fd[n++] = what->objects[i]->events[k];
        }
        return 0;
}

static crew__part put_keeps(layout *l, const crew__packing *what)
{
        crew__part part = put(l, NULL, 0);

        for (size_t i = 0; i < what->n_keep; i++) {
                crew__parcel_keep k = { .number = what->keep[i] };

                k.cloexec = l->base ? fcntl(what->keep[i], F_GETFD) & FD_CLOEXEC : 0;
                if (l->base)
                        memcpy(l->base + l->at, &k, sizeof k);
                l->at += sizeof k;
        }
        part.size = (uint32_t)(what->n_keep * sizeof(crew__parcel_keep));
        l->at = (l->at + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
        return part;
}

static crew__part put_objects(layout *l, const crew__packing *what)
{
        crew__part part = put(l, NULL, 0);

        for (size_t i = 0; i < what->n_objects; i++) {
                const crew__segment *s = what->objects[i];
                crew__parcel_object o = { .ref = s->ref, .head = s->used, .ring = s->ring };

                (void)put(l, &o, sizeof o);
        }
        part.size = (uint32_t)(what->n_objects * sizeof(crew__parcel_object));
        return part;
}

static crew__part put_list(layout *l, const char *const *list)
{
        crew__part part = put(l, NULL, 0);

        for (; list && *list; list++) {
                size_t size = strlen(*list) + 1;

                if (l->base)
                        memcpy(l->base + l->at, *list, size);
                l->at += size;
        }
        part.size = (uint32_t)(l->at - part.at);
        l->at = (l->at + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
        return part;
}

_Static_assert(sizeof(crew__parcel_object) % ALIGN == 0, "an array of them has no holes");

static void lay_out(
        layout *l, crew__parcel *head, const crew__packing *what, const crew__packed *packed)
{
        const crew_process *self = crew_current_process();

        (void)put(l, head, sizeof *head);
        head->comm = put_text(l, program_invocation_short_name);
        head->name = put_text(l, what->name);
        head->identity = put_text(l, what->identity);
        head->sender_name = put_text(l, self->name);
        head->sender_identity = put_text(l, self->identity);
        head->keep = put_keeps(l, what);
        head->objects = put_objects(l, what);
        head->numbers = put(l, packed->fd, packed->n * sizeof *packed->fd);
        head->env = put_list(l, what->env);
        head->confine = put(l, what->confine, what->confine_size);
        head->arg = l->at;
        head->arg_size = what->arg_size;
        if (l->base && what->arg_size)
                memcpy(l->base + l->at, what->arg, what->arg_size);
        l->at += what->arg_size;
        head->size = l->at;
        if (l->base)
                memcpy(l->base, head, sizeof *head);
}

static int make_memfd(const char *name, size_t size)
{
        unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        char label[80];
        int fd;

        if (crew__has(CREW__NOEXEC_SEAL))
                flags |= MFD_NOEXEC_SEAL;
        (void)snprintf(label, sizeof label, "crew:parcel:%.40s", name ? name : "");
        fd = crew__above_stdio(memfd_create(label, flags));
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) < 0) {
                int err = errno;

                (void)close(fd);
                return -err;
        }
        return fd;
}

static int write_all(int fd, const char *bytes, size_t size)
{
        while (size) {
                ssize_t n = write(fd, bytes, size);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        bytes += n;
                        size -= (size_t)n;
                }
        }
        return 0;
}

static int fill(crew__packed *packed, const crew__packing *what)
{
        const crew_process *self = crew_current_process();
        CREW__AUTO_FREE char *bytes = NULL;
        crew__parcel head = what->head;
        layout l = { .base = NULL };
        int fd, r;

        head.magic = MAGIC;
        head.version = VERSION;
        head.header = sizeof head;
        head.application = getpid();
        head.group = getpgrp();
        head.sender_flags = self->flags;
        if (crew__sys_getrandom(&head.cookie, sizeof head.cookie, 1) != sizeof head.cookie ||
                !head.cookie)
                head.cookie = (uint64_t)crew_clock();
        packed->cookie = head.cookie;
        lay_out(&l, &head, what, packed);
        if (l.at - what->arg_size > UINT32_MAX)
                return -E2BIG;
        fd = make_memfd(what->name, l.at);
        if (fd < 0)
                return fd;
        packed->fd[CREW__PARCEL_ITSELF] = fd;
        bytes = calloc(1, l.at);
        if (!bytes)
                return -ENOMEM;
        l = (layout){ .base = bytes };
        lay_out(&l, &head, what, packed);
        r = write_all(fd, bytes, l.at);
        if (r == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                r = -errno;
        return r;
}

int crew__parcel_pack(crew__packed *packed, const crew__packing *what)
{
        int r;

        *packed = (crew__packed){ .opened = -1 };
        for (size_t i = 0; i < what->n_keep; i++) {
                if (fcntl(what->keep[i], F_GETFD) < 0)
                        return crew__fail(EBADF,
                                "process %s: descriptor %d, to be kept, is not open",
                                what->name ? what->name : "", what->keep[i]);
        }
        r = list_descriptors(packed, what);
        if (r == 0)
                r = fill(packed, what);
        if (r < 0)
                crew__parcel_drop(packed);
        return r;
}

void crew__parcel_drop(crew__packed *packed)
{
        if (packed->fd)
                (void)crew__close(packed->fd[CREW__PARCEL_ITSELF]);
        (void)crew__close(packed->opened);
        free(packed->fd);
        *packed = (crew__packed){ .opened = -1 };
}

/* The receiver's side. */

static bool text_ends(const crew__parcel *p, crew__part part)
{
        return part.size && part.at <= p->size && part.size <= p->size - part.at &&
               ((const char *)p)[part.at + part.size - 1] == '\0';
}

static bool array_fits(const crew__parcel *p, crew__part part, size_t element)
{
        return part.at % ALIGN == 0 && part.at <= p->size && part.size <= p->size - part.at &&
               part.size % element == 0;
}

static bool sound(const crew__parcel *p, uint64_t size, uint64_t cookie)
{
        size_t n;

        if (size < sizeof *p || p->magic != MAGIC || p->version != VERSION ||
                p->header != sizeof *p || p->size != size || (cookie && p->cookie != cookie))
                return false;
        if (!text_ends(p, p->comm) || !text_ends(p, p->name) || !text_ends(p, p->identity) ||
                !text_ends(p, p->sender_name) || !text_ends(p, p->sender_identity))
                return false;
        if (!array_fits(p, p->keep, sizeof(crew__parcel_keep)) ||
                !array_fits(p, p->objects, sizeof(crew__parcel_object)) ||
                !array_fits(p, p->numbers, sizeof(int)) || !array_fits(p, p->confine, 1) ||
                (p->env.size && !text_ends(p, p->env)))
                return false;
        n = CREW__PARCEL_FIXED + p->keep.size / sizeof(crew__parcel_keep) +
            p->objects.size / sizeof(crew__parcel_object) * PER_OBJECT;
        return p->numbers.size / sizeof(int) == n && p->arg % ALIGN == 0 && p->arg <= p->size &&
               p->arg_size <= p->size - p->arg;
}

/* Those that the sender did not have were not sent. */
static int take_descriptors(crew__delivery *d, const crew__parcel *p, const int *came, size_t n)
{
        size_t taken = 0;

        d->n = p->numbers.size / sizeof(int);
        d->fd = malloc(d->n * sizeof *d->fd);
        if (!d->fd)
                return -ENOMEM;
        memcpy(d->fd, (const char *)p + p->numbers.at, d->n * sizeof *d->fd);
        for (size_t i = 0; came && i < d->n; i++) {
                if (d->fd[i] < 0)
                        continue;
                d->fd[i] = taken < n ? came[taken] : -1;
                taken++;
        }
        if (!came || taken == n)
                return 0;
        free(d->fd);
        return -EBADMSG;
}

int crew__parcel_open(crew__delivery *d, int memfd, uint64_t cookie, const int *fd, size_t n)
{
        int seals = fcntl(memfd, F_GET_SEALS);
        const crew__parcel *p;
        struct stat st;
        void *at;
        int r;

        if (seals < 0 || (seals & SEALS) != SEALS || fstat(memfd, &st) < 0 ||
                st.st_size < (off_t)sizeof *p)
                return -EBADMSG;
        at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, memfd, 0);
        if (at == MAP_FAILED)
                return -errno;
        p = at;
        r = sound(p, (uint64_t)st.st_size, cookie) ? take_descriptors(d, p, fd, n) : -EBADMSG;
        if (r < 0) {
                (void)munmap(at, (size_t)st.st_size);
                return r;
        }
        d->fd[CREW__PARCEL_ITSELF] = memfd;
        d->parcel = p;
        return 0;
}

void crew__parcel_close(crew__delivery *d)
{
        void *at;

        memcpy(&at, &d->parcel, sizeof at);
        (void)munmap(at, d->parcel->size);
        free(d->fd);
        *d = (crew__delivery){ .fd = NULL };
}

static const void *part_of(const crew__delivery *d, crew__part part)
{
        return (const char *)d->parcel + part.at;
}

const char *crew__parcel_text(const crew__delivery *d, crew__part part)
{
        return part_of(d, part);
}

const void *crew__parcel_confine(const crew__delivery *d)
{
        return part_of(d, d->parcel->confine);
}

const crew__parcel_keep *crew__parcel_keeps(const crew__delivery *d, size_t *n)
{
        *n = d->parcel->keep.size / sizeof(crew__parcel_keep);
        return part_of(d, d->parcel->keep);
}

const crew__parcel_object *crew__parcel_objects(const crew__delivery *d, size_t *n)
{
        *n = d->parcel->objects.size / sizeof(crew__parcel_object);
        return part_of(d, d->parcel->objects);
}

int *crew__parcel_object_fds(const crew__delivery *d, size_t i)
{
        size_t n_keep;

        (void)crew__parcel_keeps(d, &n_keep);
        return d->fd + CREW__PARCEL_FIXED + n_keep + i * PER_OBJECT;
}

static int ascending(const void *a, const void *b)
{
        int left = *(const int *)a, right = *(const int *)b;

        return (left > right) - (left < right);
}

static bool is_kept_number(const crew__parcel_keep *keep, size_t n, int fd)
{
        for (size_t i = 0; i < n; i++) {
                if (keep[i].number == fd)
                        return true;
        }
        return false;
}

/* Moves what lies where something else belongs. */
static int make_way(crew__delivery *d, const crew__parcel_keep *keep, size_t n_keep)
{
        int above = STDERR_FILENO + 1;

        for (size_t i = 0; i < n_keep; i++)
                above = keep[i].number >= above ? keep[i].number + 1 : above;
        for (size_t i = 0; i < d->n; i++) {
                bool at_home = i >= CREW__PARCEL_FIXED && i < CREW__PARCEL_FIXED + n_keep &&
                               keep[i - CREW__PARCEL_FIXED].number == d->fd[i];
                int moved;

                if (d->fd[i] < 0 || at_home ||
                        (d->fd[i] > STDERR_FILENO && !is_kept_number(keep, n_keep, d->fd[i])))
                        continue;
                moved = fcntl(d->fd[i], F_DUPFD_CLOEXEC, above);
                if (moved < 0)
                        return -errno;
                d->fd[i] = moved;
        }
        return 0;
}

static int place_kept(crew__delivery *d, const crew__parcel_keep *keep, size_t n_keep)
{
        for (size_t i = 0; i < n_keep; i++) {
                int *fd = &d->fd[CREW__PARCEL_FIXED + i];
                int flag = keep[i].cloexec ? FD_CLOEXEC : 0;

                if (*fd != keep[i].number && dup3(*fd, keep[i].number, O_CLOEXEC) < 0)
                        return -errno;
                *fd = keep[i].number;
                if (fcntl(*fd, F_SETFD, flag) < 0)
                        return -errno;
        }
        return 0;
}

static int close_rest(const crew__delivery *d, size_t n_keep)
{
        CREW__AUTO_FREE int *keep = malloc((d->n + 3) * sizeof *keep);
        size_t n = 0;

        if (!keep)
                return -ENOMEM;
        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                keep[n++] = fd;
        for (size_t i = 0; i < d->n; i++) {
                if (d->fd[i] < 0)
                        continue;
                keep[n++] = d->fd[i];
                if (i < CREW__PARCEL_FIXED || i >= CREW__PARCEL_FIXED + n_keep)
                        (void)fcntl(d->fd[i], F_SETFD, FD_CLOEXEC);
        }
        qsort(keep, n, sizeof *keep, ascending);
        return crew__close_others(keep, n, -1, crew__has(CREW__CLOSE_RANGE));
}

static int attach(crew__delivery *d)
{
        size_t n;
        const crew__parcel_object *o = crew__parcel_objects(d, &n);

        for (size_t i = 0; i < n; i++) {
                int *fds = crew__parcel_object_fds(d, i);
                crew__segment *s;
                int r = crew__segment_attach(&s, o[i].ref, o[i].head, o[i].ring, fds[0], fds + 1);

                /* The registry's reference is this process's, for good. */
                if (r < 0)
                        return r;
                for (size_t k = 0; k < PER_OBJECT; k++)
                        fds[k] = -1;
        }
        return 0;
}

int crew__parcel_settle(crew__delivery *d)
{
        size_t n_keep;
        const crew__parcel_keep *keep = crew__parcel_keeps(d, &n_keep);
        int *stdio = d->fd + CREW__PARCEL_STDIN;
        int r = make_way(d, keep, n_keep);

        if (r == 0)
                r = crew__stdio_place(stdio);
        for (int i = 0; i < 3; i++)
                stdio[i] = -1;
        if (r == 0)
                r = place_kept(d, keep, n_keep);
        if (r == 0)
                r = close_rest(d, n_keep);
        d->fd[CREW__PARCEL_ITSELF] = crew__close(d->fd[CREW__PARCEL_ITSELF]);
        if (r == 0)
                r = attach(d);
        return r;
}
