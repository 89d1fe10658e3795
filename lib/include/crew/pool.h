/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_H
#define CREW_POOL_H

/*
 * A pool of worker processes that run tasks, sandboxed, and never hang.
 *
 * A task is a function of the program and the bytes of its argument; its result is bytes too. The
 * workers come from the pool's zygote, a copy of the program as it was when the pool was made:
 * functions and data of that moment are at hand in them, whatever the program grows to later. They
 * run under a sandbox ("stdio" unless told otherwise) and share with the program only their lane and
 * what was granted: every other shared mapping of the program is gone in them, and a pointer into one
 * ends the worker.
 *
 * Whatever ends a worker (a signal, exit(), a limit, a deadline, a refused system call) fails the
 * one task it was running, with the reason, or runs it again; tasks behind it run elsewhere and the
 * worker is replaced.
 *
 * Any thread may call; callbacks run in the thread that drives the pool, which is the pool's own
 * unless CREW_POOL_NO_THREAD. In a forked child and inside a worker every call answers -ECHILD.
 */

#include <crew/error.h>
#include <crew/pipe.h>
#include <crew/process.h>
#include <crew/queue.h>
#include <crew/sandbox.h>
#include <crew/shm.h>
#include <errno.h>
#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_pool crew_pool;
typedef struct crew_result crew_result;
typedef struct crew_imap crew_imap;

/* One execution, seen from the worker; valid until the function returns. */
typedef struct crew_task crew_task;

/*
 * A task, and the type of the initializer. `arg` is 16-byte aligned and valid until the return.
 * Returns 0, or a negative errno of the task's own, which becomes crew_failure.code. In the pool's
 * sandbox.
 */
typedef int crew_task_fn(crew_task *t, const void *arg, size_t size);

/* Success and failure alike; `r` is borrowed. */
typedef void crew_done_fn(crew_result *r, void *user);

/* The next item of an imap: 1 (*item, *size), 0 at the end, negative to stop with that errno. */
typedef int crew_source_fn(void *user, const void **item, size_t *size);

/* What the pool has to say about a task; the task's own errno is another question. */
enum {
        CREW_OK = 0,
        CREW_FAILED = 1,    /* the function returned a negative errno or called crew_task_fail */
        CREW_DIED = 2,      /* its worker ended */
        CREW_VIOLATED = 3,  /* its worker made a call that the sandbox refuses */
        CREW_DEADLINE = 4,  /* it ran past its deadline and was ended */
        CREW_CANCELLED = 5, /* crew_result_cancel, terminate or free */
        CREW_BROKEN = 6,    /* the pool cannot make workers any more */
        CREW_MEMORY = 7,    /* its worker went past limits->memory_max and was ended for it */
};

enum { CREW_POOL_NO_THREAD = 1 };

/* on_death: what happens to the task of a worker that ended without being told to. */
enum { CREW_DEATH_FAIL_TASK = 0, CREW_DEATH_RETRY = 1, CREW_DEATH_FAIL_POOL = 2 };

typedef struct crew_failure {
        size_t size;
        int reason;               /* CREW_FAILED, ... */
        int code;                 /* FAILED: the negative errno */
        int exitcode;             /* DIED, MEMORY: as crew_process_exitcode; 0 otherwise */
        int syscall;              /* VIOLATED: its number, -1 unknown */
        const char *syscall_name; /* "" if unknown */
        const char *message;      /* a sentence; both strings live as long as the result */
        pid_t pid;                /* of the worker, 0 = it was never given to one */
        unsigned worker, attempt; /* its index; attempts from 1 */
        uint64_t task;
        size_t item; /* of a map */
} crew_failure;

enum {
        CREW_EVENT_STARTED,
        CREW_EVENT_ENDED,
        CREW_EVENT_REPLACED,
        CREW_EVENT_VIOLATED,
        CREW_EVENT_DOWNGRADED, /* the sandbox enforces less than asked: failure->message says what */
        CREW_EVENT_BROKEN,
        CREW_EVENT_QUEUE, /* a granted queue is unusable from now on (-ENOTRECOVERABLE): which, why and
                             who has it is in failure->message; pid: of a worker that is ended for it,
                             or 0 */
};

typedef struct crew_pool_event {
        size_t size;
        int kind;
        unsigned worker;
        pid_t pid;
        const crew_failure *failure; /* or NULL */
} crew_pool_event;

