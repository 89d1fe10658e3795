/* SPDX-License-Identifier: MIT */
#include "template.h"

#include "quote.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum what { LITERAL, ALL, ONE, SEQ, SLOT };
enum edit { NO_EXTENSION = 1, BASE = 2, DIRECTORY = 4 };

struct piece {
        enum what what;
        int position; /* ONE: from 1, or negative from the end */
        int edits;
        enum quote_place place; /* in a script */
        bool backticks;
        bool raw;   /* the value is the script */
        char *text; /* LITERAL */
        size_t length;
};

struct word {
        struct piece *at;
        size_t n;
};

struct template
{
        struct template_options o;
        char *all;
        struct word *words;
        size_t n_words;
        bool any; /* a placeholder */
};

static const struct {
        const char *text;
        int edits;
} suffixes[] = {
        { "", 0 },
        { ".", NO_EXTENSION },
        { "/", BASE },
        { "//", DIRECTORY },
        { "/.", BASE | NO_EXTENSION },
};

static bool known_suffix(const char *text, size_t n, int *edits)
{
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
                if (strlen(suffixes[i].text) == n && memcmp(suffixes[i].text, text, n) == 0) {
                        *edits = suffixes[i].edits;
                        return true;
                }
        }
        return false;
}

/* What stands between braces: a placeholder, or not. */
static bool understand(const char *inside, size_t n, struct piece *p)
{
        char *end;
        long position;

        if (n == 1 && (*inside == '#' || *inside == '%')) {
                p->what = *inside == '#' ? SEQ : SLOT;
                return true;
        }
        p->what = ALL;
        if (n > 0 && known_suffix(inside, n, &p->edits))
                return true;
        if (n == 0 || !(isdigit((unsigned char)*inside) || *inside == '-'))
                return false;
        if (*inside == '-' && !isdigit((unsigned char)inside[1]))
                return false;
        position = strtol(inside, &end, 10);
        p->what = ONE;
        p->position = (int)position;
        return position != 0 && labs(position) < INT_MAX &&
               known_suffix(end, n - (size_t)(end - inside), &p->edits);
}

/* The length of the placeholder at `at`, 0 if there is none. */
static size_t placeholder(const struct template *t, const char *at, struct piece *p)
{
        size_t all = strlen(t->all), n;

        *p = (struct piece){ .what = ALL };
        if (strncmp(at, t->all, all) == 0)
                return all;
        if (*at != '{')
                return 0;
        n = strcspn(at + 1, "{}");
        return at[1 + n] == '}' && understand(at + 1, n, p) ? n + 2 : 0;
}

static struct piece *new_piece(struct word *w)
{
        w->at = must_grow(w->at, (w->n + 1) * sizeof *w->at);
        return &w->at[w->n++];
}

static void literal(struct word *w, const char *from, size_t n)
{
        if (n)
                *new_piece(w) =
                        (struct piece){ .what = LITERAL, .text = must_copy(from, n), .length = n };
}

static int check_position(const struct template *t, const struct piece *p, char why[256])
{
        if (p->what != ONE || t->o.width == 0 || (size_t)abs(p->position) <= t->o.width)
                return 0;
        (void)snprintf(why, 256,
                "{%d}: each job has only %zu value%s; to pass {...} on as it stands, choose "
                "another "
                "placeholder with -I",
                p->position, t->o.width, t->o.width == 1 ? "" : "s");
        return -EINVAL;
}

static int parse_word(struct template *t, const char *text, struct word *w, char why[256])
{
        const char *from = text;
        struct quote_state state = { 0 };
        struct piece p;

        while (*text) {
                size_t n = placeholder(t, text, &p);

                if (n == 0) {
                        quote_follow(&state, *text++);
                        continue;
                }
                literal(w, from, (size_t)(text - from));
                p.place = quote_where(&state);
                p.backticks = quote_in_backticks(&state);
                if (check_position(t, &p, why) < 0)
                        return -EINVAL;
                *new_piece(w) = p;
                t->any = true;
                text += n;
                from = text;
                state.last = 'x'; /* a value is no blank */
        }
        literal(w, from, (size_t)(text - from));
        return 0;
}

static struct word *new_word(struct template *t)
{
        t->words = must_grow(t->words, (t->n_words + 1) * sizeof *t->words);
        t->words[t->n_words] = (struct word){ 0 };
        return &t->words[t->n_words++];
}

static int parse_words(struct template *t, char *const words[], size_t n, char why[256])
{
        struct bytes script = { 0 };
        int r = 0;

        if (t->o.form == TEMPLATE_WORDS) {
                for (size_t i = 0; i < n && r == 0; i++)
                        r = parse_word(t, words[i], new_word(t), why);
                return r;
        }
        for (size_t i = 0; i < n; i++) {
                if (i)
                        bytes_char(&script, ' ');
                bytes_text(&script, words[i]);
        }
        r = parse_word(t, bytes_ended(&script), new_word(t), why);
        bytes_free(&script);
        return r;
}

int template_new(struct template **out, char *const words[], size_t n,
        const struct template_options *o, char why[256])
{
        struct template *t = must_have(sizeof *t);
        const char *all = o->all ? o->all : "{}";

        t->o = *o;
        t->all = must_copy(all, strlen(all));
        if (parse_words(t, words, n, why) < 0) {
                template_free(t);
                return -EINVAL;
        }
        if (o->append && !t->any) {
                struct word *w = o->form == TEMPLATE_WORDS ? new_word(t) : &t->words[0];

                if (o->form == TEMPLATE_SCRIPT)
                        literal(w, " ", n > 0);
                *new_piece(w) = (struct piece){ .what = ALL, .raw = n == 0 };
        }
        *out = t;
        return 0;
}

