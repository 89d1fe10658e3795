/* SPDX-License-Identifier: MIT */
#ifndef CREW_INSPECT_H
#define CREW_INSPECT_H

/*
 * Looking at programs that use crew from outside: what `crew ps` shows.
 *
 * A snapshot is a copy of what the processes and queues of one moment say about themselves, as far
 * as this process may look: those of the same user, or with CREW_SNAPSHOT_ALL and the right
 * privileges those of all. They are found through /proc and need not help: they may be stopped or
 * hang. Nothing of them is changed, and no lock of theirs is taken; the moment is not the same for
 * all, as the snapshot is taken while they run.
 *
 * What a process claims is believed about itself only (and by a program about its children, which
 * must be the kernel's children of it and were started when it says). Numbers are bounded, strings
 * are cut, made valid UTF-8, and have control characters replaced: they can be printed.
 *
 * A snapshot is used by one thread at a time. Everything it hands out lives as long as it. Not
 * async-signal-safe. Needs /proc; without it a snapshot is empty.
 */

#include <crew/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_snapshot crew_snapshot;

enum {
        CREW_SNAPSHOT_ALL = 1,    /* also of other users, as far as privileges reach */
        CREW_SNAPSHOT_QUEUES = 2, /* queues too */
        /* Looks at nothing: makes ready what a first snapshot makes (a shared file, for a moment),
         * for a program that enters a sandbox before it looks. "stdio rpath" is enough then;
         * Landlock must be off, it hides the descriptors of others. */
        CREW_SNAPSHOT_PREPARE = 4,
};

/* What a process is. */
enum {
        CREW_ROLE_OTHER = 0,       /* holds objects of crew and tells nothing */
        CREW_ROLE_APPLICATION = 1, /* started something with crew */
        CREW_ROLE_PROCESS = 2,     /* a crew_process */
        CREW_ROLE_SERVER = 3,      /* a process of crew's own */
        CREW_ROLE_POOL = 4,        /* the zygote of a pool, standing for the pool */
        CREW_ROLE_WORKER = 5,
};

/* How it is: what the kernel says if that is out of the ordinary, else what it does. */
enum {
        CREW_STATE_UNKNOWN = 0,
        CREW_STATE_RUNNING = 1,
        CREW_STATE_SLEEPING = 2,
        CREW_STATE_UNINTERRUPTIBLE = 3, /* in the kernel, where signals do not reach it */
        CREW_STATE_STOPPED = 4,
        CREW_STATE_TRACED = 5,   /* by a debugger */
        CREW_STATE_ENDED = 6,    /* and not collected yet */
        CREW_STATE_STARTING = 7, /* worker: not at work yet */
        CREW_STATE_IDLE = 8,
        CREW_STATE_BUSY = 9,
        CREW_STATE_OPEN = 10, /* pool: takes tasks */
        CREW_STATE_CLOSED = 11,
        CREW_STATE_TERMINATED = 12,
        CREW_STATE_BROKEN = 13,
};

/* Buckets of task times: crew_task_times_end() tells where each ends. */
enum { CREW_TASK_TIMES = 64 };

typedef struct crew_process_info {
        size_t size; /* of this struct, as the library knows it */
        pid_t pid;
        pid_t parent; /* the one above it in the tree, 0 = none */
        int depth;    /* 0 = a root */
        uint32_t uid;
        int role, state;
        int method;          /* CREW_METHOD_..., 4 = another program, 0 = unknown */
        const char *name;    /* what crew knows it by */
        const char *command; /* what the kernel knows it by */
        int64_t age;         /* ns since it was started */
        int64_t cpu_time;    /* ns, user and system */
        uint64_t memory;     /* bytes resident */

        /* worker */
        uint64_t task;         /* id, 0 = none */
        const char *task_name; /* "" = it has none */
        int64_t task_age;      /* ns, to within some milliseconds */
        const char *status;    /* what the task says */
        uint64_t done;         /* worker: tasks by this process; pool: all that ended well */
        uint32_t task_times[CREW_TASK_TIMES];

        /* pool */
        unsigned workers, busy;
        uint64_t submitted, failed, queued, replaced, violations;

        /* What holds for it: the kernel's word, apart from Landlock, of which it gives none. */
        const char *sandbox;   /* words, "" = none */
        int seccomp;           /* 0 off, 1 strict, 2 filter, -1 unknown */
        unsigned filters;      /* how many, 0 = unknown or none */
        int no_new_privs;      /* 1, 0, -1 unknown */
        int landlock;          /* ABI that was reached, 0 = none */
        const char *violation; /* the last one, "" = none */
} crew_process_info;

/* Who holds a lock of a queue. */
typedef struct crew_lock_info {
        pid_t thread; /* 0 = nobody */
        pid_t pid;    /* its process, 0 = unknown */
        int alive;    /* 1; 0: no such thread; -1: of another pid namespace */
        bool died;    /* the kernel has marked that its owner died; the next one takes it */
        bool waited;  /* somebody sleeps for it */
        int state;    /* of the thread: CREW_STATE_... */
} crew_lock_info;

typedef struct crew_queue_info {
        size_t size;
        uint64_t id;      /* the same for every process that holds it */
        pid_t owner;      /* the process that made it if that still holds it, else one that does */
        unsigned holders; /* processes that were seen with it; children that crew started and that
                             have no page of their own are not looked through */
        const char *name;
        uint64_t capacity; /* messages, 0 = only bytes limit it */
        uint64_t capacity_bytes;
        uint64_t message_size; /* 0 = any */
        uint32_t depth;        /* messages in it */
        uint64_t bytes;        /* they take, with their headers */
        uint32_t high;         /* the most that a side has found in it; the true peak is not less */
        uint32_t put, got;     /* messages that ever passed, modulo 2^32 */
        bool valid;            /* indices and sizes make sense; else depth and bytes are 0 */
        bool closed, broken, granted, stuck;
        bool getters, putters; /* somebody sleeps for a message, for room */
        crew_lock_info producers, consumers;
} crew_queue_info;

/*
 * Takes a snapshot. Processes that end or may not be looked at meanwhile are left out.
 * Returns 0; -EINVAL: unknown flags; -ENOMEM; -EMFILE.
 */
CREW_PUBLIC int crew_snapshot_new(crew_snapshot **s, uint64_t flags);

/*
 * The i-th process, parents before their children, each followed by all that is below it.
 * Returns 0; -ENOENT: there are no more; -EINVAL.
 */
CREW_PUBLIC int crew_snapshot_process(crew_snapshot *s, size_t i, const crew_process_info **info);

/* The i-th queue, by owner. Errors as above. */
CREW_PUBLIC int crew_snapshot_queue(crew_snapshot *s, size_t i, const crew_queue_info **info);

/* crew_clock() at which it was taken. */
CREW_PUBLIC int64_t crew_snapshot_time(const crew_snapshot *s);

/* NULL is fine; always returns NULL. */
CREW_PUBLIC crew_snapshot *crew_snapshot_free(crew_snapshot *s);

/* Where a bucket of task times ends, in ns; it begins where the one before ends. */
CREW_PUBLIC int64_t crew_task_times_end(unsigned bucket);

static inline void crew_snapshot_freep(crew_snapshot **s)
{
        *s = crew_snapshot_free(*s);
}

#ifdef __cplusplus
}
#endif
#endif
