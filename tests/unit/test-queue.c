/* SPDX-License-Identifier: MIT */

/* One process and a queue: sizes, limits, options, errors. */

#include "check.h"
#include "peer.h"

#include <crew/queue.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static size_t page(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

static crew_queue *make(size_t max, const crew_queue_options *o)
{
        crew_queue *q = NULL;

        REQUIRE_OK(crew_queue_new(&q, max, o));
        REQUIRE(q != NULL);
        return q;
}

static void fill_with(unsigned char *p, size_t size, unsigned seed)
{
        for (size_t i = 0; i < size; i++)
                p[i] = (unsigned char)(seed + i * 31 + (i >> 8));
}

static bool filled_with(const unsigned char *p, size_t size, unsigned seed)
{
        for (size_t i = 0; i < size; i++) {
                if (p[i] != (unsigned char)(seed + i * 31 + (i >> 8)))
                        return false;
        }
        return true;
}

/* Through the queue and back, unharmed, with guard bytes behind the buffer. */
static void round_trip(crew_queue *q, unsigned char *out, unsigned char *in, size_t size)
{
        fill_with(out, size, (unsigned)size);
        memset(in, 0xee, size + 8);
        REQUIRE_OK(crew_queue_put(q, out, size, CREW_NOW));
        CHECK_INT(crew_queue_get(q, in, size, CREW_NOW), ==, size);
        CHECK(filled_with(in, size, (unsigned)size));
        CHECK(filled_with(in + size, 0, 0) && in[size] == 0xee && in[size + 7] == 0xee);
}

TEST(every_size, "messages of every size come out as they went in", "[unit][queue]")
{
        size_t most = page() - 8;
        unsigned char *out = malloc(most + 8), *in = malloc(most + 16);
        crew_auto(queue) q = make(0, CREW_OPT(queue, .bytes = 1));

        REQUIRE(out && in);
        for (size_t size = 0; size <= most; size += size < 300 ? 1 : 97)
                round_trip(q, out, in, size);
        round_trip(q, out, in, most);
        CHECK_INT(crew_queue_put(q, out, most + 1, CREW_S(9)), ==, -EMSGSIZE);
        CHECK_INT(crew_queue_put(q, out, SIZE_MAX, CREW_S(9)), ==, -EMSGSIZE);
        CHECK(crew_queue_empty(q));
        free(out);
        free(in);
}

TEST(bytes_rule, "a message of `bytes` fits and the ring is a power of two", "[unit][queue]")
{
        size_t p = page();
        const struct {
                size_t bytes, ring;
        } rules[] = {
                { 1, p },
                { p - 9, p },
                { p - 8, p },
                { p - 7, 2 * p },
                { p, 2 * p },
                { 2 * p - 8, 2 * p },
                { 2 * p, 4 * p },
                { 100000, 1 << 17 },
                { 0, MIB },
                { MIB, 2 * MIB },
        };
        char *buf = malloc(2 * MIB);

        REQUIRE(buf);
        memset(buf, 7, 2 * MIB);
        for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
                size_t ring = rules[i].ring < p ? p : rules[i].ring;
                crew_auto(queue) q = make(0, CREW_OPT(queue, .bytes = rules[i].bytes));

                INFO("bytes %zu", rules[i].bytes);
                CHECK_INT(crew_queue_put(q, buf, rules[i].bytes, CREW_NOW), ==, 0);
                CHECK_INT(crew_queue_get(q, buf, 2 * MIB, CREW_NOW), ==, rules[i].bytes);
                CHECK_INT(crew_queue_put(q, buf, ring - 8, CREW_NOW), ==, 0);
                CHECK(crew_queue_full(q));
                CHECK_INT(crew_queue_bytes(q), ==, ring);
                CHECK_INT(crew_queue_put(q, buf, 0, CREW_NOW), ==, -EAGAIN);
                CHECK_INT(crew_queue_get(q, buf, 2 * MIB, CREW_NOW), ==, ring - 8);
                CHECK_INT(crew_queue_put(q, buf, ring - 7, CREW_NOW), ==, -EMSGSIZE);
        }
        free(buf);
}

TEST(accounting, "a message occupies its size and 8, rounded up to 8", "[unit][queue]")
{
        const size_t sizes[] = { 0, 1, 7, 8, 9, 15, 16, 17, 100 };
        char buf[128] = "";
        crew_auto(queue) q = make(0, NULL);
        size_t bytes = 0, n = 0;

        CHECK_INT(crew_queue_count(q), ==, 0);
        CHECK_INT(crew_queue_bytes(q), ==, 0);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                REQUIRE_OK(crew_queue_put(q, buf, sizes[i], CREW_NOW));
                bytes += (sizes[i] + 8 + 7) / 8 * 8;
                CHECK_INT(crew_queue_bytes(q), ==, bytes);
                CHECK_INT(crew_queue_count(q), ==, ++n);
                CHECK(!crew_queue_empty(q));
                CHECK(!crew_queue_full(q));
        }
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, sizes[i]);
        CHECK_INT(crew_queue_bytes(q), ==, 0);
        CHECK(crew_queue_empty(q));
}

