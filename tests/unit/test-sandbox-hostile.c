/* SPDX-License-Identifier: MIT */

/* A hostile child: it calls what it may not, with arguments that would do no harm if they passed. */

#include "kernel/syscall.h"
#include "sandbox-case.h"
#include "sandbox/bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define BAD ((uint64_t)-1)

/* Whatever the words. */
static const struct attempt {
        const char *call;
        long args[6];
} closed[] = {
        { "io_uring_setup", { 1, 0 } },
        { "io_uring_enter", { -1, 0, 0, 0, 0 } },
        { "io_uring_register", { -1, 0, 0, 0 } },
        { "ptrace", { -1, 0, 0, 0 } },
        { "process_vm_readv", { -1, 0, 0, 0, 0, 0 } },
        { "process_vm_writev", { -1, 0, 0, 0, 0, 0 } },
        { "process_madvise", { -1, 0, 0, 0, 0 } },
        { "kcmp", { -1, -1, 0, 0, 0 } },
        { "memfd_create", { 0, 0 } },
        { "execveat", { -1, 0, 0, 0, 0 } },
        { "add_key", { 0, 0, 0, 0, 0 } },
        { "request_key", { 0, 0, 0, 0 } },
        { "keyctl", { -1, 0, 0, 0, 0 } },
        { "bpf", { -1, 0, 0 } },
        { "userfaultfd", { -1 } },
        { "perf_event_open", { 0, -1, -1, -1, 0 } },
        { "kexec_load", { 0, 99, 0, 0 } },
        { "init_module", { 0, 0, 0 } },
        { "finit_module", { -1, 0, 0 } },
        { "delete_module", { 0, 0 } },
        { "mount", { 0, 0, 0, 0, 0 } },
        { "umount2", { 0, 0 } },
        { "pivot_root", { 0, 0 } },
        { "chroot", { 0 } },
        { "unshare", { 0 } },
        { "setns", { -1, 0 } },
        { "pidfd_getfd", { -1, -1, 0 } },
        { "open_by_handle_at", { -1, 0, 0 } },
        { "name_to_handle_at", { -1, 0, 0, 0, 0 } },
        { "io_setup", { 0, 0 } },
        { "shmget", { -1, 0, 0 } },
        { "swapoff", { 0 } },
        { "settimeofday", { 1, 1 } },
};

/* With the words that would allow it. */
static const struct {
        const char *words;
        struct attempt attempt;
} opened[] = {
        { "rpath", { "openat", { AT_FDCWD, 0, O_RDONLY } } },
        { "wpath", { "openat", { AT_FDCWD, 0, O_WRONLY } } },
        { "rwpath", { "openat", { AT_FDCWD, 0, O_RDWR } } },
        { "wcpath", { "openat", { AT_FDCWD, 0, O_WRONLY | O_CREAT } } },
        { "rwcpath", { "openat", { AT_FDCWD, 0, O_RDWR | O_CREAT } } },
        { "rpath", { "getdents64", { -1, 0, 0 } } },
        { "rpath", { "readlinkat", { -1, 0, 0, 0 } } },
        { "rpath", { "getcwd", { 0, 0 } } },
        { "wpath", { "ftruncate", { -1, 0 } } },
        { "cpath", { "unlinkat", { -1, 0, 0 } } },
        { "cpath", { "mkdirat", { -1, 0, 0 } } },
        { "cpath", { "renameat2", { -1, 0, -1, 0, 0 } } },
        { "fattr", { "fchmodat", { -1, 0, 0 } } },
        { "fattr", { "utimensat", { -1, 0, 0, 0 } } },
        { "inet", { "connect", { -1, 0, 0 } } },
        { "inet", { "setsockopt", { -1, 0, 0, 0, 0 } } },
        { "proc", { "kill", { 0, 0 } } },
        { "proc", { "wait4", { -1, 0, WNOHANG, 0 } } },
        { "proc", { "clone", { CLONE_SIGHAND, 0, 0, 0, 0 } } },
        { "exec", { "execve", { 0, 0, 0 } } },
};

