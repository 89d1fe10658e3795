/* SPDX-License-Identifier: MIT */

/* What is known of a child that shares memory or descriptors until its exec. */

#include "facts.h"
#include "kernel/vmclone.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>

static _Alignas(16) char stack[64 * 1024];
static _Atomic uint32_t alive, apart;
static int listener;

static pid_t start(bool files, int *pidfd, void (*run)(void *))
{
        const struct crew__vm_child c = { .stack = stack,
                .stack_size = sizeof stack,
                .pidfd = pidfd,
                .alive = &alive,
                .files = files,
                .cgroup = -1 };
        int pid;

        if (peer_on_valgrind())
                SKIP("valgrind knows no child that shares memory");
        if (CREW__VM_WAITS)
                SKIP("with this sanitizer a parent waits for its child");
        atomic_store(&alive, 1);
        pid = crew__sys_vm_child(&c, true, run, NULL);
        if (pid == -ENOSYS || pid == -EPERM)
                pid = crew__sys_vm_child(&c, false, run, NULL);
        REQUIRE(pid > 0);
        return pid;
}

static void become_sleep(void *unused)
{
        static const char *const argv[] = { "sleep", "60", NULL };
        static const char *const env[] = { NULL };

        (void)unused;
        (void)crew__syscall(SYS_execve, (long)"/bin/sleep", (long)argv, (long)env, 0, 0, 0);
        crew__sys_exit(127);
}

static void end_at_once(void *unused)
{
        (void)unused;
        crew__sys_exit(0);
}

static bool await_word(_Atomic uint32_t *word, uint32_t now)
{
        return crew__sys_futex_wait(word, now, peer_now() + test_slow(FACT_SOON)) != -ETIMEDOUT;
}

TEST(cleared, "fact 29: the kernel clears a word when a child that shares memory execs or ends",
        "[live][facts]")
{
        int pidfd = -1, status;
        pid_t pid = start(false, &pidfd, become_sleep);

        while (atomic_load(&alive))
                REQUIRE(await_word(&alive, 1));
        /* It lives: that was the exec. */
        CHECK(!fact_readable(pidfd, 0));
        REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, __WALL) == pid);
        (void)close(pidfd);
        pid = start(false, &pidfd, end_at_once);
        while (atomic_load(&alive))
                REQUIRE(await_word(&alive, 1));
        REQUIRE(waitpid(pid, &status, __WALL) == pid);
        (void)close(pidfd);
}

/* Loads a filter with a listener, leaves the common table, and waits to be killed. */
static void listen_apart(void *unused)
{
        static struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
        static const struct sock_fprog program = { .len = 1, .filter = allow };

        (void)unused;
        (void)crew__sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0);
        listener = (int)crew__syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_NEW_LISTENER, (long)&program, 0, 0, 0);
        if (crew__sys_close_range(~0U, ~0U, CLOSE_RANGE_UNSHARE) < 0)
                listener = -ENOSYS;
        /* What it closes now is its own. */
        (void)crew__sys_close_range(3, ~0U, 0);
        atomic_store(&apart, 1);
        (void)crew__sys_futex_wake(&apart, 1);
        for (;;)
                (void)crew__syscall(SYS_ppoll, 0, 0, 0, 0, 0, 0);
}

TEST(taken, "fact 30: a listener made in a common table stays there when its maker leaves",
        "[live][facts]")
{
        int pidfd = -1, other = open("/dev/null", O_RDONLY | O_CLOEXEC), status;
        pid_t pid = start(true, &pidfd, listen_apart);

        while (!atomic_load(&apart))
                REQUIRE(await_word(&apart, 0));
        if (listener < 0) {
                (void)kill(pid, SIGKILL);
                (void)waitpid(pid, &status, __WALL);
                SKIP("no listener: %s", strerror(-listener));
        }
        CHECK(fcntl(listener, F_GETFD) == FD_CLOEXEC);
        CHECK(fcntl(other, F_GETFD) == FD_CLOEXEC);
        REQUIRE(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, __WALL) == pid);
        /* Nobody is left under the filter. */
        {
                struct pollfd p = { .fd = listener, .events = POLLIN };

                REQUIRE(poll(&p, 1, (int)(test_slow(FACT_SOON) / PEER_MS(1))) == 1);
                CHECK(p.revents & POLLHUP);
        }
        (void)close(listener);
        (void)close(other);
        (void)close(pidfd);
}
