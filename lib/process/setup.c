/* SPDX-License-Identifier: MIT */
#include "process/setup.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/syscall.h"

#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>

static const char *const stream_names[] = { "stdin", "stdout", "stderr" };

static const crew_stdio *stdio_of(const crew_process_options *o, int which)
{
        return which == 0 ? &o->in : which == 1 ? &o->out : &o->err;
}

bool crew__setup_wanted(const crew_process_options *o)
{
        return o->in.kind || o->out.kind || o->err.kind || o->cwd || o->env || o->n_keep_fds ||
               o->n_grants || crew__confine_wanted(o);
}

static int check_stdio(const crew_process_options *o)
{
        for (int i = 0; i < 3; i++) {
                const crew_stdio *s = stdio_of(o, i);

                if (s->kind < CREW_STDIO_INHERIT || s->kind > CREW_STDIO_FD)
                        return crew__fail(EINVAL, "process: %s: unknown kind %d of CREW_STDIO_...",
                                stream_names[i], s->kind);
                if (s->kind == CREW_STDIO_FD ? s->fd < 0 : s->fd != 0)
                        return crew__fail(EINVAL,
                                "process: %s: descriptor %d; only CREW_STDIO_FD takes one",
                                stream_names[i], s->fd);
        }
        return 0;
}

static int check(const char *const argv[], const crew_process_options *o)
{
        int r = check_stdio(o);

        if (r < 0)
                return r;
        if (!argv && o->method <= CREW_METHOD_FORK && (o->env || o->n_keep_fds))
                return crew__fail(EINVAL,
                        "process: %s is for programs (crew_process_new_exec) and other start "
                        "methods; a forked child shares the host's",
                        o->env ? "env" : "keep_fds");
        if (argv && o->n_grants)
                return crew__fail(EINVAL, "process: a program cannot be granted anything");
        if (o->n_grants && !o->grants)
                return crew__fail(EINVAL, "process: n_grants is %zu but no array", o->n_grants);
        if (o->n_keep_fds && !o->keep_fds)
                return crew__fail(EINVAL, "process: n_keep_fds is %zu but no array", o->n_keep_fds);
        for (size_t i = 0; i < o->n_keep_fds; i++) {
                if (o->keep_fds[i] <= STDERR_FILENO)
                        return crew__fail(EINVAL,
                                "process: keep_fds has %d; in, out and err say what 0-2 are",
                                o->keep_fds[i]);
        }
        if (o->cwd && !*o->cwd)
                return crew__fail(EINVAL, "process: cwd is empty");
        return 0;
}

/* How many strings a list has, and their bytes. */
static size_t measure(const char *const list[], size_t *bytes)
{
        size_t n = 0;

        for (; list && list[n]; n++)
                *bytes += strlen(list[n]) + 1;
        return n;
}

static char *copy_list(const char **to, const char *const from[], size_t n, char *text)
{
        for (size_t i = 0; i < n; i++) {
                size_t size = strlen(from[i]) + 1;

                to[i] = memcpy(text, from[i], size);
                text += size;
        }
        to[n] = NULL;
        return text;
}

static int ascending(const void *a, const void *b)
{
        int left = *(const int *)a, right = *(const int *)b;

        return (left > right) - (left < right);
}

static int find_grants(crew__setup *s, const crew_process_options *o)
{
        while (s->n_grants < o->n_grants) {
                if (crew__segment_find(&s->grants[s->n_grants], o->grants[s->n_grants]) < 0)
                        return crew__fail(ENOENT,
                                "process: grant %zu names nothing that this process holds",
                                s->n_grants);
                s->n_grants++;
        }
        return 0;
}

/* Everything in one block: pointers, then descriptors, then text. */
int crew__setup_new(crew__setup **setup, const char *const argv[], const crew_process_options *o)
{
        size_t text = 0, n_argv = measure(argv, &text), n_env = measure(o->env, &text);
        size_t n_keep = o->n_keep_fds + 3, cwd = o->cwd ? strlen(o->cwd) + 1 : 0;
        const char **lists, **pointers;
        crew__setup *s;
        char *at;
        int *keep, r;

        r = check(argv, o);
        if (r < 0)
                return r;
        if (!argv && !crew__setup_wanted(o)) {
                *setup = NULL;
                return 0;
        }
        s = malloc(sizeof *s + (n_argv + n_env + 2 + o->n_grants) * sizeof *lists +
                   n_keep * sizeof *keep + text + cwd);
        if (!s)
                return crew__fail(ENOMEM, "process: no memory for arguments or environment");
        *s = (crew__setup){ .stdio = { o->in, o->out, o->err },
                .n_keep = n_keep,
                .theirs = { -1, -1, -1 },
                .directory = -1,
                .ours = { -1, -1, -1 },
                .confine.listener = -1 };
        lists = (const char **)(s + 1);
        pointers = lists + n_argv + n_env + 2;
        memcpy(&s->grants, &pointers, sizeof pointers);
        keep = (int *)(s->grants + o->n_grants);
        at = (char *)(keep + n_keep);
        if (argv) {
                s->argv = lists;
                at = copy_list(lists, argv, n_argv, at);
        }
        if (o->env) {
                s->env = lists + n_argv + 1;
                at = copy_list(lists + n_argv + 1, o->env, n_env, at);
        }
        for (int i = 0; i < 3; i++)
                keep[i] = i;
        if (o->n_keep_fds)
                (void)memcpy(keep + 3, o->keep_fds, o->n_keep_fds * sizeof *keep);
        qsort(keep, n_keep, sizeof *keep, ascending);
        s->keep = keep;
        if (cwd)
                s->cwd = memcpy(at, o->cwd, cwd);
        r = find_grants(s, o);
        if (r == 0)
                r = crew__confine_new(&s->confine, o, argv);
        if (r < 0) {
                crew__setup_free(s);
                return r;
        }
        *setup = s;
        return 0;
}

