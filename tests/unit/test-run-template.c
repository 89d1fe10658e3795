/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "crew/quote.h"
#include "crew/template.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Splits at '|' into `words`; returns how many. */
static size_t split(char *text, char *words[], size_t max)
{
        size_t n = 0;

        while (text && n < max)
                words[n++] = strsep(&text, "|");
        return n;
}

static struct template *make(const char *command, const struct template_options *o)
{
        char text[256], *words[16], why[256] = "";
        struct template *t = NULL;

        (void)snprintf(text, sizeof text, "%s", command);
        if (template_new(&t, words, split(text, words, 16), o, why) < 0)
                INFO("%s", why);
        REQUIRE(t);
        return t;
}

/* The command of job 7 in slot 3 with these values, its words with '|' behind each. */
static void check_words(
        const char *command, const char *values, const char *all, const char *wanted)
{
        struct template_options o = { .form = TEMPLATE_WORDS, .all = all, .append = true };
        struct template *t = make(command, &o);
        char text[256], *at[16], **argv;
        struct bytes got = { 0 };
        struct template_values v = { .at = at, .seq = 7, .slot = 3 };

        INFO("%s with %s", command, values ? values : "nothing");
        if (values) {
                (void)snprintf(text, sizeof text, "%s", values);
                v.n = split(text, at, 16);
        }
        argv = template_argv(t, &v);
        for (size_t i = 0; argv[i]; i++)
                bytes_format(&got, "%s|", argv[i]);
        CHECK_STR(bytes_ended(&got), wanted);
        bytes_free(&got);
        free(argv);
        template_free(t);
}

static const struct {
        const char *command, *values, *words;
} placeholders[] = {
        { "echo", "a", "echo|a|" },
        { "echo", "a|b c", "echo|a|b c|" },
        { "echo", "", "echo||" },
        { "echo", NULL, "echo|" },
        { "echo|{}", "a|b", "echo|a|b|" },
        { "echo|x{}y", "a|b", "echo|xa by|" },
        { "echo|x{}y", NULL, "echo|xy|" },
        { "{}", "ls", "ls|" },
        { "e|{}{}", "a", "e|aa|" },
        { "e|{.}", "a/b.c.d", "e|a/b.c|" },
        { "e|{.}", "a.b/c", "e|a.b/c|" },
        { "e|{.}", ".bashrc", "e||" },
        { "e|{.}", "a.", "e|a|" },
        { "e|{/}", "a/b.c", "e|b.c|" },
        { "e|{/}", "a/", "e||" },
        { "e|{/}", "a", "e|a|" },
        { "e|{//}", "a/b/c", "e|a/b|" },
        { "e|{//}", "a", "e|.|" },
        { "e|{//}", "/a", "e|/|" },
        { "e|{//}", "/", "e|/|" },
        { "e|{//}", "a/b/", "e|a|" },
        { "e|{//}", "a//b", "e|a|" },
        { "e|{//}", "", "e|.|" },
        { "e|{/.}", "a.x/b.c.d", "e|b.c|" },
        { "e|{/.}", "/x/", "e||" },
        { "e|{.}", "a.b|c.d", "e|a|c|" },
        { "e|{#}-{%}", "a", "e|7-3|" },
        { "e|{#}", "a", "e|7|" },
        { "e|{1}|{2}|{3}", "a|b", "e|a|b||" },
        { "e|{-1}|{-2}|{-3}", "a|b", "e|b|a||" },
        { "e|{2.}|{1/}|{2//}|{1/.}", "x/y.z|u/v.w", "e|u/v|y.z|u|y|" },
        { "e|{10}", "1|2|3|4|5|6|7|8|9|ten", "e|ten|" },
        { "e|{0}", "a", "e|{0}|a|" },
        { "e|{a}|{1a}|{}}|{{}", "a", "e|{a}|{1a}|a}|{a|" },
        { "e|{ }|{-}|{--1}|{...}|{///}", "a", "e|{ }|{-}|{--1}|{...}|{///}|a|" },
        { "awk|{print $1}", "f", "awk|{print $1}|f|" },
        { "e|{99999999999999999999}", "a", "e|{99999999999999999999}|a|" },
};

TEST(words, "a command of words is filled in as its table says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof placeholders / sizeof *placeholders; i++)
                check_words(placeholders[i].command, placeholders[i].values, NULL,
                        placeholders[i].words);
}

TEST(replaced, "another placeholder leaves {} alone, but not its relatives", "[unit][run]")
{
        check_words("e|,,|{}|{.}", "a.b", ",,", "e|a.b|{}|a|");
        check_words("e|%x%", "a", "%", "e|axa|");
        check_words("e|{}", "a", "%", "e|{}|a|");
}

TEST(position, "a value that no job can have is refused", "[unit][run]")
{
        struct template_options o = { .form = TEMPLATE_WORDS, .append = true, .width = 2 };
        char *good[] = { (char[]){ "{2}" }, (char[]){ "{-2}" } }, *bad[] = { (char[]){ "{3}" } },
             *behind[] = { (char[]){ "{-3.}" } };
        struct template *t = NULL;
        char why[256];

        REQUIRE_OK(template_new(&t, good, 2, &o, why));
        template_free(t);
        t = NULL;
        CHECK_INT(template_new(&t, bad, 1, &o, why), ==, -EINVAL);
        CHECK(strstr(why, "{3}: each job has only 2 values"));
        CHECK_INT(template_new(&t, behind, 1, &o, why), ==, -EINVAL);
        CHECK(!t);
}

