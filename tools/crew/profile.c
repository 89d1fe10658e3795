/* SPDX-License-Identifier: MIT */
#include "profile.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * What any program may need to work at all. Not unix: the sockets of the user's session would do
 * everything for a job that the job itself may not.
 */
static const char base_words[] = "stdio rpath wpath cpath fattr thread proc exec";

const char *const profile_names[] = { "standard", "strict", "none", NULL };

/* What belongs to the system. A directory that is not there is left out. */
static const char *const system_paths[] = { "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
        "/libx32", "/etc", "/opt", "/nix/store", "/proc", "/sys/devices/system/cpu",
        "/sys/kernel/mm/transparent_hugepage", "/run/systemd/resolve", "/dev/urandom",
        "/dev/random", NULL };

/* What is neither a file's content nor anybody's. */
static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/tty",
        "/dev/pts", "/dev/ptmx", NULL };

enum {
        LOOK = CREW_PATH_READ | CREW_PATH_EXEC,
        CHANGE = CREW_PATH_WRITE | CREW_PATH_CREATE,
};

int profile_find(const char *name)
{
        for (int i = 0; profile_names[i]; i++) {
                if (strcmp(name, profile_names[i]) == 0)
                        return i;
        }
        return -1;
}

static const char *temporary_directory(void)
{
        const char *tmp = getenv("TMPDIR");

        return tmp && *tmp == '/' && access(tmp, F_OK) == 0 ? tmp : "/tmp";
}

static const char *working_directory(const struct profile *p)
{
        return p->wd ? p->wd : ".";
}

/* Rights to read are only worth a word where the profile limits reading. */
static int add(crew_sandbox *s, const struct profile *p, int rights, const char *path)
{
        if (p->kind == PROFILE_STANDARD)
                rights &= CHANGE;
        return rights ? crew_sandbox_path(s, rights, path) : 0;
}

static int add_present(
        crew_sandbox *s, const struct profile *p, int rights, const char *const paths[])
{
        int r = 0;

        for (size_t i = 0; paths[i] && r == 0; i++) {
                if (access(paths[i], F_OK) == 0)
                        r = add(s, p, rights, paths[i]);
        }
        return r;
}

static int add_given(
        crew_sandbox *s, const struct profile *p, int rights, const char *const paths[], size_t n)
{
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++)
                r = add(s, p, rights, paths[i]);
        return r;
}

static int fill(crew_sandbox *s, const struct profile *p)
{
        int r = add_present(s, p, LOOK, system_paths);

        if (r == 0)
                r = add_present(s, p, CREW_PATH_READ | CREW_PATH_WRITE, devices);
        if (r == 0)
                r = add(s, p, LOOK | CHANGE, working_directory(p));
        if (r == 0)
                r = add(s, p, LOOK | CHANGE, temporary_directory());
        if (r == 0)
                r = add_given(s, p, LOOK, p->ro, p->n_ro);
        return r < 0 ? r : add_given(s, p, LOOK | CHANGE, p->rw, p->n_rw);
}

static int make(const struct profile *p, int mode, crew_sandbox **s)
{
        const char *allow = p->allow ? p->allow : "";
        size_t cap = sizeof base_words + strlen(allow) + sizeof "  inet";
        char *words = malloc(cap);
        crew_sandbox *made = NULL;
        crew_process *trial = NULL;
        int r;

        if (!words)
                return -ENOMEM;
        (void)snprintf(words, cap, "%s %s%s", base_words, allow, p->net ? " inet" : "");
        r = crew_sandbox_new(&made, words, mode);
        free(words);
        if (r == 0 && mode != CREW_LANDLOCK_OFF)
                r = fill(made, p);
        /* Whether the kernel can is found out here, not by the first job; what was prepared for it
         * stays with the policy. */
        if (r == 0)
                r = crew_process_new_exec(&trial, (const char *const[]){ "true", NULL },
                        CREW_OPT(process, .policy = made));
        (void)crew_process_free(trial);
        if (r < 0) {
                (void)crew_sandbox_free(made);
                return r;
        }
        *s = made;
        return 0;
}

