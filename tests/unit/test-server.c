/* SPDX-License-Identifier: MIT */

/* The loop of the servers beside an application. */

#include "check.h"
#include "peer.h"
#include "process/server.h"

#include "base/clock.h"
#include "kernel/pidfd.h"
#include "kernel/syscall.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a server looks at before anybody asks it for anything: its socket and the application. */
enum { AT_FIRST = 2 };

static int keep_watch(crew__serving *s, const void *request, size_t size, int *fds, int *with)
{
        int row = crew__serving_watch(s, fds[0]);

        (void)request;
        (void)size;
        (void)with;
        fds[0] = -1;
        return row < 0 ? row : 0;
}

static const crew__service service = { .name = "watcher", .request = keep_watch };

struct ends {
        int ours, its, application;
};

static void serve(void *arg)
{
        const struct ends *e = arg;

        (void)close(e->ours);
        crew__serving_run(&service, e->its, e->application);
}

static void wait_for_ever(void *unused)
{
        (void)unused;
        for (;;)
                (void)pause();
}

/* With a copy of the server's end of the socket, as a child that was forked at the wrong moment. */
static crew__server start(struct ends *e)
{
        crew__server server = CREW__NO_SERVER;
        int pair[2];

        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        *e = (struct ends){ pair[0], pair[1], (int)REQUIRE_OK(crew__sys_pidfd_open(getpid(), 0)) };
        server.pid = peer_start(serve, e);
        server.pidfd = (int)REQUIRE_OK(crew__sys_pidfd_open(server.pid, 0));
        server.socket = e->ours;
        return server;
}

static void watch(crew__server *server, int pidfd)
{
        REQUIRE_OK(crew__server_ask(server, "w", 1, &pidfd, 1, NULL, CREW_S(15)));
}

static bool await_watched(pid_t pid, int n)
{
        int64_t until = crew_clock() + CREW_S(15);

        while (peer_watched(pid) != n && crew_clock() < until)
                peer_pause(PEER_MS(1));
        return peer_watched(pid) == n;
}

TEST(socket_ends, "a server does not look at a socket that has ended, whoever keeps its end of it",
        "[unit][server]")
{
        struct ends e;
        pid_t watched = peer_start(wait_for_ever, NULL);
        crew__server server = start(&e);
        int pidfd = (int)REQUIRE_OK(crew__sys_pidfd_open(watched, 0));

        watch(&server, pidfd);
        CHECK_INT(peer_watched(server.pid), ==, AT_FIRST + 1);
        (void)close(e.ours);
        CHECK(await_watched(server.pid, AT_FIRST));
        CHECK(peer_await_sleep(server.pid, PEER_MS(15000)));
        /* Nobody is left to be watched. */
        peer_kill(watched);
        CHECK_INT(peer_join(server.pid), ==, 0);
        (void)close(pidfd);
        (void)close(server.pidfd);
        (void)close(e.its);
        (void)close(e.application);
}

TEST(watched_ends, "a server does not look at who has ended, whoever keeps the pidfd",
        "[unit][server]")
{
        struct ends e;
        pid_t watched = peer_start(wait_for_ever, NULL);
        crew__server server = start(&e);
        int pidfd = (int)REQUIRE_OK(crew__sys_pidfd_open(watched, 0));

        watch(&server, pidfd);
        peer_kill(watched);
        CHECK(await_watched(server.pid, AT_FIRST));
        CHECK(peer_await_sleep(server.pid, PEER_MS(15000)));
        (void)close(e.ours);
        CHECK_INT(peer_join(server.pid), ==, 0);
        (void)close(pidfd);
        (void)close(server.pidfd);
        (void)close(e.its);
        (void)close(e.application);
}
