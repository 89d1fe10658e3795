/* SPDX-License-Identifier: MIT */
#include "dry-run.h"

#include "cli.h"
#include "quote.h"
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int dry_run(struct input *in, const struct template *t)
{
        struct template_values v = { .slot = 1 };
        struct input_values values;
        struct bytes line = { 0 }, shown = { 0 };
        bool terminal = isatty(STDOUT_FILENO);
        char why[256];
        int r;

        while ((r = input_next(in, &values, why)) != 0) {
                if (r == -EAGAIN) {
                        r = input_fill_later(in, why);
                        if (r == 0)
                                continue;
                }
                if (r < 0) {
                        cli_complain("%s", why);
                        break;
                }
                v.at = values.at;
                v.n = values.n;
                v.seq++;
                line.n = shown.n = 0;
                template_line(t, &v, &line);
                /* A script may have anything in it; only a terminal is in danger. */
                if (terminal)
                        quote_visible(&shown, line.at, line.n);
                else
                        bytes_add(&shown, line.at, line.n);
                bytes_char(&shown, '\n');
                (void)fwrite(shown.at, 1, shown.n, stdout);
                input_release(&values);
        }
        bytes_free(&line);
        bytes_free(&shown);
        return r < 0 ? RUN_TROUBLE : 0;
}
