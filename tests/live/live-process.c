/* SPDX-License-Identifier: MIT */

/* The life of a process: what CPython's Process tests ask, and the border of the interface. */

#include "host.h"

#include <poll.h>

static int give(void *arg)
{
        return (int)(intptr_t)arg;
}

static int sleep_long(void *arg)
{
        (void)arg;
        for (;;)
                (void)sleep(1000);
        return 0;
}

static int ignore_term(void *arg)
{
        atomic_int *ready = arg;

        (void)signal(SIGTERM, SIG_IGN);
        atomic_store(ready, 1);
        return sleep_long(NULL);
}

struct seen {
        char name[64], parent[64];
        int daemon, alive, join, exitcode;
        pid_t pid, parent_pid, current_pid;
};

static int look(void *arg)
{
        struct seen *seen = arg;
        crew_process *me = crew_current_process(), *parent = crew_parent_process();
        int code;

        (void)snprintf(seen->name, sizeof seen->name, "%s", crew_process_name(me));
        (void)snprintf(seen->parent, sizeof seen->parent, "%s",
                parent ? crew_process_name(parent) : "NULL");
        seen->daemon = crew_process_daemon(me);
        seen->alive = crew_process_is_alive(me);
        seen->join = crew_process_join(me, CREW_NOW);
        seen->exitcode = crew_process_exitcode(me, &code);
        seen->pid = getpid();
        seen->current_pid = crew_process_pid(me);
        seen->parent_pid = parent ? crew_process_pid(parent) : 0;
        return 3;
}

TEST_METHODS(life, "before the start, while it runs, after the end", "[live][process]")
{
        struct seen *seen = shared_new(sizeof *seen);
        crew_process *active[4];
        crew_auto(process) p = NULL;
        int code = 77;

        REQUIRE_OK(host_new(&p, look, seen, CREW_OPT(process, .name = "cook")));
        CHECK_INT(crew_process_is_alive(p), ==, 0);
        CHECK_INT(crew_process_exitcode(p, &code), ==, -ESRCH);
        CHECK_INT(crew_process_join(p, CREW_S(1)), ==, -ESRCH);
        CHECK_INT(crew_process_fd(p), ==, -ESRCH);
        CHECK_INT(crew_process_pid(p), ==, -ESRCH);
        CHECK_INT(crew_process_terminate(p), ==, -ESRCH);
        CHECK_INT(crew_active_children(active, 4), ==, 0);
        CHECK_INT(code, ==, 77);
        REQUIRE_OK(crew_process_start(p));
        CHECK_INT(crew_process_start(p), ==, -EALREADY);
        CHECK_INT(crew_process_join(p, CREW_FOREVER), ==, 0);
        CHECK_INT(crew_process_join(p, CREW_NOW), ==, 0);
        CHECK_INT(crew_process_is_alive(p), ==, 0);
        REQUIRE_OK(crew_process_exitcode(p, &code));
        CHECK_INT(code, ==, 3);
        CHECK_INT(crew_process_start(p), ==, -EALREADY);
        CHECK_INT(crew_active_children(active, 4), ==, 0);
        CHECK_STR(seen->name, "cook");
        CHECK_STR(seen->parent, "MainProcess");
        CHECK_INT(seen->daemon, ==, 0);
        CHECK_INT(seen->alive, ==, 1);
        CHECK_INT(seen->join, ==, -ECHILD);
        CHECK_INT(seen->exitcode, ==, -EBUSY);
        CHECK_INT(seen->pid, ==, crew_process_pid(p));
        CHECK_INT(seen->current_pid, ==, seen->pid);
        CHECK_INT(seen->parent_pid, ==, getpid());
        shared_free(seen, sizeof *seen);
}

TEST(current, "a main program is MainProcess and has no parent", "[live][process]")
{
        crew_process *me = crew_current_process();
        struct pollfd readable = { .events = POLLIN };

        REQUIRE(me != NULL);
        CHECK(crew_current_process() == me);
        CHECK_STR(crew_process_name(me), "MainProcess");
        CHECK_INT(crew_process_pid(me), ==, getpid());
        CHECK_INT(crew_process_is_alive(me), ==, 1);
        CHECK_INT(crew_process_daemon(me), ==, 0);
        CHECK_INT(crew_process_start(me), ==, -EALREADY);
        CHECK(crew_parent_process() == NULL);
        CHECK(crew_process_free(me) == NULL);
        CHECK_INT(crew_process_pid(me), ==, getpid());
        readable.fd = (int)REQUIRE_OK(crew_process_fd(me));
        CHECK_INT(poll(&readable, 1, 0), ==, 0);
}

