/* SPDX-License-Identifier: MIT */
#include "run-config.h"

#include "bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_CONFIG = 1 << 20 };

static void add_word(char ***words, int *n, struct bytes *word)
{
        *words = must_grow(*words, ((size_t)*n + 2) * sizeof **words);
        (*words)[(*n)++] = must_copy(word->n ? word->at : "", word->n);
        (*words)[*n] = NULL;
        word->n = 0;
}

int run_config_words(const char *text, char ***words)
{
        struct bytes word = { 0 };
        bool in_word = false;
        char quote = 0;
        int n = 0;

        *words = NULL;
        bytes_text(&word, "crew run");
        add_word(words, &n, &word);
        for (;; text++) {
                if (*text == 0 || (!quote && strchr(" \t\r\n", *text))) {
                        if (in_word)
                                add_word(words, &n, &word);
                        in_word = false;
                        if (*text == 0)
                                break;
                } else if (!quote && !in_word && *text == '#') {
                        while (text[1] && text[1] != '\n')
                                text++;
                } else if (*text == quote)
                        quote = 0;
                else if (!quote && (*text == '\'' || *text == '"')) {
                        quote = *text;
                        in_word = true;
                } else {
                        if (*text == '\\' && quote != '\'' && text[1])
                                text++;
                        bytes_char(&word, *text);
                        in_word = true;
                }
        }
        bytes_free(&word);
        return quote ? -1 : n;
}

/* Options point into the words as long as the command runs. */
static void keep(char **words)
{
        static char ***kept;
        static size_t n;

        kept = must_grow(kept, (n + 1) * sizeof *kept);
        kept[n++] = words;
}

static int take(const struct cli_command *command, const char *where, const char *text)
{
        struct cli_command here = *command;
        char **words;
        int n = run_config_words(text, &words);

        if (n < 0) {
                cli_name(command->name);
                cli_complain("%s: a quote is not closed", where);
                return CLI_USAGE;
        }
        keep(words);
        here.where = where;
        here.operands = "";
        here.most_operands = 0;
        return cli_parse(&here, n, words, NULL);
}

/* The text of the file; NULL with *err = 0 if there is none. */
static char *read_file(const char *path, int *err)
{
        struct bytes text = { 0 };
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        *err = fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != EACCES ? errno : 0;
        if (fd < 0)
                return NULL;
        while ((n = read(fd, bytes_room(&text, 4096), 4096)) > 0 && text.n < MOST_CONFIG)
                text.n += (size_t)n;
        if (n < 0)
                *err = errno;
        (void)close(fd);
        (void)bytes_ended(&text);
        return text.at;
}

static int take_file(const struct cli_command *command)
{
        const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        struct bytes path = { 0 };
        int r = CLI_RUN, err;
        char *text;

        if (base && *base == '/')
                bytes_format(&path, "%s/crew/run", base);
        else if (home && *home == '/')
                bytes_format(&path, "%s/.config/crew/run", home);
        else
                return CLI_RUN;
        text = read_file(bytes_ended(&path), &err);
        if (err) {
                cli_name(command->name);
                cli_complain("cannot read %s: %s", path.at, strerror(err));
                r = CLI_USAGE;
        } else if (text)
                r = take(command, path.at, text);
        free(text);
        bytes_free(&path);
        return r;
}

int run_config(const struct cli_command *command)
{
        const char *options = getenv("CREW_RUN_OPTIONS");
        int r = take_file(command);

        if (r == CLI_RUN && options)
                r = take(command, "CREW_RUN_OPTIONS", options);
        return r;
}
