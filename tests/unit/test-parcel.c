/* SPDX-License-Identifier: MIT */

/* What crosses to a process that is no fork: packed, opened, and refused when it is not sound. */

#include "check.h"
#include "peer.h"

#include "kernel/segment.h"
#include "process/parcel.h"
#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void warm_up(void)
{
        (void)crew__self_pidfd();
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(warm_up);
}

static const char *const environment[] = { "COLOUR=red", "EMPTY=", "", "LAST=1", NULL };
static const char argument[] = "what the target is called with";
static const char confines[] = "limits";

/* A parcel with something in each part. The last of its bytes are the argument. */
struct full {
        crew__packing what;
        crew__packed packed;
        crew__segment *object;
        int keep[2];
};

static void pack(struct full *f)
{
        f->keep[0] = fcntl(0, F_DUPFD_CLOEXEC, 50);
        f->keep[1] = fcntl(0, F_DUPFD, 50);
        REQUIRE(f->keep[0] >= 0 && f->keep[1] >= 0);
        REQUIRE_OK(crew__segment_new(&f->object, "test", "parcel", 4096, 8192, 1));
        f->what = CREW__PACKING;
        f->what.name = "one";
        f->what.identity = "1";
        f->what.arg = argument;
        f->what.arg_size = sizeof argument;
        f->what.keep = f->keep;
        f->what.n_keep = 2;
        f->what.objects = &f->object;
        f->what.n_objects = 1;
        f->what.stdio[1] = 2;
        f->what.env = environment;
        f->what.confine = confines;
        f->what.confine_size = sizeof confines;
        f->what.head.kind = CREW__PARCEL_CHILD;
        f->what.head.flags = 77;
        REQUIRE_OK(crew__parcel_pack(&f->packed, &f->what));
}

static void unpack(struct full *f)
{
        crew__parcel_drop(&f->packed);
        f->object = crew__segment_unref(f->object);
        (void)close(f->keep[0]);
        (void)close(f->keep[1]);
}

static int memfd_of(const struct full *f)
{
        return f->packed.fd[CREW__PARCEL_ITSELF];
}

/* The bytes of a parcel, to be changed. */
static size_t bytes_of(const struct full *f, unsigned char *bytes, size_t room)
{
        off_t size = lseek(memfd_of(f), 0, SEEK_END);

        REQUIRE(size > 0 && (size_t)size <= room);
        REQUIRE(pread(memfd_of(f), bytes, (size_t)size, 0) == size);
        return (size_t)size;
}

static int sealed(const void *bytes, size_t size)
{
        int fd = memfd_create("parcel", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        REQUIRE(fd >= 0);
        REQUIRE(write(fd, bytes, size) == (ssize_t)size);
        REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) ==
                0);
        return fd;
}

static bool within(const crew__delivery *d, const void *at, size_t size)
{
        const char *base = (const char *)d->parcel, *from = at;

        return from >= base && from <= base + d->parcel->size &&
               size <= (size_t)(base + d->parcel->size - from);
}

static bool text_within(const crew__delivery *d, crew__part part)
{
        const char *text = crew__parcel_text(d, part);

        return part.size && within(d, text, part.size) && text[part.size - 1] == '\0';
}

/* Everything that a receiver looks at, as the header promises once it was opened. */
static void check_bounds(const crew__delivery *d)
{
        const crew__parcel *p = d->parcel;
        size_t n_keep, n_objects;
        const crew__parcel_keep *keep = crew__parcel_keeps(d, &n_keep);
        const crew__parcel_object *objects = crew__parcel_objects(d, &n_objects);

        CHECK(text_within(d, p->comm) && text_within(d, p->name) && text_within(d, p->identity) &&
                text_within(d, p->sender_name) && text_within(d, p->sender_identity));
        CHECK(within(d, keep, n_keep * sizeof *keep));
        CHECK(within(d, objects, n_objects * sizeof *objects));
        CHECK(!p->env.size || text_within(d, p->env));
        CHECK(within(d, crew__parcel_confine(d), p->confine.size));
        CHECK(within(d, (const char *)p + (p->arg < p->size ? p->arg : p->size), p->arg_size));
        CHECK(d->n >= CREW__PARCEL_FIXED + n_keep + n_objects * 3);
        if (n_objects)
                CHECK(crew__parcel_object_fds(d, n_objects - 1) + 3 <= d->fd + d->n);
}