TEST_METHODS(terminate_and_kill, "terminate and kill; join does not wait when told so",
        "[live][process]")
{
        for (int i = 0; i < 2; i++) {
                crew_auto(process) p = NULL;
                int64_t begun, took = INT64_MAX;
                int code;

                REQUIRE_OK(host_launch(&p, sleep_long, NULL, NULL));
                CHECK_INT(crew_process_is_alive(p), ==, 1);
                /* Whoever does not wait is quick in one of some rounds, if not in each. */
                for (int n = 0; n < 20 && took >= test_slow(CREW_MS(100)); n++) {
                        begun = crew_clock();
                        CHECK_INT(crew_process_join(p, CREW_NOW), ==, -EAGAIN);
                        CHECK_INT(crew_process_join(p, -1), ==, -EAGAIN);
                        CHECK_INT(crew_process_join(p, INT64_MIN), ==, -EAGAIN);
                        took = crew_clock() - begun;
                }
                CHECK_INT(took, <, test_slow(CREW_MS(100)));
                begun = crew_clock();
                CHECK_INT(crew_process_join(p, CREW_MS(30)), ==, -ETIMEDOUT);
                CHECK_INT(crew_clock() - begun, >=, CREW_MS(30));
                CHECK_INT(crew_process_exitcode(p, &code), ==, -EBUSY);
                CHECK_INT(i ? crew_process_kill(p) : crew_process_terminate(p), ==, 0);
                CHECK_INT(join_code(p), ==, i ? -SIGKILL : -SIGTERM);
                CHECK_INT(crew_process_terminate(p), ==, 0);
                CHECK_INT(crew_process_kill(p), ==, 0);
                CHECK_INT(crew_process_signal(p, 0), ==, 0);
                CHECK_INT(crew_process_signal(p, -1), ==, -EINVAL);
                CHECK_INT(crew_process_signal(p, 1000), ==, -EINVAL);
        }
}

TEST_METHODS(active_children, "only running children are active", "[live][process]")
{
        crew_process *p[3] = { NULL }, *active[3] = { NULL };

        for (int i = 0; i < 3; i++) {
                REQUIRE_OK(host_new(&p[i], sleep_long, NULL,
                        i == 2 ? CREW_OPT(process, .flags = CREW_PROCESS_DETACHED) : NULL));
                CHECK_INT(crew_active_children(NULL, 0), ==, i);
                REQUIRE_OK(crew_process_start(p[i]));
        }
        CHECK_INT(crew_active_children(active, 3), ==, 2);
        CHECK((active[0] == p[0] && active[1] == p[1]) || (active[0] == p[1] && active[1] == p[0]));
        CHECK_INT(crew_active_children(active, 1), ==, 2);
        CHECK_INT(crew_process_kill(p[0]), ==, 0);
        CHECK_INT(crew_process_join(p[0], CREW_S(5)), ==, 0);
        CHECK_INT(crew_active_children(active, 3), ==, 1);
        CHECK(active[0] == p[1]);
        for (int i = 1; i < 3; i++) {
                CHECK_INT(crew_process_kill(p[i]), ==, 0);
                CHECK_INT(join_code(p[i]), ==, -SIGKILL);
        }
        CHECK_INT(crew_active_children(NULL, 0), ==, 0);
        for (int i = 0; i < 3; i++)
                p[i] = crew_process_free(p[i]);
}

TEST_METHODS(
        freed_while_running, "a freed handle's child goes on and is collected", "[live][process]")
{
        crew_process *p = NULL, *active[1] = { NULL };
        pid_t pid;

        REQUIRE_OK(host_launch(&p, sleep_long, NULL, NULL));
        pid = crew_process_pid(p);
        CHECK(crew_process_free(p) == NULL);
        CHECK(peer_lives(pid));
        CHECK_INT(crew_active_children(active, 1), ==, 1);
        CHECK(active[0] == NULL);
        CHECK(kill(pid, SIGKILL) == 0);
        CHECK(EVENTUALLY(crew_active_children(NULL, 0) == 0, CREW_S(5)));
        /* A fork server that is not scheduled collects it later. */
        CHECK(EVENTUALLY(kill(pid, 0) == -1, CREW_S(5)));
        CHECK(crew_process_free(NULL) == NULL);
}

struct tree {
        atomic_int n;
        char order[16][32];
};

