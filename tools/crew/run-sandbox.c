/* SPDX-License-Identifier: MIT */
#include "run-sandbox.h"

#include "base/nearest.h"
#include "bytes.h"
#include "cli.h"
#include "quantity.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind_of_limit { BYTES, TIME };

static const struct {
        const char *name;
        enum kind_of_limit kind;
        size_t offset;
} limit_names[] = {
        { "mem", BYTES, offsetof(crew_limits, memory_max) },
        { "cpu", TIME, offsetof(crew_limits, cpu_time) },
        { "files", BYTES, offsetof(crew_limits, open_files) },
        { "fsize", BYTES, offsetof(crew_limits, file_bytes) },
        { "procs", BYTES, offsetof(crew_limits, processes) },
};

static int take_limit(const char *item, size_t length, crew_limits *limits)
{
        char text[64], *value;

        if (length >= sizeof text)
                return -EINVAL;
        (void)snprintf(text, sizeof text, "%.*s", (int)length, item);
        value = strchr(text, '=');
        if (!value)
                return -EINVAL;
        *value++ = 0;
        for (size_t i = 0; i < sizeof limit_names / sizeof *limit_names; i++) {
                uint64_t *field = (uint64_t *)((char *)limits + limit_names[i].offset);
                int64_t ns = 0;
                int r;

                if (strcmp(text, limit_names[i].name) != 0)
                        continue;
                r = limit_names[i].kind == TIME ? quantity_duration(value, &ns)
                                                : quantity_size(value, field);
                if (r == 0 && limit_names[i].kind == TIME)
                        *field = (uint64_t)ns;
                /* 0 would be no limit at all. */
                return r < 0 || *field == 0 ? -EINVAL : 0;
        }
        return -EINVAL;
}

int run_sandbox_limits(const char *text, crew_limits *limits)
{
        const char *item;
        size_t length;
        int r = -EINVAL;

        while ((item = cli_next_item(&text, &length))) {
                r = take_limit(item, length, limits);
                if (r < 0)
                        return r;
        }
        return r;
}

void run_sandbox_free(struct run_sandbox *s)
{
        free(s->ro);
        free(s->rw);
        free(s->allow);
}

int run_sandbox_take_name(const char *value, void *target)
{
        struct run_sandbox *s = target;
        int kind = profile_find(value);
        const char *near;

        if (kind >= 0) {
                s->profile.kind = (enum profile_kind)kind;
                return 0;
        }
        near = crew__nearest(value, profile_names, 3);
        if (near)
                return cli_misused("--sandbox: there is no '%s'; did you mean '%s'?", value, near);
        return cli_misused("--sandbox: there is standard, strict and none, not '%s'", value);
}

static void add_path(const char *value, const char ***list, size_t *n)
{
        *list = must_grow(*list, (*n + 1) * sizeof **list);
        (*list)[(*n)++] = value;
}

int run_sandbox_take_ro(const char *value, void *target)
{
        struct run_sandbox *s = target;

        add_path(value, &s->ro, &s->profile.n_ro);
        s->profile.ro = s->ro;
        return 0;
}

int run_sandbox_take_rw(const char *value, void *target)
{
        struct run_sandbox *s = target;

        add_path(value, &s->rw, &s->profile.n_rw);
        s->profile.rw = s->rw;
        return 0;
}

/* Words may be given with blanks or commas between them, and more than once. */
int run_sandbox_take_allow(const char *value, void *target)
{
        struct run_sandbox *s = target;
        struct bytes words = { 0 };
        crew_sandbox *trial = NULL;

        if (s->allow)
                bytes_format(&words, "%s ", s->allow);
        for (; *value; value++)
                bytes_char(&words, *value == ',' ? ' ' : *value);
        if (crew_sandbox_new(&trial, bytes_ended(&words), CREW_BEST_EFFORT) < 0) {
                bytes_free(&words);
                return cli_misused("--allow: %s", crew_error_detail());
        }
        (void)crew_sandbox_free(trial);
        free(s->allow);
        s->profile.allow = s->allow = words.at;
        return 0;
}

int run_sandbox_take_limit(const char *value, void *target)
{
        struct run_sandbox *s = target;

        s->limits.size = sizeof s->limits;
        s->limited = true;
        if (run_sandbox_limits(value, &s->limits) < 0)
                return cli_misused(
                        "--limit: '%s' makes no sense; write mem=1G, cpu=60s, files=256, "
                        "fsize=1G or procs=100, commas between them",
                        value);
        return 0;
}

int run_sandbox_take_violation(const char *value, void *target)
{
        struct run_sandbox *s = target;

        if (strcmp(value, "report") != 0 && strcmp(value, "kill") != 0)
                return cli_misused("--on-violation: there is report and kill, not '%s'", value);
        s->on_violation = strcmp(value, "kill") == 0 ? CREW_VIOLATION_KILL : CREW_VIOLATION_DENY;
        return 0;
}
