/* SPDX-License-Identifier: MIT */

/*
 * Applications killed at random moments with processes of every start method, pools and queues
 * alive: soon nothing of them lives, and no name is left anywhere.
 */

#include "host.h"
#include "peer.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { HANDLES = 6 };

static int spin(void *arg)
{
        (void)arg;
        (void)signal(SIGTERM, SIG_IGN);
        for (;;)
                (void)sleep(1000);
        return 0;
}

static int compute(void *arg)
{
        volatile unsigned n = 0;

        (void)arg;
        for (;;)
                n++;
        return 0;
}

static int feed(void *arg)
{
        crew_auto(queue) q = NULL;
        crew_ref ref;

        memcpy(&ref, arg, sizeof ref);
        if (crew_queue_open(&q, ref) < 0)
                return 1;
        for (unsigned i = 0;; i++) {
                if (CREW_PUT(q, &i, CREW_S(10)) < 0)
                        return 1;
        }
}

/* How many were started, by method; then pools, by method, and things with a name or a segment. */
static atomic_int *started;
enum { POOLS = CREW_METHOD_SPAWN, THINGS = POOLS + CREW_METHOD_SPAWN + 1, KINDS };

static bool all_started(void)
{
        for (int i = CREW_METHOD_FORK; i < KINDS; i++) {
                if (atomic_load(&started[i]) == 0)
                        return false;
        }
        return true;
}

static int start_one(uint64_t *seed, crew_queue *q, crew_process **p)
{
        static crew_target_fn *const targets[] = { spin, compute, feed };
        crew_ref ref = crew_queue_ref(q);
        crew_process_options o = { .size = sizeof o, .flags = CREW_PROCESS_DAEMON };
        int r;

        o.method = CREW_METHOD_FORK + (int)(peer_random(seed) % 3);
        o.arg_size = sizeof ref;
        if (o.method != CREW_METHOD_FORK) {
                o.grants = &ref;
                o.n_grants = 1;
        }
        r = crew_process_launch(p, targets[peer_random(seed) % 3], &ref, &o);
        if (r == 0)
                atomic_fetch_add(&started[o.method], 1);
        return r;
}

static int work(crew_task *t, const void *arg, size_t size)
{
        (void)size;
        (void)usleep(*(const unsigned *)arg);
        return crew_task_return(t, arg, sizeof(unsigned));
}

static void renew_pool(uint64_t *seed, crew_queue *q, crew_pool **pool)
{
        int method = CREW_METHOD_FORK + (int)(peer_random(seed) % 3);
        crew_ref ref = crew_queue_ref(q);

        *pool = crew_pool_free(*pool);
        if (crew_pool_new(pool, 1 + (unsigned)(peer_random(seed) % 3),
                    CREW_OPT(pool, .grants = &ref, .n_grants = peer_random(seed) % 2,
                            .method = method)) == 0)
                atomic_fetch_add(&started[POOLS + method], 1);
}

/* A queue under a name that knows its holders, a pipe, and a lock in shared memory, held. */
static void make_things(uint64_t *seed)
{
        crew_connection *here = NULL, *there = NULL;
        crew_queue *q = NULL;
        crew_shm *m = NULL;
        char name[32];

        (void)snprintf(name, sizeof name, "orphan-%llu", (unsigned long long)peer_random(seed));
        if (crew_queue_new(&q, 4, CREW_OPT(queue, .flags = CREW_QUEUE_EOF)) < 0 ||
                crew_queue_publish(q, name) < 0 || crew_pipe(&here, &there, true) < 0 ||
                crew_shm_new(&m, sizeof(crew_lock), NULL) < 0 ||
                crew_lock_init(crew_shm_data(m)) < 0 ||
                crew_lock_acquire(crew_shm_data(m), CREW_NOW) < 0)
                _exit(1);
        atomic_fetch_add(&started[THINGS], 1);
}

static void some_tasks(uint64_t *seed, crew_pool *pool)
{
        for (int i = 0; pool && i < 10; i++) {
                unsigned nap = (unsigned)(peer_random(seed) % 2000);

                (void)crew_pool_apply_async(pool, work, &nap, sizeof nap, NULL, NULL);
        }
}

