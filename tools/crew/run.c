/* SPDX-License-Identifier: MIT */
#include "run.h"

#include "bytes.h"
#include "cli.h"
#include "commands.h"
#include "dry-run.h"
#include "quantity.h"
#include "run-explain.h"
#include "schedule.h"
#include "signals.h"
#include "summary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        JOB_FDS = 6,     /* a pidfd, two pipes, and what its start needs for a moment */
        STARTER_FDS = 5, /* two pipes and a listener */
        OWN_FDS = 48,    /* everything else */
};

/* What is made before the first job and freed after the last. */
struct parts {
        struct template *command, *tag;
        struct input *input;
        struct output *output;
        struct log *log;
        struct trace *trace;
        int terminal;
        crew_sandbox *policy; /* NULL: none, or the kernel has none */
};

static int make_templates(struct parts *p, const struct run_options *o)
{
        const char *shell = getenv("CREW_SHELL"), *tag = o->tag_text ? o->tag_text : "{}";
        char *words[1] = { must_copy(tag, strlen(tag)) }, why[256];
        struct template_options form = {
                .form = o->shell ? TEMPLATE_SCRIPT : TEMPLATE_WORDS,
                .all = o->replace,
                .append = true,
                .width = input_width(&o->input),
                .shell = shell && *shell ? shell : "/bin/sh",
        };
        int r = template_new(&p->command, o->command, o->n_command, &form, why);

        form.form = TEMPLATE_TEXT;
        if (r == 0 && (o->tag || o->tag_text))
                r = template_new(&p->tag, words, 1, &form, why);
        free(words[0]);
        if (r < 0)
                (void)cli_misused("%s", why);
        return r;
}

static int complained(const char *why)
{
        cli_complain("%s", why);
        return -1;
}

static int check_directory(const char *directory)
{
        struct stat st;

        if (!directory || (stat(directory, &st) == 0 && S_ISDIR(st.st_mode)))
                return 0;
        cli_complain("--wd: cannot work in '%s'", directory);
        return -1;
}

/* What may have to wait for others, in a process that a signal still ends. */
static int gather(struct parts *p, const struct run_options *o)
{
        char why[256];

        if (make_templates(p, o) < 0 || check_directory(o->directory) < 0)
                return -1;
        if (input_takes_stdin(&o->input) && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
                cli_complain("reading values from the terminal; Ctrl-D ends them");
        if (input_new(&p->input, &o->input, why) < 0)
                return complained(why);
        if (o->log && !o->dry_run && !o->sandbox.explain && log_open(&p->log, o, why) < 0)
                return complained(why);
        return 0;
}

/* Everything else that can fail before a job has run. */
static int prepare(struct parts *p, const struct run_options *o)
{
        char why[256], words[512];

        if (profile_make(&o->sandbox.profile, &p->policy, words, sizeof words) < 0)
                return complained(words);
        if (words[0])
                cli_complain("%s", words);
        if (p->log && log_begin(p->log, why) < 0)
                return complained(why);
        if (o->trace && trace_open(&p->trace, o->trace, why) < 0)
                return complained(why);
        if (o->tty) {
                p->terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
                if (p->terminal < 0)
                        return complained("--tty: there is no terminal");
        }
        errno = 0;
        if (o->nice && nice((int)o->nice) == -1 && errno) {
                cli_complain("--nice: %s", strerror(errno));
                return -1;
        }
        output_new(&p->output, o);
        return 0;
}

static bool let_go(struct parts *p)
{
        bool whole = trace_close(p->trace) == 0;

        template_free(p->command);
        template_free(p->tag);
        input_free(p->input);
        output_free(p->output);
        log_close(p->log);
        if (!whole)
                cli_complain("--trace: not all of it could be written");
        if (p->terminal >= 0)
                (void)close(p->terminal);
        (void)crew_sandbox_free(p->policy);
        return whole;
}

/*
 * How many jobs can run at once. Their descriptors are ours too, so the soft limit is raised where
 * they need it.
 */
static uint32_t fitting_slots(uint32_t wanted, bool sandboxed)
{
        const rlim_t each = sandboxed ? JOB_FDS + STARTER_FDS : JOB_FDS;
        struct rlimit files;
        rlim_t needed = wanted * each + OWN_FDS, slots;

        if (getrlimit(RLIMIT_NOFILE, &files) != 0)
                return wanted;
        if (files.rlim_cur < needed && files.rlim_cur < files.rlim_max) {
                files.rlim_cur = needed < files.rlim_max ? needed : files.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &files);
        }
        if (files.rlim_cur >= needed)
                return wanted;
        slots = files.rlim_cur > OWN_FDS + each ? (files.rlim_cur - OWN_FDS) / each : 1;
        if (wanted != QUANTITY_UNLIMITED)
                cli_complain("only %llu jobs at a time: there are no descriptors for more "
                             "(ulimit -n)",
                        (unsigned long long)slots);
        return (uint32_t)slots;
}

