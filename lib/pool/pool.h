/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_POOL_H
#define CREW_POOL_POOL_H

/*
 * The pool as its own files see it.
 *
 *      job     what one call submitted: one task, the n items of a map, one chunk of an imap; it
 *              is the crew_result
 *      unit    items in a row of one job, as they are pushed into a lane; one execution each
 *      worker  a row: its process of the moment, lane, and the units in that lane, oldest first
 *      driver  the thread that drains lanes, supervises workers and runs callbacks: the pool's own,
 *              or with CREW_POOL_NO_THREAD whoever holds `driver`
 *
 * Any thread pushes into a lane that has room, under the pool's lock; what finds no room waits in
 * the backlog. Everything here is under that lock unless it says otherwise. The lock is never held
 * while a callback runs, while a worker is made, or across a sleep. Lock order: driver, zygote,
 * pool.
 *
 * A job that is finished (by its last item, or because it was taken back) is over for its holders
 * at once. Units of it may still be in lanes: what comes back for them is dropped, and a worker
 * that turns out to be busy with one is ended.
 */

#include "base/list.h"
#include "kernel/generation.h"
#include "kernel/spin.h"
#include "pool/stock.h"
#include "pool/zygote.h"

#include <crew/pool.h>
#include <crew/wait.h>
#include <pthread.h>

enum {
        CREW__UNITS = 1024,    /* in a lane at most; a power of two */
        CREW__BATCH = 1 << 20, /* items in a unit at most */
        CREW__FAILURE_TEXT = 400,
        CREW__ASK_AT_ONCE = 16, /* workers that the zygote is asked for and has not made yet */
        CREW__SMALL = 40,       /* results up to this size need no memory of their own */
};

/* What the pool has to say about an item, with the words for it. */
typedef struct crew__failure {
        crew_failure said;
        char call[32];
        char text[CREW__FAILURE_TEXT];
} crew__failure;

/* An item of a chunk of an imap. */
typedef struct crew__piece {
        const char *in; /* those of one size that follow each other are an array */
        size_t in_size;
        char *out;
        size_t out_size;
        crew__failure *failure; /* NULL: none, or no memory for it */
        int reason;
        uint32_t nth;       /* in the place of the n-th item: which was the n-th to end */
        _Atomic bool ended; /* the rest is written; for an iterator that has no lock */
} crew__piece;

/* crew_result.word */
enum {
        CREW__PENDING = 0,
        CREW__AWAITED = 1, /* somebody sleeps on the word */
        CREW__CALLED = 2,  /* ready for the driver alone: its callback runs */
        CREW__READY = 4,
        CREW__WATCHER = 16, /* so many of these look for it: see watch.c */
};

struct crew_result {
        _Atomic uint32_t word;
        _Atomic unsigned references; /* holder; pool; units in lanes */
        uint64_t generation;
        crew_pool *pool;    /* not to be used once ready */
        crew__stock *stock; /* that has its memory back then; NULL: malloc */
        crew__link all;     /* pool.jobs */
        crew__link link;    /* pool.backlog, then pool.called */
        bool held;          /* somebody has the handle */
        bool finished, map;
        unsigned row; /* of the worker that was given it last */

        uint64_t function;
        const char *in; /* `arguments`, or the caller's */
        size_t in_size;
        size_t n, next, done; /* items: all, the first that was not handed out, done */
        size_t chunk;
        int64_t deadline, grace;
        unsigned retries;
        crew_done_fn *call;
        void *user;
        char name[24];

        struct crew_imap *imap;
        crew__link told;     /* crew_imap.ready */
        crew__link mate;     /* crew_imap.jobs */
        size_t index, taken; /* of its first item in the imap; how many the imap has returned */
        crew__piece *pieces; /* NULL: it is no chunk */
        void *blocks;        /* with the results of these */

        /* Written before `word` says ready. */
        int reason;
        crew__failure *failure; /* of the lowest failed item; NULL: none, or no memory for it */
        size_t failed_item;
        char *out; /* map: the caller's; else the result itself */
        size_t out_size;
        int *status;
        unsigned char *seen; /* map: a bit per item that is done */
        char small[CREW__SMALL];
        char arguments[] __attribute__((aligned(16)));
};

