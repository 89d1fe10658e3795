/* SPDX-License-Identifier: MIT */
#include "job.h"

#include "quote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void describe(const struct job_maker *m, struct job *j)
{
        struct template_values v = { j->values.at, j->values.n, j->seq, j->slot };
        struct bytes line = { 0 }, shown = { 0 };

        template_line(m->command, &v, &line);
        quote_visible(&shown, line.at, line.n);
        free(j->command);
        j->command = must_copy(bytes_ended(&shown), shown.n);
        bytes_free(&shown);
        bytes_free(&line);
}

struct job *job_new(const struct job_maker *m, uint64_t seq, struct input_values *values)
{
        struct job *j = must_have(sizeof *j);

        crew__link_init(&j->link);
        j->seq = seq;
        j->values = *values;
        *values = (struct input_values){ 0 };
        j->pipes[OUTPUT_OUT] = j->pipes[OUTPUT_ERR] = -1;
        /* The slot stands in it as 0: where a job ran is no part of what it was. */
        if (m->wants_command)
                describe(m, j);
        return j;
}

void job_free(struct job *j)
{
        if (!j)
                return;
        crew__link_leave(&j->link);
        (void)crew_process_free(j->process);
        input_release(&j->values);
        free(j->command);
        free(j->refused);
        free(j);
}

/* The tag, made harmless: values may come from anywhere, and tags go to the terminal. */
static char *tag_of(const struct job_maker *m, const struct job *j)
{
        struct template_values v = { j->values.at, j->values.n, j->seq, j->slot };
        struct bytes text = { 0 }, shown = { 0 };

        if (!m->tag)
                return NULL;
        template_text(m->tag, &v, &text);
        quote_visible(&shown, text.at, text.n);
        bytes_char(&shown, '\t');
        (void)bytes_ended(&shown);
        bytes_free(&text);
        return shown.at;
}

static int open_output(const struct job_maker *m, struct job *j, char why[256])
{
        char *tag;
        int r;

        if (j->printed || m->o->output == RUN_UNGROUPED)
                return 0;
        tag = tag_of(m, j);
        r = output_begin(m->output, &j->printed, j->seq, tag, &j->values, why);
        free(tag);
        return r;
}

void job_maker_free(struct job_maker *m)
{
        for (unsigned i = 0; i < m->n_starters; i++)
                (void)crew_starter_free(m->starters[i]);
        free(m->starters);
        environment_free(&m->environment);
}

static bool has_feature(const char *name)
{
        crew_feature f = { .size = sizeof f };
        int index = crew_feature_find(name);

        return index >= 0 && crew_feature_get((unsigned)index, &f) == 0 &&
               f.state == CREW_FEATURE_YES;
}

/*
 * What starts the sandboxed jobs of a slot, or NULL: they enter their sandbox one by one. With a
 * control group for their memory they are born in it, which a starter's filter does not allow, and
 * to move there later takes longer than a starter saves.
 */
static crew_starter *starter_of(struct job_maker *m, unsigned slot)
{
        if (!m->policy || (m->o->sandbox.limits.memory_max && has_feature("cgroup_memory")))
                return NULL;
        if (slot > m->n_starters) {
                m->starters = must_grow(m->starters, slot * sizeof *m->starters);
                while (m->n_starters < slot)
                        m->starters[m->n_starters++] = NULL;
        }
        if (!m->starters[slot - 1] && !m->no_more_starters &&
                crew_starter_new(&m->starters[slot - 1], m->policy, m->o->sandbox.on_violation,
                        CREW_PROCESS_REPORT) < 0)
                m->no_more_starters = true;
        return m->starters[slot - 1];
}

static int make_process(struct job_maker *m, struct job *j)
{
        struct template_values v = { j->values.at, j->values.n, j->seq, j->slot };
        int kind = m->o->output == RUN_UNGROUPED ? CREW_STDIO_INHERIT : CREW_STDIO_PIPE;
        crew_starter *starter = starter_of(m, j->slot);
        const crew_sandbox *policy = starter ? NULL : m->policy;
        crew_process_options options = {
                .size = sizeof options,
                .flags = CREW_PROCESS_DAEMON | (m->o->tty ? 0 : CREW_PROCESS_SESSION) |
                         (policy ? CREW_PROCESS_REPORT : 0),
                .starter = starter,
                .policy = policy,
                .on_violation = policy ? m->o->sandbox.on_violation : 0,
                .limits = m->o->sandbox.limited ? &m->o->sandbox.limits : NULL,
                .env = environment_of(&m->environment, j->seq, j->slot),
                .cwd = m->o->directory,
                .in = { m->o->tty ? CREW_STDIO_FD : CREW_STDIO_NULL, m->o->tty ? m->terminal : 0 },
                .out = { kind, 0 },
                .err = { kind, 0 },
        };
        char **argv = template_argv(m->command, &v);
        int r = argv[0] ? crew_process_new_exec(&j->process, (const char *const *)argv, &options)
                        : -ENOENT;

        free(argv);
        if (r == 0)
                r = crew_process_start(j->process);
        return r;
}

