/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "status/page.h"

TEST(exit_note, "the exit code is there once it was noted", "[unit][status]")
{
        crew__segment *s = NULL;
        crew__page *page;
        int code = 77;

        REQUIRE_OK(crew__page_new(&s, "page"));
        page = crew__page_of(s);
        CHECK(!crew__page_exit(page, &code));
        CHECK_INT(code, ==, 77);
        crew__page_note_exit(page, 0);
        CHECK(crew__page_exit(page, &code));
        CHECK_INT(code, ==, 0);
        crew__page_note_exit(page, 300);
        CHECK(crew__page_exit(page, &code));
        CHECK_INT(code, ==, 44);
        CHECK(crew__segment_unref(s) == NULL);
}

TEST(distrust, "a page that is none says nothing", "[unit][status]")
{
        crew__segment *s = NULL;
        crew__page *page;
        int code;

        REQUIRE_OK(crew__page_new(&s, NULL));
        page = crew__page_of(s);
        page->ending = 0xffffffff;
        CHECK(crew__page_exit(page, &code));
        CHECK_INT(code, ==, 255);
        page->magic = 0;
        CHECK(!crew__page_exit(page, &code));
        (void)crew__segment_unref(s);
}
