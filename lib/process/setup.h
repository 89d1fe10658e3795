/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_SETUP_H
#define CREW_PROCESS_SETUP_H

/*
 * What a process gets beside its target: standard descriptors, a directory, and for a program its
 * arguments and environment. Most forks have none of it, and then no setup either.
 */

#include "kernel/segment.h"
#include "process/confine.h"
#include "process/image.h"

typedef struct crew__setup {
        /* As it was asked for, copied. */
        crew_stdio stdio[3];
        const char *cwd;
        const char *const *argv; /* NULL: no program but a target of the host's */
        const char *const *env;  /* NULL: the host's when it starts */
        const int *keep;         /* 0-2, and for what is no fork what else it keeps; ascending */
        size_t n_keep;
        crew__confine confine;
        crew__segment **grants; /* referenced */
        size_t n_grants;

        /* While it starts. */
        int theirs[3];  /* what becomes 0-2 in the child, or -1 */
        bool opened[3]; /* it is nobody else's */
        int directory;

        _Atomic int ours[3]; /* the host's ends of pipes, or -1 */
        crew__image *image;  /* of a child that was not seen to be done with it */
        int error, step;     /* that kept the child from becoming the program */
} crew__setup;

/* How many of `keep` stand before what the options name. */
enum { CREW__SETUP_STANDARD = 3 };

/* Does somebody ask for more than a target? */
bool crew__setup_wanted(const crew_process_options *o);

/*
 * Checks and copies; `argv` is NULL for a target. `*s` is NULL if there is nothing to set up.
 * Returns 0; -EINVAL; -ENOMEM.
 */
int crew__setup_new(crew__setup **s, const char *const argv[], const crew_process_options *o);
void crew__setup_free(crew__setup *s);

/* Opens what the child is to have. Nothing stays open on failure. -EMFILE, -EBADF, -ENOENT, ... */
int crew__setup_open(crew__setup *s, const char *name);

/* After the start: closes what is the child's; `failed`: also the host's ends. */
void crew__setup_close(crew__setup *s, bool failed);

/* The process was started and has its grants: a handle does not keep the end of a pipe from being
 * seen. */
void crew__setup_let_go(crew__setup *s);

/* Closes the host's ends of pipes. */
void crew__setup_hang_up(crew__setup *s);

/* In a forked child: puts everything in place. 0 or a negative errno. */
int crew__setup_enter(crew__setup *s);

/* Why the child never ran its program or target, positive; 0: it did, or is about to. */
int crew__setup_error(const crew__setup *s);

/* Frees the image of a child that no longer uses it, and keeps what it says. */
void crew__setup_settle(crew__setup *s);

/* path.c */

/*
 * Where execvp() would find the program: `name` itself if it has a slash, else the first file in
 * the directories of `path` (NULL: /bin:/usr/bin) that may be run. Relative ones are looked up in
 * `directory` (AT_FDCWD for the host's). The length of what is written to `found`, or -ENOENT,
 * -EACCES, -ENAMETOOLONG.
 */
int crew__program_find(const char *name, const char *path, int directory, char *found, size_t cap);

/* program.c */

struct crew__launch;

/* Starts the program of a setup that is open: pid and pidfd of the handle. With words. */
int crew__program_start(struct crew__launch *l);

/* The same for an image that was prepared, whose `keep` and arguments are the caller's; 0, and it
 * may be busy, or a negative errno, and it is the caller's. */
int crew__program_run(struct crew__launch *l, crew__image *m);

/* Copies of all of the environment that fit behind `n` pointers: what a child reads beside the
 * host, which may change its own meanwhile. The count takes in what the copy needs. */
size_t crew__environment_count(size_t *bytes);
size_t crew__environment_copy(const char **list, size_t n, char *text, size_t bytes);

/* Waits until it runs its program. If it cannot, it is collected and the reason returned. */
int crew__program_await(crew_process *p);

#endif
