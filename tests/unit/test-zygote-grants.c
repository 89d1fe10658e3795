/* SPDX-License-Identifier: MIT */

/* What a worker inherits, and what it does not. */

#include "zygote-case.h"

#include "kernel/features.h"
#include "process/process.h"
#include "queue/queue.h"
#include "status/page.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static void warm_up(void)
{
        (void)crew__self_pidfd();
        crew__status_publish("test");
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

/* The shared mappings of the worker: the last column of each, line by line. */
static int list_maps(crew_task *t, const void *arg, size_t size)
{
        char line[512], path[256], all[COLONY_BYTES / 2] = "", perms[8];
        FILE *f = fopen("/proc/self/maps", "re");

        (void)arg;
        (void)size;
        while (f && fgets(line, sizeof line, f)) {
                path[0] = '\0';
                if (sscanf(line, "%*s %7s %*s %*s %*s %255[^\n]", perms, path) >= 1 &&
                        perms[3] == 's' && perms[1] == 'w') {
                        (void)strncat(all, path, sizeof all - strlen(all) - 2);
                        (void)strcat(all, "\n");
                }
        }
        if (f)
                (void)fclose(f);
        return crew_task_return(t, all, strlen(all) + 1);
}

/* The numbers of its descriptors. */
static int list_fds(crew_task *t, const void *arg, size_t size)
{
        DIR *d = opendir("/proc/self/fd");
        int seen[256], n = 0;

        (void)arg;
        (void)size;
        for (struct dirent *e; d && (e = readdir(d)) && n < 256;) {
                if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
                        seen[n++] = atoi(e->d_name);
        }
        if (d)
                (void)closedir(d);
        return crew_task_return(t, seen, (size_t)n * sizeof *seen);
}

static int count(const char *text, const char *what)
{
        int n = 0;

        for (; (text = strstr(text, what)); text++)
                n++;
        return n;
}

TEST(inventory, "a worker has what it was granted and nothing else", "[unit][zygote]")
{
        crew_queue *granted, *secret;
        crew__segment *grant;
        int keep = (int)REQUIRE_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
        int kept = (int)REQUIRE_OK(fcntl(keep, F_DUPFD_CLOEXEC, 5));
        void *shared = peer_memory(4096);
        static const crew_queue_options public = { .size = sizeof public, .name = "public" },
                                        private = { .size = sizeof private, .name = "private" };
        struct colony c = { .workers = 3 };
        struct outcome out;
        int *fds;

        REQUIRE_OK(crew_queue_new(&secret, 0, &private));
        REQUIRE_OK(crew_queue_new(&granted, 0, &public));
        grant = granted->segment;
        c.options.grants = &grant;
        c.options.n_grants = 1;
        c.options.keep_fds = &kept;
        c.options.n_keep_fds = 1;
        colony_start(&c);
        for (unsigned i = 0; i < 3; i++)
                colony_hire(&c, i);
        colony_run(&c, 2, list_maps, "", 1, &out);
        INFO("%s", out.data);
        CHECK_INT(count(out.data, "\n"), ==, 1 + count(out.data, "crew:lane") + 2);
        CHECK_INT(count(out.data, "crew:pool"), ==, 1);
        CHECK_INT(count(out.data, "crew:queue:public"), ==, 2);
        CHECK_INT(count(out.data, "crew:queue:private"), ==, 0);
        CHECK(count(out.data, "crew:lane") >= 1 && count(out.data, "crew:lane") <= 4);
        colony_run(&c, 2, list_fds, "", 1, &out);
        fds = (int *)(void *)out.data;
        for (size_t i = 0; i < out.size / sizeof *fds; i++) {
                INFO("descriptor %d", fds[i]);
                CHECK(fds[i] <= 8 || fds[i] == kept);
        }
        CHECK_INT(out.size / sizeof *fds, ==, 3 + 1 + 3 + 2);
        colony_end(&c);
        (void)crew_queue_free(granted);
        (void)crew_queue_free(secret);
        (void)close(keep);
        (void)close(kept);
        peer_memory_free(shared, 4096);
}

static int put_hello(crew_task *t, const void *arg, size_t size)
{
        crew_queue *q, *again;
        crew_ref ref;
        int r;

        if (size != sizeof ref)
                return -EINVAL;
        memcpy(&ref, arg, sizeof ref);
        r = crew_task_queue(t, ref, &q);
        if (r < 0)
                return crew_task_fail(t, r, "%s", crew_error_detail());
        r = crew_task_queue(t, ref, &again);
        if (r < 0 || q != again)
                return -EDOM;
        return crew_queue_put(q, "hello", 5, CREW_S(1));
}

static void expect_hello(crew_queue *q)
{
        char text[8];

        CHECK_INT(crew_queue_get(q, text, sizeof text, CREW_S(5)), ==, 5);
}

static void grants(const char *words)
{
        crew_queue *early, *late[20], *never;
        crew__segment *grant;
        struct colony c = { .workers = 3, .words = words };
        struct outcome out;
        crew_ref ref;

        INFO("words: %s", words ? words : "(no sandbox)");
        REQUIRE_OK(crew_queue_new(&early, 0, NULL));
        REQUIRE_OK(crew_queue_new(&never, 0, NULL));
        grant = early->segment;
        c.options.grants = &grant;
        c.options.n_grants = 1;
        colony_start(&c);
        colony_hire(&c, 0);
        ref = crew_queue_ref(early);
        colony_run(&c, 0, put_hello, &ref, sizeof ref, &out);
        CHECK_INT(out.status, ==, 0);
        expect_hello(early);
        for (unsigned i = 0; i < 20; i++) {
                REQUIRE_OK(crew_queue_new(&late[i], 0, NULL));
                REQUIRE_OK(crew__zygote_grant(c.zygote, late[i]->segment));
                REQUIRE_OK(crew__zygote_grant(c.zygote, late[i]->segment));
        }
        colony_hire(&c, 1); /* one that inherits them, one that is sent them */
        for (unsigned i = 0; i < 40; i++) {
                ref = crew_queue_ref(late[i / 2]);
                colony_run(&c, i % 2, put_hello, &ref, sizeof ref, &out);
                INFO("%s", out.text);
                REQUIRE(!out.died);
                CHECK_INT(out.status, ==, 0);
                expect_hello(late[i / 2]);
        }
        ref = crew_queue_ref(never);
        colony_run(&c, 0, put_hello, &ref, sizeof ref, &out);
        CHECK_INT(out.status, ==, -ENOENT);
        CHECK(strstr(out.text, "grant") != NULL);
        colony_end(&c);
        for (unsigned i = 0; i < 20; i++)
                (void)crew_queue_free(late[i]);
        (void)crew_queue_free(early);
        (void)crew_queue_free(never);
}

TEST(grants_bare, "queues are granted before and after the start", "[unit][zygote]")
{
        grants(NULL);
}

TEST(grants_stdio, "queues are granted to workers under stdio", "[unit][zygote]")
{
        grants("stdio");
}

TEST(grants_compute, "queues are granted to workers under compute", "[unit][zygote]")
{
        grants("compute");
}

static crew_queue *host_queue;

static int use_handle(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        /* What lands where the queue was must not be written to. */
        for (int i = 0; i < 64; i++)
                memset(malloc(1 << 20), 1, 1 << 20);
        return crew_queue_put(host_queue, arg, size, CREW_NOW);
}

TEST(handle, "a handle of the host's to what was not granted ends the worker", "[unit][zygote]")
{
        struct colony c = { .workers = 1 };
        struct outcome out;

        REQUIRE_OK(crew_queue_new(&host_queue, 0, NULL));
        colony_start(&c);
        colony_hire(&c, 0);
        colony_run(&c, 0, use_handle, "x", 1, &out);
        CHECK(out.died);
        CHECK_INT(out.ending.signal, ==, SIGSEGV);
        CHECK_INT(crew_queue_count(host_queue), ==, 0);
        colony_end(&c);
        host_queue = crew_queue_free(host_queue);
}

static int handler_pipe[2];

static void inherited_handler(void)
{
        (void)!write(handler_pipe[1], "!", 1);
}

static int leave(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)size;
        exit(*(const int *)arg);
}

