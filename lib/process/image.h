/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_IMAGE_H
#define CREW_PROCESS_IMAGE_H

/*
 * What a child needs to become another program: prepared by the parent, used by the child without
 * a copy, for it runs in the parent's memory until it has exec'd (see kernel/vmclone.h). Nobody
 * waits for it meanwhile: the image says when the child is done with it.
 */

#include "sandbox/apply.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum crew__image_step {
        CREW__IMAGE_STDIO = 1,
        CREW__IMAGE_DIRECTORY,
        CREW__IMAGE_KEEP,
        CREW__IMAGE_NICE,
        CREW__IMAGE_CPUS,
        CREW__IMAGE_EXEC,
        CREW__IMAGE_CELL,
        CREW__IMAGE_APPLY = 100, /* and above: a step of crew__plan_apply() */
};

/* What crew__image.apart says. */
enum { CREW__TOGETHER, CREW__APART, CREW__GIVEN_UP };

typedef struct crew__image {
        /* Filled in by who makes it; what pointers point to lives as long as the image is busy. */
        const char *program; /* as execve() takes it */
        const char **argv;   /* argv[-1] may be written too: a script without "#!" gets a shell */
        const char *const *envp;
        int stdio[3];    /* descriptors that become 0, 1 and 2, or -1: as they are */
        int directory;   /* to work in, or -1 */
        const int *keep; /* what stays open, under its number: 0, 1, 2 and others, ascending */
        size_t n_keep;
        bool session, group; /* leads its own */
        bool tied;           /* PDEATHSIG, if `parent` is still the parent */
        pid_t parent;
        int parent_fd; /* its pidfd, for `gated` */
        bool gated;    /* runs when `gate` is not 0; ends if the parent does before */
        _Atomic uint32_t gate;
        bool close_range; /* the kernel has it */
        int cell;         /* the control group where it is to be, or -1 */
        int procs; /* its door, if it is not to be born there but goes there itself; else -1 */
        int nice;
        const void *cpus; /* a mask for sched_setaffinity(), or NULL */
        size_t cpus_size;
        const crew__plan *plan; /* or NULL: neither sandbox nor limits */
        struct crew__application application;

        /* Of a plan that notifies: the listener's number in the host's table, where the child opens
         * it, or -1; and whether the child has left that table. Whoever changes that first, the
         * child or a host that waits no longer, decides if the program may run. */
        int listener;
        _Atomic uint32_t apart; /* one of CREW__TOGETHER, ... */

        /* Written by the child if it cannot become the program: a positive errno. */
        int error, step;

        _Atomic uint32_t busy; /* the child may use the image; a futex, cleared by the kernel */
        void *stack;
        size_t stack_size;
} crew__image;

/*
 * An image with room for `extra` bytes of the caller's behind it, at *room. Zeroed but for `extra`;
 * descriptors are -1. NULL: no memory.
 */
crew__image *crew__image_new(size_t extra, void **room);

/* Frees an image that is not busy; a busy one stays. NULL is fine. */
void crew__image_free(crew__image *m);

static inline bool crew__image_busy(const crew__image *m)
{
        return atomic_load(&m->busy) != 0;
}

/*
 * Starts the child, with all signals blocked in the caller. It runs the program with no signal
 * blocked and with default actions, except that ignored signals (but SIGPIPE, SIGXFSZ and SIGCHLD)
 * stay ignored.
 * Returns its pid and *pidfd (close-on-exec), and the image is busy; or a negative errno.
 */
int crew__image_start(crew__image *m, int *pidfd);

/* Waits until the image is not busy; 0, or -EINTR: a handler ran. */
int crew__image_await(const crew__image *m);

/*
 * Of a child whose plan notifies: waits until it has its filter and descriptors of its own, which
 * takes it some hundred microseconds. Its listener; -ENOENT: it died on the way, or says why;
 * -ETIMEDOUT: it is stopped or starved.
 */
int crew__image_listener(crew__image *m);

/* The name of a step for a sentence: "changing the directory". */
const char *crew__image_step_name(int step);

/*
 * In a child, by raw system calls: makes from[i] descriptor i, where it is not -1. Whatever order
 * they come in; the ones that were named stay open too. 0 or a negative errno.
 */
int crew__stdio_place(const int from[3]);

/* In a child, by raw system calls: `nice` more than it has, and its processors (NULL: all). */
int crew__priority_set(int nice, const void *cpus, size_t cpus_size, int *step);

#endif
