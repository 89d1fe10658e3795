/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <string.h>

static void spell(const struct cli_option *o, const char *between, FILE *out)
{
        if (o->letter)
                fprintf(out, "-%c%s", o->letter, between);
        fprintf(out, "--%s", o->name);
}

/* How bash finds what may stand for the argument; NULL: anything. */
static const char *completed_by(const char *argument)
{
        if (strcmp(argument, "FILE") == 0)
                return "compgen -f";
        if (strcmp(argument, "DIR") == 0 || strcmp(argument, "PATH") == 0)
                return "compgen -d";
        return NULL;
}

static void complete_argument(const struct cli_option *o, FILE *out)
{
        const char *by = completed_by(o->argument);

        fputs("        ", out);
        spell(o, "|", out);
        fputs(")\n                ", out);
        if (by)
                fprintf(out, "COMPREPLY=($(%s -- \"$current\"))", by);
        else if (strchr(o->argument, '|') && !strpbrk(o->argument, "=%,"))
                fprintf(out, "COMPREPLY=($(IFS='|'; compgen -W '%s' -- \"$current\"))",
                        o->argument);
        else
                fputs("COMPREPLY=()", out);
        fputs("\n                return\n                ;;\n", out);
}

void cli_completion(const struct cli_command *command, FILE *out)
{
        char function[64];

        (void)snprintf(function, sizeof function, "_%s", command->name);
        for (char *at = function; *at; at++)
                *at = *at == ' ' || *at == '-' ? '_' : *at;
        /* Bash makes three words of --name=value. */
        fprintf(out,
                "%s()\n{\n"
                "        local current=${COMP_WORDS[COMP_CWORD]}\n"
                "        local before=${COMP_WORDS[COMP_CWORD-1]}\n"
                "        if [ \"$current\" = = ]; then\n"
                "                current=\n"
                "        elif [ \"$before\" = = ]; then\n"
                "                before=${COMP_WORDS[COMP_CWORD-2]}\n"
                "        fi\n"
                "        case $before in\n",
                function);
        for (size_t i = 0; i < command->n_options; i++) {
                if (command->options[i].argument)
                        complete_argument(&command->options[i], out);
        }
        fputs("        esac\n        case $current in\n        -*)\n"
              "                COMPREPLY=($(compgen -W '",
                out);
        for (size_t i = 0; i < command->n_options; i++) {
                spell(&command->options[i], " ", out);
                fputc(' ', out);
        }
        fputs("-h --help' -- \"$current\"))\n                ;;\n"
              "        *)\n                COMPREPLY=($(compgen -c -f -- \"$current\"))\n"
              "                ;;\n        esac\n}\n",
                out);
}
