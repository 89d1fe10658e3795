/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "cli.h"
#include "crew/bytes.h"
#include "crew/input.h"
#include "crew/records.h"
#include "crew/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* The files that the tables below name: /dev/fd/N of these, put in for '@1', '@2', '@3'. */
static char names[3][32];
static int files[3];

static void put_files(const char *first, size_t first_size)
{
        static const char *const texts[] = { "", "d\ne\nf\n", "g\nh" };

        for (int i = 0; i < 3; i++) {
                const char *text = i ? texts[i] : first;
                size_t size = i ? strlen(text) : first_size;

                files[i] = memfd_create("input", MFD_CLOEXEC);
                REQUIRE(files[i] >= 0 && write(files[i], text, size) == (ssize_t)size);
                (void)snprintf(names[i], sizeof names[i], "/proc/self/fd/%d", files[i]);
        }
}

static void close_files(void)
{
        for (int i = 0; i < 3; i++)
                (void)close(files[i]);
}

/* Parses a command line split at blanks, '_' standing for an empty word, ',' in words for a blank.
 */
static int parse(struct run_options *o, const char *line, char *text, char **argv)
{
        int argc = 0;

        (void)strcpy(text, line);
        argv[argc++] = (char[]){ "crew run" };
        for (char *word; (word = strsep(&text, " "));) {
                if (strcmp(word, "_") == 0)
                        *word = 0;
                if (word[0] == '@' && word[1])
                        word = names[word[1] - '1'];
                argv[argc++] = word;
        }
        argv[argc] = NULL;
        REQUIRE(argc < 60);
        return run_options(o, argc, argv);
}

/* What the jobs get, as "a b|c d|". */
static void jobs(const char *line, struct bytes *got, uint64_t *total, char why[256])
{
        char text[512], *argv[64];
        struct input_values values;
        struct run_options o;
        struct input *in;
        int r;

        REQUIRE(parse(&o, line, text, argv) == CLI_RUN);
        *total = 0;
        r = input_new(&in, &o.input, why);
        if (r == 0) {
                *total = input_total(in);
                while ((r = input_next(in, &values, why)) != 0) {
                        if (r == -EAGAIN && (r = input_fill(in, why)) == 0)
                                continue;
                        if (r < 0)
                                break;
                        for (size_t i = 0; i < values.n; i++)
                                bytes_format(got, "%s%s", i ? " " : "", values.at[i]);
                        bytes_char(got, '|');
                        input_release(&values);
                }
                input_free(in);
        }
        if (r < 0)
                bytes_text(got, "!");
        run_options_free(&o);
}

static const struct {
        const char *line, *jobs;
        uint64_t total; /* known before */
} combinations[] = {
        { "x ::: a b c", "a|b|c|", 3 },
        { "x :::", "", 0 },
        { "x ::: _ a", "|a|", 2 },
        { "x ::: a b ::: d e", "a d|a e|b d|b e|", 4 },
        { "x ::: a b :::", "", 0 },
        { "x ::: ::: a b", "", 0 },
        { "x ::: a b ::: c ::: d e", "a c d|a c e|b c d|b c e|", 4 },
        { "x ::: a b c :::+ 1 2 3", "a 1|b 2|c 3|", 3 },
        { "x ::: a b c :::+ 1 2", "a 1|b 2|", 2 },
        { "x ::: a b :::+ 1 2 3", "a 1|b 2|", 2 },
        { "x ::: a b ::: 1 2 :::+ 3 4", "a 1 3|a 2 4|b 1 3|b 2 4|", 4 },
        { "x ::: a b :::+ 1 2 ::: 3 4", "a 1 3|a 1 4|b 2 3|b 2 4|", 4 },
        { "x ::: a ::: 1 2 3 :::+ 4", "a 1 4|", 1 },
        { "--link x ::: a b c d e ::: f g", "a f|b g|c f|d g|e f|", 5 },
        { "--link x ::: a b :::", "", 0 },
        { "x :::: @2", "d|e|f|", 0 },
        { "x :::: @2 @3", "d g|d h|e g|e h|f g|f h|", 0 },
        { "x ::: a b :::: @3", "a g|a h|b g|b h|", 4 },
        { "x :::: @2 ::::+ @3", "d g|e h|", 0 },
        { "x :::: @3 :::+ 1 2 3 :::: @3", "g 1 g|g 1 h|h 2 g|h 2 h|", 0 },
        { "-a @2 x", "d|e|f|", 0 },
        { "-a @3 -a @2 x", "g d|g e|g f|h d|h e|h f|", 0 },
        { "-a @3 x ::: a", "g a|h a|", 0 },
        { "-n2 x ::: a b c d e", "a b|c d|e|", 3 },
        { "-n3 x :::: @2", "d e f|", 0 },
        { "-N2 x ::: a b ::: 1 2 3", "a 1 a 2|a 3 b 1|b 2 b 3|", 3 },
        { "-n0 x ::: a b", "||", 2 },
        { "-L2 x ::: a _ b c", "a b|c|", 0 },
        { "-r x ::: a _ b", "a|b|", 0 },
        { "-E b x ::: a b c", "a|", 0 },
        { "-E e x ::: 1 2 :::: @2", "1 d|2 d|", 0 },
        { "--colsep , x ::: a,b c", "a b|c|", 2 },
        { "-C , x ::: a,,b ,", "a  b| |", 2 },
        { "-C [,;]+ x ::: a,;b;c", "a b c|", 1 },
        { "-C \\t x ::: a\tb", "a b|", 1 },
        { "-C x* x ::: ab", "ab|", 1 },
        { "-C , x ::: a,b ::: c,d", "a b c d|", 1 },
};