typedef struct crew__unit {
        crew_result *job;
        size_t item, n; /* the first that is not done, and how many there are from there on */
        uint32_t attempt;
        uint64_t id;           /* of that item; ids are given with each push */
        uint64_t first, place; /* of its record in the lane: the first id, and where it begins */
} crew__unit;

/* A unit that is to be handed out again. */
typedef struct crew__again {
        crew__link link;
        crew__unit unit;
} crew__again;

/* An event on its way to on_event. */
typedef struct crew__notice {
        crew__link link;
        crew_pool_event event;
        crew__failure *failure;
} crew__notice;

enum crew__worker_state {
        CREW__EMPTY,    /* no process: one is to be made */
        CREW__ASKED,    /* the zygote was asked for one, for that lane */
        CREW__STARTING, /* it was made and has not taken a task yet */
        CREW__RUNNING,
        CREW__ENDING, /* it was told to end, by the close of its lane or a signal */
        CREW__DEAD,   /* the kernel says so; how it ended is not noted yet */
        CREW__GONE,   /* and none comes after it */
        CREW__WORKER_STATES,
};

typedef struct crew__worker {
        unsigned row;
        enum crew__worker_state state;
        crew__lane *lane;
        int pidfd; /* -1: none */
        pid_t pid;
        bool armed; /* lane and pidfd are in the waiter; the driver's */
        crew__unit *units;
        uint64_t pushed, popped; /* units[popped .. pushed) are in the lane */
        uint64_t items;          /* of these, not done */
        uint64_t given;          /* items that it was given, ever */
        int why;     /* ENDING: CREW_DEADLINE, CREW_CANCELLED, CREW_DIED for a liar; 0: no task's
                        fault */
        bool closed; /* its lane is: it ends when it has nothing more to take */
        bool lied;
        char lie[200];
        uint64_t watched; /* id of an item with a deadline */
        int64_t since;    /* it began before this */
        int64_t late_at;  /* when to look at that */
        int64_t stuck_at; /* when others may take what waits behind what it does */
        int64_t due;      /* when to look at anything again */
        bool bare;        /* what it does not work on was taken back */
        int64_t kill_at, give_up_at, inquest;
        int64_t drained;  /* when results came last */
        int64_t pace;     /* ns per task, lately; 0 = unknown */
        uint64_t paced;   /* for which function */
        uint32_t pulse;   /* what its word was first; 0 = nothing yet */
        bool marked;      /* the word told of its death; its memory may be there still */
        uint64_t refused; /* calls that were answered with EPERM */
        bool ever;        /* there was one before */
        uint64_t traced;  /* entries of its tape that were taken out */
        bool overdue;     /* ASKED: the zygote did not answer in time; a second look decides */
        _Atomic bool waited_at; /* somebody sleeps at the lane, beside the driver: see watch.c */
} crew__worker;

/* A queue that the workers share with the program. */
typedef struct crew__granted {
        crew_queue *queue;
        bool told; /* it is broken and on_event knows */
} crew__granted;

struct crew_pool {
        uint64_t generation;
        pthread_mutex_t lock;
        pthread_mutex_t driver, zygote_lock;
        char name[32];
        uint64_t flags;
        int on_death, on_violation;
        unsigned retries, restarts;
        int64_t restart_window;
        uint64_t tasks_per_worker;
        size_t lane_bytes, backlog_limit;
        void (*on_event)(const crew_pool_event *e, void *user);
        void *user;
        crew__plan plan;
        bool planned, sandboxed;
        char words[96]; /* of the sandbox */
        crew__segment **grants;
        size_t n_grants;
        crew__granted *queues; /* those of the grants that are queues */
        size_t n_queues;
        int64_t queues_due; /* when they are looked at next */
        crew__zygote *zygote;
        bool fresh;                  /* its workers are no forks of the program */
        crew_task_fn *_Atomic known; /* a function that they have */

