/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Who may see a child, who gets its status, what kills it. Numbers as in docs/KERNEL.md. */

static _Atomic uint32_t signals;

static void on_sigchld(int sig)
{
        (void)sig;
        atomic_fetch_add(&signals, 1);
}

static void count_sigchld(void)
{
        struct sigaction act = { .sa_handler = on_sigchld };

        REQUIRE(sigaction(SIGCHLD, &act, NULL) == 0);
}

TEST_NORETURN static void become_exit_7(void)
{
        execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(126);
}

TEST(exec_shows, "fact 1: exec makes a silent child visible to waitpid(-1)", "[live][facts]")
{
        int pidfd, status = 0;
        pid_t pid;

        count_sigchld();
        pid = fact_clone(0, 0, &pidfd);
        if (pid == 0)
                become_exit_7();
        REQUIRE(fact_ended(pidfd));
        CHECK_INT(waitpid(-1, &status, WNOHANG), ==, pid);
        CHECK_INT(atomic_load(&signals), ==, 1);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        close(pidfd);
}

TEST(exec_ignored, "fact 1: after exec an ignored SIGCHLD throws the status away", "[live][facts]")
{
        int pidfd;

        signal(SIGCHLD, SIG_IGN);
        if (fact_clone(0, 0, &pidfd) == 0)
                become_exit_7();
        REQUIRE(fact_ended(pidfd));
        CHECK_INT(fact_reap(pidfd, __WALL), ==, -ECHILD);
        close(pidfd);
}

TEST(silent, "fact 2: without exec a silent child is seen by nobody but __WALL", "[live][facts]")
{
        int pidfd;

        count_sigchld();
        if (fact_clone(0, 0, &pidfd) == 0)
                _exit(7);
        REQUIRE(fact_ended(pidfd));
        CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
        CHECK_INT(errno, ==, ECHILD);
        CHECK_INT(fact_reap(pidfd, WNOHANG), ==, -ECHILD);
        CHECK_INT(fact_reap(pidfd, WNOHANG | __WALL), ==, 7);
        CHECK_INT(atomic_load(&signals), ==, 0);
        close(pidfd);
}

TEST(silent_ignored, "fact 2: a silent child keeps its status when SIGCHLD is ignored",
        "[live][facts]")
{
        int pidfd;

        signal(SIGCHLD, SIG_IGN);
        if (fact_clone(0, 0, &pidfd) == 0)
                _exit(7);
        REQUIRE(fact_ended(pidfd));
        CHECK_INT(fact_reap(pidfd, WNOHANG | __WALL), ==, 7);
        close(pidfd);
}

/* Is a child that a server made by CLONE_PARENT visible to the host? */
static bool sibling_is_visible(int servers_signal)
{
        _Atomic uint32_t *made = peer_memory(sizeof *made);
        int pidfd, inner, status;
        pid_t server, worker;
        bool visible;

        server = fact_clone(servers_signal, 0, &pidfd);
        if (server == 0) {
                pid_t pid = fact_clone(0, CLONE_PARENT, &inner);

                if (pid == 0)
                        _exit(8);
                atomic_store(made, (uint32_t)pid);
                _exit(9);
        }
        CHECK_INT(waitpid(server, &status, __WALL), ==, server);
        CHECK_INT(WEXITSTATUS(status), ==, 9);
        worker = (pid_t)atomic_load(made);
        REQUIRE(worker > 0);
        visible = waitpid(worker, &status, 0) == worker;
        if (!visible)
                CHECK_INT(waitpid(worker, &status, __WALL), ==, worker);
        CHECK_INT(WEXITSTATUS(status), ==, 8);
        close(pidfd);
        peer_memory_free(made, sizeof *made);
        return visible;
}

TEST(sibling, "fact 3: CLONE_PARENT gives a child the exit signal of its maker", "[live][facts]")
{
        CHECK(sibling_is_visible(SIGCHLD));
        CHECK(!sibling_is_visible(0));
}

