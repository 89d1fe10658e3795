/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_POOL_PORT_H
#define CREW_TESTS_POOL_PORT_H

/* What the cases that other projects' suites gave us need besides the pool's own. */

#include "pool-help.h"

/* Waits until it holds, for at most 10 s. */
#define SOON(condition)                                                                            \
        (__extension__({                                                                           \
                int64_t until_ = crew_clock() + test_slow(CREW_S(10));                             \
                while (!(condition) && crew_clock() < until_)                                      \
                        pause_ms(1);                                                               \
                (condition);                                                                       \
        }))

/* Memory that the case shares with its workers, which are made after it. */
UNUSED static void *shared_page(void)
{
        void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        REQUIRE(at != MAP_FAILED);
        return at;
}

UNUSED static void shared_page_free(void *at)
{
        (void)munmap(at, 4096);
}

UNUSED static int count_in(int *at)
{
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);
}

UNUSED static void count_one(int *at)
{
        (void)__atomic_add_fetch(at, 1, __ATOMIC_SEQ_CST);
}

#endif
