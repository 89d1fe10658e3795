/* SPDX-License-Identifier: MIT */

/* What inspectors make of processes that lie. */

#include "base/clock.h"
#include "hostile-case.h"
#include "queue/queue.h"
#include "status/decode.h"
#include "tool.h"

#include <crew/crew.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int nothing(void *arg)
{
        (void)arg;
        return 0;
}

/* The page and the pidfd of the process itself are made once. */
static void warm_up(void)
{
        crew_process *p;
        crew_snapshot *s;

        if (crew_process_launch(&p, nothing, NULL, NULL) == 0) {
                (void)crew_process_join(p, CREW_S(5));
                (void)crew_process_free(p);
        }
        if (crew_snapshot_new(&s, CREW_SNAPSHOT_PREPARE) == 0)
                (void)crew_snapshot_free(s);
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

TEST(mutated, "mutated pages and headers do no harm", "[unit][inspect]")
{
        TEST_DEADLINE(600);
        hostile_programs(test_scale(1000000, 2000), 192);
}

TEST(text, "text is cut at characters and does not steer the terminal", "[unit][inspect]")
{
        static const struct {
                const char *in, *out;
        } table[] = {
                { "plain", "plain" },
                { "", "" },
                { "\033[2Jgone", "?[2Jgone" },
                { "a\nb\tc\r", "a?b?c?" },
                { "\x9b"
                  "31m",
                        "?31m" },
                { "\xc2\x9b"
                  "31m",
                        "?31m" },
                { "\xe2\x80\xae"
                  "txt.exe",
                        "?txt.exe" },
                { "\xef\xbb\xbf"
                  "bom",
                        "?bom" },
                { "工人\xe5\xb7", "工人??" },
                { "\xed\xa0\x80", "???" },
                { "\xc0\xaf", "??" },
                { "ünïcödé", "ünïcödé" },
        };
        char out[64], small[6];

        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                crew__clean_text(out, sizeof out, table[i].in, SIZE_MAX);
                CHECK_STR(out, table[i].out);
        }
        crew__clean_text(small, sizeof small, "工人工人", SIZE_MAX);
        CHECK_STR(small, "工");
        crew__clean_text(out, sizeof out, "not ended", 3);
        CHECK_STR(out, "not");
        crew__status_text(small, sizeof small, "工人");
        CHECK_STR(small, "工");
        crew__status_text(small, sizeof small, NULL);
        CHECK_STR(small, "");
}

static const crew_process_info *process(crew_snapshot *s, pid_t pid)
{
        const crew_process_info *info;

        for (size_t i = 0; crew_snapshot_process(s, i, &info) == 0; i++) {
                if (info->pid == pid)
                        return info;
        }
        return NULL;
}

static _Atomic uint32_t *shared;

static void stay(void *arg)
{
        (void)arg;
        atomic_store(&shared[0], 1);
        for (;;)
                (void)pause();
}

static int memory(const char *name, const void *bytes, size_t n, size_t size)
{
        int fd = memfd_create(name, 0);

        if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || pwrite(fd, bytes, n, 0) != (ssize_t)n)
                _exit(3);
        return fd;
}

/* Calls its innocent sibling its child, from everything that is read. */
static void liar(void *innocent)
{
        pid_t victim = *(pid_t *)innocent;
        char bytes[8192] = "";
        crew__page *page = (void *)bytes;
        crew__row *rows = (void *)(bytes + sizeof *rows);
        crew__pool_page pool = {
                .magic = CREW__POOL_MAGIC,
                .version = 1,
                .size = sizeof pool,
                .pid = (uint32_t)getpid(),
                .since = crew__status_clock(),
                .zygote = (uint32_t)victim,
                .seats_at = sizeof pool,
                .seat_size = sizeof(crew__seat),
                .name = "\033[31mliar",
        };

        *page = (crew__page){ .magic = CREW__PAGE_MAGIC,
                .version = 1,
                .size = sizeof *page,
                .pid = (uint32_t)getpid(),
                .since = crew__status_clock(),
                .rows_at = sizeof *rows,
                .row_size = sizeof *rows,
                .n_rows = 4 };
        for (int i = 0; i < 4; i++) {
                rows[i].pid = (uint32_t)(i == 0 ? getpid() : i == 1 ? victim : getppid());
                rows[i].before = UINT64_MAX / 2;
                rows[i].role = CREW__ROLE_PROCESS;
                (void)snprintf(rows[i].name, sizeof rows[i].name, "\033]0;owned\007%d", i);
        }
        (void)memory("crew:status:x", bytes, sizeof bytes, sizeof bytes);
        (void)memory("crew:pool:x", &pool, sizeof pool, 4096);
        (void)memory("crew:queue:none", "", 1, 1);
        (void)memory("crew:lane:none", "", 1, 1);
        (void)memory("crew:\033[2J:none", "", 1, 1);
        /* The page of another, which is not its to tell. */
        page->pid = (uint32_t)victim;
        (void)memory("crew:status:y", bytes, sizeof bytes, sizeof bytes);
        stay(NULL);
}