typedef struct crew_pool_options {
        size_t size;
        const char *name;
        uint64_t flags; /* CREW_POOL_... */
        int on_death, on_violation;
        unsigned retries;          /* of a task after deaths, with CREW_DEATH_RETRY; 0 = 3 */
        unsigned restarts;         /* of workers within the window; 0 = 10 + 2 per worker, UINT_MAX =
                                      any number. More of them break the pool */
        int64_t restart_window;    /* ns; 0 = 10 s */
        uint64_t tasks_per_worker; /* then it is replaced; 0 = any number */
        const char *sandbox;       /* words; NULL = "stdio" */
        const crew_sandbox *policy; /* instead of words */
        const crew_limits *limits;
        size_t lane_bytes; /* the largest argument and the largest result; 0 = 256 KiB */
        size_t backlog;    /* tasks that wait for a lane; more are -EAGAIN; 0 = any number */
        crew_task_fn *initializer; /* in each worker, before its sandbox is entered */
        const void *init_arg;
        size_t init_size;
        const crew_ref *grants;
        size_t n_grants;
        const int *keep_fds; /* stay open in the workers */
        size_t n_keep_fds;
        void (*on_event)(const crew_pool_event *e, void *user);
        void *user;
        int method; /* CREW_METHOD_...; other than fork: the workers are forks of a fresh image of
                       the program, which has none of its data; see crew_spawn_main */
        int nice;             /* of the workers, added to the program's; below 0 takes a privilege */
        const unsigned *cpus; /* the processors that they may use; copied. NULL = the program's */
        size_t n_cpus;
} crew_pool_options;

typedef struct crew_task_options {
        size_t size;
        const char *name;
        int64_t deadline; /* ns of running; 0 = none */
        unsigned retries; /* 0 = the pool's */
        size_t chunk;     /* items at a time; 0: of a map ceil(n / (4 x workers)), of an imap 1 */
        size_t window;    /* items of an imap under way; 0 = 4 x workers x chunk */
        int *status;      /* map: per item, 0 or the CREW_... reason */
        crew_done_fn *done;
        void *user;
        crew_failure *failure; /* out: the first failure of a blocking call; its strings live until
                                  this thread's next such call */
} crew_task_options;

/*
 * Makes a pool of `workers` processes (0 = crew_cpu_count()). Returns when the zygote is there and
 * all workers are asked for.
 * Returns 0; -EINVAL; -EMFILE, -ENOMEM, -EAGAIN; what crew_sandbox_new answers; -ENOENT: a grant
 * that this process does not hold.
 */
CREW_PUBLIC int crew_pool_new(crew_pool **pool, unsigned workers, const crew_pool_options *o);

/* terminate(0) and join, then frees; bounded in time. NULL is fine; returns NULL. */
CREW_PUBLIC crew_pool *crew_pool_free(crew_pool *pool);

/*
 * Runs one task and waits. Returns the size of its result, copied to `out`; when the pool speaks:
 * -ECANCELED, -EOWNERDEAD (died), -EPERM (violated), -ETIME (deadline), -ENOTRECOVERABLE (broken),
 * -ENOMEM (memory);
 * when the task failed, its own negative errno. o->failure tells them apart without doubt.
 * -ETIMEDOUT, -EAGAIN: not done in time; it is cancelled and `out` is never written. -EMSGSIZE: the
 * argument is larger than a lane (crew_error_detail() has both numbers), or the result than cap.
 * -ESHUTDOWN: the pool was closed. -EDEADLK: from the driving thread.
 */
CREW_PUBLIC ssize_t crew_pool_apply(crew_pool *p, crew_task_fn *f, const void *arg, size_t size,
        void *out, size_t cap, int64_t timeout, const crew_task_options *o);

/*
 * Runs one task; `arg` is copied. r may be NULL: a failure that nobody held counts in join. Until it
 * is freed a pool keeps the memory of tasks that are over for those to come, 7 MiB at most.
 */
CREW_PUBLIC int crew_pool_apply_async(crew_pool *p, crew_task_fn *f, const void *arg, size_t size,
        crew_result **r, const crew_task_options *o);

/*
 * Runs f for each of `n` items of `in_size` bytes; results of `out_size` bytes land in `out` at the
 * place of their item. Waits for all. Returns 0, or the first failure (by item) as apply; o->status
 * has all. _async: in and out are borrowed until the result is ready or freed.
 */
CREW_PUBLIC int crew_pool_map(crew_pool *p, crew_task_fn *f, const void *in, size_t n,
        size_t in_size, void *out, size_t out_size, int64_t timeout, const crew_task_options *o);
CREW_PUBLIC int crew_pool_map_async(crew_pool *p, crew_task_fn *f, const void *in, size_t n,
        size_t in_size, void *out, size_t out_size, crew_result **r, const crew_task_options *o);

