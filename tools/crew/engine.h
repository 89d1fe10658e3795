/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_ENGINE_H
#define CREW_TOOLS_ENGINE_H

/*
 * Two processes where there was one: a thin outer process that has the terminal, the signals and
 * the exit code, and an inner one that is PID 1 of a pid namespace and does the work. Whatever the
 * work leaves behind ends with the inner process, and that ends with the outer one, however that
 * ends: the kernel kills everybody in the namespace.
 *
 * The inner process is in the terminal's group and may read it, but takes no signal itself: the
 * outer one tells it of each, once, also of those that were sent to the whole group. So a Ctrl-C
 * counts once, and who signals the process that they started reaches the one that knows.
 */

#include <stdbool.h>
#include <sys/types.h>

struct engine {
        bool isolated; /* this is PID 1 of a pid namespace */
        bool own_proc; /* and /proc shows that namespace */
        bool mapped;   /* in a user namespace, with the user's own id and no other */
        char why[128]; /* what is missing and why, in words; "" if nothing is */
        int signals;   /* readable when engine_signal() has an answer */
        int answers;   /* private */
};

/*
 * Call it first, while there is one thread and no library object. It blocks the signals that
 * engine_signal() tells of (INT TERM HUP QUIT TSTP CONT WINCH USR1 USR2) and sets SIGCHLD to its
 * default.
 * Returns true in the process that does the work; where no namespace is to be had, or `alone` asks
 * for none, that is the caller itself, as the reaper of all it starts. Returns false in the outer
 * process, when the inner one has ended: *code is what to exit with.
 */
bool engine_enter(struct engine *e, bool alone, int *code);

/* The next signal that somebody sent, or 0. Never waits. */
int engine_signal(struct engine *e);

/*
 * The answer to SIGTSTP, when all that runs has been stopped: stops both processes, so that the
 * shell gets its terminal back. Returns after SIGCONT, of which engine_signal() tells, too.
 */
void engine_stop(struct engine *e);

/*
 * Collects orphans that have ended: the inner process inherits what jobs leave behind. `known` says
 * whose end somebody else waits for. Reads /proc; to be called now and then. Returns how many.
 */
int engine_reap(const struct engine *e, bool (*known)(pid_t pid, void *data), void *data);

#endif