TEST(to_the_brim, "a ring takes exactly what its bytes allow", "[unit][queue]")
{
        for (size_t size = 0; size <= 64; size += 8) {
                crew_auto(queue) q = make(0, CREW_OPT(queue, .bytes = page() - 8));
                size_t fits = page() / (size + 8), n = 0;
                char buf[64] = "";

                while (crew_queue_put(q, buf, size, CREW_NOW) == 0)
                        n++;
                CHECK_INT(n, ==, fits);
                CHECK_INT(crew_queue_count(q), ==, fits);
                CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, size);
                CHECK_INT(crew_queue_put(q, buf, size, CREW_NOW), ==, 0);
                CHECK_INT(crew_queue_put(q, buf, size, CREW_NOW), ==,
                        page() % (size + 8) >= size + 8 ? 0 : -EAGAIN);
        }
}

TEST(message_limit, "a queue of n messages takes n, whatever their size", "[unit][queue]")
{
        const size_t limits[] = { 1, 2, 3, 10, 1000 };
        int value = 0, got;

        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
                crew_auto(queue) q = make(limits[i], NULL);

                for (size_t n = 0; n < limits[i]; n++) {
                        CHECK(!crew_queue_full(q));
                        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
                        value++;
                }
                CHECK(crew_queue_full(q));
                CHECK_INT(CREW_PUT(q, &value, CREW_NOW), ==, -EAGAIN);
                CHECK_INT(crew_queue_put(q, NULL, 0, CREW_MS(1)), ==, -ETIMEDOUT);
                REQUIRE_OK(CREW_GET(q, &got, CREW_NOW));
                CHECK_INT(got, ==, value - (int)limits[i]);
                CHECK(!crew_queue_full(q));
                REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
                value++;
        }
}

TEST(fixed_size, "a queue with a message size takes no other", "[unit][queue]")
{
        crew_auto(queue) q = make(0, CREW_OPT(queue, .message_size = 24, .bytes = page() - 8));
        char buf[64] = "twenty-four bytes of it";

        CHECK_INT(crew_queue_put(q, buf, 23, CREW_S(9)), ==, -EBADMSG);
        CHECK_INT(crew_queue_put(q, buf, 25, CREW_S(9)), ==, -EBADMSG);
        CHECK_INT(crew_queue_put(q, buf, 0, CREW_S(9)), ==, -EBADMSG);
        CHECK(crew_queue_empty(q));
        for (size_t i = 0; i < page() / 32; i++) {
                CHECK(!crew_queue_full(q));
                REQUIRE_OK(crew_queue_put(q, buf, 24, CREW_NOW));
        }
        CHECK(crew_queue_full(q));
        memset(buf, 0, sizeof buf);
        CHECK_INT(crew_queue_get(q, buf, sizeof buf, CREW_NOW), ==, 24);
        CHECK_STR(buf, "twenty-four bytes of it");
}

TEST(too_small, "a message that is larger than the buffer stays", "[unit][queue]")
{
        crew_auto(queue) q = make(0, NULL);
        char out[100], buf[100];

        memset(out, 'm', sizeof out);
        REQUIRE_OK(crew_queue_put(q, out, 100, CREW_NOW));
        REQUIRE_OK(crew_queue_put(q, out, 3, CREW_NOW));
        memset(buf, 'u', sizeof buf);
        CHECK_INT(crew_queue_get(q, buf, 99, CREW_S(9)), ==, -EMSGSIZE);
        CHECK(strstr(crew_error_detail(), "100") && strstr(crew_error_detail(), "99"));
        CHECK_INT(crew_queue_get(q, NULL, 0, CREW_NOW), ==, -EMSGSIZE);
        CHECK_INT(buf[0], ==, 'u');
        CHECK_INT(crew_queue_count(q), ==, 2);
        CHECK_INT(crew_queue_get(q, buf, 100, CREW_NOW), ==, 100);
        CHECK_INT(buf[99], ==, 'm');
        CHECK_INT(crew_queue_get(q, buf, 100, CREW_NOW), ==, 3);
}

