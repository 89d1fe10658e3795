/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "kernel/features.h"
#include "kernel/pulse.h"
#include "kernel/syscall.h"
#include "peer.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct shared {
        crew__pulse pulse;
        _Atomic uint32_t ready;
        bool robust_too; /* takes and drops a robust mutex of its own beside it */
        crew__pulse other;
};

static void live(void *memory)
{
        struct shared *s = memory;

        REQUIRE(crew__pulse_take(&s->pulse) == 0);
        if (s->robust_too) {
                for (int i = 0; i < 3; i++) {
                        REQUIRE(crew__pulse_take(&s->other) == 0);
                        (void)pthread_mutex_unlock(&s->other.mutex);
                        memset(&s->other, 0, sizeof s->other);
                }
        }
        atomic_store(&s->ready, 1);
        for (;;)
                (void)pause();
}

static void dies(int sig, bool robust_too)
{
        struct shared *s = peer_memory(sizeof *s);
        _Atomic uint32_t *word = crew__pulse_word(&s->pulse);
        int64_t until = crew_clock() + test_slow(PEER_MS(10000));
        uint32_t known = 0, seen;
        pid_t pid;

        REQUIRE(word != NULL);
        CHECK(!crew__pulse_stopped(*word, &known) && known == 0);
        s->robust_too = robust_too;
        pid = peer_start(live, s);
        REQUIRE(peer_await(&s->ready, 1, PEER_MS(10000)));
        seen = *word;
        CHECK(!crew__pulse_stopped(seen, &known));
        CHECK_INT(known & FUTEX_TID_MASK, ==, pid);
        CHECK(known & FUTEX_WAITERS);
        (void)kill(pid, sig);
        /* The one wake there is reaches the one who sleeps. */
        while (*word == seen && crew_clock() < until)
                (void)crew__sys_futex_wait(word, seen, until);
        CHECK(crew_clock() < until);
        CHECK(crew__pulse_stopped(*word, &known));
        CHECK(*word & FUTEX_OWNER_DIED);
        (void)peer_join(pid);
        peer_memory_free(s, sizeof *s);
}

TEST(marked, "the end of a thread is marked in its word, and wakes who sleeps on it",
        "[unit][pulse]")
{
        if (!crew__has(CREW__ROBUST_LIST))
                SKIP("without robust lists nothing marks a death");
        dies(SIGKILL, false);
        dies(SIGTERM, false);
}

TEST(beside, "robust mutexes that come and go beside it do not matter", "[unit][pulse]")
{
        if (!crew__has(CREW__ROBUST_LIST))
                SKIP("without robust lists nothing marks a death");
        dies(SIGKILL, true);
}

TEST(lies, "a word that is overwritten counts as an end", "[unit][pulse]")
{
        uint32_t known = 0;

        CHECK(!crew__pulse_stopped(0, &known));
        CHECK(!crew__pulse_stopped(77, &known) && known == 0); /* between two instructions */
        CHECK(!crew__pulse_stopped(77 | FUTEX_WAITERS, &known));
        CHECK(!crew__pulse_stopped(77 | FUTEX_WAITERS, &known));
        CHECK(crew__pulse_stopped(78 | FUTEX_WAITERS, &known));
        CHECK(crew__pulse_stopped(0, &known));
        known = 0;
        CHECK(crew__pulse_stopped(FUTEX_OWNER_DIED, &known));
}

TEST(without, "without robust lists the word stays 0", "[unit][pulse]")
{
        crew__pulse pulse = { 0 };

        setenv("CREW_DISABLE", "robust_list", 1);
        atomic_store(&crew__feature_answers[CREW__ROBUST_LIST], 0);
        CHECK(crew__pulse_word(&pulse) == NULL);
        CHECK_INT(crew__pulse_take(&pulse), ==, -EOPNOTSUPP);
}
