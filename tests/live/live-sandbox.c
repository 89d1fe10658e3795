/* SPDX-License-Identifier: MIT */

/* A process that enters a sandbox by itself. */

#include "check.h"
#include "peer.h"

#include <crew/crew.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { VIOLATED = PEER_KILLED + SIGSYS };

static const char *words_to_enter;

extern void asan_is_here(void) __asm__("__asan_init") __attribute__((weak));
extern void tsan_is_here(void) __asm__("__tsan_init") __attribute__((weak));
extern void ubsan_is_here(void) __asm__("__ubsan_handle_add_overflow") __attribute__((weak));

static bool sanitized(void)
{
        return asan_is_here || tsan_is_here || ubsan_is_here;
}

static void enter(const char *words, int mode)
{
        crew_auto(sandbox) s = NULL;

        REQUIRE_OK(crew_sandbox_new(&s, words, mode));
        REQUIRE_OK(crew_sandbox_enter(s));
}

static bool landlock(void)
{
        crew_feature f = { .size = sizeof f };

        REQUIRE_OK(crew_feature_get((unsigned)crew_feature_find("landlock"), &f));
        return f.state == CREW_FEATURE_YES;
}

static void enter_and_end(void *call)
{
        enter(words_to_enter, CREW_BEST_EFFORT);
        ((void (*)(void))call)();
}

/* How a child ends that enters the words and then calls. */
static int ends(const char *words, void (*call)(void))
{
        words_to_enter = words;
        INFO("%s", words);
        return peer_join(peer_start(enter_and_end, (void *)call));
}

static void live(void)
{
        struct tm tm;
        time_t now = time(NULL);
        char text[64];

        free(malloc(1 << 20));
        CHECK(localtime(&now) != NULL);
        CHECK(localtime_r(&now, &tm) != NULL);
        CHECK(snprintf(text, sizeof text, "%d", tm.tm_year) > 0);
}

static void read_a_file(void)
{
        (void)!open("/etc/passwd", O_RDONLY);
}

static void write_a_file(void)
{
        (void)!open("/dev/null", O_WRONLY);
}

static void remove_a_file(void)
{
        (void)unlink("/nonexistent/file");
}

static void change_a_mode(void)
{
        (void)chmod("/nonexistent/file", 0);
}

static void signal_another(void)
{
        (void)kill(getppid(), 0);
}

static void start_a_child(void)
{
        pid_t pid = fork();

        if (pid == 0)
                _exit(0);
        (void)waitpid(pid, NULL, 0);
}

static void run_a_program(void)
{
        (void)execl("/nonexistent/program", "x", (char *)NULL);
}

static void trace(void)
{
        (void)syscall(SYS_ptrace, -1, 0, 0, 0);
}

static void make_a_ring(void)
{
        (void)syscall(SYS_io_uring_setup, 1, 0);
}

static void make_a_memfd(void)
{
        (void)syscall(SYS_memfd_create, 0, 0);
}

static void look_into_another(void)
{
        (void)syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0);
}

static void grab_a_process(void)
{
        (void)syscall(SYS_pidfd_open, getppid(), 0);
}

static void take_a_descriptor(void)
{
        (void)syscall(SYS_pidfd_getfd, -1, 0, 0);
}

static void make_executable(void)
{
        (void)mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

TEST(words, "each call ends a process without its word, and not with it", "[live][sandbox]")
{
        static const struct {
                void (*call)(void);
                const char *word;
        } cases[] = { { live, "compute" }, { read_a_file, "rpath" }, { write_a_file, "wpath" },
                { remove_a_file, "cpath" }, { change_a_mode, "fattr" }, { signal_another, "proc" },
                { start_a_child, "proc" }, { run_a_program, "exec" },
                { make_executable, "exec" }, { trace, NULL }, { make_a_ring, NULL },
                { make_a_memfd, NULL }, { look_into_another, NULL }, { grab_a_process, "proc" },
                { take_a_descriptor, NULL } };
        static const char *const words[] = { "compute", "stdio", "rpath", "wpath", "cpath", "fattr",
                "proc", "exec", "rwcpath fattr inet unix thread proc exec" };

        TEST_DEADLINE(60);
        for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
                for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                        bool all = w == sizeof words / sizeof *words - 1;
                        bool allowed = cases[i].call == live ||
                                       (cases[i].word &&
                                               (all || strcmp(words[w], cases[i].word) == 0));

                        /* In a build with a sanitizer reading files is allowed. */
                        if (sanitized() && cases[i].call == read_a_file)
                                continue;
                        INFO("call %zu", i);
                        CHECK_INT(ends(words[w], cases[i].call), ==, allowed ? 0 : VIOLATED);
                }
        }
}