/* What comes of bytes that are no more than bytes. */
static int try(const unsigned char *bytes, size_t size, uint64_t cookie)
{
        crew__delivery d = { .fd = NULL };
        int fd = sealed(bytes, size);
        int r = crew__parcel_open(&d, fd, cookie, NULL, 0);

        if (r == 0) {
                check_bounds(&d);
                crew__parcel_close(&d);
        }
        (void)close(fd);
        return r;
}

TEST(through, "what was packed is what is opened, under the sender's numbers", "[unit][spawn]")
{
        const crew__parcel_object *object;
        const crew__parcel_keep *keep;
        crew__delivery d;
        struct full f;
        size_t n;

        pack(&f);
        REQUIRE(crew__parcel_open(&d, memfd_of(&f), f.packed.cookie, NULL, 0) == 0);
        check_bounds(&d);
        CHECK_INT(d.parcel->flags, ==, 77);
        CHECK_INT(d.parcel->application, ==, getpid());
        CHECK_STR(crew__parcel_text(&d, d.parcel->name), "one");
        CHECK_STR(crew__parcel_text(&d, d.parcel->identity), "1");
        CHECK_STR(crew__parcel_text(&d, d.parcel->sender_name), "MainProcess");
        CHECK_STR(crew__parcel_confine(&d), confines);
        CHECK_INT(d.parcel->env.size, ==, sizeof "COLOUR=red\0EMPTY=\0\0LAST=1");
        CHECK(memcmp(crew__parcel_text(&d, d.parcel->env), "COLOUR=red\0EMPTY=\0\0LAST=1",
                      d.parcel->env.size) == 0);
        CHECK_INT(d.parcel->arg_size, ==, sizeof argument);
        CHECK_STR((const char *)d.parcel + d.parcel->arg, argument);
        keep = crew__parcel_keeps(&d, &n);
        REQUIRE(n == 2);
        CHECK(keep[0].number == f.keep[0] && keep[0].cloexec);
        CHECK(keep[1].number == f.keep[1] && !keep[1].cloexec);
        object = crew__parcel_objects(&d, &n);
        REQUIRE(n == 1);
        CHECK(memcmp(&object->ref, &f.object->ref, sizeof object->ref) == 0);
        CHECK_INT(d.n, ==, CREW__PARCEL_FIXED + 2 + 3);
        CHECK_INT(d.fd[CREW__PARCEL_DIRECTORY], ==, -1);
        CHECK_INT(d.fd[CREW__PARCEL_STDIN], ==, -1);
        CHECK_INT(d.fd[CREW__PARCEL_STDIN + 1], ==, 2);
        CHECK_INT(crew__parcel_object_fds(&d, 0)[0], ==, f.object->fd);
        CHECK_INT(crew__parcel_object_fds(&d, 0)[1], ==, f.object->events[0]);
        CHECK_INT(crew__parcel_object_fds(&d, 0)[2], ==, -1);
        crew__parcel_close(&d);
        unpack(&f);
}

TEST(came, "descriptors that came over a socket take the places of those that were sent",
        "[unit][spawn]")
{
        struct full f;
        crew__delivery d;
        int came[32];
        size_t n = 0;

        pack(&f);
        for (size_t i = 0; i < f.packed.n; i++) {
                if (f.packed.fd[i] >= 0)
                        came[n] = 1000 + (int)n, n++;
        }
        for (size_t wrong = 0; wrong <= n + 2; wrong++) {
                int r = crew__parcel_open(&d, memfd_of(&f), 0, came, wrong);

                CHECK_INT(r, ==, wrong == n ? 0 : -EBADMSG);
                if (r < 0)
                        continue;
                CHECK_INT(d.fd[CREW__PARCEL_APPLICATION], ==, 1001);
                CHECK_INT(d.fd[CREW__PARCEL_PAGE], ==, -1);
                CHECK_INT(d.fd[CREW__PARCEL_STDIN + 1], ==, 1002);
                CHECK_INT(d.fd[CREW__PARCEL_FIXED], ==, 1003);
                CHECK_INT(crew__parcel_object_fds(&d, 0)[1], ==, 1000 + (int)n - 1);
                CHECK_INT(crew__parcel_object_fds(&d, 0)[2], ==, -1);
                crew__parcel_close(&d);
        }
        unpack(&f);
}

