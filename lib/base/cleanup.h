/* SPDX-License-Identifier: MIT */
#ifndef CREW_BASE_CLEANUP_H
#define CREW_BASE_CLEANUP_H

/* Scope-bound ownership for the library's own functions. */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Closes a descriptor that is open and returns -1, to be stored in its place. */
static inline int crew__close(int fd)
{
        if (fd >= 0)
                (void)close(fd);
        return -1;
}

/*
 * Moves a new descriptor out of the places of stdin, stdout and stderr, where it lands if the host
 * closed them and where the host's next printf() would write into it. Negative ones pass unchanged;
 * so does a descriptor for which there is no other place.
 */
static inline int crew__above_stdio(int fd)
{
        int moved;

        if (__builtin_expect(fd < 0 || fd > STDERR_FILENO, 1))
                return fd;
        moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (moved < 0)
                return fd;
        (void)close(fd);
        return moved;
}

static inline void crew__closep(int *fd)
{
        *fd = crew__close(*fd);
}

static inline void crew__memoryp(void *p)
{
        free(*(void **)p);
}

#define CREW__AUTO_CLOSE __attribute__((cleanup(crew__closep)))
#define CREW__AUTO_FREE __attribute__((cleanup(crew__memoryp)))

/* Hands a pointer or descriptor out of a scope that would free it. */
#define CREW__TAKE(pointer)                                                                        \
        (__extension__({                                                                           \
                __typeof__(pointer) taken_ = (pointer);                                            \
                (pointer) = NULL;                                                                  \
                taken_;                                                                            \
        }))

static inline int crew__take_fd(int *fd)
{
        int taken = *fd;

        *fd = -1;
        return taken;
}

#endif
