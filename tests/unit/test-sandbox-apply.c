/* SPDX-License-Identifier: MIT */
#include "sandbox-case.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static void do_nothing(void *arg)
{
        (void)arg;
}

TEST(enters, "a child enters every word and leaves well", "[unit][sandbox]")
{
        static const char *const words[] = { "compute", "stdio", "stdio rpath", "stdio inet",
                "thread", "proc", "exec", "none", "rwcpath exec inet unix thread proc fattr" };

        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                struct confined c = { .words = words[i], .body = do_nothing };

                confine(&c);
                CHECK_INT(c.code, ==, 0);
        }
}

static void open_a_file(void *arg)
{
        (void)arg;
        (void)!open("/etc/passwd", O_RDONLY);
}

TEST(report_open, "a file opened under stdio ends the child, and the report says what helps",
        "[unit][sandbox]")
{
        struct confined c = { .words = "stdio", .body = open_a_file };

        confine(&c);
        CHECK_INT(c.code, ==, CONFINED_DIED);
        CHECK_STR(c.violation.name, "openat");
        CHECK_INT(c.violation.words, ==, CREW__RPATH);
        CHECK_INT(c.violation.tid, ==, c.pid);
        CHECK(strstr(c.violation.text, "fopen") != NULL);
        CHECK(strstr(c.violation.text, "rpath") != NULL);
        INFO("%s", c.violation.text);
}