TEST(claims, "nobody can tell of others", "[unit][inspect]")
{
        crew_auto(snapshot) s = NULL;
        const crew_process_info *p;
        pid_t victim, lying;

        shared = peer_memory(4096);
        victim = peer_start(stay, NULL);
        REQUIRE(peer_await(&shared[0], 1, CREW_S(10)));
        atomic_store(&shared[0], 0);
        lying = peer_start(liar, &victim);
        REQUIRE(peer_await(&shared[0], 1, CREW_S(10)));
        REQUIRE_OK(crew_snapshot_new(&s, CREW_SNAPSHOT_QUEUES));
        p = process(s, lying);
        REQUIRE(p);
        /* Of itself it may tell what it likes, as text. */
        CHECK(strchr(p->name, 0x1b) == NULL);
        CHECK_INT(p->parent, ==, getpid());
        /* The victim was forked by the host: it holds its parent's page, and that names it not. */
        p = process(s, victim);
        if (p) {
                CHECK_INT(p->parent, ==, getpid());
                CHECK_INT(p->role, ==, CREW_ROLE_OTHER);
                CHECK(!strstr(p->name, "owned"));
        }
        p = process(s, getpid());
        REQUIRE(p);
        CHECK_INT(p->role, ==, CREW_ROLE_APPLICATION);
        CHECK(!strstr(p->name, "owned"));
        peer_kill(lying);
        peer_kill(victim);
        peer_memory_free((void *)(uintptr_t)shared, 4096);
}

/* Takes the lock of a put and is stopped there. */
static int stop_inside(void *arg)
{
        crew_queue *q = arg;
        crew__patience patience = crew__patience_of(CREW_S(5));
        crew__hold hold;

        if (crew__lock_acquire(&q->ring->producers.lock, &hold, &patience) < 0)
                return 1;
        (void)raise(SIGSTOP);
        crew__lock_release(&q->ring->producers.lock, &hold);
        return 0;
}

static const crew_queue_info *queue(crew_snapshot *s)
{
        const crew_queue_info *info;

        for (size_t i = 0; crew_snapshot_queue(s, i, &info) == 0; i++) {
                if (info->owner == getpid() && strcmp(info->name, "held") == 0)
                        return info;
        }
        return NULL;
}

/* The same from the command. */
static void show_lock(pid_t holder)
{
        struct tool ps = { .path = getenv("CREW_TOOL") };
        char expected[128];

        if (!ps.path)
                return;
        (void)snprintf(expected, sizeof expected,
                "\"name\": \"held\", \"put_lock_pid\": %d, \"put_lock_alive\": true", (int)holder);
        tool_run(&ps, "ps --queues --json -o name,put_lock_pid,put_lock_alive %d", (int)getpid());
        INFO("%s", ps.out);
        CHECK(strstr(ps.out, expected) != NULL);
        (void)snprintf(expected, sizeof expected, "%d holder stopped", (int)holder);
        tool_run(&ps, "ps --queues -o put_lock %d", (int)getpid());
        INFO("%s", ps.out);
        CHECK(strstr(ps.out, expected) != NULL);
}

