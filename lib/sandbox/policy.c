/* SPDX-License-Identifier: MIT */
#include "sandbox/policy.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "base/nearest.h"
#include "kernel/features.h"
#include "sandbox/landlock.h"
#include "sandbox/share.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_WORD = 32 };

static const char blanks[] = " \t\n";

static const struct {
        const char *text;
        unsigned brings;
} words[CREW__WORD_COUNT] = {
#define CREW__ROW(constant, text, brings) [CREW__NUMBER_##constant] = { text, brings },
        CREW__WORDS(CREW__ROW)
#undef CREW__ROW
};

/* What may carry paths. In the order of their rights; the combined ones come after the single. */
static const struct {
        const char *text;
        unsigned words;
        int rights;
} openers[] = {
        { "rpath", CREW__RPATH, CREW_PATH_READ },
        { "wpath", CREW__WPATH, CREW_PATH_WRITE },
        { "cpath", CREW__CPATH, CREW_PATH_CREATE },
        { "exec", CREW__EXEC, CREW_PATH_EXEC },
        { "rwpath", CREW__RPATH | CREW__WPATH, CREW_PATH_READ | CREW_PATH_WRITE },
        { "rcpath", CREW__RPATH | CREW__CPATH, CREW_PATH_READ | CREW_PATH_CREATE },
        { "wcpath", CREW__WPATH | CREW__CPATH, CREW_PATH_WRITE | CREW_PATH_CREATE },
        { "rwcpath", CREW__RPATH | CREW__WPATH | CREW__CPATH,
                CREW_PATH_READ | CREW_PATH_WRITE | CREW_PATH_CREATE },
};

enum {
        OPENERS = sizeof openers / sizeof *openers,
        ALL_RIGHTS = CREW_PATH_READ | CREW_PATH_WRITE | CREW_PATH_CREATE | CREW_PATH_EXEC
};

unsigned crew__words_closed(unsigned set)
{
        for (int pass = 0; pass < 2; pass++) { /* exec brings stdio, which brings compute */
                for (unsigned i = 0; i < CREW__WORD_COUNT; i++) {
                        if (set & 1U << i)
                                set |= words[i].brings;
                }
        }
        return set;
}

const char *crew__word_name(unsigned set)
{
        return set ? words[__builtin_ctz(set)].text : NULL;
}

extern void asan_is_here(void) __asm__("__asan_init") __attribute__((weak));
extern void tsan_is_here(void) __asm__("__tsan_init") __attribute__((weak));
extern void msan_is_here(void) __asm__("__msan_init") __attribute__((weak));
extern void lsan_is_here(void) __asm__("__lsan_init") __attribute__((weak));
extern void ubsan_is_here(void) __asm__("__ubsan_handle_add_overflow") __attribute__((weak));

unsigned crew__words_of_host(void)
{
        return asan_is_here || tsan_is_here || msan_is_here || lsan_is_here || ubsan_is_here ?
                       CREW__SANITIZER :
                       0;
}

static int unknown_word(const char *word, size_t length)
{
        const char *candidates[CREW__WORD_COUNT + OPENERS], *nearest;
        char text[LONGEST_WORD + 1];
        size_t n = 0;

        for (unsigned i = 0; i < CREW__WORD_COUNT; i++)
                candidates[n++] = words[i].text;
        for (unsigned i = 0; i < OPENERS; i++)
                candidates[n++] = openers[i].text;
        length = length < LONGEST_WORD ? length : LONGEST_WORD;
        (void)snprintf(text, sizeof text, "%.*s", (int)length, word);
        nearest = crew__nearest(text, candidates, n);
        if (nearest)
                return crew__fail(EINVAL, "sandbox: there is no word '%s'; did you mean '%s'?",
                        text, nearest);
        return crew__fail(EINVAL,
                "sandbox: there is no word '%s'; the words are compute stdio rpath wpath cpath "
                "fattr inet unix thread proc exec none",
                text);
}

static bool is_word(const char *candidate, const char *word, size_t length)
{
        return strlen(candidate) == length && memcmp(candidate, word, length) == 0;
}

static int add_words(crew_sandbox *s, unsigned set)
{
        unsigned given = s->given | set;

        if (given & CREW__NONE && given != CREW__NONE)
                return crew__fail(EINVAL, "sandbox: 'none' stands alone; it allows everything");
        s->given = given;
        s->words = crew__words_closed(given);
        return 0;
}

/* `path` need not be terminated. */
static int add_path(crew_sandbox *s, int rights, const char *path, size_t length)
{
        struct crew__path *grown;
        char *copy;

        grown = reallocarray(s->paths, s->n_paths + 1, sizeof *grown);
        if (!grown)
                return crew__fail(ENOMEM, "sandbox: no memory for a path");
        s->paths = grown;
        copy = strndup(path, length);
        if (!copy)
                return crew__fail(ENOMEM, "sandbox: no memory for a path");
        s->paths[s->n_paths++] = (struct crew__path){ .path = copy, .rights = rights };
        s->limited |= rights;
        return 0;
}

/* ":/etc:/usr" behind a word. */
static int parse_paths(crew_sandbox *s, int rights, const char *list, size_t length)
{
        while (length > 0) {
                const char *path = list + 1, *end;
                int r;

                end = memchr(path, ':', length - 1);
                if (!end)
                        end = list + length;
                if (end == path)
                        return crew__fail(EINVAL,
                                "sandbox: an empty path in '%.*s'; paths with a colon or a blank "
                                "go through crew_sandbox_path()",
                                (int)length, list);
                r = add_path(s, rights, path, (size_t)(end - path));
                if (r < 0)
                        return r;
                length -= (size_t)(end - list);
                list = end;
        }
        return 0;
}