TEST(at_exit, "handlers that the host registered do not run in workers", "[unit][zygote]")
{
        struct colony c = { .workers = 1, .options = { .n_keep_fds = 2 } };
        struct outcome out;
        char byte;
        int code = 3;

        REQUIRE(pipe2(handler_pipe, O_CLOEXEC | O_NONBLOCK) == 0);
        REQUIRE(atexit(inherited_handler) == 0);
        c.options.keep_fds = handler_pipe;
        colony_start(&c);
        colony_hire(&c, 0);
        colony_run(&c, 0, leave, &code, sizeof code, &out);
        CHECK(out.died);
        CHECK_INT(out.ending.code, ==, 3);
        colony_hire(&c, 0);
        crew__lane_close(c.lane[0]);
        colony_await(&c, 0, &out);
        CHECK(out.died);
        colony_end(&c);
        CHECK_INT(read(handler_pipe[0], &byte, 1), ==, -1);
        (void)close(handler_pipe[0]);
        (void)close(handler_pipe[1]);
}

static FILE *other;

static int print(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)size;
        (void)printf("%s", (const char *)arg);
        return 0;
}

TEST(streams, "what streams hold is written once, by whom it belongs to", "[unit][zygote]")
{
        struct colony c = { .workers = 1 };
        struct outcome out;
        char text[64] = "";
        int ends[2], more[2], saved;

        REQUIRE(pipe2(ends, O_CLOEXEC) == 0 && pipe2(more, O_CLOEXEC | O_NONBLOCK) == 0);
        saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        REQUIRE(dup2(ends[1], STDOUT_FILENO) == STDOUT_FILENO);
        other = fdopen(more[1], "w");
        c.options.keep_fds = &more[1];
        c.options.n_keep_fds = 1;
        (void)printf("host ");
        (void)fprintf(other, "other");
        colony_start(&c);
        colony_hire(&c, 0);
        colony_run(&c, 0, print, "task", 5, &out);
        crew__lane_close(c.lane[0]);
        colony_await(&c, 0, &out);
        CHECK_INT(read(ends[0], text, sizeof text - 1), ==, 9);
        CHECK_STR(text, "host task");
        CHECK_INT(read(more[0], text, sizeof text - 1), ==, -1);
        colony_end(&c);
        (void)dup2(saved, STDOUT_FILENO);
        (void)close(saved);
        (void)fclose(other);
        (void)close(more[0]);
        (void)close(ends[0]);
        (void)close(ends[1]);
}

