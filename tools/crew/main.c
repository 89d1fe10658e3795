/* SPDX-License-Identifier: MIT */
#include "base/nearest.h"
#include "cli.h"
#include "commands.h"

#include <crew/crew.h>
#include <locale.h>
#include <string.h>

static const struct {
        const char *name;
        const char *summary;
        int (*main)(int argc, char **argv);
} commands[] = {
        {"features", "what this kernel gives crew, and what crew does without it",
                crew_features_main},
        {"ps", "what programs that use crew are at: processes, pools, workers, queues",
                crew_ps_main},
#ifdef CREW_TOP
        {"top", "the same live, on a terminal", crew_top_main},
#endif
        {"run", "run a command for many values, many at a time", crew_run_main},
};

enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *out)
{
        fputs("Usage: crew COMMAND [OPTION]... [ARGUMENT]...\n\n"
              "Processes, queues and waiting on modern Linux, from the command line.\n\n"
              "Commands:\n",
                out);
        for (int i = 0; i < N_COMMANDS; i++)
                fprintf(out, "  %-16s%s\n", commands[i].name, commands[i].summary);
        fputs("\nOptions:\n"
              "  -h, --help      print this text\n"
              "      --version   print the version\n\n"
              "'crew COMMAND --help' and the manual page crew-COMMAND(1) tell more.\n",
                out);
}

static int unknown(const char *word)
{
        const char *names[N_COMMANDS + 2] = {"--help", "--version"}, *nearest;
        const char *kind = *word == '-' ? "option" : "command";

        for (int i = 0; i < N_COMMANDS; i++)
                names[2 + i] = commands[i].name;
        nearest = crew__nearest(word, names, N_COMMANDS + 2);
        if (nearest)
                return cli_misused("there is no %s '%s'; did you mean '%s'?", kind, word, nearest);
        return cli_misused("there is no %s '%s'", kind, word);
}

int main(int argc, char **argv)
{
        const char *word = argc > 1 ? argv[1] : NULL;

        cli_name("crew");
        /* How wide a character is; names are UTF-8 whatever the locale is. */
        (void)setlocale(LC_CTYPE, "C.UTF-8");
        if (!word) {
                help(stderr);
                return CLI_USAGE;
        }
        for (int i = 0; i < N_COMMANDS; i++) {
                if (strcmp(word, commands[i].name) == 0)
                        return cli_finish(commands[i].main(argc - 1, argv + 1));
        }
        if (strcmp(word, "--help") != 0 && strcmp(word, "-h") != 0 &&
                strcmp(word, "--version") != 0)
                return unknown(word);
        if (argc > 2)
                return cli_misused("unexpected argument '%s'", argv[2]);
        if (strcmp(word, "--version") == 0)
                printf("crew %s\n", crew_version());
        else
                help(stdout);
        return cli_finish(CLI_DONE);
}
