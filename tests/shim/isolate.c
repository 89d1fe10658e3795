/* SPDX-License-Identifier: MIT */
#include "isolate.h"

#include "inventory.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define DEFAULT_DEADLINE (20000 * MS)
/* A thread that was joined before the case gets this long to be gone. */
#define SETTLE (200 * MS)
/* The runner looks this often whether the case changed its deadline. */
#define GLANCE (50 * MS)
#define WARM_UPS 16
/* More at a time are found in the next round. */
#define MOST_CHILDREN 4096

static struct test_case *cases, **cases_end = &cases;
static void (*warm_ups[WARM_UPS])(void);
static stack_t signal_stack;
int64_t isolate_patience = 2000 * MS;

void test_register(struct test_case *c)
{
        *cases_end = c;
        cases_end = &c->next;
}

const struct test_case *test_cases(void)
{
        return cases;
}

void test_warm_up(void (*fn)(void))
{
        for (int i = 0; i < WARM_UPS; i++) {
                if (!warm_ups[i]) {
                        warm_ups[i] = fn;
                        return;
                }
        }
        abort();
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
/*
 * Clang 14's AddressSanitizer leaves to the child of a fork() what other threads have locked in its
 * allocator at that moment, for ever. It has these for another system; where it has not, they are
 * null. Registered first, so that nobody's handler runs under its locks.
 */
void force_lock(void) __asm__("_ZN6__asan18asan_mz_force_lockEv") __attribute__((weak));
void force_unlock(void) __asm__("_ZN6__asan20asan_mz_force_unlockEv") __attribute__((weak));

__attribute__((constructor(101))) static void guard_allocator(void)
{
        if (force_lock && force_unlock)
                (void)pthread_atfork(force_lock, force_unlock, force_unlock);
}
#endif
#endif

void isolate_prepare(void)
{
        (void)sigaltstack(NULL, &signal_stack);
}

/*
 * Takes back the handlers that Catch2 installs, which would report from inside the case, and what
 * nohup or cron made the runner ignore, which the case would inherit.
 */
static void default_signals(void)
{
        struct sigaction as_new = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int s = 1; s < _NSIG; s++)
                (void)sigaction(s, &as_new, NULL);
        (void)sigaltstack(&signal_stack, NULL);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int64_t now(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void compare_settled(const struct inventory *before)
{
        int64_t until = now() + isolate_patience * test_slowness();
        struct inventory after;
        int exceeded;
        bool last;

        do {
                last = now() >= until;
                inventory_take(&after);
                exceeded = inventory_compare(before, &after, last);
                inventory_free(&after);
                if (exceeded && !last)
                        (void)usleep(5000);
        } while (exceeded && !last);
}

/* A thread that was joined may still be on its way out, and would be missed afterwards. */
static void take_settled(struct inventory *before)
{
        int64_t until = now() + SETTLE * test_slowness();

        inventory_take(before);
        while (before->count[TEST_THREADS] > 1 && now() < until) {
                inventory_free(before);
                (void)usleep(1000);
                inventory_take(before);
        }
}

static void run_body(const struct test_case *c)
{
        struct inventory before;

        for (int i = 0; i < WARM_UPS && warm_ups[i]; i++)
                warm_ups[i]();
        take_settled(&before);
        c->body();
        if (getpid() != test_report->leader) {
                test_fail("process %d, forked by the case, returned from its body", (int)getpid());
                _exit(1);
        }
        if (!atomic_load(&test_report->failures))
                compare_settled(&before);
        inventory_free(&before);
        atomic_store(&test_report->finished, true);
}

/* exit, not _exit: what the library does at exit belongs to the case, and so do leak checkers. */
TEST_NORETURN static void be_the_case(const struct test_case *c)
{
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void)setpgid(0, 0);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        default_signals();
        if (null >= 0) {
                (void)dup2(null, STDIN_FILENO);
                (void)close(null);
        }
        test_report->leader = getpid();
        run_body(c);
        exit(0);
}

/* Sleeps until a child ended or the time came, whichever is first. SIGCHLD is blocked. */
static void doze(int64_t until)
{
        int64_t left = until - now();
        struct timespec t = { .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
        sigset_t chld;

        if (left <= 0)
                return;
        (void)sigemptyset(&chld);
        (void)sigaddset(&chld, SIGCHLD);
        (void)sigtimedwait(&chld, NULL, &t);
}

/* Returns whether the case ended by itself, and how; past its deadline it is dumped. */
static bool await_case(pid_t pid, int *status)
{
        for (;;) {
                int64_t deadline = atomic_load(&test_report->deadline);
                pid_t got = waitpid(pid, status, WNOHANG);

                if (got == pid)
                        return true;
                if (now() >= deadline) {
                        test_fail("deadline: still running after %.1f s",
                                (double)(now() - test_report->begun) / 1e9);
                        inventory_dump(getpid());
                        return false;
                }
                doze(deadline < now() + GLANCE ? deadline : now() + GLANCE);
        }
}

/*
 * Kills the children in @found that are not among the @n in @killed yet and adds them; a killed
 * process can take a while to go. Returns the new number in @killed.
 */
static size_t kill_new(pid_t *killed, size_t n, const pid_t *found, size_t found_n)
{
        for (size_t i = 0; i < found_n; i++) {
                size_t j = 0;

                while (j < n && killed[j] != found[i])
                        j++;
                if (j == n && n < MOST_CHILDREN && kill(found[i], SIGKILL) == 0)
                        killed[n++] = found[i];
        }
        return n;
}

/*
 * Waits for what descends from the case: all of it becomes this process's child, generation by
 * generation; not for long if there may be so many. Returns how many had to be killed.
 */
static size_t sweep(int64_t patience, size_t allowed, bool complain)
{
        int64_t began = now();
        pid_t killed[MOST_CHILDREN], found[MOST_CHILDREN];
        size_t killed_n = 0, found_n;

        for (;;) {
                while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
                        ;
                found_n = inventory_children(getpid(), found, MOST_CHILDREN);
                if (!found_n)
                        return killed_n;
                if (now() - began >= (found_n > allowed ? patience : patience / 4)) {
                        if (complain && !killed_n)
                                inventory_dump(getpid());
                        killed_n = kill_new(killed, killed_n, found,
                                found_n < MOST_CHILDREN ? found_n : MOST_CHILDREN);
                }
                (void)usleep(2000);
        }
}

static void judge_status(int status)
{
        struct test_report *r = test_report;

        if (WIFSIGNALED(status))
                test_fail("crash: killed by signal %d (%s)", WTERMSIG(status),
                        strsignal(WTERMSIG(status)));
        else if (!atomic_load(&r->finished) && !atomic_load(&r->skipped) &&
                 !atomic_load(&r->failures))
                test_fail("exit: the case ended itself with status %d", WEXITSTATUS(status));
        else if (WEXITSTATUS(status) && !atomic_load(&r->failures))
                test_fail("exit: status %d after the body returned (a sanitizer's verdict?)",
                        WEXITSTATUS(status));
}

static void run_forked(const struct test_case *c)
{
        struct test_report *r = test_report;
        sigset_t chld, mask;
        int status = 0;
        size_t left, allowed;
        bool ended;
        pid_t pid;

        (void)sigemptyset(&chld);
        (void)sigaddset(&chld, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &chld, &mask);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        pid = fork();
        if (pid == 0)
                be_the_case(c);
        if (pid < 0) {
                test_fail("fork: %s", strerror(errno));
        } else {
                ended = await_case(pid, &status);
                if (ended)
                        judge_status(status);
                else
                        (void)kill(-pid, SIGKILL);
                ended = ended && !atomic_load(&r->failures);
                allowed = (size_t)atomic_load(&r->allowed[TEST_CHILDREN]);
                left = sweep(ended ? isolate_patience * test_slowness() : 0, allowed, ended);
                if (ended && left > allowed)
                        test_fail("leak: %zu processes outlived the case", left);
        }
        (void)sigprocmask(SIG_SETMASK, &mask, NULL);
}

static char *collect(const struct test_report *r, enum test_verdict verdict)
{
        unsigned infos = atomic_load(&r->infos);
        char *words = NULL;
        size_t size, used;
        FILE *out = open_memstream(&words, &size);

        if (!out)
                abort();
        if (verdict == TEST_SKIPPED)
                (void)fputs(r->reason, out);
        used = atomic_load(&r->used);
        for (size_t i = 0; verdict == TEST_FAILED && i < used && i < sizeof r->text; i++) {
                if (r->text[i])
                        (void)fputc(r->text[i], out);
        }
        if (verdict == TEST_FAILED && used > sizeof r->text)
                (void)fprintf(out, "... and more; %d failures in all\n", r->failures);
        for (unsigned i = infos > TEST_INFO_LINES ? infos - TEST_INFO_LINES : 0;
                verdict == TEST_FAILED && i < infos; i++)
                (void)fprintf(out, "info: %s\n", r->info[i % TEST_INFO_LINES]);
        (void)fclose(out);
        return words;
}

static struct test_report *map_report(int fd, int fixed)
{
        void *wanted, *at;
        uint64_t address = TEST_REPORT_ADDRESS;

        memcpy(&wanted, &address, sizeof wanted);
        at = mmap(wanted, sizeof(struct test_report), PROT_READ | PROT_WRITE, MAP_SHARED | fixed,
                fd, 0);
        return at == MAP_FAILED ? NULL : at;
}

void isolate_attach(void)
{
        const char *path = getenv(TEST_REPORT_VARIABLE);
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

        if (fd < 0)
                return;
        test_report = map_report(fd, MAP_FIXED_NOREPLACE);
        (void)close(fd);
}

/* The name in the environment is of no use once the runner has closed it. */
static struct test_report *new_report(int *fd)
{
        struct test_report *r;
        char path[64];

        *fd = memfd_create("test-report", MFD_CLOEXEC);
        if (*fd < 0 || ftruncate(*fd, sizeof *r) < 0)
                abort();
        r = map_report(*fd, MAP_FIXED_NOREPLACE);
        if (!r)
                r = map_report(*fd, 0);
        if (!r)
                abort();
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), *fd);
        (void)setenv(TEST_REPORT_VARIABLE, path, 1);
        return r;
}

enum test_verdict isolate_run(const struct test_case *c, char **words)
{
        struct test_report *outer = test_report, *r;
        const char *nofork = getenv("CREW_TEST_NOFORK");
        enum test_verdict verdict = TEST_PASSED;
        int fd;

        r = new_report(&fd);
        r->begun = now();
        atomic_store(&r->deadline, r->begun + DEFAULT_DEADLINE * test_slowness());
        r->in_place = nofork && strcmp(nofork, "1") == 0;
        r->leader = getpid();
        (void)fflush(NULL);
        test_report = r;
        if (r->in_place)
                run_body(c);
        else
                run_forked(c);
        if (atomic_load(&r->failures))
                verdict = TEST_FAILED;
        else if (atomic_load(&r->skipped))
                verdict = TEST_SKIPPED;
        *words = collect(r, verdict);
        test_report = outer;
        (void)munmap(r, sizeof *r);
        (void)close(fd);
        return verdict;
}
