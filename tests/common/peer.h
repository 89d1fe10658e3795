/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_PEER_H
#define CREW_TESTS_PEER_H

/* Other processes of a case: made, watched and awaited, each wait with a bound. */

#include "check.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PEER_MS(n) ((int64_t)(n)*1000000)

/* A peer's exit code when it was killed by a signal: PEER_KILLED + the signal. */
enum { PEER_KILLED = 256, PEER_LATE = -1 };

/* A child that runs fn(arg) and leaves with 0 unless fn exits otherwise. */
pid_t peer_start(void (*fn)(void *), void *arg);

/* Awaits the child for at most 60 s (stretched by CREW_TEST_SLOW), then kills it. */
int peer_join(pid_t pid);

/* SIGKILL, and returns when the child is reaped. */
void peer_kill(pid_t pid);

/* Zeroed memory shared with all children that are made later. */
void *peer_memory(size_t size);
void peer_memory_free(void *memory, size_t size);

/* Looks every 100 us until the word is `value`; false after `ns` (stretched). */
bool peer_await(_Atomic uint32_t *word, uint32_t value, int64_t ns);

/* Is the thread asleep (or stopped)? Waits for that at most `ns` (stretched). */
bool peer_await_sleep(pid_t tid, int64_t ns);

/* Looks every ms whether it holds, for at most `ns` (stretched). What held once may not a moment
 * later: the answer is that of the last look. */
#define EVENTUALLY(condition, ns)                                                                  \
        (__extension__({                                                                           \
                int64_t until_ = peer_now() + test_slow(ns);                                       \
                bool late_ = false, holds_;                                                        \
                while (!(holds_ = (condition)) && !late_) {                                        \
                        peer_pause(PEER_MS(1));                                                    \
                        late_ = peer_now() >= until_;                                              \
                }                                                                                  \
                holds_;                                                                            \
        }))

/* What the kernel says of a process or thread; false if there is none (any more). */
struct peer_look {
        char name[32], state;
        pid_t parent;
        long user_ticks;
};
bool peer_look(pid_t pid, struct peer_look *l);

/* Is there such a process, dead and uncollected ones apart? */
bool peer_lives(pid_t pid);

/* How many descriptors the epolls of a process watch. */
int peer_watched(pid_t pid);

void peer_pause(int64_t ns);
int64_t peer_now(void);

/* Valgrind knows neither robust lists nor clone3, and makes children that share memory by fork. */
bool peer_on_valgrind(void);

/* Ends the case as skipped where there is no seccomp(2): valgrind does not pass it on. */
void peer_needs_seccomp(void);

/* xorshift: a test prints its seed, and CREW_TEST_SEED repeats it. */
uint64_t peer_random(uint64_t *state);
uint64_t peer_seed(void);

#endif
