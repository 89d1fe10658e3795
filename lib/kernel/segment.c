/* SPDX-License-Identifier: MIT */
#include "kernel/segment.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/generation.h"
#include "kernel/missing.h"
#include "kernel/syscall.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>

/*
 * The registry. Each change of the list is one store, so a child forked in the middle of somebody's
 * change finds a whole list; only the lock has to be made anew there.
 */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static crew__segment *_Atomic registry;

static void reset_registry(void)
{
        (void)pthread_mutex_init(&registry_lock, NULL);
}

static void lock_registry(void)
{
        crew__on_fork(reset_registry);
        (void)crew__generation();
        (void)pthread_mutex_lock(&registry_lock);
}

static void unlock_registry(void)
{
        (void)pthread_mutex_unlock(&registry_lock);
}

size_t crew__page_size(void)
{
        static _Atomic size_t size;
        size_t known = atomic_load_explicit(&size, memory_order_relaxed);

        if (!known) {
                known = (size_t)sysconf(_SC_PAGESIZE);
                atomic_store_explicit(&size, known, memory_order_relaxed);
        }
        return known;
}

size_t crew__page_round(size_t bytes)
{
        size_t page = crew__page_size();

        return (bytes + page - 1) / page * page;
}

static int descriptor_error(const char *what, int err, unsigned needed)
{
        struct rlimit limit = { 0 };

        if (err != EMFILE)
                return crew__fail(err, "%s: %s", what, strerror(err));
        (void)getrlimit(RLIMIT_NOFILE, &limit);
        return crew__fail(EMFILE,
                "%s: needs %u descriptors and the limit of %llu is used up; raise RLIMIT_NOFILE "
                "(ulimit -n)",
                what, needed, (unsigned long long)limit.rlim_cur);
}

/* Setting a size beyond RLIMIT_FSIZE would send SIGXFSZ to the host. */
static int check_file_size(size_t bytes)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes)
                return crew__fail(EFBIG,
                        "shared memory: %zu bytes are more than RLIMIT_FSIZE (ulimit -f) allows: "
                        "%llu",
                        bytes, (unsigned long long)limit.rlim_cur);
        return 0;
}

static int make_memfd(const char *kind, const char *name, size_t bytes)
{
        unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        CREW__AUTO_CLOSE int fd = -1;
        char label[128];
        int r;

        r = check_file_size(bytes);
        if (r < 0)
                return r;
        if (crew__has(CREW__NOEXEC_SEAL))
                flags |= MFD_NOEXEC_SEAL;
        (void)snprintf(label, sizeof label, "crew:%s:%s", kind, name ? name : "");
        fd = crew__above_stdio(memfd_create(label, flags));
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)bytes) < 0)
                return crew__fail(errno, "shared memory of %zu bytes: %m", bytes);
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return crew__fail(errno, "sealing shared memory: %m");
        return crew__take_fd(&fd);
}

static int map(crew__segment *s)
{
        size_t total = s->head + 2 * s->ring;
        char *base;

        base = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
                return crew__fail(errno, "mapping %zu bytes: %m", total);
        if (mmap(base, s->head + s->ring, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->fd,
                    0) == MAP_FAILED ||
                (s->ring &&
                        mmap(base + s->head + s->ring, s->ring, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_FIXED, s->fd, (off_t)s->head) == MAP_FAILED)) {
                int err = errno;

                (void)munmap(base, total);
                return crew__fail(err, "mapping shared memory of %zu bytes: %s", total,
                        strerror(err));
        }
        s->address = base;
        return 0;
}

static void destroy(crew__segment *s)
{
        if (s->address)
                (void)munmap(s->address, s->head + 2 * s->ring);
        for (unsigned i = 0; i < CREW__SEGMENT_EVENTS; i++)
                (void)crew__close(s->events[i]);
        (void)crew__close(atomic_load(&s->notice));
        (void)crew__close(s->fd);
        free(s);
}

static int fill(crew__segment *s, const char *kind, const char *name, unsigned n_events)
{
        int r;

        if (getrandom(&s->ref, sizeof s->ref, GRND_NONBLOCK) != sizeof s->ref)
                return crew__fail(errno ? errno : EIO, "getrandom: %m");
        s->ref.word[0] = (s->ref.word[0] & ~(uint64_t)0xffff) | crew__ref_kind(kind);
        s->fd = make_memfd(kind, name, s->head + s->ring);
        if (s->fd < 0)
                return s->fd == -EMFILE ? descriptor_error(kind, EMFILE, 1 + n_events) : s->fd;
        for (unsigned i = 0; i < n_events; i++) {
                s->events[i] = crew__above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
                if (s->events[i] < 0)
                        return descriptor_error(kind, errno, n_events - i);
        }
        r = map(s);
        return r;
}

