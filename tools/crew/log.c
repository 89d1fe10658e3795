/* SPDX-License-Identifier: MIT */
#include "log.h"

#include "base/cleanup.h"
#include "cli.h"
#include "log-read.h"
#include "results.h"

#include <crew/error.h>
#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

enum { LOCK_PATIENCE_MS = 2000, LOCK_TELL_MS = 500 };

struct log {
        const char *path;
        bool appends, resumes;
        int fd;
        enum run_log_format format;
        struct log_entries known;
        int error;
};

struct line {
        struct receipt receipt;
        struct log *log;
        struct bytes text;
};

static const char titles[] =
        "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

static int refuse(const struct log *l, int err, char why[256])
{
        (void)snprintf(why, 256, "--joblog: '%s': %s", l->path, strerror(err));
        return -err;
}

/* Which process has the lock, as far as the kernel shows it; 0: unknown. */
static pid_t holder(int fd)
{
        FILE *locks = fopen("/proc/locks", "re");
        unsigned long long inode;
        unsigned major, minor;
        char line[256];
        struct stat st;
        pid_t found = 0;
        int pid;

        if (fstat(fd, &st) != 0)
                st = (struct stat){ 0 };
        while (locks && !found && fgets(line, sizeof line, locks)) {
                if (sscanf(line, "%*u: FLOCK %*s WRITE %d %x:%x:%llu", &pid, &major, &minor,
                            &inode) == 4 &&
                        inode == st.st_ino && makedev(major, minor) == st.st_dev)
                        found = pid;
        }
        if (locks)
                (void)fclose(locks);
        return found;
}

/* "another run (process 123)" */
static const char *other_run(int fd, char text[64])
{
        pid_t pid = holder(fd);

        (void)snprintf(text, 64, pid ? "another run (process %d)" : "another run", (int)pid);
        return text;
}

static int lock(struct log *l, char why[256])
{
        int64_t end = crew_clock() + CREW_MS(l->resumes ? LOCK_TELL_MS : LOCK_PATIENCE_MS);
        const struct timespec pause = { .tv_nsec = 10000000 };
        char run[64];
        int r;

        while ((r = flock(l->fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK &&
                crew_clock() < end)
                (void)nanosleep(&pause, NULL);
        if (r != 0 && errno == EWOULDBLOCK && !l->resumes) {
                (void)snprintf(why, 256, "--joblog: '%s': %s writes to it", l->path,
                        other_run(l->fd, run));
                return -EBUSY;
        }
        if (r != 0 && errno == EWOULDBLOCK) {
                cli_complain(
                        "waiting for %s to let go of the log '%s'", other_run(l->fd, run), l->path);
                while ((r = flock(l->fd, LOCK_EX)) != 0 && errno == EINTR)
                        continue;
        }
        return r != 0 ? refuse(l, errno, why) : 0;
}

int log_open(struct log **result, const struct run_options *o, char why[256])
{
        struct log *l = must_have(sizeof *l);
        int r;

        l->appends = *o->log == '+';
        l->path = o->log + l->appends;
        l->resumes = o->resume || o->resume_failed;
        l->format = o->log_format;
        l->fd = crew__above_stdio(open(l->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
        r = l->fd < 0 ? refuse(l, errno, why) : lock(l, why);
        if (r < 0) {
                log_close(l);
                return r;
        }
        *result = l;
        return 0;
}

/* Reads what is there, and leaves the end at the last whole line. */
static int resume(struct log *l, char why[256])
{
        uint64_t whole;
        int r = log_read(&l->known, l->fd, &whole);

        if (r == -EILSEQ || r == -EMSGSIZE) {
                (void)snprintf(why, 256, "--joblog: '%s' is not a log", l->path);
                return r;
        }
        if (r == 0 && ftruncate(l->fd, (off_t)whole) != 0)
                r = -errno;
        return r < 0 ? refuse(l, -r, why) : 0;
}

int log_begin(struct log *l, char why[256])
{
        off_t size;
        ssize_t n;

        if (l->resumes) {
                int r = resume(l, why);

                if (r < 0)
                        return r;
        } else if (!l->appends && ftruncate(l->fd, 0) != 0 && errno != EINVAL)
                return refuse(l, errno, why);
        size = lseek(l->fd, 0, SEEK_END);
        if (size > 0 || l->format != RUN_LOG_GNU)
                return 0;
        n = write(l->fd, titles, sizeof titles - 1);
        return n == sizeof titles - 1 ? 0 : refuse(l, n < 0 ? errno : ENOSPC, why);
}

void log_close(struct log *l)
{
        if (!l)
                return;
        (void)crew__close(l->fd);
        free(l->known.at);
        free(l);
}

enum log_known log_find(const struct log *l, uint64_t seq, const char *command)
{
        const struct log_entry *e = log_entries_find(&l->known, seq);

        if (!e)
                return LOG_UNKNOWN;
        if (e->hash != results_hash(command, strlen(command)))
                return LOG_OTHER_COMMAND;
        return e->succeeded ? LOG_SUCCEEDED : LOG_FAILED;
}

/* One write per line: other readers and a kill see whole lines. */
static void write_line(struct receipt *r)
{
        struct line *line = CREW__OF(r, struct line, receipt);
        struct log *l = line->log;
        ssize_t n;

        do {
                n = l->error ? 0 : write(l->fd, line->text.at, line->text.n);
        } while (n < 0 && errno == EINTR);
        if (n != (ssize_t)line->text.n && !l->error)
                l->error = n < 0 ? errno : ENOSPC;
        bytes_free(&line->text);
        free(line);
}

static double seconds(int64_t ns)
{
        return (double)ns / 1e9;
}

static void format_gnu(struct bytes *into, const struct ending *e)
{
        bytes_format(into, "%llu\t:\t%.3f\t%10.3f\t0\t%llu\t%d\t%d\t%s\n",
                (unsigned long long)e->seq, seconds(e->began), seconds(e->took),
                (unsigned long long)e->printed, e->code, e->signal, e->command);
}

/* The fields that log-read.c looks for stand before the strings that jobs have a say in. */
static void format_json(struct bytes *into, const struct ending *e)
{
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                return;
        fprintf(out, "{\"seq\":%llu,\"exit\":%d,\"signal\":%d,\"hash\":\"%016llx\"",
                (unsigned long long)e->seq, e->code, e->signal,
                (unsigned long long)results_hash(e->command, strlen(e->command)));
        fprintf(out, ",\"start\":%.3f,\"runtime\":%.3f,\"attempts\":%u,\"stdout\":%llu",
                seconds(e->began), seconds(e->took), e->attempts, (unsigned long long)e->printed);
        if (e->usage)
                fprintf(out, ",\"user\":%.3f,\"system\":%.3f,\"maxrss\":%llu",
                        seconds(e->user_time), seconds(e->system_time),
                        (unsigned long long)e->max_rss);
        fputs(",\"violation\":", out);
        cli_json_string(out, e->violation);
        fputs(",\"command\":", out);
        cli_json_string(out, e->command);
        fputs("}\n", out);
        if (fclose(out) == 0)
                bytes_add(into, text, size);
        free(text);
}

struct receipt *log_receipt(struct log *l, const struct ending *e)
{
        struct line *line = must_have(sizeof *line);

        line->receipt.done = write_line;
        line->log = l;
        if (l->format == RUN_LOG_JSON)
                format_json(&line->text, e);
        else
                format_gnu(&line->text, e);
        return &line->receipt;
}

int log_error(const struct log *l)
{
        return l->error;
}
