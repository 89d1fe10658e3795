/* SPDX-License-Identifier: MIT */

/* Filters with a listener: they allow what the others allow, and the listener allows nothing. */

#include "check.h"
#include "peer.h"
#include "sandbox/bpf.h"
#include "sandbox/notify.h"
#include "sandbox/share.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/socket.h>

/* The words of crew run's profiles among them. */
static const char *const sets[] = { "exec", "rpath proc exec",
        "stdio rpath wpath cpath fattr thread proc exec",
        "stdio rpath wpath cpath fattr thread proc exec inet",
        "stdio rpath wpath cpath fattr thread proc exec unix" };

static unsigned answer(const crew__plan *p, unsigned nr, const uint64_t args[6])
{
        struct seccomp_data call = { .arch = crew__native_arch(), .nr = (int)nr };

        for (int i = 0; i < 6; i++)
                call.args[i] = args[i];
        return crew__bpf_run(p->filter.code, p->filter.length, &call);
}

static void fill(uint64_t args[6], int round, uint64_t *seed)
{
        for (int i = 0; i < 6; i++)
                args[i] = round == 0 ? 0 : peer_random(seed) >> (peer_random(seed) % 64);
}

TEST(same, "what a filter with a listener allows is what one without allows", "[unit][sandbox]")
{
        uint64_t seed = peer_seed(), args[6];

        peer_needs_seccomp();
        for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
                const crew__plan *foreign, *notify;
                crew_sandbox *policy = NULL;
                int differ = 0;

                INFO("%s", sets[s]);
                REQUIRE_OK(crew_sandbox_new(&policy, sets[s], CREW_LANDLOCK_OFF));
                REQUIRE_OK(crew__plan_get(&foreign, policy, CREW__FOREIGN, false));
                REQUIRE_OK(crew__plan_get(&notify, policy, CREW__NOTIFY, false));
                (void)crew_sandbox_free(policy);
                CHECK(notify->notify && !foreign->notify);
                for (unsigned nr = 0; nr < CREW__LAST_SYSCALL + 50; nr++) {
                        for (int round = 0; round < 8; round++) {
                                unsigned a, b;

                                fill(args, round, &seed);
                                a = answer(foreign, nr, args);
                                b = answer(notify, nr, args);
                                /* A refusal without a rule is what the listener is asked about;
                                 * and sockets, which it answers as the rules do. */
                                if (a == (SECCOMP_RET_ERRNO | EPERM))
                                        differ += b != SECCOMP_RET_USER_NOTIF && b != a;
                                else if (a == (SECCOMP_RET_ERRNO | EACCES))
                                        differ += b != SECCOMP_RET_USER_NOTIF;
                                else
                                        differ += a != b;
                        }
                }
                CHECK_INT(differ, ==, 0);
                crew__plan_put(foreign);
                crew__plan_put(notify);
        }
}

TEST(closed, "the calls that no word allows always ask the listener", "[unit][sandbox]")
{
        const uint64_t none[6] = { 0 };
        const crew__plan *plan;
        crew_sandbox *policy = NULL;

        peer_needs_seccomp();
        REQUIRE_OK(crew_sandbox_new(&policy, sets[2], CREW_LANDLOCK_OFF));
        REQUIRE_OK(crew__plan_get(&plan, policy, CREW__NOTIFY, false));
        for (const char *const *c = crew__closed_calls; *c; c++) {
                int nr = seccomp_syscall_resolve_name(*c);
                unsigned a = nr < 0 ? SECCOMP_RET_USER_NOTIF : answer(plan, (unsigned)nr, none);

                INFO("%s", *c);
                CHECK(a == SECCOMP_RET_USER_NOTIF ||
                        (a & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO);
        }
        crew__plan_put(plan);
        (void)crew_sandbox_free(policy);
}

TEST(polite, "a rule's errno is known for a call that it answers", "[unit][sandbox]")
{
        const uint64_t inet[6] = { AF_INET, SOCK_STREAM }, netlink[6] = { AF_NETLINK };
        const struct crew__scope closed = { .words = crew__words_closed(CREW__EXEC),
                .control = -1 };
        const struct crew__scope open = { .words = crew__words_closed(CREW__EXEC | CREW__INET),
                .control = -1 };

        CHECK_INT(crew__rules_error(&closed, "socket", inet), ==, EACCES);
        CHECK_INT(crew__rules_error(&open, "socket", inet), ==, 0);
        CHECK_INT(crew__rules_error(&open, "socket", netlink), ==, EACCES);
        CHECK_INT(crew__rules_error(&closed, "ptrace", inet), ==, 0);
        CHECK_INT(crew__rules_error(&closed, "clone3", inet), ==, ENOSYS);
}

TEST(shared, "a policy's plan is made once, until a path is added", "[unit][sandbox]")
{
        const crew__plan *first, *again, *other, *later;
        crew_sandbox *policy = NULL;

        peer_needs_seccomp();
        REQUIRE_OK(crew_sandbox_new(&policy, "rpath exec", CREW_LANDLOCK_OFF));
        REQUIRE_OK(crew__plan_get(&first, policy, CREW__HARD, false));
        REQUIRE_OK(crew__plan_get(&again, policy, CREW__HARD, false));
        REQUIRE_OK(crew__plan_get(&other, policy, CREW__FOREIGN, false));
        CHECK(first == again && first != other);
        REQUIRE_OK(crew_sandbox_path(policy, CREW_PATH_READ, "/usr"));
        REQUIRE_OK(crew__plan_get(&later, policy, CREW__HARD, false));
        CHECK(later != first);
        (void)crew_sandbox_free(policy);
        /* Whoever holds one still can use it. */
        CHECK(first->filter.length > 0 && later->filter.length > 0);
        crew__plan_put(first);
        crew__plan_put(again);
        crew__plan_put(other);
        crew__plan_put(later);
        crew__plan_put(NULL);
}