static void *reap_anything(void *arg)
{
        int *status = arg;

        while (waitpid(-1, status, 0) < 0 && errno == EINTR)
                ;
        return NULL;
}

/* What is left of a child that exited with 7 and whose status went elsewhere. */
static void check_remains(int pidfd)
{
        struct crew__pidfd_info info = { .mask = CREW__PIDFD_INFO_EXIT };
        int64_t until = peer_now() + test_slow(FACT_SOON);
        int r;

        CHECK(fact_ended(pidfd));
        CHECK_INT(fact_reap(pidfd, WNOHANG | __WALL), ==, -ECHILD);
        /* Nobody's child releases itself, some time after its pidfd was readable. */
        while ((r = crew__sys_pidfd_send_signal(pidfd, SIGKILL)) == 0 && peer_now() < until)
                peer_pause(PEER_MS(1));
        CHECK_INT(r, ==, -ESRCH);
        r = crew__sys_pidfd_info(pidfd, &info);
        close(pidfd);
        if (r < 0 || !(info.mask & CREW__PIDFD_INFO_EXIT))
                SKIP("PIDFD_GET_INFO does not tell how a process ended (Linux 6.15)");
        CHECK(WIFEXITED(info.exit_code));
        CHECK_INT(WEXITSTATUS(info.exit_code), ==, 7);
}

/* A child of fork() that waits for the word before it exits with 7. */
static pid_t gated(_Atomic uint32_t *gate, int *pidfd)
{
        pid_t pid = fork();

        REQUIRE(pid >= 0);
        if (pid == 0) {
                while (atomic_load(gate) == 0)
                        crew__sys_futex_wait(gate, 0, peer_now() + PEER_MS(100));
                _exit(7);
        }
        *pidfd = crew__sys_pidfd_open(pid, 0);
        REQUIRE(*pidfd >= 0);
        return pid;
}

