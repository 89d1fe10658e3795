/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "cli.h"

#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
        bool flag, other;
        const char *text;
        int64_t number;
        int calls;
        const char *called;
} got;

static int take_item(const char *value, void *target)
{
        (void)target;
        got.calls++;
        got.called = value;
        return strcmp(value, "wrong") == 0 ? cli_misused("--item: %s is wrong", value) : 0;
}

static const struct cli_option table[] = {
        { 'f', "flag", NULL, "a flag", CLI_FLAG, &got.flag },
        { 0, "other", NULL, "has no letter", CLI_FLAG, &got.other },
        { 't', "text", "TEXT", "some text", CLI_TEXT, &got.text },
        { 'n', "number", "N", "a number", CLI_INTEGER, &got.number, NULL, -5, 10 },
        { 'i', "item", "ITEM", "any number of times", CLI_CALL, NULL, take_item },
};

static struct cli_command command(int least, int most)
{
        return (struct cli_command){
                .name = "crew try",
                .operands = most ? "[FILE]..." : "",
                .summary = "Tries.",
                .options = table,
                .n_options = sizeof table / sizeof *table,
                .least_operands = least,
                .most_operands = most,
        };
}

/* What was said on stderr, and on stdout, since heard() was called last. */
static int said_fd[2], kept_fd[2];
static char said[4096], printed[8192];

static void listen(void)
{
        for (int i = 0; i < 2; i++) {
                said_fd[i] = memfd_create("said", MFD_CLOEXEC);
                kept_fd[i] = fcntl(1 + i, F_DUPFD_CLOEXEC, 10);
                REQUIRE(said_fd[i] >= 0 && kept_fd[i] >= 0 && dup2(said_fd[i], 1 + i) == 1 + i);
        }
}

static void fetch(int fd, char *into, size_t size)
{
        ssize_t n = pread(fd, into, size - 1, 0);

        REQUIRE(n >= 0);
        into[n] = 0;
        close(fd);
}

static void heard(void)
{
        fflush(stdout);
        for (int i = 0; i < 2; i++) {
                REQUIRE(dup2(kept_fd[i], 1 + i) == 1 + i);
                close(kept_fd[i]);
        }
        fetch(said_fd[0], printed, sizeof printed);
        fetch(said_fd[1], said, sizeof said);
}

static char words[512], *argv[32];
static int operands;

/* Parses the line, split at blanks, '_' standing for an empty word. */
static int parse(const struct cli_command *c, const char *line)
{
        char *rest = words;
        int argc = 1, r;

        INFO("parsing: %s", line);
        memset(&got, 0, sizeof got);
        snprintf(words, sizeof words, "%s", line);
        argv[0] = (char[]){ "try" };
        while (*line && argc < 31 && (argv[argc] = strsep(&rest, " "))) {
                if (strcmp(argv[argc], "_") == 0)
                        argv[argc][0] = 0;
                argc++;
        }
        argv[argc] = NULL;
        operands = -1;
        listen();
        r = cli_parse(c, argc, argv, &operands);
        heard();
        return r;
}

TEST(width, "wide characters take two columns, combining ones none", "[unit][cli]")
{
        struct cli_cell cells[] = { { "工人", NULL, false }, { "1", NULL, true }, { "ab", NULL, false },
                { "22", NULL, true } };
        char out[64] = "";
        FILE *f;

        TEST_ALLOW_MAPPINGS(1); /* the C library keeps its table of character sets */
        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                SKIP("there is no C.UTF-8 here");
        CHECK_INT(cli_width("工人"), ==, 4);
        CHECK_INT(cli_width("e\xcc\x81"), ==, 1);
        CHECK_INT(cli_width("a\xff"), ==, 2);
        CHECK_INT(cli_width(""), ==, 0);
        f = fmemopen(out, sizeof out, "w");
        REQUIRE(f);
        cli_table(f, cells, 2, 2);
        (void)fclose(f);
        CHECK_STR(out, "工人   1\nab    22\n");
        (void)setlocale(LC_CTYPE, "C");
}

