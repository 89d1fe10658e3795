/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_ZYGOTE_H
#define CREW_POOL_ZYGOTE_H

/*
 * The pool's zygote: a fork of the program, made with the pool, that makes the workers. They are
 * its children: it reaps them and notes how they ended in a page that the pool reads, and PDEATHSIG
 * against its only thread ends them with it. It ends with the program (lifeline), leads a session
 * of its own, has default signal handlers, ignores SIGINT, and holds no descriptor but its own,
 * 0-2, grants and keep_fds.
 *
 * A newborn waits at a gate until the pool holds its pidfd; then it becomes a worker: gives up what
 * it was not granted, memory and descriptors, takes its limits, runs the initializer, enters the
 * sandbox and takes tasks. The initializer is outside of the sandbox, so that it can open what
 * tasks use; it has no more memory or descriptors than they have.
 *
 * Shared memory that is written (whoever made it) is given up too, except for grants; files that
 * are mapped for reading stay.
 */

#include "kernel/pidfd.h"
#include "kernel/segment.h"
#include "pool/lane.h"
#include "sandbox/apply.h"

#include <crew/pool.h>

typedef struct crew__zygote crew__zygote;

/* A zygote that does not answer for so long is stopped. A large one takes long to fork. */
#define CREW__ZYGOTE_PATIENCE CREW_S(5)

typedef struct crew__zygote_options {
        const crew__plan *plan;    /* the sandbox, prepared; NULL = none */
        const crew_limits *limits; /* or NULL */
        int nice;                  /* more than the application has */
        const void *cpus;          /* a mask for sched_setaffinity(), or NULL */
        size_t cpus_size;
        crew_task_fn *initializer; /* or NULL */
        const void *init_arg;      /* copied */
        size_t init_size;
        crew__segment *const *grants; /* of the moment; later ones by crew__zygote_grant */
        size_t n_grants;
        const int *keep_fds;
        size_t n_keep_fds;
        unsigned max_workers; /* rows of the page of endings */
        const char *name;
        const char *words; /* of the sandbox, for inspectors */
        int method;        /* CREW_METHOD_FORK: a fork; others: this program started anew */
} crew__zygote_options;

/*
 * Descriptor numbers in a worker, so that a plan can name them: [0] is the control socket, the
 * others (from [1] on) the eventfds that it writes: two of the lane, then two of each grant in its
 * order. Grants beyond these, and those that reach a running worker, take the lowest free numbers.
 * Returns the number behind the last.
 */
enum { CREW__WORKER_NUMBERS = 67 };
int crew__worker_numbers(const int *keep, size_t n_keep, int *numbers, size_t n);

/* How far a worker has come; in its row, written by itself: a hint. */
enum crew__worker_stage {
        CREW__STAGE_GATE,
        CREW__STAGE_SANDBOX,
        CREW__STAGE_INITIALIZER,
        CREW__STAGE_READY,   /* inspectors know its number: CREW__PERCH_READY */
        CREW__STAGE_REFUSED, /* it could not enter the sandbox or the initializer failed: see code
                              */
};

/* What the row of a worker says; from the page, bounded. */
typedef struct crew__worker_note {
        enum crew__worker_stage stage;
        int code;                   /* negative errno of REFUSED */
        int step;                   /* enum crew__step, 0 = the initializer */
        char text[CREW__LANE_TEXT]; /* words of the initializer, "" if none */
} crew__worker_note;

/*
 * Makes the zygote. Call before the pool has a thread. 0; -EAGAIN, -ENOMEM, -EMFILE; if it is no
 * fork also -EOPNOTSUPP and -ENOENT (the initializer is not there). A zygote that
 * cannot settle (no memory, no descriptors) ends: see crew__zygote_fd.
 */
int crew__zygote_start(crew__zygote **z, const crew__zygote_options *o);

/* Do the workers have that function? It is in no module that they lack. */
bool crew__zygote_knows(const crew__zygote *z, crew_task_fn *function);

/* Readable when the zygote is dead; then every call but _free answers -EPIPE. */
int crew__zygote_fd(const crew__zygote *z);
pid_t crew__zygote_pid(const crew__zygote *z);

/*
 * Asks for worker `row` with that lane, which the caller keeps until the answer is there or the
 * question withdrawn. The row's last worker is dead, or was never let through: then it is killed.
 * By one thread at a time, as the three that follow. 0; -EPIPE: the zygote is dead; -EAGAIN: so
 * many questions are out that answers have to be taken first.
 */
int crew__zygote_ask(crew__zygote *z, unsigned row, crew__lane *lane);

typedef struct crew__birth {
        unsigned row;
        int result; /* 0: it is at the gate; -EAGAIN, -ENOMEM, -EMFILE; -EBUSY: the last worker of
                       the row cannot be killed. With words in crew_error_detail() */
        int pidfd;  /* the taker's to close */
        pid_t pid;
} crew__birth;

/* Takes an answer to a question that was not withdrawn: 1; 0: there is none yet; -EPIPE. */
int crew__zygote_birth(crew__zygote *z, crew__birth *birth);
void crew__zygote_withdraw(crew__zygote *z, unsigned row);

/* Readable when there is an answer. */
int crew__zygote_births_fd(const crew__zygote *z);
/* Waits for that, or for the death of the zygote. 0; -ETIMEDOUT; -EINTR. */
int crew__zygote_await(crew__zygote *z, int64_t deadline);

/* Lets the newborn through. */
int crew__zygote_release(crew__zygote *z, unsigned row);

/* How the worker that was last made in `row` ended: 1 and *ending; 0: not noted yet (its pidfd says
 * whether it lives; the zygote notes it within microseconds after the death, or is dead itself). */
int crew__zygote_ending(crew__zygote *z, unsigned row, crew__ending *ending);

/* The word by which the end of its main thread is seen before its memory is gone (kernel/pulse.h);
 * NULL: there is none here. The worker may write anything there. */
_Atomic uint32_t *crew__zygote_pulse(const crew__zygote *z, unsigned row);

/*
 * The memory limit of workers, in bytes, or 0. Did the one of that row, which is dead, go past it,
 * and was it ended for that? Once its ending is known: nobody stays in its cell.
 */
uint64_t crew__zygote_memory(const crew__zygote *z);
bool crew__zygote_starved(const crew__zygote *z, unsigned row);
void crew__zygote_vacate(crew__zygote *z, unsigned row);

/* What it said of itself, and was refused; crew__report_read takes the report. */
void crew__zygote_note(crew__zygote *z, unsigned row, crew__worker_note *note);
crew__report *crew__zygote_report(crew__zygote *z, unsigned row);

/* What inspectors see; the zygote's calls write the rest of it. */
struct crew__pool_page *crew__zygote_page(const crew__zygote *z);
struct crew__seat *crew__zygote_seat(const crew__zygote *z, unsigned row);
const struct crew__tape *crew__zygote_tape(const crew__zygote *z, unsigned row);

/*
 * Gives a segment to all future workers and, over their control sockets, to the living ones, which
 * have it before this returns. The same again: nothing happens. -EPIPE, -ETIMEDOUT, -EMFILE,
 * -ENOMEM.
 */
int crew__zygote_grant(crew__zygote *z, crew__segment *segment);

/*
 * Tells it to end, by its sockets: whoever waits for its answer has one. Needs no lock, but nobody
 * may free the handle meanwhile.
 */
void crew__zygote_dismiss(const crew__zygote *z);

/*
 * Ends the zygote and with it every worker, which it collects; bounded, in the end by SIGKILL; frees.
 * NULL is fine.
 */
crew__zygote *crew__zygote_free(crew__zygote *z);

#endif
