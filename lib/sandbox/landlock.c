/* SPDX-License-Identifier: MIT */
#include "sandbox/landlock.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/syscall.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Rights as this file writes them: all that ABI 6 has. */
enum { ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_NET = 4, ABI_IOCTL = 5, ABI_SCOPE = 6 };

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                   \
        (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV)
#define FS_CREATE                                                                                  \
        (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                          \
                LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                        \
                LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |                      \
                LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)
#define FS_EXEC (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
#define FS_DEVICES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
#define FS_ALL (FS_READ | FS_WRITE | FS_CREATE | FS_EXEC | FS_DEVICES)

/* What makes sense for a file; the kernel refuses a rule with more. */
#define FS_OF_FILE                                                                                 \
        (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |                              \
                LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |                       \
                LANDLOCK_ACCESS_FS_IOCTL_DEV)

static const struct {
        unsigned word;
        int right;
        uint64_t access;
} rights[] = {
        { CREW__RPATH, CREW_PATH_READ, FS_READ },
        { CREW__WPATH, CREW_PATH_WRITE, FS_WRITE },
        { CREW__CPATH, CREW_PATH_CREATE, FS_CREATE },
        { CREW__EXEC, CREW_PATH_EXEC, FS_EXEC },
};

enum { RIGHTS = sizeof rights / sizeof *rights };

static uint64_t known_to(int abi)
{
        uint64_t access = FS_ALL;

        if (abi < ABI_IOCTL)
                access &= ~(uint64_t)LANDLOCK_ACCESS_FS_IOCTL_DEV;
        if (abi < ABI_TRUNCATE)
                access &= ~(uint64_t)LANDLOCK_ACCESS_FS_TRUNCATE;
        if (abi < ABI_REFER)
                access &= ~(uint64_t)LANDLOCK_ACCESS_FS_REFER;
        return access;
}

static uint64_t access_of(int rights_of_path)
{
        uint64_t access = 0;

        for (unsigned i = 0; i < RIGHTS; i++) {
                if (rights_of_path & rights[i].right)
                        access |= rights[i].access;
        }
        return access;
}

/* What words without paths allow everywhere. */
static uint64_t access_everywhere(const crew_sandbox *s)
{
        uint64_t access = 0;

        for (unsigned i = 0; i < RIGHTS; i++) {
                if (s->words & rights[i].word && !(s->limited & rights[i].right))
                        access |= rights[i].access;
        }
        return access;
}

static bool used(const crew_sandbox *s)
{
        return s->mode != CREW_LANDLOCK_OFF && !(s->words & CREW__NONE);
}

static int abi_here(void)
{
        int abi = crew__has(CREW__LANDLOCK) ? crew__sys_landlock_abi() : 0;

        return abi > 0 ? abi : 0;
}

static unsigned gaps_of(const crew_sandbox *s, int abi)
{
        unsigned gaps = 0;

        if (abi == 0)
                return CREW__GAP_ALL;
        if (abi < ABI_SCOPE && s->words & CREW__PROC)
                gaps |= CREW__GAP_SIGNALS;
        if (abi < ABI_IOCTL && s->words & CREW__EXEC && s->limited)
                gaps |= CREW__GAP_DEVICES;
        return gaps;
}

static const char *gap_words(unsigned gaps)
{
        if (gaps & CREW__GAP_ALL)
                return "no Landlock";
        if (gaps & CREW__GAP_SIGNALS)
                return "signals to other processes are not restricted before Linux 6.12";
        if (gaps & CREW__GAP_DEVICES)
                return "ioctl on devices is not restricted before Linux 6.10";
        return "";
}

static int create(const crew_sandbox *s, int abi)
{
        struct crew__landlock_ruleset_attr attr = { .handled_access_fs = known_to(abi) };
        size_t size = offsetof(struct crew__landlock_ruleset_attr, handled_access_net);
        int fd;

        if (abi >= ABI_NET) {
                size = offsetof(struct crew__landlock_ruleset_attr, scoped);
                if (!(s->words & CREW__INET))
                        attr.handled_access_net =
                                LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
        }
        if (abi >= ABI_SCOPE) {
                size = sizeof attr;
                attr.scoped = LANDLOCK_SCOPE_SIGNAL;
                if (!(s->words & CREW__UNIX))
                        attr.scoped |= LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET;
        }
        fd = crew__sys_landlock_create_ruleset(&attr, size, 0);
        if (fd < 0)
                return crew__fail(-fd, "sandbox: landlock_create_ruleset: %s", strerror(-fd));
        return fd;
}

/* @st tells what was opened, for who has to know whether a path lies below it. */
static int add_path(int ruleset, int abi, const char *path, uint64_t access, struct stat *st)
{
        struct landlock_path_beneath_attr attr = { .allowed_access = access & known_to(abi) };
        CREW__AUTO_CLOSE int fd = -1;
        int r;

        fd = open(path, O_PATH | O_CLOEXEC);
        if (fd < 0 || fstat(fd, st) < 0)
                return crew__fail(errno, "sandbox: the path %s: %m", path);
        if (!S_ISDIR(st->st_mode))
                attr.allowed_access &= FS_OF_FILE;
        if (!attr.allowed_access)
                return 0; /* cpath on a file: what would be created must have a directory */
        attr.parent_fd = fd;
        r = crew__sys_landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0);
        if (r < 0)
                return crew__fail(-r, "sandbox: a Landlock rule for %s: %s", path, strerror(-r));
        return 0;
}

