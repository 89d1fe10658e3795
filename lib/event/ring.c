/* SPDX-License-Identifier: MIT */
#include "event/ring.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/generation.h"
#include "kernel/missing.h"
#include "kernel/syscall.h"

#include <pthread.h>

enum {
        SQ_ENTRIES = 64, /* a full queue is submitted, so this is no limit */
        CQ_ENTRIES = 512,
        MAX_FREE = 4, /* kept per thread */
        DRAIN_TRIES = 64,
        CQES_AT_ONCE = 32,
        NONE = UINT32_MAX,
};

/* user_data of cancellations, whose own result tells nothing. */
#define NAME_CANCEL UINT64_MAX

struct crew__ring_home {
        uint64_t generation;
        pthread_mutex_t mutex;
        crew__link free, lent;
        unsigned n_free;
        unsigned references; /* the thread and every ring */
        bool ended;
        struct crew__ring_home *next; /* inherited ones */
};

static _Thread_local struct crew__ring_home *mine;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;

/*
 * The descriptors of all rings, for a forked child to close: a list of blocks that only grows,
 * usable at any instant of a fork. Entries are the descriptor + 1, 0 = free.
 */
enum { BLOCK = 64 };

struct block {
        _Atomic int fds[BLOCK];
        struct block *_Atomic next;
};

static struct block registry;
static struct crew__ring_home *inherited;

static void note(int fd)
{
        for (struct block *at = &registry, *next; at; at = next) {
                for (int i = 0; i < BLOCK; i++) {
                        int empty = 0;

                        if (atomic_compare_exchange_strong(&at->fds[i], &empty, fd + 1))
                                return;
                }
                next = atomic_load(&at->next);
                if (!next) {
                        struct block *made = calloc(1, sizeof *made);

                        if (!made)
                                return;
                        if (atomic_compare_exchange_strong(&at->next, &next, made))
                                next = made;
                        else
                                free(made);
                }
        }
}

static void unnote(int fd)
{
        for (struct block *at = &registry; at; at = atomic_load(&at->next)) {
                for (int i = 0; i < BLOCK; i++) {
                        int is = fd + 1;

                        if (atomic_compare_exchange_strong(&at->fds[i], &is, 0))
                                return;
                }
        }
}

/*
 * Is it a ring that another task made, as every inherited one is? By the time this is asked, the
 * child may have closed it and got the number for something else. A registration that is invalid
 * anyway is refused with EEXIST to all but the maker before it is looked at.
 */
static bool is_inherited_ring(int fd)
{
        return crew__syscall(SYS_io_uring_register, fd, IORING_UNREGISTER_EVENTFD, 0, 1, 0, 0) ==
               -EEXIST;
}

/* In a forked child. The homes stay reachable; they are small, and their mutexes may be held. */
static void reset(void)
{
        for (struct block *at = &registry; at; at = atomic_load(&at->next)) {
                for (int i = 0; i < BLOCK; i++) {
                        int fd = atomic_exchange(&at->fds[i], 0) - 1;

                        if (fd >= 0 && is_inherited_ring(fd))
                                (void)crew__sys_close(fd);
                }
        }
        if (mine) {
                mine->next = inherited;
                inherited = mine;
                mine = NULL;
                (void)pthread_setspecific(key, NULL);
        }
}

/* With the ring in no list. By any thread: unmapping and closing is no entry. */
static void destroy(crew__uring *ring)
{
        unnote(ring->io.ring_fd);
        io_uring_queue_exit(&ring->io);
        free(ring->armings);
        free(ring);
}

/* With the mutex held; lets it go. */
static void home_unref(struct crew__ring_home *home)
{
        bool last = --home->references == 0;

        (void)pthread_mutex_unlock(&home->mutex);
        if (!last)
                return;
        (void)pthread_mutex_destroy(&home->mutex);
        free(home);
}

/* The thread ends. */
static void home_end(void *data)
{
        static const uint64_t one = 1;
        struct crew__ring_home *home = data;

        /* Inherited by a fork: its rings are mapped nowhere here. */
        if (home->generation != crew__generation())
                return;
        mine = NULL;
        (void)pthread_mutex_lock(&home->mutex);
        home->ended = true;
        CREW__EACH (at, &home->free) {
                crew__link_leave(at);
                destroy(CREW__OF(at, crew__uring, link));
                home->references--;
        }
        CREW__EACH (at, &home->lent) {
                const crew__uring *ring = CREW__OF(at, crew__uring, link);
                ssize_t n = ring->events < 0 ? 0 : write(ring->events, &one, sizeof one);

                (void)n;
        }
        home_unref(home);
}