static void free_jobs(struct run *run)
{
        if (run->next)
                job_free(run->next);
        CREW__EACH (at, &run->retrying) {
                struct job *j = CREW__OF(at, struct job, link);

                if (j->printed)
                        output_end(run->maker.output, j->printed, NULL);
                job_free(j);
        }
        bytes_free(&run->refused);
        free(run->slots);
}

/* What the process with the terminal must know of the one that works. */
struct shared {
        int ended_by; /* signal that ended the run, or 0 */
};

static void tell_isolation(const struct engine *e)
{
        /* A job of another run is looked after by that. */
        if (!e->isolated && e->why[0] && !getenv("CREW_SEQ"))
                cli_complain("what jobs leave behind may outlive the run: %s", e->why);
}

static int go(struct parts *p, const struct run_options *o, struct engine *engine, uint64_t ignored,
        struct shared *shared)
{
        struct run run = {
                .o = o,
                .maker = { .o = o,
                        .command = p->command,
                        .tag = p->tag,
                        .output = p->output,
                        .wants_command = o->log || o->trace || o->verbose,
                        .terminal = p->terminal,
                        .policy = p->policy },
                .input = p->input,
                .log = p->log,
                .trace = p->trace,
                .engine = engine,
                .ignored = ignored,
                .n_slots = fitting_slots(o->slots, p->policy),
                .tally = { .total = input_total(p->input) },
        };
        int status;

        crew__link_init(&run.running);
        crew__link_init(&run.retrying);
        if (crew_waiter_new(&run.waiter, 0) < 0) {
                cli_complain("cannot wait for jobs: %s", crew_error_detail());
                return RUN_TROUBLE;
        }
        tell_isolation(engine);
        environment_make(&run.maker.environment, o, environ);
        progress_begin(&run.progress, o->bar, o->eta);
        schedule(&run);
        summary_tell(&run);
        status = summary_status(&run);
        shared->ended_by = run.ended_by;
        free_jobs(&run);
        job_maker_free(&run.maker);
        (void)crew_waiter_free(run.waiter);
        return status;
}

/* A file opened in their place would get what was meant for them. */
static void fill_standard_descriptors(void)
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
                if (fcntl(fd, F_GETFD) < 0)
                        (void)open("/dev/null", O_RDWR);
        }
}

static int work(struct parts *p, const struct run_options *o, struct engine *engine,
        uint64_t ignored, struct shared *shared)
{
        if (o->dry_run) {
                int status = dry_run(p->input, p->command);

                if (fflush(stdout) == 0 && !ferror(stdout))
                        return status;
                cli_complain("cannot write the output: %s", strerror(errno));
                clearerr(stdout);
                return RUN_TROUBLE;
        }
        if (o->sandbox.explain)
                return run_explain(o, p->input, p->command);
        return prepare(p, o) < 0 ? RUN_TROUBLE : go(p, o, engine, ignored, shared);
}

/*
 * No exit handlers in the two processes of an engine, nor in the job of another run (a leak
 * checker's would fail): one is the first of its namespace, one can fork no more once that has
 * ended, one may not trace.
 */
static int leave(int status, bool engine)
{
        if (engine || getenv("CREW_SEQ"))
                _exit(cli_finish(status));
        return status;
}

int crew_run_main(int argc, char **argv)
{
        struct parts parts = { .terminal = -1 };
        struct engine engine = { 0 };
        struct shared *shared;
        struct run_options o;
        uint64_t ignored;
        bool alone, works;
        int r;

        fill_standard_descriptors();
        r = run_options(&o, argc, argv);
        if (r != CLI_RUN) {
                run_options_free(&o);
                return r == CLI_USAGE ? RUN_TROUBLE : r;
        }
        shared = mmap(
                NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED) {
                cli_complain("out of memory");
                return RUN_TROUBLE;
        }
        if (gather(&parts, &o) < 0) {
                (void)let_go(&parts);
                run_options_free(&o);
                return leave(RUN_TROUBLE, false);
        }
        alone = o.dry_run || o.sandbox.explain;
        ignored = alone ? 0 : signals_begin();
        works = alone || engine_enter(&engine, o.sandbox.profile.kind == PROFILE_NONE, &r);
        if (works) {
                r = work(&parts, &o, &engine, ignored, shared);
                if (!let_go(&parts) && r == 0)
                        r = RUN_TROUBLE;
        }
        run_options_free(&o);
        /* Whoever started us sees why; a shell stops its loop. The first process of a namespace is
         * immune to its own signals. */
        if (shared->ended_by && !engine.isolated)
                signals_die(shared->ended_by);
        return leave(r, !works || engine.isolated);
}
