/* SPDX-License-Identifier: MIT */
#include "quote.h"

#include "utf8.h"

#include <ctype.h>
#include <string.h>

/* What no shell gives a meaning to, wherever it stands in a word. */
static bool plain(char c)
{
        return isalnum((unsigned char)c) || (c && strchr("_-+./:,@%", c)) || (signed char)c < 0;
}

static bool all_plain(const char *text)
{
        if (!*text)
                return false;
        for (; *text; text++) {
                if (!plain(*text))
                        return false;
        }
        return true;
}

void quote_shell(struct bytes *into, const char *text, enum quote_place place)
{
        bool quotes = place == QUOTE_WORD && !all_plain(text);

        if (quotes)
                bytes_char(into, '\'');
        for (; *text; text++) {
                if (place == QUOTE_DOUBLE && strchr("\"$`\\", *text))
                        bytes_char(into, '\\');
                if (place != QUOTE_DOUBLE && *text == '\'')
                        bytes_text(into, "'\\'");
                bytes_char(into, *text);
        }
        if (quotes)
                bytes_char(into, '\'');
}

static bool any_control(const char *text)
{
        for (; *text; text++) {
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        return true;
        }
        return false;
}

/* Bash, zsh, ksh and the coming POSIX know $'...'. */
static void quote_ansi(struct bytes *into, const char *text)
{
        bytes_text(into, "$'");
        for (; *text; text++) {
                unsigned char c = (unsigned char)*text;

                if (c == '\n')
                        bytes_text(into, "\\n");
                else if (c == '\t')
                        bytes_text(into, "\\t");
                else if (c < 0x20 || c == 0x7f)
                        bytes_format(into, "\\%03o", c);
                else if (c == '\'' || c == '\\')
                        bytes_format(into, "\\%c", c);
                else
                        bytes_char(into, (char)c);
        }
        bytes_char(into, '\'');
}

void quote_line(struct bytes *into, const char *const argv[])
{
        for (size_t i = 0; argv[i]; i++) {
                if (i)
                        bytes_char(into, ' ');
                if (any_control(argv[i]))
                        quote_ansi(into, argv[i]);
                else
                        quote_shell(into, argv[i], QUOTE_WORD);
        }
}

void quote_visible(struct bytes *into, const char *text, size_t n)
{
        const char *end = text + n;

        while (text < end) {
                unsigned char c = (unsigned char)*text;
                int length = utf8_length(text, (size_t)(end - text));

                if (c == '\n')
                        bytes_text(into, "\\n");
                else if (c == '\t')
                        bytes_text(into, "\\t");
                else if (length == 0 || c < 0x20 || c == 0x7f)
                        bytes_format(into, "\\x%02x", c);
                else if (c == 0xc2 && (unsigned char)text[1] < 0xa0)
                        bytes_format(into, "\\u00%02x", (unsigned char)text[1]);
                else
                        bytes_add(into, text, (size_t)length);
                text += length ? length : 1;
        }
}

static unsigned char innermost(const struct quote_state *s)
{
        return s->depth ? s->open[s->depth - 1] : 0;
}

/* Deeper than anybody writes: what is then open is the last that could be noted. */
static void enter(struct quote_state *s, char c)
{
        if (s->depth < sizeof s->open)
                s->open[s->depth++] = (unsigned char)c;
}

static void leave(struct quote_state *s)
{
        if (s->depth)
                s->depth--;
}

/* Outside quotes: in a script, $(...), (...) or `...`. */
static void follow_word(struct quote_state *s, char c)
{
        bool begins = s->last == 0 || strchr(" \t\n;&|(", s->last);

        switch (c) {
        case '#':
                s->comment = begins;
                break;
        case '\'':
        case '"':
        case '(':
                enter(s, c);
                break;
        case ')':
                if (innermost(s) == '(')
                        leave(s);
                break;
        case '`':
                if (innermost(s) == '`')
                        leave(s);
                else
                        enter(s, c);
                break;
        }
}

static void follow_double(struct quote_state *s, char c)
{
        if (c == '"')
                leave(s);
        else if (c == '`' || (c == '(' && s->dollar))
                enter(s, c);
}

void quote_follow(struct quote_state *s, char c)
{
        unsigned char in = innermost(s);

        if (s->comment)
                s->comment = c != '\n';
        else if (s->backslash)
                s->backslash = false;
        else if (in == '\'') {
                if (c == '\'')
                        leave(s);
        } else if (c == '\\')
                s->backslash = true;
        else if (in == '"')
                follow_double(s, c);
        else
                follow_word(s, c);
        s->dollar = c == '$';
        s->last = c;
}

enum quote_place quote_where(const struct quote_state *s)
{
        unsigned char in = innermost(s);

        return in == '\'' ? QUOTE_SINGLE : in == '"' ? QUOTE_DOUBLE : QUOTE_WORD;
}

bool quote_in_backticks(const struct quote_state *s)
{
        return memchr(s->open, '`', s->depth);
}

void quote_backticked(struct bytes *into, const char *text, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (strchr("\\`$", text[i]) && text[i])
                        bytes_char(into, '\\');
                bytes_char(into, text[i]);
        }
}
