/* SPDX-License-Identifier: MIT */
#ifndef CREW_FEATURES_H
#define CREW_FEATURES_H

/*
 * What the running kernel gives crew, found by trying each thing once, never by version numbers.
 * CREW_DISABLE=name,name in the environment (ignored in set-user-id programs) makes crew act as if
 * those features were missing.
 */

#include <crew/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
        CREW_FEATURE_YES = 1,      /* it works */
        CREW_FEATURE_NO = 2,       /* the kernel does not know it (ENOSYS, EINVAL, ...) */
        CREW_FEATURE_BLOCKED = 3,  /* the kernel knows it, this process may not (EPERM, ...) */
        CREW_FEATURE_DISABLED = 4, /* CREW_DISABLE says so */
};

typedef struct crew_feature {
        size_t size;         /* of this struct, set by the caller */
        const char *name;    /* as in CREW_DISABLE */
        const char *what;    /* what it is, in a few words */
        const char *since;   /* first kernel, as "5.3" */
        const char *instead; /* what crew does without it */
        const char *why;     /* what stands in the way: a sysctl, a container, ...; "" for yes */
        int state;           /* CREW_FEATURE_... */
        int error;           /* the errno that the try gave (positive), 0 for yes and disabled */
} crew_feature;

/* The index of a feature, or -ENOENT; crew_error_detail() may say which one was meant. */
CREW_PUBLIC int crew_feature_find(const char *name);

/*
 * Describes feature `index` (0, 1, ... until -ENOENT), trying it (and what is tried in one go with
 * it) if that has not happened yet; the answer is kept for the life of the process and inherited by
 * its forks (only a shortage of descriptors, processes or memory is not kept: it counts as NO and is
 * tried again). f->size must be set (-EINVAL). Strings are static.
 *
 * Thread-safe. A try starts a child that is over when the call returns; neither SIGCHLD nor
 * waitpid(-1) shows it, and the caller's signals are held back meanwhile (well below 1 ms).
 */
CREW_PUBLIC int crew_feature_get(unsigned index, crew_feature *f);

#ifdef __cplusplus
}
#endif
#endif
