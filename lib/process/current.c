/* SPDX-License-Identifier: MIT */

/* Who this process is, and who started it. */

#include "base/cleanup.h"
#include "kernel/syscall.h"
#include "process/process.h"
#include "process/registry.h"

#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t known_for; /* the generation that `self` describes */
static crew_process self = { .pidfd = -1 };
static crew_process parent = { .pidfd = -1 };
static _Atomic unsigned made; /* how many handles */

static char main_name[] = "MainProcess";
static char main_identity[] = "";

void crew__current_reset(void)
{
        /* `self` stays as it is: crew__current_become makes the parent of it. Its pidfd is not
         * closed here: a host that closed everything after its own fork may have reused the
         * number. */
        lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        atomic_store(&made, 0);
        atomic_store(&known_for, 0);
}

void crew__current_forget(void)
{
        self.pidfd = -1;
}

static void describe(crew_process *p, enum crew__process_role role, pid_t pid, int pidfd)
{
        p->role = role;
        p->generation = crew__generation();
        p->pid = pid;
        p->pidfd = pidfd;
        p->page = NULL;
        p->ending = (crew__ending){ .known = false };
        p->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        atomic_store(&p->state, CREW__STARTED);
}

/* A main program, or a child that the host forked itself, which is one of its own. */
static void become_main(void)
{
        describe(&self, CREW__SELF, crew__sys_getpid(), -1);
        self.name = main_name;
        self.identity = main_identity;
        self.flags = 0;
}

void crew__current_become(crew_process *p, pid_t parent_pid)
{
        /* The names live in the child's copy of its handle, and that is never freed: it was
         * registered before the fork, and the reference of the inherited registry stays. */
        parent.name = self.name;
        parent.identity = self.identity;
        parent.flags = self.flags;
        describe(&parent, CREW__PARENT, parent_pid, self.pidfd);
        self.name = p->name;
        self.identity = p->identity;
        self.flags = p->flags;
        describe(&self, CREW__SELF, crew__sys_getpid(), -1);
        atomic_store(&known_for, self.generation);
}

void crew__current_pose(const char *name, const char *identity, uint64_t flags, int pidfd)
{
        self.name = name;
        self.identity = identity;
        self.flags = flags;
        self.pidfd = pidfd;
}

crew_process *crew_current_process(void)
{
        crew__registry_prepare();
        if (atomic_load(&known_for) == crew__generation())
                return &self;
        (void)pthread_mutex_lock(&lock);
        if (atomic_load(&known_for) != crew__generation()) {
                become_main();
                atomic_store(&known_for, crew__generation());
        }
        (void)pthread_mutex_unlock(&lock);
        return &self;
}

crew_process *crew_parent_process(void)
{
        return parent.generation == crew__generation() ? &parent : NULL;
}

int crew__self_pidfd(void)
{
        int fd;

        (void)crew_current_process();
        (void)pthread_mutex_lock(&lock);
        if (self.pidfd < 0) {
                fd = crew__above_stdio(crew__sys_pidfd_open(self.pid, 0));
                if (fd < 0)
                        fd = crew__fail(-fd, "pidfd of this process: %s", strerror(-fd));
                else
                        self.pidfd = fd;
        } else {
                fd = self.pidfd;
        }
        (void)pthread_mutex_unlock(&lock);
        return fd;
}

unsigned crew__current_next_number(void)
{
        (void)crew_current_process();
        return atomic_fetch_add(&made, 1) + 1;
}
