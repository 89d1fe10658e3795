/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_PIPE_TEN_H
#define CREW_TESTS_PIPE_TEN_H

/*
 * CPython: TestWait.test_wait and test_wait_integer, with the ends of the children beside their
 * messages. Each child sends its number and one of 0 to 9 with it, and ends.
 */

#include "check.h"

#include <crew/crew.h>
#include <errno.h>

enum { TEN_CHILDREN = 6 };
#define TEN_PATIENCE CREW_S(15)

static inline int send_ten(crew_connection *c, int number)
{
        for (int i = 0; i < 10; i++) {
                int message[2] = { number, i };

                if (CREW_SEND(c, &message, TEN_PATIENCE) < 0)
                        return -1;
        }
        return 0;
}

struct tens {
        crew_waiter *w;
        int n;
        struct ten {
                crew_connection *c;
                crew_process *p;
                int message[2], next;
        } child[TEN_CHILDREN];
};

/* Takes over both of the next child. */
static inline void tens_add(struct tens *t, crew_connection *c, crew_process *p)
{
        struct ten *child = &t->child[t->n];

        *child = (struct ten){ .c = c, .p = p };
        REQUIRE_OK(
                crew_waiter_recv(t->w, c, child->message, sizeof child->message, (uint64_t)t->n));
        REQUIRE_OK(crew_waiter_join(t->w, p, TEN_CHILDREN + (uint64_t)t->n));
        t->n++;
}

static inline void tens_take_all(struct tens *t)
{
        int ended = 0, joined = 0;

        while (ended + joined < 2 * t->n) {
                crew_completion done[3];
                int n = (int)REQUIRE_OK(crew_waiter_wait(t->w, done, 3, TEN_PATIENCE));

                for (int k = 0; k < n; k++) {
                        struct ten *child = &t->child[done[k].tag % TEN_CHILDREN];

                        if (done[k].kind == CREW_JOINED) {
                                CHECK_INT(done[k].result, ==, 0);
                                joined++;
                        } else if (done[k].result < 0) {
                                CHECK_INT(done[k].result, ==, -EPIPE);
                                ended++;
                        } else {
                                CHECK_INT(child->message[0], ==, done[k].tag);
                                CHECK_INT(child->message[1], ==, child->next++);
                                REQUIRE_OK(crew_waiter_recv(t->w, child->c, child->message,
                                        sizeof child->message, done[k].tag));
                        }
                }
        }
}

/* Waits until both of each have ended. */
static inline void tens_end(struct tens *t)
{
        tens_take_all(t);
        for (int i = 0; i < t->n; i++) {
                struct ten *child = &t->child[i];
                int code = -1;

                CHECK_INT(child->next, ==, 10);
                REQUIRE_OK(crew_process_exitcode(child->p, &code));
                CHECK_INT(code, ==, 0);
                child->c = crew_connection_free(child->c);
                child->p = crew_process_free(child->p);
        }
}

#endif
