/* SPDX-License-Identifier: MIT */
#ifndef CREW_QUEUE_NOTICE_H
#define CREW_QUEUE_NOTICE_H

/*
 * A queue with a name that unrelated processes of one user find it by, without a name in any file
 * system and without a server: who publishes it keeps a notice, a small sealed memfd that is called
 * after the name, and who connects looks for one among the open descriptors of all processes
 * (/proc/PID/fd), reads where the queue's own memfd is, and opens that.
 *
 * A notice counts only in the process that wrote it: its forks inherit the descriptor, and the name
 * ends with the publisher all the same. It cannot be changed, and nothing in it is trusted.
 */

#include "kernel/segment.h"
#include "queue/ring.h"

#include <sys/stat.h>

#define CREW__NOTICE_MAGIC UINT64_C(0x6369746f6e7763) /* "cwnotic" */

/* All fields are written; the rest of the page is zero. */
typedef struct crew__notice {
        uint64_t magic;
        uint32_t version; /* CREW__RING_VERSION */
        uint32_t pid;     /* of the publisher, in its own pid namespace */
        uint64_t pid_namespace;
        crew_ref ref;
        uint64_t inode; /* of the queue's memfd, and its number in the publisher */
        int64_t fd;
        char name[CREW__NAME_MAX];
} crew__notice;

/* Where a notice was found. */
typedef struct crew__found {
        crew__notice notice;
        uint32_t pid; /* as /proc here has it */
} crew__found;

/* 0; -EINVAL: not to be a name. */
int crew__notice_name(const char *name);

/*
 * The one notice of that name that counts here. 1 and *found; 0: none; -EEXIST: several; -EXDEV,
 * -EPERM: none, but one in another pid namespace, or of another user; -EACCES: /proc cannot be
 * read.
 */
int crew__notice_find(const char *name, crew__found *found);

/* The regular file of the memfds' file system that lies behind a descriptor of another process; its
 * size and inode. What lies elsewhere is not opened. A descriptor, or a negative errno. */
int crew__notice_open(int fds, long number, int flags, struct stat *st);

#endif
