/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "kernel/missing.h"
#include "kernel/segment.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING ((size_t)1 << 20)

static crew__segment *make(size_t head, size_t ring, unsigned events)
{
        crew__segment *s = NULL;

        REQUIRE_OK(crew__segment_new(&s, "test", "name", head, ring, events));
        return s;
}

TEST(sizes, "sizes are whole pages and the memory is zero", "[unit][segment]")
{
        crew__segment *s = make(1, RING, 0);
        size_t page = crew__page_size();
        struct stat st;

        CHECK_INT(s->head, ==, page);
        CHECK_INT(s->ring, ==, RING);
        REQUIRE(fstat(s->fd, &st) == 0);
        CHECK_INT(st.st_size, ==, page + RING);
        for (size_t i = 0; i < s->head + 2 * s->ring; i += 512)
                REQUIRE(((char *)s->address)[i] == 0);
        CHECK_INT(s->events[0], ==, -1);
        CHECK_INT(s->events[1], ==, -1);
        CHECK(crew__segment_unref(s) == NULL);
        CHECK(crew__segment_unref(NULL) == NULL);
        CHECK_INT(crew__page_round(0), ==, 0);
        CHECK_INT(crew__page_round(page), ==, page);
        CHECK_INT(crew__page_round(page + 1), ==, 2 * page);
}

TEST(no_ring, "a segment may have no ring", "[unit][segment]")
{
        crew__segment *s = make(100, 0, 1);

        CHECK_INT(s->ring, ==, 0);
        memset(s->address, 1, s->head);
        CHECK(s->events[0] >= 0);
        CHECK_INT(s->events[1], ==, -1);
        (void)crew__segment_unref(s);
}

