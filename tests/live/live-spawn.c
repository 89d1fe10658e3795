/* SPDX-License-Identifier: MIT */

/* Children that are no forks: what crosses to them, and the life and death of the fork server. */

#include "host.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Each case for both methods. */
#define TEST_FRESH(identifier, human_name)                                                         \
        static void identifier##_body(void);                                                       \
        TEST(identifier##_forkserver, human_name " (fork server)", "[live][spawn]")                \
        {                                                                                          \
                host_begin(CREW_METHOD_FORKSERVER);                                                \
                identifier##_body();                                                               \
        }                                                                                          \
        TEST(identifier##_spawn, human_name " (spawn)", "[live][spawn]")                           \
        {                                                                                          \
                host_begin(CREW_METHOD_SPAWN);                                                     \
                identifier##_body();                                                               \
        }                                                                                          \
        static void identifier##_body(void)

struct ends {
        crew_ref queue, hidden, pipe;
};

static int use_grants(void *arg)
{
        const struct ends *ends = arg;
        crew_auto(connection) c = NULL;
        crew_auto(queue) q = NULL;
        crew_auto(queue) none = NULL;
        int n = 0;

        CHECK_INT((uintptr_t)arg % 16, ==, 0);
        CHECK_INT(crew_queue_open(&none, ends->hidden), ==, -ENOENT);
        REQUIRE_OK(crew_queue_open(&q, ends->queue));
        REQUIRE_OK(crew_connection_open(&c, ends->pipe));
        for (int i = 0; i < 5; i++)
                REQUIRE_OK(CREW_PUT(q, &i, CREW_S(5)));
        REQUIRE_OK(CREW_RECV(c, &n, CREW_S(5)));
        REQUIRE_OK(crew_queue_close(q));
        return n;
}

TEST_FRESH(grants, "queues and connections that were granted open by their refs")
{
        crew_auto(connection) here = NULL;
        crew_auto(connection) there = NULL;
        crew_auto(queue) q = NULL;
        crew_auto(queue) hidden = NULL;
        crew_auto(process) p = NULL;
        struct ends ends;
        crew_ref grants[2];
        int n;

        REQUIRE_OK(crew_queue_new(&q, 2, NULL));
        REQUIRE_OK(crew_queue_new(&hidden, 2, NULL));
        REQUIRE_OK(crew_pipe(&there, &here, true));
        ends = (struct ends){ .queue = crew_queue_ref(q),
                .hidden = crew_queue_ref(hidden),
                .pipe = crew_connection_ref(there) };
        grants[0] = ends.queue;
        grants[1] = ends.pipe;
        REQUIRE_OK(crew_process_launch(&p, use_grants, &ends,
                CREW_OPT(process, .method = host_method, .arg_size = sizeof ends, .grants = grants,
                        .n_grants = 2)));
        /* What the child got is its own. */
        memset(&ends, 0, sizeof ends);
        for (int i = 0; i < 5; i++) {
                REQUIRE_OK(CREW_GET(q, &n, CREW_S(10)));
                CHECK_INT(n, ==, i);
        }
        n = 33;
        REQUIRE_OK(CREW_SEND(here, &n, CREW_S(5)));
        CHECK_INT(join_code(p), ==, 33);
        CHECK_INT(CREW_GET(q, &n, CREW_S(1)), ==, -EPIPE);
}

struct kept {
        int fd;
        struct stat st;
};

/* Everything but 0-2, what was kept, and libcrew's own, which are close-on-exec. */
static int count_descriptors(void *arg)
{
        const struct kept *kept = arg;
        DIR *fds = opendir("/proc/self/fd");
        struct dirent *e;
        struct stat st;
        int strange = 0;

        REQUIRE(fds != NULL);
        while ((e = readdir(fds))) {
                char path[300], target[256] = "";
                int fd = atoi(e->d_name);

                if (*e->d_name == '.' || fd <= 2 || fd == dirfd(fds) || fd == kept->fd)
                        continue;
                (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                (void)!readlink(path, target, sizeof target - 1);
                if (strncmp(target, "/memfd:crew:status", 18) != 0 &&
                        strcmp(target, "anon_inode:[pidfd]") != 0 &&
                        strncmp(target, "pidfd:", 6) != 0) {
                        INFO("descriptor %d is %s", fd, target);
                        strange++;
                }
                CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
        }
        (void)closedir(fds);
        CHECK_INT(strange, ==, 0);
        CHECK_INT(fstat(kept->fd, &st), ==, 0);
        CHECK(st.st_ino == kept->st.st_ino && st.st_dev == kept->st.st_dev);
        return fcntl(kept->fd, F_GETFD);
}

TEST_FRESH(descriptors, "only kept descriptors cross, under their numbers")
{
        /* Without close-on-exec too: they stay out all the same. */
        int leak = dup(0), leak_cloexec = fcntl(0, F_DUPFD_CLOEXEC, 100);

        for (int cloexec = 0; cloexec < 2; cloexec++) {
                struct kept kept = { .fd = 60 };
                crew_auto(process) p = NULL;
                int pipes[2];

                REQUIRE(pipe2(pipes, O_CLOEXEC) == 0);
                REQUIRE(dup3(pipes[0], kept.fd, cloexec ? O_CLOEXEC : 0) == kept.fd);
                REQUIRE(fstat(kept.fd, &kept.st) == 0);
                REQUIRE_OK(crew_process_launch(&p, count_descriptors, &kept,
                        CREW_OPT(process, .method = host_method, .arg_size = sizeof kept,
                                .keep_fds = &kept.fd, .n_keep_fds = 1)));
                CHECK_INT(join_code(p), ==, cloexec ? FD_CLOEXEC : 0);
                (void)close(kept.fd);
                (void)close(pipes[0]);
                (void)close(pipes[1]);
        }
        (void)close(leak);
        (void)close(leak_cloexec);
}

static int look_around(void *arg)
{
        char here[256] = "";

        (void)arg;
        (void)printf("%s %s %s\n", getcwd(here, sizeof here) ? here : "?",
                getenv("COLOUR") ? getenv("COLOUR") : "none", getenv("HOME") ? "home" : "homeless");
        return 0;
}

static void surroundings(const crew_process_options *o, const char *expected)
{
        crew_process_options all = *o;
        crew_auto(process) p = NULL;
        char text[512] = "";

        all.size = sizeof all;
        all.method = host_method;
        all.out = (crew_stdio){ .kind = CREW_STDIO_PIPE };
        REQUIRE_OK(crew_process_launch(&p, look_around, NULL, &all));
        CHECK_INT(join_code(p), ==, 0);
        REQUIRE(read(crew_process_stdio(p, 1), text, sizeof text - 1) > 0);
        CHECK_STR(text, expected);
}

TEST_FRESH(options, "directory, environment and standard output are as asked for")
{
        static const char *const env[] = { "COLOUR=red", NULL };

        (void)setenv("HOME", "/", 1);
        REQUIRE(chdir("/usr") == 0);
        surroundings(&(crew_process_options){ .env = env }, "/usr red homeless\n");
        surroundings(&(crew_process_options){ .env = env, .cwd = "/tmp" }, "/tmp red homeless\n");
        REQUIRE(chdir("/") == 0);
        surroundings(&(crew_process_options){ .env = env }, "/ red homeless\n");
}

static int give(void *arg)
{
        return arg ? *(const int *)arg : 0;
}

static int spin(void *arg)
{
        (void)arg;
        for (;;)
                (void)sleep(1000);
        return 0;
}

TEST_FRESH(arguments, "bytes are copied, pointers are refused, sizes are any")
{
        size_t large = 3 << 20;
        int *bytes = calloc(1, large);
        crew_process *p = NULL;
        int n = 9;

        REQUIRE(bytes != NULL);
        CHECK_INT(crew_process_new(&p, give, &n, CREW_OPT(process, .method = host_method)), ==,
                -EINVAL);
        CHECK(strstr(crew_error_detail(), "arg_size") != NULL);
        REQUIRE_OK(crew_process_launch(
                &p, give, &n, CREW_OPT(process, .method = host_method, .arg_size = sizeof n)));
        CHECK_INT(join_code(p), ==, 9);
        p = crew_process_free(p);
        bytes[0] = 17;
        REQUIRE_OK(crew_process_launch(
                &p, give, bytes, CREW_OPT(process, .method = host_method, .arg_size = large)));
        CHECK_INT(join_code(p), ==, 17);
        p = crew_process_free(p);
        REQUIRE_OK(crew_process_launch(&p, give, NULL, CREW_OPT(process, .method = host_method)));
        CHECK_INT(join_code(p), ==, 0);
        p = crew_process_free(p);
        free(bytes);
}

TEST_FRESH(refused, "what cannot be given is refused before anything is started")
{
        crew_auto(queue) q = NULL;
        crew_process *p = NULL;
        int closed = 77, standard = 1;
        crew_ref gone;

        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        gone = crew_queue_ref(q);
        q = crew_queue_free(q);
        CHECK_INT(crew_process_new(&p, give, NULL,
                          CREW_OPT(process, .method = host_method, .grants = &gone, .n_grants = 1)),
                ==, -ENOENT);
        CHECK_INT(crew_process_launch(&p, give, NULL,
                          CREW_OPT(process, .method = host_method, .keep_fds = &closed,
                                  .n_keep_fds = 1)),
                ==, -EBADF);
        CHECK_INT(crew_process_launch(&p, give, NULL,
                          CREW_OPT(process, .method = host_method, .keep_fds = &standard,
                                  .n_keep_fds = 1)),
                ==, -EINVAL);
        CHECK_INT(crew_process_new(&p, give, NULL, CREW_OPT(process, .method = 4)), ==, -EINVAL);
        CHECK(p == NULL);
        CHECK_INT(crew_active_children(NULL, 0), ==, 0);
}

/* The fork server. */

static pid_t server_of(pid_t application)
{
        return child_called(application, "crew-forkserver");
}

TEST(server_killed, "a fork server that was killed is replaced; its children are not lost",
        "[live][spawn]")
{
        crew_auto(process) old = NULL;
        crew_auto(process) tied = NULL;
        crew_auto(process) p = NULL;
        pid_t first;
        int n = 4;

        host_begin(CREW_METHOD_FORKSERVER);
        first = server_of(getpid());
        CHECK_INT(first, >, 0);
        REQUIRE_OK(crew_process_launch(
                &old, spin, NULL, CREW_OPT(process, .method = CREW_METHOD_FORKSERVER)));
        REQUIRE_OK(crew_process_launch(&tied, spin, NULL,
                CREW_OPT(process, .method = CREW_METHOD_FORKSERVER, .flags = CREW_PROCESS_DAEMON)));
        CHECK_INT(kill(first, SIGKILL), ==, 0);
        REQUIRE_OK(crew_process_launch(&p, give, &n,
                CREW_OPT(process, .method = CREW_METHOD_FORKSERVER, .arg_size = sizeof n)));
        CHECK_INT(join_code(p), ==, 4);
        CHECK_INT(server_of(getpid()), !=, first);
        /* Daemons end with it, others do not; both can be joined. */
        CHECK_INT(crew_process_join(tied, CREW_S(10)), ==, 0);
        CHECK_INT(crew_process_is_alive(old), ==, 1);
        CHECK_INT(crew_process_terminate(old), ==, 0);
        CHECK_INT(crew_process_join(old, CREW_S(10)), ==, 0);
        CHECK_INT(crew_process_is_alive(old), ==, 0);
}

TEST(server_stopped, "a stopped fork server delays no join for ever", "[live][spawn]")
{
        crew_auto(process) p = NULL;
        pid_t server;
        int code;

        host_begin(CREW_METHOD_FORKSERVER);
        server = server_of(getpid());
        REQUIRE_OK(crew_process_launch(
                &p, spin, NULL, CREW_OPT(process, .method = CREW_METHOD_FORKSERVER)));
        CHECK_INT(kill(server, SIGSTOP), ==, 0);
        CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(crew_process_join(p, CREW_S(10)), ==, 0);
        CHECK_INT(crew_process_exitcode(p, &code), ==, -ENODATA);
        CHECK_INT(kill(server, SIGCONT), ==, 0);
}

/* The time that it has run, in ns. */
static long long runtime_of(pid_t pid)
{
        long long ns = -1;
        char path[64];
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
        f = fopen(path, "re");
        REQUIRE(f != NULL);
        (void)!fscanf(f, "%lld", &ns);
        (void)fclose(f);
        return ns;
}

TEST(server_idle, "a fork server sleeps, whatever handles of its dead children are held",
        "[live][spawn]")
{
        enum { N = 20 };
        long long before, ran = 20000000;
        crew_process *p[N];
        pid_t server;

        host_begin(CREW_METHOD_FORKSERVER);
        server = server_of(getpid());
        for (int i = 0; i < N; i++)
                REQUIRE_OK(crew_process_launch(
                        &p[i], give, NULL, CREW_OPT(process, .method = CREW_METHOD_FORKSERVER)));
        REQUIRE_OK(crew_join_all(p, N, CREW_S(10)));
        (void)usleep(20000);
        /* What the machine takes from it while it runs counts as its own, and it may still be about
         * the last of the children: one that does not sleep runs on in each round. */
        for (int round = 0; round < 20 && ran >= 20000000; round++) {
                before = runtime_of(server);
                if (before < 0)
                        SKIP("no /proc/PID/schedstat");
                (void)usleep(100000);
                ran = runtime_of(server) - before;
        }
        CHECK_INT(ran, <, 20000000);
        for (int i = 0; i < N; i++)
                p[i] = crew_process_free(p[i]);
}

TEST(invisible, "waitpid(-1) sees the fork server, and no child of it", "[live][spawn]")
{
        crew_auto(process) p = NULL;
        pid_t server;

        host_begin(CREW_METHOD_FORKSERVER);
        server = server_of(getpid());
        REQUIRE_OK(crew_process_launch(
                &p, give, NULL, CREW_OPT(process, .method = CREW_METHOD_FORKSERVER)));
        CHECK(EVENTUALLY(!peer_lives(crew_process_pid(p)), CREW_S(5)));
        CHECK_INT(waitpid(-1, NULL, WNOHANG | __WALL), ==, 0);
        CHECK_INT(join_code(p), ==, 0);
        CHECK_INT(kill(server, SIGKILL), ==, 0);
        CHECK_INT(waitpid(-1, NULL, __WALL), ==, server);
        TEST_ALLOW_CHILDREN(0);
}

TEST(usage, "the resources of a fork server's child are known", "[live][spawn]")
{
        crew_exit e = { .size = sizeof e };
        crew_auto(process) p = NULL;

        host_begin(CREW_METHOD_FORKSERVER);
        REQUIRE_OK(crew_process_launch(
                &p, give, NULL, CREW_OPT(process, .method = CREW_METHOD_FORKSERVER)));
        CHECK_INT(join_code(p), ==, 0);
        REQUIRE_OK(crew_process_exit(p, &e));
        CHECK(e.usage);
        CHECK_INT(e.max_rss, >, 0);
}

/* In MiB. The kernel counts the host's for the maximum of a child that exec'd. */
static int resident(void *arg)
{
        FILE *f = fopen("/proc/self/statm", "re");
        long pages = 0;

        (void)arg;
        if (!f || fscanf(f, "%*d %ld", &pages) != 1)
                return 255;
        (void)fclose(f);
        pages = pages * sysconf(_SC_PAGESIZE) >> 20;
        return pages < 254 ? (int)pages : 254;
}

TEST_FRESH(large_host, "a host with much memory starts children as small as ever")
{
        size_t size = (size_t)256 << 20;
        crew_auto(process) p = NULL;
        char *memory = malloc(size);

        if (TEST_SANITIZED)
                SKIP("resident memory is the sanitizer's");
        REQUIRE(memory != NULL);
        memset(memory, 1, size);
        __asm__ volatile("" : : "r"(memory) : "memory");
        CHECK_INT(resident(NULL), ==, 254);
        REQUIRE_OK(
                crew_process_launch(&p, resident, NULL, CREW_OPT(process, .method = host_method)));
        CHECK_INT(join_code(p), <, 64);
        free(memory);
}

/* What an option of crew_process_options came to. */
static int change_root(void *arg)
{
        (void)arg;
        return chroot("/") < 0 ? 7 : 8;
}

static int look_at_limits(void *arg)
{
        const int *nice = arg;
        struct rlimit files;
        cpu_set_t cpus;

        if (getrlimit(RLIMIT_NOFILE, &files) < 0 || sched_getaffinity(0, sizeof cpus, &cpus) < 0)
                return 255;
        return (files.rlim_cur == 77) + 2 * (CPU_COUNT(&cpus) == 1) +
               4 * (getpriority(PRIO_PROCESS, 0) == *nice);
}

TEST_FRESH(sandbox, "a sandbox holds, and says what it refused")
{
        crew_violation v = { .size = sizeof v };

        for (int deny = 0; deny < 2; deny++) {
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_launch(&p, change_root, NULL,
                        CREW_OPT(process, .method = host_method, .sandbox = "stdio",
                                .on_violation = deny ? CREW_VIOLATION_DENY : CREW_VIOLATION_KILL)));
                CHECK_INT(join_code(p), ==, deny ? 7 : -SIGSYS);
                REQUIRE_OK(crew_process_violation(p, &v));
                CHECK_STR(v.name, "chroot");
        }
}

TEST_FRESH(limits, "limits, processors and priority are as asked for")
{
        crew_limits limits = { .size = sizeof limits, .open_files = 77 };
        int nice = getpriority(PRIO_PROCESS, 0) + 3;
        crew_auto(process) p = NULL;
        unsigned cpu = 0;
        cpu_set_t cpus;

        REQUIRE(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
        while (!CPU_ISSET(cpu, &cpus))
                cpu++;
        REQUIRE_OK(crew_process_launch(&p, look_at_limits, &nice,
                CREW_OPT(process, .method = host_method, .arg_size = sizeof nice, .limits = &limits,
                        .cpus = &cpu, .n_cpus = 1, .nice = 3)));
        CHECK_INT(join_code(p), ==, 7);
}

TEST_FRESH(no_such_processor, "a processor that is not there ends the start or the child in words")
{
        crew_exit e = { .size = sizeof e };
        crew_auto(process) p = NULL;
        unsigned cpu = 60000;
        int r = crew_process_launch(&p, give, NULL,
                CREW_OPT(process, .method = host_method, .cpus = &cpu, .n_cpus = 1));

        if (r < 0) {
                CHECK_INT(r, ==, -EINVAL);
                return;
        }
        CHECK_INT(join_code(p), ==, 255);
        REQUIRE_OK(crew_process_exit(p, &e));
        CHECK_INT(e.exec_errno, ==, EINVAL);
}