TEST(spellings, "an option's argument may be spelt in four ways", "[unit][cli]")
{
        static const char *const lines[] = { "--number=-3 --text=a", "--number -3 --text a",
                "-n-3 -ta", "-n -3 -t a", "-t b --number 7 -fn-3 --text=a", "-fn -3 -t a" };
        struct cli_command c = command(0, 0);

        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                CHECK_INT(parse(&c, lines[i]), ==, CLI_RUN);
                CHECK_INT(got.number, ==, -3);
                CHECK_STR(got.text, "a");
                CHECK_INT(got.flag, ==, i > 3);
                CHECK_INT(operands, ==, 0);
                CHECK_STR(said, "");
        }
        CHECK_INT(parse(&c, "--text= -n 10"), ==, CLI_RUN);
        CHECK_STR(got.text, "");
        CHECK_INT(got.number, ==, 10);
        CHECK_INT(parse(&c, "--text --flag"), ==, CLI_RUN);
        CHECK_STR(got.text, "--flag");
        CHECK(!got.flag);
        CHECK_INT(parse(&c, "--text=a=b"), ==, CLI_RUN);
        CHECK_STR(got.text, "a=b");
}

TEST(called, "an option that calls is called each time, and may refuse", "[unit][cli]")
{
        struct cli_command c = command(0, 0);

        CHECK_INT(parse(&c, "-ia --item b --item=c"), ==, CLI_RUN);
        CHECK_INT(got.calls, ==, 3);
        CHECK_STR(got.called, "c");
        CHECK_INT(parse(&c, "-i wrong -i b"), ==, CLI_USAGE);
        CHECK_INT(got.calls, ==, 1);
        CHECK_STR(said, "crew try: --item: wrong is wrong\nTry 'crew try --help'.\n");
}

TEST(operands_moved, "operands come first, in their order, wherever they stood", "[unit][cli]")
{
        struct cli_command c = command(0, -1);

        CHECK_INT(parse(&c, "a -f b --number 3 - -- --flag -x"), ==, CLI_RUN);
        CHECK(got.flag);
        CHECK_INT(operands, ==, 5);
        CHECK_STR(argv[1], "a");
        CHECK_STR(argv[2], "b");
        CHECK_STR(argv[3], "-");
        CHECK_STR(argv[4], "--flag");
        CHECK_STR(argv[5], "-x");
        CHECK_INT(parse(&c, ""), ==, CLI_RUN);
        CHECK_INT(operands, ==, 0);
        CHECK_INT(parse(&c, "_"), ==, CLI_RUN);
        CHECK_INT(operands, ==, 1);

        c.operands_end_options = true;
        CHECK_INT(parse(&c, "-f run --other -n x"), ==, CLI_RUN);
        CHECK(got.flag && !got.other);
        CHECK_INT(operands, ==, 4);
        CHECK_STR(argv[1], "run");
        CHECK_STR(argv[2], "--other");
        CHECK_STR(argv[4], "x");
}

TEST(operands_counted, "too few and too many operands are mistakes", "[unit][cli]")
{
        struct cli_command c = command(1, 2);

        CHECK_INT(parse(&c, "a b"), ==, CLI_RUN);
        CHECK_INT(parse(&c, ""), ==, CLI_USAGE);
        CHECK_STR(said, "crew try: an argument is missing: [FILE]...\nTry 'crew try --help'.\n");
        CHECK_INT(parse(&c, "a b c"), ==, CLI_USAGE);
        CHECK(strstr(said, "unexpected argument 'c'\n"));
}

static const struct {
        const char *line, *words;
} misuse[] = {
        { "-x", "there is no option '-x'" },
        { "-fx", "there is no option '-x'" },
        { "--flga", "there is no option '--flga'; did you mean '--flag'?" },
        { "--numbre=3", "there is no option '--numbre'; did you mean '--number'?" },
        { "--hlep", "did you mean '--help'?" },
        { "--zzzzzzzz", "there is no option '--zzzzzzzz'\n" },
        { "--fla", "there is no option '--fla'" },
        { "--flagg", "there is no option '--flagg'" },
        { "--=3", "there is no option '--'" },
        { "---", "there is no option '---'" },
        { "--flag=", "the option '--flag' takes no argument" },
        { "--text", "the option '--text' needs an argument: TEXT" },
        { "-t", "the option '-t' needs an argument: TEXT" },
        { "-ft", "the option '-t' needs an argument: TEXT" },
        { "-n _", "--number: '' is not a whole number" },
        { "-n +", "'+' is not a whole number" },
        { "-n 1.0", "'1.0' is not a whole number" },
        { "-n 0x1", "'0x1' is not a whole number" },
        { "-n \t1", "is not a whole number" },
        { "-n1x", "'1x' is not a whole number" },
        { "-n 11", "--number: 11 is not between -5 and 10" },
        { "-n -6", "--number: -6 is not between -5 and 10" },
        { "-n 9223372036854775808", "is not between -5 and 10" },
        { "-n -99999999999999999999", "is not between -5 and 10" },
};

