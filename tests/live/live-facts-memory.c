/* SPDX-License-Identifier: MIT */
#include "facts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Who may write, shrink, inherit and open shared memory. Numbers as in docs/KERNEL.md. */

#define SHARED_WRITABLE MAP_SHARED, PROT_READ | PROT_WRITE

static size_t page;

__attribute__((constructor)) static void know_page(void)
{
        page = (size_t)sysconf(_SC_PAGESIZE);
}

static int two_pages(int seals)
{
        int fd = memfd_create("facts", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        REQUIRE(fd >= 0);
        REQUIRE(ftruncate(fd, (off_t)(2 * page)) == 0);
        REQUIRE(fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}

/* 0, or the negative errno of an attempt to map both pages. */
static int try_map(int fd, int sharing, int rights)
{
        void *at = mmap(NULL, 2 * page, rights, sharing, fd, 0);

        if (at == MAP_FAILED)
                return -errno;
        (void)munmap(at, 2 * page);
        return 0;
}

static volatile char *map(int fd, int sharing, int rights)
{
        void *at = mmap(NULL, 2 * page, rights, sharing, fd, 0);

        REQUIRE(at != MAP_FAILED);
        return at;
}

static void unmap(volatile char *at)
{
        REQUIRE(munmap((void *)(uintptr_t)at, 2 * page) == 0);
}

static int outcome(int r)
{
        return r < 0 ? -errno : r;
}

TEST(sizes, "fact 25: the size of a sealed memfd cannot change", "[live][facts]")
{
        int fd = two_pages(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        struct stat about;

        CHECK_INT(outcome(ftruncate(fd, 0)), ==, -EPERM);
        CHECK_INT(outcome(ftruncate(fd, (off_t)page)), ==, -EPERM);
        CHECK_INT(outcome(ftruncate(fd, (off_t)(3 * page))), ==, -EPERM);
        CHECK_INT(outcome(fallocate(fd, 0, 0, (off_t)(3 * page))), ==, -EPERM);
        CHECK_INT(outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)), ==, -EPERM);
        CHECK_INT(fstat(fd, &about), ==, 0);
        CHECK_INT(about.st_size, ==, 2 * page);
        close(fd);
}

TEST(holes, "fact 25: a hole punched by a peer reads as zeros and is no SIGBUS", "[live][facts]")
{
        const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        int fd = two_pages(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), guarded;
        volatile char *at = map(fd, SHARED_WRITABLE);

        at[0] = at[page] = 1;
        CHECK_INT(outcome(fallocate(fd, punch, 0, (off_t)page)), ==, 0);
        CHECK_INT(at[0], ==, 0);
        CHECK_INT(at[page], ==, 1);
        at[0] = 2;
        CHECK_INT(at[0], ==, 2);
        unmap(at);
        close(fd);
        guarded = two_pages(F_SEAL_FUTURE_WRITE);
        CHECK_INT(outcome(fallocate(guarded, punch, 0, (off_t)page)), ==, -EPERM);
        close(guarded);
}

TEST(no_new_writer, "fact 26: F_SEAL_FUTURE_WRITE refuses new writers and lets readers in",
        "[live][facts]")
{
        int fd = two_pages(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
        volatile char *reader;

        CHECK_INT(try_map(fd, SHARED_WRITABLE), ==, -EPERM);
        CHECK_INT(outcome((int)write(fd, "x", 1)), ==, -EPERM);
        CHECK_INT(try_map(fd, MAP_PRIVATE, PROT_READ | PROT_WRITE), ==, 0);
        reader = map(fd, MAP_SHARED, PROT_READ);
        CHECK_INT(outcome(mprotect((void *)(uintptr_t)reader, page, PROT_READ | PROT_WRITE)), ==,
                -EACCES);
        unmap(reader);
        close(fd);
}

static void write_there(void *arg)
{
        volatile char *at = arg;

        at[0] = 7;
}

TEST(old_writer, "fact 26: what was writable before stays so, in forked children too",
        "[live][facts]")
{
        int fd = two_pages(F_SEAL_SHRINK | F_SEAL_GROW);
        volatile char *at = map(fd, SHARED_WRITABLE), *reader;

        REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
        at[0] = 1;
        reader = map(fd, MAP_SHARED, PROT_READ);
        CHECK_INT(peer_join(peer_start(write_there, (void *)(uintptr_t)at)), ==, 0);
        CHECK_INT(reader[0], ==, 7);
        unmap(reader);
        unmap(at);
        close(fd);
}

/* Exits with 0 when the pages are mapped here. */
static void look_there(void *arg)
{
        unsigned char present[2];

        if (mincore(arg, 2 * page, present) < 0)
                _exit(errno);
}

TEST(not_inherited, "fact 27: MADV_DONTFORK keeps a mapping from children", "[live][facts]")
{
        int fd = two_pages(F_SEAL_SHRINK | F_SEAL_GROW);
        volatile char *at = map(fd, SHARED_WRITABLE);
        void *there = (void *)(uintptr_t)at;
        int pidfd;

        at[0] = 1;
        CHECK_INT(peer_join(peer_start(look_there, there)), ==, 0);
        CHECK_INT(outcome(madvise(there, 2 * page, MADV_DONTFORK)), ==, 0);
        CHECK_INT(peer_join(peer_start(look_there, there)), ==, ENOMEM);
        if (fact_clone(0, 0, &pidfd) == 0) {
                look_there(there);
                _exit(0);
        }
        CHECK_INT(fact_reap(pidfd, __WALL), ==, ENOMEM);
        close(pidfd);
        CHECK_INT(at[0], ==, 1);
        unmap(at);
        close(fd);
}

static void exit_with(void *arg)
{
        _exit(*(volatile char *)arg);
}

TEST(wiped, "fact 27: MADV_WIPEONFORK gives children zeros, of private memory only",
        "[live][facts]")
{
        volatile char *mine = map(-1, MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE);
        void *there = (void *)(uintptr_t)mine, *shared = peer_memory(page);
        int pidfd;

        mine[0] = 7;
        CHECK_INT(peer_join(peer_start(exit_with, there)), ==, 7);
        CHECK_INT(outcome(madvise(there, 2 * page, MADV_WIPEONFORK)), ==, 0);
        CHECK_INT(peer_join(peer_start(exit_with, there)), ==, 0);
        if (fact_clone(0, 0, &pidfd) == 0)
                exit_with(there);
        CHECK_INT(fact_reap(pidfd, __WALL), ==, 0);
        close(pidfd);
        CHECK_INT(mine[0], ==, 7);
        CHECK_INT(outcome(madvise(shared, page, MADV_WIPEONFORK)), ==, -EINVAL);
        unmap(mine);
        peer_memory_free(shared, page);
}

struct reopened {
        pid_t pid;
        int fd;
};

static void reopen(void *arg)
{
        const struct reopened *r = arg;
        char path[64];
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)r->pid, r->fd);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                _exit(errno);
        _exit(try_map(fd, SHARED_WRITABLE) == 0 ? 0 : 1);
}

TEST(reopened, "fact 28: processes of one user open each other's memfd for writing",
        "[live][facts]")
{
        struct reopened r = { .pid = getpid(), .fd = two_pages(F_SEAL_SHRINK | F_SEAL_GROW) };

        CHECK_INT(outcome(fchmod(r.fd, 0600)), ==, 0);
        if (prctl(PR_GET_DUMPABLE) != 1)
                SKIP("this program is not readable, so /proc hides its descriptors");
        CHECK_INT(peer_join(peer_start(reopen, &r)), ==, 0);
        close(r.fd);
}

TEST(never_code, "fact 25: MFD_NOEXEC_SEAL keeps memory from ever being executable",
        "[live][facts]")
{
        int fd = memfd_create("facts", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

        if (fd < 0)
                SKIP("no MFD_NOEXEC_SEAL (Linux 6.3): %s", strerror(errno));
        /* It also makes the file one that takes further seals. */
        CHECK_INT(fcntl(fd, F_GET_SEALS), ==, F_SEAL_EXEC);
        CHECK_INT(outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)), ==, 0);
        CHECK_INT(outcome(fchmod(fd, 0700)), ==, -EPERM);
        CHECK_INT(outcome(fchmod(fd, 0600)), ==, 0);
        close(fd);
}