void template_free(struct template *t)
{
        if (!t)
                return;
        for (size_t i = 0; i < t->n_words; i++) {
                for (size_t j = 0; j < t->words[i].n; j++) {
                        if (t->words[i].at[j].what == LITERAL)
                                free(t->words[i].at[j].text);
                }
                free(t->words[i].at);
        }
        free(t->words);
        free(t->all);
        free(t);
}

/* dirname(3), which wants to write into its argument: "a/b" "a", "/a" "/", "a" ".", "a/" ".". */
static size_t directory(const char *value, size_t n)
{
        while (n > 1 && value[n - 1] == '/')
                n--;
        while (n > 0 && value[n - 1] != '/')
                n--;
        while (n > 1 && value[n - 1] == '/')
                n--;
        return n;
}

/* What the edits leave of a value, in `into`. */
static void edited(struct bytes *into, const char *value, int edits)
{
        size_t n = strlen(value), slash = n, dot;

        while (slash > 0 && value[slash - 1] != '/')
                slash--;
        if (edits & DIRECTORY) {
                n = directory(value, n);
                if (n == 0)
                        bytes_char(into, '.');
                bytes_add(into, value, n);
                return;
        }
        if (edits & NO_EXTENSION) {
                for (dot = n; dot > slash && value[dot - 1] != '.'; dot--)
                        ;
                if (dot > slash)
                        n = dot - 1;
        }
        if (edits & BASE)
                bytes_add(into, value + slash, n > slash ? n - slash : 0);
        else
                bytes_add(into, value, n);
}

/* Adds a value the way the form wants it. */
static void put(
        const struct template *t, const struct piece *p, const char *value, struct bytes *into)
{
        struct bytes plain = { 0 }, quoted = { 0 };

        edited(&plain, value, p->edits);
        if (t->o.form != TEMPLATE_SCRIPT || p->raw)
                bytes_add(into, plain.at, plain.n);
        else if (p->backticks) {
                quote_shell(&quoted, bytes_ended(&plain), p->place);
                quote_backticked(into, quoted.at, quoted.n);
        } else
                quote_shell(into, bytes_ended(&plain), p->place);
        bytes_free(&plain);
        bytes_free(&quoted);
}

/* The value at a position, "" where a short row has none. */
static const char *at_position(const struct template_values *v, int position)
{
        size_t index = position > 0 ? (size_t)position - 1 : v->n - (size_t)-position;

        return index < v->n ? v->at[index] : "";
}

static void put_piece(const struct template *t, const struct piece *p,
        const struct template_values *v, struct bytes *into)
{
        switch (p->what) {
        case LITERAL:
                bytes_add(into, p->text, p->length);
                break;
        case SEQ:
                bytes_format(into, "%llu", (unsigned long long)v->seq);
                break;
        case SLOT:
                bytes_format(into, "%u", v->slot);
                break;
        case ONE:
                put(t, p, at_position(v, p->position), into);
                break;
        case ALL:
                for (size_t i = 0; i < v->n; i++) {
                        if (i)
                                bytes_char(into, ' ');
                        put(t, p, v->at[i], into);
                }
                break;
        }
}

/* Adds the words that one becomes, each with a zero behind it; returns how many. */
static size_t put_word(const struct template *t, const struct word *w,
        const struct template_values *v, struct bytes *into)
{
        if (w->n == 1 && w->at[0].what == ALL && t->o.form == TEMPLATE_WORDS) {
                for (size_t i = 0; i < v->n; i++) {
                        put(t, &w->at[0], v->at[i], into);
                        bytes_char(into, 0);
                }
                return v->n;
        }
        for (size_t i = 0; i < w->n; i++)
                put_piece(t, &w->at[i], v, into);
        bytes_char(into, 0);
        return 1;
}

char **template_argv(const struct template *t, const struct template_values *v)
{
        struct bytes text = { 0 };
        size_t n = 0, at = 0;
        char **argv;

        if (t->o.form == TEMPLATE_SCRIPT) {
                bytes_add(&text, t->o.shell, strlen(t->o.shell) + 1);
                bytes_add(&text, "-c", 3);
                n = 2;
        }
        for (size_t i = 0; i < t->n_words; i++)
                n += put_word(t, &t->words[i], v, &text);
        argv = must_have((n + 1) * sizeof *argv + text.n);
        if (text.n)
                memcpy(argv + n + 1, text.at, text.n);
        bytes_free(&text);
        for (size_t i = 0; i < n; i++) {
                argv[i] = (char *)(argv + n + 1) + at;
                at += strlen(argv[i]) + 1;
        }
        return argv;
}

void template_line(const struct template *t, const struct template_values *v, struct bytes *into)
{
        char **argv = template_argv(t, v);

        if (t->o.form == TEMPLATE_SCRIPT)
                bytes_text(into, argv[2]);
        else
                quote_line(into, (const char *const *)argv);
        free(argv);
}

void template_text(const struct template *t, const struct template_values *v, struct bytes *into)
{
        for (size_t i = 0; i < t->words[0].n; i++)
                put_piece(t, &t->words[0].at[i], v, into);
}

bool template_program_fixed(const struct template *t)
{
        const struct word *w = &t->words[0];

        return t->o.form == TEMPLATE_WORDS && t->n_words > 0 && w->n == 1 &&
               w->at[0].what == LITERAL;
}