static const char *const presets[] = { "compute", "stdio", "rpath", "wpath", "rwcpath", "inet",
        "unix", "thread", "proc", "rwcpath fattr inet unix thread proc" };

static void attempt(void *arg)
{
        const struct attempt *a = arg;
        int nr = seccomp_syscall_resolve_name(a->call);

        (void)crew__syscall(nr, a->args[0], a->args[1], a->args[2], a->args[3], a->args[4],
                a->args[5]);
}

/* Dies of it, by the kernel's word, and the report names it. */
static void must_die(const char *words, const struct attempt *a, unsigned wanted)
{
        struct confined c = { .words = words, .body = attempt,
                .arg = (void *)(uintptr_t)a };

        /* In a build with a sanitizer reading files is allowed. */
        if (seccomp_syscall_resolve_name(a->call) < 0 ||
                (wanted == CREW__RPATH && crew__words_of_host()))
                return;
        INFO("%s under %s", a->call, words);
        confine(&c);
        CHECK_INT(c.code, ==, CONFINED_DIED);
        CHECK_STR(c.violation.name, a->call);
        CHECK_INT(c.violation.tid, ==, c.pid);
        CHECK(strstr(c.violation.text, a->call) != NULL);
        if (wanted)
                CHECK_INT(c.violation.words, ==, wanted);
        else
                CHECK(strstr(c.violation.text, "no word allows it") != NULL);
}

TEST(closed_calls, "what is closed ends a child under every preset, and is named",
        "[unit][sandbox]")
{
        TEST_DEADLINE(60);
        for (size_t p = 0; p < COUNT(presets); p++) {
                for (size_t i = 0; i < COUNT(closed); i++)
                        must_die(presets[p], &closed[i], 0);
        }
}

static unsigned words_of(const char *text)
{
        crew_sandbox *s = NULL;
        unsigned words;

        REQUIRE_OK(crew_sandbox_new(&s, text, CREW_LANDLOCK_OFF));
        words = s->given;
        (void)crew_sandbox_free(s);
        return words;
}

TEST(missing_words, "what a word would allow ends a child without it, and the word is named",
        "[unit][sandbox]")
{
        TEST_DEADLINE(60);
        for (size_t i = 0; i < COUNT(opened); i++) {
                must_die("stdio", &opened[i].attempt, words_of(opened[i].words));
                must_die("stdio thread", &opened[i].attempt, words_of(opened[i].words));
        }
}

static void all_refused(void *arg)
{
        (void)arg;
        for (size_t i = 0; i < COUNT(closed); i++) {
                const struct attempt *a = &closed[i];
                int nr = seccomp_syscall_resolve_name(a->call);

                INFO("%s", a->call);
                if (nr >= 0)
                        CHECK_INT(crew__syscall(nr, a->args[0], a->args[1], a->args[2], a->args[3],
                                          a->args[4], a->args[5]),
                                ==, -EPERM);
        }
        CHECK_INT(crew__syscall(SYS_clone3, 0, 0, 0, 0, 0, 0), ==, -ENOSYS);
        CHECK_INT(crew__syscall(CREW__LAST_SYSCALL + 1, 0, 0, 0, 0, 0, 0), ==, -ENOSYS);
        CHECK_INT(crew__syscall(SYS_socket, -1, 0, 0, 0, 0, 0), <, 0);
}

TEST(soft, "a soft sandbox answers EPERM, counts, and remembers the first", "[unit][sandbox]")
{
        for (size_t p = 0; p < COUNT(presets); p++) {
                struct confined c = { .words = presets[p], .strictness = CREW__SOFT,
                        .body = all_refused };

                confine(&c);
                CHECK_INT(c.code, ==, 0);
                CHECK_INT(c.refused, >=, 30);
                CHECK_STR(c.violation.name, "io_uring_setup");
        }
}

