/* SPDX-License-Identifier: MIT */
#ifndef CREW_BASE_TRACE_H
#define CREW_BASE_TRACE_H

/*
 * Two ways to hear from a library that says nothing by itself, both chosen by whoever starts the
 * program (ignored in set-user-id programs):
 *
 *      CREW_TRACE=FILE   what happened when, in Chrome's trace format (chrome://tracing, Perfetto)
 *      CREW_DEBUG=1      on stderr, what was done silently: workers replaced, fallbacks taken
 *
 * Off, each place costs one load and a branch that is always taken. On, each event is one write(2)
 * to a file opened for appending: processes that trace to one file do not mix their lines, a fork
 * has no buffer that would be written twice, and a SIGKILL loses nothing. A process stops at 64
 * MiB.
 *
 * Workers of pools and servers neither trace nor talk: what there is to tell of them, the
 * application tells.
 */

#include <crew/error.h>
#include <stdatomic.h>

enum { CREW__VOICE_UNKNOWN = -1, CREW__VOICE_OFF = 0, CREW__VOICE_ON = 1 };

extern _Atomic int crew__tracing, crew__debugging;

bool crew__trace_begin(void);
bool crew__debug_begin(void);

static inline bool crew__traces(void)
{
        int state = atomic_load_explicit(&crew__tracing, memory_order_relaxed);

        if (__builtin_expect(state == CREW__VOICE_OFF, 1))
                return false;
        return state == CREW__VOICE_ON || crew__trace_begin();
}

static inline bool crew__debugs(void)
{
        int state = atomic_load_explicit(&crew__debugging, memory_order_relaxed);

        if (__builtin_expect(state == CREW__VOICE_OFF, 1))
                return false;
        return state == CREW__VOICE_ON || crew__debug_begin();
}

/* A process that may not write any more, or is not to. */
void crew__voice_off(void);

/*
 * Something that took from `began` to `ended` (crew_clock()) on the track of `track`: a thread of
 * this process (0: the calling one), or the pid of a child. The format makes its name.
 */
void crew__trace_span(pid_t track, const char *kind, int64_t began, int64_t ended,
        const char *format, ...) __attribute__((format(printf, 5, 6), cold));

/* Something that happened now. */
void crew__trace_mark(pid_t track, const char *kind, const char *format, ...)
        __attribute__((format(printf, 3, 4), cold));

/* What the track of a child is called. */
void crew__trace_name(pid_t track, const char *name) __attribute__((cold));

/* When a wait begins that may be traced, and its end. */
static inline int64_t crew__trace_clock(void)
{
        return crew__traces() ? crew_clock() : 0;
}

/* A line on stderr: "crew[PID]: " and what the format makes. */
void crew__debug(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

#endif
