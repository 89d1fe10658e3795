/* SPDX-License-Identifier: MIT */

/*
 * Inside the fork server: makes children out of parcels and notes how they end. A fresh image of
 * the program that stays in crew_spawn_main(), so the C library is at hand, and nothing of the
 * application.
 */

#include "base/cleanup.h"
#include "kernel/features.h"
#include "kernel/syscall.h"
#include "process/clone.h"
#include "process/forkserver.h"
#include "process/post.h"
#include "process/server.h"
#include "process/spawn.h"
#include "status/page.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

/* By the row that watches it. */
typedef struct hatched {
        pid_t pid;
        crew__child_page *page;
} hatched;

static struct {
        hatched *child;
        unsigned rows;
        crew__hatchery hatchery;
} server;

static int make_room(unsigned row)
{
        unsigned rows = server.rows ? 2 * server.rows : 64;
        hatched *grown;

        if (row < server.rows)
                return 0;
        while (rows <= row)
                rows *= 2;
        grown = realloc(server.child, rows * sizeof *grown);
        if (!grown)
                return -ENOMEM;
        memset(grown + server.rows, 0, (rows - server.rows) * sizeof *grown);
        server.child = grown;
        server.rows = rows;
        return 0;
}

/* Not for its siblings: each child maps its own. */
static crew__child_page *map_page(int fd)
{
        size_t size = crew__page_round(sizeof(crew__child_page));
        void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (at == MAP_FAILED)
                return NULL;
        (void)madvise(at, size, MADV_DONTFORK);
        return at;
}

static void unmap_page(crew__child_page *page)
{
        (void)munmap(page, crew__page_round(sizeof *page));
}

static int fork_child(crew__delivery *d, crew_target_fn *target, int *pidfd)
{
        bool alone = crew__alone();
        int pid = CREW__USE_FORK;

        if (alone && crew__has(CREW__CLONE3))
                pid = crew__clone_raw(pidfd, -1);
        if (pid == CREW__USE_FORK) {
                pid = fork();
                if (pid < 0)
                        return -errno;
                if (pid > 0) {
                        *pidfd = crew__sys_pidfd_open(pid, 0);
                        if (*pidfd < 0) {
                                crew__clone_abandon(pid);
                                return *pidfd;
                        }
                }
        }
        if (pid == 0)
                crew__fresh_main(d, target, &server.hatchery);
        return pid;
}

/* Forks, and remembers whose page it is. */
static int hatch(crew__serving *s, crew__delivery *d, crew_target_fn *target, int *with)
{
        crew__child_page *page = map_page(d->fd[CREW__PARCEL_PAGE]);
        int pidfd = -1, pid, row, r;

        if (!page)
                return -errno;
        pid = fork_child(d, target, &pidfd);
        if (pid < 0) {
                unmap_page(page);
                return pid;
        }
        /* Like a fork's, and from the start: in the application's group or in one of its own. */
        if (!(d->parcel->flags & CREW_PROCESS_SESSION))
                (void)setpgid(pid, d->parcel->flags & CREW_PROCESS_GROUP ? 0 : d->parcel->group);
        row = crew__serving_watch(s, pidfd);
        r = row < 0 ? row : make_room((unsigned)row);
        if (r < 0) {
                /* Its row, if it has one, is free once its end has been seen. */
                if (row < 0)
                        crew__clone_abandon(pid);
                else
                        (void)kill(pid, SIGKILL);
                unmap_page(page);
                return r;
        }
        server.child[row] = (hatched){ .pid = pid, .page = page };
        *with = pidfd;
        return pid;
}

static int request(crew__serving *s, const void *request, size_t size, int *fds, int *with)
{
        const char *what = request;
        crew__function *target;
        crew__delivery d;
        size_t n = 0;
        int r;

        if (size != 1 || (*what != CREW__HATCH_START && *what != CREW__HATCH_QUIT))
                return -EINVAL;
        if (*what == CREW__HATCH_QUIT)
                crew__sys_exit(0);
        while (n < CREW__POST_MOST && fds[n] >= 0)
                n++;
        r = crew__parcel_open(&d, fds[0], 0, fds, n);
        if (r < 0)
                return r;
        r = crew__site_find(&d.parcel->target, &target);
        if (r == 0)
                r = hatch(s, &d, (crew_target_fn *)target, with);
        /* The descriptors are closed by who received them. */
        crew__parcel_close(&d);
        return r;
}

/* Whoever joins it has seen its pidfd, and waits for the note. */
static void ended(crew__serving *s, unsigned row)
{
        crew__ending ending;
        hatched *c;

        if (crew__pidfd_collect(crew__serving_pidfd(s, row), &ending) != 1)
                ending = (crew__ending){ .known = false };
        c = row < server.rows ? &server.child[row] : NULL;
        /* There was no room for it. */
        if (!c || !c->page)
                return;
        crew__page_write_obituary(c->page, &ending);
        unmap_page(c->page);
        *c = (hatched){ .page = NULL };
}

static const crew__service service = {
        .name = "crew-forkserver",
        .request = request,
        .ended = ended,
};

/* What children would otherwise find out, each anew. */
static void learn(void)
{
        static const enum crew__feature features[] = { CREW__CLONE3, CREW__CLOSE_RANGE,
                CREW__NOEXEC_SEAL, CREW__ROBUST_LIST, CREW__PIDFD_INFO };

        for (size_t i = 0; i < sizeof features / sizeof *features; i++)
                (void)crew__has(features[i]);
}

void crew__hatch_main(crew__delivery *d)
{
        static const uint64_t all = UINT64_MAX;
        struct rlimit most;

        (void)crew__sys_sigmask(SIG_SETMASK, &all, NULL);
        /* Ignored, it would make the kernel throw away how children end. */
        (void)signal(SIGCHLD, SIG_DFL);
        (void)crew__sys_prctl(PR_SET_NAME, (unsigned long)service.name, 0);
        /* What is typed at the terminal, or sent to the application's group, is not for us: we come
         * after. The same session, so that children can join the application's group. */
        (void)setpgid(0, 0);
        if (crew__parcel_settle(d) < 0)
                crew__sys_exit(1);
        server.hatchery.pid = crew__sys_getpid();
        if (getrlimit(RLIMIT_NOFILE, &server.hatchery.files) == 0) {
                most.rlim_cur = most.rlim_max = server.hatchery.files.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &most);
        }
        learn();
        crew__serving_run(&service, d->fd[CREW__PARCEL_PAGE], d->fd[CREW__PARCEL_APPLICATION]);
}