TEST(exact, "a get of one size leaves every other", "[unit][queue]")
{
        crew_auto(queue) q = make(0, NULL);
        int64_t value = 5, got = -1;
        int other = 7;

        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        CHECK_INT(CREW_GET(q, &other, CREW_S(9)), ==, -EBADMSG);
        CHECK_INT(other, ==, 7);
        CHECK_INT(crew_queue_get_exact(q, &got, 9, CREW_NOW), ==, -EBADMSG);
        CHECK_INT(crew_queue_get_exact(q, NULL, 0, CREW_NOW), ==, -EBADMSG);
        CHECK_INT(crew_queue_count(q), ==, 1);
        CHECK_INT(CREW_GET(q, &got, CREW_NOW), ==, 0);
        CHECK_INT(got, ==, 5);
        CHECK_INT(CREW_GET(q, &got, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(got, ==, 5);
        REQUIRE_OK(crew_queue_put(q, NULL, 0, CREW_NOW));
        CHECK_INT(crew_queue_get_exact(q, NULL, 0, CREW_NOW), ==, 0);
}

/* Each takes as long as it should, or longer on a busy machine: was none late? */
static bool in_time(crew_queue *q)
{
        int64_t began = peer_now(), now, full, empty;
        int value = 1;

        CHECK_INT(CREW_GET(q, &value, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(CREW_GET(q, &value, -CREW_S(1)), ==, -EAGAIN);
        CHECK_INT(CREW_GET(q, &value, INT64_MIN), ==, -EAGAIN);
        REQUIRE_OK(CREW_PUT(q, &value, INT64_MIN));
        CHECK_INT(CREW_PUT(q, &value, CREW_NOW), ==, -EAGAIN);
        CHECK_INT(CREW_PUT(q, &value, -1), ==, -EAGAIN);
        now = peer_now() - began;
        began = peer_now();
        CHECK_INT(CREW_PUT(q, &value, CREW_MS(70)), ==, -ETIMEDOUT);
        full = peer_now() - began;
        CHECK_INT(full, >=, CREW_MS(70));
        REQUIRE_OK(CREW_GET(q, &value, CREW_FOREVER));
        began = peer_now();
        CHECK_INT(CREW_GET(q, &value, CREW_MS(70)), ==, -ETIMEDOUT);
        empty = peer_now() - began;
        CHECK_INT(empty, >=, CREW_MS(70));
        CHECK_INT(CREW_GET(q, &value, 1), ==, -ETIMEDOUT);
        return now < test_slow(CREW_MS(200)) && full < test_slow(CREW_S(1)) &&
               empty < test_slow(CREW_S(1));
}

TEST(timeouts, "a wait takes its timeout, and now is now", "[unit][queue]")
{
        crew_auto(queue) q = make(1, NULL);
        bool ever = false;

        for (int i = 0; i < 10 && !ever; i++)
                ever = in_time(q);
        CHECK(ever);
}

static void nothing(int sig)
{
        (void)sig;
}

TEST(interrupted, "a signal handler ends a wait, also with SA_RESTART", "[unit][queue]")
{
        struct sigaction act = { .sa_handler = nothing, .sa_flags = SA_RESTART };
        struct itimerval every = { { 0, 7000 }, { 0, 7000 } }, never = { { 0, 0 }, { 0, 0 } };
        crew_auto(queue) q = make(1, NULL);
        int value = 1;

        (void)sigaction(SIGALRM, &act, NULL);
        (void)setitimer(ITIMER_REAL, &every, NULL);
        CHECK_INT(CREW_GET(q, &value, CREW_FOREVER), ==, -EINTR);
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        CHECK_INT(CREW_PUT(q, &value, CREW_S(10)), ==, -EINTR);
        (void)setitimer(ITIMER_REAL, &never, NULL);
        CHECK_INT(crew_queue_count(q), ==, 1);
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
}

TEST(bad_options, "every bad option is EINVAL with words and no queue", "[unit][queue]")
{
        char longest[64], too_long[65];
        crew_queue *q = NULL;
        const crew_queue_options bad[] = {
                { .size = 0 },
                { .size = 7 },
                { .size = sizeof(crew_queue_options), .flags = 16 },
                { .size = sizeof(crew_queue_options), .flags = 1 | 256 },
                { .size = sizeof(crew_queue_options), .flags = (uint64_t)1 << 63 },
                { .size = sizeof(crew_queue_options), .bytes = ((size_t)8 << 30) + 1 },
                { .size = sizeof(crew_queue_options), .bytes = SIZE_MAX },
                { .size = sizeof(crew_queue_options), .message_size = MIB - 7 },
                { .size = sizeof(crew_queue_options), .message_size = SIZE_MAX },
                { .size = sizeof(crew_queue_options), .bytes = 100, .message_size = 101 },
                { .size = sizeof(crew_queue_options), .name = too_long },
        };

        memset(longest, 'n', sizeof longest);
        longest[63] = 0;
        memset(too_long, 'n', sizeof too_long);
        too_long[64] = 0;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                INFO("bad option %zu", i);
                CHECK_INT(crew_queue_new(&q, 0, &bad[i]), ==, -EINVAL);
                CHECK(*crew_error_detail() != 0);
                CHECK(q == NULL);
        }
        CHECK_INT(crew_queue_new(NULL, 0, NULL), ==, -EINVAL);
        CHECK_INT(crew_queue_new(&q, (size_t)1 << 31, NULL), ==, -EINVAL);
        CHECK_INT(crew_queue_new(&q, SIZE_MAX, NULL), ==, -EINVAL);
        CHECK(q == NULL);
        REQUIRE_OK(crew_queue_new(&q, INT32_MAX, CREW_OPT(queue, .name = longest)));
        q = crew_queue_free(q);
        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .message_size = MIB - 8)));
        q = crew_queue_free(q);
        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .bytes = 100, .message_size = 100)));
        CHECK(crew_queue_free(q) == NULL);
        CHECK(crew_queue_free(NULL) == NULL);
}

