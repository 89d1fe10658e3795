/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t peer_now(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int peer_watched(pid_t pid)
{
        char path[64], line[128];
        int n = 0;

        for (int fd = 0; fd < 128; fd++) {
                FILE *info;

                (void)snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)pid, fd);
                info = fopen(path, "re");
                while (info && fgets(line, sizeof line, info))
                        n += strncmp(line, "tfd:", 4) == 0;
                if (info)
                        (void)fclose(info);
        }
        return n;
}

void peer_pause(int64_t ns)
{
        struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

        while (nanosleep(&t, &t) < 0 && errno == EINTR)
                ;
}

pid_t peer_start(void (*fn)(void *), void *arg)
{
        pid_t parent = getpid(), pid = fork();

        REQUIRE(pid >= 0);
        if (pid)
                return pid;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* 0: the parent is in another pid namespace. */
        if (getppid() != parent && getppid() != 0)
                _exit(1);
        fn(arg);
        _exit(0);
}

static int code_of(int status)
{
        return WIFSIGNALED(status) ? PEER_KILLED + WTERMSIG(status) : WEXITSTATUS(status);
}

int peer_join(pid_t pid)
{
        int64_t until = peer_now() + test_slow(PEER_MS(60000));
        int status = 0;
        pid_t got;

        while ((got = waitpid(pid, &status, WNOHANG | __WALL)) == 0 && peer_now() < until)
                peer_pause(PEER_MS(1));
        if (got == pid)
                return code_of(status);
        peer_kill(pid);
        return PEER_LATE;
}

void peer_kill(pid_t pid)
{
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
                ;
}

void *peer_memory(size_t size)
{
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        REQUIRE(memory != MAP_FAILED);
        return memory;
}

void peer_memory_free(void *memory, size_t size)
{
        (void)munmap(memory, size);
}

bool peer_await(_Atomic uint32_t *word, uint32_t value, int64_t ns)
{
        int64_t until = peer_now() + test_slow(ns);

        while (atomic_load(word) != value) {
                if (peer_now() > until)
                        return false;
                peer_pause(100000);
        }
        return true;
}

bool peer_look(pid_t pid, struct peer_look *l)
{
        char path[64], text[512], *name, *end;
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, text, sizeof text - 1);
        (void)close(fd);
        if (n <= 0)
                return false;
        text[n] = 0;
        name = strchr(text, '(');
        /* A name may have any of what is around it. */
        end = strrchr(text, ')');
        if (!name || !end)
                return false;
        *end = 0;
        (void)snprintf(l->name, sizeof l->name, "%s", name + 1);
        return sscanf(end + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld", &l->state,
                       &l->parent, &l->user_ticks) == 3;
}

bool peer_lives(pid_t pid)
{
        struct peer_look l;

        return peer_look(pid, &l) && l.state != 'Z' && l.state != 'X';
}

bool peer_await_sleep(pid_t tid, int64_t ns)
{
        int64_t until = peer_now() + test_slow(ns);

        for (;;) {
                struct peer_look l;

                if (peer_look(tid, &l) && (l.state == 'S' || l.state == 'T'))
                        return true;
                if (peer_now() > until)
                        return false;
                peer_pause(200000);
        }
}

bool peer_on_valgrind(void)
{
        const char *preload = getenv("LD_PRELOAD");

        return preload && strstr(preload, "vgpreload");
}

void peer_needs_seccomp(void)
{
        if (peer_on_valgrind())
                SKIP("valgrind has no seccomp: the other configurations run this");
}

uint64_t peer_random(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

uint64_t peer_seed(void)
{
        const char *given = getenv("CREW_TEST_SEED");
        uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)peer_now();

        seed = seed ? seed : 1;
        test_info("CREW_TEST_SEED=%llu", (unsigned long long)seed);
        return seed;
}
