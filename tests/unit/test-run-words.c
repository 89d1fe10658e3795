/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "crew/halt.h"
#include "crew/quantity.h"
#include "crew/quote.h"
#include "crew/run-config.h"

#include <crew/error.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
        const char *text;
        int64_t ns; /* -1: refused */
} durations[] = {
        { "10", CREW_S(10) },
        { "0", 0 },
        { "2.5", CREW_MS(2500) },
        { ".5", CREW_MS(500) },
        { "500ms", CREW_MS(500) },
        { "7s", CREW_S(7) },
        { "2m", CREW_S(120) },
        { "1.5h", CREW_S(5400) },
        { "1h30m", CREW_S(5400) },
        { "2D", CREW_S(172800) },
        { "1d2h3m4s5ms", CREW_S(93784) + CREW_MS(5) },
        { "", -1 },
        { ".", -1 },
        { "-1", -1 },
        { "+1", -1 },
        { " 1", -1 },
        { "1 ", -1 },
        { "1x", -1 },
        { "1h30", -1 },
        { "m", -1 },
        { "1e3", -1 },
        { "inf", -1 },
        { "0x10", -1 },
        { "99999999999999999999", -1 },
        { "200000d", -1 },
};

TEST(duration, "a duration is what its table says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
                int64_t ns = -1;

                INFO("'%s'", durations[i].text);
                CHECK_INT(quantity_duration(durations[i].text, &ns), ==,
                        durations[i].ns < 0 ? -EINVAL : 0);
                CHECK_INT(ns, ==, durations[i].ns);
        }
}

static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
} sizes[] = {
        { "0", 0 },
        { "4096", 4096 },
        { "4096b", 4096 },
        { "1k", 1024 },
        { "1K", 1024 },
        { "1.5M", 1572864 },
        { "2MiB", 2 << 20 },
        { "2MB", 2 << 20 },
        { "3g", INT64_C(3) << 30 },
        { "1t", INT64_C(1) << 40 },
        { "1P", INT64_C(1) << 50 },
        { "", -1 },
        { "k", -1 },
        { "1kk", -1 },
        { "1x", -1 },
        { "1bi", -1 },
        { "-1", -1 },
        { "1 k", -1 },
        { "100000p", -1 },
};

TEST(size, "a size is what its table says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                uint64_t bytes = UINT64_MAX;

                INFO("'%s'", sizes[i].text);
                CHECK_INT(
                        quantity_size(sizes[i].text, &bytes), ==, sizes[i].bytes < 0 ? -EINVAL : 0);
                CHECK_INT(bytes, ==, sizes[i].bytes);
        }
}

static const struct {
        const char *text;
        int64_t slots; /* of 8 processors; -1: refused */
} slots[] = {
        { "1", 1 },
        { "20", 20 },
        { "0", QUANTITY_UNLIMITED },
        { "50%", 4 },
        { "100%", 8 },
        { "150%", 12 },
        { "1%", 1 },
        { "0%", 1 },
        { "33%", 2 },
        { "+2", 10 },
        { "+0", 8 },
        { "-3", 5 },
        { "-8", 1 },
        { "-100", 1 },
        { "+50%", 12 },
        { "-25%", 6 },
        { "", -1 },
        { "%", -1 },
        { "x", -1 },
        { "1.5", -1 },
        { "2 ", -1 },
        { "--2", -1 },
        { "99999999999", -1 },
};

TEST(slot_count, "a number of slots is what its table says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
                uint32_t n = 0;

                INFO("'%s'", slots[i].text);
                CHECK_INT(
                        quantity_slots(slots[i].text, 8, &n), ==, slots[i].slots < 0 ? -EINVAL : 0);
                CHECK_INT(n, ==, slots[i].slots < 0 ? 0 : slots[i].slots);
        }
}

/* What a rule makes of so many jobs, and the exit status if nothing happens after. */
static const struct {
        const char *rule;
        struct tally tally;
        bool reached;
        int status;
} halts[] = {
        { "never", { 0, 99, 99, 7 }, false, 99 },
        { "never", { 0, 100, 100, 7 }, false, 100 },
        { "never", { 0, 101, 101, 7 }, false, 101 },
        { "never", { 0, 1000000, 1000000, 7 }, false, 101 },
        { "never", { 5, 0, 5, 0 }, false, 0 },
        { "0", { 0, 3, 3, 7 }, false, 3 },
        { "soon,fail=1", { 9, 0, 10, 0 }, false, 0 },
        { "soon,fail=1", { 0, 1, 10, 7 }, true, 7 },
        { "1", { 0, 1, 10, 7 }, true, 7 },
        { "now,fail=1", { 3, 1, 10, 7 }, true, 7 },
        { "2", { 3, 1, 0, 9 }, true, 9 },
        { "now,fail=3", { 3, 2, 10, 7 }, false, 2 },
        { "now,fail=3", { 3, 3, 10, 7 }, true, 3 },
        { "soon,fail=20%", { 1, 2, 12, 7 }, false, 2 },
        { "soon,fail=20%", { 1, 3, 12, 7 }, true, 25 },
        { "soon,fail=20%", { 1, 3, 0, 7 }, false, 3 },
        { "now,fail=0.1%", { 0, 2, 1000, 7 }, true, 1 },
        { "now,success=1", { 1, 4, 10, 7 }, true, 0 },
        { "-2", { 1, 4, 10, 7 }, true, 0 },
        { "-1", { 0, 4, 10, 7 }, false, 4 },
        { "now,success=50%", { 5, 4, 10, 7 }, true, 0 },
        { "now,success=50%", { 4, 4, 10, 7 }, false, 4 },
        { "soon,done=3", { 1, 1, 10, 7 }, false, 1 },
        { "soon,done=3", { 2, 1, 10, 7 }, true, 1 },
        { "now,done=30%", { 2, 1, 10, 7 }, true, 1 },
        { "now,done=100%", { 9, 1, 10, 7 }, true, 1 },
};