static int branch(void *arg)
{
        struct tree *tree = host_data;
        int depth = (int)(intptr_t)arg, at = atomic_fetch_add(&tree->n, 1), r = 0;

        (void)snprintf(tree->order[at], sizeof tree->order[at], "%s",
                crew_process_name(crew_current_process()));
        for (int i = 0; depth < 2 && i < 2; i++) {
                crew_auto(process) p = NULL;

                if (host_launch(&p, branch, (void *)(intptr_t)(depth + 1), NULL) < 0 ||
                        crew_process_join(p, CREW_S(10)) < 0)
                        r = 1;
        }
        return r;
}

TEST_METHODS(recursion, "children have children, named after them", "[live][process]")
{
        static const char *const order[] = { "", ":1", ":1:1", ":1:2", ":2", ":2:1", ":2:2" };
        struct tree *tree = host_data = shared_new(sizeof *tree);
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_launch(&p, branch, NULL, NULL));
        CHECK_INT(join_code(p), ==, 0);
        CHECK_INT(atomic_load(&tree->n), ==, 7);
        for (int i = 0; i < 7; i++) {
                char expected[64];

                (void)snprintf(expected, sizeof expected, "%s%s", crew_process_name(p), order[i]);
                CHECK_STR(tree->order[i], expected);
        }
        shared_free(tree, sizeof *tree);
}

static int wait_for_parent(void *arg)
{
        struct seen *seen = arg;
        crew_process *parent = crew_parent_process();
        int code;

        (void)snprintf(seen->parent, sizeof seen->parent, "%s", crew_process_name(parent));
        seen->join = crew_process_join(parent, CREW_S(10));
        seen->exitcode = crew_process_exitcode(parent, &code);
        seen->alive = crew_process_is_alive(parent);
        __atomic_store_n(&seen->daemon, 1, __ATOMIC_RELEASE); /* done */
        return 0;
}

static int parent_of_waiter(void *arg)
{
        crew_process *p = NULL;

        return host_launch(&p, wait_for_parent, arg,
                       CREW_OPT(process, .flags = CREW_PROCESS_DETACHED)) < 0;
}

TEST_METHODS(parent, "a child sees its parent die and can join it", "[live][process]")
{
        struct seen *seen = shared_new(sizeof *seen);
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_launch(&p, parent_of_waiter, seen, CREW_OPT(process, .name = "middle")));
        CHECK_INT(join_code(p), ==, 0);
        CHECK(EVENTUALLY(__atomic_load_n(&seen->daemon, __ATOMIC_ACQUIRE) == 1, CREW_S(5)));
        CHECK_STR(seen->parent, "middle");
        CHECK_INT(seen->join, ==, 0);
        CHECK_INT(seen->exitcode, ==, -ENODATA);
        CHECK_INT(seen->alive, ==, 0);
        shared_free(seen, sizeof *seen);
}

static int leader(void *arg)
{
        *(volatile pid_t *)arg = getpgid(0);
        return sleep_long(NULL);
}

TEST_METHODS(group, "a process leads its group from the start", "[live][process]")
{
        pid_t *group = shared_new(sizeof *group);
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_launch(&p, leader, group, CREW_OPT(process, .flags = CREW_PROCESS_GROUP)));
        CHECK_INT(getpgid(crew_process_pid(p)), ==, crew_process_pid(p));
        CHECK(EVENTUALLY(*(volatile pid_t *)group != 0, CREW_S(5)));
        CHECK_INT(*group, ==, crew_process_pid(p));
        CHECK(kill(-crew_process_pid(p), SIGTERM) == 0);
        CHECK_INT(join_code(p), ==, -SIGTERM);
        shared_free(group, sizeof *group);
}

static int first_bytes(void *arg)
{
        const unsigned char *bytes = arg;

        return bytes[0] + bytes[1];
}

TEST(argument, "arg_size copies the argument when the handle is made", "[live][process]")
{
        unsigned char bytes[2] = { 20, 3 };
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_new(&p, first_bytes, bytes, CREW_OPT(process, .arg_size = sizeof bytes)));
        bytes[0] = 99;
        REQUIRE_OK(crew_process_start(p));
        CHECK_INT(join_code(p), ==, 23);
}