static void make_key(void)
{
        key_made = pthread_key_create(&key, home_end) == 0;
        crew__on_fork(reset);
}

static struct crew__ring_home *own_home(void)
{
        struct crew__ring_home *home = mine;

        if (home)
                return home;
        (void)pthread_once(&once, make_key);
        if (!key_made)
                return NULL;
        home = calloc(1, sizeof *home);
        if (!home)
                return NULL;
        (void)pthread_mutex_init(&home->mutex, NULL);
        crew__link_init(&home->free);
        crew__link_init(&home->lent);
        home->references = 1;
        home->generation = crew__generation();
        if (pthread_setspecific(key, home) != 0) {
                (void)pthread_mutex_destroy(&home->mutex);
                free(home);
                return NULL;
        }
        mine = home;
        return home;
}

static int make(crew__uring **made, struct crew__ring_home *home)
{
        struct io_uring_params params = {
                .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                         IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP |
                         IORING_SETUP_CQSIZE,
                .cq_entries = CQ_ENTRIES,
        };
        crew__uring *ring = calloc(1, sizeof *ring);
        int r;

        if (!ring)
                return -ENOMEM;
        r = io_uring_queue_init_params(SQ_ENTRIES, &ring->io, &params);
        if (r < 0) {
                free(ring);
                return r;
        }
        note(ring->io.ring_fd);
        ring->free = ring->orphans = NONE;
        ring->events = -1;
        crew__link_init(&ring->link);
        /* A child could keep what the parent arms from ending, and a worker could use the ring to
         * get around its sandbox. */
        r = io_uring_ring_dontfork(&ring->io);
        if (r < 0) {
                destroy(ring);
                return r;
        }
        ring->home = home;
        *made = ring;
        return 0;
}

static void tell_nobody(void *data, crew__source *source, int result)
{
        (void)data;
        (void)source;
        (void)result;
}

/* Ends everything that is armed; false if it does not end, so that the ring is of no use. */
static bool drain(crew__uring *ring)
{
        if (ring->events >= 0) {
                (void)io_uring_unregister_eventfd(&ring->io);
                ring->events = -1;
        }
        for (int i = 0; ring->flying && i < DRAIN_TRIES; i++) {
                crew__uring_cancel_orphans(ring);
                (void)io_uring_submit_and_get_events(&ring->io);
                crew__uring_collect(ring, tell_nobody, NULL);
        }
        return ring->flying == 0;
}

int crew__uring_lend(crew__uring **lent)
{
        struct crew__ring_home *home = own_home();
        crew__uring *ring = NULL;
        int r = 0;

        if (!home)
                return -ENOMEM;
        (void)pthread_mutex_lock(&home->mutex);
        while (!ring && !crew__link_alone(&home->free)) {
                ring = CREW__OF(home->free.prev, crew__uring, link);
                crew__link_leave(&ring->link);
                home->n_free--;
                if (!drain(ring)) {
                        destroy(ring);
                        ring = NULL;
                        home->references--;
                }
        }
        if (!ring) {
                r = make(&ring, home);
                home->references += r == 0;
        }
        if (r == 0)
                crew__link_append(&home->lent, &ring->link);
        (void)pthread_mutex_unlock(&home->mutex);
        if (r == 0)
                *lent = ring;
        return r;
}

void crew__uring_return(crew__uring *ring)
{
        struct crew__ring_home *home = ring->home;
        bool kept = !ring->lost;

        for (uint32_t i = 0; i < ring->n; i++) {
                if (ring->armings[i].state == CREW__ARMING_FLYING)
                        crew__uring_orphan(ring, i);
        }
        if (kept && home == mine)
                kept = drain(ring);
        (void)pthread_mutex_lock(&home->mutex);
        crew__link_leave(&ring->link);
        if (kept && !home->ended && home->n_free < MAX_FREE) {
                crew__link_append(&home->free, &ring->link);
                home->n_free++;
                (void)pthread_mutex_unlock(&home->mutex);
                return;
        }
        destroy(ring);
        home_unref(home);
}

void crew__uring_lose(crew__uring *ring, int why)
{
        ring->lost = true;
        /* The host closed it, and the number may be something else by now. */
        if (why == -EBADF || why == -EOPNOTSUPP) {
                unnote(ring->io.ring_fd);
                ring->io.ring_fd = ring->io.enter_ring_fd = -1;
        }
}

bool crew__uring_mine(const crew__uring *ring)
{
        return ring->home == mine;
}

