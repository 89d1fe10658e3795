/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_PULSE_H
#define CREW_KERNEL_PULSE_H

/*
 * A word in shared memory by which others see that a thread has ended, before its process has given
 * back its memory: a pidfd tells of the end of a process that has a gigabyte some 70 ms after the
 * signal, the kernel marks this word within a tenth of a millisecond.
 *
 * It is the lock of a robust mutex that the thread takes and keeps. A thread's list of such mutexes
 * is the first thing that the kernel goes through at its end, its memory comes after. It marks the
 * word OWNER_DIED, and wakes one sleeper if the word says that there may be one; so the thread that
 * takes it says so.
 *
 *      0                       not taken yet, or there are no robust lists here: look at the pidfd
 *      TID|WAITERS             it lives
 *      with OWNER_DIED         it has ended: exit, a signal, or exec
 *
 * What else is in the word was written by who should not have.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct crew__pulse {
        pthread_mutex_t mutex;
} crew__pulse;

/* The word in there; NULL: the C library has no robust mutexes as the kernel knows them. */
_Atomic uint32_t *crew__pulse_word(crew__pulse *pulse);

/* The calling thread takes it for life. In zeroed memory. 0; -EOPNOTSUPP: the word stays 0. */
int crew__pulse_take(crew__pulse *pulse);

/* Does `word` say that the thread has ended, or lie? *known is the first value but 0 that was seen;
 * 0 at first. */
bool crew__pulse_stopped(uint32_t word, uint32_t *known);

#endif
