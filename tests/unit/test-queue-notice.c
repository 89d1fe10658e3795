/* SPDX-License-Identifier: MIT */

/* What is called like the notice of a published queue, or points to one, and is none. */

#include "publish-case.h"

#include "kernel/namespace.h"
#include "queue/notice.h"
#include "queue/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

/*
 * What somebody else may call like a notice, or point to from one. None of it can be connected to,
 * and none hides or doubles a true one.
 */
static int notice_of(struct stage *s, const void *bytes, size_t size, int seals)
{
        char label[100];
        int fd;

        (void)snprintf(label, sizeof label, "crew:published:%s", s->name);
        fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        REQUIRE(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
        REQUIRE(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static crew__notice notice_for(struct stage *s, int fd)
{
        crew__notice n;
        struct stat st;

        memset(&n, 0, sizeof n);
        REQUIRE(fd < 0 || fstat(fd, &st) == 0);
        n.magic = CREW__NOTICE_MAGIC;
        n.version = CREW__RING_VERSION;
        n.pid = (uint32_t)getpid();
        n.pid_namespace = crew__pid_namespace();
        n.ref.word[0] = 7;
        n.inode = fd < 0 ? 0 : st.st_ino;
        n.fd = fd;
        memcpy(n.name, s->name, sizeof n.name);
        return n;
}

static int false_notices(struct stage *s)
{
        crew__notice n = notice_for(s, -1), other = n;
        char garbage[sizeof n], large[8192] = { 0 };

        memset(garbage, 0xa5, sizeof garbage);
        (void)notice_of(s, "", 0, ALL_SEALS);
        (void)notice_of(s, &n, sizeof n - 1, ALL_SEALS);
        (void)notice_of(s, large, sizeof large, ALL_SEALS);
        (void)notice_of(s, garbage, sizeof garbage, ALL_SEALS);
        (void)notice_of(s, &n, sizeof n, 0);
        (void)notice_of(s, &n, sizeof n, ALL_SEALS & ~F_SEAL_WRITE);
        memset(other.name, 'x', sizeof other.name);
        (void)notice_of(s, &other, sizeof other, ALL_SEALS);
        other = n;
        other.pid = 1;
        (void)notice_of(s, &other, sizeof other, ALL_SEALS);
        other = n;
        other.version = 999;
        (void)notice_of(s, &other, sizeof other, ALL_SEALS);
        return 0;
}

TEST(false_notices_case, "memfds that are only called like a notice are not heeded",
        "[unit][queue][publish][hostile]")
{
        struct stage *s = stage();
        crew_queue *q = NULL;
        crew_auto(queue) mine = NULL;
        pid_t pid;

        s->instead = false_notices;
        pid = start(s, 0);
        CHECK_INT(crew_queue_connect(&q, s->name), ==, -ENOENT);
        REQUIRE_OK(crew_queue_new(&mine, 8, NULL));
        REQUIRE_OK(crew_queue_publish(mine, s->name));
        REQUIRE_OK(crew_queue_connect(&q, s->name));
        CHECK(q->segment == mine->segment);
        q = crew_queue_free(q);
        atomic_store(&s->go, 1);
        CHECK_INT(peer_join(pid), ==, 0);
        unstage(s);
}

/* A true notice of something that is no queue; which one. */
static int kind_of_lie;

static int lie(void)
{
        crew__ring ring = { .magic = CREW__RING_MAGIC,
                .version = CREW__RING_VERSION,
                .ring_bytes = crew__page_size(),
                .pid_namespace = crew__pid_namespace() };
        size_t size = 4 * crew__page_size();
        int seals = F_SEAL_SHRINK | F_SEAL_GROW, through[2], fd;

        switch (kind_of_lie) {
        case 0:
                REQUIRE(pipe(through) == 0);
                return through[0];
        case 1:
                return open("/dev/null", O_RDWR);
        case 2:
                return open("/proc/self/exe", O_RDONLY);
        case 3:
                seals = F_SEAL_GROW;
                break;
        case 4:
                ring.ring_bytes = UINT64_C(1) << 63;
                break;
        case 5:
                ring.ring_bytes = 8;
                break;
        case 6:
                ring.ring_bytes = 3 * crew__page_size();
                break;
        case 7:
                ring.magic = 0;
                break;
        case 8:
                ring.max_messages = UINT32_MAX;
                break;
        case 9:
                size = 4 * crew__page_size() + 8;
                break;
        case 10:
                size = 0;
                break;
        default:
                ring.ring_bytes = 4 * crew__page_size();
        }
        fd = memfd_create("crew:queue:", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        REQUIRE(fd >= 0 && pwrite(fd, &ring, sizeof ring, 0) == sizeof ring);
        REQUIRE(ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}

static int lying_notice(struct stage *s)
{
        crew__notice n = notice_for(s, lie());

        (void)notice_of(s, &n, sizeof n, ALL_SEALS);
        return 0;
}

TEST(lying_notices, "a notice of something that is no queue leads nowhere",
        "[unit][queue][publish][hostile]")
{
        for (kind_of_lie = 0; kind_of_lie <= 11; kind_of_lie++) {
                struct stage *s = stage();
                crew_queue *q = NULL;
                pid_t pid;

                INFO("lie %d", kind_of_lie);
                s->instead = lying_notice;
                pid = start(s, 0);
                CHECK_INT(crew_queue_connect(&q, s->name), ==, -ENOENT);
                CHECK(q == NULL);
                atomic_store(&s->go, 1);
                CHECK_INT(peer_join(pid), ==, 0);
                unstage(s);
        }
}
