/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <crew/error.h>
#include <errno.h>
#include <string.h>

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* One table: the codes that crew gives a meaning of its own, and what it is. */
static const struct {
        int err;
        const char *text;
} meanings[] = {
        { EAGAIN, "not now, and the caller did not want to wait" },
        { ETIMEDOUT, "the timeout passed" },
        { EINTR, "a signal handler interrupted the wait" },
        { EOWNERDEAD, "a process that had it ended" },
        { EPIPE, "the queue is closed, or nobody holds the other end of the pipe" },
        { ECONNRESET, "the other end went in the middle of a message" },
        { EMSGSIZE, "the message is too big" },
        { EBADMSG, "the message has another size" },
        { EBUSY, "it is still running" },
        { ESRCH, "it was not started" },
        { EALREADY, "it was started already" },
        { ECHILD, "it belongs to another process" },
        { ENOENT, "no such object in this process" },
        { ENODATA, "the exit status is gone: somebody else collected it" },
        { EDEADLK, "it would wait for itself" },
        { EXDEV, "it lives in another pid namespace" },
        { EMFILE, "no descriptor is left" },
        { EEXIST, "it is there already" },
        { ENOTRECOVERABLE, "shared memory or a pipe holds what no correct peer writes" },
        { EOPNOTSUPP, "the object was not made for this" },
        { EINVAL, "a bad argument or option" },
};

const char *crew_error_name(int err)
{
        const char *name;

        if (err == 0)
                return "0";
        if (err == INT32_MIN)
                return "unknown";
        name = strerrorname_np(err < 0 ? -err : err);
        return name ? name : "unknown";
}

const char *crew_error_text(int err)
{
        const char *text;

        if (err == 0)
                return "success";
        if (err == INT32_MIN)
                return "unknown error";
        if (err < 0)
                err = -err;
        for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
                if (meanings[i].err == err)
                        return meanings[i].text;
        }
        text = strerrordesc_np(err);
        return text ? text : "unknown error";
}

const char *crew_version(void)
{
        return STRING(CREW_VERSION_MAJOR) "." STRING(CREW_VERSION_MINOR) "." STRING(
                CREW_VERSION_PATCH);
}

int64_t crew_clock(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t crew_until(int64_t when)
{
        int64_t now;

        if (when == CREW_FOREVER)
                return CREW_FOREVER;
        now = crew_clock();
        return when > now ? when - now : 0;
}
