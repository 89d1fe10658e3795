/* SPDX-License-Identifier: MIT */
#include "zygote-case.h"

#include "kernel/syscall.h"
#include "process/process.h"
#include "status/page.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

/* The pidfd and the status page of the process itself are made once. */
static void warm_up(void)
{
        (void)crew__self_pidfd();
        crew__status_publish("test");
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

static int twice(crew_task *t, const void *arg, size_t size)
{
        int n;

        if (size != sizeof n)
                return crew_task_fail(t, -EINVAL, "%zu bytes", size);
        memcpy(&n, arg, sizeof n);
        n *= 2;
        return crew_task_return(t, &n, sizeof n);
}

TEST(one_task, "a worker is made, let through, and runs a task", "[unit][zygote]")
{
        struct colony c = { .workers = 1 };
        struct outcome out;
        int n = 21;

        colony_start(&c);
        colony_hire(&c, 0);
        colony_run(&c, 0, twice, &n, sizeof n, &out);
        CHECK_INT(out.status, ==, 0);
        REQUIRE(out.size == sizeof n);
        memcpy(&n, out.data, sizeof n);
        CHECK_INT(n, ==, 42);
        colony_end(&c);
}

TEST(many, "twenty workers each run tasks, and again after their rows were used", "[unit][zygote]")
{
        struct colony c = { .workers = 20 };
        struct outcome out;

        colony_start(&c);
        for (int round = 0; round < 2; round++) {
                for (unsigned i = 0; i < c.workers; i++)
                        colony_hire(&c, i);
                for (int n = 0; n < 100; n++) {
                        colony_run(&c, (unsigned)n % c.workers, twice, &n, sizeof n, &out);
                        CHECK(!out.died && out.size == sizeof n);
                        CHECK_INT(*(int *)(void *)out.data, ==, 2 * n);
                }
                for (unsigned i = 0; i < c.workers; i++)
                        crew__lane_close(c.lane[i]);
                for (unsigned i = 0; i < c.workers; i++) {
                        colony_await(&c, i, &out);
                        CHECK(out.died && out.ending.known && out.ending.counted);
                        CHECK_INT(out.ending.code, ==, 0);
                        CHECK_INT(out.ending.signal, ==, 0);
                }
        }
        colony_end(&c);
}

static volatile uintptr_t nowhere = 64;

static int end_so(crew_task *t, const void *arg, size_t size)
{
        const int *how = arg;

        (void)t;
        (void)size;
        if (*how < 0)
                exit(-*how - 1);
        if (*how == SIGSEGV)
                return *(volatile int *)nowhere; /* NOLINT */
        if (*how == SIGABRT)
                abort();
        (void)raise(*how);
        return 0;
}

TEST(endings, "how a worker ended is noted, whatever ended it", "[unit][zygote]")
{
        /* A signal, or a negative exit code - 1. */
        static const int how[] = { -1, -4, SIGKILL, SIGSEGV, SIGABRT, SIGTERM, SIGPIPE };
        struct colony c = { .workers = 1 };
        struct outcome out;

        colony_start(&c);
        for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
                colony_hire(&c, 0);
                colony_run(&c, 0, end_so, &how[i], sizeof how[i], &out);
                INFO("ending %d", how[i]);
                CHECK(out.died && out.ending.known && !out.ending.core);
                CHECK_INT(out.ending.signal, ==, how[i] > 0 ? how[i] : 0);
                CHECK_INT(out.ending.code, ==, how[i] < 0 ? -how[i] - 1 : 0);
        }
        colony_end(&c);
}

TEST(unwatched, "a zygote does not look at a worker that ended, whoever keeps its pidfd",
        "[unit][zygote]")
{
        struct colony c = { .workers = 1 };
        struct outcome out;
        int before, kept;

        colony_start(&c);
        colony_hire(&c, 0);
        before = peer_watched(crew__zygote_pid(c.zygote));
        crew__lane_close(c.lane[0]);
        colony_await(&c, 0, &out);
        CHECK(out.died && out.ending.known);
        kept = dup(c.pidfd[0]);
        /* What it is asked comes after what it did with the ending. */
        colony_spawn(&c, 0);
        CHECK_INT(peer_watched(crew__zygote_pid(c.zygote)), ==, before);
        (void)close(kept);
        colony_end(&c);
}

