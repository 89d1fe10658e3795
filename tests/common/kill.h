/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_KILL_H
#define CREW_TESTS_KILL_H

/*
 * Killing processes at chosen instructions, without hooks in what is tested: the victim is single
 * stepped by ptrace while its tracer looks at the memory they share.
 */

#include "peer.h"

/* Exit code of a victim that may not be traced. */
enum { VICTIM_REFUSED = 98 };

/*
 * A child under ptrace that runs fn(arg), which warms up and then calls victim_ready(); returns
 * once it has. The case is skipped where ptrace is not permitted.
 */
pid_t victim_start(void (*fn)(void *), void *arg);
void victim_ready(void);

/* One instruction, or a whole look at the clock; false when the victim has ended (and is reaped). */
bool victim_step(pid_t pid);

/* Steps until holds(arg), at most `most` steps; the number of steps, or -1. */
long victim_step_until(pid_t pid, bool (*holds)(void *), void *arg, long most);

/* The same, and up to `extra` steps on while it holds; does it still hold? */
bool victim_step_inside(pid_t pid, bool (*holds)(void *), void *arg, long most, long extra);

/*
 * Runs to the next entry to or exit from a system call; false when the victim has ended. In two
 * halves for calls that sleep: the tracer may act in between.
 */
bool victim_to_syscall(pid_t pid);
bool victim_resume(pid_t pid);
bool victim_stop(pid_t pid);
long victim_result(pid_t pid); /* at an exit */
long victim_call(pid_t pid);   /* its number, at an entry or exit */

/* Runs to an entry into that call at which holds(arg); false when the victim has ended or makes
 * hundreds of others. */
bool victim_to_call(pid_t pid, long number, bool (*holds)(void *), void *arg);

/* Did its sleep end by a wake? It stands behind the call and has looked at nothing yet. */
bool victim_woken(pid_t pid);

/*
 * A process per CPU that sleeps a little again and again and notes how late it gets the CPU: how
 * long anybody may have waited for reasons that are not the library's.
 */
struct canary;
struct canary *canary_start(void);
int64_t canary_longest(struct canary *canary); /* since the last call, ns */
/* Was that later than `bound` (stretched) and what the machine did since the last call? Says so. */
bool canary_late(struct canary *canary, int64_t took, int64_t bound);
void canary_stop(struct canary *canary);

#endif