/* The ends of the pipes that are ours. */
static void take_pipes(struct job *j)
{
        for (int i = 0; i < OUTPUT_STREAMS && j->printed; i++) {
                int fd = crew_process_stdio(j->process, i + 1);

                j->pipes[i] = fd < 0 ? -1 : fd;
                if (fd >= 0)
                        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        }
}

static bool no_room(int r)
{
        /* ETIMEDOUT: the machine is so busy that its sandbox was not in force in time. */
        return r == -EAGAIN || r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ETIMEDOUT;
}

static bool not_runnable(int r)
{
        return r == -ENOENT || r == -EACCES || r == -ENOTDIR || r == -ENOEXEC || r == -E2BIG ||
               r == -ELOOP || r == -ENAMETOOLONG;
}

int job_start(struct job_maker *m, struct job *j, unsigned slot, char why[256])
{
        struct timespec wall;
        int r;

        j->slot = slot;
        r = open_output(m, j, why);
        if (r < 0)
                return no_room(r) ? -EAGAIN : r;
        r = make_process(m, j);
        if (r < 0)
                (void)snprintf(why, 256, "%s", crew_error_detail());
        if (r < 0)
                j->process = crew_process_free(j->process);
        if (no_room(r))
                return -EAGAIN;
        if (r < 0 && !not_runnable(r))
                return r;
        (void)clock_gettime(CLOCK_REALTIME, &wall);
        j->not_started = r;
        j->attempts++;
        j->began = crew_clock();
        j->began_wall = CREW_S(wall.tv_sec) + wall.tv_nsec;
        j->timed_out = j->termed = j->killed = false;
        j->reports = -1;
        if (r == 0) {
                take_pipes(j);
                if (m->policy)
                        j->reports = crew_process_report_fd(j->process);
        }
        return 0;
}

void job_signal(struct job *j, int number)
{
        pid_t pid = j->process ? crew_process_pid(j->process) : -1;

        /* It leads its session's first group, unless it has the terminal or is not that far yet. */
        if (pid > 0 && kill(-pid, number) != 0)
                (void)crew_process_signal(j->process, number);
}

void job_kill(struct job *j)
{
        if (j->process && crew_process_kill_tree(j->process) < 0)
                job_signal(j, SIGKILL);
        j->killed = true;
}

/* What its sandbox refused, and the option with which it would not. */
static void note_violation(struct job *j)
{
        crew_violation v = { .size = sizeof v };
        struct bytes text = { 0 };
        char option[64];

        if (crew_process_violation(j->process, &v) < 0)
                return;
        profile_advice(&v, option, sizeof option);
        bytes_text(&text, v.text);
        if (option[0])
                bytes_format(&text, " (%s)", option);
        (void)bytes_ended(&text);
        free(j->refused);
        j->refused = text.at;
}

/* What its memory limit has to do with it, in the place of what its sandbox refused. */
static void note_memory(struct job *j)
{
        free(j->refused);
        j->refused =
                must_copy("was ended, because it went past its memory limit (--limit mem=)", 63);
}

void job_ended(struct job *j, struct ending *e)
{
        crew_exit exit = { .size = sizeof exit };

        *e = (struct ending){
                .seq = j->seq,
                .command = j->command,
                .began = j->began_wall,
                .took = crew_clock() - j->began,
                .printed = j->printed ? output_bytes(j->printed) : 0,
                .attempts = j->attempts,
        };
        if (!j->process) {
                e->code = j->not_started == -ENOENT || j->not_started == -ENOTDIR
                                  ? RUN_NOT_FOUND
                                  : RUN_NOT_EXECUTABLE;
                return;
        }
        if (crew_process_exit(j->process, &exit) < 0) {
                e->code = RUN_TROUBLE; /* somebody else collected it */
        } else {
                e->signal = exit.signal;
                e->code = exit.signal ? 0 : exit.code;
                e->usage = exit.usage;
                e->user_time = exit.user_time;
                e->system_time = exit.system_time;
                e->max_rss = exit.max_rss;
                j->not_started = not_runnable(-exit.exec_errno) ? -exit.exec_errno : 0;
                if (exit.violated)
                        note_violation(j);
                if (exit.out_of_memory)
                        note_memory(j);
        }
        if (j->timed_out)
                e->code = -1;
        e->violation = j->refused;
        j->pipes[OUTPUT_OUT] = j->pipes[OUTPUT_ERR] = -1;
        j->process = crew_process_free(j->process);
}

bool job_succeeded(const struct ending *e)
{
        return e->code == 0 && e->signal == 0;
}

int job_status(const struct ending *e)
{
        return e->code < 0 ? RUN_TROUBLE : e->signal ? 128 + e->signal : e->code;
}
