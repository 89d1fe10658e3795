/* SPDX-License-Identifier: MIT */

/* What a child is: its C library works, its stdio is its own, its end is a program's end. */

#include "host.h"

#include <fcntl.h>

static int give(void *arg)
{
        return (int)(intptr_t)arg;
}

/* Mutexes of every kind that remembers its owner; in shared memory, so that the parent can look. */
struct mutexes {
        pthread_mutex_t robust, recursive, checking, mine;
        atomic_int locked;
};

static void mutex_new(pthread_mutex_t *m, int type, int robust)
{
        pthread_mutexattr_t a;

        (void)pthread_mutexattr_init(&a);
        (void)pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
        (void)pthread_mutexattr_settype(&a, type);
        (void)pthread_mutexattr_setrobust(&a, robust);
        REQUIRE(pthread_mutex_init(m, &a) == 0);
        (void)pthread_mutexattr_destroy(&a);
}

static int use_mutexes(void *arg)
{
        struct mutexes *m = arg;
        int wrong = 0;

        /* Held by the parent's thread when it forked: not this one's. */
        wrong += pthread_mutex_trylock(&m->mine) != EBUSY;
        wrong += pthread_mutex_unlock(&m->mine) != EPERM;
        wrong += pthread_mutex_lock(&m->recursive) != 0;
        wrong += pthread_mutex_lock(&m->recursive) != 0;
        wrong += pthread_mutex_unlock(&m->recursive) != 0;
        wrong += pthread_mutex_unlock(&m->recursive) != 0;
        wrong += pthread_mutex_unlock(&m->recursive) != EPERM;
        wrong += pthread_mutex_lock(&m->checking) != 0;
        wrong += pthread_mutex_lock(&m->checking) != EDEADLK;
        wrong += pthread_mutex_unlock(&m->checking) != 0;
        wrong += pthread_mutex_lock(&m->robust) != 0;
        atomic_store(&m->locked, wrong ? -wrong : 1);
        for (;;)
                (void)sleep(1000);
        return 0;
}

static int use_mutexes_nested(void *arg)
{
        crew_auto(process) p = NULL;

        if (host_launch(&p, use_mutexes, arg, NULL) < 0)
                return 1;
        while (!atomic_load(&((struct mutexes *)arg)->locked))
                (void)usleep(1000);
        (void)crew_process_kill(p);
        return crew_process_join(p, CREW_S(5)) < 0;
}