/* From here on no epoll of this process or its children takes a descriptor from that number on. */
static void refuse_epoll(int from)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
                BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)from, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { sizeof code / sizeof *code, code };

        REQUIRE_OK(crew__sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0));
        REQUIRE_OK(crew__sys_seccomp(SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* Zombies too. */
static int count_children(pid_t pid)
{
        char path[64], c;
        FILE *children;
        int n = 0;

        (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
        children = fopen(path, "re");
        if (!children)
                SKIP("this kernel has no list of children in /proc");
        while (fread(&c, 1, 1, children) == 1)
                n += c == ' ';
        (void)fclose(children);
        return n;
}

TEST(no_room, "a zygote that cannot watch a worker keeps nothing of it", "[unit][zygote]")
{
        int numbers[CREW__WORKER_NUMBERS], floor, fd = -1;
        struct colony c = { .workers = 1 };
        crew__lane *lane;
        pid_t pid = 0;

        peer_needs_seccomp();
        floor = crew__worker_numbers(NULL, 0, numbers, CREW__WORKER_NUMBERS);
        /* Its sockets and the application are the lowest there. */
        refuse_epoll(floor + 3);
        colony_start(&c);
        REQUIRE_OK(crew__lane_new(&lane, 64));
        for (int i = 0; i < 3; i++)
                CHECK_INT(colony_try(&c, 0, lane, &fd, &pid), ==, -ENOSPC);
        CHECK_INT(fd, ==, -1);
        CHECK_INT(count_children(crew__zygote_pid(c.zygote)), ==, 0);
        (void)crew__lane_free(lane);
        colony_end(&c);
}

/* A process that makes workers and is killed. */
struct host {
        bool release;
        _Atomic uint32_t ready;
        _Atomic pid_t worker, zygote;
};

static int __attribute__((noreturn)) sleep_long(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)arg;
        (void)size;
        for (;;)
                (void)pause();
}

static void be_host(void *arg)
{
        struct colony c = { .workers = 1 };
        struct host *h = arg;
        crew__worker_note note;

        colony_start(&c);
        colony_spawn(&c, 0);
        h->zygote = crew__zygote_pid(c.zygote);
        h->worker = c.pid[0];
        if (h->release) {
                REQUIRE_OK(crew__zygote_release(c.zygote, 0));
                colony_push(&c, 0, sleep_long, "", 1);
                do
                        crew__zygote_note(c.zygote, 0, &note);
                while (note.stage != CREW__STAGE_READY);
        }
        h->ready = 1;
        for (;;)
                (void)pause();
}

/* Did both end soon after it? */
static bool host_died(bool release, bool stop_zygote)
{
        struct host *h = peer_memory(sizeof *h);
        int worker, zygote;
        int64_t died, took;
        pid_t host;

        h->release = release;
        host = peer_start(be_host, h);
        REQUIRE(peer_await(&h->ready, 1, PEER_MS(10000)));
        worker = (int)REQUIRE_OK(crew__sys_pidfd_open(h->worker, 0));
        zygote = (int)REQUIRE_OK(crew__sys_pidfd_open(h->zygote, 0));
        CHECK_INT(crew__readable(worker, crew_clock() + PEER_MS(100)), ==, -ETIMEDOUT);
        if (stop_zygote)
                (void)kill(h->zygote, SIGSTOP);
        peer_kill(host);
        died = crew_clock();
        CHECK_INT(crew__readable(worker, died + test_slow(PEER_MS(5000))), ==, 0);
        if (stop_zygote)
                (void)kill(h->zygote, SIGKILL);
        CHECK_INT(crew__readable(zygote, died + test_slow(PEER_MS(5000))), ==, 0);
        took = crew_clock() - died;
        (void)close(worker);
        (void)close(zygote);
        peer_memory_free(h, sizeof *h);
        return took < test_slow(PEER_MS(500));
}

/* A busy machine may keep an end from being seen. */
static void host_dies(bool release, bool stop_zygote)
{
        bool soon = false;

        for (int i = 0; i < 5 && !soon; i++)
                soon = host_died(release, stop_zygote);
        CHECK(soon);
}

TEST(gate, "who dies before it lets a newborn through takes it along", "[unit][zygote]")
{
        host_dies(false, false);
}

TEST(gate_stopped, "a newborn at the gate does not need its zygote for that", "[unit][zygote]")
{
        host_dies(false, true);
}

TEST(host, "a worker ends with its program", "[unit][zygote]")
{
        host_dies(true, false);
}

TEST(zygote_dies, "when the zygote dies its workers do, and every call says so", "[unit][zygote]")
{
        struct colony c = { .workers = 3 };
        crew__ending ending;
        crew__lane *lane;
        int64_t died;
        pid_t pid = 0;
        int fd = -1;

        colony_start(&c);
        colony_spawn(&c, 0);
        colony_hire(&c, 1);
        colony_push(&c, 1, sleep_long, "", 1);
        CHECK_INT(crew__readable(crew__zygote_fd(c.zygote), 0), ==, -EAGAIN);
        (void)kill(crew__zygote_pid(c.zygote), SIGKILL);
        died = crew_clock();
        for (unsigned i = 0; i < 2; i++)
                CHECK_INT(crew__readable(c.pidfd[i], died + test_slow(PEER_MS(5000))), ==, 0);
        CHECK_INT(
                crew__readable(crew__zygote_fd(c.zygote), died + test_slow(PEER_MS(5000))), ==, 0);
        REQUIRE_OK(crew__lane_new(&lane, 64));
        CHECK_INT(colony_try(&c, 2, lane, &fd, &pid), ==, -EPIPE);
        CHECK(strstr(crew_error_detail(), "dead") != NULL);
        CHECK_INT(crew__zygote_grant(c.zygote, crew__lane_segment(lane)), ==, -EPIPE);
        CHECK_INT(crew__zygote_ending(c.zygote, 1, &ending), ==, 0);
        CHECK_INT(fd, ==, -1);
        (void)crew__lane_free(lane);
        colony_end(&c);
}

TEST(evicted, "a newborn that nobody lets through gives way to the next", "[unit][zygote]")
{
        struct colony c = { .workers = 1 };
        struct outcome out;
        int n = 1, first;

        colony_start(&c);
        colony_spawn(&c, 0);
        first = fcntl(c.pidfd[0], F_DUPFD_CLOEXEC, 0);
        colony_hire(&c, 0);
        CHECK_INT(crew__readable(first, 0), ==, 0);
        colony_run(&c, 0, twice, &n, sizeof n, &out);
        CHECK_INT(out.status, ==, 0);
        (void)close(first);
        colony_end(&c);
}

TEST(stopped, "a zygote that is stopped is freed all the same", "[unit][zygote]")
{
        struct colony c = { .workers = 1 };

        colony_start(&c);
        colony_hire(&c, 0);
        (void)kill(crew__zygote_pid(c.zygote), SIGSTOP);
        colony_end(&c);
}

static int ready_to_fail(crew_task *t, const void *arg, size_t size)
{
        (void)size;
        return crew_task_fail(t, -EDOM, "no %s", (const char *)arg);
}

TEST(initializer_fails, "an initializer that fails is noted, with its errno", "[unit][zygote]")
{
        struct colony c = { .workers = 1,
                .options = { .initializer = ready_to_fail, .init_arg = "way", .init_size = 4 } };
        crew__worker_note note;
        struct outcome out;

        colony_start(&c);
        colony_hire(&c, 0);
        colony_await(&c, 0, &out);
        CHECK(out.died);
        CHECK_INT(out.ending.code, ==, 255);
        crew__zygote_note(c.zygote, 0, &note);
        CHECK_INT(note.stage, ==, CREW__STAGE_REFUSED);
        CHECK_INT(note.code, ==, -EDOM);
        CHECK_INT(note.step, ==, 0);
        CHECK_STR(note.text, "no way");
        colony_end(&c);
}

static void *stay(void *arg)
{
        for (;;)
                (void)pause();
        return arg;
}

static int start_thread(crew_task *t, const void *arg, size_t size)
{
        pthread_t thread;

        (void)t;
        (void)arg;
        (void)size;
        return -pthread_create(&thread, NULL, stay, NULL);
}

TEST(initializer_threads, "an initializer may not leave a thread outside of the sandbox",
        "[unit][zygote]")
{
        struct colony c = {
                .workers = 1, .words = "stdio", .options = { .initializer = start_thread }
        };
        crew__worker_note note;
        struct outcome out;

        colony_start(&c);
        colony_hire(&c, 0);
        colony_await(&c, 0, &out);
        crew__zygote_note(c.zygote, 0, &note);
        CHECK_INT(note.stage, ==, CREW__STAGE_REFUSED);
        CHECK_INT(note.code, ==, -EBUSY);
        CHECK(strstr(note.text, "1 threads") != NULL);
        colony_end(&c);
}

static FILE *opened;

static int open_file(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)size;
        opened = fopen(arg, "re");
        return opened ? 0 : -errno;
}

static int read_file(crew_task *t, const void *arg, size_t size)
{
        char text[256];
        size_t n = opened ? fread(text, 1, sizeof text, opened) : 0;

        (void)arg;
        (void)size;
        return crew_task_return(t, text, n);
}

static int break_out(crew_task *t, const void *arg, size_t size)
{
        (void)t;
        (void)size;
        return open(arg, O_WRONLY | O_CLOEXEC) < 0 ? -errno : 0;
}

TEST(sandbox, "the initializer opens what the sandbox refuses, and the refusal is reported",
        "[unit][zygote]")
{
        static const char name[] = "/proc/self/status";
        struct colony c = { .workers = 1,
                .words = "stdio",
                .options = {
                        .initializer = open_file, .init_arg = name, .init_size = sizeof name } };
        crew__violation v;
        struct outcome out;

        colony_start(&c);
        colony_hire(&c, 0);
        colony_run(&c, 0, read_file, "", 1, &out);
        CHECK(!out.died && out.size > 10 && memcmp(out.data, "Name:\tcrew-worker-0", 19) == 0);
        colony_run(&c, 0, break_out, name, sizeof name, &out);
        CHECK(out.died);
        CHECK_INT(out.ending.signal, ==, SIGSYS);
        crew__report_read(crew__zygote_report(c.zygote, 0), c.pid[0], &c.plan.scope, &v);
        CHECK_STR(v.name, "openat");
        CHECK_INT(v.tid, ==, c.pid[0]);
        colony_end(&c);
}

static int say_status(crew_task *t, const void *arg, size_t size)
{
        (void)arg;
        (void)size;
        return crew_task_fail(t, -ENOTTY, "worker %u, attempt %u, task %llu%s", crew_task_worker(t),
                crew_task_attempt(t), (unsigned long long)crew_task_id(t),
                crew_task_cancelled(t) ? ", cancelled" : "");
}

static int say_five(crew_task *t, const void *arg, size_t size)
{
        (void)size;
        (void)crew_task_return(t, arg, 1);
        return 5;
}

static int say_much(crew_task *t, const void *arg, size_t size)
{
        int r = crew_task_return(t, arg, size);

        return r < 0 ? r : crew_task_return(t, arg, (size_t)1 << 30);
}

TEST(words, "a task's words and numbers reach the pool", "[unit][zygote]")
{
        struct colony c = { .workers = 3 };
        struct outcome out;

        colony_start(&c);
        colony_hire(&c, 2);
        colony_run(&c, 2, say_status, "", 1, &out);
        CHECK_INT(out.status, ==, -ENOTTY);
        CHECK_STR(out.text, "worker 2, attempt 1, task 1");
        colony_run(&c, 2, say_five, "", 1, &out);
        CHECK_INT(out.status, ==, -EINVAL);
        CHECK_INT(out.size, ==, 0);
        CHECK(strstr(out.text, "returned 5") != NULL);
        colony_run(&c, 2, say_much, "", 1, &out);
        CHECK_INT(out.status, ==, -EMSGSIZE);
        CHECK_STR(out.text, "");
        colony_end(&c);
}
