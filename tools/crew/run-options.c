/* SPDX-License-Identifier: MIT */
#include "bytes.h"
#include "cli.h"
#include "quantity.h"
#include "run-config.h"
#include "run-sources.h"
#include "run.h"

#include <crew/process.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char details[] =
        "Without a source of values, they are the lines of standard input. The command stands\n"
        "in front of its values:\n"
        "  ::: WORD...      these words        :::+ WORD...     the same, one with each before\n"
        "  :::: FILE...     lines of files     ::::+ FILE...    (of several ::: or ::::, every\n"
        "                                                      combination is run)\n"
        "and has places for them (without any, they are added to it at the end):\n"
        "  {} the value   {.} no extension   {/} no directory   {//} directory   {/.} both\n"
        "  {1} {2} ...    values by number, also {1.} {2/} ...; {-1} is the last\n"
        "  {#} the job's number, {%} its slot\n"
        "\n"
        "Some recipes:\n"
        "  crew run gzip -9 ::: *.log\n"
        "  find . -name '*.flac' -print0 | crew run -0 --tag flac -d {} -o {.}.wav\n"
        "  crew run --shell 'sort {} | uniq -c > {.}.counts' ::: *.txt\n"
        "  crew run -k --timeout 30 --retries 3 ping -c1 :::: hosts.txt\n"
        "  crew run --joblog log --resume --bar ./simulate {1} {2} ::: 1 2 3 ::: low high\n"
        "\n"
        "Exit status: 0 all jobs succeeded; 1-100 so many failed, 101 more; 126 the command\n"
        "cannot be run, 127 it is not there; 255 something else went wrong.";

static int bad_quantity(const char *option, const char *value, const char *example)
{
        return cli_misused("--%s: '%s' makes no sense; %s", option, value, example);
}

static int take_duration(const char *option, const char *value, int64_t *ns)
{
        if (quantity_duration(value, ns) < 0)
                return bad_quantity(option, value, "write 10, 2.5, 500ms, 2m or 1h30m");
        return 0;
}

#define TAKES_DURATION(field, name)                                                                \
        static int take_##field(const char *value, void *target)                                   \
        {                                                                                          \
                return take_duration(name, value, &((struct run_options *)target)->field);         \
        }
TAKES_DURATION(delay, "delay")
TAKES_DURATION(timeout, "timeout")
TAKES_DURATION(kill_after, "kill-after")
TAKES_DURATION(retry_delay, "retry-delay")

static int take_slots(const char *value, void *target)
{
        struct run_options *o = target;

        if (quantity_slots(value, (unsigned)crew_cpu_count(), &o->slots) < 0)
                return bad_quantity("jobs", value,
                        "write a number, +N or -N from that of processors, N% of it, or 0 for as "
                        "many as can be");
        return 0;
}

static int take_load(const char *value, void *target)
{
        struct run_options *o = target;

        if (quantity_share(value, crew_cpu_count(), &o->load) < 0)
                return bad_quantity("load", value,
                        "write a number of processes, or N% of the "
                        "processors");
        return 0;
}

static int take_memory_free(const char *value, void *target)
{
        struct run_options *o = target;

        if (quantity_size(value, &o->memory_free) < 0)
                return bad_quantity("memfree", value, "write 500M, 1.5G or a number of bytes");
        return 0;
}

static int take_halt(const char *value, void *target)
{
        struct run_options *o = target;

        if (halt_parse(value, &o->halt) < 0)
                return bad_quantity("halt", value,
                        "write soon or now, a comma, and fail=N, success=N or done=N; N may be a "
                        "share, as 10%");
        return 0;
}

static int take_batch(const char *value, void *target)
{
        struct run_options *o = target;
        char *end;
        long n = strtol(value, &end, 10);

        if (end == value || *end || n < 0 || n > INT_MAX)
                return bad_quantity("max-args", value, "write how many values a job gets");
        o->input.batch = (size_t)n;
        return 0;
}

static int take_lines(const char *value, void *target)
{
        struct run_options *o = target;

        o->input.skip_empty = true;
        return take_batch(value, target);
}

static int take_delimiter(const char *value, void *target)
{
        static const char escapes[] = "0\0n\nt\tr\rf\fv\va\ab\b\\\\";
        struct run_options *o = target;
        const char *escape;
        char *end;

        o->delimiter_given = true;
        if (value[0] && !value[1]) {
                o->input.delimiter = value[0];
                return 0;
        }
        if (value[0] == '\\' && value[1] && !value[2]) {
                for (escape = escapes; escape < escapes + sizeof escapes - 1; escape += 2) {
                        if (*escape == value[1]) {
                                o->input.delimiter = escape[1];
                                return 0;
                        }
                }
        }
        if (value[0] == '\\' && value[1] == 'x' && value[2]) {
                unsigned long code = strtoul(value + 2, &end, 16);

                if (!*end && code < 256) {
                        o->input.delimiter = (char)code;
                        return 0;
                }
        }
        return bad_quantity("delimiter", value, "write one byte, or \\0, \\n, \\t, \\x1f");
}

static int take_null(const char *value, void *target)
{
        (void)value;
        return take_delimiter("\\0", target);
}

