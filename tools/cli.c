/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include "base/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OPTIONS = 128, HELP_COLUMN = 28 };

static const char *complainer = "crew", *complaint_about;

/* Also in every command's table, whether it says so or not. */
static const struct cli_option help_option = {
        .letter = 'h', .name = "help", .help = "print this text", .kind = CLI_FLAG};

void cli_name(const char *name)
{
        complainer = name;
}

static void __attribute__((format(printf, 1, 0))) complain(const char *format, va_list args)
{
        char words[4096];

        fprintf(stderr, "%s: ", complainer);
        if (complaint_about)
                fprintf(stderr, "%s: ", complaint_about);
        (void)vsnprintf(words, sizeof words, format, args);
        /* Names may come from anywhere, and the terminal takes orders. */
        for (const char *at = words; *at; at++) {
                if ((unsigned char)*at < ' ' || *at == 0x7f)
                        fprintf(stderr, "\\x%02x", (unsigned)*at);
                else
                        fputc(*at, stderr);
        }
        fputc('\n', stderr);
}

void cli_complain(const char *format, ...)
{
        va_list args;

        va_start(args, format);
        complain(format, args);
        va_end(args);
}

int cli_misused(const char *format, ...)
{
        va_list args;

        va_start(args, format);
        complain(format, args);
        va_end(args);
        fprintf(stderr, "Try '%s --help'.\n", complainer);
        return CLI_USAGE;
}

static void help_line(const struct cli_option *option, FILE *out)
{
        char left[80];
        int n = 0;

        n += snprintf(left, sizeof left, option->letter ? "  -%c, " : "      ", option->letter);
        n += snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", option->name,
                option->argument ? "=" : "", option->argument ? option->argument : "");
        if (n >= HELP_COLUMN - 1)
                fprintf(out, "%s\n%*s%s\n", left, HELP_COLUMN, "", option->help);
        else
                fprintf(out, "%-*s%s\n", HELP_COLUMN, left, option->help);
}

void cli_help(const struct cli_command *command, FILE *out)
{
        fprintf(out, "Usage: %s [OPTION]...%s%s\n\n%s\n\n%s", command->name,
                *command->operands ? " " : "", command->operands, command->summary,
                command->n_options && command->options[0].section ? "" : "Options:\n");
        for (size_t i = 0; i < command->n_options; i++) {
                if (command->options[i].section)
                        fprintf(out, "%s%s:\n", i ? "\n" : "", command->options[i].section);
                if (command->options[i].help)
                        help_line(&command->options[i], out);
        }
        help_line(&help_option, out);
        if (command->details)
                fprintf(out, "\n%s\n", command->details);
}

static const struct cli_option *by_letter(const struct cli_command *command, char letter)
{
        for (size_t i = 0; i < command->n_options; i++) {
                if (command->options[i].letter == letter)
                        return &command->options[i];
        }
        return letter == help_option.letter ? &help_option : NULL;
}

static const struct cli_option *by_name(
        const struct cli_command *command, const char *name, size_t length)
{
        for (size_t i = 0; i <= command->n_options; i++) {
                const struct cli_option *option =
                        i < command->n_options ? &command->options[i] : &help_option;

                if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
                        return option;
        }
        return NULL;
}

static int unknown_name(const struct cli_command *command, const char *name, size_t length)
{
        const char *names[MOST_OPTIONS + 1], *nearest;
        char word[64];
        size_t n = 0;

        for (size_t i = 0; i < command->n_options && n < MOST_OPTIONS; i++)
                names[n++] = command->options[i].name;
        names[n++] = help_option.name;
        snprintf(word, sizeof word, "%.*s", (int)length, name);
        nearest = crew__nearest(word, names, n);
        if (nearest)
                return cli_misused("there is no option '--%.*s'; did you mean '--%s'?", (int)length,
                        name, nearest);
        return cli_misused("there is no option '--%.*s'", (int)length, name);
}