static volatile sig_atomic_t seen;

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
        (void)signal, (void)context;
        seen = info->si_syscall;
}

static void handled(void *arg)
{
        struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };

        (void)arg;
        REQUIRE(sigaction(SIGSYS, &action, NULL) == 0);
        enter("stdio", CREW_BEST_EFFORT);
        write_a_file();
        CHECK_INT(seen, ==, SYS_openat);
}

TEST(host_handler, "a handler that the host had before sees the call", "[live][sandbox]")
{
        CHECK_INT(peer_join(peer_start(handled, NULL)), ==, 0);
}

static int enter_again(const char *words)
{
        crew_auto(sandbox) s = NULL;

        REQUIRE_OK(crew_sandbox_new(&s, words, CREW_BEST_EFFORT));
        return crew_sandbox_enter(s);
}

static void narrower(void *arg)
{
        (void)arg;
        enter("rpath wpath fattr", CREW_BEST_EFFORT);
        read_a_file();
        write_a_file();
        change_a_mode();
        CHECK_INT(enter_again("rpath exec"), ==, -EPERM);
        CHECK(strstr(crew_error_detail(), "exec") != NULL);
        CHECK_INT(enter_again("rpath wpath"), ==, 0);
        read_a_file();
        write_a_file();
        CHECK_INT(enter_again("fattr"), ==, -EPERM);
        CHECK_INT(enter_again("stdio"), ==, 0);
        live();
        CHECK_INT(enter_again("stdio"), ==, 0);
        live();
        write_a_file();
        CHECK(!"survived");
}

static void narrower_paths(void *arg)
{
        (void)arg;
        enter("rpath", CREW_BEST_EFFORT);
        CHECK(open("/bin/sh", O_RDONLY) >= 0);
        CHECK_INT(enter_again("rpath:/etc"), ==, 0);
        CHECK(open("/etc/passwd", O_RDONLY) >= 0);
        CHECK_INT(open("/bin/sh", O_RDONLY), ==, -1);
        CHECK_INT(errno, ==, EACCES);
        CHECK_INT(enter_again("rpath:/bin:/etc"), ==, 0);
        CHECK_INT(open("/bin/sh", O_RDONLY), ==, -1);
        CHECK_INT(enter_again("compute"), ==, 0);
        CHECK_INT(enter_again("compute"), ==, -EOPNOTSUPP);
        live();
}

TEST(narrowing, "a sandbox only ever gets narrower", "[live][sandbox]")
{
        CHECK_INT(peer_join(peer_start(narrower, NULL)), ==, VIOLATED);
        if (landlock())
                CHECK_INT(peer_join(peer_start(narrower_paths, NULL)), ==, 0);
}

static void paths(void *arg)
{
        (void)arg;
        enter("rpath:/etc:/proc/self/status", CREW_REQUIRE);
        CHECK(open("/etc/passwd", O_RDONLY) >= 0);
        CHECK(open("/proc/self/status", O_RDONLY) >= 0);
        CHECK_INT(open("/bin/sh", O_RDONLY), ==, -1);
        CHECK_INT(errno, ==, EACCES);
        CHECK_INT(open("/", O_RDONLY | O_DIRECTORY), ==, -1);
        CHECK_INT(errno, ==, EACCES);
}

TEST(landlocked, "paths limit a process that entered", "[live][sandbox]")
{
        if (!landlock())
                SKIP("no Landlock here");
        CHECK_INT(peer_join(peer_start(paths, NULL)), ==, 0);
}

static atomic_int stage;

static void *other(void *call)
{
        while (atomic_load(&stage) != 1)
                peer_pause(PEER_MS(1));
        ((void (*)(void))call)();
        atomic_store(&stage, 2);
        return NULL;
}

