/* SPDX-License-Identifier: MIT */

/* Proves that the runner sees what it claims to see: each case here runs another one that must
 * fail. */

#include "check.h"
#include "inventory.h"
#include "isolate.h"
#include "peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs @body as a case; its verdict must be @verdict and its words must contain @expected. */
static void expect(void (*body)(void), enum test_verdict verdict, const char *expected)
{
        const struct test_case inner = { .body = body, .name = "inner", .tags = "" };
        char *words = NULL;
        int64_t patience = isolate_patience;

        /* What is there to be found does not go away. */
        if (verdict == TEST_FAILED)
                isolate_patience = 200000000;
        CHECK_INT(isolate_run(&inner, &words), ==, verdict);
        isolate_patience = patience;
        CHECK(strstr(words, expected) != NULL);
        INFO("the inner case said: %s", words);
        free(words);
}

static void nothing(void)
{
}

TEST(passes, "a case that does nothing passes", "[shim]")
{
        expect(nothing, TEST_PASSED, "");
}

static void failed_checks(void)
{
        CHECK(1 == 2);
        CHECK_INT(-11, ==, 3 + 1);
        CHECK_STR("one", NULL);
        CHECK_STR(NULL, NULL);
        CHECK_STR("same", "same");
}

TEST(checks_fail, "failed checks fail the case and print their values", "[shim]")
{
        expect(failed_checks, TEST_FAILED, "CHECK(1 == 2)");
        expect(failed_checks, TEST_FAILED, "-11 (-EAGAIN) against 4");
        expect(failed_checks, TEST_FAILED, "\"one\" against \"(null)\"");
}

static void require_then_crash(void)
{
        REQUIRE(1 == 2);
        abort();
}

static void require_ok_then_crash(void)
{
        REQUIRE_OK(-32);
        abort();
}

TEST(require_leaves, "a failed REQUIRE leaves the case at once", "[shim]")
{
        expect(require_then_crash, TEST_FAILED, "REQUIRE(1 == 2)");
        expect(require_ok_then_crash, TEST_FAILED, "-32 (-EPIPE)");
}

static void *check_in_thread(void *unused)
{
        CHECK(!"in a thread");
        return unused;
}

static void *require_in_thread(void *unused)
{
        REQUIRE(!"in a thread");
        return unused;
}

