/* SPDX-License-Identifier: MIT */
#include "run-explain.h"

#include "cli.h"
#include "environment.h"
#include "explain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first job's values. 1; 0: there is none. */
static int first_values(struct input *in, struct input_values *values)
{
        char why[256];
        int r;

        while ((r = input_next(in, values, why)) == -EAGAIN) {
                r = input_fill_later(in, why);
                if (r < 0)
                        break;
        }
        if (r < 0)
                cli_complain("%s", why);
        return r;
}

int run_explain(const struct run_options *o, struct input *in, const struct template *t)
{
        struct input_values values = { 0 };
        struct environment environment;
        char words[512];
        char **argv;
        int r = first_values(in, &values);

        if (r <= 0)
                return r < 0 ? RUN_TROUBLE : 0;
        if (o->directory && chdir(o->directory) != 0) {
                cli_complain("--wd: cannot work in '%s': %s", o->directory, strerror(errno));
                return RUN_TROUBLE;
        }
        argv = template_argv(t, &(struct template_values){ values.at, values.n, 1, 1 });
        environment_make(&environment, o, environ);
        r = explain_run(&o->sandbox.profile, (const char *const *)argv,
                environment_of(&environment, 1, 1), stderr, words, sizeof words);
        if (r < 0)
                cli_complain("--explain: %s", words);
        environment_free(&environment);
        input_release(&values);
        free(argv);
        return r < 0 ? RUN_TROUBLE : r;
}