static void with_thread(void *call)
{
        crew_auto(sandbox) s = NULL;
        pthread_t thread;

        atomic_store(&stage, 0);
        REQUIRE(pthread_create(&thread, NULL, other, call) == 0);
        REQUIRE_OK(crew_sandbox_new(&s, "stdio rpath:/etc", CREW_BEST_EFFORT));
        if (landlock()) {
                CHECK_INT(crew_sandbox_enter(s), ==, -EOPNOTSUPP);
                CHECK(strstr(crew_error_detail(), "other threads") != NULL);
        }
        enter("stdio", CREW_BEST_EFFORT);
        atomic_store(&stage, 1);
        while (atomic_load(&stage) != 2)
                peer_pause(PEER_MS(1));
        REQUIRE(pthread_join(thread, NULL) == 0);
}

TEST(threads, "all threads of a process enter, and Landlock's limit is said", "[live][sandbox]")
{
        CHECK_INT(peer_join(peer_start(with_thread, (void *)live)), ==, 0);
        CHECK_INT(peer_join(peer_start(with_thread, (void *)write_a_file)), ==, VIOLATED);
}

static void after_none(void *arg)
{
        (void)arg;
        enter("none", CREW_REQUIRE);
        trace();
        CHECK(open("/etc/passwd", O_RDONLY) >= 0);
}

TEST(no_sandbox, "none changes nothing", "[live][sandbox]")
{
        CHECK_INT(peer_join(peer_start(after_none, NULL)), ==, 0);
        CHECK_INT(crew_sandbox_enter(NULL), ==, -EINVAL);
}

static void goes_on(void *arg)
{
        char text[8];

        enter("stdio", CREW_BEST_EFFORT);
        CHECK_INT(crew_queue_get(arg, text, sizeof text, CREW_MS(30)), ==, -ETIMEDOUT);
        CHECK_INT(crew_queue_put(arg, "hi", 3, CREW_S(1)), ==, 0);
        CHECK_INT(socket(AF_INET, SOCK_STREAM, 0), ==, -1);
        CHECK_INT(errno, ==, EACCES);
}

TEST(queue_inside, "a queue that was there before goes on working", "[live][sandbox]")
{
        crew_auto(queue) q = NULL;
        char text[8];

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        CHECK_INT(peer_join(peer_start(goes_on, q)), ==, 0);
        CHECK_INT(crew_queue_get(q, text, sizeof text, CREW_S(1)), ==, 3);
}

static void waits(void *arg)
{
        crew_auto(waiter) w = NULL;
        crew_completion done;
        char text[8];

        enter("stdio", CREW_BEST_EFFORT);
        REQUIRE_OK(crew_waiter_new(&w, 0));
        REQUIRE_OK(crew_waiter_timer(w, CREW_MS(1), 0, 1));
        CHECK_INT(crew_waiter_wait(w, &done, 1, CREW_S(5)), ==, 1);
        CHECK_INT(done.kind, ==, CREW_TIMER);
        REQUIRE_OK(crew_waiter_get(w, arg, text, sizeof text, 2));
        CHECK_INT(crew_waiter_wait(w, &done, 1, CREW_MS(30)), ==, -ETIMEDOUT);
        CHECK_INT(crew_queue_put(arg, "hi", 3, CREW_S(1)), ==, 0);
        CHECK_INT(crew_waiter_wait(w, &done, 1, CREW_S(5)), ==, 1);
        CHECK_INT(done.kind, ==, CREW_GOT);
}

static void had_a_ring(void *arg)
{
        crew_auto(waiter) w = NULL;
        crew_completion done;

        REQUIRE_OK(crew_waiter_new(&w, 0));
        REQUIRE_OK(crew_waiter_timer(w, CREW_MS(1), 0, 1));
        CHECK_INT(crew_waiter_wait(w, &done, 1, CREW_S(5)), ==, 1);
        w = crew_waiter_free(w);
        waits(arg);
}

TEST(waiter_inside, "a waiter made inside waits without io_uring", "[live][sandbox]")
{
        crew_auto(queue) q = NULL;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        CHECK_INT(peer_join(peer_start(waits, q)), ==, 0);
        CHECK_INT(peer_join(peer_start(had_a_ring, q)), ==, 0);
}