TEST(sealed, "nobody changes its size", "[unit][segment]")
{
        crew__segment *s = make(4096, RING, 0);
        off_t size = (off_t)(s->head + s->ring);
        struct stat st;

        errno = 0;
        CHECK_INT(ftruncate(s->fd, 0), ==, -1);
        CHECK_INT(errno, ==, EPERM);
        CHECK_INT(ftruncate(s->fd, size - 4096), ==, -1);
        CHECK_INT(ftruncate(s->fd, size + 4096), ==, -1);
        CHECK_INT(errno, ==, EPERM);
        CHECK_INT(fallocate(s->fd, 0, size, 4096), ==, -1);
        CHECK_INT(pwrite(s->fd, "x", 1, size), ==, -1);
        CHECK_INT(fcntl(s->fd, F_ADD_SEALS, F_SEAL_WRITE), ==, -1);
        CHECK_INT(fcntl(s->fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), ==,
                F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        REQUIRE(fstat(s->fd, &st) == 0);
        CHECK_INT(st.st_size, ==, size);
        memset(s->address, 1, (size_t)size);
        (void)crew__segment_unref(s);
}

TEST(twice, "the ring is mapped twice in a row", "[unit][segment]")
{
        crew__segment *s = make(10, RING, 0);
        const char text[] = "across the end";
        /* The compiler believes that the two are different memory. */
        volatile char *ring = (char *)s->address + s->head;

        for (size_t i = 0; i < sizeof text; i++)
                ring[RING - 7 + i] = text[i];
        for (size_t i = 0; i < sizeof text - 7; i++)
                CHECK_INT(ring[i], ==, text[7 + i]);
        for (size_t i = 0; i < 7; i++)
                CHECK_INT(ring[2 * RING - 7 + i], ==, text[i]);
        for (size_t i = 0; i < RING; i += 4096) {
                ring[i] = (char)i;
                REQUIRE(ring[i + RING] == (char)i);
                ring[i + RING] = 99;
                REQUIRE(ring[i] == 99);
        }
        /* The head is not part of it. */
        CHECK_INT(((char *)s->address)[0], ==, 0);
        (void)crew__segment_unref(s);
}

TEST(names, "an inspector reads kind and name, and exec closes all of it", "[unit][segment]")
{
        crew__segment *s = make(10, 0, 2);
        char path[64], target[128] = "";

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", s->fd);
        CHECK(readlink(path, target, sizeof target - 1) > 0);
        CHECK(strstr(target, "crew:test:name") != NULL);
        CHECK(fcntl(s->fd, F_GETFD) & FD_CLOEXEC);
        CHECK(fcntl(s->events[0], F_GETFD) & FD_CLOEXEC);
        CHECK(fcntl(s->events[1], F_GETFD) & FD_CLOEXEC);
        CHECK(fcntl(s->events[0], F_GETFL) & O_NONBLOCK);
        (void)crew__segment_unref(s);
}

TEST(found, "a ref finds the segment until its last reference goes", "[unit][segment]")
{
        crew__segment *s = make(10, 0, 0), *again = NULL, *untouched = s;
        crew_ref ref = s->ref, wrong = ref;

        REQUIRE_OK(crew__segment_find(&again, ref));
        CHECK(again == s);
        (void)crew__segment_unref(s);
        again = NULL;
        REQUIRE_OK(crew__segment_find(&again, ref));
        (void)crew__segment_unref(again);
        (void)crew__segment_unref(again);
        CHECK_INT(crew__segment_find(&untouched, ref), ==, -ENOENT);
        CHECK(untouched == s);
        wrong.word[1] ^= 1;
        CHECK_INT(crew__segment_find(&untouched, wrong), ==, -ENOENT);
        CHECK_INT(crew__segment_find(&untouched, (crew_ref){{0, 0}}), ==, -ENOENT);
        CHECK(*crew_error_detail() != 0);
}

static int count(crew__segment *segment, void *data)
{
        (void)segment;
        return ++*(int *)data == 3;
}

TEST(listed, "the registry lists them all, in any order of going", "[unit][segment]")
{
        crew__segment *s[5];
        int n = 0;

        for (int i = 0; i < 5; i++)
                s[i] = make(10, 0, 0);
        /* Stops where the visitor says so. */
        CHECK_INT(crew__segment_each(count, &n), ==, 1);
        CHECK_INT(n, ==, 3);
        (void)crew__segment_unref(s[2]);
        (void)crew__segment_unref(s[4]);
        (void)crew__segment_unref(s[0]);
        n = 10;
        CHECK_INT(crew__segment_each(count, &n), ==, 0);
        CHECK_INT(n, ==, 12);
        (void)crew__segment_unref(s[1]);
        (void)crew__segment_unref(s[3]);
        n = 10;
        CHECK_INT(crew__segment_each(count, &n), ==, 0);
        CHECK_INT(n, ==, 10);
}

static void use_inherited(void *arg)
{
        crew__segment *s;

        REQUIRE_OK(crew__segment_find(&s, *(crew_ref *)arg));
        CHECK_STR((char *)s->address, "from the parent");
        memcpy(s->address, "from the child", 15);
        (void)crew__segment_unref(s);
        /* The inherited reference is this process's to drop. */
        (void)crew__segment_unref(s);
        CHECK_INT(crew__segment_find(&s, *(crew_ref *)arg), ==, -ENOENT);
}

TEST(inherited, "a forked child finds it, and its going is its own", "[unit][segment]")
{
        crew__segment *s = make(10, RING, 2), *again;
        crew_ref ref = s->ref;

        memcpy(s->address, "from the parent", 16);
        CHECK_INT(peer_join(peer_start(use_inherited, &ref)), ==, 0);
        CHECK_STR((char *)s->address, "from the child");
        REQUIRE_OK(crew__segment_find(&again, ref));
        (void)crew__segment_unref(again);
        (void)crew__segment_unref(s);
}

static _Atomic bool churning = true;

static void *churn(void *arg)
{
        (void)arg;
        while (atomic_load(&churning))
                (void)crew__segment_unref(make(10, 0, 0));
        return NULL;
}

static void make_one(void *arg)
{
        (void)arg;
        (void)crew__segment_unref(make(10, 4096, 2));
}

TEST(forked_midway, "a fork in the middle of another thread's change is harmless",
        "[unit][segment]")
{
        pthread_t thread[2];

        if (peer_on_valgrind())
                SKIP("valgrind misses the threads' memory in the children");
        for (int i = 0; i < 2; i++)
                REQUIRE(pthread_create(&thread[i], NULL, churn, NULL) == 0);
        for (long long i = 0; i < test_scale(2000, 20); i++)
                REQUIRE(peer_join(peer_start(make_one, NULL)) == 0);
        atomic_store(&churning, false);
        for (int i = 0; i < 2; i++)
                (void)pthread_join(thread[i], NULL);
}

TEST(file_limit, "a size limit on files is an error and no signal", "[unit][segment]")
{
        struct rlimit limit, low;
        crew__segment *s = NULL;

        REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
        low = (struct rlimit){.rlim_cur = RING, .rlim_max = limit.rlim_max};
        REQUIRE(setrlimit(RLIMIT_FSIZE, &low) == 0);
        CHECK_INT(crew__segment_new(&s, "test", NULL, 10, RING, 2), ==, -EFBIG);
        CHECK(s == NULL);
        CHECK(strstr(crew_error_detail(), "RLIMIT_FSIZE") != NULL);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
}

TEST(descriptor_limit, "a segment that gets only some descriptors leaves none", "[unit][segment]")
{
        struct rlimit limit, low;
        crew__segment *s = NULL;
        int first;

        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        /* What the library keeps open is open before counting. */
        (void)crew__segment_unref(make(10, 0, 0));
        first = dup(0);
        REQUIRE(first >= 0);
        (void)close(first);
        for (int more = 0; more <= 3; more++) {
                low = (struct rlimit){
                        .rlim_cur = (rlim_t)(first + more), .rlim_max = limit.rlim_max};
                REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
                CHECK_INT(crew__segment_new(&s, "test", NULL, 10, RING, 2), ==,
                        more < 3 ? -EMFILE : 0);
                if (more < 3)
                        CHECK(strstr(crew_error_detail(), "RLIMIT_NOFILE") != NULL);
        }
        s = crew__segment_unref(s);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(memory_limit, "a segment that does not fit the address space leaves nothing",
        "[unit][segment]")
{
        crew__segment *s = NULL;

        CHECK_INT(crew__segment_new(&s, "test", NULL, 10, (size_t)1 << 60, 2), <, 0);
        CHECK_INT(crew__segment_new(&s, "test", NULL, 10, (size_t)1 << 46, 2), <, 0);
        CHECK(s == NULL);
        CHECK(*crew_error_detail() != 0);
}
