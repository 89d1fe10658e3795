/* SPDX-License-Identifier: MIT */
#include "peer.h"
#include "pool-help.h"

#include <crew/crew.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

POOL_WARM_UP

/* What a peer sees from outside, through the descriptors of the case's process. */
static crew_snapshot *look(crew_snapshot *old)
{
        crew_snapshot *s = NULL;

        (void)crew_snapshot_free(old);
        REQUIRE_OK(crew_snapshot_new(&s, CREW_SNAPSHOT_QUEUES));
        return s;
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

static const crew_process_info *child_of(crew_snapshot *s, pid_t parent)
{
        const crew_process_info *info;

        for (size_t i = 0; crew_snapshot_process(s, i, &info) == 0; i++) {
                if (info->parent == parent)
                        return info;
        }
        return NULL;
}

static const crew_queue_info *queue(crew_snapshot *s, const char *name)
{
        const crew_queue_info *info;

        for (size_t i = 0; crew_snapshot_queue(s, i, &info) == 0; i++) {
                if (info->owner == getpid() && strcmp(info->name, name) == 0)
                        return info;
        }
        return NULL;
}

/* Says that it runs, and stays until the second queue is closed. */
static int wait_for_close(void *arg)
{
        crew_queue **q = arg;
        int one = 1;

        if (CREW_PUT(q[0], &one, CREW_S(5)) < 0)
                return 1;
        return CREW_GET(q[1], &one, CREW_S(60)) == -EPIPE ? 0 : 1;
}

TEST(children, "children are seen under the program that started them", "[live][inspect]")
{
        static const char name[] = "工人 one";
        crew_auto(queue) said = NULL;
        crew_auto(queue) end = NULL;
        crew_auto(snapshot) s = NULL;
        crew_process *child[2] = { NULL };
        crew_queue *both[2];
        const crew_process_info *p;
        int one;

        REQUIRE_OK(crew_queue_new(&said, 10, CREW_OPT(queue, .name = "said")));
        REQUIRE_OK(crew_queue_new(&end, 10, CREW_OPT(queue, .name = "end")));
        both[0] = said;
        both[1] = end;
        for (int i = 0; i < 2; i++) {
                REQUIRE_OK(crew_process_launch(&child[i], wait_for_close, both,
                        CREW_OPT(process, .name = i ? "two" : name)));
                REQUIRE_OK(CREW_GET(said, &one, CREW_S(10)));
        }
        s = look(NULL);
        p = process(s, getpid());
        REQUIRE(p);
        CHECK_INT(p->role, ==, CREW_ROLE_APPLICATION);
        p = process(s, crew_process_pid(child[0]));
        REQUIRE(p);
        CHECK_STR(p->name, name);
        CHECK_INT(p->role, ==, CREW_ROLE_PROCESS);
        CHECK_INT(p->parent, ==, getpid());
        CHECK_INT(p->method, ==, CREW_METHOD_FORK);
        CHECK_INT(p->uid, ==, geteuid());
        CHECK(p->age >= 0 && p->memory > 0);
        p = process(s, crew_process_pid(child[1]));
        REQUIRE(p);
        CHECK_STR(p->name, "two");
        REQUIRE_OK(crew_process_signal(child[1], SIGSTOP));
        for (int i = 0;
                i < 5000 && process(s, crew_process_pid(child[1]))->state != CREW_STATE_STOPPED;
                i++) {
                peer_pause(PEER_MS(1));
                s = look(s);
        }
        CHECK_INT(process(s, crew_process_pid(child[1]))->state, ==, CREW_STATE_STOPPED);
        REQUIRE_OK(crew_process_signal(child[1], SIGCONT));
        REQUIRE_OK(crew_queue_close(end));
        for (int i = 0; i < 2; i++) {
                pid_t pid = crew_process_pid(child[i]);

                REQUIRE_OK(crew_process_join(child[i], CREW_S(10)));
                s = look(s);
                CHECK(process(s, pid) == NULL);
                (void)crew_process_free(child[i]);
        }
}

/* Its own child is in its own page. */
static int start_another(void *arg)
{
        crew_auto(process) child = NULL;

        if (crew_process_launch(
                    &child, wait_for_close, arg, CREW_OPT(process, .name = "grandchild")) < 0)
                return 1;
        return crew_process_join(child, CREW_S(60)) < 0;
}

TEST(confined, "a program is told from a fork, and its sandbox is shown", "[live][inspect]")
{
        static const char *const argv[] = { "sleep", "60", NULL };
        crew_auto(process) child = NULL;
        crew_auto(snapshot) s = NULL;
        const crew_process_info *p;

        REQUIRE_OK(crew_process_new_exec(
                &child, argv, CREW_OPT(process, .name = "program", .sandbox = "exec rpath")));
        REQUIRE_OK(crew_process_start(child));
        s = look(NULL);
        p = process(s, crew_process_pid(child));
        REQUIRE(p);
        CHECK_STR(p->name, "program");
        CHECK_INT(p->method, ==, 4);
        CHECK_STR(p->sandbox, "rpath exec");
        REQUIRE_OK(crew_process_kill(child));
        REQUIRE_OK(crew_process_join(child, CREW_S(10)));
}

TEST(grandchildren, "so are the children of children", "[live][inspect]")
{
        crew_auto(queue) said = NULL;
        crew_auto(queue) end = NULL;
        crew_auto(process) child = NULL;
        crew_auto(snapshot) s = NULL;
        const crew_process_info *p, *found = NULL;
        crew_queue *both[2];
        int one;

        REQUIRE_OK(crew_queue_new(&said, 10, NULL));
        REQUIRE_OK(crew_queue_new(&end, 10, NULL));
        both[0] = said;
        both[1] = end;
        REQUIRE_OK(crew_process_launch(
                &child, start_another, both, CREW_OPT(process, .name = "child")));
        REQUIRE_OK(CREW_GET(said, &one, CREW_S(10)));
        /* It runs before its parent has written which number it got. */
        REQUIRE(SOON((found = child_of(s = look(s), crew_process_pid(child))) &&
                     strcmp(found->name, "live-inspect") != 0));
        CHECK_STR(found->name, "grandchild");
        CHECK_INT(found->depth, ==, process(s, getpid())->depth + 2);
        p = process(s, crew_process_pid(child));
        REQUIRE(p);
        CHECK_STR(p->name, "child");
        CHECK_INT(p->role, ==, CREW_ROLE_PROCESS);
        REQUIRE_OK(crew_queue_close(end));
        REQUIRE_OK(crew_process_join(child, CREW_S(10)));
}

/* What a program leaves behind: pids, the last one of a program that an orphan started. */
enum { LEFT = 3 };

struct estate {
        _Atomic uint32_t go, ready;
        pid_t pid[LEFT + 1];
};

static int outlive(void *arg)
{
        static const char *const argv[] = { "sleep", "60", NULL };
        struct estate *estate = arg;
        crew_process *late;

        while (atomic_load(&estate->go) == 0)
                peer_pause(PEER_MS(1));
        /* Of the orphans one starts something: it makes a page of its own. */
        if (getpid() == estate->pid[1]) {
                if (crew_process_new_exec(&late, argv, CREW_OPT(process, .name = "late")) < 0 ||
                        crew_process_start(late) < 0)
                        return 1;
                estate->pid[LEFT] = crew_process_pid(late);
        }
        (void)atomic_fetch_add(&estate->ready, 1);
        for (;;)
                (void)pause();
}

static void leave(void *arg)
{
        struct estate *estate = arg;
        crew_process *child;
        crew_queue *q;

        if (crew_queue_new(&q, 10, CREW_OPT(queue, .name = "left")) < 0)
                _exit(1);
        for (int i = 0; i < LEFT; i++) {
                char name[16];

                (void)snprintf(name, sizeof name, "left-%d", i);
                if (crew_process_launch(&child, outlive, estate, CREW_OPT(process, .name = name)) <
                        0)
                        _exit(1);
                estate->pid[i] = crew_process_pid(child);
        }
        (void)raise(SIGKILL);
}

static void check_estate(crew_snapshot *s, const struct estate *estate)
{
        const crew_process_info *p;

        for (int i = 0; i < LEFT; i++) {
                char name[16];

                (void)snprintf(name, sizeof name, "left-%d", i);
                p = process(s, estate->pid[i]);
                REQUIRE(p);
                CHECK_STR(p->name, name);
                CHECK_INT(p->role, ==, CREW_ROLE_PROCESS);
                CHECK_INT(p->method, ==, CREW_METHOD_FORK);
        }
        p = process(s, estate->pid[LEFT]);
        REQUIRE(p);
        CHECK_STR(p->name, "late");
        CHECK_INT(p->parent, ==, estate->pid[1]);
}

TEST(orphans, "what a dead program left is seen by its names", "[live][inspect]")
{
        struct estate *estate = peer_memory(sizeof *estate);
        crew_auto(snapshot) s = NULL;
        const crew_queue_info *info = NULL;
        unsigned found = 0;

        CHECK_INT(peer_join(peer_start(leave, estate)), ==, PEER_KILLED + SIGKILL);
        atomic_store(&estate->go, 1);
        REQUIRE(peer_await(&estate->ready, LEFT, CREW_S(20)));
        REQUIRE_OK(crew_snapshot_new(&s, 0));
        check_estate(s, estate);
        s = look(s);
        check_estate(s, estate);
        /* All of them hold it, and none made it. */
        for (size_t i = 0; crew_snapshot_queue(s, i, &info) == 0; i++) {
                bool theirs = false;

                for (int k = 0; k < LEFT; k++)
                        theirs |= info->owner == estate->pid[k];
                if (!theirs)
                        continue;
                CHECK_STR(info->name, "left");
                CHECK_INT(info->holders, ==, LEFT);
                found++;
        }
        CHECK_INT(found, ==, 1);
        for (int i = LEFT; i >= 0; i--)
                (void)kill(estate->pid[i], SIGKILL);
        peer_memory_free(estate, sizeof *estate);
}

TEST(queues, "a queue tells what is in it", "[live][inspect]")
{
        crew_auto(queue) q = NULL;
        crew_auto(snapshot) s = NULL;
        const crew_queue_info *info;
        int64_t n = 7;

        REQUIRE_OK(crew_queue_new(&q, 5,
                CREW_OPT(queue, .name = "numbers", .bytes = 4096, .message_size = sizeof n)));
        for (int i = 0; i < 4; i++)
                REQUIRE_OK(CREW_PUT(q, &n, CREW_NOW));
        REQUIRE_OK(CREW_GET(q, &n, CREW_NOW));
        s = look(NULL);
        info = queue(s, "numbers");
        REQUIRE(info);
        CHECK_INT(info->owner, ==, getpid());
        CHECK_INT(info->capacity, ==, 5);
        CHECK(info->capacity_bytes >= 4096 && info->capacity_bytes <= 65536);
        CHECK_INT(info->message_size, ==, sizeof n);
        CHECK(info->valid);
        CHECK_INT(info->depth, ==, 3);
        CHECK_INT(info->bytes, ==, crew_queue_bytes(q));
        CHECK_INT(info->high, ==, 4);
        CHECK_INT(info->put, ==, 4);
        CHECK_INT(info->got, ==, 1);
        CHECK(!info->closed && !info->broken && !info->granted);
        CHECK(!info->getters && !info->putters);
        CHECK_INT(info->producers.thread, ==, 0);
        REQUIRE_OK(crew_queue_close(q));
        s = look(s);
        CHECK(queue(s, "numbers")->closed);
}

static int linger(crew_task *t, const void *arg, size_t size)
{
        crew_queue *said, *end;
        const crew_ref *refs = arg;
        int one = 1;

        (void)size;
        if (crew_task_queue(t, refs[0], &said) < 0 || crew_task_queue(t, refs[1], &end) < 0)
                return -EINVAL;
        crew_task_status(t, "half\033[31m done");
        if (CREW_PUT(said, &one, CREW_S(5)) < 0)
                return -EIO;
        return CREW_GET(end, &one, CREW_S(60)) == -EPIPE ? 0 : -EIO;
}

TEST(pool, "a pool, its workers and their tasks are seen", "[live][inspect]")
{
        crew_auto(queue) said = NULL;
        crew_auto(queue) end = NULL;
        crew_auto(pool) pool = NULL;
        crew_auto(snapshot) s = NULL;
        const crew_process_info *p, *top = NULL;
        crew_ref refs[2];
        unsigned busy = 0, idle = 0, right = 0;
        int one;

        REQUIRE_OK(crew_queue_new(&said, 10, NULL));
        REQUIRE_OK(crew_queue_new(&end, 10, NULL));
        refs[0] = crew_queue_ref(said);
        refs[1] = crew_queue_ref(end);
        REQUIRE_OK(crew_pool_new(
                &pool, 3, CREW_OPT(pool, .name = "three", .grants = refs, .n_grants = 2)));
        for (int i = 0; i < 2; i++)
                REQUIRE_OK(crew_pool_apply_async(pool, linger, refs, sizeof refs, NULL,
                        CREW_OPT(task, .name = "lingering")));
        for (int i = 0; i < 2; i++)
                REQUIRE_OK(CREW_GET(said, &one, CREW_S(20)));
        /* The third may not have come to its first task yet, the counters may be a round behind,
         * and a snapshot is not of one moment. */
        for (int i = 0; i < 5000 && (idle != 1 || right != 2 || top->submitted != 2); i++) {
                s = look(s);
                busy = idle = right = 0;
                top = NULL;
                for (size_t k = 0; crew_snapshot_process(s, k, &p) == 0; k++) {
                        if (p->role == CREW_ROLE_POOL && p->parent == getpid())
                                top = p;
                        if (!top || p->role != CREW_ROLE_WORKER || p->parent != top->pid)
                                continue;
                        idle += p->state == CREW_STATE_IDLE;
                        if (p->state != CREW_STATE_BUSY)
                                continue;
                        busy++;
                        INFO("%s %s", p->task_name, p->status);
                        right += strcmp(p->task_name, "lingering") == 0 && p->task != 0 &&
                                 strcmp(p->status, "half?[31m done") == 0 && p->task_age >= 0;
                        CHECK_STR(p->sandbox, "stdio");
                        CHECK_INT(p->no_new_privs, ==, 1);
                        CHECK_INT(p->seccomp, ==, 2);
                }
                REQUIRE(top);
                peer_pause(PEER_MS(1));
        }
        CHECK_INT(right, ==, 2);
        REQUIRE(top);
        CHECK_STR(top->name, "three");
        CHECK_INT(top->workers, ==, 3);
        CHECK_INT(top->submitted, ==, 2);
        CHECK_INT(busy, ==, 2);
        CHECK_INT(idle, ==, 1);
        CHECK(queue(s, "") && queue(s, "")->granted);
        REQUIRE_OK(crew_queue_close(end));
        crew_pool_close(pool);
        CHECK_INT(crew_pool_join(pool, CREW_S(20)), ==, 0);
}

static int hide(crew_task *t, const void *arg, size_t size)
{
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        return linger(t, arg, size);
}

TEST(hidden, "a worker that cannot be dumped is seen through its pool", "[live][inspect]")
{
        crew_auto(queue) said = NULL;
        crew_auto(queue) end = NULL;
        crew_auto(pool) pool = NULL;
        crew_auto(snapshot) s = NULL;
        const crew_process_info *p;
        crew_ref refs[2];
        unsigned seen = 0;
        int one;

        REQUIRE_OK(crew_queue_new(&said, 10, NULL));
        REQUIRE_OK(crew_queue_new(&end, 10, NULL));
        refs[0] = crew_queue_ref(said);
        refs[1] = crew_queue_ref(end);
        REQUIRE_OK(crew_pool_new(&pool, 1,
                CREW_OPT(
                        pool, .name = "hiding", .sandbox = "none", .grants = refs, .n_grants = 2)));
        REQUIRE_OK(crew_pool_apply_async(pool, hide, refs, sizeof refs, NULL, NULL));
        REQUIRE_OK(CREW_GET(said, &one, CREW_S(20)));
        s = look(NULL);
        for (size_t i = 0; crew_snapshot_process(s, i, &p) == 0; i++)
                seen += p->role == CREW_ROLE_WORKER && strcmp(p->name, "hiding-worker-0") == 0 &&
                        p->state == CREW_STATE_BUSY && strcmp(p->status, "half?[31m done") == 0;
        CHECK_INT(seen, ==, 1);
        REQUIRE_OK(crew_queue_close(end));
        crew_pool_close(pool);
        CHECK_INT(crew_pool_join(pool, CREW_S(20)), ==, 0);
}

struct confined {
        const char *words;
        int mode;
        pid_t parent;
};

enum { SEES = 10, SEES_NOT = 11, CANNOT = 12 };

/* Enters a sandbox and looks whether it can still tell what its parent is. */
static int look_confined(void *arg)
{
        const struct confined *c = arg;
        crew_auto(snapshot) s = NULL;
        crew_sandbox *own;
        const crew_process_info *p;

        if (crew_snapshot_new(&s, CREW_SNAPSHOT_PREPARE) < 0)
                return 1;
        s = crew_snapshot_free(s);
        if (crew_sandbox_new(&own, c->words, c->mode) < 0 || crew_sandbox_enter(own) < 0)
                return CANNOT;
        if (crew_snapshot_new(&s, 0) < 0)
                return 2;
        p = process(s, c->parent);
        return p && p->role == CREW_ROLE_APPLICATION ? SEES : SEES_NOT;
}

static int exit_of(struct confined *c)
{
        crew_auto(process) child = NULL;
        int code = -1;

        c->parent = getpid();
        REQUIRE_OK(crew_process_launch(&child, look_confined, c, NULL));
        REQUIRE_OK(crew_process_join(child, CREW_S(20)));
        REQUIRE_OK(crew_process_exitcode(child, &code));
        return code;
}

TEST(sandbox, "one can look from a sandbox, but not from under Landlock", "[live][inspect]")
{
        struct confined filtered = { .words = "stdio rpath", .mode = CREW_LANDLOCK_OFF };
        struct confined landlocked = { .words = "stdio rpath:/", .mode = CREW_BEST_EFFORT };
        int code = exit_of(&filtered);

        if (code == CANNOT)
                SKIP("no seccomp here");
        CHECK_INT(code, ==, SEES);
        code = exit_of(&landlocked);
        if (code == CANNOT)
                SKIP("no Landlock here");
        CHECK_INT(code, ==, SEES_NOT);
}

TEST(arguments, "wrong arguments are refused", "[live][inspect]")
{
        const crew_process_info *p;
        crew_snapshot *s = NULL;

        CHECK_INT(crew_snapshot_new(NULL, 0), ==, -EINVAL);
        CHECK_INT(crew_snapshot_new(&s, 1 << 20), ==, -EINVAL);
        CHECK(s == NULL);
        REQUIRE_OK(crew_snapshot_new(&s, CREW_SNAPSHOT_PREPARE));
        CHECK_INT(crew_snapshot_process(s, 0, &p), ==, -ENOENT);
        CHECK_INT(crew_snapshot_process(s, 0, NULL), ==, -EINVAL);
        CHECK_INT(crew_snapshot_process(NULL, 0, &p), ==, -EINVAL);
        CHECK(crew_snapshot_free(s) == NULL);
}