TEST(option_sizes, "options of older and newer callers are understood", "[unit][queue]")
{
        struct {
                crew_queue_options known;
                uint64_t later[2];
        } newer = { .known = { .bytes = 100 } };
        crew_queue_options older;
        crew_queue *q = NULL;

        /* Fields that an older caller does not have are not read. */
        memset(&older, 0xff, sizeof older);
        older.size = offsetof(crew_queue_options, bytes);
        older.name = "old";
        REQUIRE_OK(crew_queue_new(&q, 0, &older));
        q = crew_queue_free(q);
        older.size = sizeof older.size;
        REQUIRE_OK(crew_queue_new(&q, 0, &older));
        q = crew_queue_free(q);
        newer.known.size = sizeof newer;
        REQUIRE_OK(crew_queue_new(&q, 0, &newer.known));
        q = crew_queue_free(q);
        newer.later[1] = 1;
        CHECK_INT(crew_queue_new(&q, 0, &newer.known), ==, -EINVAL);
        CHECK(q == NULL);
}

TEST(huge, "a queue for a message of 8 GiB costs nothing until it is used", "[unit][queue]")
{
        crew_queue *q = NULL;
        int value = 3;

        if (peer_on_valgrind())
                SKIP("valgrind's address space is too small");
        REQUIRE_OK(crew_queue_new(&q, 0, CREW_OPT(queue, .bytes = (size_t)8 << 30)));
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        CHECK(!crew_queue_full(q));
        q = crew_queue_free(q);
}

TEST(descriptors, "a queue takes three descriptors, which an exec closes", "[unit][queue]")
{
        struct rlimit limit, low;
        crew_queue *q = NULL;
        int first = dup(0), last;

        (void)close(first);
        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        last = dup(0);
        CHECK_INT(last, ==, first + 3);
        for (int fd = first; fd < last; fd++)
                CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        (void)close(last);
        q = crew_queue_free(q);
        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        low = (struct rlimit){ .rlim_cur = (rlim_t)first + 2, .rlim_max = limit.rlim_max };
        REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
        CHECK_INT(crew_queue_new(&q, 0, NULL), ==, -EMFILE);
        CHECK(strstr(crew_error_detail(), "RLIMIT_NOFILE") != NULL);
        CHECK(q == NULL);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(closed, "a closed queue refuses puts, drains, then says so", "[unit][queue]")
{
        crew_auto(queue) q = make(3, NULL);
        int value = 1;

        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        value = 2;
        REQUIRE_OK(CREW_PUT(q, &value, CREW_NOW));
        REQUIRE_OK(crew_queue_close(q));
        REQUIRE_OK(crew_queue_close(q));
        CHECK_INT(CREW_PUT(q, &value, CREW_FOREVER), ==, -EPIPE);
        CHECK_INT(CREW_PUT(q, &value, CREW_NOW), ==, -EPIPE);
        CHECK_INT(crew_queue_count(q), ==, 2);
        REQUIRE_OK(CREW_GET(q, &value, CREW_FOREVER));
        CHECK_INT(value, ==, 1);
        REQUIRE_OK(CREW_GET(q, &value, CREW_NOW));
        CHECK_INT(value, ==, 2);
        CHECK_INT(CREW_GET(q, &value, CREW_FOREVER), ==, -EPIPE);
        CHECK_INT(CREW_GET(q, &value, CREW_NOW), ==, -EPIPE);
        CHECK_INT(crew_queue_get(q, &value, sizeof value, CREW_MS(1)), ==, -EPIPE);
        REQUIRE_OK(crew_queue_close(q));
        CHECK(crew_queue_empty(q));
}