void crew__uring_forget(crew__uring *ring)
{
        if (!ring)
                return;
        free(ring->armings);
        free(ring);
}

static bool grow(crew__uring *ring)
{
        uint32_t n = ring->n ? ring->n * 2 : SQ_ENTRIES;
        crew__arming *grown = realloc(ring->armings, n * sizeof *grown);

        if (!grown)
                return false;
        for (uint32_t i = ring->n; i < n; i++)
                grown[i] = (crew__arming){ .next = i + 1 < n ? i + 1 : NONE };
        ring->armings = grown;
        ring->free = ring->n;
        ring->n = n;
        return true;
}

static struct io_uring_sqe *entry(crew__uring *ring)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);

        if (sqe)
                return sqe;
        (void)io_uring_submit(&ring->io);
        return io_uring_get_sqe(&ring->io);
}

static uint64_t name_of(const crew__uring *ring, uint32_t at)
{
        return (uint64_t)ring->armings[at].sequence << 32 | at;
}

struct io_uring_sqe *crew__uring_prepare(
        crew__uring *ring, crew__source *source, uint32_t *arming, uint64_t *name)
{
        struct io_uring_sqe *sqe;
        uint32_t at;

        if (ring->free == NONE && !grow(ring))
                return NULL;
        sqe = entry(ring);
        if (!sqe)
                return NULL;
        at = ring->free;
        ring->free = ring->armings[at].next;
        ring->armings[at].source = source;
        ring->armings[at].state = CREW__ARMING_FLYING;
        ring->flying++;
        *arming = at;
        *name = name_of(ring, at);
        return sqe;
}

static void land(crew__uring *ring, uint32_t at)
{
        ring->armings[at].sequence++;
        ring->armings[at].state = CREW__ARMING_FREE;
        ring->armings[at].next = ring->free;
        ring->free = at;
}

void crew__uring_orphan(crew__uring *ring, uint32_t at)
{
        ring->armings[at].source = NULL;
        ring->armings[at].state = CREW__ARMING_ORPHAN;
        ring->armings[at].next = ring->orphans;
        ring->orphans = at;
}

void crew__uring_cancel_orphans(crew__uring *ring)
{
        while (ring->orphans != NONE) {
                uint32_t at = ring->orphans, next = ring->armings[at].next;
                struct io_uring_sqe *sqe;

                if (ring->armings[at].state == CREW__ARMING_LANDED) {
                        land(ring, at);
                } else {
                        sqe = entry(ring);
                        if (!sqe)
                                return;
                        io_uring_prep_cancel64(sqe, name_of(ring, at), 0);
                        sqe->user_data = NAME_CANCEL;
                        ring->armings[at].state = CREW__ARMING_CANCELLED;
                }
                ring->orphans = next;
        }
}

/* What became of a completion's arming: its source, or NULL. */
static crew__source *landed(crew__uring *ring, uint64_t name)
{
        uint32_t at = (uint32_t)name;
        crew__arming *arming;
        crew__source *source;

        if (name == NAME_CANCEL || at >= ring->n)
                return NULL;
        arming = &ring->armings[at];
        if (arming->sequence != name >> 32 || arming->state == CREW__ARMING_FREE)
                return NULL;
        source = arming->source;
        arming->source = NULL;
        ring->flying--;
        if (arming->state == CREW__ARMING_ORPHAN)
                arming->state = CREW__ARMING_LANDED;
        else
                land(ring, at);
        return source;
}

void crew__uring_collect(
        crew__uring *ring, void (*tell)(void *data, crew__source *source, int result), void *data)
{
        struct io_uring_cqe *cqes[CQES_AT_ONCE];
        unsigned n;

        do {
                n = io_uring_peek_batch_cqe(&ring->io, cqes, CQES_AT_ONCE);
                for (unsigned i = 0; i < n; i++) {
                        int result = cqes[i]->res;
                        crew__source *source = landed(ring, cqes[i]->user_data);

                        if (source)
                                tell(data, source, result);
                }
                io_uring_cq_advance(&ring->io, n);
        } while (n == CQES_AT_ONCE);
}

bool crew__uring_busy(const crew__uring *ring)
{
        return io_uring_sq_ready(&ring->io) || io_uring_cq_ready(&ring->io) ||
               __atomic_load_n(ring->io.sq.kflags, __ATOMIC_RELAXED) &
                       (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

int crew__uring_report_to(crew__uring *ring, int eventfd)
{
        int r = io_uring_register_eventfd(&ring->io, eventfd);

        if (r == 0)
                ring->events = eventfd;
        return r;
}