/* Every place in a script where a value may stand; a shell must see it as it is. */
static const struct {
        const char *script;
        const char *before, *after; /* around the value in what it prints */
} scripts[] = {
        { "printf %s {}", "", "" },
        { "printf %s", "", "" },
        { "printf '%s' {}", "", "" },
        { "printf %s x{}y", "x", "y" },
        { "printf %s '{}'", "", "" },
        { "printf %s 'x{}'y", "x", "y" },
        { "printf %s \"{}\"", "", "" },
        { "printf %s \"x{}y\"", "x", "y" },
        { "printf %s \"it's {}\"", "it's ", "" },
        { "printf %s 'say \"'{}'\"'", "say \"", "\"" },
        { "printf %s \"$(printf %s {})\"", "", "" },
        { "printf %s \"$(printf %s \"{}\")\"", "", "" },
        { "printf %s \"$(printf %s '{}')x\"", "", "x" },
        { "printf %s \"$( (printf %s {}) )y\"", "", "y" },
        { "printf %s \\\"{}", "\"", "" },
        { "printf %s \\'{}", "'", "" },
        { "x={}; printf %s \"$x\"", "", "" },
        { "# it's a comment\nprintf %s {}", "", "" },
        { "printf %s a#b'{}'", "a#b", "" },
        { "printf %s `printf %s {}`z", "", "z" },
        { "(printf %s {})", "", "" },
};

static const char *const nasty[] = { "plain", "a b", "it's", "\"quoted\"", "$HOME", "`id`", "$(id)",
        "a\\b", "\\", "a;b|c&d", "*", "~", "!x", "-n", "#x", "{}", "a\\'b\"c$d`e", "(x", ")",
        "%s" };

/* Runs a script and takes what it prints. */
static void run(char *const argv[], char *out, size_t size)
{
        int fd = memfd_create("out", MFD_CLOEXEC), status;
        pid_t pid = fork();
        ssize_t n;

        REQUIRE(fd >= 0 && pid >= 0);
        if (pid == 0) {
                if (dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
                        _exit(126);
                (void)execv(argv[0], argv);
                _exit(127);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        n = pread(fd, out, size - 1, 0);
        REQUIRE(n >= 0);
        out[n] = 0;
        (void)close(fd);
}

TEST(script, "a value comes through a shell as it is, wherever it stands", "[unit][run]")
{
        struct template_options o = { .form = TEMPLATE_SCRIPT, .append = true, .shell = "/bin/sh" };
        char out[256], wanted[256], text[64], *at[] = { text };
        struct template_values v = { .at = at, .n = 1 };

        for (size_t s = 0; s < sizeof scripts / sizeof *scripts; s++) {
                struct template *t = make(scripts[s].script, &o);

                for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
                        char **argv;

                        /* All at every place would start 400 shells. */
                        if (test_scale(100, 1) < 100 && (i + s) % 5)
                                continue;
                        /* A shell splits what an unquoted `...` prints, and expands it. */
                        if (strchr(scripts[s].script, '`') && strpbrk(nasty[i], " *\\"))
                                continue;
                        (void)snprintf(text, sizeof text, "%s", nasty[i]);
                        (void)snprintf(wanted, sizeof wanted, "%s%s%s", scripts[s].before, nasty[i],
                                scripts[s].after);
                        argv = template_argv(t, &v);
                        INFO("%s", argv[2]);
                        run(argv, out, sizeof out);
                        CHECK_STR(out, wanted);
                        free(argv);
                }
                template_free(t);
        }
}

TEST(several, "several values are several words of a script, or one inside quotes", "[unit][run]")
{
        struct template_options o = { .form = TEMPLATE_SCRIPT, .append = true, .shell = "/bin/sh" };
        struct template *t = make("printf [%s] {} \"{}\"", &o);
        char *at[] = { (char[]){ "a b" }, (char[]){ "$c" } }, out[256], **argv;
        struct template_values v = { .at = at, .n = 2 };

        argv = template_argv(t, &v);
        run(argv, out, sizeof out);
        CHECK_STR(out, "[a b][$c][a b $c]");
        free(argv);
        template_free(t);
}

TEST(text, "a tag is filled in without quotes", "[unit][run]")
{
        struct template_options o = { .form = TEMPLATE_TEXT };
        struct template *t = make("{#}:{1} it's", &o);
        char *at[] = { (char[]){ "a b" } };
        struct template_values v = { .at = at, .n = 1, .seq = 4 };
        struct bytes b = { 0 };

        template_text(t, &v, &b);
        CHECK_STR(bytes_ended(&b), "4:a b it's");
        bytes_free(&b);
        template_free(t);
}

TEST(fixed, "whether the program is the same for all jobs", "[unit][run]")
{
        struct template_options o = { .form = TEMPLATE_WORDS, .append = true };
        struct template *yes = make("ls|{}", &o), *no = make("{}|x", &o), *part = make("x{}", &o);

        CHECK(template_program_fixed(yes));
        CHECK(!template_program_fixed(no));
        CHECK(!template_program_fixed(part));
        template_free(yes);
        template_free(no);
        template_free(part);
}