static void mutexes_work(crew_target_fn *target, bool nested)
{
        struct mutexes *m = shared_new(sizeof *m);
        struct timespec until;
        crew_auto(process) p = NULL;

        mutex_new(&m->robust, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
        mutex_new(&m->recursive, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
        mutex_new(&m->checking, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
        mutex_new(&m->mine, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST);
        REQUIRE(pthread_mutex_lock(&m->mine) == 0);
        REQUIRE_OK(host_launch(&p, target, m, NULL));
        CHECK(EVENTUALLY(atomic_load(&m->locked), CREW_S(10)));
        CHECK_INT(atomic_load(&m->locked), ==, 1);
        if (!nested)
                CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(join_code(p), ==, nested ? 0 : -SIGKILL);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 5;
        CHECK_INT(pthread_mutex_timedlock(&m->robust, &until), ==, EOWNERDEAD);
        (void)pthread_mutex_consistent(&m->robust);
        CHECK_INT(pthread_mutex_unlock(&m->robust), ==, 0);
        CHECK_INT(pthread_mutex_unlock(&m->mine), ==, 0);
        shared_free(m, sizeof *m);
}

TEST_METHODS(mutexes, "mutexes that remember their owner work in the child", "[live][process]")
{
        mutexes_work(use_mutexes, false);
}

TEST_METHODS(mutexes_nested, "mutexes that remember their owner work in a child's child",
        "[live][process]")
{
        mutexes_work(use_mutexes_nested, true);
}

static void *hand_back(void *arg)
{
        return arg;
}

static int use_threads(void *arg)
{
        (void)arg;
        for (int i = 0; i < 10; i++) {
                pthread_t thread;
                void *result = NULL;

                if (pthread_create(&thread, NULL, hand_back, &i) != 0 ||
                        pthread_join(thread, &result) != 0 || result != &i)
                        return 1;
        }
        return 0;
}

TEST_METHODS(threads, "a child can have threads", "[live][process]")
{
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_launch(&p, use_threads, NULL, NULL));
        CHECK_INT(join_code(p), ==, 0);
}

static atomic_bool stop;

static void *hammer(void *unused)
{
        unsigned seed = (unsigned)(uintptr_t)&unused;

        (void)unused;
        while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
                void *a = malloc((size_t)rand_r(&seed) % 5000);
                void *b = malloc((size_t)rand_r(&seed) % 200000);

                free(a);
                free(b);
        }
        return NULL;
}

static int allocate(void *arg)
{
        int r = 0;

        (void)arg;
        for (int i = 1; i < 50; i++) {
                char *p = malloc((size_t)i * 1000);

                r |= !p;
                free(p);
        }
        return r;
}

TEST(malloc_hammer, "children allocate while four threads of the parent do", "[live][process]")
{
        pthread_t thread[4];
        int wrong = 0;

        TEST_DEADLINE(120);
        for (int i = 0; i < 4; i++)
                REQUIRE(pthread_create(&thread[i], NULL, hammer, NULL) == 0);
        for (int i = 0; i < test_scale(5000, 100); i++) {
                crew_auto(process) p = NULL;

                REQUIRE_OK(crew_process_launch(&p, allocate, NULL, NULL));
                wrong += join_code(p) != 0;
        }
        atomic_store(&stop, true);
        for (int i = 0; i < 4; i++)
                (void)pthread_join(thread[i], NULL);
        CHECK_INT(wrong, ==, 0);
}

/* Streams. Each case swaps a standard descriptor for a pipe or file of its own. */

static int say(void *arg)
{
        (void)printf("child says %s\n", (char *)arg);
        return 0;
}

static void *read_stdin(void *unused)
{
        char line[16];

        (void)unused;
        return fgets(line, sizeof line, stdin) ? stdin : NULL;
}

static int temporary_file(void)
{
        char name[] = "/tmp/crew-test-XXXXXX";
        int fd = mkstemp(name);

        REQUIRE(fd >= 0);
        (void)unlink(name);
        return fd;
}

static void file_holds(int fd, const char *text)
{
        char found[512] = "";

        CHECK_INT(pread(fd, found, sizeof found - 1, 0), ==, strlen(text));
        CHECK_STR(found, text);
}

TEST(blocked_reader, "a thread that sits in fgets(stdin) blocks neither start nor child",
        "[live][process]")
{
        int out = temporary_file(), saved = dup(1), saved_in = dup(0), in[2];
        crew_auto(process) p = NULL;
        pthread_t thread;

        REQUIRE(pipe(in) == 0 && dup2(in[0], 0) == 0);
        REQUIRE(pthread_create(&thread, NULL, read_stdin, NULL) == 0);
        (void)usleep(20000);
        REQUIRE(dup2(out, 1) == 1);
        (void)printf("parent first\n");
        REQUIRE_OK(crew_process_launch(&p, say, (char[]){ "hello" }, NULL));
        CHECK_INT(join_code(p), ==, 0);
        (void)fflush(stdout);
        REQUIRE(dup2(saved, 1) == 1);
        file_holds(out, "parent first\nchild says hello\n");
        REQUIRE(write(in[1], "\n", 1) == 1);
        (void)pthread_join(thread, NULL);
        REQUIRE(dup2(saved_in, 0) == 0);
        (void)close(saved_in);
        (void)close(in[0]);
        (void)close(in[1]);
        (void)close(saved);
        (void)close(out);
}

static int read_in_thread(void *arg)
{
        pthread_t thread;

        (void)arg;
        if (pthread_create(&thread, NULL, read_stdin, NULL) != 0)
                return 1;
        (void)usleep(20000);
        (void)printf("still heard\n");
        return 5;
}

TEST_METHODS(
        blocked_reader_child, "a child whose thread sits in fgets(stdin) ends", "[live][process]")
{
        int out = temporary_file(), saved = dup(1), saved_in = dup(0), in[2];
        crew_auto(process) p = NULL;

        REQUIRE(pipe(in) == 0 && dup2(in[0], 0) == 0);
        (void)fflush(stdout);
        REQUIRE(dup2(out, 1) == 1);
        REQUIRE_OK(host_launch(&p, read_in_thread, NULL, NULL));
        CHECK_INT(join_code(p), ==, 5);
        REQUIRE(dup2(saved, 1) == 1);
        file_holds(out, "still heard\n");
        REQUIRE(dup2(saved_in, 0) == 0);
        (void)close(saved_in);
        (void)close(in[0]);
        (void)close(in[1]);
        (void)close(saved);
        (void)close(out);
}

static void *hold_stdout(void *data)
{
        int *pipes = data;
        char c;

        flockfile(stdout);
        (void)printf("once\n");
        if (write(pipes[1], "x", 1) != 1 || read(pipes[2], &c, 1) != 1)
                abort();
        funlockfile(stdout);
        return NULL;
}

TEST(busy_stream, "what another thread is writing is not written twice", "[live][process]")
{
        int out = temporary_file(), saved = dup(1), pipes[4];
        crew_auto(process) p = NULL;
        pthread_t thread;
        char c;

        REQUIRE(pipe(pipes) == 0 && pipe(pipes + 2) == 0);
        (void)fflush(stdout);
        REQUIRE(dup2(out, 1) == 1);
        REQUIRE(pthread_create(&thread, NULL, hold_stdout, pipes) == 0);
        REQUIRE(read(pipes[0], &c, 1) == 1);
        REQUIRE_OK(crew_process_launch(&p, say, (char[]){ "one" }, NULL));
        CHECK_INT(join_code(p), ==, 0);
        REQUIRE(write(pipes[3], "x", 1) == 1);
        (void)pthread_join(thread, NULL);
        (void)fflush(stdout);
        REQUIRE(dup2(saved, 1) == 1);
        file_holds(out, "child says one\nonce\n");
        for (int i = 0; i < 4; i++)
                (void)close(pipes[i]);
        (void)close(saved);
        (void)close(out);
}

TEST_METHODS(closed_streams, "closed descriptors under stdout and stderr are harmless",
        "[live][process]")
{
        int saved = dup(1), saved_error = dup(2);
        crew_auto(process) p = NULL;
        char *text = shared_new(8);

        (void)strcpy(text, "lost");
        (void)fflush(stdout);
        (void)close(1);
        (void)close(2);
        (void)printf("lost");
        REQUIRE_OK(host_launch(&p, say, text, NULL));
        CHECK_INT(join_code(p), ==, 0);
        REQUIRE(dup2(saved, 1) == 1 && dup2(saved_error, 2) == 2);
        (void)close(saved);
        (void)close(saved_error);
}

/* The fork server was started when there was one. */
static int has_stdout(void *arg)
{
        (void)arg;
        return fcntl(1, F_GETFD) >= 0;
}

TEST_METHODS(
        closed_stdout, "what the host has closed is closed in the child too", "[live][process]")
{
        int saved = dup(1);
        crew_auto(process) p = NULL;
        crew_auto(process) again = NULL;

        (void)fflush(stdout);
        (void)close(1);
        REQUIRE_OK(host_launch(&p, has_stdout, NULL, NULL));
        CHECK_INT(join_code(p), ==, 0);
        REQUIRE(dup2(saved, 1) == 1);
        (void)close(saved);
        REQUIRE_OK(host_launch(&again, has_stdout, NULL, NULL));
        CHECK_INT(join_code(again), ==, 1);
}

/* Handlers at exit. */

static struct {
        atomic_int parents, childs, after_join;
} * ran;

static pid_t owner;

static void of_parent(void)
{
        if (getpid() != owner)
                atomic_fetch_add(&ran->parents, 1);
}

static void of_child(void)
{
        atomic_fetch_add(&ran->childs, 1);
}

static int with_handler(void *arg)
{
        ran = host_data;
        (void)atexit(of_child);
        if (arg)
                exit(8);
        return 8;
}

static int with_own_fork(void *arg)
{
        int status = -1;
        pid_t pid = fork();

        (void)arg;
        if (pid == 0)
                exit(2);
        if (waitpid(pid, &status, 0) != pid)
                return 1;
        return status == 2 << 8 ? 9 : 1;
}

TEST_METHODS(handlers, "inherited atexit handlers do not run in the child, its own do",
        "[live][process]")
{
        crew_process *p[3] = { NULL };

        host_data = ran = shared_new(sizeof *ran);
        owner = getpid();
        (void)atexit(of_parent);
        REQUIRE_OK(host_launch(&p[0], with_handler, NULL, NULL));
        REQUIRE_OK(host_launch(&p[1], with_handler, ran, NULL));
        REQUIRE_OK(host_launch(&p[2], with_own_fork, NULL, NULL));
        CHECK_INT(join_code(p[0]), ==, 8);
        CHECK_INT(join_code(p[1]), ==, 8);
        CHECK_INT(join_code(p[2]), ==, 9);
        CHECK_INT(atomic_load(&ran->parents), ==, 0);
        CHECK_INT(atomic_load(&ran->childs), ==, 2);
        for (int i = 0; i < 3; i++)
                p[i] = crew_process_free(p[i]);
        /* of_parent() looks at it no more: it is in the owner when the case exits. */
        shared_free(ran, sizeof *ran);
}

static int mask_and_gate(void *arg)
{
        sigset_t set;

        (void)arg;
        (void)sigprocmask(SIG_SETMASK, NULL, &set);
        return sigismember(&set, SIGUSR1) * 2 + sigismember(&set, SIGUSR2);
}

TEST_METHODS(signal_mask, "the child has its parent's signal mask", "[live][process]")
{
        crew_auto(process) p = NULL;
        sigset_t set, now;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGUSR1);
        (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
        REQUIRE_OK(host_launch(&p, mask_and_gate, NULL, NULL));
        CHECK_INT(join_code(p), ==, 2);
        (void)pthread_sigmask(SIG_SETMASK, NULL, &now);
        CHECK(sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2));
}

