/* SPDX-License-Identifier: MIT */

/* The application's side of the fork server. */

#include "process/forkserver.h"

#include "base/cleanup.h"
#include "kernel/syscall.h"
#include "process/post.h"
#include "process/server.h"
#include "process/spawn.h"
#include "status/page.h"

#include <string.h>
#include <sys/socket.h>

/* What a server that was just started needs is mostly the dynamic linker's. */
#define PATIENCE CREW_S(10)

/* How long the exit hook tries for a lock that an interrupted thread may hold. */
#define AT_EXIT CREW_MS(100)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crew__server server = { .pidfd = -1, .socket = -1 };

static int begin(void)
{
        crew__packing what = CREW__PACKING;
        int pair[2], pidfd = -1, pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return crew__fail(errno, "fork server: socketpair: %m");
        pair[0] = crew__above_stdio(pair[0]);
        pair[1] = crew__above_stdio(pair[1]);
        what.name = "forkserver";
        what.page = pair[1];
        pid = crew__spawn_server("crew-forkserver", crew__hatch_main, &what, &pidfd);
        (void)close(pair[1]);
        if (pid < 0) {
                (void)close(pair[0]);
                return pid;
        }
        server = (crew__server){ .pid = pid, .pidfd = pidfd, .socket = pair[0] };
        return 0;
}

static int ask(const crew__packed *packed, int *pidfd)
{
        static const char please = CREW__HATCH_START;
        int r = -EPIPE;

        for (int attempt = 0; attempt < 2 && r == -EPIPE; attempt++) {
                if (server.pidfd < 0) {
                        r = begin();
                        if (r < 0)
                                return r;
                }
                r = crew__server_ask(
                        &server, &please, sizeof please, packed->fd, packed->n, pidfd, PATIENCE);
                if (r == -EPIPE)
                        crew__server_end(&server);
        }
        return r;
}

static int words(const crew__launch *l, const crew__site *target, int err)
{
        const char *name = l->p->name;

        switch (err) {
        case ENOENT:
                return crew__fail(ENOENT,
                        "process %s: its function, %s, is not in the fork server: its library was "
                        "loaded later than crew_spawn_main() was called, or has changed",
                        name, target->name);
        case EPIPE:
                return crew__fail(
                        EPIPE, "process %s: its fork server ends as soon as it is started", name);
        case ETIMEDOUT:
                return crew__fail(ETIMEDOUT, "process %s: its fork server (pid %d) does not answer",
                        name, (int)server.pid);
        case E2BIG:
                return crew__fail(E2BIG,
                        "process %s: more than %d descriptors for one process (a queue takes 3 of "
                        "them); use CREW_METHOD_SPAWN",
                        name, CREW__POST_MOST);
        case EMFILE:
        case ENFILE:
                return crew__fail(err,
                        "process %s: no descriptor is left; raise RLIMIT_NOFILE (ulimit -n)", name);
        case EAGAIN:
                return crew__fail(err,
                        "process %s: the limit of processes is reached (RLIMIT_NPROC, ulimit -u, "
                        "or pids.max of the cgroup)",
                        name);
        default:
                return crew__fail(err, "process %s: its fork server: %s", name, strerror(err));
        }
}

/* It waits at its gate. */
static int admit(crew_process *p)
{
        const crew__cell *cell = p->setup ? p->setup->confine.cell : NULL;
        int r = cell ? crew__cell_admit(cell, p->pid) : 0;

        if (r < 0)
                p->pidfd = crew__close(p->pidfd);
        return r;
}

int crew__forkserver_start(crew__launch *l)
{
        crew_process *p = l->p;
        crew__packed packed;
        crew__site target;
        int pidfd = -1, r;

        r = crew__spawn_possible(p->name);
        if (r == 0)
                r = crew__spawn_pack(l, &target, &packed);
        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&lock);
        r = ask(&packed, &pidfd);
        if (r > 0 && pidfd >= 0) {
                p->pid = r;
                p->pidfd = crew__above_stdio(pidfd);
                p->server = server.pid;
        } else if (r >= 0) {
                r = -EMFILE;
        }
        (void)pthread_mutex_unlock(&lock);
        crew__parcel_drop(&packed);
        if (r > 0)
                r = admit(p);
        if (r == 0) {
                crew__page_gate(crew__page_of(p->page), CREW__GATE_OPEN);
                return 0;
        }
        /* There may be a child whose pidfd did not reach us. */
        crew__page_gate(crew__page_of(p->page), CREW__GATE_GONE);
        crew__spawn_unpack(p);
        return r == -EOPNOTSUPP ? r : words(l, &target, -r);
}

bool crew__forkserver_is(pid_t pid)
{
        bool is = true;

        if (pthread_mutex_trylock(&lock) != 0)
                return true;
        is = server.pidfd >= 0 && server.pid == pid && crew__readable(server.pidfd, 0) == -EAGAIN;
        (void)pthread_mutex_unlock(&lock);
        return is;
}

bool crew__forkserver_runs(void)
{
        return server.pidfd >= 0;
}

void crew__forkserver_end(void)
{
        static const char please = CREW__HATCH_QUIT;
        struct timespec nap = crew__timespec(CREW_MS(1));
        int64_t until = crew_clock() + AT_EXIT;

        while (pthread_mutex_trylock(&lock) != 0) {
                if (crew_clock() >= until)
                        return;
                (void)nanosleep(&nap, NULL);
        }
        /* What it watches still are detached processes, which do not need it. */
        if (server.pidfd >= 0)
                (void)crew__server_ask(
                        &server, &please, sizeof please, NULL, 0, NULL, CREW_MS(100));
        crew__server_end(&server);
        (void)pthread_mutex_unlock(&lock);
}

void crew__forkserver_forget(void)
{
        if (server.socket >= 0 || server.pidfd >= 0) {
                (void)crew__close(server.socket);
                (void)crew__close(server.pidfd);
                server = CREW__NO_SERVER;
        }
}

void crew__forkserver_reset(void)
{
        lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        if (server.pidfd >= 0)
                server = CREW__NO_SERVER;
}
