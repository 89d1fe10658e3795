/* SPDX-License-Identifier: MIT */
#include "engine.h"

#include <crew/crew.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const int relayed[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH,
        SIGUSR1, SIGUSR2 };

enum { SIGNALS = sizeof relayed / sizeof *relayed };

/* How long the inner process may take to stop what runs before it is stopped as it is. */
enum { STOP_PATIENCE_MS = 1000 };

static sigset_t relayed_set(void)
{
        sigset_t set;

        (void)sigemptyset(&set);
        for (int i = 0; i < SIGNALS; i++)
                (void)sigaddset(&set, relayed[i]);
        return set;
}

/* Taking signals. What a shell or nohup ignores for its children stays ignored. */
static void take_signals(void)
{
        sigset_t set = relayed_set();

        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        /* cron and others ignore it: then nobody's status could be collected. */
        (void)signal(SIGCHLD, SIG_DFL);
}

static bool write_file(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

        if (fd >= 0)
                (void)close(fd);
        return written;
}

/* One's own ids and no others: files keep their owner, and nothing is gained. */
static bool map_ids(uid_t uid, gid_t gid)
{
        char line[64];

        (void)write_file("/proc/self/setgroups", "deny");
        (void)snprintf(line, sizeof line, "%u %u 1", (unsigned)uid, (unsigned)uid);
        if (!write_file("/proc/self/uid_map", line))
                return false;
        (void)snprintf(line, sizeof line, "%u %u 1", (unsigned)gid, (unsigned)gid);
        return write_file("/proc/self/gid_map", line);
}

static void missing(struct engine *e, const char *what, int error)
{
        (void)snprintf(e->why, sizeof e->why, "%s (%s)", what, strerror(error));
}

/*
 * Is a seccomp filter around this process that may end whoever asks for a namespace? That of
 * another crew run, which marks its jobs, is known to refuse.
 */
static bool nested(void)
{
        return getenv("CREW_SEQ") && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER;
}

static bool feature(const char *name)
{
        crew_feature f = { .size = sizeof f };
        int index = crew_feature_find(name);

        return index >= 0 && crew_feature_get((unsigned)index, &f) == 0 &&
               f.state == CREW_FEATURE_YES;
}

/* The namespaces of who is forked next. A privileged process keeps its ids, and so what they give.
 */
static bool unshare_namespaces(struct engine *e)
{
        uid_t uid = geteuid();
        gid_t gid = getegid();

        if (nested()) {
                (void)snprintf(e->why, sizeof e->why, "this is a job of another crew run");
                return false;
        }
        if (unshare(CLONE_NEWPID | CLONE_NEWNS) == 0)
                return true;
        if (!feature("userns") || unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0) {
                missing(e, "no pid namespace", EPERM);
                return false;
        }
        /* Without a mapping nobody's files could be written. */
        if (!map_ids(uid, gid)) {
                missing(e, "no user can be mapped", errno);
                return true;
        }
        e->mapped = true;
        return true;
}

/* A /proc of this namespace, which the host's other processes do not see. */
static void mount_proc(struct engine *e)
{
        e->own_proc = mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
                      mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
        if (!e->own_proc)
                missing(e, "no /proc of its own", errno);
}

static bool has_ended(int pidfd)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return poll(&p, 1, 0) != 0;
}

static void become_inner(struct engine *e, int outer)
{
        /* Lost if the outer process ended before it was asked for; then look. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (has_ended(outer))
                _exit(EXIT_FAILURE);
        (void)close(outer);
        mount_proc(e);
        e->isolated = true;
}

static void tell(int inner_signals, int sig)
{
        unsigned char byte = (unsigned char)sig;

        /* Full: it has more to do than anybody can want of it. */
        (void)!write(inner_signals, &byte, 1);
}

/* A stop would discard it, and nobody would send it again. */
static bool to_go_on(void)
{
        sigset_t pending;

        return sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
}

static void stop_both(pid_t inner, int answers)
{
        struct pollfd p = { .fd = answers, .events = POLLIN };
        char byte;

        /* Nothing to read: it has ended meanwhile. */
        if (poll(&p, 1, STOP_PATIENCE_MS) > 0 && read(answers, &byte, 1) != 1)
                return;
        if (to_go_on())
                return;
        (void)kill(inner, SIGSTOP);
        (void)kill(getpid(), SIGSTOP);
        /* Here it goes on when somebody sends SIGCONT, of which the loop tells. */
        (void)kill(inner, SIGCONT);
}