/* regcomp(3) knows no \t. */
static int take_columns(const char *value, void *target)
{
        struct run_options *o = target;
        struct bytes pattern = { 0 };
        char words[128];
        int r;

        for (const char *at = value; *at; at++) {
                if (at[0] == '\\' && at[1] == 't') {
                        bytes_char(&pattern, '\t');
                        at++;
                } else
                        bytes_char(&pattern, *at);
        }
        if (o->input.columns)
                regfree(&o->columns);
        o->input.columns = NULL;
        r = regcomp(&o->columns, bytes_ended(&pattern), REG_EXTENDED);
        bytes_free(&pattern);
        if (r != 0) {
                (void)regerror(r, &o->columns, words, sizeof words);
                return cli_misused("--colsep: '%s': %s", value, words);
        }
        o->input.columns = &o->columns;
        return 0;
}

static int take_replace(const char *value, void *target)
{
        struct run_options *o = target;

        if (!*value)
                return cli_misused("--replace: the placeholder cannot be empty");
        o->replace = value;
        return 0;
}

static int take_file(const char *value, void *target)
{
        struct run_options *o = target;

        run_source_file(&o->input, value);
        return 0;
}

static int take_env(const char *value, void *target)
{
        struct run_options *o = target;
        bool sets = strchr(value, '=');
        const char ***list = sets ? &o->set_env : &o->pass_env;
        size_t *n = sets ? &o->n_set_env : &o->n_pass_env;

        if (!*value || *value == '=')
                return cli_misused("--env: '%s' names no variable", value);
        *list = must_grow(*list, (*n + 1) * sizeof **list);
        (*list)[(*n)++] = value;
        return 0;
}

#define SETS(function, field, constant)                                                            \
        static int function(const char *value, void *target)                                       \
        {                                                                                          \
                (void)value;                                                                       \
                ((struct run_options *)target)->field = constant;                                  \
                return 0;                                                                          \
        }
SETS(take_grouped, output, RUN_GROUPED)
SETS(take_line_buffer, output, RUN_LINES)
SETS(take_ungroup, output, RUN_UNGROUPED)

static int take_log_format(const char *value, void *target)
{
        struct run_options *o = target;

        if (strcmp(value, "gnu") != 0 && strcmp(value, "json") != 0)
                return cli_misused("--joblog-format: there is gnu and json, not '%s'", value);
        o->log_format = strcmp(value, "gnu") == 0 ? RUN_LOG_GNU : RUN_LOG_JSON;
        return 0;
}

static int check(struct run_options *o)
{
        if ((o->resume || o->resume_failed) && !o->log)
                return cli_misused("--resume goes by a log: name it with --joblog");
        if (o->n_command == 0 && !o->shell)
                return cli_misused("there is no command (to run each value as a shell script: "
                                   "--shell)");
        if (o->tty) {
                /* A terminal has one reader, who must see what is asked. */
                o->slots = 1;
                o->output = RUN_UNGROUPED;
        }
        if (o->output == RUN_UNGROUPED && (o->tag || o->tag_text || o->keep_order || o->results))
                return cli_misused("--ungroup: what jobs write themselves can be neither tagged, "
                                   "ordered nor kept");
        if (o->output == RUN_LINES && o->keep_order)
                return cli_misused("--keep-order waits for whole jobs, --line-buffer does not");
        o->sandbox.profile.wd = o->directory;
        return CLI_RUN;
}

void run_options_free(struct run_options *o)
{
        run_sources_free(&o->input);
        run_sandbox_free(&o->sandbox);
        if (o->input.columns)
                regfree(&o->columns);
        free(o->set_env);
        free(o->pass_env);
}

static void defaults(struct run_options *o)
{
        *o = (struct run_options){
                .input = { .delimiter = '\n', .batch = 1 },
                .slots = (uint32_t)crew_cpu_count(),
                .kill_after = CREW_S(1),
                .retry_delay = CREW_MS(100),
                .load = -1,
                .retries = 0,
                .sandbox.on_violation = CREW_VIOLATION_DENY,
        };
}

/* A file for bash: this command's options, and the commands themselves. */
static int take_completion(const char *value, void *target)
{
        static const char commands[] =
                "_crew()\n{\n"
                "        if [ \"$COMP_CWORD\" = 1 ]; then\n"
                "                COMPREPLY=($(compgen -W \"$(crew --help | sed -n "
                "'s/^  \\([a-z]*\\) .*/\\1/p') --help --version\" -- \"${COMP_WORDS[1]}\"))\n"
                "        elif [ \"${COMP_WORDS[1]}\" = run ]; then\n"
                "                _crew_run\n"
                "        fi\n}\n"
                "complete -F _crew crew\n";
        const struct cli_command **command = target;

        if (strcmp(value, "bash") != 0)
                return cli_misused("--completion: there is bash, not '%s'", value);
        fputs("# bash completion for crew; written by crew run --completion bash\n", stdout);
        cli_completion(*command, stdout);
        fputs(commands, stdout);
        return CLI_RUN;
}

int run_options(struct run_options *o, int argc, char **argv)
{
        const struct cli_command *self;
        const struct cli_option options[] = {
#include "run-table.h"
        };
        struct cli_command command = {
                .name = "crew run",
                .operands = "COMMAND... [::: VALUE...]...",
                .summary = "Runs a command once for each value, many at a time.",
                .details = details,
                .options = options,
                .n_options = sizeof options / sizeof *options,
                .most_operands = -1,
                .operands_end_options = true,
        };
        int n_operands, r;

        self = &command;
        defaults(o);
        r = run_config(&command);
        if (r == CLI_RUN)
                r = cli_parse(&command, argc, argv, &n_operands);
        if (r == CLI_RUN)
                r = run_sources(o, argv + 1, (size_t)n_operands);
        return r == CLI_RUN ? check(o) : r;
}
