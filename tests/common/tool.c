/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORDS = 31, PATIENCE_MS = 60000 };

static _Noreturn void become(const struct tool *t, char **argv)
{
        int out = t->to ? open(t->to, O_WRONLY | O_CLOEXEC) : t->files[0];
        int err = t->err_fd ? t->err_fd : t->files[1];

        (void)setpgid(0, 0);
        /* A shell starts what runs in the background with some of them ignored. */
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGQUIT, SIG_DFL);
        (void)signal(SIGHUP, SIG_DFL);
        if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
                _exit(126);
        (void)execv(t->path, argv);
        _exit(127);
}

__attribute__((format(printf, 2, 0))) static void start(
        struct tool *t, const char *format, va_list values)
{
        char name[64], words[512], *argv[MOST_WORDS + 1] = { name }, *rest = words;
        int argc = 1;

        REQUIRE(t->path && access(t->path, X_OK) == 0);
        (void)snprintf(name, sizeof name, "%s", basename(t->path));
        (void)vsnprintf(words, sizeof words, format, values);
        INFO("%s %s", name, words);
        while (*words && argc < MOST_WORDS && (argv[argc] = strsep(&rest, " ")))
                argc++;
        argv[argc] = NULL;
        t->files[0] = memfd_create("out", MFD_CLOEXEC);
        t->files[1] = memfd_create("err", MFD_CLOEXEC);
        REQUIRE(t->files[0] >= 0 && t->files[1] >= 0);
        t->pid = fork();
        REQUIRE(t->pid >= 0);
        if (t->pid == 0)
                become(t, argv);
        /* From both sides: whoever is first, the group is there from now on. */
        (void)setpgid(t->pid, t->pid);
}

static void slurp(int fd, char *into, size_t size)
{
        ssize_t n = pread(fd, into, size - 1, 0);

        REQUIRE(n >= 0);
        into[n] = 0;
        (void)close(fd);
}

void tool_start(struct tool *t, const char *format, ...)
{
        va_list values;

        va_start(values, format);
        start(t, format, values);
        va_end(values);
}

void tool_end(struct tool *t)
{
        int64_t until = peer_now() + test_slow(PEER_MS(PATIENCE_MS));
        int status = 0;
        pid_t got;

        while ((got = wait4(t->pid, &status, WNOHANG, &t->usage)) == 0 && peer_now() < until)
                peer_pause(PEER_MS(1));
        if (got == 0) {
                (void)kill(-t->pid, SIGKILL);
                got = wait4(t->pid, &status, 0, &t->usage);
                CHECK(!"it ends in time");
        }
        REQUIRE(got == t->pid);
        t->status = WIFSIGNALED(status) ? PEER_KILLED + WTERMSIG(status) : WEXITSTATUS(status);
        slurp(t->files[0], t->out, sizeof t->out);
        slurp(t->files[1], t->err, sizeof t->err);
}

bool tool_ended(const struct tool *t)
{
        siginfo_t info = { 0 };

        REQUIRE(waitid(P_PID, (id_t)t->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
        return info.si_pid != 0;
}

void tool_run(struct tool *t, const char *format, ...)
{
        va_list values;

        va_start(values, format);
        start(t, format, values);
        va_end(values);
        tool_end(t);
}

/* A child, or the child of one: a pool's workers have a zygote between them and the tool. */
static bool descends(const struct tool *t, pid_t parent)
{
        struct peer_look l;

        return parent == t->pid || (peer_look(parent, &l) && l.parent == t->pid);
}

int tool_workers(const struct tool *t, pid_t *pids, int max)
{
        long ticks = sysconf(_SC_CLK_TCK) / 50 * (long)test_slow(1);
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        struct peer_look l;
        int n = 0;

        REQUIRE(proc);
        while (n < max && (entry = readdir(proc))) {
                pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

                if (pid > 0 && peer_look(pid, &l) && l.user_ticks >= ticks &&
                                descends(t, l.parent))
                        pids[n++] = pid;
        }
        (void)closedir(proc);
        return n;
}

void tool_beside(char *path, size_t size, const char *name)
{
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        char *slash;

        REQUIRE(n > 0);
        self[n] = '\0';
        slash = strrchr(self, '/');
        REQUIRE(slash != NULL);
        *slash = '\0';
        REQUIRE(snprintf(path, size, "%s/%s", self, name) < (int)size);
}

size_t tool_lines(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}