TEST(foreign, "programs to be executed get EPERM", "[unit][sandbox]")
{
        static const char *const all[] = { "stdio", "exec",
                "rwcpath fattr inet unix thread proc exec" };

        for (size_t p = 0; p < COUNT(all); p++) {
                struct confined c = { .words = all[p], .strictness = CREW__FOREIGN,
                        .no_report = true, .body = all_refused };

                confine(&c);
                CHECK_INT(c.code, ==, 0);
        }
}

/* The kernel's own trampolines, which no filter sees: SIGILL for everybody else. */
static bool is_probe(int nr)
{
#if defined(__x86_64__)
        return nr == 335 || nr == 336;
#else
        return nr < 0;
#endif
}

/* The kernel's answer to every call that the replayed filter refuses. */
static void each_refusal(void *arg)
{
        const crew__filter *f = arg;
        int tried = 0;

        for (int nr = 0; nr <= CREW__LAST_SYSCALL + 50; nr++) {
                struct seccomp_data call = { .nr = nr, .arch = crew__native_arch(),
                        .args = { BAD, BAD, BAD, BAD, BAD, BAD } };
                unsigned action = crew__bpf_run(f->code, f->length, &call);

                if ((action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO || is_probe(nr))
                        continue;
                tried++;
                if (crew__syscall(nr, -1, -1, -1, -1, -1, -1) != -(long)(action & SECCOMP_RET_DATA)) {
                        INFO("call %d", nr);
                        CHECK(!"as the replay has it");
                }
        }
        CHECK(tried > 150);
}

TEST(kernel_agrees, "the kernel refuses every call that the replay says it refuses",
        "[unit][sandbox]")
{
        peer_needs_seccomp();
        for (size_t p = 0; p < COUNT(presets); p++) {
                struct confined c = { .words = presets[p], .strictness = CREW__FOREIGN,
                        .no_report = true, .body = each_refusal };
                crew_sandbox *s = NULL;
                struct crew__plan_options o = { .strictness = CREW__FOREIGN, .control = -1 };
                crew__plan plan;

                REQUIRE_OK(crew_sandbox_new(&s, presets[p], CREW_BEST_EFFORT));
                REQUIRE_OK(crew__plan_new(&plan, s, &o));
                c.arg = &plan.filter;
                confine(&c);
                CHECK_INT(c.code, ==, 0);
                crew__plan_free(&plan);
                (void)crew_sandbox_free(s);
        }
}

static void run_a_memfd(void *arg)
{
        static const char program[] = "#!/bin/sh\nexit 0\n";
        static char *const argv[] = { (char *)(uintptr_t) "x", NULL };
        int fd = memfd_create("x", 0);

        (void)arg;
        if (fd >= 0) {
                CHECK(!"a memfd");
                (void)!write(fd, program, sizeof program - 1);
                (void)fexecve(fd, argv, argv);
        }
        CHECK_INT(errno, ==, EPERM);
        CHECK_INT(crew__syscall(SYS_execveat, *(const int *)"\2\0\0\0", (long)"", (long)argv,
                          (long)argv, AT_EMPTY_PATH, 0),
                ==, -EPERM);
}

TEST(memfd, "a program in memory is neither made nor run, whatever may be executed",
        "[unit][sandbox]")
{
        struct confined c = { .words = "rwcpath exec proc", .strictness = CREW__FOREIGN,
                .no_report = true, .body = run_a_memfd };

        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

#if defined(__x86_64__)

static void old_entry(void *arg)
{
        long r = 20; /* getpid of i386 */

        (void)arg;
        __asm__ volatile("int $0x80" : "+a"(r) : : "memory");
        CHECK(!"survived");
}

static void x32_entry(void *arg)
{
        (void)arg;
        (void)crew__syscall(0x40000000 | SYS_getpid, 0, 0, 0, 0, 0, 0);
        CHECK(!"survived");
}

TEST(other_entries, "other architectures' entries end the child even where EPERM is the rule",
        "[unit][sandbox]")
{
        struct confined c = { .words = "stdio", .strictness = CREW__SOFT, .body = old_entry };

        confine(&c);
        /* A kernel without 32-bit emulation raises SIGSEGV. */
        CHECK(c.code == CONFINED_DIED || c.code == PEER_KILLED + SIGSEGV);
        c.body = x32_entry;
        confine(&c);
        CHECK_INT(c.code, ==, CONFINED_DIED);
        CHECK_INT(c.violation.nr, ==, -1);
        CHECK(strstr(c.violation.text, "unknown") != NULL);
}

#endif

static void with_signals_blocked(void *arg)
{
        (void)arg;
        (void)!system("true");
        CHECK(!"survived");
}

static void start_a_thread(void *arg)
{
        pthread_t thread;

        (void)arg;
        (void)pthread_create(&thread, NULL, (void *(*)(void *))(uintptr_t)with_signals_blocked, NULL);
        CHECK(!"survived");
}

static void block_and_ignore(void *arg)
{
        sigset_t all;

        (void)arg;
        sigfillset(&all);
        (void)sigprocmask(SIG_BLOCK, &all, NULL);
        (void)signal(SIGSYS, SIG_IGN);
        (void)crew__syscall(SYS_ptrace, -1, 0, 0, 0, 0, 0);
        CHECK(!"survived");
}

TEST(unknown, "with signals blocked a child ends all the same, without a name", "[unit][sandbox]")
{
        static void (*const bodies[])(void *) = { with_signals_blocked, start_a_thread,
                block_and_ignore };

        for (size_t i = 0; i < COUNT(bodies); i++) {
                struct confined c = { .words = "stdio", .body = bodies[i] };

                confine(&c);
                CHECK_INT(c.code, ==, CONFINED_DIED);
                CHECK_INT(c.violation.nr, ==, -1);
                CHECK(strstr(c.violation.text, "signals blocked") != NULL);
        }
}

static void own_handler(int signal)
{
        (void)signal;
        CHECK(!"called");
}

static void replace_the_handler(void *arg)
{
        struct sigaction mine = { .sa_handler = own_handler };

        (void)arg;
        CHECK_INT(sigaction(SIGSYS, &mine, NULL), ==, -1);
        CHECK_INT(errno, ==, EPERM);
        CHECK_INT(sigaction(SIGTERM, &mine, NULL), ==, 0);
        (void)crew__syscall(SYS_ptrace, -1, 0, 0, 0, 0, 0);
}

TEST(handler_stays, "the handler that reports cannot be replaced", "[unit][sandbox]")
{
        struct confined c = { .words = "stdio", .body = replace_the_handler };

        confine(&c);
        CHECK_INT(c.code, ==, CONFINED_DIED);
        CHECK_STR(c.violation.name, "ptrace");
}

static void no_report(void *arg)
{
        (void)arg;
        (void)crew__syscall(SYS_ptrace, -1, 0, 0, 0, 0, 0);
}

TEST(killed, "without a report page a refused call still ends the child", "[unit][sandbox]")
{
        struct confined c = { .words = "stdio", .no_report = true, .body = no_report };

        confine(&c);
        CHECK_INT(c.code, ==, CONFINED_DIED);
        CHECK_INT(c.violation.nr, ==, -1);
}

static void child_of_the_worker(void *arg)
{
        int status = -1;
        pid_t pid = fork();

        (void)arg;
        REQUIRE(pid >= 0);
        if (pid == 0) {
                no_report(NULL);
                _exit(0);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(WTERMSIG(status), ==, SIGSYS);
}

TEST(grandchild, "what a child of the worker does is not the worker's", "[unit][sandbox]")
{
        struct confined c = { .words = "proc", .body = child_of_the_worker };

        confine(&c);
        CHECK_INT(c.code, ==, 0);
        CHECK_INT(c.violation.nr, ==, -1);
}
