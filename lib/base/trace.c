/* SPDX-License-Identifier: MIT */
#include "base/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST (UINT64_C(64) << 20)

enum { LINE = 1024 };

_Atomic int crew__tracing = CREW__VOICE_UNKNOWN, crew__debugging = CREW__VOICE_UNKNOWN;

static _Atomic int file = -1;
static _Atomic uint64_t written;

void crew__voice_off(void)
{
        atomic_store(&crew__tracing, CREW__VOICE_OFF);
        atomic_store(&crew__debugging, CREW__VOICE_OFF);
}

bool crew__debug_begin(void)
{
        const char *text = secure_getenv("CREW_DEBUG");
        int state = text && *text && strcmp(text, "0") != 0 ? CREW__VOICE_ON : CREW__VOICE_OFF;

        atomic_store(&crew__debugging, state);
        return state == CREW__VOICE_ON;
}

/*
 * Whoever has the file for itself begins it anew; a program started by one that traces appends.
 * The lock lives as long as any process has the file.
 */
static int open_file(const char *path)
{
        static const char head[] = "[\n";
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666), high;

        if (fd < 0)
                return -1;
        high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 3 && high >= 0) {
                (void)close(fd);
                fd = high;
        } else if (high >= 0) {
                (void)close(high);
        }
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
                if (ftruncate(fd, 0) < 0 || write(fd, head, sizeof head - 1) < 0)
                        return close(fd), -1;
                (void)flock(fd, LOCK_SH);
        } else {
                (void)flock(fd, LOCK_SH | LOCK_NB);
        }
        return fd;
}

static void put(const char *line, size_t n)
{
        uint64_t before = atomic_fetch_add(&written, n);
        ssize_t put;

        if (before > MOST) {
                atomic_store(&crew__tracing, CREW__VOICE_OFF);
                return;
        }
        put = write(atomic_load(&file), line, n);
        if (put < 0 && errno != EINTR && errno != EAGAIN)
                atomic_store(&crew__tracing, CREW__VOICE_OFF);
}

/* As part of a JSON string: what would end or break it becomes '?'. */
static size_t append_text(char *to, size_t size, const char *text)
{
        size_t n = 0;

        for (; *text && n + 1 < size; text++) {
                unsigned char c = (unsigned char)*text;

                to[n++] = (char)(c < 0x20 || c == '"' || c == '\\' || c == 0x7f ? '?' : c);
        }
        to[n] = '\0';
        return n;
}

static void name_track(const char *what, pid_t track, const char *name)
{
        char clean[200], line[LINE];
        int n;

        (void)append_text(clean, sizeof clean, name);
        n = snprintf(line, sizeof line,
                "{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"%s\"}},"
                "\n",
                what, (int)getpid(), (int)track, clean);
        put(line, (size_t)n);
}

static void name_program(void)
{
        name_track("process_name", getpid(), program_invocation_short_name);
}

/* Without a lock, which a fork could leave held: what others would trace meanwhile is not traced.
 */
bool crew__trace_begin(void)
{
        int unknown = CREW__VOICE_UNKNOWN, saved = errno, fd;
        const char *path;

        if (!atomic_compare_exchange_strong(&crew__tracing, &unknown, CREW__VOICE_OFF))
                return unknown == CREW__VOICE_ON;
        path = secure_getenv("CREW_TRACE");
        if (!path || !*path)
                return false;
        fd = open_file(path);
        if (fd < 0) {
                crew__debug("CREW_TRACE: %s: %s", path, strerror(errno));
        } else {
                atomic_store(&file, fd);
                name_program();
                atomic_store(&crew__tracing, CREW__VOICE_ON);
        }
        errno = saved;
        return fd >= 0;
}

static void __attribute__((format(printf, 6, 0))) event(char phase, pid_t track, const char *kind,
        int64_t at, int64_t took, const char *format, va_list args)
{
        char name[400], clean[400], line[LINE];
        int saved = errno, n;

        (void)vsnprintf(name, sizeof name, format, args);
        (void)append_text(clean, sizeof clean, name);
        if (!track)
                track = (pid_t)syscall(SYS_gettid);
        n = snprintf(line, sizeof line,
                "{\"ph\":\"%c\",\"cat\":\"%s\",\"name\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":"
                "%" PRId64 ".%03d",
                phase, kind, clean, (int)getpid(), (int)track, at / 1000, (int)(at % 1000));
        if (phase == 'X')
                n += snprintf(line + n, sizeof line - (size_t)n, ",\"dur\":%" PRId64 ".%03d",
                        took / 1000, (int)(took % 1000));
        n += snprintf(
                line + n, sizeof line - (size_t)n, "%s},\n", phase == 'i' ? ",\"s\":\"t\"" : "");
        put(line, (size_t)n);
        errno = saved;
}

void crew__trace_span(
        pid_t track, const char *kind, int64_t began, int64_t ended, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        event('X', track, kind, began, ended > began ? ended - began : 0, format, args);
        va_end(args);
}

void crew__trace_mark(pid_t track, const char *kind, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        event('i', track, kind, crew_clock(), 0, format, args);
        va_end(args);
}

void crew__trace_name(pid_t track, const char *name)
{
        int saved = errno;

        name_track("thread_name", track, name);
        errno = saved;
}

void crew__debug(const char *format, ...)
{
        int saved = errno, n;
        char line[LINE];
        va_list args;
        ssize_t put;

        n = snprintf(line, sizeof line, "crew[%d]: ", (int)getpid());
        va_start(args, format);
        n += vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
        va_end(args);
        if ((size_t)n > sizeof line - 2)
                n = sizeof line - 2;
        line[n++] = '\n';
        put = write(STDERR_FILENO, line, (size_t)n);
        (void)put;
        errno = saved;
}