static void handle_signal(int sig)
{
        (void)sig;
}

/* For each signal: 'i' ignored, 'h' handled, 'b' blocked, '.' default. */
static int list_signals(crew_task *t, const void *arg, size_t size)
{
        struct sigaction a;
        char list[65] = "";
        sigset_t blocked;

        (void)arg;
        (void)size;
        (void)sigprocmask(SIG_SETMASK, NULL, &blocked);
        for (int sig = 1; sig < 32; sig++) {
                (void)sigaction(sig, NULL, &a);
                list[sig - 1] = sigismember(&blocked, sig) ? 'b'
                                : a.sa_handler == SIG_IGN  ? 'i'
                                : a.sa_handler == SIG_DFL  ? '.'
                                                           : 'h';
        }
        return crew_task_return(t, list, 32);
}

TEST(signals, "a worker ignores SIGINT and has nothing else of the host's", "[unit][zygote]")
{
        struct sigaction a = { .sa_handler = handle_signal }, ignore = { .sa_handler = SIG_IGN };
        struct colony c = { .workers = 1 };
        struct outcome out;
        sigset_t set;

        REQUIRE(sigaction(SIGUSR1, &a, NULL) == 0 && sigaction(SIGPIPE, &ignore, NULL) == 0);
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGUSR2);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        colony_start(&c);
        (void)sigprocmask(SIG_SETMASK, NULL, &set);
        CHECK(sigismember(&set, SIGUSR2) && !sigismember(&set, SIGTERM));
        colony_hire(&c, 0);
        colony_run(&c, 0, list_signals, "", 1, &out);
        CHECK_STR(out.data, ".i.............................");
        colony_end(&c);
}