TEST(sources, "sources combine as their table says", "[unit][run]")
{
        put_files("", 0);
        for (size_t i = 0; i < sizeof combinations / sizeof *combinations; i++) {
                struct bytes got = { 0 };
                uint64_t total;
                char why[256];

                INFO("%s", combinations[i].line);
                jobs(combinations[i].line, &got, &total, why);
                CHECK_STR(bytes_ended(&got), combinations[i].jobs);
                CHECK_INT(total, ==, combinations[i].total);
                bytes_free(&got);
        }
        close_files();
}

static const struct {
        const char *options, *text;
        size_t size;
        const char *jobs;
} records[] = {
        { "", "a\nb\n", 4, "a|b|" },
        { "", "a\nb", 3, "a|b|" },
        { "", "", 0, "" },
        { "", "\n\n", 2, "||" },
        { "", " a \r\n", 5, " a \r|" },
        { "-0", "a\0b\nc\0", 6, "a|b\nc|" },
        { "-d_", "a_b", 3, "a|b|" },
        { "-d \\0", "a\0b", 3, "a|b|" },
        { "-d \\t", "a\tb\n", 4, "a|b\n|" },
        { "-d \\x2c", "a,b", 3, "a|b|" },
        { "", "a\0b\nc\n", 6, "!" },
        { "", "a\nb\0", 4, "a|!" },
};

TEST(delimited, "a file is read as its delimiter says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
                struct bytes got = { 0 };
                char line[64], why[256] = "";
                uint64_t total;

                put_files(records[i].text, records[i].size);
                (void)snprintf(line, sizeof line, "%s%sx :::: @1", records[i].options,
                        *records[i].options ? " " : "");
                INFO("%s", line);
                jobs(line, &got, &total, why);
                CHECK_STR(bytes_ended(&got), records[i].jobs);
                if (strchr(records[i].jobs, '!'))
                        CHECK(strstr(why, "zero byte"));
                bytes_free(&got);
                close_files();
        }
}

TEST(missing, "a file that is not there is named", "[unit][run]")
{
        static const char *const lines[] = { "x :::: /nowhere/at/all",
                "x ::: a :::: /nowhere/at/all" };
        char why[256];

        for (size_t i = 0; i < 2; i++) {
                struct bytes got = { 0 };
                uint64_t total;

                jobs(lines[i], &got, &total, why);
                CHECK_STR(bytes_ended(&got), "!");
                CHECK_STR(why, "cannot read '/nowhere/at/all': No such file or directory");
                bytes_free(&got);
        }
}

TEST(pieces, "records come out the same however the text arrives", "[unit][run]")
{
        static const char text[] = "one\ntwo two\n\nfour";
        struct records r;
        struct bytes got = { 0 };
        const char *record;
        int ends[2], n;
        size_t length, sent = 0;

        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        records_open(&r, ends[0], '\n');
        while ((n = records_next(&r, &record, &length)) != 0) {
                if (n == 1) {
                        CHECK_INT(strlen(record), ==, length);
                        bytes_format(&got, "%s|", record);
                        continue;
                }
                REQUIRE(n == -EAGAIN);
                if (sent < sizeof text - 1)
                        REQUIRE(write(ends[1], text + sent++, 1) == 1);
                else if (ends[1] >= 0) {
                        (void)close(ends[1]);
                        ends[1] = -1;
                }
                REQUIRE_OK(records_fill(&r));
        }
        CHECK_STR(bytes_ended(&got), "one|two two||four|");
        bytes_free(&got);
        records_close(&r);
}

TEST(endless, "a record without an end is refused before memory runs out", "[unit][run]")
{
        struct records r;
        const char *record;
        size_t length;
        int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), n;

        REQUIRE(zero >= 0);
        records_open(&r, zero, '\n');
        while ((n = records_next(&r, &record, &length)) == -EAGAIN)
                REQUIRE_OK(records_fill(&r));
        CHECK_INT(n, ==, -EMSGSIZE);
        CHECK_INT(r.buffer.n, <, 2 * RECORDS_LONGEST);
        records_close(&r);
}

/* Reads what is there, where nobody waits for more. */
static void read_shared(int from, int to, int how)
{
        struct records r;
        const char *record = "";
        size_t length;

        records_open(&r, from, '\n');
        records_share(&r);
        if (how >= 0) {
                if (r.reads != r.fd)
                        (void)close(r.reads);
                r.reads = r.fd;
                r.how = how;
        }
        for (int i = 0; i < 2; i++) {
                REQUIRE_OK(records_fill(&r));
                CHECK_INT(records_next(&r, &record, &length), ==, -EAGAIN);
                CHECK(!r.ended);
                REQUIRE(write(to, "a\n", 2) == 2);
                REQUIRE_OK(records_fill(&r));
                CHECK_INT(records_next(&r, &record, &length), ==, 1);
                CHECK_STR(record, "a");
        }
        /* It is as it was for who shares it. */
        CHECK_INT(fcntl(from, F_GETFL) & O_NONBLOCK, ==, 0);
        (void)close(to);
        REQUIRE_OK(records_fill(&r));
        CHECK_INT(records_next(&r, &record, &length), ==, 0);
        records_close(&r);
}

TEST(shared, "what another reader may take is read without waiting for it", "[unit][run]")
{
        struct iovec part = { .iov_base = (char[1]){ 0 }, .iov_len = 1 };
        int ends[2];

        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        read_shared(ends[0], ends[1], -1);
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        read_shared(ends[0], ends[1], -1);
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        if (preadv2(ends[0], &part, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN) {
                read_shared(ends[0], ends[1], RECORDS_NOWAIT);
                return;
        }
        /* Before Linux 6.4 there is no such read of a pipe, and the other way must do. */
        (void)close(ends[0]);
        (void)close(ends[1]);
}