TEST(halt, "a rule halts a run, and sets its exit status, as its table says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof halts / sizeof *halts; i++) {
                struct halt h;

                INFO("%s after %llu and %llu", halts[i].rule,
                        (unsigned long long)halts[i].tally.succeeded,
                        (unsigned long long)halts[i].tally.failed);
                REQUIRE_OK(halt_parse(halts[i].rule, &h));
                CHECK_INT(halt_reached(&h, &halts[i].tally), ==, halts[i].reached);
                CHECK_INT(halt_status(&h, &halts[i].tally), ==, halts[i].status);
        }
}

TEST(no_halt, "what is no rule is refused", "[unit][run]")
{
        static const char *const texts[] = { "", "now", "now,", "now,fail", "now,fail=", "fail=1",
                "now,fail=0", "now,fail=x", "now,fail=1.5", "now,fail=101%", "later,fail=1",
                "now,fails=1", "now,fail=-1", "3", "soon,now,fail=1", "now,fail=1 " };
        struct halt h;

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                INFO("'%s'", texts[i]);
                CHECK_INT(halt_parse(texts[i], &h), ==, -EINVAL);
        }
}

static const struct {
        const char *text, *visible;
} visible[] = {
        { "", "" },
        { "plain", "plain" },
        { "a\nb\tc", "a\\nb\\tc" },
        { "\033[31mred", "\\x1b[31mred" },
        { "\r\a\x7f", "\\x0d\\x07\\x7f" },
        { "caf\xc3\xa9", "caf\xc3\xa9" },
        { "\xff\xc3", "\\xff\\xc3" },
        { "\xc2\x9b"
          "31m",
                "\\u009b31m" },
        { "\xc2\xa0", "\xc2\xa0" },
};

TEST(seen, "text for a terminal can do nothing to it", "[unit][run]")
{
        for (size_t i = 0; i < sizeof visible / sizeof *visible; i++) {
                struct bytes b = { 0 };

                quote_visible(&b, visible[i].text, strlen(visible[i].text));
                CHECK_STR(bytes_ended(&b), visible[i].visible);
                bytes_free(&b);
        }
}

static const struct {
        const char *word, *quoted;
} lines[] = {
        { "plain", "plain" },
        { "a/b-c_d.e:f,g@h%i+j", "a/b-c_d.e:f,g@h%i+j" },
        { "", "''" },
        { "a b", "'a b'" },
        { "it's", "'it'\\''s'" },
        { "$x`y`\"", "'$x`y`\"'" },
        { "~", "'~'" },
        { "a=b", "'a=b'" },
        { "a\nb", "$'a\\nb'" },
        { "\033'\\", "$'\\033\\'\\\\'" },
        { "\xc3\xa9", "\xc3\xa9" },
};

TEST(line, "a command line can be pasted into a shell", "[unit][run]")
{
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                const char *argv[] = { lines[i].word, "x", NULL };
                struct bytes b = { 0 };

                quote_line(&b, argv);
                REQUIRE(b.n > 2 && strcmp(bytes_ended(&b) + b.n - 2, " x") == 0);
                b.at[b.n - 2] = 0;
                CHECK_STR(b.at, lines[i].quoted);
                bytes_free(&b);
        }
}

static const struct {
        const char *text;
        int n; /* without the first; -1: refused */
        const char *joined;
} configs[] = {
        { "", 0, "" },
        { " \n\t ", 0, "" },
        { "-j4 --tag", 2, "-j4|--tag|" },
        { "a\nb\r\nc", 3, "a|b|c|" },
        { "'a b' \"c d\" e\\ f", 3, "a b|c d|e f|" },
        { "a'b'\"c\"d", 1, "abcd|" },
        { "'' \"\"", 2, "||" },
        { "# all of it\na # the rest\nb#c", 2, "a|b#c|" },
        { "\"a\\\"b\" 'a\\b'", 2, "a\"b|a\\b|" },
        { "'open", -1, "" },
        { "\"open", -1, "" },
};

TEST(config, "the words of a configuration are as in a shell", "[unit][run]")
{
        for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
                struct bytes b = { 0 };
                char **words;
                int n = run_config_words(configs[i].text, &words);

                INFO("'%s'", configs[i].text);
                CHECK_INT(n, ==, configs[i].n < 0 ? -1 : configs[i].n + 1);
                for (int w = 1; w < n; w++)
                        bytes_format(&b, "%s|", words[w]);
                if (n > 0) {
                        CHECK_STR(words[0], "crew run");
                        CHECK_STR(bytes_ended(&b), configs[i].joined);
                }
                for (char **w = words; w && *w; w++)
                        free(*w);
                free(words);
                bytes_free(&b);
        }
}