TEST(lock, "who holds a lock is named, and whether it lives", "[unit][inspect]")
{
        crew_auto(queue) q = NULL;
        crew_auto(process) child = NULL;
        crew_auto(snapshot) s = NULL;
        const crew_queue_info *info = NULL;
        pid_t pid;

        REQUIRE_OK(crew_queue_new(&q, 10, CREW_OPT(queue, .name = "held")));
        REQUIRE_OK(
                crew_process_launch(&child, stop_inside, q, CREW_OPT(process, .name = "holder")));
        pid = crew_process_pid(child);
        for (int i = 0; i < 10000; i++) {
                (void)crew_snapshot_free(s);
                REQUIRE_OK(crew_snapshot_new(&s, CREW_SNAPSHOT_QUEUES));
                info = queue(s);
                REQUIRE(info);
                if (info->producers.state == CREW_STATE_STOPPED)
                        break;
                peer_pause(PEER_MS(1));
        }
        CHECK_INT(info->producers.thread, ==, pid);
        CHECK_INT(info->producers.pid, ==, pid);
        CHECK_INT(info->producers.alive, ==, 1);
        CHECK_INT(info->producers.state, ==, CREW_STATE_STOPPED);
        CHECK_INT(info->consumers.thread, ==, 0);
        show_lock(pid);
        REQUIRE_OK(crew_process_signal(child, SIGCONT));
        REQUIRE_OK(crew_process_join(child, CREW_S(10)));
        /* A number that is no thread's. */
        atomic_store(&q->ring->producers.lock.word, FUTEX_TID_MASK & 0x3ffffffd);
        s = crew_snapshot_free(s);
        REQUIRE_OK(crew_snapshot_new(&s, CREW_SNAPSHOT_QUEUES));
        info = queue(s);
        REQUIRE(info);
        CHECK_INT(info->producers.alive, ==, 0);
        atomic_store(&q->ring->producers.lock.word, 0);
}

TEST(nonsense, "indices that no queue leaves are not believed", "[unit][inspect]")
{
        crew_auto(queue) q = NULL;
        crew_auto(snapshot) s = NULL;
        const crew_queue_info *info;

        REQUIRE_OK(crew_queue_new(&q, 10, CREW_OPT(queue, .name = "held")));
        atomic_store(&q->ring->tail, UINT64_MAX);
        q->ring->producers.high = 1000000;
        REQUIRE_OK(crew_snapshot_new(&s, CREW_SNAPSHOT_QUEUES));
        info = queue(s);
        REQUIRE(info);
        CHECK(!info->valid);
        CHECK_INT(info->depth, ==, 0);
        CHECK_INT(info->bytes, ==, 0);
        CHECK_INT(info->high, ==, 10);
        atomic_store(&q->ring->tail, 0);
}

TEST(versions, "fewer and more fields than ours are read as far as both know", "[unit][inspect]")
{
        char bytes[512] = "";
        crew__page *page = (void *)bytes;
        crew__seen_page seen;
        crew__seen_row row;

        /* One that knew rows of 64 bytes with half of a name, and more in its head than we do. */
        *page = (crew__page){ .magic = CREW__PAGE_MAGIC,
                .version = 7,
                .size = 100,
                .pid = 5,
                .rows_at = 128,
                .row_size = 64,
                .n_rows = 6 };
        ((crew__row *)(void *)(bytes + 128))->pid = 5;
        memset(bytes + 128 + offsetof(crew__row, name), 'n', 64 - offsetof(crew__row, name));
        REQUIRE(crew__decode_page(bytes, sizeof bytes, &seen));
        CHECK_INT(seen.n_rows, ==, 6);
        crew__decode_row(bytes, sizeof bytes, &seen, 0, &row);
        CHECK_INT(row.pid, ==, 5);
        CHECK_INT(strlen(row.name), ==, 64 - offsetof(crew__row, name));
        CHECK_STR(row.sandbox, "");
        /* One that knew no rows at all. */
        page->size = offsetof(crew__page, since);
        REQUIRE(crew__decode_page(bytes, sizeof bytes, &seen));
        CHECK_INT(seen.n_rows, ==, 0);
        page->version = 0;
        CHECK(!crew__decode_page(bytes, sizeof bytes, &seen));
}
