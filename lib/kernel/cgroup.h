/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_CGROUP_H
#define CREW_KERNEL_CGROUP_H

/* Where control groups are mounted, and in which of them this process is. */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A hierarchy as it is mounted: the directory `inside` of the hierarchy appears at `mount`. */
struct crew__hierarchy {
        bool found;
        char inside[PATH_MAX];
        char mount[PATH_MAX];
};

/* A file below `root` ("" but for tests, which make up trees), for reading; NULL. */
FILE *crew__open_below(const char *root, const char *path);

/* Is `word` an item of a list with commas? */
bool crew__cgroup_word(const char *list, const char *word);

/* Version 2, and the hierarchy of version 1 that has this controller. Both begin as not found. */
void crew__cgroup_mounts(const char *root, const char *controller, struct crew__hierarchy *v2,
        struct crew__hierarchy *v1);

/* Where that group, as /proc/self/cgroup names it, appears. False: the path is too long. */
bool crew__cgroup_path(const struct crew__hierarchy *h, const char *group, char *path, size_t size);

#endif