TEST(bad_options, "what is refused, and that it leaves no trace", "[live][process]")
{
        crew_process *p = NULL;
        crew_process_options odd = { .size = 1 };
        struct {
                crew_process_options o;
                uint64_t newer;
        } longer = { .o = { .size = sizeof longer }, .newer = 0 };

        CHECK_INT(host_new(&p, NULL, NULL, NULL), ==, -EINVAL);
        CHECK_INT(host_new(&p, give, NULL, CREW_OPT(process, .flags = 1 << 20)), ==, -EINVAL);
        CHECK_INT(host_new(&p, give, NULL, CREW_OPT(process, .flags = 3)), ==, -EINVAL);
        CHECK_INT(host_new(&p, give, NULL, CREW_OPT(process, .method = 9)), ==, -EINVAL);
        CHECK_INT(host_new(&p, give, NULL, CREW_OPT(process, .arg_size = 9)), ==, -EINVAL);
        CHECK_INT(host_new(&p, give, NULL, &odd), ==, -EINVAL);
        CHECK(p == NULL);
        REQUIRE_OK(host_new(&p, give, NULL, &longer.o));
        p = crew_process_free(p);
        longer.newer = 1;
        CHECK_INT(host_new(&p, give, NULL, &longer.o), ==, -EINVAL);
        CHECK(p == NULL);
        CHECK_INT(crew_process_join(NULL, CREW_NOW), ==, -EINVAL);
        CHECK(strstr(crew_error_detail(), "handle") != NULL);
}

static int use_inherited(void *arg)
{
        crew_process **p = arg;
        crew_exit e = { .size = sizeof e };
        int code, wrong = 0;

        wrong += crew_process_start(*p) != -ECHILD;
        wrong += crew_process_join(*p, CREW_FOREVER) != -ECHILD;
        wrong += crew_join_all(p, 1, CREW_FOREVER) != -ECHILD;
        wrong += crew_process_is_alive(*p) != -ECHILD;
        wrong += crew_process_exitcode(*p, &code) != -ECHILD;
        wrong += crew_process_exit(*p, &e) != -ECHILD;
        wrong += crew_process_kill(*p) != -ECHILD;
        wrong += crew_process_fd(*p) != -ECHILD;
        wrong += crew_process_pid(*p) != -ECHILD;
        wrong += crew_process_daemon(*p) != -ECHILD;
        wrong += crew_active_children(NULL, 0) != 0;
        *p = crew_process_free(*p);
        return wrong;
}

TEST_HOSTS(inherited, "a forked child may only free its parent's handles", "[live][process]")
{
        crew_auto(process) running = NULL;
        crew_auto(process) child = NULL;
        int status;
        pid_t pid;

        REQUIRE_OK(crew_process_launch(&running, sleep_long, NULL, NULL));
        REQUIRE_OK(crew_process_launch(&child, use_inherited, &running, NULL));
        CHECK_INT(join_code(child), ==, 0);
        pid = fork();
        if (pid == 0) {
                int wrong = use_inherited(&running);

                wrong += crew_parent_process() != NULL;
                wrong += strcmp(crew_process_name(crew_current_process()), "MainProcess") != 0;
                _exit(wrong);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, ==, 0);
        CHECK_INT(crew_process_is_alive(running), ==, 1);
        CHECK_INT(crew_process_kill(running), ==, 0);
        CHECK_INT(join_code(running), ==, -SIGKILL);
}

TEST(stubborn, "a process that ignores SIGTERM is ended by kill only", "[live][process]")
{
        atomic_int *ready = shared_new(sizeof *ready);
        crew_auto(process) p = NULL;

        REQUIRE_OK(host_launch(&p, ignore_term, ready, NULL));
        CHECK(EVENTUALLY(atomic_load(ready), CREW_S(5)));
        CHECK_INT(crew_process_terminate(p), ==, 0);
        CHECK_INT(crew_process_join(p, CREW_MS(50)), ==, -ETIMEDOUT);
        CHECK_INT(crew_process_kill(p), ==, 0);
        CHECK_INT(join_code(p), ==, -SIGKILL);
        shared_free(ready, sizeof *ready);
}

TEST(cpus, "crew_cpu_count is at least one and CREW_CPUS overrides it", "[live][process]")
{
        int n = crew_cpu_count();

        CHECK_INT(n, >=, 1);
        CHECK_INT(n, <=, sysconf(_SC_NPROCESSORS_ONLN));
        (void)setenv("CREW_CPUS", "17", 1);
        CHECK_INT(crew_cpu_count(), ==, 17);
        for (size_t i = 0; i < 6; i++) {
                static const char *const bad[] = { "0", "-3", "many", "4x", "", "99999999999999" };

                (void)setenv("CREW_CPUS", bad[i], 1);
                CHECK_INT(crew_cpu_count(), ==, n);
        }
        (void)unsetenv("CREW_CPUS");
}
