/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_TEMPLATE_H
#define CREW_TOOLS_CREW_TEMPLATE_H

/*
 * The command as typed, with its placeholders, and the command of one job made from it.
 *
 *   {}    all values          {1} {2} ...  one value      {-1} ...  counted from the last
 *   {.}   without extension   {/}  without directory   {//}  directory   {/.}  both
 *   {#}   number of the job   {%}  its slot
 *
 * A word that is nothing but {} or one of its relatives becomes one word per value; inside a word,
 * and in a script, the values are put in with blanks between them.
 */

#include "bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct template;

enum template_form {
        TEMPLATE_WORDS,  /* argv; no shell has a part in it */
        /* The words with blanks between them are a script, in which values are quoted; without any
         * words the values are. */
        TEMPLATE_SCRIPT,
        TEMPLATE_TEXT,   /* one word, for a tag */
};

struct template_options {
        enum template_form form;
        const char *all;   /* what stands for all values; NULL = "{}" */
        bool append;       /* add {} if there is no placeholder at all */
        size_t width;      /* values that every job has; 0 = not known */
        const char *shell; /* TEMPLATE_SCRIPT */
};

struct template_values {
        char *const *at;
        size_t n;
        uint64_t seq;
        unsigned slot;
};

/* 0; -EINVAL with words in `why`: {3} where there are only two values. */
int template_new(struct template **t, char *const words[], size_t n,
        const struct template_options *o, char why[256]);
void template_free(struct template *t);

/* A job's argv, ended by NULL, in one block to be freed. */
char **template_argv(const struct template *t, const struct template_values *v);

/* The same as one line for people and logs: argv quoted, or the script. */
void template_line(const struct template *t, const struct template_values *v, struct bytes *into);

/* TEMPLATE_TEXT: adds the text. */
void template_text(const struct template *t, const struct template_values *v, struct bytes *into);

/* Whether the program itself is the same for all jobs. */
bool template_program_fixed(const struct template *t);

#endif