static void thread_checks(void)
{
        pthread_t thread;

        REQUIRE(pthread_create(&thread, NULL, check_in_thread, NULL) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
}

static void thread_requires(void)
{
        pthread_t thread;

        REQUIRE(pthread_create(&thread, NULL, require_in_thread, NULL) == 0);
        (void)pause();
}

TEST(thread_counts, "a failure in a thread fails the case", "[shim]")
{
        expect(thread_checks, TEST_FAILED, "CHECK(!\"in a thread\")");
        expect(thread_requires, TEST_FAILED, "REQUIRE(!\"in a thread\")");
}

static void grandchild_checks(void)
{
        pid_t pid = fork();

        if (pid == 0) {
                pid = fork();
                if (pid == 0) {
                        for (int fd = 0; fd < 64; fd++)
                                (void)close(fd);
                        CHECK(!"two forks down, without descriptors");
                        _exit(0);
                }
                (void)waitpid(pid, NULL, 0);
                _exit(0);
        }
        REQUIRE(waitpid(pid, NULL, 0) == pid);
}

static void grandchild_returns(void)
{
        pid_t pid = fork();

        if (pid > 0)
                REQUIRE(waitpid(pid, NULL, 0) == pid);
}

TEST(grandchild_counts, "a failure in a forked process fails the case", "[shim]")
{
        expect(grandchild_checks, TEST_FAILED, "two forks down");
        expect(grandchild_checks, TEST_FAILED, "[in process ");
        expect(grandchild_returns, TEST_FAILED, "returned from its body");
}

static void segfaults(void)
{
        (void)raise(SIGSEGV);
}

static void is_killed(void)
{
        (void)raise(SIGKILL);
}

static void exits(void)
{
        exit(0);
}

static void fails_at_exit(void)
{
        _exit(3);
}

static void exits_badly_later(void)
{
        (void)atexit(fails_at_exit);
}

TEST(crashes, "a crash or an exit inside a case fails it", "[shim]")
{
        expect(is_killed, TEST_FAILED, "killed by signal 9");
        /* A sanitizer turns this one into an exit. */
        expect(segfaults, TEST_FAILED, "");
        expect(exits, TEST_FAILED, "ended itself with status 0");
        expect(exits_badly_later, TEST_FAILED, "status 3 after the body returned");
}

static void hangs(void)
{
        TEST_DEADLINE(0.2);
        if (fork() >= 0) {
                for (;;)
                        (void)pause();
        }
}

TEST(deadline_holds, "a case that hangs is dumped and killed with all its processes", "[shim]")
{
        expect(hangs, TEST_FAILED, "deadline: still running after ");
        expect(hangs, TEST_FAILED, "thread");
        CHECK(waitpid(-1, NULL, WNOHANG) == -1);
}

static void leaks_descriptor(void)
{
        (void)!open("/dev/null", O_RDONLY);
}

static void allowed_descriptor(void)
{
        TEST_ALLOW_FDS(1);
        leaks_descriptor();
}

static void closes_foreign(void)
{
        (void)close(STDIN_FILENO);
}

TEST(descriptors, "descriptors left open or closed wrongly are seen", "[shim]")
{
        expect(leaks_descriptor, TEST_FAILED, "descriptor left behind: ");
        expect(leaks_descriptor, TEST_FAILED, "-> /dev/null");
        expect(allowed_descriptor, TEST_PASSED, "");
        expect(closes_foreign, TEST_FAILED, "descriptor gone: 0 -> /dev/null");
}

static void leaks_child(void)
{
        if (fork() == 0) {
                for (;;)
                        (void)pause();
        }
}

static void leaks_zombie(void)
{
        if (fork() == 0)
                _exit(0);
}

static void allowed_child(void)
{
        TEST_ALLOW_CHILDREN(1);
        leaks_child();
}

/* The direct child is gone when the counts are compared: only the runner can find what it left. */
static void leaks_orphan(void)
{
        pid_t pid = fork();

        if (pid == 0) {
                (void)setsid();
                leaks_child();
                _exit(0);
        }
        REQUIRE(waitpid(pid, NULL, 0) == pid);
}

TEST(children, "processes left behind are seen and killed", "[shim]")
{
        expect(leaks_child, TEST_FAILED, "child process left behind: ");
        expect(leaks_zombie, TEST_FAILED, "child process left behind: ");
        expect(allowed_child, TEST_PASSED, "");
        expect(leaks_orphan, TEST_FAILED, "1 processes outlived the case");
        CHECK(waitpid(-1, NULL, WNOHANG) == -1);
}

static void leaks_mapping(void)
{
        int fd = memfd_create("forgotten", MFD_CLOEXEC);

        REQUIRE(fd >= 0);
        REQUIRE(ftruncate(fd, 4096) == 0);
        REQUIRE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
        (void)close(fd);
}

static void allowed_mapping(void)
{
        TEST_ALLOW_MAPPINGS(1);
        leaks_mapping();
}

static void grows_heap(void)
{
        static char *volatile block[64];

        for (int i = 0; i < 64; i++)
                block[i] = malloc((size_t)1 << (i % 21));
        for (int i = 0; i < 64; i++)
                free(block[i]);
}

TEST(mappings, "shared mappings left behind are seen, heap growth is not", "[shim]")
{
        expect(leaks_mapping, TEST_FAILED, "shared mapping left behind: ");
        expect(leaks_mapping, TEST_FAILED, "memfd:forgotten");
        expect(allowed_mapping, TEST_PASSED, "");
        expect(grows_heap, TEST_PASSED, "");
}

static void *sleeps(void *unused)
{
        (void)pause();
        return unused;
}

static void leaks_thread(void)
{
        pthread_t thread;

        REQUIRE(pthread_create(&thread, NULL, sleeps, NULL) == 0);
}

TEST(threads, "a thread left running is seen", "[shim]")
{
        if (!inventory_has_threads())
                SKIP("under ThreadSanitizer threads are not counted");
        expect(leaks_thread, TEST_FAILED, "thread left behind: ");
}

static void skips(void)
{
        SKIP("no %s here", "kernel");
}

static void skips_after_failure(void)
{
        CHECK(1 == 2);
        SKIP("too late");
}

TEST(skipping, "a skip has a reason and hides no failure", "[shim]")
{
        expect(skips, TEST_SKIPPED, "no kernel here");
        expect(skips_after_failure, TEST_FAILED, "CHECK(1 == 2)");
}

static void informs(void)
{
        for (int i = 0; i < 100; i++)
                INFO("step %d", i);
        abort();
}

TEST(infos, "the last context lines survive a crash", "[shim]")
{
        expect(informs, TEST_FAILED, "info: step 99");
}

static void fails_often(void)
{
        for (int i = 0; i < 100000; i++)
                CHECK(i < 0);
}

TEST(flood, "a flood of failures is cut and counted", "[shim]")
{
        expect(fails_often, TEST_FAILED, "100000 failures in all");
}

static int warmed;

static void warm(void)
{
        warmed = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void uses_lasting_state(void)
{
        REQUIRE(warmed > 0);
}

TEST(warm_up, "what a warm-up opens was there before", "[shim]")
{
        test_warm_up(warm);
        expect(uses_lasting_state, TEST_PASSED, "");
}

TEST(scale, "iteration counts follow CREW_TEST_SCALE", "[shim]")
{
        REQUIRE(unsetenv("CREW_TEST_SCALE") == 0);
        CHECK_INT(test_scale(100000, 10), ==, 1000);
        CHECK_INT(test_scale(100, 10), ==, 10);
        CHECK_INT(test_scale(5, 0), ==, 1);
        REQUIRE(setenv("CREW_TEST_SCALE", "250", 1) == 0);
        CHECK_INT(test_scale(1000, 1), ==, 2500);
        CHECK_INT(test_scale(3, 1), ==, 7);
}

TEST(eventually, "what is waited for counts as it was at the last look", "[shim]")
{
        int looks = 0;

        CHECK(EVENTUALLY(++looks == 3, PEER_MS(10000)));
        CHECK_INT(looks, ==, 3);
        CHECK(!EVENTUALLY(++looks == 3, PEER_MS(1)));
        CHECK_INT(looks, >=, 5);
}
