/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CLI_H
#define CREW_TOOLS_CLI_H

/*
 * What crew's commands share: one table of options per command, which parses the command line and
 * writes --help, and the output helpers. Exit statuses: 0 done, 1 it did not work or the answer is
 * no, 2 the command line makes no sense.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum cli_kind {
        CLI_FLAG,    /* no argument; bool *target becomes true */
        CLI_TEXT,    /* const char **target */
        CLI_INTEGER, /* int64_t *target, from .least to .most */
        CLI_CALL,    /* call(value, target), once per occurrence */
};

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_RUN = -1 };

/*
 * Takes an option's argument apart. 0, CLI_USAGE after cli_complain(), or CLI_RUN: like --help it
 * did all there is to do. `value` lives as long as argv.
 */
typedef int cli_call_fn(const char *value, void *target);

struct cli_option {
        char letter;      /* 0 = has none */
        const char *name; /* without the dashes */
        /* What --help calls it; NULL = takes none. FILE and DIR are completed as such, and words
         * with '|' between them as themselves. */
        const char *argument;
        const char *help; /* NULL: another name of the option before it */
        enum cli_kind kind;
        void *target;
        cli_call_fn *call;
        int64_t least, most;
        const char *section; /* begins here in --help, or NULL */
};

struct cli_command {
        const char *name;     /* as typed: "crew features" */
        const char *operands; /* the synopsis after the options: "[FILE]...", or "" */
        const char *summary;  /* one line */
        const char *details;  /* printed after the options, or NULL */
        const struct cli_option *options;
        size_t n_options;
        int least_operands, most_operands; /* most < 0 = any number */
        bool operands_end_options;         /* what follows the first operand is not ours */
        const char *where; /* what complaints name if this is no command line: a file, a variable */
};

/*
 * Parses argv[1..] into the targets and moves the operands to argv[1..*n_operands]. CLI_RUN: go on.
 * Anything else is the exit status: --help was printed (CLI_DONE), or the mistake was named on
 * stderr (CLI_USAGE). Every command has --help (-h) by itself.
 */
int cli_parse(const struct cli_command *command, int argc, char **argv, int *n_operands);

/* Prints --help. */
void cli_help(const struct cli_command *command, FILE *out);

/* Prints a function for bash that completes the command: "_crew_run" for "crew run". */
void cli_completion(const struct cli_command *command, FILE *out);

/* "crew features: …" and a newline on stderr. The name is that of the command parsed last. */
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, with where to find help; returns CLI_USAGE. */
int cli_misused(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Sets the name that cli_complain() uses where nothing was parsed yet. */
void cli_name(const char *name);

/*
 * Writes out stdout and closes it. A failure (a full disk, a closed pipe) is named on stderr and
 * turns status 0 into 1. Call it last: return cli_finish(status).
 */
int cli_finish(int status);

/* The next item of a comma-separated list, blanks trimmed and empty ones left out; NULL = end. */
const char *cli_next_item(const char **list, size_t *length);

/* Whether to colour: a terminal that can, and NO_COLOR is not set (or empty). */
bool cli_colour(FILE *out);

#define CLI_RED "31"
#define CLI_GREEN "32"
#define CLI_YELLOW "33"
#define CLI_BOLD "1"

struct cli_cell {
        const char *text;
        const char *colour; /* CLI_..., or NULL */
        bool right;         /* aligned to the right */
};

/* Prints rows of cells (row by row) in aligned columns, two blanks apart. */
void cli_table(FILE *out, const struct cli_cell *cells, size_t n_rows, size_t n_columns);

/* The columns of a terminal that a text takes; wide characters take two, combining ones none. */
size_t cli_width(const char *text);

/* A JSON string with its quotes. What is not UTF-8 becomes U+FFFD; NULL becomes null. */
void cli_json_string(FILE *out, const char *text);

#endif