/*
 * What can be tried afterwards: each is open to everybody without Landlock. Nothing is left to try
 * where reading and writing are allowed everywhere.
 */
static const struct {
        const char *path, *above[3];
        int flags;
        unsigned word;
        uint64_t access;
} trials[] = {
        { "/", { "/" }, O_RDONLY | O_DIRECTORY, CREW__RPATH, LANDLOCK_ACCESS_FS_READ_DIR },
        { "/dev/null", { "/dev/null", "/dev", "/" }, O_WRONLY, CREW__WPATH,
                LANDLOCK_ACCESS_FS_WRITE_FILE },
};

enum { TRIALS = sizeof trials / sizeof *trials };

/* Strikes out what a rule for @st allows. */
static void strike(unsigned *open_trials, const struct stat *st, uint64_t access)
{
        for (unsigned i = 0; i < TRIALS; i++) {
                struct stat above;

                if (!(access & trials[i].access))
                        continue;
                for (unsigned j = 0; j < 3 && trials[i].above[j]; j++) {
                        if (stat(trials[i].above[j], &above) < 0 ||
                                (above.st_dev == st->st_dev && above.st_ino == st->st_ino))
                                *open_trials &= ~(1U << i);
                }
        }
}

static void choose_trial(crew__ruleset *r, unsigned open_trials, unsigned words)
{
        for (unsigned i = 0; i < TRIALS; i++) {
                int fd;

                if (!(open_trials & 1U << i))
                        continue;
                fd = open(trials[i].path, trials[i].flags | O_CLOEXEC);
                if (fd < 0)
                        continue; /* refused already: its refusal would tell nothing */
                (void)crew__close(fd);
                r->test_path = trials[i].path;
                r->test_flags = trials[i].flags | O_CLOEXEC;
                r->test_filtered = words & trials[i].word;
                return;
        }
}

static int fill(crew__ruleset *r, const crew_sandbox *s, bool test)
{
        unsigned open_trials = (1U << TRIALS) - 1;
        uint64_t everywhere = access_everywhere(s);
        struct stat st;
        int error;

        if (everywhere) {
                error = add_path(r->fd, r->abi, "/", everywhere, &st);
                if (error < 0)
                        return error;
                strike(&open_trials, &st, everywhere);
        }
        for (size_t i = 0; i < s->n_paths; i++) {
                uint64_t access = access_of(s->paths[i].rights);

                error = add_path(r->fd, r->abi, s->paths[i].path, access, &st);
                if (error < 0)
                        return error;
                strike(&open_trials, &st, access);
        }
        if (test)
                choose_trial(r, open_trials, s->words);
        return 0;
}

int crew__ruleset_new(crew__ruleset *r, const crew_sandbox *s, bool test)
{
        crew__ruleset made = { .fd = -1 };
        int error;

        if (!used(s)) {
                *r = made;
                return 0;
        }
        made.abi = abi_here();
        made.gaps = gaps_of(s, made.abi);
        if (made.gaps && (s->mode == CREW_REQUIRE || (made.abi == 0 && s->limited)))
                return crew__fail(EOPNOTSUPP,
                        "sandbox: the policy cannot be enforced here: %s%s; `crew features` tells "
                        "why. CREW_LANDLOCK_OFF goes without",
                        s->limited && !made.abi ? "paths need Landlock, and there is " : "",
                        gap_words(made.gaps));
        if (made.abi == 0) {
                *r = made;
                return 0;
        }
        made.fd = create(s, made.abi);
        if (made.fd < 0)
                return made.fd;
        error = fill(&made, s, test);
        if (error < 0) {
                crew__ruleset_free(&made);
                return error;
        }
        *r = made;
        return 0;
}

void crew__ruleset_free(crew__ruleset *r)
{
        r->fd = crew__close(r->fd);
}

int crew__ruleset_restrict(const crew__ruleset *r)
{
        return r->fd < 0 ? 0 : crew__sys_landlock_restrict_self(r->fd, 0);
}

int crew__ruleset_test(const crew__ruleset *r)
{
        int fd;

        if (r->fd < 0 || !r->test_path)
                return 0;
        fd = (int)crew__syscall(SYS_openat, AT_FDCWD, (long)r->test_path, r->test_flags, 0, 0, 0);
        /* Without a descriptor to spare it cannot be tried. */
        if (fd < 0)
                return fd == -EACCES || fd == -EMFILE || fd == -ENFILE ? 0 : fd;
        (void)crew__sys_close(fd);
        return -ENOTRECOVERABLE;
}

void crew__landlock_describe(const crew_sandbox *s, char *buf, size_t cap)
{
        int abi = abi_here();
        unsigned gaps = gaps_of(s, abi);

        if (abi == 0)
                (void)snprintf(buf, cap, "no Landlock");
        else if (gaps)
                (void)snprintf(buf, cap, "Landlock ABI %d, %s", abi, gap_words(gaps));
        else
                (void)snprintf(buf, cap, "Landlock ABI %d", abi);
}