/* A kernel without Landlock would not look at them. */
static int check_paths(
        const char *option, const char *const paths[], size_t n, char *words, size_t cap)
{
        for (size_t i = 0; i < n; i++) {
                if (access(paths[i], F_OK) < 0) {
                        (void)snprintf(
                                words, cap, "%s: '%s': %s", option, paths[i], strerror(errno));
                        return -ENOENT;
                }
        }
        return 0;
}

static int choose(const struct profile *p, crew_sandbox **s, char *words, size_t cap)
{
        int r = make(p, CREW_BEST_EFFORT, s);

        if (r != -EOPNOTSUPP || p->required)
                return r;
        (void)snprintf(words, cap,
                "this kernel cannot limit files (no Landlock): jobs may write what you may");
        r = make(p, CREW_LANDLOCK_OFF, s);
        if (r != -EOPNOTSUPP)
                return r;
        (void)snprintf(
                words, cap, "this kernel has no sandbox (no seccomp): jobs may do what you may");
        return 0;
}

int profile_make(const struct profile *p, crew_sandbox **s, char *words, size_t cap)
{
        crew_sandbox *made = NULL;
        int r;

        (void)snprintf(words, cap, "%s", "");
        r = check_paths("--ro", p->ro, p->n_ro, words, cap);
        if (r == 0)
                r = check_paths("--rw", p->rw, p->n_rw, words, cap);
        if (r == 0 && p->wd)
                r = check_paths("--wd", &p->wd, 1, words, cap);
        if (r < 0)
                return r;
        if (p->kind != PROFILE_NONE)
                r = choose(p, &made, words, cap);
        if (r < 0)
                (void)snprintf(words, cap, "%s", crew_error_detail());
        else
                *s = made;
        return r;
}

void profile_describe(const struct profile *p, char *text, size_t cap)
{
        int n;

        if (p->kind == PROFILE_NONE) {
                (void)snprintf(text, cap, "no sandbox");
                return;
        }
        n = snprintf(text, cap, "the %s sandbox: %swritable %s and %s", profile_names[p->kind],
                p->kind == PROFILE_STRICT ? "readable the system, " : "", working_directory(p),
                temporary_directory());
        for (size_t i = 0; i < p->n_rw && n >= 0 && (size_t)n < cap; i++)
                n += snprintf(text + n, cap - (size_t)n, ", %s", p->rw[i]);
        if (n >= 0 && (size_t)n < cap)
                (void)snprintf(text + n, cap - (size_t)n, p->net ? ", network" : ", no network");
}

void profile_advice(const crew_violation *v, char *text, size_t cap)
{
        if (strcmp(v->words, "inet") == 0)
                (void)snprintf(text, cap, "--net");
        else if (v->words[0] && !strchr(v->words, ' '))
                (void)snprintf(text, cap, "--allow %s", v->words);
        else
                (void)snprintf(text, cap, "%s", "");
}

static bool below(const char *path, const char *directory)
{
        char whole[PATH_MAX];
        size_t n;

        if (!realpath(directory, whole))
                return false;
        n = strlen(whole);
        if (n == 1)
                return true;
        return strncmp(path, whole, n) == 0 && (path[n] == '/' || !path[n]);
}

static bool below_any(const char *path, const char *const directories[], size_t n)
{
        for (size_t i = 0; i < n && directories[i]; i++) {
                if (below(path, directories[i]))
                        return true;
        }
        return false;
}

bool profile_writes(const struct profile *p, const char *path)
{
        return p->kind == PROFILE_NONE || below(path, working_directory(p)) ||
               below(path, temporary_directory()) || below_any(path, devices, SIZE_MAX) ||
               below_any(path, p->rw, p->n_rw);
}

bool profile_reads(const struct profile *p, const char *path)
{
        return p->kind != PROFILE_STRICT || profile_writes(p, path) ||
               below_any(path, system_paths, SIZE_MAX) || below_any(path, p->ro, p->n_ro);
}
