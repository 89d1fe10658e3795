/* SPDX-License-Identifier: MIT */
#ifndef CREW_BASE_CLOCK_H
#define CREW_BASE_CLOCK_H

/*
 * Every wait inside the library carries an absolute CLOCK_MONOTONIC deadline in nanoseconds, made
 * once at the public border from the caller's relative timeout.
 */

#include <crew/error.h>
#include <errno.h>
#include <time.h>

#define CREW__NEVER INT64_MAX

/* The deadline of a timeout. A timeout that is zero or past gives 0, which is always past. */
static inline int64_t crew__deadline(int64_t timeout)
{
        int64_t now;

        if (timeout <= 0)
                return 0;
        if (timeout == CREW_FOREVER)
                return CREW__NEVER;
        now = crew_clock();
        return timeout > CREW__NEVER - now ? CREW__NEVER : now + timeout;
}

/* What a wait answers when its deadline is over: "not now" or "too late". */
static inline int crew__expired(int64_t deadline)
{
        return deadline == 0 ? -EAGAIN : -ETIMEDOUT;
}

/*
 * A timeout on its way to becoming a deadline: the clock is read only once there is something to
 * wait for.
 */
typedef struct crew__patience {
        int64_t timeout;
        int64_t deadline; /* -1 until asked for */
} crew__patience;

static inline crew__patience crew__patience_of(int64_t timeout)
{
        return (crew__patience){ .timeout = timeout, .deadline = -1 };
}

static inline int64_t crew__patience_end(crew__patience *patience)
{
        if (patience->deadline < 0)
                patience->deadline = crew__deadline(patience->timeout);
        return patience->deadline;
}

/* crew_clock() to within some milliseconds, for a fifth of its cost. */
static inline uint64_t crew__clock_coarse(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline struct timespec crew__timespec(int64_t ns)
{
        return (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
}

static inline int64_t crew__earlier(int64_t a, int64_t b)
{
        return a < b ? a : b;
}

#endif
