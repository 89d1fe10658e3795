/* SPDX-License-Identifier: MIT */
#include "process/guardian.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "kernel/features.h"
#include "kernel/syscall.h"
#include "process/registry.h"
#include "process/server.h"

/* How long the exit hook tries for a lock that an interrupted thread may hold. */
#define PATIENCE CREW_MS(100)

/* A guardian that does not answer within this is stopped or broken. */
#define ANSWER CREW_S(1)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static crew__server server = { .pidfd = -1, .socket = -1 };

/* In the guardian. */

static int guard(crew__serving *s, const void *request, size_t size, int *fds, int *with)
{
        int row;

        (void)request;
        (void)size;
        (void)with;
        if (fds[0] < 0)
                return -EBADF;
        row = crew__serving_watch(s, fds[0]);
        fds[0] = -1;
        return row < 0 ? row : 0;
}

static void avenge(crew__serving *s)
{
        crew__serving_signal(s, SIGKILL);
}

static const crew__service service = {
        .name = "crew-guardian",
        .request = guard,
        .bereaved = avenge,
};

/* In the application. */

static int hand_over(const crew_process *p)
{
        static const char please = 'g';

        return crew__server_ask(&server, &please, sizeof please, &p->pidfd, 1, NULL, ANSWER);
}

static int hand_over_again(crew_process *p, void *unused)
{
        (void)unused;
        return p->guarded ? hand_over(p) : 0;
}

/* A new guardian, after the first one was killed also for those it had. */
static int begin(void)
{
        int r;

        (void)crew__has(CREW__CLOSE_RANGE); /* the guardian itself cannot find out */
        r = crew__server_start(&server, &service);
        if (r < 0)
                return r;
        return crew__registry_each(hand_over_again, NULL);
}

static int add(crew_process *p)
{
        int r = 0;

        for (int attempt = 0; attempt < 2; attempt++) {
                if (server.pidfd < 0) {
                        r = begin();
                        if (server.pidfd < 0)
                                return r;
                }
                if (r == 0)
                        r = hand_over(p);
                if (r == 0)
                        return 0;
                /* Dead, stopped or out of descriptors: a new one is none of these, or it is no use
                 * to try further. */
                (void)crew__sys_pidfd_send_signal(server.pidfd, SIGKILL);
                crew__server_end(&server);
        }
        return crew__fail(-r, "process %s: its guardian process does not work: %s", p->name,
                crew_error_name(r));
}

int crew__guardian_add(crew_process *p)
{
        int r;

        (void)pthread_mutex_lock(&lock);
        r = add(p);
        p->guarded = r == 0;
        (void)pthread_mutex_unlock(&lock);
        return r;
}

bool crew__guardian_runs(void)
{
        return server.pidfd >= 0;
}

void crew__guardian_end(void)
{
        struct timespec nap = crew__timespec(CREW_MS(1));
        int64_t until = crew_clock() + PATIENCE;

        while (pthread_mutex_trylock(&lock) != 0) {
                if (crew_clock() >= until)
                        return;
                (void)nanosleep(&nap, NULL);
        }
        crew__server_end(&server);
        (void)pthread_mutex_unlock(&lock);
}

void crew__guardian_forget(void)
{
        if (server.socket >= 0 || server.pidfd >= 0) {
                (void)crew__close(server.socket);
                (void)crew__close(server.pidfd);
                server = CREW__NO_SERVER;
        }
}

void crew__guardian_reset(void)
{
        lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        if (server.pidfd >= 0)
                server = CREW__NO_SERVER;
}