        crew__worker *workers;
        crew__unit *units;        /* of all workers */
        unsigned n_workers, turn; /* turn: who is looked at first */
        uint64_t next_id;
        crew__link jobs, backlog, again, called, notices;
        crew__stock *stock; /* memory for jobs */
        size_t queued;      /* items in backlog and again */
        size_t unfinished;  /* jobs whose holders do not know yet, callbacks included */
        uint64_t submitted, done, failed, replaced, violations;
        int unheld;
        bool closed, terminated, broken, zygote_dead;
        bool look_again;              /* jobs were taken back: the driver looks at every worker */
        int64_t grace;                /* of terminate */
        char why[CREW__FAILURE_TEXT]; /* broken */
        char last_words[CREW__FAILURE_TEXT]; /* of the worker that failed to start last */
        int64_t *deaths;                     /* the last `restarts` of them */
        uint64_t n_deaths;
        int64_t spawn_at;  /* not before */
        unsigned asked;    /* workers in ASKED; the driver's */
        int64_t heard;     /* when the zygote was asked, or answered, last */
        int64_t next_look; /* the driver sleeps at most until then */

        crew_waiter *waiter; /* the driver's */
        bool polled;
        int64_t timer; /* what the waiter's timer is set to */
        pthread_t thread;
        bool threaded;
        _Atomic uint32_t finished; /* CREW__READY: no worker is left, and none will come */
        _Atomic uint32_t rounds;   /* counts rounds of drivers without a thread, and callbacks */
        _Atomic bool orphan;       /* freed by a callback: the thread frees it */
        _Atomic int watchers;      /* of results that are ready: see watch.c */
        _Atomic bool watching;     /* one of them is at it */
        crew__spin watch_spin;     /* its budget */
};

static inline bool crew__pool_finished(crew_pool *p)
{
        return atomic_load(&p->finished) & CREW__READY;
}

/* The pool whose callbacks the calling thread runs, or NULL. */
extern _Thread_local crew_pool *crew__driving;

static inline void crew__pool_lock(crew_pool *p)
{
        (void)pthread_mutex_lock(&p->lock);
}

static inline void crew__pool_unlock(crew_pool *p)
{
        (void)pthread_mutex_unlock(&p->lock);
}

static inline crew__unit *crew__unit_at(const crew__worker *w, uint64_t index)
{
        return &w->units[index % CREW__UNITS];
}

static inline bool crew__worker_alive(const crew__worker *w)
{
        return w->state == CREW__STARTING || w->state == CREW__RUNNING;
}

/* pool.c: first thing in every call; -EINVAL, -ECHILD. */
int crew__pool_enter(const crew_pool *p);
/* Gives back what the pool holds. */
void crew__pool_destroy(crew_pool *p);
/* Without the lock: the driver looks at everything soon. */
void crew__pool_wake(crew_pool *p);

/* submit.c */

/* Checks what every submission checks; takes the options over. */
int crew__submit_check(
        crew_pool *p, crew_task_fn *f, const crew_task_options *o, crew_task_options *options);
/* A new job with room for `size` bytes of arguments; NULL: no memory. */
crew_result *crew__job_new(
        crew_pool *p, crew_task_fn *f, const crew_task_options *o, const void *arg, size_t size);
/* Queues a job, or pushes it into a lane. Takes the lock. -ESHUTDOWN, -ENOTRECOVERABLE, -EAGAIN.
 * The pool has a reference of its own then. `unlimited`: the backlog's limit does not hold. */
int crew__submit(crew_pool *p, crew_result *job, bool unlimited);
/* Is it open for more? Takes the lock. */
bool crew__pool_takes(crew_pool *p);
/* Hands out what waits. Under the lock. */
void crew__feed(crew_pool *p);
/* Nothing waits: has somebody nothing to do, and somebody else more than it gets on with? */
bool crew__feed_idle(crew_pool *p, int64_t now);
/* Puts a unit at the head of what waits. What there is no memory for fails. The unit's reference
 * stays the caller's. */
void crew__requeue(crew_pool *p, const crew__unit *unit);

/* job.c */

/* Where the results of `n` items from `item` on are to be written, `size` bytes each; NULL:
 * nowhere, and with words if that is a failure. Then: they are done. */
