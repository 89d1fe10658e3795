/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_H
#define CREW_SANDBOX_H

/*
 * What a process may still do: a policy in words, put into force by seccomp and Landlock. Whatever
 * no word of the policy allows is refused; docs/SECURITY.md has the table "C function -> word" and
 * says what a sandbox does not stop.
 *
 *   compute   memory, clocks, signals to itself, what its pool gave it; nothing else
 *   stdio     reading and writing what is open already, pipes, polling, timers (with compute)
 *   rpath     opening files for reading, looking at directories (this and all below with stdio)
 *   wpath     opening files for writing, truncating
 *   cpath     creating, removing, renaming
 *   fattr     changing modes, owners and times. Landlock does not know these: paths do not limit it
 *   inet      TCP and UDP sockets
 *   unix      unix sockets, passing descriptors
 *   thread    starting threads (with compute)
 *   proc      fork, waiting for children, signals to other processes
 *   exec      running programs, which keep the policy; most need rpath too
 *   sanitizer what the run time of a sanitizer reads; added by itself where one is linked in
 *   none      no sandbox at all; stands alone
 *
 * As text, words have blanks between them. A word that opens something may list paths, each behind
 * a colon; then it holds for these files and what is below these directories, and nothing else:
 * "stdio rpath:/etc:/usr rpath:/proc/self wcpath:/tmp". rwpath, rcpath, wcpath and rwcpath stand
 * for several words at once; exec takes paths too. Without a path a word holds everywhere.
 */

#include <crew/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct crew_sandbox crew_sandbox;

/* What to do where this kernel's Landlock is old, switched off or missing. */
enum {
        /* Paths are enforced or entering fails; what else is missing is done without. */
        CREW_BEST_EFFORT = 0,
        /* Entering fails unless Landlock can enforce the whole policy. */
        CREW_REQUIRE = 1,
        /* Landlock is not used: paths limit nothing. seccomp is. */
        CREW_LANDLOCK_OFF = 2,
};

enum {
        CREW_PATH_READ = 1,   /* rpath */
        CREW_PATH_WRITE = 2,  /* wpath */
        CREW_PATH_CREATE = 4, /* cpath */
        CREW_PATH_EXEC = 8,   /* exec; the file may also be read */
};

/*
 * Makes a policy from its text. Nothing is enforced yet, and paths are not looked at.
 * Returns 0; -EINVAL: an unknown word (crew_error_detail() may say which one was meant), a path
 * where none belongs, no word at all, a bad mode; -ENOMEM.
 */
CREW_PUBLIC int crew_sandbox_new(crew_sandbox **s, const char *words, int mode);

/*
 * Adds a path, with the words that the rights (CREW_PATH_...) stand for. For paths that text cannot
 * carry: with a blank or a colon.
 * Returns 0; -EINVAL: no rights or unknown ones, an empty path, a policy of none; -ENOMEM.
 */
CREW_PUBLIC int crew_sandbox_path(crew_sandbox *s, int rights, const char *path);

/*
 * Puts the policy into force for this process, all its threads, and whatever it starts, for good.
 * What it refuses ends the process with SIGSYS (a host that installed a handler for SIGSYS before
 * gets that instead). Descriptors that are open stay open; privileges of set-user-ID programs are
 * gone (no_new_privs). Entering again with fewer words or paths narrows further.
 *
 * Time zone and locale are loaded first; where TZ is not set it is set to what it stands for, so
 * that localtime() needs no file.
 *
 * Enter while there is one thread: older kernels cannot bring Landlock to the others. Make queues
 * and pools before: what is entered can make no shared memory, and a waiter made before cannot wait
 * any more.
 *
 * Returns 0; -EOPNOTSUPP: seccomp is missing, or Landlock is needed and missing, or it cannot reach
 * the other threads;
 * -EPERM: a word that was given up before; -ENOENT, -EACCES, ...: a path cannot be opened; -EBUSY:
 * another thread has a filter of its own; -EINVAL, -ENOMEM, -EMFILE. After a failure nothing or a
 * part is in force: end the process.
 */
CREW_PUBLIC int crew_sandbox_enter(crew_sandbox *s);

/*
 * Writes the policy as text and, in parentheses, what this kernel makes of it: "stdio rpath:/etc
 * (best effort: Landlock ABI 7)". Like snprintf: cut at `cap`, always ended, and the result is the
 * length the whole text has. buf may be NULL if cap is 0.
 */
CREW_PUBLIC int crew_sandbox_describe(const crew_sandbox *s, char *buf, size_t cap);

/* Frees the policy; what was entered stays in force. NULL is fine; always returns NULL. */
CREW_PUBLIC crew_sandbox *crew_sandbox_free(crew_sandbox *s);

static inline void crew_sandbox_freep(crew_sandbox **s)
{
        *s = crew_sandbox_free(*s);
}

#ifdef __cplusplus
}
#endif
#endif