static int take_integer(const struct cli_option *option, const char *value)
{
        char *end;
        long long number;

        errno = 0;
        number = strtoll(value, &end, 10);
        if (end == value || *end || isspace((unsigned char)*value))
                return cli_misused("--%s: '%s' is not a whole number", option->name, value);
        if (errno == ERANGE || number < option->least || number > option->most)
                return cli_misused("--%s: %s is not between %" PRId64 " and %" PRId64, option->name,
                        value, option->least, option->most);
        *(int64_t *)option->target = number;
        return 0;
}

static int take(
        const struct cli_command *command, const struct cli_option *option, const char *value)
{
        if (option == &help_option) {
                cli_help(command, stdout);
                return CLI_RUN; /* turned into CLI_DONE by the parser */
        }
        switch (option->kind) {
        case CLI_FLAG:
                *(bool *)option->target = true;
                return 0;
        case CLI_TEXT:
                *(const char **)option->target = value;
                return 0;
        case CLI_INTEGER:
                return take_integer(option, value);
        case CLI_CALL:
                return option->call(value, option->target);
        }
        return 0;
}

/* --name, --name=value, --name value. *next is advanced over a value of its own. */
static int parse_long(const struct cli_command *command, const char *word, char **next, int *used)
{
        size_t length = strcspn(word, "=");
        const struct cli_option *option = by_name(command, word, length);
        const char *value = word[length] ? word + length + 1 : NULL;

        if (!option)
                return unknown_name(command, word, length);
        if (!option->argument && value)
                return cli_misused("the option '--%s' takes no argument", option->name);
        if (option->argument && !value) {
                if (!*next)
                        return cli_misused("the option '--%s' needs an argument: %s", option->name,
                                option->argument);
                value = *next;
                *used = 1;
        }
        return take(command, option, value);
}

/* -a, -ab, -nvalue, -n value. */
static int parse_short(const struct cli_command *command, const char *word, char **next, int *used)
{
        for (; *word; word++) {
                const struct cli_option *option = by_letter(command, *word);
                const char *value;
                int r;

                if (!option)
                        return cli_misused("there is no option '-%c'", *word);
                if (option->argument) {
                        value = word[1] ? word + 1 : *next;
                        if (!value)
                                return cli_misused("the option '-%c' needs an argument: %s", *word,
                                        option->argument);
                        *used = !word[1];
                        return take(command, option, value);
                }
                r = take(command, option, NULL);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int check_operands(const struct cli_command *command, int n, char **operands)
{
        if (command->most_operands >= 0 && n > command->most_operands)
                return cli_misused("unexpected argument '%s'", operands[command->most_operands]);
        if (n < command->least_operands)
                return cli_misused("an argument is missing: %s", command->operands);
        return CLI_RUN;
}

static int parse(const struct cli_command *command, int argc, char **argv, int *n_operands)
{
        int n = 0, r, used;

        complainer = command->name;
        complaint_about = command->where;
        for (int i = 1; i < argc; i += 1 + used) {
                const char *word = argv[i];

                used = 0;
                if (word[0] != '-' || word[1] == 0) {
                        argv[1 + n++] = argv[i];
                        if (!command->operands_end_options)
                                continue;
                        word = "--";
                }
                if (strcmp(word, "--") == 0) {
                        for (i++; i < argc; i++)
                                argv[1 + n++] = argv[i];
                        break;
                }
                r = word[1] == '-' ? parse_long(command, word + 2, &argv[i + 1], &used)
                                   : parse_short(command, word + 1, &argv[i + 1], &used);
                if (r == CLI_RUN)
                        return CLI_DONE;
                if (r != 0)
                        return r;
        }
        if (n_operands)
                *n_operands = n;
        return check_operands(command, n, argv + 1);
}

int cli_parse(const struct cli_command *command, int argc, char **argv, int *n_operands)
{
        int r = parse(command, argc, argv, n_operands);

        complaint_about = NULL;
        return r;
}
