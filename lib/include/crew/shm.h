/* SPDX-License-Identifier: MIT */
#ifndef CREW_SHM_H
#define CREW_SHM_H

/*
 * Shared memory without a name: a sealed memfd that can neither shrink nor grow nor be executed,
 * mapped. It goes with the last process that has it; nothing is left in /dev/shm.
 *
 * A handle stays usable in a forked child, at the same address. Workers of a pool get it as a grant
 * (the pool's option `grants`, crew_pool_grant) and ask for it with crew_task_shm. Any thread may
 * use a handle; what lies in the memory is the caller's to guard, see <crew/sync.h>.
 */

#include <crew/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_shm crew_shm;

/*
 * Makes `bytes` bytes of zeroes, shown to inspectors as `name` (at most 63 bytes; may be NULL).
 * Takes one descriptor. Returns 0; -EINVAL; -EMFILE, -ENFILE, -ENOMEM; -EFBIG: more than
 * RLIMIT_FSIZE.
 */
CREW_PUBLIC int crew_shm_new(crew_shm **s, size_t bytes, const char *name);

/*
 * Another handle for memory that this process has: inherited through a fork, granted, or made here.
 * Returns 0; -ENOENT: nothing with this ref was given to this process, or it is not shared memory;
 * -ENOMEM.
 */
CREW_PUBLIC int crew_shm_open(crew_shm **s, crew_ref ref);

/* Where it is mapped (at the start of a page) and how many bytes were asked for. */
CREW_PUBLIC void *crew_shm_data(crew_shm *s);
CREW_PUBLIC size_t crew_shm_size(crew_shm *s);

/* Its name in arguments and messages. */
CREW_PUBLIC crew_ref crew_shm_ref(const crew_shm *s);

/*
 * Drops this process's handle; with its last one the memory is unmapped here. NULL is fine; always
 * returns NULL.
 */
CREW_PUBLIC crew_shm *crew_shm_free(crew_shm *s);

static inline void crew_shm_freep(crew_shm **s)
{
        *s = crew_shm_free(*s);
}

#ifdef __cplusplus
}
#endif
#endif