static void enter(crew__segment *s)
{
        for (unsigned i = 0; i < CREW__SEGMENT_EVENTS; i++)
                atomic_init(&s->bells[i], s->events[i]);
        lock_registry();
        atomic_store(&s->next, atomic_load(&registry));
        atomic_store(&registry, s);
        unlock_registry();
}

int crew__segment_new(crew__segment **segment, const char *kind, const char *name, size_t head,
        size_t ring, unsigned n_events)
{
        crew__segment *s;
        int r;

        s = calloc(1, sizeof *s);
        if (!s)
                return crew__fail(ENOMEM, "%s: no memory for its handle", kind);
        atomic_init(&s->references, 1);
        atomic_init(&s->notice, -1);
        s->head = crew__page_round(head);
        s->used = head;
        s->ring = crew__page_round(ring);
        s->fd = -1;
        for (unsigned i = 0; i < CREW__SEGMENT_EVENTS; i++)
                s->events[i] = -1;
        r = fill(s, kind, name, n_events);
        if (r < 0) {
                destroy(s);
                return r;
        }
        enter(s);
        *segment = s;
        return 0;
}

static bool same_ref(crew_ref a, crew_ref b)
{
        return a.word[0] == b.word[0] && a.word[1] == b.word[1];
}

int crew__segment_find(crew__segment **segment, crew_ref ref)
{
        crew__segment *s;

        lock_registry();
        for (s = atomic_load(&registry); s && !same_ref(s->ref, ref); s = atomic_load(&s->next))
                ;
        if (s)
                (void)crew__segment_ref(s);
        unlock_registry();
        if (!s)
                return crew__fail_quick(ENOENT,
                        "no object with this ref in this process: it was freed here, or never "
                        "inherited or granted");
        *segment = s;
        return 0;
}

crew__segment *crew__segment_ref(crew__segment *s)
{
        (void)atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
        return s;
}

static void forget(crew__segment *s)
{
        crew__segment *_Atomic *link = &registry;
        crew__segment *at;

        while ((at = atomic_load(link)) && at != s)
                link = &at->next;
        if (at)
                atomic_store(link, atomic_load(&s->next));
}

crew__segment *crew__segment_unref(crew__segment *s)
{
        bool last;

        if (!s)
                return NULL;
        /* Under the lock, so that nobody finds a segment whose last reference has gone. */
        lock_registry();
        last = atomic_fetch_sub(&s->references, 1) == 1;
        if (last)
                forget(s);
        unlock_registry();
        if (last)
                destroy(s);
        return NULL;
}

/* What is left of a segment that this process may not have: its handles, which stumble. */
static void shed(crew__segment *s)
{
        long at = (long)s->address;

        /* Without access, not unmapped: a handle somewhere in the host's data still points there,
         * and what is mapped here next must not be what it writes to. */
        if (s->head && mmap(s->address, s->head, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
                (void)crew__syscall(SYS_munmap, at, (long)s->head, 0, 0, 0, 0);
        if (s->ring)
                (void)crew__syscall(SYS_munmap, at + (long)s->head, (long)(2 * s->ring), 0, 0, 0, 0);
        s->address = NULL;
        s->fd = -1;
        atomic_store(&s->notice, -1);
        for (unsigned i = 0; i < CREW__SEGMENT_EVENTS; i++) {
                s->events[i] = -1;
                atomic_store(&s->bells[i], -1);
        }
}

void crew__segment_shed(bool (*granted)(const crew__segment *segment, void *data), void *data)
{
        crew__segment *_Atomic *link = &registry;
        crew__segment *s;

        lock_registry();
        while ((s = atomic_load(link))) {
                if (granted(s, data)) {
                        link = &s->next;
                        continue;
                }
                atomic_store(link, atomic_load(&s->next));
                shed(s);
        }
        unlock_registry();
}

int crew__segment_attach(crew__segment **segment, crew_ref ref, size_t used, size_t ring, int fd,
        const int events[CREW__SEGMENT_EVENTS])
{
        crew__segment *s;
        int r;

        s = calloc(1, sizeof *s);
        if (!s)
                return crew__fail(ENOMEM, "shared memory: no memory for its handle");
        atomic_init(&s->references, 1);
        atomic_init(&s->notice, -1);
        s->ref = ref;
        s->head = crew__page_round(used);
        s->used = used;
        s->ring = ring;
        s->fd = fd;
        memcpy(s->events, events, sizeof s->events);
        r = map(s);
        if (r < 0) {
                free(s);
                return r;
        }
        enter(s);
        *segment = s;
        return 0;
}

int crew__segment_each(int (*visit)(crew__segment *segment, void *data), void *data)
{
        int r = 0;

        lock_registry();
        for (crew__segment *s = atomic_load(&registry); s && r == 0; s = atomic_load(&s->next))
                r = visit(s, data);
        unlock_registry();
        return r;
}
