/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_RUN_HELP_H
#define CREW_TESTS_RUN_HELP_H

/* `crew run` as people call it: in lines for a shell, in a directory of its own. */

#include "check.h"
#include "peer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHELL_PATIENCE_S = 60 };

struct shell {
        pid_t pid;
        int files[2];
        long long patience_s;       /* 0: SHELL_PATIENCE_S */
        bool isolated;              /* nothing was said of a missing pid namespace */
        int status;                 /* exit status, or 1000 + the signal */
        char out[65536], err[8192]; /* cut at the size */
};

/* A directory that goes with the case, and is where it works. */
static inline const char *scratch_enter(void)
{
        static char path[64];

        (void)snprintf(path, sizeof path, "/tmp/crew-run-XXXXXX");
        REQUIRE(mkdtemp(path) && chdir(path) == 0);
        return path;
}

static inline void scratch_leave(const char *path)
{
        char line[128];

        REQUIRE(chdir("/") == 0);
        (void)snprintf(line, sizeof line, "rm -rf '%s'", path);
        CHECK_INT(system(line), ==, 0);
}

/* "run" at the beginning of a line, and behind "; ", "| " and "&& ", is the command under test. */
static inline void shell_start(struct shell *s, const char *line)
{
        const char *tool = getenv("CREW_TOOL");
        char text[8192];

        if (!tool)
                SKIP("CREW_TOOL does not name the command");
        INFO("%s", line);
        REQUIRE((size_t)snprintf(text, sizeof text, "run() { '%s' run \"$@\"; }\n%s", tool, line) <
                sizeof text);
        for (int i = 0; i < 2; i++) {
                s->files[i] = memfd_create("said", MFD_CLOEXEC);
                REQUIRE(s->files[i] >= 0);
                /* Of a memfd, the kernel does not lock the place that two writers share. */
                REQUIRE(fcntl(s->files[i], F_SETFL, O_APPEND) == 0);
        }
        s->pid = fork();
        REQUIRE(s->pid >= 0);
        if (s->pid == 0) {
                (void)setpgid(0, 0);
                (void)setenv("CREW_RUN", tool, 1);
                (void)unsetenv("CREW_RUN_OPTIONS");
                (void)setenv("XDG_CONFIG_HOME", "/nowhere", 1);
                (void)signal(SIGINT, SIG_DFL);
                (void)signal(SIGHUP, SIG_DFL);
                (void)signal(SIGPIPE, SIG_DFL);
                if (dup2(s->files[0], 1) < 0 || dup2(s->files[1], 2) < 0)
                        _exit(126);
                (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
                _exit(127);
        }
        (void)setpgid(s->pid, s->pid);
}

static inline void shell_slurp(int fd, char *into, size_t size)
{
        ssize_t n = pread(fd, into, size - 1, 0);

        REQUIRE(n >= 0);
        into[n] = 0;
        (void)close(fd);
}

/* Takes out what is said where a kernel or a container lacks a part: each line alone is right. */
static inline void shell_forgive(char *said)
{
        static const char *const notices[] = { "crew run: this kernel ",
                "crew run: what jobs leave behind " };

        for (int i = 0; i < 2; i++) {
                char *at;

                while ((at = strstr(said, notices[i]))) {
                        char *end = strchr(at, '\n');

                        if (!end)
                                break;
                        (void)memmove(at, end + 1, strlen(end + 1) + 1);
                }
        }
}

static inline void shell_end(struct shell *s)
{
        long long patience = s->patience_s ? s->patience_s : SHELL_PATIENCE_S;
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * patience);
        int status = 0;
        pid_t got;

        while ((got = waitpid(s->pid, &status, WNOHANG)) == 0 && peer_now() < until)
                peer_pause(PEER_MS(1));
        if (got == 0) {
                (void)kill(-s->pid, SIGKILL);
                got = waitpid(s->pid, &status, 0);
                CHECK(!"it ends in time");
        }
        REQUIRE(got == s->pid);
        s->status = WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
        shell_slurp(s->files[0], s->out, sizeof s->out);
        shell_slurp(s->files[1], s->err, sizeof s->err);
        s->isolated = !strstr(s->err, "crew run: what jobs leave behind ");
        shell_forgive(s->err);
}

static inline void shell_run(struct shell *s, const char *line)
{
        shell_start(s, line);
        shell_end(s);
}

/* The text of a file, "" if there is none. */
static inline const char *text_of(const char *path)
{
        static char text[65536];
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        text[0] = 0;
        if (fd >= 0)
                shell_slurp(fd, text, sizeof text);
        return text;
}

/* Waits for a file to be there; what a job makes to say that it runs. */
static inline bool await_file(const char *path)
{
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * SHELL_PATIENCE_S);

        while (access(path, F_OK) != 0 && peer_now() < until)
                peer_pause(PEER_MS(1));
        return CHECK(access(path, F_OK) == 0);
}

#endif
