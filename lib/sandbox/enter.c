/* SPDX-License-Identifier: MIT */

/* The sandbox for one's own process, and what a process does before it is in one. */

#include "base/cleanup.h"
#include "base/fail.h"
#include "base/trace.h"
#include "kernel/features.h"
#include "kernel/generation.h"
#include "kernel/namespace.h"
#include "kernel/owner.h"
#include "kernel/syscall.h"
#include "sandbox/apply.h"
#include "status/page.h"

#include <dirent.h>
#include <langinfo.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <wchar.h>

#if defined(__GLIBC__)
#include <sys/single_threaded.h>

/* Beyond it arenas are shared; glibc would read the number of processors from a file to know. */
static void settle_arenas(void)
{
        int processors = get_nprocs();

        (void)mallopt(M_ARENA_MAX, 8 * (processors > 0 ? processors : 1));
}
#else
static void settle_arenas(void)
{
}
#endif

/*
 * Names the time zone where the environment does not: glibc then keeps what it has read, else it
 * looks at /etc/localtime again in every localtime() and mktime(). Not setenv(): its lock may be
 * held for ever by a thread that this fork did not take along.
 */
static void pin_time_zone(void)
{
        static char pinned[] = "TZ=:/etc/localtime";
        char **grown;
        size_t n = 0;

        if (getenv("TZ"))
                return;
        while (environ && environ[n])
                n++;
        grown = calloc(n + 2, sizeof *grown);
        if (!grown)
                return;
        if (n)
                memcpy(grown, environ, n * sizeof *grown);
        grown[n] = pinned;
        environ = grown;
}

/* What every sandbox of crew's refuses. */
static const enum crew__feature lost[] = { CREW__IO_URING, CREW__CLONE3, CREW__USERNS,
        CREW__SECCOMP_NOTIFY, CREW__CGROUP_MEMORY };
static const enum crew__feature kept[] = { CREW__CLOSE_RANGE, CREW__PIDFD_INFO, CREW__NOEXEC_SEAL,
        CREW__LANDLOCK, CREW__ROBUST_LIST };

void crew__sandbox_forbid(void)
{
        for (size_t i = 0; i < sizeof lost / sizeof *lost; i++)
                crew__feature_forbid(lost[i]);
        crew__owner_blindfold();
}

void crew__sandbox_warm_up(void)
{
        struct tm tm;
        time_t now = time(NULL);
        char text[64];

        /* The library's own first uses. Trying a feature may start a child; what is refused anyhow
         * is not tried. */
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
                (void)crew__has(kept[i]);
        (void)crew__generation();
        (void)crew__pid_namespace();
        settle_arenas();
        free(malloc(64));
        pin_time_zone();
        tzset();
        (void)localtime_r(&now, &tm);
        (void)strftime(text, sizeof text, "%B %Z", &tm);
        (void)nl_langinfo(CODESET);
        /* The conversions of the locale are loaded at the first wide character. */
        (void)mbrtowc(NULL, "a", 1, &(mbstate_t){ 0 });
        (void)snprintf(text, sizeof text, "%.3f %lc", 0.5, (wint_t)L'a');
        (void)strerror(ENOENT);
}

/*
 * The words that this process (or the one it was forked from) entered with, 0 before it did. What
 * follows can only narrow them, and may do only what they allow.
 */
static _Atomic unsigned entered;

/* How many threads this process has; -1 if nobody tells. */
static int count_threads(void)
{
        DIR *directory;
        int n = 0;

#if defined(__GLIBC__)
        if (__libc_single_threaded)
                return 1;
#endif
        directory = opendir("/proc/self/task");
        if (!directory)
                return -1;
        for (const struct dirent *e; (e = readdir(directory));)
                n += e->d_name[0] != '.';
        (void)closedir(directory);
        return n;
}

/* Landlock holds for the calling thread only; whether that will do, and what if not. */
static int check_threads(const crew_sandbox *s, crew__ruleset *ruleset)
{
        if (ruleset->fd < 0 || count_threads() == 1)
                return 0;
        if (s->limited || s->mode == CREW_REQUIRE)
                return crew__fail(EOPNOTSUPP,
                        "sandbox: this process has other threads, and Landlock (ABI %d) restricts "
                        "only the one that enters: enter before starting threads, or use "
                        "CREW_LANDLOCK_OFF",
                        ruleset->abi);
        /* The filter refuses all that Landlock would; that one was only a second lock. */
        crew__ruleset_free(ruleset);
        return 0;
}

