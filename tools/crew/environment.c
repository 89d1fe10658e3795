/* SPDX-License-Identifier: MIT */
#include "environment.h"

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const own[ENVIRONMENT_OWN] = {
        "CREW_SEQ",
        "CREW_SLOT",
        "PARALLEL_SEQ",
        "PARALLEL_JOBSLOT",
};

/* What a program needs to find its way, and no secrets. */
static const char *const usual[] = { "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE",
        "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME", "TZ", "TERM",
        "TMPDIR" };

static size_t name_length(const char *variable)
{
        return strcspn(variable, "=");
}

static bool named(const char *variable, const char *name)
{
        size_t n = name_length(name);

        return name_length(variable) == n && memcmp(variable, name, n) == 0;
}

static bool among(const char *variable, const char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (named(variable, names[i]))
                        return true;
        }
        return false;
}

static bool wanted(const struct run_options *o, const char *variable)
{
        if (among(variable, own, ENVIRONMENT_OWN) || among(variable, o->set_env, o->n_set_env))
                return false;
        return !o->clean_env || among(variable, usual, sizeof usual / sizeof *usual) ||
               among(variable, o->pass_env, o->n_pass_env);
}

void environment_make(struct environment *e, const struct run_options *o, char *const *from)
{
        size_t n = 0;

        while (from && from[n])
                n++;
        *e = (struct environment){ 0 };
        e->list = must_have((n + o->n_set_env + ENVIRONMENT_OWN + 1) * sizeof *e->list);
        for (size_t i = 0; i < n; i++) {
                if (wanted(o, from[i]))
                        e->list[e->n++] = from[i];
        }
        for (size_t i = 0; i < o->n_set_env; i++)
                e->list[e->n++] = o->set_env[i];
        for (int i = 0; i < ENVIRONMENT_OWN; i++)
                e->list[e->n + (size_t)i] = e->own[i];
}

void environment_free(struct environment *e)
{
        free(e->list);
}

const char *const *environment_of(struct environment *e, uint64_t seq, unsigned slot)
{
        for (int i = 0; i < ENVIRONMENT_OWN; i++)
                (void)snprintf(e->own[i], sizeof e->own[i], "%s=%llu", own[i],
                        i % 2 ? slot : (unsigned long long)seq);
        return e->list;
}