void crew__setup_let_go(crew__setup *s)
{
        while (s->n_grants)
                (void)crew__segment_unref(s->grants[--s->n_grants]);
}

void crew__setup_free(crew__setup *s)
{
        if (!s)
                return;
        crew__setup_hang_up(s);
        crew__image_free(s->image);
        crew__confine_free(&s->confine);
        crew__setup_let_go(s);
        free(s);
}

static int words(const char *name, int which, const char *what, int err)
{
        if (err == EMFILE || err == ENFILE)
                return crew__fail(err,
                        "process %s: %s: %s: no descriptor is left; raise RLIMIT_NOFILE (ulimit "
                        "-n)",
                        name, stream_names[which], what);
        return crew__fail(
                err, "process %s: %s: %s: %s", name, stream_names[which], what, strerror(err));
}

static int open_pipe(crew__setup *s, int which, const char *name)
{
        int ends[2], mine = which == STDIN_FILENO ? 1 : 0;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return words(name, which, "a pipe", errno);
        s->ours[which] = crew__above_stdio(ends[mine]);
        s->theirs[which] = crew__above_stdio(ends[!mine]);
        s->opened[which] = true;
        return 0;
}

static int open_one(crew__setup *s, int which, const char *name)
{
        const crew_stdio *wanted = &s->stdio[which];

        switch (wanted->kind) {
        case CREW_STDIO_NULL:
                s->theirs[which] = crew__above_stdio(open(
                        "/dev/null", O_CLOEXEC | (which == STDIN_FILENO ? O_RDONLY : O_WRONLY)));
                if (s->theirs[which] < 0)
                        return words(name, which, "/dev/null", errno);
                s->opened[which] = true;
                return 0;
        case CREW_STDIO_PIPE:
                return open_pipe(s, which, name);
        case CREW_STDIO_FD:
                if (fcntl(wanted->fd, F_GETFD) < 0)
                        return crew__fail(errno, "process %s: %s: descriptor %d is not open", name,
                                stream_names[which], wanted->fd);
                s->theirs[which] = wanted->fd;
                return 0;
        default:
                return 0;
        }
}

static int open_directory(crew__setup *s, const char *name)
{
        if (!s->cwd)
                return 0;
        s->directory = crew__above_stdio(open(s->cwd, O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (s->directory < 0)
                return crew__fail(errno, "process %s: its directory %s: %m", name, s->cwd);
        if (faccessat(s->directory, ".", X_OK, AT_EACCESS) < 0)
                return crew__fail(errno, "process %s: its directory %s: %m", name, s->cwd);
        return 0;
}

static int check_kept(const crew__setup *s, const char *name)
{
        for (size_t i = 3; i < s->n_keep; i++) {
                if (fcntl(s->keep[i], F_GETFD) < 0)
                        return crew__fail(errno, "process %s: keep_fds: descriptor %d is not open",
                                name, s->keep[i]);
        }
        return 0;
}

int crew__setup_open(crew__setup *s, const char *name)
{
        int r = open_directory(s, name);

        if (r == 0 && !s->argv)
                r = crew__confine_open(&s->confine);
        if (r == 0)
                r = check_kept(s, name);
        for (int i = 0; i < 3 && r == 0; i++)
                r = open_one(s, i, name);
        if (r < 0)
                crew__setup_close(s, true);
        else
                crew__confine_house(&s->confine);
        return r;
}

void crew__setup_close(crew__setup *s, bool failed)
{
        for (int i = 0; i < 3; i++) {
                if (s->opened[i])
                        (void)crew__close(s->theirs[i]);
                s->theirs[i] = -1;
                s->opened[i] = false;
        }
        s->directory = crew__close(s->directory);
        if (failed) {
                crew__setup_hang_up(s);
                crew__confine_unhouse(&s->confine);
        }
}

void crew__setup_hang_up(crew__setup *s)
{
        for (int i = 0; i < 3; i++)
                (void)crew__close(atomic_exchange(&s->ours[i], -1));
}

int crew__setup_enter(crew__setup *s)
{
        int r = crew__stdio_place(s->theirs);

        if (r == 0 && s->directory >= 0)
                r = (int)crew__syscall(SYS_fchdir, s->directory, 0, 0, 0, 0, 0);
        if (r < 0)
                return r;
        /* What the host had read ahead is not this stdin's. */
        if (s->theirs[STDIN_FILENO] >= 0)
                __fpurge(stdin);
        crew__setup_close(s, true);
        return 0;
}

int crew__setup_error(const crew__setup *s)
{
        return s->confine.note && s->confine.note->error ? s->confine.note->error : s->error;
}

void crew__setup_settle(crew__setup *s)
{
        if (!s->image || crew__image_busy(s->image))
                return;
        s->error = s->image->error;
        s->step = s->image->step;
        crew__image_free(s->image);
        s->image = NULL;
}