/* One result of an imap. */
typedef struct crew_item {
        size_t index;
        int status; /* CREW_OK, ... */
        const void *data;
        size_t size; /* both valid until the next call on the iterator */
        const crew_failure *failure; /* status != CREW_OK */
} crew_item;

/*
 * Runs f over what `next` yields, which is called inside crew_imap_next only; at most o->window
 * items are under way. Results come in the order of the input, or as they come (_unordered).
 * o->chunk > 1 sends up to so many items at once, which makes small tasks many times cheaper; what
 * runs, fails, dies, is late and is returned stays the item. A chunk is sent when it is full, holds
 * as much as half of a lane, at the end of the input, or once it was gathered for 10 ms, which is
 * looked at between two calls of `next`: one that blocks holds back what it yielded before. It has
 * at most window / (2 x workers) items where a window is given, and one where o->done is. It counts
 * as under way until all of it was returned. What another thread's close finds gathered
 * is not run, and crew_imap_next answers -ESHUTDOWN.
 */
CREW_PUBLIC int crew_pool_imap(crew_pool *p, crew_task_fn *f, crew_source_fn *next, void *user,
        crew_imap **it, const crew_task_options *o);
CREW_PUBLIC int crew_pool_imap_unordered(crew_pool *p, crew_task_fn *f, crew_source_fn *next,
        void *user, crew_imap **it, const crew_task_options *o);

/* 1: *item is the next; 0: the end; negative: -ETIMEDOUT, -EAGAIN, what `next` answered, ... */
CREW_PUBLIC int crew_imap_next(crew_imap *it, crew_item *item, int64_t timeout);

/* Cancels the rest. NULL is fine; returns NULL. */
CREW_PUBLIC crew_imap *crew_imap_free(crew_imap *it);

/*
 * Gives all workers, also future ones, an object; before or after they started. A worker can break a
 * queue that it was given, for all who use it: what keeps one of the queue's locks while nothing
 * moves for 100 ms (and 1 ms per MiB of the queue) makes it -ENOTRECOVERABLE, see CREW_EVENT_QUEUE.
 * An end of a pipe that was granted is the workers': the program uses the other one. A queue with
 * CREW_QUEUE_EOF does not end before the workers are gone.
 * Returns 0; -ENOENT: this process does not hold it; -ESHUTDOWN; -ENOSPC: 256 processes hold such a
 * queue; -EMFILE, -ENOMEM.
 */
CREW_PUBLIC int crew_pool_grant(crew_pool *p, crew_ref ref);

/* No more tasks; what was submitted runs. Idempotent. */
CREW_PUBLIC int crew_pool_close(crew_pool *p);

/*
 * Ends it: queued tasks complete as cancelled, running ones get SIGTERM and after `grace` SIGKILL.
 * Every result is ready when this returns. 0 or -EDEADLK.
 */
CREW_PUBLIC int crew_pool_terminate(crew_pool *p, int64_t grace);

/*
 * Waits until a closed or terminated pool has finished and its workers are gone.
 * Returns the number of failures that nobody held a result for; -EBUSY: it is not closed; -EDEADLK:
 * from the driving thread; -ETIMEDOUT, -EAGAIN.
 */
CREW_PUBLIC int crew_pool_join(crew_pool *p, int64_t timeout);

/*
 * For CREW_POOL_NO_THREAD: a descriptor that is readable when the pool has something to do,
 * deadlines included, and the call that does it. Whoever blocks in a call drives too. -EINVAL with a
 * thread.
 */
CREW_PUBLIC int crew_pool_fd(crew_pool *p);
CREW_PUBLIC int crew_pool_drive(crew_pool *p, int64_t timeout);

typedef struct crew_pool_stats {
        size_t size;
        uint64_t submitted, done, failed, restarts, violations;
        unsigned workers, busy, queued;
} crew_pool_stats;

CREW_PUBLIC int crew_pool_read_stats(crew_pool *p, crew_pool_stats *s);

CREW_PUBLIC bool crew_result_ready(crew_result *r);
CREW_PUBLIC bool crew_result_successful(crew_result *r);
CREW_PUBLIC int crew_result_wait(crew_result *r, int64_t timeout);

/* As crew_pool_apply for the answer; any number of times. A map answers 0 or its first failure. */
CREW_PUBLIC ssize_t crew_result_get(crew_result *r, void *buf, size_t cap, int64_t timeout);

/* The result itself, borrowed; NULL while it is not ready, or failed. */
CREW_PUBLIC const void *crew_result_data(crew_result *r, size_t *size);

/* How many of how many items are done. */
CREW_PUBLIC int crew_result_progress(crew_result *r, size_t *done, size_t *total);