TEST(truncated, "a parcel that is cut off anywhere is refused, whatever it says of its size",
        "[unit][spawn]")
{
        static unsigned char bytes[16384];
        uint64_t size;
        struct full f;

        pack(&f);
        size = bytes_of(&f, bytes, sizeof bytes - 1);
        CHECK_INT(try(bytes, size, f.packed.cookie), ==, 0);
        for (uint64_t cut = 0; cut < size; cut++) {
                if (try(bytes, cut, f.packed.cookie) != -EBADMSG)
                        CHECK_INT(cut, ==, -1);
        }
        for (uint64_t cut = 0; cut < size; cut++) {
                memcpy(bytes + offsetof(crew__parcel, size), &cut, sizeof cut);
                if (try(bytes, cut, f.packed.cookie) != -EBADMSG)
                        CHECK_INT(cut, ==, -1);
        }
        memcpy(bytes + offsetof(crew__parcel, size), &size, sizeof size);
        CHECK_INT(try(bytes, size + 1, f.packed.cookie), ==, -EBADMSG);
        CHECK_INT(try(bytes, size, f.packed.cookie), ==, 0);
        unpack(&f);
}

TEST(stranger, "what is no parcel, another one or not sealed is refused", "[unit][spawn]")
{
        static unsigned char bytes[16384];
        int pipes[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), plain;
        crew__delivery d;
        struct full f;
        size_t size;

        pack(&f);
        size = bytes_of(&f, bytes, sizeof bytes);
        CHECK_INT(try(bytes, size, f.packed.cookie + 1), ==, -EBADMSG);
        CHECK_INT(try(bytes, size, 0), ==, 0);
        REQUIRE(pipe2(pipes, O_CLOEXEC) == 0);
        CHECK_INT(crew__parcel_open(&d, pipes[0], 0, NULL, 0), ==, -EBADMSG);
        CHECK_INT(crew__parcel_open(&d, null, 0, NULL, 0), ==, -EBADMSG);
        CHECK_INT(crew__parcel_open(&d, -1, 0, NULL, 0), ==, -EBADMSG);
        /* Whoever could still write to it could change it after the look. */
        plain = memfd_create("parcel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        REQUIRE(plain >= 0 && write(plain, bytes, size) == (ssize_t)size);
        CHECK_INT(crew__parcel_open(&d, plain, 0, NULL, 0), ==, -EBADMSG);
        REQUIRE(fcntl(plain, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
        CHECK_INT(crew__parcel_open(&d, plain, 0, NULL, 0), ==, -EBADMSG);
        (void)close(plain);
        (void)close(null);
        (void)close(pipes[0]);
        (void)close(pipes[1]);
        unpack(&f);
}

/* Each word of the header with each value that may upset a comparison. */
TEST(every_word, "a header that lies in any word is refused, or lies about nothing outside",
        "[unit][spawn]")
{
        static unsigned char bytes[16384];
        uint32_t size, refused = 0;
        struct full f;

        pack(&f);
        size = (uint32_t)bytes_of(&f, bytes, sizeof bytes);
        for (size_t at = 0; at + 4 <= sizeof(crew__parcel); at += 4) {
                const uint32_t values[] = { 0, 1, 15, 16, size - 1, size, size + 1, INT32_MAX,
                        (uint32_t)INT32_MAX + 1, UINT32_MAX - 15, UINT32_MAX };
                uint32_t saved;

                memcpy(&saved, bytes + at, sizeof saved);
                for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
                        memcpy(bytes + at, &values[i], sizeof saved);
                        refused += try(bytes, size, 0) < 0;
                }
                memcpy(bytes + at, &saved, sizeof saved);
        }
        CHECK_INT(refused, >, 100);
        CHECK_INT(try(bytes, size, 0), ==, 0);
        unpack(&f);
}

TEST(random_words, "changes at random places do no harm", "[unit][spawn][fuzz]")
{
        static unsigned char bytes[16384], good[16384];
        uint64_t seed = peer_seed();
        long long rounds = test_scale(1000000, 3000);
        struct full f;
        size_t size;

        TEST_DEADLINE(120);
        pack(&f);
        size = bytes_of(&f, good, sizeof good);
        for (long long i = 0; i < rounds; i++) {
                memcpy(bytes, good, size);
                for (uint64_t n = 1 + peer_random(&seed) % 4; n; n--) {
                        uint64_t value = peer_random(&seed), at = peer_random(&seed);

                        /* Mostly in the parts' offsets and sizes, and of their magnitude. */
                        at = value & 1 ? offsetof(crew__parcel, comm) +
                                                 at % (sizeof(crew__parcel) -
                                                              offsetof(crew__parcel, comm))
                                       : at % size;
                        value = value & 2 ? value >> 2 : (value >> 2) % (2 * size);
                        memcpy(bytes + at, &value, at + 2 < size ? 2 : 1);
                }
                (void)try(bytes, size, 0);
        }
        unpack(&f);
}

TEST(not_open, "a descriptor to keep that is not open is refused in words", "[unit][spawn]")
{
        crew__packing what = CREW__PACKING;
        crew__packed packed;
        int closed = 999;

        what.name = "child";
        what.keep = &closed;
        what.n_keep = 1;
        CHECK_INT(crew__parcel_pack(&packed, &what), ==, -EBADF);
        CHECK_STR(crew_error_detail(), "process child: descriptor 999, to be kept, is not open");
        CHECK(packed.fd == NULL && packed.opened == -1);
}

/* In a child: the two kept descriptors come under each other's number. */
static void settle_crossed(void *arg)
{
        struct full *f = arg;
        crew__delivery d;
        int stray = fcntl(0, F_DUPFD, 200), *kept;
        char marks[2] = { 0 };

        REQUIRE(crew__parcel_open(&d, memfd_of(f), 0, NULL, 0) == 0);
        kept = &d.fd[CREW__PARCEL_FIXED];
        kept[0] = f->keep[1];
        kept[1] = f->keep[0];
        CHECK_INT(crew__parcel_settle(&d), ==, 0);
        CHECK_INT(kept[0], ==, f->keep[0]);
        CHECK_INT(fcntl(f->keep[0], F_GETFD), ==, FD_CLOEXEC);
        CHECK_INT(fcntl(f->keep[1], F_GETFD), ==, 0);
        REQUIRE(pread(f->keep[0], &marks[0], 1, 0) == 1 && pread(f->keep[1], &marks[1], 1, 0) == 1);
        CHECK(marks[0] == '1' && marks[1] == '0');
        CHECK_INT(fcntl(stray, F_GETFD), ==, -1);
        CHECK_INT(fcntl(d.fd[CREW__PARCEL_APPLICATION], F_GETFD), ==, FD_CLOEXEC);
        CHECK_INT(d.fd[CREW__PARCEL_ITSELF], ==, -1);
}

TEST(settled, "kept descriptors that lie in each other's place get there; strays are closed",
        "[unit][spawn]")
{
        struct full f;

        pack(&f);
        for (int i = 0; i < 2; i++) {
                int file = memfd_create("mark", MFD_CLOEXEC);

                REQUIRE(file >= 0 && write(file, i ? "1" : "0", 1) == 1);
                REQUIRE(dup3(file, f.keep[i], i ? 0 : O_CLOEXEC) == f.keep[i]);
                (void)close(file);
        }
        CHECK_INT(peer_join(peer_start(settle_crossed, &f)), ==, 0);
        unpack(&f);
}
