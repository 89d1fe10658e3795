/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_PROCESS_H
#define CREW_PROCESS_PROCESS_H

/*
 * The handle behind crew_process, and what the rest of the library needs of it.
 *
 * Lock order: guardian, registry, process. The process lock covers collecting the status and
 * nothing else; it is never held across a wait or a fork.
 */

#include "base/fail.h"
#include "kernel/generation.h"
#include "kernel/pidfd.h"
#include "kernel/segment.h"
#include "process/setup.h"
#include "queue/queue.h"

#include <crew/process.h>
#include <pthread.h>
#ifdef __GLIBC__
#include <sys/single_threaded.h>
#endif

enum crew__process_role {
        CREW__CHILD,  /* of this process, made by crew_process_new */
        CREW__SELF,   /* this process */
        CREW__PARENT, /* the one that started this process */
};

/*
 *   NEW -> STARTING -> STARTED -> ENDED
 *    ^________|  the start failed
 *
 * Only one thread gets from NEW to STARTING; pid and pidfd are written before STARTED is, ending
 * before ENDED is, and none of them changes after.
 */
enum crew__process_state {
        CREW__NEW,
        CREW__STARTING,
        CREW__STARTED,
        CREW__ENDED,
};

struct __attribute__((aligned(16))) crew_process {
        _Atomic unsigned references;
        uint64_t generation; /* of the process that may use it */
        enum crew__process_role role;
        _Atomic int state;
        pthread_mutex_t lock;
        pid_t pid;
        int pidfd;
        crew__segment *page;   /* its status page, or NULL */
        struct crew__row *row; /* in this process's page, or NULL */
        int64_t began; /* when it was started, where this process traces */
        crew__ending ending;

        crew_target_fn *target;
        void *arg;            /* the caller's, or a copy in this block */
        size_t arg_size;      /* of the copy */
        const char *name;     /* both in one block behind the handle */
        const char *identity; /* "1", its children "1:1": default names are made of it */
        uint64_t flags;       /* CREW_PROCESS_... */
        crew__setup *setup;   /* or NULL; its image and error under the lock */
        int method;           /* CREW_METHOD_..., never DEFAULT */
        pid_t server;         /* the fork server whose child it is, or 0 */
        int spawn_error;      /* why /proc/self/exe could not be run */

        /* Under the registry's lock. */
        crew_process *next, *previous;
        bool registered;
        bool orphan; /* its handle was freed */

        bool guarded; /* the guardian holds its pidfd; under the guardian's lock */
};

/* First thing in every call: -EINVAL for no handle, -ECHILD for one of another process. */
int crew__process_enter(const crew_process *p);

/* The checks of a join: enter, and -ECHILD for oneself, -ESRCH before the start. */
int crew__process_enter_joinable(crew_process *p);

/* A reference keeps handle and pidfd; every process that is registered has one. */
crew_process *crew__process_ref(crew_process *p);
crew_process *crew__process_unref(crew_process *p);

/*
 * Has it ended? Collects its status if so. Never blocks. No generation check.
 * Returns 1: ended, the status is stored; 0: it runs; -ESRCH: not started.
 */
int crew__process_poll_ended(crew_process *p);

/* The same for the exit hook, where the lock may belong to a thread that exit interrupted: then it
 * only looks. */
int crew__process_poll_ended_try(crew_process *p);

/* join with an absolute deadline, without the checks. */
int crew__process_await(crew_process *p, int64_t deadline);

/* refused.c */

/* Waits for its end like crew__readable() of its pidfd, and answers its reports meanwhile. */
int crew__process_watch(crew_process *p, int64_t deadline);

/* Nobody will answer its reports any more. */
void crew__process_unwatch(crew_process *p);

/* Did its sandbox refuse it something, and what first? */
bool crew__process_violated(crew_process *p, crew__violation *v, uint64_t *count);

/* current.c */

/* A pidfd of this process, made once and inherited by its children; -EMFILE, -ENFILE, -ENOMEM. */
int crew__self_pidfd(void);

/* In a new child: it is `p` from now on, and what was current is its parent. */
void crew__current_become(crew_process *p, pid_t parent);

/* In a new process that is no fork: describes the one that started it, before crew__current_become
 * makes that its parent. The strings are kept. */
void crew__current_pose(const char *name, const char *identity, uint64_t flags, int pidfd);

/* The number of the next process made here: 1, 2, ... */
unsigned crew__current_next_number(void);

/* In a child that has closed it: forgets the pidfd of the process that it was forked from. */
void crew__current_forget(void);

void crew__current_reset(void);

/* Does the C library say that no other thread was ever made here? */
static inline bool crew__single_threaded(void)
{
#ifdef __GLIBC__
        return __libc_single_threaded;
#else
        return false;
#endif
}

/* start.c and child.c: what the parent prepares for its child; lives on its stack. */
typedef struct crew__launch {
        crew_process *p;
        pid_t parent;
        int parent_fd;             /* pidfd of the parent */
        uint64_t mask;             /* signals blocked in the caller */
        bool raw;                  /* clone3: there is no gate */
        bool tied;                 /* PDEATHSIG */
        bool stale_out, stale_err; /* streams that another thread was using */
        crew__expectation queues;  /* where the child is expected */

        /* In a child that is no fork of its parent. */
        bool fresh;
        pid_t maker; /* its parent for the kernel: a server, or 0: `parent` */
} crew__launch;

/* The whole life of a child from the fork on; signals are blocked at its start. */
void crew__child_main(const crew__launch *launch) __attribute__((noreturn));

#endif