static int list_limits(crew_task *t, const void *arg, size_t size)
{
        static const int which[] = { RLIMIT_AS, RLIMIT_CPU, RLIMIT_NOFILE, RLIMIT_FSIZE,
                RLIMIT_CORE };
        struct rlimit l[5];

        (void)arg;
        (void)size;
        for (int i = 0; i < 5; i++)
                (void)getrlimit((__rlimit_resource_t)which[i], &l[i]);
        return crew_task_return(t, l, sizeof l);
}

TEST(limits, "a worker has the limits it was given and the host's other ones", "[unit][zygote]")
{
        static const crew_limits given = { .size = sizeof given,
                .memory_max = (uint64_t)1 << 40,
                .cpu_time = CREW_S(7) + 1,
                .open_files = 32 };
        struct colony c = { .workers = 1, .options = { .limits = &given } };
        struct rlimit *l, files;
        struct outcome out;

        /* With a control group for its memory it has the host's limit of address space. */
        crew__feature_forbid(CREW__CGROUP_MEMORY);
        REQUIRE(getrlimit(RLIMIT_NOFILE, &files) == 0);
        for (int limited = 1; limited >= 0; limited--) {
                c.options.limits = limited ? &given : NULL;
                colony_start(&c);
                colony_hire(&c, 0);
                colony_run(&c, 0, list_limits, "", 1, &out);
                REQUIRE(out.size == 5 * sizeof *l);
                l = (struct rlimit *)(void *)out.data;
                CHECK_INT(l[2].rlim_cur, ==, limited ? 32 : files.rlim_cur);
                CHECK(l[4].rlim_cur <= 1);
                if (limited) {
                        CHECK_INT(l[0].rlim_max, ==, given.memory_max);
                        CHECK_INT(l[1].rlim_max, ==, 8);
                }
                colony_end(&c);
        }
}

static int use_library(crew_task *t, const void *arg, size_t size)
{
        pthread_mutexattr_t attr;
        pthread_mutex_t lock;
        char *text = NULL;
        int r;

        (void)arg;
        (void)size;
        (void)pthread_mutexattr_init(&attr);
        (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
        (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        (void)pthread_mutex_init(&lock, &attr);
        if (pthread_mutex_lock(&lock) != 0 || pthread_mutex_lock(&lock) != 0)
                return -EDOM;
        if (asprintf(&text, "%s of %d", crew_process_name(crew_current_process()),
                    (int)crew_process_pid(crew_parent_process())) < 0)
                return -ENOMEM;
        r = crew_task_return(t, text, strlen(text) + 1);
        free(text);
        return r;
}

static void *churn(void *stop)
{
        while (!atomic_load((_Atomic bool *)stop))
                free(malloc(1 << 16));
        return NULL;
}

TEST(library, "the C library works in workers, also those of a program with threads",
        "[unit][zygote]")
{
        struct colony c = { .workers = 1, .options = { .name = "mill" } };
        _Atomic bool stop = false;
        pthread_t thread[2];
        struct outcome out;
        char expected[64];

        (void)snprintf(expected, sizeof expected, "mill-worker-0 of %d", (int)getpid());
        for (int threads = 0; threads < 2; threads++) {
                for (int i = 0; threads && i < 2; i++)
                        REQUIRE(pthread_create(&thread[i], NULL, churn, &stop) == 0);
                for (int i = 0; i < 10; i++) {
                        colony_start(&c);
                        colony_hire(&c, 0);
                        colony_run(&c, 0, use_library, "", 1, &out);
                        CHECK_INT(out.status, ==, 0);
                        CHECK_STR(out.data, expected);
                        colony_end(&c);
                }
        }
        atomic_store(&stop, true);
        for (int i = 0; i < 2; i++)
                (void)pthread_join(thread[i], NULL);
}