static int load(const crew__filter *f)
{
        struct sock_fprog program = { .len = f->length, .filter = f->code };
        int r = crew__sys_seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);

        if (r > 0)
                return crew__fail(EBUSY,
                        "sandbox: thread %d has a seccomp filter of its own, so the process "
                        "cannot be put under one",
                        r);
        if (r < 0)
                return crew__fail(
                        -r, "sandbox: %s: %s", crew__step_name(CREW__STEP_FILTER), strerror(-r));
        return 0;
}

static int enforce(const crew_sandbox *s, const crew__filter *f, crew__ruleset *ruleset)
{
        int r = check_threads(s, ruleset);

        if (r < 0)
                return r;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return crew__fail(
                        errno, "sandbox: %s: %m", crew__step_name(CREW__STEP_NO_NEW_PRIVS));
        r = crew__ruleset_restrict(ruleset);
        if (r < 0)
                return crew__fail(
                        -r, "sandbox: %s: %s", crew__step_name(CREW__STEP_LANDLOCK), strerror(-r));
        r = crew__ruleset_test(ruleset);
        if (r < 0)
                return crew__fail(-r,
                        "sandbox: Landlock accepted the rules, but %s could still be opened",
                        ruleset->test_path);
        crew__ruleset_free(ruleset);
        return load(f);
}

/*
 * What a second time is possible: fewer words always, fewer paths where the first words let them be
 * opened. Without paths the first ruleset stays as it is, and the filter takes away the words.
 */
static int check_narrowing(const crew_sandbox *s, unsigned before)
{
        const char *more = crew__word_name(s->words & ~before);

        if (more)
                return crew__fail(EPERM,
                        "sandbox: the word %s is not in force any more and cannot come back", more);
        if (!(before & CREW__STDIO) || (s->limited && !(before & CREW__RPATH)))
                return crew__fail(EOPNOTSUPP,
                        "sandbox: giving up more takes %s, which the sandbox that is in force "
                        "refuses",
                        s->limited ? "rpath, to open the paths" : "stdio");
        return 0;
}

/* From here on the filter of a former time may end the process for what it does. */
static int prepare(const crew_sandbox *s, unsigned before, crew__ruleset *ruleset)
{
        if (!before) {
                crew__sandbox_warm_up();
                return crew__ruleset_new(ruleset, s, true);
        }
        return s->limited ? crew__ruleset_new(ruleset, s, false) : 0;
}

int crew_sandbox_enter(crew_sandbox *s)
{
        struct crew__scope scope = { .control = -1, .self = (uint32_t)crew__sys_getpid() };
        unsigned before = atomic_load(&entered);
        crew__ruleset ruleset = { .fd = -1 };
        crew__filter filter = { 0 };
        int r, abi;

        if (!s)
                return crew__fail(EINVAL, "sandbox: s is NULL");
        if (s->words & CREW__NONE)
                return 0;
        if (before) {
                r = check_narrowing(s, before);
                if (r < 0)
                        return r;
        }
        r = prepare(s, before, &ruleset);
        if (r < 0)
                return r;
        if (!(s->words & CREW__STDIO))
                crew__voice_off();
        scope.words = crew__words_closed(s->words | crew__words_of_host()) | CREW__NARROWING;
        if (ruleset.abi && ruleset.abi < 3 && s->limited & CREW_PATH_WRITE)
                scope.words |= CREW__NO_TRUNCATE;
        /* Trap, not kill: a debugger or a handler of the host's then sees which call it was. */
        r = crew__filter_new(&filter, &scope, CREW__REFUSE_TRAP);
        abi = ruleset.abi;
        if (r == 0)
                r = enforce(s, &filter, &ruleset);
        if (r == 0) {
                char words[64];

                crew__sandbox_forbid();
                crew__words_text(s, words, sizeof words);
                crew__status_sandboxed(words, abi);
                atomic_store(&entered, s->words);
        }
        crew__filter_free(&filter);
        crew__ruleset_free(&ruleset);
        return r;
}
