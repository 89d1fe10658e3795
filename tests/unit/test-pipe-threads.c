/* SPDX-License-Identifier: MIT */

/* One handle of a connection, used by several threads at once. */

#include "check.h"

#include <crew/pipe.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SENDERS = 3, RECEIVERS = 2, EACH = 60 };

#define A_WHILE CREW_S(15)

struct shared {
        crew_connection *a, *b;
        _Atomic uint32_t started, received, sum;
};

struct message {
        uint32_t sender, number, size;
};

static size_t size_of(uint32_t number)
{
        static const size_t sizes[] = { 12, 5000, 65504, 65505, 150000 };

        return sizes[number % (sizeof sizes / sizeof *sizes)];
}

static void *sender(void *arg)
{
        struct shared *s = arg;
        uint32_t me = atomic_fetch_add(&s->started, 1);
        char *bytes = malloc(150000);

        REQUIRE(bytes != NULL);
        for (uint32_t i = 0; i < EACH; i++) {
                struct message *m = (struct message *)(void *)bytes;

                memset(bytes, (int)(me + 1), size_of(i));
                *m = (struct message){ .sender = me, .number = i, .size = (uint32_t)size_of(i) };
                REQUIRE_OK(crew_connection_send(s->b, bytes, size_of(i), A_WHILE));
        }
        free(bytes);
        return NULL;
}

static void *receiver(void *arg)
{
        struct shared *s = arg;
        void *buf = NULL;
        size_t cap = 0;
        ssize_t n;

        while ((n = crew_connection_recv_alloc(s->a, &buf, &cap, A_WHILE)) > 0) {
                const struct message *m = buf;
                const unsigned char *bytes = buf;

                REQUIRE((size_t)n >= sizeof *m && m->size == n && m->size == size_of(m->number));
                for (size_t i = sizeof *m; i < (size_t)n; i += 97)
                        REQUIRE(bytes[i] == m->sender + 1);
                (void)atomic_fetch_add(&s->received, 1);
                (void)atomic_fetch_add(&s->sum, m->number);
        }
        CHECK_INT(n, ==, 0);
        free(buf);
        return NULL;
}

TEST(threads, "threads that share both ends lose, mix and double nothing", "[unit][pipe][threads]")
{
        struct shared s = { .started = 0 };
        pthread_t senders[SENDERS], receivers[RECEIVERS];

        REQUIRE_OK(crew_pipe(&s.a, &s.b, false));
        for (int i = 0; i < RECEIVERS; i++)
                REQUIRE(pthread_create(&receivers[i], NULL, receiver, &s) == 0);
        for (int i = 0; i < SENDERS; i++)
                REQUIRE(pthread_create(&senders[i], NULL, sender, &s) == 0);
        for (int i = 0; i < SENDERS; i++)
                REQUIRE(pthread_join(senders[i], NULL) == 0);
        /* An empty message for each receiver: the end. */
        for (int i = 0; i < RECEIVERS; i++)
                REQUIRE_OK(crew_connection_send(s.b, NULL, 0, A_WHILE));
        for (int i = 0; i < RECEIVERS; i++)
                REQUIRE(pthread_join(receivers[i], NULL) == 0);
        CHECK_INT(atomic_load(&s.received), ==, SENDERS * EACH);
        CHECK_INT(atomic_load(&s.sum), ==, SENDERS * EACH * (EACH - 1) / 2);
        (void)crew_connection_free(s.a);
        (void)crew_connection_free(s.b);
}