/* What happened: 0; -EBUSY: not ready; -ENODATA: it succeeded. f->size must be set. */
CREW_PUBLIC int crew_result_failure(crew_result *r, crew_failure *f);

/* Takes it back: queued at once, running by SIGTERM and after `grace` SIGKILL. 0; -EALREADY: ready. */
CREW_PUBLIC int crew_result_cancel(crew_result *r, int64_t grace);

/* Freed early: an apply still runs, a map is cancelled. NULL is fine; returns NULL. */
CREW_PUBLIC crew_result *crew_result_free(crew_result *r);

/* In the worker: sets the result, by copy or in place (NULL: larger than the lane). */
CREW_PUBLIC int crew_task_return(crew_task *t, const void *data, size_t size);
CREW_PUBLIC void *crew_task_result(crew_task *t, size_t size);

/* Makes the task fail with words; returns `code`, a negative errno, to be returned. */
CREW_PUBLIC int crew_task_fail(crew_task *t, int code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* A granted queue, lent until the worker ends. -ENOENT: not granted. */
CREW_PUBLIC int crew_task_queue(crew_task *t, crew_ref ref, crew_queue **q);

/* A granted end of a pipe, likewise. The program uses the other end. Under a sandbox, descriptors
 * are sent and received with the word "unix" only. */
CREW_PUBLIC int crew_task_connection(crew_task *t, crew_ref ref, crew_connection **c);

/* Granted shared memory, likewise: where it is mapped. crew_shm_open(), after this, tells its size. */
CREW_PUBLIC int crew_task_shm(crew_task *t, crew_ref ref, void **data);

/* What the task is at, for those who look from outside (crew ps): up to 63 bytes of it are kept,
 * until the task ends or says something else; NULL or "" takes it back. No system call. */
CREW_PUBLIC void crew_task_status(crew_task *t, const char *text);

CREW_PUBLIC bool crew_task_cancelled(crew_task *t);
CREW_PUBLIC unsigned crew_task_worker(crew_task *t);
CREW_PUBLIC unsigned crew_task_attempt(crew_task *t);
CREW_PUBLIC uint64_t crew_task_id(crew_task *t);

static inline void crew_pool_freep(crew_pool **p)
{
        *p = crew_pool_free(*p);
}
static inline void crew_result_freep(crew_result **r)
{
        *r = crew_result_free(*r);
}
static inline void crew_imap_freep(crew_imap **it)
{
        *it = crew_imap_free(*it);
}

typedef struct crew_none {
        char none;
} crew_none;

/*
 * A typed task: CREW_TASK(norm, struct point, double)(crew_task *t, const struct point *in,
 * double *out) { ... } makes norm (a crew_task_fn), norm_apply, norm_async and norm_map, whose types
 * the compiler checks; sizes are checked again in the worker.
 */
#define CREW_TASK(fn, In, Out)                                                                     \
        static int fn##_body(crew_task *, const In *, Out *);                                      \
        static int fn(crew_task *t_, const void *arg_, size_t size_)                               \
        {                                                                                          \
                Out *out_;                                                                         \
                if (size_ != sizeof(In))                                                           \
                        return crew_task_fail(t_, -EINVAL, #fn ": %zu bytes, expected %zu", size_, \
                                sizeof(In));                                                       \
                out_ = (Out *)crew_task_result(t_, sizeof *out_);                                  \
                return out_ ? fn##_body(t_, (const In *)arg_, out_) : -EMSGSIZE;                   \
        }                                                                                          \
        __attribute__((unused)) static inline int fn##_apply(crew_pool *p_, const In *in_,         \
                Out *out_, int64_t timeout_, const crew_task_options *o_)                          \
        {                                                                                          \
                ssize_t r_ = crew_pool_apply(                                                      \
                        p_, fn, in_, sizeof *in_, out_, sizeof *out_, timeout_, o_);               \
                return r_ < 0 ? (int)r_ : 0;                                                       \
        }                                                                                          \
        __attribute__((unused)) static inline int fn##_async(                                      \
                crew_pool *p_, const In *in_, crew_result **r_, const crew_task_options *o_)       \
        {                                                                                          \
                return crew_pool_apply_async(p_, fn, in_, sizeof *in_, r_, o_);                    \
        }                                                                                          \
        __attribute__((unused)) static inline int fn##_map(crew_pool *p_, const In *in_,           \
                size_t n_, Out *out_, int64_t timeout_, const crew_task_options *o_)               \
        {                                                                                          \
                return crew_pool_map(                                                              \
                        p_, fn, in_, n_, sizeof *in_, out_, sizeof *out_, timeout_, o_);           \
        }                                                                                          \
        static int fn##_body

#ifdef __cplusplus
}
#endif
#endif