/* A queue goes through the fork: the child's robust locks work and messages arrive. */
static int put_many(void *arg)
{
        for (int i = 0; i < 20; i++) {
                if (CREW_PUT((crew_queue *)arg, &i, CREW_S(5)) < 0)
                        return 1;
        }
        return 0;
}

TEST_HOSTS(queue, "messages of a child arrive in order", "[live][process]")
{
        crew_auto(queue) q = NULL;
        crew_auto(process) p = NULL;
        int n = -1;

        REQUIRE_OK(crew_queue_new(&q, 4, NULL));
        REQUIRE_OK(crew_process_launch(&p, put_many, q, NULL));
        for (int i = 0; i < 20; i++) {
                CHECK_INT(CREW_GET(q, &n, CREW_S(5)), ==, 0);
                CHECK_INT(n, ==, i);
        }
        CHECK_INT(join_code(p), ==, 0);
}

/* A child that raises its hand through the descriptor it was given a copy of: fork shares them. */
TEST(descriptors, "each start costs its pidfd and nothing else", "[live][process]")
{
        crew_process *p[8];
        int before = dup(0), after;

        (void)close(before);
        for (int i = 0; i < 8; i++)
                REQUIRE_OK(crew_process_launch(&p[i], give, NULL, NULL));
        for (int i = 0; i < 8; i++) {
                CHECK_INT(join_code(p[i]), ==, 0);
                CHECK_INT(fcntl((int)REQUIRE_OK(crew_process_fd(p[i])), F_GETFD), ==, FD_CLOEXEC);
                p[i] = crew_process_free(p[i]);
        }
        after = dup(0);
        (void)close(after);
        CHECK_INT(after, ==, before);
}