TEST(mistakes, "a mistake is named in one line, and nothing is printed", "[unit][cli]")
{
        struct cli_command c = command(0, 0);

        for (size_t i = 0; i < sizeof misuse / sizeof *misuse; i++) {
                CHECK_INT(parse(&c, misuse[i].line), ==, CLI_USAGE);
                CHECK_INT(got.number, ==, 0);
                CHECK_STR(printed, "");
                CHECK(strncmp(said, "crew try: ", 10) == 0);
                CHECK_STR(strchr(said, '\n'), "\nTry 'crew try --help'.\n");
                if (!CHECK(strstr(said, misuse[i].words)))
                        INFO("said: %s", said);
        }
}

TEST(long_word, "an unknown option of any length is named", "[unit][cli]")
{
        struct cli_command c = command(0, 0);
        char line[400];

        memset(line, 'o', sizeof line);
        memcpy(line, "--", 2);
        line[sizeof line - 1] = 0;
        CHECK_INT(parse(&c, line), ==, CLI_USAGE);
        CHECK(strstr(said, line));
}

TEST(help, "--help prints every option, and wins over what follows", "[unit][cli]")
{
        struct cli_command c = command(0, -1);

        c.details = "More of it.";
        CHECK_INT(parse(&c, "-fh --nonsense"), ==, CLI_DONE);
        CHECK_STR(said, "");
        CHECK(strncmp(printed, "Usage: crew try [OPTION]... [FILE]...\n\nTries.\n", 46) == 0);
        CHECK(strstr(printed, "\n  -f, --flag "));
        CHECK(strstr(printed, "\n      --other "));
        CHECK(strstr(printed, "\n  -n, --number=N "));
        CHECK(strstr(printed, "\n  -h, --help "));
        CHECK(strstr(printed, "\n\nMore of it.\n"));
        CHECK_INT(parse(&c, "--nonsense --help"), ==, CLI_USAGE);
        CHECK_STR(printed, "");
}

/* What a function that takes a FILE wrote to it. */
#define WRITTEN(text, call)                                                                        \
        do {                                                                                       \
                char *at = NULL;                                                                   \
                size_t size = 0;                                                                   \
                FILE *out = open_memstream(&at, &size);                                            \
                REQUIRE(out);                                                                      \
                call;                                                                              \
                fclose(out);                                                                       \
                CHECK_STR(at, text);                                                               \
                free(at);                                                                          \
        } while (0)

static const struct {
        const char *text, *json;
} strings[] = {
        { NULL, "null" },
        { "", "\"\"" },
        { "plain", "\"plain\"" },
        { "a\"b\\c/d", "\"a\\\"b\\\\c/d\"" },
        { "\n\t\x01\x1f\x7f", "\"\\u000a\\u0009\\u0001\\u001f\\u007f\"" },
        { "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"" },
        { "\xff"
          "a",
                "\"\\ufffda\"" },
        { "\xc3", "\"\\ufffd\"" },
        { "\xc3(", "\"\\ufffd(\"" },
        { "\xe2\x82", "\"\\ufffd\\ufffd\"" },
        { "\xc0\x80", "\"\\ufffd\\ufffd\"" },
        { "\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
        { "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
        { "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
        { "\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\"" },
        { "\xef\xbf\xbf", "\"\xef\xbf\xbf\"" },
        { "\xf0\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
        { "\xf8\x88\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"" },
};

TEST(json, "a JSON string is valid whatever the bytes", "[unit][cli]")
{
        for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
                INFO("string %zu", i);
                WRITTEN(strings[i].json, cli_json_string(out, strings[i].text));
        }
}

static void check_item(const char **list, const char *wanted)
{
        size_t length = 0;
        const char *item = cli_next_item(list, &length);

        if (CHECK(!item == !wanted) && item)
                CHECK(length == strlen(wanted) && memcmp(item, wanted, length) == 0);
}

TEST(items, "a list is split at commas and trimmed", "[unit][cli]")
{
        const char *list = " a ,,b c\t,\n, d";

        check_item(&list, "a");
        check_item(&list, "b c");
        check_item(&list, "d");
        check_item(&list, NULL);
        list = " , ,";
        check_item(&list, NULL);
        list = "";
        check_item(&list, NULL);
}

TEST(columns, "a table is aligned by characters and has no colours in a file", "[unit][cli]")
{
        static const struct cli_cell cells[] = {
                { "a", CLI_RED },
                { "one", NULL },
                { "\xc3\xa9\xc3\xa9\xc3\xa9", CLI_BOLD },
                { "", NULL },
        };

        WRITTEN("a    one\n\xc3\xa9\xc3\xa9\xc3\xa9  \n", cli_table(out, cells, 2, 2));
}