/* Never returns. */
static void application(uint64_t seed)
{
        crew_process *p[HANDLES] = { NULL };
        crew_pool *pool = NULL;
        crew_queue *q = NULL;
        struct second_thread t;

        if (peer_random(&seed) % 2)
                second_thread_start(&t);
        if (crew_queue_new(&q, 16, NULL) < 0)
                _exit(1);
        make_things(&seed);
        for (;;) {
                size_t i = peer_random(&seed) % HANDLES;
                unsigned n;

                switch (peer_random(&seed) % 8) {
                case 0:
                        renew_pool(&seed, q, &pool);
                        break;
                case 1:
                case 2:
                        some_tasks(&seed, pool);
                        break;
                case 3:
                        (void)CREW_GET(q, &n, CREW_MS(1));
                        break;
                default:
                        if (p[i]) {
                                (void)crew_process_kill(p[i]);
                                (void)crew_process_join(p[i], CREW_S(5));
                                p[i] = crew_process_free(p[i]);
                        }
                        (void)start_one(&seed, q, &p[i]);
                }
        }
}

/* Directories where others leave things, as this case alone sees them; false: not here. */
static bool own_directories(void)
{
        static const char *const paths[] = { "/dev/shm", "/tmp" };

        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return false;
        for (size_t i = 0; i < 2; i++) {
                if (mount("crew", paths[i], "tmpfs", 0, NULL) < 0)
                        return false;
        }
        return mkdir("/tmp/run", 0700) == 0 && setenv("XDG_RUNTIME_DIR", "/tmp/run", 1) == 0;
}

static int entries(const char *path)
{
        DIR *d = opendir(path);
        int n = 0;

        REQUIRE(d != NULL);
        while (readdir(d))
                n++;
        (void)closedir(d);
        return n - 2;
}

/* Within this it is over, except where somebody waits for a processor; then it is tried again. */
#define IN_TIME CREW_MS(500)
#define AT_LAST CREW_S(10)
enum { TRIES = 5 };

/*
 * All that the application made become this process's children when it is gone. What this one waits
 * for a processor, so may those that end or kill: that is the machine's time. Each look takes at
 * least half a millisecond of the bound all the same, so it comes to its end. Answers how long it
 * took without the machine's time.
 */
static int64_t all_gone(void)
{
        int64_t begun = crew_clock(), before, lost = 0;
        pid_t pid;

        for (;;) {
                while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
                        ;
                before = crew_clock();
                if (pid < 0 || before - begun - lost >= test_slow(AT_LAST))
                        return before - begun - lost;
                (void)usleep(500);
                if (crew_clock() - before > CREW_MS(2))
                        lost += crew_clock() - before - CREW_MS(1);
        }
}

/* The application of that seed is killed at that moment; how long that took. */
static int64_t kill_one(uint64_t seed, uint64_t moment)
{
        pid_t app = fork();
        int status;

        if (app == 0) {
                application(seed);
                _exit(1);
        }
        (void)usleep((useconds_t)moment);
        CHECK_INT(kill(app, SIGKILL), ==, 0);
        CHECK_INT(waitpid(app, &status, 0), ==, app);
        CHECK(WIFSIGNALED(status));
        return all_gone();
}

TEST(killed, "of an application that is killed nothing lives and no name is left",
        "[stress][process]")
{
        uint64_t seed = peer_seed();
        int64_t worst = 0, took = 0;
        bool alone = own_directories();

        TEST_DEADLINE(600);
        started = shared_new(KINDS * sizeof *started);
        REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        /* On a slow machine one or the other kind may take some rounds more to turn up. */
        for (long long round = test_scale(200, 8), more = 200;
                round > 0 || (!all_started() && more-- > 0); round--) {
                uint64_t moment = peer_random(&seed) % (uint64_t)test_slow(200000);
                uint64_t its = peer_random(&seed);
                int tries = 0;

                do {
                        took = kill_one(its, moment);
                        worst = took > worst ? took : worst;
                } while (
                        took >= test_slow(IN_TIME) && took < test_slow(AT_LAST) && ++tries < TRIES);
                if (!CHECK_INT(took, <, test_slow(IN_TIME))) {
                        INFO("seed 0x%llx, after %lld us", (unsigned long long)its,
                                (long long)moment);
                        break;
                }
        }
        for (int i = CREW_METHOD_FORK; i < KINDS; i++)
                CHECK_INT(atomic_load(&started[i]), >, 0);
        INFO("the slowest took %lld us", (long long)worst / 1000);
        if (alone) {
                CHECK_INT(entries("/dev/shm"), ==, 0);
                CHECK_INT(entries("/tmp/run"), ==, 0);
                CHECK_INT(entries("/tmp"), ==, 1);
        }
}
