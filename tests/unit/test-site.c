/* SPDX-License-Identifier: MIT */

/* Functions told by module and offset, and found again. tests/live/live-guests.c does so across
 * processes, with programs that are linked in every way. */

#include "check.h"

#include "process/site.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int noise; /* makes functions differ */

static void own(void)
{
        noise++;
}

static void other(void)
{
        noise += 2;
}

/* Two libraries of tests/guests, beside this program: with and without a build-id. */
static crew__function *load(void **library, const char *name, const char *symbol)
{
        char path[PATH_MAX], *slash;
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        crew__function *function;
        void *at;

        REQUIRE(n > 0);
        path[n] = '\0';
        slash = strrchr(path, '/');
        REQUIRE(slash != NULL);
        (void)snprintf(slash, sizeof path - (size_t)(slash - path), "/guests/lib%s.so", name);
        *library = dlopen(path, RTLD_NOW);
        if (!*library)
                INFO("%s", dlerror());
        REQUIRE(*library != NULL);
        at = dlsym(*library, symbol);
        REQUIRE(at != NULL);
        memcpy(&function, &at, sizeof function);
        return function;
}

static crew__function *pointer_to(const void *at)
{
        crew__function *function;

        memcpy(&function, &at, sizeof function);
        return function;
}

static bool found_as(const crew__site *place, crew__function *expected)
{
        crew__function *found = NULL;

        return crew__site_find(place, &found) == 0 && found == expected;
}

static bool is_unknown(const crew__site *place)
{
        crew__function *found = own;

        return crew__site_find(place, &found) == -ENOENT && found == own;
}

TEST(program, "a static function of the program is found by its offset", "[unit][spawn]")
{
        crew__site a, b;

        REQUIRE(crew__site_of(&a, own) == 0);
        REQUIRE(crew__site_of(&b, other) == 0);
        CHECK(a.module.program && b.module.program);
        CHECK_INT(a.offset, !=, b.offset);
        CHECK(found_as(&a, own));
        CHECK(found_as(&b, other));
        /* Another offset is another function of the same module. */
        a.offset = b.offset;
        a.code = b.code;
        CHECK(found_as(&a, other));
}

TEST(library, "a function of a library is found, and told by its name", "[unit][spawn]")
{
        void *library;
        crew__function *plugged = load(&library, "guest-plugged", "guest_plugged");
        crew__site place;

        REQUIRE(crew__site_of(&place, plugged) == 0);
        CHECK(!place.module.program);
        CHECK_STR(place.name, "guest_plugged in libguest-plugged.so");
        CHECK(found_as(&place, plugged));
        /* The C library's, in whatever module that is. */
        REQUIRE(crew__site_of(&place, (crew__function *)qsort) == 0);
        CHECK(strstr(place.name, "qsort in ") == place.name);
        CHECK(found_as(&place, (crew__function *)qsort));
        (void)dlclose(library);
}

TEST(identity, "a module that differs in anything is another version of it", "[unit][spawn]")
{
        crew__site good, bad;

        REQUIRE(crew__site_of(&good, (crew__function *)qsort) == 0);
        REQUIRE(good.module.size > 0 && good.module.size <= CREW__BUILD_ID_MAX);
        for (uint32_t i = 0; i < good.module.size; i++) {
                bad = good;
                bad.module.id[i] ^= 1;
                CHECK(is_unknown(&bad));
        }
        bad = good;
        bad.module.size--;
        CHECK(is_unknown(&bad));
        bad = good;
        bad.module.digest ^= 1;
        CHECK(is_unknown(&bad));
        bad = good;
        bad.module.program = !bad.module.program;
        CHECK(is_unknown(&bad));
        CHECK(found_as(&good, (crew__function *)qsort));
}

