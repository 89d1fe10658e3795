/* SPDX-License-Identifier: MIT */
#include "run-sources.h"

#include "bytes.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SOURCES = 64 };

static const struct separator {
        const char *text;
        enum input_kind kind;
        bool linked;
} separators[] = {
        { ":::", INPUT_WORDS, false },
        { ":::+", INPUT_WORDS, true },
        { "::::", INPUT_FILE, false },
        { "::::+", INPUT_FILE, true },
};

static const struct separator *separator(const char *word)
{
        for (size_t i = 0; i < sizeof separators / sizeof *separators; i++) {
                if (strcmp(word, separators[i].text) == 0)
                        return &separators[i];
        }
        return NULL;
}

static struct input_source *new_source(struct input_options *o)
{
        o->sources = must_grow(o->sources, (o->n_sources + 1) * sizeof *o->sources);
        o->sources[o->n_sources] = (struct input_source){ 0 };
        return &o->sources[o->n_sources++];
}

void run_source_file(struct input_options *o, const char *name)
{
        struct input_source *source = new_source(o);
        char **words = must_have(sizeof *words);

        words[0] = must_copy(name, strlen(name));
        *source =
                (struct input_source){ .kind = INPUT_FILE, .words = words, .n = 1, .owned = words };
}

void run_sources_free(struct input_options *o)
{
        for (size_t i = 0; i < o->n_sources; i++) {
                if (o->sources[i].owned)
                        free(o->sources[i].owned[0]);
                free(o->sources[i].owned);
        }
        free(o->sources);
}

/* What one separator introduces. Each file is a source of its own. */
static int take_sources(
        struct input_options *o, const struct separator *kind, char **words, size_t n)
{
        if (kind->linked && o->n_sources == 0)
                return cli_misused("'%s': there is no source before it to link to", kind->text);
        if (kind->kind == INPUT_WORDS) {
                *new_source(o) = (struct input_source){
                        .kind = INPUT_WORDS, .linked = kind->linked, .words = words, .n = n
                };
                return CLI_RUN;
        }
        if (n == 0)
                return cli_misused("'%s' names no file", kind->text);
        for (size_t i = 0; i < n; i++) {
                *new_source(o) = (struct input_source){
                        .kind = INPUT_FILE, .linked = kind->linked, .words = &words[i], .n = 1
                };
        }
        return CLI_RUN;
}

static int check_sources(const struct input_options *o)
{
        size_t stdins = 0;

        if (o->n_sources > MOST_SOURCES)
                return cli_misused("there are more than %d sources of values", MOST_SOURCES);
        for (size_t i = 0; i < o->n_sources; i++) {
                stdins += o->sources[i].kind == INPUT_FILE &&
                          strcmp(o->sources[i].words[0], "-") == 0;
        }
        if (stdins > 1)
                return cli_misused("standard input can be read only once");
        return CLI_RUN;
}

int run_sources(struct run_options *o, char **operands, size_t n)
{
        size_t at = 0;

        while (at < n && !separator(operands[at]))
                at++;
        o->command = operands;
        o->n_command = at;
        while (at < n) {
                const struct separator *kind = separator(operands[at++]);
                size_t from = at;
                int r;

                while (at < n && !separator(operands[at]))
                        at++;
                r = take_sources(&o->input, kind, operands + from, at - from);
                if (r != CLI_RUN)
                        return r;
        }
        if (o->input.n_sources == 0)
                run_source_file(&o->input, "-");
        return check_sources(&o->input);
}
