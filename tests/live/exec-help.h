/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_EXEC_HELP_H
#define CREW_TESTS_EXEC_HELP_H

/* Programs to run, and what they print. */

#include "host.h"

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define SHELL(script) ARGV("/bin/sh", "-c", script)

__attribute__((unused)) static int run(const char *const argv[], const crew_process_options *o)
{
        crew_auto(process) p = NULL;

        REQUIRE_OK(crew_process_new_exec(&p, argv, o));
        REQUIRE_OK(crew_process_start(p));
        return join_code(p);
}

/* All that comes out of a pipe, ended. */
__attribute__((unused)) static char *drain(int fd, char *text, size_t cap)
{
        size_t held = 0;
        ssize_t n;

        REQUIRE(fd >= 0);
        while (held + 1 < cap && (n = read(fd, text + held, cap - 1 - held)) > 0)
                held += (size_t)n;
        text[held] = '\0';
        return text;
}

/* What a program prints, its standard output apart from what `o` says of other things. */
__attribute__((unused)) static char *output_of(
        const char *const argv[], crew_process_options o, char *text, size_t cap)
{
        crew_auto(process) p = NULL;

        o.size = sizeof o;
        o.out = (crew_stdio){ .kind = CREW_STDIO_PIPE };
        REQUIRE_OK(crew_process_new_exec(&p, argv, &o));
        REQUIRE_OK(crew_process_start(p));
        (void)drain(crew_process_stdio(p, 1), text, cap);
        CHECK_INT(join_code(p), ==, 0);
        return text;
}

#endif