void *crew__items_place(crew_result *job, size_t item, size_t n, size_t size, int *error);
void crew__items_done(crew_result *job, size_t item, size_t n);
/* An item has failed; the words are taken over. The unit's reference stays the caller's. */
void crew__item_failed(crew_result *job, size_t item, int reason, crew__failure *failure);
/* The last of its items is done. */
void crew__job_finish(crew_result *job);
/* All that is not done of it ends for that reason. `why` may be NULL. */
void crew__job_abort(crew_result *job, int reason, const char *why);
void crew__job_abort_all(crew_pool *p, int reason, const char *why);
/* It is finished and its callback ran: its holders may see it, and the pool's reference goes. */
void crew__job_publish(crew_result *job);
void crew__job_ref(crew_result *job);
void crew__job_unref(crew_result *job);
/* Whoever refers to it: in a forked child nobody else does. */
void crew__job_free(crew_result *job);

/* failure.c: NULL: no memory. The words come behind what is known of the unit. */
crew__failure *crew__failure_new(const crew_result *job, size_t item, const crew__unit *unit,
        const crew__worker *w, int reason) __attribute__((malloc));
void crew__failure_say(crew__failure *f, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
/* What an ending looks like in a sentence: "was ended by signal 9 (Killed)". */
void crew__ending_words(const crew__ending *ending, char *text, size_t size);
/* What is known of an item that ended so; `bare` is for one whose words found no memory. */
const crew_failure *crew__failure_of(
        const crew__failure *f, int reason, size_t item, crew_failure *bare);
/* Copies as far as the caller's struct goes. */
void crew__failure_copy(crew_failure *to, const crew_failure *from);
/* The same for strings that must outlive the result: in memory of the calling thread. */
void crew__failure_keep(crew_failure *to, const crew_failure *from);
/* The errno that stands for a reason. */
int crew__reason_errno(int reason, int code);
const char *crew__reason_words(int reason);

/* drive.c */

/* One round of the driver, without the lock; true if it did something. */
bool crew__drive(crew_pool *p);
/* For a caller that waits until *word has one of `bits`: sleeps, or drives where there is no
 * thread. 0; -ETIMEDOUT, -EAGAIN, -EINTR, -EDEADLK. */
int crew__pool_await(crew_pool *p, _Atomic uint32_t *word, uint32_t bits, int64_t deadline);
/* The same until *word is not `seen` any more. */
int crew__pool_await_change(crew_pool *p, _Atomic uint32_t *word, uint32_t seen, int64_t deadline);
void *crew__pool_thread(void *pool);
/* Puts a worker's lane and pidfd into the waiter, or takes them out. The driver's. */
int crew__watch(crew_pool *p, crew__worker *w);
void crew__unwatch(crew_pool *p, crew__worker *w);
void crew__unwatch_pulse(crew_pool *p, crew__worker *w);
int crew__watch_zygote(crew_pool *p);

/* watch.c */

/* A caller that waits for a result looks for it for a moment, and for one of its `own`, where no
 * signal handler ends the wait, also sleeps. The pool may be gone then. */
void crew__pool_watch(crew_pool *p, crew_result *job, int64_t deadline, bool own);
/* Until nobody looks any more. */
void crew__pool_unwatched(crew_pool *p);

/* member.c */

/* Its oldest unit gets its turn now. */
void crew__worker_turn(crew_pool *p, crew__worker *w, int64_t now);
/* When to look at the item that it is at, which has a deadline. */
int64_t crew__worker_watch(const crew__worker *w, int64_t now);
/* Sets `due` from what there is to look at. */
void crew__worker_due(crew_pool *p, crew__worker *w);
/* Takes its results in; how many. */
unsigned crew__worker_drain(crew_pool *p, crew__worker *w, int64_t now);
/* The same for what it had done when it died. */
void crew__worker_salvage(crew__worker *w);
/* Pushes; returns how many of the unit's items, 0: it has no room now. Then wake it. */
size_t crew__worker_push(crew_pool *p, crew__worker *w, crew__unit unit);
/* How many of `left` items of that job it should have now in addition, in one unit. */
size_t crew__worker_room(
        const crew_pool *p, const crew__worker *w, const crew_result *job, size_t left);
/* Has it begun an item of its oldest unit? */
bool crew__worker_began(const crew__worker *w);
/* Has it left its pace, with what it does? Then nothing is put behind that. */
bool crew__worker_stuck(const crew__worker *w, int64_t now);
/* Takes back what it has not begun, for others to run; false: it moves on. */
bool crew__worker_recall(crew_pool *p, crew__worker *w, int64_t now);

/* birth.c */

/* Asks for a worker in an empty row. By the driver, without the lock, as the next. 0; -EAGAIN: not
 * before answers were taken. */
int crew__worker_ask(crew_pool *p, crew__worker *w);
/* Takes an answer. 1: there is a worker more; 0: there was none; *row is set where a row failed. */
int crew__worker_birth(crew_pool *p, unsigned *row);
/* Nobody waits for the answer any more: the row is empty. Under the lock. */
void crew__worker_unask(crew_pool *p, crew__worker *w);
/* A worker cannot be made: the crew_error_detail() of now says why. Under the lock. */
void crew__spawn_failed(crew_pool *p, unsigned row, int64_t now);
/* Those that were asked for and have come; and asking for what is missing. True if there is more to
 * do at once. The driver's, without the lock. */
bool crew__take_births(crew_pool *p, int64_t now);
bool crew__make_workers(crew_pool *p, int64_t now);
/* The first row from `from` on for which a worker is to be asked now; n_workers: none. Under the
 * lock. */
unsigned crew__missing_worker(const crew_pool *p, unsigned from, int64_t now);

/* pulse.c */

/* Arms what tells of the death of a worker before its pidfd does. */
int crew__watch_pulse(crew_pool *p, crew__worker *w, uint64_t tag);
/* It told. Under the lock. */
void crew__pulse_stops(crew_pool *p, crew__worker *w, int64_t now);
/* How a worker that nobody has collected yet ended, from /proc; false: that cannot be seen. */
bool crew__pulse_ending(const crew__worker *w, crew__ending *ending);

/* granted.c */

/* A segment is granted: if it is a queue, the pool looks after it. 0, -ENOMEM. Takes the lock. */
int crew__granted_add(crew_pool *p, crew__segment *segment);
/* Looks at the queues if it is time to; the driver's, under the lock. */
void crew__granted_look(crew_pool *p, int64_t now);
/* The workers are gone. */
void crew__granted_over(crew_pool *p);
void crew__granted_free(crew_pool *p);

/* publish.c */

/* What inspectors see: the counters, the last violation, and what the tasks of a worker are called
 * from that unit on. Under the lock. */
void crew__publish(crew_pool *p);
void crew__publish_violation(crew_pool *p, const char *words);
void crew__publish_name(crew_pool *p, const crew__worker *w, const crew__unit *unit);

/* chronicle.c: for CREW_DEBUG and CREW_TRACE. Under the lock; where they are on. */
void crew__chronicle_event(
        crew_pool *p, int kind, const crew__worker *w, const crew__failure *failure);
/* The tasks of a worker that ended since the last look. */
void crew__chronicle_tasks(crew_pool *p, crew__worker *w);

/* supervise.c */

enum crew__worker_event {
        CREW__EVENT_TIME, /* look at it */
        CREW__EVENT_DIED, /* the kernel says that it has */
        CREW__EVENT_END,  /* there is nothing more to do */
        CREW__WORKER_EVENTS,
};
void crew__supervise(crew_pool *p, crew__worker *w, enum crew__worker_event event, int64_t now);
/* Ends a worker over that item of its oldest unit (0: over the unit), unless it is done by now. */
void crew__worker_end(
        crew_pool *p, crew__worker *w, uint64_t item, int why, int64_t grace, int64_t now);
/* verdict.c: the kernel says that it is dead; the zygote may have noted how it ended by now. */
void crew__worker_died(crew_pool *p, crew__worker *w, int64_t now);
/* Did its sandbox answer calls with EPERM since the last look? */
void crew__worker_refusals(crew_pool *p, crew__worker *w);
void crew__worker_inquest(crew_pool *p, crew__worker *w, int64_t now);
/* The row's last one, of which the zygote has not told that it is collected. */
void crew__worker_forget(crew__worker *w);
/* The zygote is gone: forgets them all. */
void crew__collect_orphans(crew_pool *p);
/* The pool cannot go on. */
void crew__pool_break(crew_pool *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A death that nobody wished: counts it against the budget. */
void crew__count_death(crew_pool *p, int64_t now);
/* Tells on_event; `failure` is borrowed. */
void crew__notify(crew_pool *p, int kind, const crew__worker *w, const crew__failure *failure);

#endif