TEST(stolen, "fact 4: a stolen status is still answered by the pidfd", "[live][facts]")
{
        _Atomic uint32_t *gate = peer_memory(sizeof *gate);
        int pidfd, status = 0;
        pthread_t thief;

        (void)gated(gate, &pidfd);
        REQUIRE(pthread_create(&thief, NULL, reap_anything, &status) == 0);
        atomic_store(gate, 1);
        crew__sys_futex_wake(gate, 1);
        REQUIRE(pthread_join(thief, NULL) == 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        peer_memory_free(gate, sizeof *gate);
        check_remains(pidfd);
}

TEST(discarded, "fact 4: so is the status that an ignored SIGCHLD threw away", "[live][facts]")
{
        _Atomic uint32_t *gate = peer_memory(sizeof *gate);
        int pidfd;

        signal(SIGCHLD, SIG_IGN);
        (void)gated(gate, &pidfd);
        atomic_store(gate, 1);
        crew__sys_futex_wake(gate, 1);
        REQUIRE(fact_ended(pidfd));
        peer_memory_free(gate, sizeof *gate);
        check_remains(pidfd);
}

TEST(look_only, "fact 5: WNOWAIT leaves the child to be reaped, and that tells its usage",
        "[live][facts]")
{
        struct rusage usage;
        siginfo_t info = { 0 };
        int pidfd;

        if (fact_clone(0, 0, &pidfd) == 0) {
                int64_t until = peer_now() + PEER_MS(5);

                while (peer_now() < until)
                        ;
                _exit(7);
        }
        CHECK_INT(fact_reap(pidfd, WNOWAIT | __WALL), ==, 7);
        CHECK_INT(fact_reap(pidfd, WNOWAIT | __WALL), ==, 7);
        memset(&usage, 0, sizeof usage);
        CHECK_INT(crew__sys_waitid(pidfd, &info, WEXITED | __WALL, &usage), ==, 0);
        CHECK_INT(info.si_status, ==, 7);
        CHECK_INT(usage.ru_maxrss, >, 0);
        CHECK_INT(fact_reap(pidfd, __WALL), ==, -ECHILD);
        close(pidfd);
}

/* Starts a worker from a thread that ends at once. */
struct maker {
        int pidfd;
        bool by_server;
        _Atomic uint32_t *ready;
};

TEST_NORETURN static void sleep_on_a_leash(_Atomic uint32_t *ready)
{
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        atomic_store(ready, (uint32_t)getpid());
        for (;;)
                (void)pause();
}

static void *make_worker(void *arg)
{
        struct maker *m = arg;
        pid_t pid = fork();
        int inner;

        REQUIRE(pid >= 0);
        if (pid == 0) {
                if (!m->by_server || fact_clone(0, CLONE_PARENT, &inner) == 0)
                        sleep_on_a_leash(m->ready);
                _exit(0);
        }
        while (atomic_load(m->ready) == 0)
                peer_pause(PEER_MS(1));
        if (m->by_server)
                CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
        m->pidfd = crew__sys_pidfd_open((pid_t)atomic_load(m->ready), 0);
        /* The thread lives, and so does the worker. */
        CHECK(!fact_readable(m->pidfd, PEER_MS(20)));
        return NULL;
}

static void check_leash(bool by_server)
{
        struct maker m = { .by_server = by_server };
        pthread_t thread;

        m.ready = peer_memory(sizeof *m.ready);
        REQUIRE(pthread_create(&thread, NULL, make_worker, &m) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        REQUIRE(m.pidfd >= 0);
        CHECK(fact_ended(m.pidfd));
        CHECK_INT(fact_reap(m.pidfd, __WALL), ==, PEER_KILLED + SIGKILL);
        close(m.pidfd);
        peer_memory_free(m.ready, sizeof *m.ready);
}

TEST(thread_leash, "fact 6: PDEATHSIG follows the thread that forked, not its process",
        "[live][facts]")
{
        check_leash(false);
}

TEST(parent_leash, "fact 6: through CLONE_PARENT it follows the thread that made the maker",
        "[live][facts]")
{
        fact_needs_clone3();
        check_leash(true);
}

static void tell_leash(void *arg)
{
        _Atomic uint32_t *leash = arg;
        int sig = -1;

        (void)prctl(PR_GET_PDEATHSIG, &sig);
        atomic_store(leash, (uint32_t)sig);
}

static void change_user(void *arg)
{
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (setresuid(61234, 61234, 61234) < 0)
                _exit(1);
        tell_leash(arg);
}

static void grandchild(void *arg)
{
        pid_t pid;

        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        pid = fork();
        if (pid == 0) {
                tell_leash(arg);
                _exit(0);
        }
        (void)waitpid(pid, NULL, 0);
}

TEST(lost_leash, "fact 6: PDEATHSIG is not inherited, and setuid() clears it", "[live][facts]")
{
        _Atomic uint32_t *leash = peer_memory(sizeof *leash);

        atomic_store(leash, 99);
        CHECK_INT(peer_join(peer_start(grandchild, leash)), ==, 0);
        CHECK_INT(atomic_load(leash), ==, 0);
        if (geteuid() == 0) {
                atomic_store(leash, 99);
                CHECK_INT(peer_join(peer_start(change_user, leash)), ==, 0);
                CHECK_INT(atomic_load(leash), ==, 0);
        }
        peer_memory_free(leash, sizeof *leash);
}

struct program {
        const char *path;
        int failed[2]; /* close-on-exec */
        _Atomic uint32_t *gate;
};

/* Shares the memory and the errno of its parent, so it calls the kernel alone. */
static int become(void *arg)
{
        struct program *p = arg;
        char *argv[] = { (char *)(uintptr_t)p->path, NULL }, *envp[] = { NULL };
        int r;

        while (atomic_load(p->gate) == 0)
                (void)crew__sys_futex_wait(p->gate, 0, INT64_MAX);
        r = (int)crew__syscall(SYS_execve, (long)p->path, (long)argv, (long)envp, 0, 0, 0);
        (void)crew__syscall(SYS_write, p->failed[1], (long)&r, sizeof r, 0, 0, 0);
        return 127;
}

/* Starts the program from a child that shares the memory; what its pipe told: 0, or the errno. */
static int exec_error(const char *path)
{
        enum { STACK = 64 * 1024 };
        struct program p = { .path = path };
        char *stack = malloc(STACK);
        int error = 0;
        ssize_t n;
        pid_t pid;

        REQUIRE(stack && pipe2(p.failed, O_CLOEXEC) == 0);
        p.gate = peer_memory(sizeof *p.gate);
        pid = clone(become, stack + STACK, CLONE_VM | SIGCHLD, &p);
        REQUIRE(pid > 0);
        /* This runs although the child has not exec'd: without CLONE_VFORK nobody waits. */
        CHECK(!fact_readable(p.failed[0], PEER_MS(10)));
        atomic_store(p.gate, 1);
        (void)crew__sys_futex_wake(p.gate, 1);
        close(p.failed[1]);
        n = read(p.failed[0], &error, sizeof error);
        CHECK(n == 0 || n == sizeof error);
        CHECK_INT(peer_join(pid), ==, n ? 127 : 0);
        close(p.failed[0]);
        peer_memory_free(p.gate, sizeof *p.gate);
        free(stack);
        return error;
}

TEST(exec_seen, "fact 8: a close-on-exec pipe tells exec from its failure, and nobody waits",
        "[live][facts]")
{
        CHECK_INT(exec_error("/bin/true"), ==, 0);
        CHECK_INT(exec_error("/nonexistent/program"), ==, -ENOENT);
}

struct big {
        _Atomic uint32_t word, ready;
};

static void be_big(void *arg)
{
        const size_t size = 64 << 20;
        struct big *big = arg;
        char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        REQUIRE(memory != MAP_FAILED);
        fact_cover(&big->word);
        atomic_store(&big->word, (uint32_t)crew__sys_gettid() | FUTEX_WAITERS);
        atomic_store(&big->ready, 1);
        for (;;)
                (void)pause();
}

/*
 * Kills a process of 64 MiB that holds the word; was it marked before the pidfd was readable? The
 * observer sleeps on the word, as a waiter does: one that turned would have used up its share of
 * the CPU by the time it matters.
 */
static bool mark_came_first(struct big *big)
{
        const uint32_t marked = FUTEX_OWNER_DIED | FUTEX_WAITERS;
        int64_t until = peer_now() + test_slow(FACT_SOON);
        uint32_t word;
        bool early;
        pid_t pid;
        int pidfd;

        memset((void *)big, 0, sizeof *big);
        pid = peer_start(be_big, big);
        REQUIRE(peer_await(&big->ready, 1, FACT_SOON));
        pidfd = crew__sys_pidfd_open(pid, 0);
        REQUIRE(pidfd >= 0);
        REQUIRE(kill(pid, SIGKILL) == 0);
        while (!((word = atomic_load(&big->word)) & FUTEX_OWNER_DIED) && peer_now() < until)
                (void)crew__sys_futex_wait(&big->word, word, until);
        early = !fact_readable(pidfd, 0);
        CHECK(fact_ended(pidfd));
        CHECK_INT(atomic_load(&big->word), ==, marked);
        CHECK_INT(peer_join(pid), ==, PEER_KILLED + SIGKILL);
        close(pidfd);
        return early;
}

TEST(mark_first, "fact 7: the mark on a lock comes before the pidfd of a big process",
        "[live][facts]")
{
        struct big *big = peer_memory(sizeof *big);
        int rounds = 0;
        bool early;

        /* A preempted observer sees both at once; that the mark is ever early is the fact. */
        do
                early = mark_came_first(big);
        while (!early && ++rounds < 100);
        CHECK(early);
        peer_memory_free(big, sizeof *big);
}