static int parse_item(crew_sandbox *s, const char *item, size_t length)
{
        const char *colon = memchr(item, ':', length);
        size_t word = colon ? (size_t)(colon - item) : length;
        int r;

        for (unsigned i = 0; i < OPENERS; i++) {
                if (!is_word(openers[i].text, item, word))
                        continue;
                r = add_words(s, openers[i].words);
                return r < 0 ? r :
                               parse_paths(s, openers[i].rights, item + word, length - word);
        }
        for (unsigned i = 0; i < CREW__WORD_COUNT; i++) {
                if (!is_word(words[i].text, item, word))
                        continue;
                if (colon)
                        return crew__fail(EINVAL, "sandbox: '%s' takes no path", words[i].text);
                return add_words(s, 1U << i);
        }
        return unknown_word(item, word);
}

static int parse(crew_sandbox *s, const char *text)
{
        for (text += strspn(text, blanks); *text; text += strspn(text, blanks)) {
                size_t length = strcspn(text, blanks);
                int r = parse_item(s, text, length);

                if (r < 0)
                        return r;
                text += length;
        }
        if (!s->given)
                return crew__fail(EINVAL,
                        "sandbox: no words; 'compute' allows least, 'none' allows everything");
        return 0;
}

int crew_sandbox_new(crew_sandbox **s, const char *text, int mode)
{
        crew_sandbox *made;
        int r;

        if (!s || !text)
                return crew__fail(EINVAL, "sandbox: %s is NULL", s ? "the text" : "s");
        if (mode != CREW_BEST_EFFORT && mode != CREW_REQUIRE && mode != CREW_LANDLOCK_OFF)
                return crew__fail(EINVAL, "sandbox: there is no mode %d", mode);
        made = calloc(1, sizeof *made);
        if (!made)
                return crew__fail(ENOMEM, "sandbox: no memory");
        made->mode = mode;
        r = parse(made, text);
        if (r < 0) {
                (void)crew_sandbox_free(made);
                return r;
        }
        *s = made;
        return 0;
}

int crew_sandbox_path(crew_sandbox *s, int rights, const char *path)
{
        unsigned set = 0;
        int r;

        if (!s || !path || !*path)
                return crew__fail(EINVAL, "sandbox: %s", s ? "an empty path" : "s is NULL");
        if (!rights || rights & ~ALL_RIGHTS)
                return crew__fail(EINVAL,
                        "sandbox: rights %d for '%s'; they are made of CREW_PATH_READ, _WRITE, "
                        "_CREATE and _EXEC",
                        rights, path);
        if (s->given & CREW__NONE)
                return crew__fail(EINVAL, "sandbox: 'none' stands alone; it takes no path");
        for (unsigned i = 0; i < OPENERS; i++) {
                if ((openers[i].rights & rights) == openers[i].rights)
                        set |= openers[i].words;
        }
        crew__plans_forget(s);
        r = add_path(s, rights, path, strlen(path));
        return r < 0 ? r : add_words(s, set);
}

crew_sandbox *crew_sandbox_free(crew_sandbox *s)
{
        if (!s)
                return NULL;
        crew__plans_forget(s);
        for (size_t i = 0; i < s->n_paths; i++)
                free(s->paths[i].path);
        free(s->paths);
        free(s);
        return NULL;
}

/* A text that grows inside a buffer of the caller's, and goes on counting beyond it. */
struct text {
        char *buf;
        size_t cap, length;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *t, const char *format, ...)
{
        bool room = t->length < t->cap;
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(room ? t->buf + t->length : NULL, room ? t->cap - t->length : 0, format, args);
        va_end(args);
        if (n > 0)
                t->length += (size_t)n;
}

static void put_words(struct text *t, const crew_sandbox *s)
{
        for (unsigned i = 0; i < CREW__WORD_COUNT; i++) {
                int limit = 0;

                if (!(s->given & 1U << i))
                        continue;
                for (unsigned j = 0; j < OPENERS; j++) {
                        if (openers[j].words == 1U << i)
                                limit = openers[j].rights & s->limited;
                }
                put(t, "%s%s", t->length ? " " : "", words[i].text);
                for (size_t j = 0; j < s->n_paths; j++) {
                        if (s->paths[j].rights & limit)
                                put(t, ":%s", s->paths[j].path);
                }
        }
}

void crew__words_text(const crew_sandbox *s, char *buf, size_t cap)
{
        struct text t = { .buf = buf, .cap = cap };

        put_words(&t, s);
}

int crew_sandbox_describe(const crew_sandbox *s, char *buf, size_t cap)
{
        static const char *const modes[] = { "best effort", "required", "Landlock off" };
        struct text t = { .buf = buf, .cap = cap };
        char landlock[128];

        if (!s || (!buf && cap))
                return crew__fail(EINVAL, "sandbox: %s is NULL", s ? "buf" : "s");
        put_words(&t, s);
        if (!(s->given & CREW__NONE)) {
                put(&t, " (%s", modes[s->mode]);
                if (s->mode != CREW_LANDLOCK_OFF) {
                        crew__landlock_describe(s, landlock, sizeof landlock);
                        put(&t, ": %s", landlock);
                }
                put(&t, ")");
        }
        return (int)t.length;
}
