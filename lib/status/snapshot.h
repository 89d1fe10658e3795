/* SPDX-License-Identifier: MIT */
#ifndef CREW_STATUS_SNAPSHOT_H
#define CREW_STATUS_SNAPSHOT_H

/* The snapshot while it is taken: gather.c walks the processes, adopt.c reads what they hold. */

#include "status/decode.h"
#include "status/proc.h"

#include <crew/inspect.h>

/* A process that the kernel lists. */
typedef struct crew__seen {
        pid_t pid;
        crew__proc_stat stat;
        crew__proc_status status;
        bool asked;   /* status is filled in */
        bool crew;    /* it has to do with crew */
        bool claimed; /* its parent tells of it */
        bool own;     /* and says that it has a page with children of its own */
        struct crew__seen *parent, *child, *next; /* the kernel's tree; children by pid */

        crew_process_info info;
        char name[64], task_name[32], task_status[80], sandbox[128], violation[256];
} crew__seen;

typedef struct crew__seen_thing {
        crew_queue_info info;
        char name[80];
} crew__seen_thing;

/* A file of crew's that was read: a queue, or NULL for a page that tells of nobody but its holder
 * that it has to do with crew. */
typedef struct crew__known {
        uint64_t inode; /* 0: a free slot */
        crew__seen_thing *queue;
} crew__known;

struct crew_snapshot {
        uint64_t flags;
        int64_t time;       /* crew_clock() */
        uint64_t boot_time; /* CLOCK_BOOTTIME */
        int proc;           /* /proc, while it is taken */
        crew__seen *all;
        size_t n_all, room_all;
        crew__seen **found; /* those of crew, in the order of the tree */
        size_t n_found, room_found;
        crew__seen_thing **queues;
        size_t n_queues, room_queues;
        crew__known *known; /* by inode, while it is taken: known.c */
        size_t n_known, room_known;
        int told_by; /* the descriptor + 1 of the page that the last orphan was found in */
};

/* gather.c: all that there is. 0, -ENOMEM, -EMFILE. */
int crew__gather(crew_snapshot *s);

/* What a later snapshot needs to know and a sandbox does not let it ask. */
void crew__snapshot_prepare(void);

/* The kernel's status of a process; false: it is gone or may not be looked at. */
bool crew__seen_ask(const crew_snapshot *s, crew__seen *p);

/* Was it started between these two times, give or take two ticks? */
bool crew__seen_between(const crew__seen *p, uint64_t after, uint64_t before);

/*
 * Reads a shared file of crew's that `p` holds, whose name is crew:KIND:..., and takes over what it
 * tells of p, its children and its queues. `fds` is p's directory of descriptors. 0 or -ENOMEM.
 */
int crew__adopt(crew_snapshot *s, crew__seen *p, int fds, int number, const char *kind);

/* known.c: NULL if the file is not known; remembering it fails with -ENOMEM. */
const crew__known *crew__recall(const crew_snapshot *s, uint64_t inode);
int crew__remember(crew_snapshot *s, uint64_t inode, crew__seen_thing *queue);

/* The states of the kernel, by its letters. */
int crew__state_of(char letter);

/* Room for one more in an array of pointers. */
bool crew__room_for(void *array, size_t n, size_t *room);

#endif
