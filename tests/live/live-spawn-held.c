/* SPDX-License-Identifier: MIT */

/* A start that has failed, whose process does not end although it was killed: a tracer holds it. */

#include "host.h"
#include "peer.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#define HELD "CREW_TEST_HELD"

/* Numbers in the new process: what it is to keep and loses, and the socket to its tracer. */
enum { LOST = 60, SOCKET = 61 };

/* In the new process, before crew_spawn_main() looks at what it was given. */
__attribute__((constructor)) static void meet_tracer(void)
{
        pid_t pid = getpid();
        char c;

        if (!getenv(HELD) || !getenv("CREW_SPAWN"))
                return;
        (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
        if (write(SOCKET, &pid, sizeof pid) != sizeof pid || read(SOCKET, &c, 1) != 1)
                abort();
        (void)close(LOST);
}

struct tracer {
        _Atomic uint32_t held, release;
        _Atomic int refused; /* errno of ptrace() */
        _Atomic pid_t pid;
        int socket;
};

/* Stops the process on its way out, where no SIGKILL helps, and keeps it there. */
static void hold(void *arg)
{
        struct tracer *t = arg;
        pid_t pid;
        int status = 0;

        REQUIRE(read(t->socket, &pid, sizeof pid) == sizeof pid);
        atomic_store(&t->pid, pid);
        if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(intptr_t)PTRACE_O_TRACEEXIT) < 0)
                atomic_store(&t->refused, errno);
        REQUIRE(write(t->socket, "", 1) == 1);
        if (atomic_load(&t->refused))
                return;
        REQUIRE(waitpid(pid, &status, __WALL) == pid);
        CHECK_INT(status >> 8, ==, SIGTRAP | PTRACE_EVENT_EXIT << 8);
        atomic_store(&t->held, 1);
        CHECK(peer_await(&t->release, 1, CREW_S(30)));
        CHECK_INT(ptrace(PTRACE_DETACH, pid, NULL, NULL), ==, 0);
}

static int give_five(void *arg)
{
        (void)arg;
        return 5;
}

TEST(held, "a start gives up on a killed process that a tracer holds, and can be tried again",
        "[live][spawn]")
{
        struct tracer *t = shared_new(sizeof *t);
        int keep[] = { LOST, SOCKET }, pair[2], status;
        crew_auto(process) p = NULL;
        int64_t begun, took;
        pid_t tracer;

        host_begin(CREW_METHOD_SPAWN);
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        REQUIRE(dup3(0, LOST, O_CLOEXEC) == LOST && dup3(pair[1], SOCKET, O_CLOEXEC) == SOCKET);
        t->socket = pair[0];
        tracer = peer_start(hold, t);
        (void)setenv(HELD, "1", 1);
        REQUIRE_OK(crew_process_new(&p, give_five, NULL,
                CREW_OPT(process, .method = CREW_METHOD_SPAWN, .keep_fds = keep, .n_keep_fds = 2)));
        begun = crew_clock();
        CHECK_INT(crew_process_start(p), ==, -EBADF);
        took = crew_clock() - begun;
        if (atomic_load(&t->refused)) {
                CHECK_INT(peer_join(tracer), ==, 0);
                SKIP("ptrace is not permitted here");
        }
        CHECK(strstr(crew_error_detail(), "could not take over what it was given") != NULL);
        CHECK(peer_await(&t->held, 1, CREW_S(5)));
        /* It was given up, not waited for: the tracer has not let it go. */
        CHECK_INT(took, <, test_slow(CREW_S(10)));
        /* Killed, and there all the same. */
        CHECK_INT(kill(t->pid, 0), ==, 0);
        CHECK_INT(crew_active_children(NULL, 0), ==, 0);
        (void)unsetenv(HELD);
        CHECK_INT(crew_process_start(p), ==, 0);
        CHECK_INT(join_code(p), ==, 5);
        /* What was left is whose children it is among. */
        CHECK_INT(waitpid(t->pid, &status, WNOHANG | __WALL), ==, 0);
        atomic_store(&t->release, 1);
        CHECK_INT(peer_join(tracer), ==, 0);
        CHECK_INT(waitpid(t->pid, &status, __WALL), ==, t->pid);
        for (int i = 0; i < 2; i++) {
                (void)close(pair[i]);
                (void)close(keep[i]);
        }
}