static int relay(pid_t inner, int signals, int answers)
{
        sigset_t set = relayed_set();
        siginfo_t info;
        int status, sig;

        (void)sigaddset(&set, SIGCHLD);
        for (;;) {
                pid_t ended = waitpid(inner, &status, WNOHANG);

                if (ended == inner)
                        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                sig = sigwaitinfo(&set, &info);
                if (sig <= 0 || sig == SIGCHLD)
                        continue;
                tell(signals, sig);
                if (sig == SIGTSTP)
                        stop_both(inner, answers);
        }
}

/* The outer process, to its end. */
static int attend(pid_t inner, int signals, int answers)
{
        int code = relay(inner, signals, answers);

        (void)close(signals);
        (void)close(answers);
        return code;
}

static bool become_alone(struct engine *e)
{
        sigset_t set = relayed_set();

        /* What jobs leave behind is this process's, not init's. */
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        e->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return true;
}

static int open_self(void)
{
        return (int)syscall(SYS_pidfd_open, getpid(), 0);
}

static bool enter(struct engine *e, int *code)
{
        int signals[2] = { -1, -1 }, answers[2] = { -1, -1 }, outer = open_self();
        sigset_t child;
        pid_t inner;

        if (outer < 0 || pipe2(signals, O_CLOEXEC | O_NONBLOCK) < 0 ||
                pipe2(answers, O_CLOEXEC) < 0 || !unshare_namespaces(e)) {
                if (!e->why[0])
                        missing(e, "no pid namespace", errno);
                for (int i = 0; i < 2; i++) {
                        (void)close(signals[i]);
                        (void)close(answers[i]);
                }
                (void)close(outer);
                return become_alone(e);
        }
        (void)sigemptyset(&child);
        (void)sigaddset(&child, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &child, NULL);
        inner = fork();
        if (inner == 0) {
                (void)sigprocmask(SIG_UNBLOCK, &child, NULL);
                (void)close(signals[1]);
                (void)close(answers[0]);
                e->signals = signals[0];
                e->answers = answers[1];
                become_inner(e, outer);
                return true;
        }
        (void)close(outer);
        (void)close(signals[0]);
        (void)close(answers[1]);
        if (inner < 0) {
                /* This process can make no other in its new namespace; who has none left for one
                 * has none for jobs. */
                *code = EXIT_FAILURE;
                return false;
        }
        *code = attend(inner, signals[1], answers[0]);
        return false;
}

bool engine_enter(struct engine *e, bool alone, int *code)
{
        *e = (struct engine){ .signals = -1, .answers = -1 };
        take_signals();
        return alone ? become_alone(e) : enter(e, code);
}

int engine_signal(struct engine *e)
{
        struct signalfd_siginfo info;
        unsigned char byte;

        if (e->isolated)
                return read(e->signals, &byte, 1) == 1 ? byte : 0;
        if (read(e->signals, &info, sizeof info) != sizeof info)
                return 0;
        return (int)info.ssi_signo;
}

void engine_stop(struct engine *e)
{
        struct pollfd p = { .fd = e->signals, .events = POLLIN };

        if (!e->isolated) {
                if (!to_go_on())
                        (void)kill(getpid(), SIGSTOP);
                return;
        }
        (void)!write(e->answers, "s", 1);
        /* The outer process stops this one now. It is told of what comes next: of SIGCONT. */
        (void)poll(&p, 1, -1);
}

/* The children of this thread. A /proc of another namespace has other numbers for them. */
int engine_reap(const struct engine *e, bool (*known)(pid_t pid, void *data), void *data)
{
        FILE *f = e->isolated && !e->own_proc ? NULL : fopen("/proc/thread-self/children", "re");
        int pid, collected = 0;

        while (f && fscanf(f, "%d", &pid) == 1) {
                if (!known(pid, data) && waitpid(pid, NULL, WNOHANG | __WALL) == pid)
                        collected++;
        }
        if (f)
                (void)fclose(f);
        return collected;
}