TEST(offsets, "an offset that is no code is refused", "[unit][spawn]")
{
        static const uint64_t wrong[] = { UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 47, 1 << 30,
                INT64_MAX, (uint64_t)INT64_MAX + 1 };
        crew__site place, data;
        crew__module list[64];
        size_t n = crew__modules_list(list, 64);

        REQUIRE(crew__site_of(&place, own) == 0);
        REQUIRE(n > 0);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                place.offset = wrong[i];
                CHECK(is_unknown(&place));
        }
        /* The first byte behind the code, and data. */
        place.offset = list[0].to - list[0].base;
        CHECK(is_unknown(&place));
        CHECK_INT(crew__site_of(&data, pointer_to(&noise)), ==, -ENOENT);
        place.offset = (uint64_t)(uintptr_t)&noise - list[0].base;
        CHECK(is_unknown(&place));
}

TEST(nameless, "without a build-id it is the layout and the code that must be the same",
        "[unit][spawn]")
{
        void *library;
        crew__function *linked = load(&library, "guest-nameless-linked", "guest_linked");
        crew__site good, bad;

        REQUIRE(crew__site_of(&good, linked) == 0);
        CHECK_INT(good.module.size, ==, 0);
        CHECK(good.module.digest != 0 && good.code != 0);
        CHECK(found_as(&good, linked));
        bad = good;
        bad.code ^= 1;
        CHECK(is_unknown(&bad));
        bad = good;
        bad.offset++;
        CHECK(is_unknown(&bad));
        bad = good;
        bad.module.digest ^= 1;
        CHECK(is_unknown(&bad));
        (void)dlclose(library);
}

TEST(unloaded, "a library that is not loaded has no functions, until it is again", "[unit][spawn]")
{
        void *library;
        crew__function *plugged = load(&library, "guest-plugged", "guest_plugged");
        crew__site place;
        uint64_t base;

        REQUIRE(crew__site_of(&place, plugged) == 0);
        CHECK_INT(crew__module_find(&place.module, &base), ==, 0);
        (void)dlclose(library);
        CHECK(is_unknown(&place));
        CHECK_INT(crew__module_find(&place.module, &base), ==, -ENOENT);
        plugged = load(&library, "guest-plugged", "guest_plugged");
        CHECK(found_as(&place, plugged));
        CHECK_INT(crew__module_find(&place.module, &base), ==, 0);
        CHECK_INT(base + place.offset, ==, (uintptr_t)plugged);
        (void)dlclose(library);
}

TEST(made, "code that was made at run time is refused, with its address", "[unit][spawn]")
{
        void *at = mmap(
                NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        crew__site place;
        char expected[64];

        REQUIRE(at != MAP_FAILED);
        CHECK_INT(crew__site_of(&place, pointer_to(at)), ==, -ENOENT);
        (void)snprintf(expected, sizeof expected, "0x%llx, made at run time",
                (unsigned long long)(uintptr_t)at);
        CHECK_STR(place.name, expected);
        CHECK_INT(crew__site_of(&place, NULL), ==, -ENOENT);
        CHECK_STR(place.name, "0x0, made at run time");
        (void)munmap(at, 4096);
}

TEST(table, "the table of modules has them all, in any room, and finds their bases",
        "[unit][spawn]")
{
        enum { ROOM = 64 };
        crew__module list[ROOM], few[2];
        size_t n = crew__modules_list(list, ROOM), programs = 0;
        uintptr_t at = (uintptr_t)own;

        REQUIRE(n > 2 && n <= ROOM);
        CHECK_INT(crew__modules_list(NULL, 0), ==, n);
        memset(few, 0xee, sizeof few);
        CHECK_INT(crew__modules_list(few, 1), ==, n);
        CHECK(memcmp(&few[0], &list[0], sizeof *few) == 0);
        CHECK_INT(((unsigned char *)few)[sizeof *few], ==, 0xee);
        CHECK(list[0].from <= at && at < list[0].to);
        for (size_t i = 0; i < n; i++) {
                uint64_t base = 1;

                programs += list[i].id.program;
                CHECK_INT(crew__module_find(&list[i].id, &base), ==, 0);
                CHECK_INT(base, ==, list[i].base);
        }
        CHECK_INT(programs, ==, 1);
}
